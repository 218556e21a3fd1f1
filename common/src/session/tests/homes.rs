//! Which supernode a peer chooses, and when it goes on to another one.

use std::collections::{BTreeMap, BTreeSet};

use super::membership::config;
use super::pair::{Pair, Supernode};
use super::*;
use crate::session::admission::Refusal;
use crate::session::membership::{MembershipConfig, MembershipOutput, Standing};
use crate::wire::Frame;

const SEEDS: std::ops::Range<u64> = 0..30;
const ALL: [(u64, &str, u16); 4] = [(1, "one", 0), (2, "two", 0), (3, "three", 0), (4, "four", 0)];

/// A peer that knows the first of so many, all of which tell of each other
fn pair_of(count: usize, seed: u64) -> Pair {
    let mut pair = Pair::new(config(), None, seed);
    for (serial, name, _) in ALL.into_iter().take(count) {
        let list = Some(list(&ALL[..count]));
        pair.supernodes.insert(name.to_owned(), Supernode { list, ..Supernode::new(serial, None) });
    }
    pair
}

/// … which has logged in
fn joined(count: usize, seed: u64) -> Pair {
    let mut pair = pair_of(count, seed);
    pair.run(2.0);
    assert_eq!(pair.home(), Some("one"));
    pair
}

fn overload(after_s: f64) -> Option<Refusal> {
    Some(Refusal::new(Status::SlowDown, "too many logins at once", Duration::from_secs_f64(after_s)))
}

fn dials_since(pair: &Pair, since: Instant) -> Vec<&str> {
    pair.dials.iter().filter(|(at, _)| *at >= since).map(|(_, to)| to.as_str()).collect()
}

#[test]
fn home_that_dies_is_followed_by_another_within_a_second_and_the_session_goes_on() {
    let homes = SEEDS.map(|seed| {
        let mut pair = joined(3, seed);
        pair.kill_home();
        let dead = pair.now;
        pair.run(1.0);
        let dialled = dials_since(&pair, dead);
        assert!(dialled.len() == 1 && dialled[0] != "one", "seed {seed}: {dialled:?}");
        assert_eq!(pair.directory.sessions.keys().collect::<Vec<_>>(), [&session_id(1)], "resumed");
        pair.home().unwrap().to_owned()
    });
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    homes.for_each(|home| *count.entry(home).or_default() += 1);
    assert!(count.len() == 2 && count.values().all(|n| *n >= 8), "about equal ones share the peers: {count:?}");
}

#[test]
fn peer_does_not_leave_a_living_home_for_a_better_one() {
    for seed in SEEDS {
        let mut pair = joined(3, seed);
        pair.supernodes.get_mut("one").unwrap().distance = Duration::from_secs(1);
        pair.run(3_600.0);
        assert_eq!((pair.home(), pair.dials.len()), (Some("one"), 1));
    }
}

#[test]
fn whole_round_is_quick_and_only_then_waits_grow() {
    for seed in SEEDS {
        let mut pair = joined(4, seed);
        for supernode in pair.supernodes.values_mut() {
            supernode.up = false;
        }
        pair.cut();
        let dead = pair.now;
        pair.run(2.0);
        let first: Vec<&str> = dials_since(&pair, dead).into_iter().take(4).collect();
        assert!(first.len() >= 3, "seed {seed}: {first:?}");
        assert!(!first[..3].contains(&"one") && first.iter().collect::<BTreeSet<_>>().len() == first.len());
        pair.run(300.0);
        let (dials, rounds) = (dials_since(&pair, dead).len(), 300.0 / 2.0);
        assert!((dials as f64) < rounds * 4.0, "seed {seed}: {dials} dials in five minutes");
    }
}

#[test]
fn silent_supernode_costs_one_dial_and_the_next_one_has_the_peer() {
    for seed in SEEDS {
        let mut pair = joined(3, seed);
        pair.supernodes.get_mut("two").unwrap().is_silent = true;
        pair.kill_home();
        pair.run(7.0);
        assert_eq!(pair.home(), Some("three"), "seed {seed}");
    }
}

#[test]
fn no_quorum_at_one_supernode_sends_the_peer_to_the_next() {
    for seed in SEEDS {
        let mut pair = joined(3, seed);
        let refusal = Refusal::new(Status::Unavailable, "no quorum", Duration::from_secs(1));
        pair.supernodes.get_mut("two").unwrap().overload = Some(refusal);
        pair.kill_home();
        pair.run(1.5);
        assert_eq!(pair.home(), Some("three"), "seed {seed}");
    }
}

