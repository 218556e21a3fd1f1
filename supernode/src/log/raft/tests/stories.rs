//! What supernodes must survive.

use std::thread;
use std::time::Duration;

use kith_common::directory::{Command, LogIn, Right};
use kith_common::id::{Key, NetworkId, SessionId, SupernodeId};
use kith_common::wire::agreement::{Ballot, Change, Configured, LogAsk, LogQuestion, LogReply, Position, SnapshotPart};
use kith_common::wire::bounded::{Bounded, Text};

use super::cluster::{Cluster, id};
use crate::log::backup;
use crate::log::store::FILE_NAME;

fn login(i: u64, home: SupernodeId) -> Command {
    let mut key = [2; 32];
    key[..8].copy_from_slice(&i.to_be_bytes());
    let mut session = [1; 16];
    session[..8].copy_from_slice(&i.to_be_bytes());
    Command::LogIn(LogIn {
        name: format!("peer-{i}").parse().unwrap(),
        key: Key(key),
        session: SessionId(session),
        salt: [3; 16],
        locations: Bounded::new(),
        home,
        right: Right::Anybody,
        resumes: None,
        offers: None,
    })
}

/// The wish to take a supernode out, with another one in its place
const fn removal(number: u64) -> Change {
    Change::Remove { id: SupernodeId(number), leaves_one: false }
}

fn logins(range: std::ops::Range<u64>, home: SupernodeId) -> Vec<Command> {
    range.map(|i| login(i, home)).collect()
}

#[test]
fn one_supernode_agrees_with_itself_and_finds_all_of_it_again() {
    let mut cluster = Cluster::of(1);
    assert!(cluster.commit(id(1), logins(0..300, id(1))));
    let before = cluster.told(id(1)).directory.as_ref().unwrap().snapshot().unwrap();
    cluster.kill(id(1));
    cluster.start(id(1));
    // At once, without a leader to say what is committed: nobody else decides.
    assert_eq!(cluster.told(id(1)).directory.as_ref().unwrap().snapshot().unwrap(), before);
    cluster.await_leader(&[1]);
    assert!(cluster.commit(id(1), logins(300..301, id(1))));
    assert_eq!(cluster.told(id(1)).directory.as_ref().unwrap().accounts().len(), 301);
}

#[test]
fn three_agree_whoever_proposes() {
    let mut cluster = Cluster::of(3);
    for number in 1..=3 {
        let first = number * 100;
        assert!(cluster.commit(id(number), logins(first..first + 50, id(number))));
    }
    cluster.await_agreement(&[1, 2, 3], 150);
    let commands = cluster.told(id(1)).commands.clone();
    let indices: Vec<u64> = commands.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, (1..=150).collect::<Vec<_>>(), "each command has its own index, and none is missing");
    for number in 2..=3 {
        let told = cluster.told(id(number));
        assert!(commands.ends_with(&told.commands), "{number} was told the same");
    }
}

#[test]
fn leader_dies_and_the_others_go_on() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    assert!(cluster.commit(leader, logins(0..10, leader)));
    let others: Vec<u64> = (1..=3).filter(|number| *number != leader.0).collect();
    // Proposed while nobody leads: it is carried to whoever leads next.
    cluster.kill(leader);
    assert!(cluster.commit(id(others[0]), logins(10..20, id(others[0]))));
    let next = cluster.await_leader(&others);
    assert_ne!(next, leader);
    cluster.start(leader);
    cluster.await_agreement(&[1, 2, 3], 20);
    assert_eq!(cluster.told(leader).ended, None);
}

