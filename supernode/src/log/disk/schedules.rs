//! The thread that owns the store, with writers, readers, a disk that fails and a driver that may be gone, in every order.

use std::sync::Arc;

use kith_runtime::sync::{Mutex, Time, block_on, explore, sees};

use super::*;
use crate::log::store::tests::Disk as FakeDisk;

/// What a driver makes of the news
#[derive(Clone, Copy, PartialEq)]
enum Driver {
    Listens,
    IsGone,
}

/// Writes while somebody reads, and perhaps while the disk fails: what came of each write, in the order of the answers
fn write_three(driver: Driver, fails: bool) -> Vec<(u64, Result<(), String>)> {
    let fake = FakeDisk::default();
    // As full as it can be: the thread waits for the driver.
    let (news, mut told) = mpsc::channel(1);
    let disk = Disk::start(fake.open().unwrap(), news).unwrap();
    let listener = (driver == Driver::Listens).then(|| thread::spawn(move || while block_on(told.recv()).is_some() {}));
    let reader = disk.clone();
    let reader = thread::spawn(move || {
        if let Ok(entries) = block_on(reader.entries(1..4)) {
            assert!(entries.iter().map(|(number, _)| *number).eq(1..=entries.len() as u64));
        }
    });
    let answers = Arc::<Mutex<Vec<_>>>::default();
    for number in 1..=3 {
        let answers = Arc::clone(&answers);
        disk.write(Write::Append(number, vec![vec![7; 10]]), move |result| {
            answers.lock().unwrap().push((number, result));
        });
    }
    if fails {
        fake.fail();
    }
    let last = block_on(disk.written(Write::Append(4, vec![vec![7; 10]])));
    reader.join().unwrap();
    // The thread ends with the last of these, or the test would say that it waits.
    drop(disk);
    listener.into_iter().for_each(|listener| listener.join().unwrap());
    let mut answers = std::mem::take(&mut *answers.lock().unwrap());
    answers.push((4, last));
    answers
}

fn answers_come_in_order() {
    let expected: Vec<_> = (1..=4).map(|number| (number, Ok(()))).collect();
    assert_eq!(write_three(Driver::Listens, false), expected);
}

#[test]
fn schedules_writes_are_durable_in_the_order_in_which_they_were_wanted() {
    explore(Time::Stands, answers_come_in_order);
    assert!(sees(Mistake::AnswersInReverse, Time::Stands, answers_come_in_order));
}

#[test]
fn schedules_writers_are_answered_though_the_disk_fails_and_the_driver_is_gone() {
    for driver in [Driver::Listens, Driver::IsGone] {
        explore(Time::Stands, move || {
            let mut answers = write_three(driver, true);
            let first_lost = answers.iter().position(|(_, result)| result.is_err());
            let is_durable = |at: usize| first_lost.is_none_or(|lost| at < lost);
            assert!(
                answers.iter().enumerate().all(|(at, (_, result))| result.is_ok() == is_durable(at)),
                "{answers:?}"
            );
            answers.sort_by_key(|(number, _)| *number);
            assert!(answers.iter().map(|(number, _)| *number).eq(1..=4), "each has one answer: {answers:?}");
        });
    }
}
