//! What the next start finds of what the worker was asked for.

use kith_common::id::{Address, Epoch, Key, SupernodeId};
use kith_common::wire::session::{Location, Locations};

use super::super::BYTES_MAX_DEFAULT;
use super::*;

fn record(of: &str) -> Record {
    let name = of.parse().unwrap();
    Record { name, key: Key([1; 32]), address: Address(7), epoch: Epoch::new(0, 1), locations: Default::default() }
}

/// The in-box of this home, opened again after the worker has done what it was asked, all in one batch
fn after(home: &tempfile::TempDir, ask: impl FnOnce(&InboxWorker)) -> InboxFile {
    let path = home.path().join("inbox.redb");
    let inbox = InboxFile::open(&path, BYTES_MAX_DEFAULT).unwrap();
    let (jobs, received) = blocking::channel();
    let (outcomes, _driver) = mpsc::channel(1);
    let worker = InboxWorker { jobs, totals: inbox.watch() };
    ask(&worker);
    drop(worker);
    // All that was asked waits when it begins, so it is one batch.
    work(inbox, &received, &outcomes);
    InboxFile::open(&path, BYTES_MAX_DEFAULT).unwrap()
}

#[test]
fn supernodes_are_there_again_and_the_newest_list_counts() {
    let records = |count: u64| {
        let locations = Locations::truncated((0..4).map(|_| Location::truncated(&"x".repeat(100))));
        let record = |id| SupernodeRecord { id: SupernodeId(id), locations: locations.clone(), load: 7 };
        (0..count).map(record).collect::<Vec<_>>()
    };
    let home = tempfile::tempdir().unwrap();
    let mut inbox = after(&home, |worker| {
        for count in [3, 16] {
            let supernodes = records(count).try_into().unwrap();
            worker.keep_supernodes(Supernodes { home: SupernodeId(1), supernodes });
        }
    });
    assert_eq!(supernodes(&mut inbox), Ok(records(16)));
    inbox.set_meta(SUPERNODES, b"of a later version").unwrap();
    assert_eq!(supernodes(&mut inbox), Ok(Vec::new()));
}

#[test]
fn last_word_on_a_name_stays_though_all_shared_one_wait_for_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let mut inbox = after(&home, |worker| {
        worker.save(record("heidi"));
        worker.erase("heidi".parse().unwrap());
        worker.erase("bob".parse().unwrap());
        worker.save(record("bob"));
    });
    let names = inbox.names(SystemTime::now()).unwrap();
    assert_eq!(names.into_iter().map(|(record, _)| record).collect::<Vec<_>>(), [record("bob")]);
}

#[tokio::test]
async fn worker_that_is_shut_down_has_done_all_and_closed_the_inbox_when_no_more_outcomes_come() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("inbox.redb");
    let (worker, mut outcomes) = start(InboxFile::open(&path, BYTES_MAX_DEFAULT).unwrap()).unwrap();
    worker.save(record("heidi"));
    worker.shut_down();
    worker.save(record("bob"));
    while outcomes.recv().await.is_some() {}
    // Who follows the in-box holds a worker still.
    let names = InboxFile::open(&path, BYTES_MAX_DEFAULT).unwrap().names(SystemTime::now()).unwrap();
    assert!(names.iter().any(|(kept, _)| *kept == record("heidi")), "{names:?}");
    drop(worker);
}