#[test]
fn without_a_majority_nothing_is_acknowledged_and_all_goes_on_when_it_is_back() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    let others: Vec<u64> = (1..=3).filter(|number| *number != leader.0).collect();
    others.iter().for_each(|number| cluster.kill(id(*number)));
    assert!(!cluster.commit(leader, logins(0..1, leader)));
    cluster.wait("it notices that nobody follows", |cluster| cluster.told(leader).leader.is_none());
    cluster.log(leader).read();
    cluster.wait("its read has an answer", |cluster| cluster.told(leader).reads == [None]);
    cluster.start(id(others[0]));
    cluster.await_leader(&[leader.0, others[0]]);
    assert!(cluster.commit(leader, logins(1..2, leader)));
    cluster.start(id(others[1]));
    cluster.await_agreement(&[1, 2, 3], 1);
}

#[test]
fn whoever_was_cut_off_comes_back_without_deposing_the_leader() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    let others: Vec<u64> = (1..=3).filter(|number| *number != leader.0).collect();
    let (near, far) = (id(others[0]), id(others[1]));
    let term = cluster.log(leader).standing().term;
    cluster.cut(far, leader);
    // It hears the other follower, and that one hears the leader: it does not stand.
    cluster.wait("it misses the leader", |cluster| cluster.told(far).leader.is_none());
    thread::sleep(Duration::from_secs(3));
    cluster.cut(far, near);
    thread::sleep(Duration::from_secs(3));
    assert!(cluster.commit(near, logins(0..5, near)));
    cluster.heal();
    cluster.await_leader(&[1, 2, 3]);
    cluster.await_agreement(&[1, 2, 3], 5);
    assert_eq!((cluster.log(far).standing().term, cluster.leader_of(&[1, 2, 3])), (term, Some(leader)));
}

#[test]
fn leader_that_is_cut_off_gives_way_and_takes_over_what_it_missed() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    let others: Vec<u64> = (1..=3).filter(|number| *number != leader.0).collect();
    others.iter().for_each(|number| cluster.cut(leader, id(*number)));
    // In its log, and in nobody else's: it must not come back.
    let lost = cluster.propose(leader, logins(900..901, leader));
    let next = cluster.await_leader(&others);
    assert!(cluster.commit(next, logins(0..5, next)));
    cluster.wait("it is told", |cluster| cluster.told(leader).fates.contains_key(&lost[0]));
    assert_eq!(cluster.told(leader).fates[&lost[0]], None);
    cluster.heal();
    cluster.await_agreement(&[1, 2, 3], 5);
}

#[test]
fn whoever_lacks_entries_of_the_log_does_not_outrun_those_who_have_them() {
    let mut cluster = Cluster::of(3);
    cluster.await_leader(&[1, 2, 3]);
    // The first in rank, and so the one that stands most often, is to lack some: it must not lead.
    let behind = id(1);
    cluster.kill(behind);
    let leader = cluster.await_leader(&[2, 3]);
    let ahead = id(5 - leader.0);
    cluster.start(behind);
    cluster.await_leader(&[1, 2, 3]);
    cluster.cut(leader, behind);
    assert!(cluster.commit(leader, logins(0..5, leader)));
    cluster.wait("one has them", |cluster| cluster.told(ahead).commands.len() == 5);
    cluster.cut(behind, ahead);
    cluster.kill(leader);
    // It has stood so often in vain: its votes are for far newer terms than any that the other knows.
    cluster.wait("it is in a newer term", |cluster| {
        let ballot = Ballot { term: 1_000, candidate: ahead, is_elected: false };
        let last = Some(Position { term: 999, leader: ahead, entry: 1_000 });
        let question = LogQuestion::Vote { ballot, last };
        cluster.log(behind).ask(leader, LogAsk { number: 1, lineage: 0, question });
        cluster.log(behind).standing().term >= 1_000
    });
    cluster.heal();
    assert_eq!(cluster.await_leader(&[behind.0, ahead.0]), ahead);
    assert!(cluster.commit(behind, logins(5..6, behind)));
    cluster.start(leader);
    cluster.await_agreement(&[1, 2, 3], 6);
}

