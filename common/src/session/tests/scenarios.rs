//! Both halves as a plan: what happens, then what must hold.

use super::membership::config;
use super::pair::Pair;
use super::*;
use crate::session::admission::{AdmissionOutput, Refusal};
use crate::session::membership::{Membership, MembershipConfig, MembershipOutput};
use crate::wire::Frame;

const SEEDS: std::ops::Range<u64> = 0..20;

fn pair(seed: u64) -> Pair {
    Pair::new(config(), None, seed)
}

/// A pair whose peer has logged in
fn joined(seed: u64) -> Pair {
    let mut pair = pair(seed);
    pair.run(1.0);
    assert!(pair.is_logged_in(), "{:?}", pair.peer.standing());
    pair
}

fn sessions(pair: &Pair) -> Vec<SessionId> {
    let granted = pair.log.iter().filter_map(|(_, output)| match output {
        MembershipOutput::LoggedIn { grant, .. } => Some(grant.session),
        _ => None,
    });
    granted.collect()
}

fn lost(pair: &Pair) -> usize {
    pair.log.iter().filter(|(_, output)| matches!(output, MembershipOutput::Lost { .. })).count()
}

#[test]
fn peer_logs_in_stays_by_renewals_and_logs_out() {
    let mut pair = joined(1);
    assert_eq!(pair.log[0].1, MembershipOutput::PinNetwork(network_of(NETWORK)));
    pair.run(600.0);
    assert!(pair.is_logged_in());
    assert_eq!((lost(&pair), pair.dials.len()), (0, 1));
    let renewals = pair.seen.iter().filter(|output| matches!(output, AdmissionOutput::Renew { .. })).count();
    assert!((60..=67).contains(&renewals), "{renewals}");
    pair.wish(Membership::handle_logout);
    pair.run(0.2);
    let reason = Reason::truncated("logged out");
    assert_eq!(pair.log.last().map(|(_, output)| output), Some(&MembershipOutput::LoggedOut { reason }));
    assert!(pair.directory.sessions.is_empty());
    pair.run(100.0);
    assert_eq!((pair.dials.len(), pair.links()), (1, 0));
}

#[test]
fn lost_link_is_replaced_within_a_second_and_the_session_taken_up_again() {
    for seed in SEEDS {
        let mut pair = joined(seed);
        pair.cut();
        assert_eq!(lost(&pair), 1);
        let cut = pair.now;
        pair.run(1.0);
        let redial = pair.dials.last().unwrap().0;
        assert!(redial - cut <= Duration::from_millis(500), "seed {seed}: {:?}", redial - cut);
        assert!(pair.is_logged_in(), "seed {seed}");
        assert_eq!(sessions(&pair), [session_id(1), session_id(1)]);
    }
}

#[test]
fn session_is_new_when_the_peer_comes_back_after_the_lease() {
    let mut pair = joined(2);
    pair.supernodes.get_mut("one").unwrap().up = false;
    pair.cut();
    pair.run(LEASE.as_secs_f64() + 1.0);
    assert_eq!(pair.setback().0, Status::Unavailable);
    assert_eq!(pair.setback().1, "one cannot be reached: cannot connect: connection refused");
    pair.supernodes.get_mut("one").unwrap().up = true;
    pair.run(5.0);
    assert_eq!(sessions(&pair), [session_id(1), session_id(2)]);
}

#[test]
fn peers_are_back_within_five_seconds_of_a_restart() {
    for seed in SEEDS {
        let mut pair = joined(seed);
        pair.supernodes.get_mut("one").unwrap().up = false;
        pair.cut();
        pair.run(3.0 + seed as f64);
        pair.supernodes.get_mut("one").unwrap().up = true;
        pair.run(5.0);
        assert!(pair.is_logged_in(), "seed {seed}: {:?}", pair.peer.standing());
    }
}

#[test]
fn peer_that_finds_no_supernode_keeps_trying_every_half_to_six_seconds() {
    for seed in SEEDS {
        let mut pair = pair(seed);
        pair.supernodes.get_mut("one").unwrap().up = false;
        pair.run(300.0);
        let waits = pair.dials.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64());
        assert!(waits.clone().all(|wait| (0.5..=6.1).contains(&wait)), "seed {seed}");
        assert!(waits.count() > 40);
        assert!(pair.log.is_empty(), "a failed dial is no refusal and no loss");
    }
}

#[test]
fn dead_supernode_is_replaced_by_the_next_in_turn() {
    for seed in SEEDS {
        let supernodes = ["one", "two", "three"].map(str::to_owned).to_vec();
        let mut pair = Pair::new(MembershipConfig { supernodes, ..config() }, None, seed);
        pair.run(1.0);
        let first = pair.home().unwrap().to_owned();
        pair.supernodes.get_mut(&first).unwrap().up = false;
        pair.cut();
        pair.run(1.0);
        assert_ne!(pair.home(), Some(first.as_str()), "seed {seed}");
        assert!(pair.is_logged_in());
        assert_eq!(sessions(&pair), [session_id(1), session_id(1)]);
    }
}

