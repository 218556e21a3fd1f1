//! Snapshots of a directory that the driver gives, in every order.

use kith_runtime::sync::{Mistake, Time, block_on, explore, sees, thread};

use super::*;
use crate::log::store::tests::Disk as FakeDisk;

/// Two snapshots, one after the other, for each of which the driver is asked for its directory
fn take_two() {
    let (news, mut told) = mpsc::channel(1);
    let mut machine = Machine {
        me: SupernodeId(1),
        boot: 1,
        state: State::default(),
        disk: Disk::start(FakeDisk::default().open().unwrap(), news.clone()).unwrap(),
        news,
        outstanding: Outstanding::default(),
        applied: watch::channel(AppliedTo::default()).0,
        wanted: Wanted::default(),
        snapshot_bytes: SnapshotBytes::default(),
    };
    let wanted = machine.wanted.clone();
    let driver = thread::spawn(move || {
        while let Some(news) = block_on(told.recv()) {
            assert!(matches!(news, News::Events(events) if matches!(events[..], [LogEvent::Grown])));
            if let Some(wanted) = wanted.lock().unwrap().take() {
                wanted.send(Box::new(Directory::new(0))).unwrap();
            }
        }
    });
    for _ in 0..2 {
        let mut builder = block_on(machine.get_snapshot_builder());
        block_on(builder.build_snapshot()).unwrap();
    }
    drop(machine);
    driver.join().unwrap();
}

#[test]
fn schedules_builder_gets_the_directory_that_it_asks_for() {
    explore(Time::Stands, take_two);
    assert!(sees(Mistake::AsksBeforeItWaits, Time::Stands, take_two));
}