#[test]
fn newcomer_and_straggler_are_brought_up_by_a_snapshot() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    let straggler = id((1..=3).find(|number| *number != leader.0).unwrap());
    cluster.kill(straggler);
    // Enough for a snapshot, and for more entries behind it than are kept.
    for batch in 0..400 {
        assert!(cluster.commit(leader, logins(batch * 12..batch * 12 + 12, leader)));
    }
    cluster.start(straggler);
    cluster.add(id(4));
    cluster.await_agreement(&[1, 2, 3, 4], 4_800);
    for number in [straggler, id(4)] {
        let told = cluster.told(number);
        assert!(told.replaced >= 1, "{number} has had single commands only: {}", told.commands.len());
    }
    // From the snapshot and what follows, all of it is there again after a start.
    cluster.kill(straggler);
    cluster.start(straggler);
    cluster.await_agreement(&[1, 2, 3, 4], 4_800);
}

#[test]
fn supernodes_are_replaced_one_by_one_while_others_propose() {
    let mut cluster = Cluster::of(3);
    let mut next = 0;
    for (old, new) in [(1, 4), (2, 5), (3, 6)] {
        cluster.add(id(new));
        assert!(cluster.commit(id(new), logins(next..next + 10, id(new))));
        cluster.change(removal(old)).unwrap();
        cluster.wait("it knows that it was taken out", |cluster| cluster.told(id(old)).ended.is_some());
        cluster.kill(id(old));
        let again = Change::Add(Configured { id: id(old), locations: Bounded::new() });
        assert!(cluster.change(again).unwrap_err().contains("taken out of the network for good"));
        next += 10;
        let present: Vec<u64> = (old + 1..=new).collect();
        cluster.wait("three vote", |cluster| {
            let configured = cluster.told(id(new)).configured.clone();
            configured.len() == 3 && configured.iter().all(|(_, _, votes)| *votes)
        });
        let leader = cluster.await_leader(&present);
        assert!(cluster.commit(leader, logins(next..next + 10, leader)));
        next += 10;
        cluster.await_agreement(&present, next);
    }
}

#[test]
fn command_that_is_asked_for_again_has_one_index() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    let proposer = id((1..=3).find(|number| *number != leader.0).unwrap());
    let other = id((1..=3).find(|number| ![leader, proposer].contains(&id(*number))).unwrap());
    // The leader goes as soon as it has been asked: the answer to some is lost on the way, and they are asked for again.
    let numbers = cluster.propose(proposer, logins(0..200, proposer));
    thread::sleep(Duration::from_millis(3));
    cluster.kill(leader);
    cluster.wait("they have a fate", |cluster| {
        let told = cluster.told(proposer);
        numbers.iter().all(|number| told.fates.contains_key(number))
    });
    cluster.await_leader(&[proposer.0, other.0]);
    cluster.start(leader);
    assert!(cluster.commit(other, logins(500..501, other)));
    let committed = cluster.told(proposer).fates.values().filter(|fate| fate.is_some()).count() as u64;
    assert_eq!(committed, 200, "there was a leader again in time");
    cluster.await_agreement(&[1, 2, 3], 201);
    assert_eq!(cluster.told(other).directory.as_ref().unwrap().applied(), 201, "none is there twice");
}

#[test]
fn read_is_as_new_as_what_was_acknowledged_anywhere() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    for number in 1..=3 {
        assert!(cluster.commit(leader, logins(number * 10..number * 10 + 1, leader)));
        cluster.log(id(number)).read();
        cluster.wait("the read has an answer", |cluster| !cluster.told(id(number)).reads.is_empty());
        assert!(cluster.told(id(number)).reads[0].is_some_and(|index| index >= number));
    }
}