#[test]
fn first_supernodes_of_many_peers_are_spread() {
    let supernodes = ["one", "two", "three"].map(str::to_owned).to_vec();
    let homes = SEEDS.map(|seed| {
        let mut pair = Pair::new(MembershipConfig { supernodes: supernodes.clone(), ..config() }, None, seed);
        pair.run(1.0);
        pair.home().unwrap().to_owned()
    });
    assert_eq!(homes.collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[test]
fn silent_supernode_is_left_after_an_unanswered_renewal() {
    let mut pair = joined(3);
    pair.silent = true;
    pair.run(21.0);
    assert_eq!(lost(&pair), 1);
    pair.silent = false;
    pair.run(9.0);
    assert!(pair.is_logged_in());
    assert_eq!(pair.links(), 1);
}

#[test]
fn logout_from_a_silent_supernode_takes_two_seconds() {
    let mut pair = joined(4);
    pair.silent = true;
    pair.wish(Membership::handle_logout);
    let asked = pair.now;
    pair.run(10.0);
    let (at, output) = pair.log.last().unwrap();
    assert!(matches!(output, MembershipOutput::LoggedOut { .. }));
    assert_eq!(*at - asked, LOGOUT_WAIT);
    assert_eq!(pair.links(), 0);
}

#[test]
fn name_of_another_is_refused_with_409_and_tried_slowly() {
    let mut pair = pair(5);
    pair.directory.names.insert(name("alice"), ed(9).key());
    pair.run(60.0);
    assert_eq!(pair.setback(), (Status::Conflict, "the name is another's".to_owned()));
    assert!((5..=8).contains(&pair.dials.len()), "{}", pair.dials.len());
    assert!(pair.directory.sessions.is_empty());
    pair.directory.names.clear();
    pair.run(13.0);
    assert!(pair.is_logged_in());
}

#[test]
fn secret_opens_the_network_and_nothing_else_does() {
    for (secret, expected) in [(Some(SECRET), true), (Some(b"open barley".as_slice()), false), (None, false)] {
        let secret = secret.map(|secret| Secret::new(secret.to_vec()));
        let mut pair = Pair::new(MembershipConfig { secret, ..config() }, Some(SECRET), 6);
        pair.run(40.0);
        assert_eq!(pair.is_logged_in(), expected);
        if !expected {
            assert_eq!(pair.setback().0, Status::NotAllowed);
            assert!(pair.directory.sessions.is_empty() && pair.directory.names.is_empty());
        }
    }
}

#[test]
fn overloaded_supernode_is_left_alone_for_as_long_as_it_asks() {
    for seed in SEEDS {
        let mut pair = pair(seed);
        let refusal = Refusal::new(Status::Unavailable, "too many logins", Duration::from_secs(4));
        pair.supernodes.get_mut("one").unwrap().overload = Some(refusal);
        pair.run(30.0);
        let waits = pair.dials.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64());
        assert!(waits.clone().all(|wait| (4.0..=6.3).contains(&wait)), "seed {seed}");
        assert_eq!(pair.setback(), (Status::Unavailable, "too many logins".to_owned()));
        pair.supernodes.get_mut("one").unwrap().overload = None;
        pair.run(7.0);
        assert!(pair.is_logged_in());
    }
}

#[test]
fn supernode_of_another_network_never_gets_a_login() {
    let mut pair = Pair::new(MembershipConfig { network: Some(network_of(OTHER_NETWORK)), ..config() }, None, 7);
    pair.run(60.0);
    assert_eq!(pair.setback().0, Status::NotAllowed);
    assert!(!pair.seen.iter().any(|output| matches!(output, AdmissionOutput::Propose(_))));
}

#[test]
fn slow_disk_delays_a_login_and_loses_none() {
    let mut pair = pair(8);
    pair.disk = Duration::from_secs(8);
    pair.run(9.0);
    assert!(pair.is_logged_in());
    assert_eq!(pair.dials.len(), 1);
}

#[test]
fn grant_that_comes_too_late_is_found_again_at_the_next_try() {
    let mut pair = pair(9);
    pair.disk = Duration::from_secs(12);
    pair.run(11.0);
    assert!(!pair.is_logged_in());
    pair.disk = Duration::from_millis(5);
    pair.run(5.0);
    assert!(pair.is_logged_in());
    assert_eq!(pair.links(), 1);
}

#[test]
fn frame_in_a_wrong_state_ends_its_link_and_disturbs_nothing_else() {
    let mut pair = joined(10);
    pair.inject(Frame::Rewire(rewire(99)));
    pair.run(2.0);
    let reason = Reason::truncated("unexpected Rewire while logged in");
    assert!(pair.seen.contains(&AdmissionOutput::Close { status: Status::Malformed, reason }));
    assert!(pair.is_logged_in(), "the peer is back on a new link");
    assert_eq!(sessions(&pair), [session_id(1), session_id(1)]);
}

#[test]
fn flapping_link_is_not_redialled_in_a_loop() {
    let mut pair = joined(11);
    let start = pair.dials.len();
    for _ in 0..100 {
        pair.cut();
        pair.run(0.1);
    }
    assert!(pair.dials.len() - start <= 15, "{} dials in ten seconds", pair.dials.len() - start);
}

#[test]
fn same_seed_gives_the_same_history() {
    let history = |seed| {
        let mut pair = joined(seed);
        pair.supernodes.get_mut("one").unwrap().up = false;
        pair.cut();
        pair.run(120.0);
        pair.dials
    };
    assert_eq!(history(12), history(12));
    assert_ne!(history(12), history(13));
}
