//! A log that is read while it grows, in every order.

use kith_runtime::sync::{Time, block_on, explore, sees, thread};
use openraft::{CommittedLeaderId, EntryPayload};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::log::store::tests::Disk as FakeDisk;

fn blank(index: u64) -> Entry {
    Entry { log_id: LogId::new(CommittedLeaderId::new(1, 1), index), payload: EntryPayload::Blank }
}

fn read_while_it_grows() {
    let (news, _told) = mpsc::channel(1);
    let disk = Disk::start(FakeDisk::default().open().unwrap(), news).unwrap();
    let entries = Entries::new(disk, Book::default());
    let reader = entries.clone();
    let reader = thread::spawn(move || {
        for _ in 0..3 {
            let last = reader.book().last.map_or(0, |last| last.index);
            let read = block_on(reader.read(1, last + 1)).unwrap();
            let read: Vec<u64> = read.iter().map(|entry| entry.log_id.index).collect();
            assert_eq!(read, (1..=last).collect::<Vec<_>>());
        }
    });
    for numbers in [[1, 2], [3, 4]] {
        let (done, is_done) = oneshot::channel();
        entries.add(numbers.map(blank).to_vec(), move |result| done.send(result).unwrap()).unwrap();
        assert_eq!(block_on(is_done), Ok(Ok(())));
    }
    reader.join().unwrap();
}

#[test]
fn schedules_log_shows_all_that_it_says_it_has() {
    explore(Time::Stands, read_while_it_grows);
    assert!(sees(Mistake::SaysBeforeItShows, Time::Stands, read_while_it_grows));
}