#[test]
fn snapshot_that_contradicts_what_is_committed_is_refused() {
    let mut cluster = Cluster::of(1);
    assert!(cluster.commit(id(1), logins(0..20, id(1))));
    // Of a higher term, and behind what is committed here: of another network that has the same names for its supernodes.
    let position = Position { term: 90, leader: id(7), entry: 2 };
    let part = SnapshotPart {
        ballot: Ballot { term: 90, candidate: id(7), is_elected: true },
        last: Some(position),
        configured_at: None,
        configuration: kith_common::wire::agreement::Configuration {
            voters: Bounded::new(),
            supernodes: Bounded::new(),
        },
        name: Text::truncated("90-2"),
        offset: 0,
        bytes: vec![0; 8].try_into().unwrap(),
        is_last: true,
    };
    let before = cluster.told(id(1)).directory.as_ref().unwrap().snapshot().unwrap();
    cluster.log(id(1)).ask(id(7), LogAsk { number: 1, lineage: 0, question: LogQuestion::Snapshot(part) });
    assert!(cluster.commit(id(1), logins(20..21, id(1))));
    let told = cluster.told(id(1));
    assert_eq!((told.replaced, &told.ended), (0, &None));
    assert_ne!(told.directory.as_ref().unwrap().snapshot().unwrap(), before);
}

#[test]
fn network_goes_on_from_a_backup_and_supernodes_of_the_log_before_are_not_heard() {
    let network = NetworkId([7; 32]);
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    assert!(cluster.commit(leader, logins(0..30, leader)));
    let snapshot = cluster.log(leader).backup().blocking_recv().unwrap().unwrap();
    let file = cluster.home(leader).path().join("backup");
    backup::write(&file, &network, &snapshot).unwrap();
    assert!(cluster.commit(leader, logins(30..31, leader)));
    let before = cluster.told(leader).directory.as_ref().unwrap().epoch();
    for number in 1..=3 {
        cluster.kill(id(number));
    }
    let (one, other) = (id(1), id(2));
    let home = cluster.free_home(one);
    assert!(backup::restore(&home, &file, &network, one, (9, 9)).unwrap_err().to_string().contains("move it away"));
    std::fs::rename(home.join(FILE_NAME), home.join("moved")).unwrap();
    assert_eq!(backup::restore(&home, &file, &network, one, (9, 9)).unwrap(), 30);
    cluster.start(one);
    cluster.start(other);
    cluster.wait("it leads alone", |cluster| cluster.told(one).leader == Some(one));
    assert!(cluster.commit(one, logins(40..41, one)));
    let directory = cluster.told(one).directory.clone().unwrap();
    assert_eq!((directory.accounts().len(), directory.epoch().incarnation), (31, 9));
    assert!(directory.epoch().index > before.index + (1 << 31) && directory.epoch().partial_cmp(&before).is_none());
    // For good the others are none of its supernodes, also by a backup of it.
    let later = cluster.log(one).backup().blocking_recv().unwrap().unwrap();
    backup::write(&file, &network, &later).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let refusal = backup::restore(empty.path(), &file, &network, other, (9, 9)).unwrap_err().to_string();
    assert!(refusal.contains("was taken out of the network for good"), "{refusal}");
    assert!(!empty.path().join(FILE_NAME).exists());
    // The one that has the log from before would lead it again with a third, and must not be led by this one.
    cluster.start(id(3));
    cluster.await_leader(&[2, 3]);
    assert!(cluster.commit(other, logins(50..51, other)));
    assert!(cluster.commit(one, logins(60..61, one)));
    assert_eq!(cluster.told(one).directory.as_ref().unwrap().accounts().len(), 32);
    assert_eq!(cluster.told(other).directory.as_ref().unwrap().accounts().len(), 32, "31 of before, and one");
}

#[test]
fn last_but_one_voter_is_taken_out_only_by_the_word_of_whoever_wants_one_to_decide_alone() {
    let cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    let other = (1..=3).find(|number| *number != leader.0).unwrap();
    let reason = cluster.change(removal(other)).unwrap_err();
    assert!(reason.contains("decides alone") && reason.contains("--leave-one"), "{reason}");
    assert_eq!(cluster.told(leader).configured.len(), 3);
    cluster.change(Change::Remove { id: id(other), leaves_one: true }).unwrap();
    cluster.wait("two are left", |cluster| cluster.told(leader).configured.len() == 2);
}