#[test]
fn supernode_that_asks_for_time_has_it_while_others_are_tried_at_once() {
    for seed in SEEDS {
        let mut pair = joined(3, seed);
        for name in ["two", "three"] {
            pair.supernodes.get_mut(name).unwrap().overload = overload(20.0);
        }
        pair.kill_home();
        let dead = pair.now;
        pair.run(19.0);
        let dialled = dials_since(&pair, dead);
        assert_eq!(dialled.iter().filter(|name| **name == "two").count(), 1, "seed {seed}: {dialled:?}");
        assert_eq!(dialled.iter().filter(|name| **name == "three").count(), 1, "seed {seed}: {dialled:?}");
        assert!(pair.dials.iter().filter(|(at, _)| *at < dead + Duration::from_secs(1)).count() >= 3, "at once");
        pair.supernodes.get_mut("two").unwrap().overload = None;
        pair.run(20.0);
        assert_eq!(pair.home(), Some("two"), "seed {seed}");
    }
}

#[test]
fn retries_under_overload_stay_within_their_budget() {
    let mut pair = joined(4, 5);
    for supernode in pair.supernodes.values_mut() {
        supernode.overload = overload(4.0);
    }
    pair.cut();
    let (start, mut overloaded) = (pair.now, 0);
    pair.run(600.0);
    let dials: Vec<Instant> = pair.dials.iter().map(|(at, _)| *at).filter(|at| *at >= start).collect();
    for two in dials.windows(2) {
        overloaded += usize::from(two[1] - two[0] < Duration::from_secs(4));
    }
    assert!(overloaded <= 3, "{overloaded} of {} tries came sooner than they were asked to", dials.len());
}

#[test]
fn peers_of_a_dead_home_do_not_come_in_step() {
    let first: BTreeSet<u128> = (0..200)
        .map(|seed| {
            let mut pair = joined(3, seed);
            pair.kill_home();
            let dead = pair.now;
            pair.run(1.0);
            let first = pair.dials.iter().find(|(at, _)| *at >= dead).unwrap().0;
            (first - dead).as_millis() / 50
        })
        .collect();
    assert_eq!(first.len(), 10, "all twentieths of the first half second are used");
}

#[test]
fn peer_whose_configured_supernode_is_gone_joins_by_a_learnt_one() {
    let learned = list(&ALL[..3]).supernodes.into_vec();
    for seed in SEEDS {
        let mut pair = Pair::new(MembershipConfig { learned: learned.clone(), ..config() }, None, seed);
        pair.supernodes.get_mut("one").unwrap().up = false;
        pair.run(2.0);
        assert!(pair.is_logged_in() && pair.home() != Some("one"), "seed {seed}");
        assert_eq!(pair.peer.known_supernodes(), 3, "the first is the configured one");
    }
}

#[test]
fn list_is_told_once_for_what_is_new_and_its_loads_count_at_once() {
    let mut pair = joined(3, 1);
    let told = |pair: &Pair| pair.log.iter().filter(|(_, o)| matches!(o, MembershipOutput::Supernodes(_))).count();
    assert_eq!((told(&pair), pair.peer.known_supernodes()), (1, 3));
    for (list, count) in [
        (list(&[(1, "one", 500), (2, "two", 0), (3, "three", 0)]), 1),
        (list(&[]), 1),
        (list(&[(1, "one", 500), (2, "elsewhere", 0)]), 2),
    ] {
        pair.tell(Frame::Supernodes(list));
        assert_eq!(told(&pair), count);
    }
    assert_eq!(pair.peer.known_supernodes(), 2);
    let home = pair.peer.chosen_home().unwrap();
    assert_eq!((home.id, home.load), (Some(SupernodeId(1)), Some(500)));
    assert_eq!(&*home.reason, "no other is known");
}

#[test]
fn removed_home_is_kept_while_it_answers_and_the_way_in_stays() {
    let mut pair = joined(3, 2);
    pair.tell(Frame::Supernodes(list(&[(2, "two", 0), (3, "three", 0)])));
    pair.run(60.0);
    assert_eq!(pair.home(), Some("one"));
    for name in ["two", "three"] {
        pair.supernodes.get_mut(name).unwrap().up = false;
    }
    pair.cut();
    pair.run(3.0);
    assert_eq!(pair.home(), Some("one"), "it was configured");
    assert!(matches!(pair.peer.standing(), Standing::LoggedIn { .. }));
}

#[test]
fn address_that_leads_to_a_listed_supernode_counts_no_more_by_itself() {
    let supernodes = ["one", "alias"].map(str::to_owned).to_vec();
    let mut pair = Pair::new(MembershipConfig { supernodes, ..config() }, None, 4);
    // Both addresses lead to the first supernode, which has a third one in its own list.
    for name in ["one", "alias", "listed"] {
        let list = Some(list(&[(1, "listed", 0), (2, "two", 0)]));
        pair.supernodes.insert(name.to_owned(), Supernode { list, ..Supernode::new(1, None) });
    }
    pair.supernodes.insert("two".to_owned(), Supernode { up: false, ..Supernode::new(2, None) });
    pair.run(1.0);
    assert_eq!(pair.peer.known_supernodes(), 3, "one of the addresses has not led anywhere yet");
    pair.cut();
    pair.run(5.0);
    assert!(pair.is_logged_in());
}
