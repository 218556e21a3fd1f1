//! Groups of proposals, those who carry them, and the machine that applies them, in every order.

use std::collections::BTreeSet;

use kith_common::directory::Command;
use kith_runtime::sync::{Time, block_on, blocking, explore, pass, sees, thread};

use super::super::lineage::Lineage;
use super::*;

const ME: SupernodeId = SupernodeId(1);

fn group(numbers: [u64; 2]) -> Vec<Proposal> {
    numbers.map(|number| Proposal { number, command: Command::Incarnate { incarnation: number as u32 } }).to_vec()
}

/// Two groups wait while the machine applies both
fn groups_wait() {
    let outstanding = Outstanding::default();
    let wait = |numbers| {
        let (outstanding, numbers) = (outstanding.clone(), outstanding.begin(&group(numbers)));
        thread::spawn(move || {
            block_on(outstanding.settled(&numbers));
            assert!(outstanding.give_up(&numbers).is_empty(), "what is settled is not lost");
        })
    };
    let waiting = [[1, 2], [3, 4]].map(wait);
    (1..=4).for_each(|number| assert!(outstanding.settle(number), "somebody waits for {number}"));
    waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
}

#[test]
fn schedules_groups_that_are_applied_are_settled_and_none_is_lost() {
    explore(Time::Stands, groups_wait);
    assert!(sees(Mistake::LooksBeforeItListens, Time::Stands, groups_wait));
    assert!(sees(Mistake::GivesUpThoseOfOthers, Time::Stands, groups_wait));
}

/// What became of the proposals of two groups that are carried at once, where this supernode leads: committed, lost
fn carry_two() -> [BTreeSet<u64>; 2] {
    let (outstanding, (news, mut told)) = (Outstanding::default(), mpsc::channel(8));
    let (written, to_apply) = blocking::channel::<Proposals>();
    let batcher = Batcher::start(move |commands| {
        let written = written.clone();
        async move {
            pass().await;
            written.send(commands).is_ok()
        }
    });
    let (_leads, leader) = watch::channel(Some(ME));
    let proposer = Proposer {
        me: ME,
        boot: 1,
        outstanding: outstanding.clone(),
        leader,
        batcher,
        calls: Calls::new(Lineage::new(1), news.clone()),
        patience: Patience::new(),
        news,
    };
    let machine = thread::spawn(move || {
        let (mut seen, mut committed) = (BTreeSet::new(), BTreeSet::new());
        while let Ok(commands) = to_apply.recv() {
            let new = commands.iter().map(|command| command.number).filter(|number| seen.insert(*number));
            committed.extend(new.filter(|number| outstanding.settle(*number)));
        }
        committed
    });
    let carry = |numbers| {
        let proposer = proposer.clone();
        thread::spawn(move || block_on(proposer.propose(group(numbers), true)))
    };
    let carried = [[1, 2], [3, 4]].map(carry);
    carried.into_iter().for_each(|carried| carried.join().unwrap());
    drop(proposer);
    let committed = machine.join().unwrap();
    let mut lost = BTreeSet::new();
    while let Ok(News::Events(events)) = told.try_recv() {
        lost.extend(events.into_iter().map(|event| match event {
            LogEvent::Lost { number } => number,
            other => panic!("{other:?}"),
        }));
    }
    [committed, lost]
}

fn none_is_lost() {
    assert_eq!(carry_two(), [BTreeSet::from([1, 2, 3, 4]), BTreeSet::new()]);
}

#[test]
fn schedules_groups_that_are_carried_at_once_are_all_committed() {
    explore(Time::Stands, none_is_lost);
    assert!(sees(Mistake::AnswersWithoutWriting, Time::Stands, none_is_lost));
}

fn each_has_one_fate() {
    let [committed, lost] = carry_two();
    assert!(committed.is_disjoint(&lost), "{committed:?} and {lost:?}");
    assert_eq!(&committed | &lost, BTreeSet::from([1, 2, 3, 4]));
}

#[test]
fn schedules_groups_that_are_given_up_at_any_moment_have_one_fate_each() {
    explore(Time::Passes, each_has_one_fate);
}

/// Writers of one batcher, one of whom may give up: whoever hears that it is written finds it there
fn writers_share() {
    let (written, entries) = blocking::channel::<Proposals>();
    let batcher = Batcher::start(move |commands| {
        let written = written.clone();
        async move {
            written.send(commands).unwrap();
            pass().await;
            true
        }
    });
    let write = |number| {
        let batcher = batcher.clone();
        let command = Command::Incarnate { incarnation: 1 }.to_bytes().unwrap().try_into().unwrap();
        let commands = Proposals::truncated([Proposed { proposer: ME, boot: 1, number, command }]);
        thread::spawn(move || {
            let is_written = block_on(timeout_at(Instant::now(), batcher.write(commands)));
            (number, is_written)
        })
    };
    let writers = [1, 2, 3].map(write);
    let heard: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    drop(batcher);
    let there: Vec<u64> =
        entries.iter().flat_map(|entry| entry.iter().map(|command| command.number).collect::<Vec<_>>()).collect();
    for (number, is_written) in heard {
        assert_ne!(is_written, Ok(false), "{number}");
        assert!(is_written.is_err() || there.contains(&number), "{number} is not in {there:?}");
    }
}

#[test]
fn schedules_writers_are_told_what_is_true_though_others_give_up() {
    explore(Time::Passes, writers_share);
    explore(Time::Stands, writers_share);
    assert!(sees(Mistake::AnswersWithoutWriting, Time::Stands, writers_share));
}