#[test]
fn old_copy_of_a_log_is_noticed_by_the_leader_and_never_votes_again() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    let old = id((1..=3).find(|number| *number != leader.0).unwrap());
    let other = id((1..=3).find(|number| ![leader, old].contains(&id(*number))).unwrap());
    assert!(cluster.commit(leader, logins(0..10, leader)));
    cluster.await_agreement(&[1, 2, 3], 10);
    cluster.kill(old);
    let home = cluster.free_home(old);
    std::fs::copy(home.join(FILE_NAME), home.join("old")).unwrap();
    cluster.start(old);
    assert!(cluster.commit(leader, logins(10..20, leader)));
    cluster.await_agreement(&[1, 2, 3], 20);
    assert_eq!(cluster.told(old).ended, None, "it has all that it had, and more");
    cluster.kill(old);
    cluster.free_home(old);
    std::fs::rename(home.join("old"), home.join(FILE_NAME)).unwrap();
    cluster.start(old);
    cluster.wait("it ends", |cluster| cluster.told(old).ended.is_some());
    assert!(cluster.told(old).ended.as_ref().unwrap().contains("older copy of itself"));
    cluster.kill(old);
    cluster.free_home(old);
    let refused = cluster.refused_start(old);
    assert!(refused.contains("must not vote") && refused.contains("remove --supernode"), "{refused}");
    // The others agree without it.
    assert!(cluster.commit(other, logins(20..30, other)));
    assert_eq!((&cluster.told(leader).ended, &cluster.told(other).ended), (&None, &None));
}

#[test]
fn leader_that_starts_with_an_old_copy_of_its_log_does_not_lead_on() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[1, 2, 3]);
    let others: Vec<u64> = (1..=3).filter(|number| *number != leader.0).collect();
    assert!(cluster.commit(leader, logins(0..10, leader)));
    cluster.await_agreement(&[1, 2, 3], 10);
    let home = cluster.home(leader).path().to_owned();
    // Between two writes, as a copy of a disk is: the file cannot be opened beside the supernode.
    std::fs::copy(home.join(FILE_NAME), home.join("old")).unwrap();
    assert!(cluster.commit(leader, logins(10..20, leader)));
    cluster.await_agreement(&[1, 2, 3], 20);
    (1..=3).for_each(|number| cluster.kill(id(number)));
    (1..=3).for_each(|number| drop(cluster.free_home(id(number))));
    std::fs::rename(home.join("old"), home.join(FILE_NAME)).unwrap();
    cluster.start(leader);
    others.iter().for_each(|number| cluster.start(id(*number)));
    let next = cluster.await_leader(&others);
    assert_ne!(next, leader, "whoever has less than a majority is not elected");
    assert!(cluster.commit(next, logins(20..30, next)));
    cluster.await_agreement(&[1, 2, 3], 30);
}

#[test]
fn serial_without_a_log_gives_no_vote() {
    let mut cluster = Cluster::of(1);
    let empty = id(2);
    cluster.add_silent(empty);
    let ballot = Ballot { term: 90, candidate: id(1), is_elected: false };
    let question = LogQuestion::Vote { ballot, last: None };
    cluster.log(empty).ask(id(1), LogAsk { number: 1, lineage: 7, question });
    cluster.wait("it answers", |cluster| !cluster.told(empty).answers.is_empty());
    let answer = &cluster.told(empty).answers[0];
    assert!(matches!(answer, LogReply::Failed(reason) if reason.contains("no log here")), "{answer:?}");
}

#[test]
fn supernode_of_a_network_of_one_cannot_be_taken_out() {
    let cluster = Cluster::of(1);
    assert!(cluster.change(removal(1)).unwrap_err().contains("only supernode"));
    assert!(cluster.home(id(1)).path().exists());
}
