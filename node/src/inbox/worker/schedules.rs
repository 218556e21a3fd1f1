//! The in-box's thread, with senders, a driver that may be gone and a disk that fills, in every order.

use kith_runtime::sync::{Time, block_on, explore, sees};

use super::super::tests::{Disk, message};
use super::*;

fn empty() -> Disk {
    let disk = Disk::default();
    disk.set_room(usize::MAX);
    disk
}

/// Four messages from two senders while the disk fills at some moment: whatever was said to be kept is there afterwards
fn keep_four() {
    let disk = empty();
    let (worker, mut outcomes) = start(disk.open()).unwrap();
    let senders = [[0, 1], [2, 3]].map(|numbers| {
        let worker = worker.clone();
        thread::spawn(move || numbers.into_iter().for_each(|n| worker.keep(u64::from(n), message(n, 100))))
    });
    disk.set_room(0);
    let outcomes: Vec<Outcome> = (0..4).map(|_| block_on(outcomes.recv()).unwrap()).collect();
    disk.set_room(usize::MAX);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let listed = block_on(worker.page(Selection::default())).unwrap().unwrap();
    for outcome in outcomes {
        let Outcome::Kept { ticket, kept } = outcome else { panic!("{outcome:?}") };
        let is_there = listed.iter().any(|stored| stored.incoming.message == message(ticket as u8, 100).message);
        assert_eq!(kept.is_ok(), is_there, "{ticket}: {kept:?}");
    }
}

#[test]
fn schedules_message_that_is_said_to_be_kept_is_there_though_the_disk_fills() {
    explore(Time::Stands, keep_four);
    assert!(sees(Mistake::TellsBeforeItKeeps, Time::Stands, keep_four));
}

#[test]
fn schedules_askers_are_told_though_the_driver_is_gone() {
    explore(Time::Stands, || {
        let (worker, outcomes) = start(empty().open()).unwrap();
        let asker = worker.clone();
        let asker = thread::spawn(move || drop(block_on(asker.page(Selection::default()))));
        worker.keep(0, message(0, 100));
        drop(outcomes);
        worker.keep(1, message(1, 100));
        asker.join().unwrap();
    });
}
