//! Renewals, rewires, the logout, and the turns of dials.

use super::*;
use crate::link::limits::DIAL_MAX;
use crate::session::retry::{RETRY_MAX, RETRY_MAX_SILENT};
use crate::wire::session::SUPERNODES_MAX;

#[test]
fn renewals_go_out_every_third_of_the_lease_with_the_epoch_of_the_table() {
    let mut peer = logged_in();
    feed(&mut peer, Frame::Rewire(rewire(12)));
    drain(&mut peer);
    let mut sent = Instant::ZERO;
    for _ in 0..20 {
        let due = peer.next_timeout().unwrap();
        assert!((9.0..=10.0).contains(&(due - sent).as_secs_f64()), "{sent:?} → {due:?}");
        peer.handle_timeout(due);
        let frame = Frame::Renew(Renew { session: session_id(7), epoch: Epoch::new(0, 12) });
        assert_eq!(drain(&mut peer), [MembershipOutput::Send { dial: 1, frame }]);
        feed_at(
            &mut peer,
            due,
            Frame::Renewed(Renewed { session: session_id(7), epoch: Epoch::new(0, 12), is_cut_off: false }),
        );
        assert_eq!(drain(&mut peer), []);
        sent = due;
    }
}

#[test]
fn unanswered_renewal_loses_the_link_after_a_third_of_the_lease() {
    let mut peer = logged_in();
    let due = peer.next_timeout().unwrap();
    peer.handle_timeout(due);
    let until = peer.next_timeout().unwrap();
    assert_eq!(until - due, LEASE / 3);
    drain(&mut peer);
    peer.handle_timeout(until);
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "lost"]);
    assert_eq!(searching(&peer).1, "one did not answer a renewal for 10.0 s");
    assert!(peer.next_timeout().unwrap() - until <= Duration::from_millis(500));
}

#[test]
fn peer_that_was_held_up_gives_every_answer_its_whole_time_anew() {
    let renewing: Start = || {
        let mut peer = logged_in();
        peer.handle_timeout(at(10.0));
        peer
    };
    let states: [(Start, Duration); 5] = [
        (|| dialling(config()), DIAL_MAX),
        (|| greeted(config()), CHALLENGE_WAIT),
        (|| asked(config()), ANSWER_WAIT),
        (logging_out, LOGOUT_WAIT),
        (renewing, LEASE / 3),
    ];
    for (start, wait) in states {
        let mut peer = start();
        drain(&mut peer);
        peer.handle_held_up(at(300.0));
        peer.handle_timeout(at(300.0));
        assert_eq!((drain(&mut peer), peer.next_timeout()), (vec![], Some(at(300.0) + wait)));
    }
    let mut searching = Membership::new(config(), 1, Instant::ZERO);
    searching.handle_held_up(at(300.0));
    assert_eq!(searching.next_timeout(), Some(Instant::ZERO), "it waits for nobody");
}

#[test]
fn older_rewires_are_ignored() {
    let mut peer = logged_in();
    for (epoch, expected) in [(10, 0), (9, 0), (11, 1), (11, 0), (10, 0), (12, 1)] {
        feed(&mut peer, Frame::Rewire(rewire(epoch)));
        assert_eq!(drain(&mut peer).len(), expected, "epoch {epoch}");
    }
    // Another incarnation of the log begins with a login.
    feed(&mut peer, Frame::Rewire(Rewire { epoch: Epoch::new(1, 99), ..rewire(99) }));
    assert_eq!(drain(&mut peer).len(), 0);
}

#[test]
fn ended_session_is_not_resumed() {
    let mut peer = logged_in();
    feed(&mut peer, refused(Status::NotLoggedIn, 0));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "lost"]);
    let again = searching(&peer).2;
    assert!(again <= Duration::from_millis(500));
    peer.handle_timeout(Instant::ZERO + again);
    open(&mut peer, 2);
    peer.handle_frame(Instant::ZERO, 2, Frame::Challenge(challenge(false)), &ed(PEER));
    let outputs = drain(&mut peer);
    assert!(
        matches!(&outputs[..], [.., MembershipOutput::Send { frame: Frame::Login(login), .. }] if login.resume.is_none()),
        "{outputs:?}"
    );
}

#[test]
fn session_of_the_newest_login_is_renewed() {
    let mut peer = logged_in();
    peer.handle_closed(Instant::ZERO, 1, Status::Unavailable, "reset");
    let again = Instant::ZERO + searching(&peer).2;
    peer.handle_timeout(again);
    open(&mut peer, 2);
    peer.handle_frame(again, 2, Frame::Challenge(challenge(false)), &ed(PEER));
    peer.handle_frame(again, 2, Frame::Granted(granted(8, 20)), &ed(PEER));
    drain(&mut peer);
    peer.handle_timeout(peer.next_timeout().unwrap());
    let frame = Frame::Renew(Renew { session: session_id(8), epoch: Epoch::new(0, 20) });
    assert_eq!(drain(&mut peer), [MembershipOutput::Send { dial: 2, frame }]);
}

#[test]
fn absurd_leases_are_brought_into_bounds() {
    for (lease_ms, expected) in [(0, LEASE_MIN), (u32::MAX, LEASE_MAX), (10_000, Duration::from_secs(10))] {
        let mut peer = asked(config());
        feed(&mut peer, Frame::Granted(Granted { lease_ms, ..granted(7, 10) }));
        assert!(
            drain(&mut peer)
                .iter()
                .any(|o| matches!(o, MembershipOutput::LoggedIn { lease, .. } if *lease == expected))
        );
    }
}

#[test]
fn unconfirmed_logout_is_over_after_two_seconds() {
    let mut peer = logging_out();
    assert_eq!(peer.next_timeout(), Some(at(2.0)));
    peer.handle_timeout(at(1.9));
    assert_eq!(drain(&mut peer), []);
    peer.handle_timeout(at(2.0));
    let reason = Reason::truncated("logged out; the supernode did not confirm it within 2 s");
    assert_eq!(drain(&mut peer)[1], MembershipOutput::LoggedOut { reason });
    assert_eq!(peer.next_timeout(), None);
}

#[test]
fn logout_is_over_at_once_in_every_other_state() {
    let states: [(Start, &[&str]); 3] = [
        (|| Membership::new(config(), 1, Instant::ZERO), &["logged out"]),
        (|| dialling(config()), &["close", "logged out"]),
        (|| greeted(config()), &["close", "logged out"]),
    ];
    for (start, expected) in states {
        let mut peer = start();
        peer.handle_logout(Instant::ZERO);
        assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), expected);
        assert_eq!((word(&peer), peer.next_timeout()), ("out", None));
        peer.handle_logout(Instant::ZERO);
        assert_eq!(drain(&mut peer), []);
        peer.handle_login(at(5.0));
        assert_eq!(peer.next_timeout(), Some(at(5.0)));
    }
}

#[test]
fn logout_during_a_login_ends_the_session_that_the_grant_names() {
    let mut peer = asked(config());
    peer.handle_logout(Instant::ZERO);
    assert_eq!(drain(&mut peer), []);
    feed(&mut peer, Frame::Granted(granted(9, 10)));
    let frame = Frame::Logout(Logout { session: session_id(9) });
    assert_eq!(drain(&mut peer), [MembershipOutput::Send { dial: 1, frame }]);
    feed(&mut peer, Frame::LoggedOut(LoggedOut { session: session_id(9) }));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "logged out"]);
}

#[test]
fn login_during_a_logout_follows_it() {
    let mut peer = logging_out();
    peer.handle_login(Instant::ZERO);
    feed(&mut peer, Frame::LoggedOut(LoggedOut { session: session_id(7) }));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "logged out"]);
    assert_eq!(peer.next_timeout(), Some(Instant::ZERO));
    let mut peer = logging_out();
    peer.handle_login(Instant::ZERO);
    peer.handle_logout(Instant::ZERO);
    peer.handle_closed(Instant::ZERO, 1, Status::Unavailable, "reset");
    assert_eq!(word(&peer), "out");
}

#[test]
fn link_of_a_dial_that_was_given_up_is_closed() {
    let mut peer = dialling(config());
    peer.handle_timeout(Instant::ZERO + DIAL_MAX);
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
    open(&mut peer, 1);
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
    assert_eq!(word(&peer), "searching");
}

#[test]
fn events_of_an_old_dial_change_nothing() {
    let mut peer = dialling(config());
    peer.handle_dial_failed(Instant::ZERO, 1, &nobody_listens());
    peer.handle_timeout(at(2.0));
    drain(&mut peer);
    peer.handle_closed(at(2.0), 1, Status::Unavailable, "late");
    peer.handle_dial_failed(at(2.0), 1, &nobody_listens());
    peer.handle_frame(at(2.0), 1, Frame::Granted(granted(7, 10)), &ed(PEER));
    assert_eq!(drain(&mut peer), []);
    assert_eq!((word(&peer), peer.violations()), ("joining", 0));
}

#[test]
fn silence_in_any_step_of_a_login_is_given_up_with_its_reason() {
    let steps: [(Start, f64, &str); 3] = [
        (|| dialling(config()), DIAL_MAX.as_secs_f64(), "one does not answer the dial"),
        (|| greeted(config()), 5.0, "one sent no challenge within 5 s"),
        (|| asked(config()), 10.0, "one did not answer the login within 10 s"),
    ];
    for (start, seconds, expected) in steps {
        let mut peer = start();
        assert_eq!(peer.next_timeout(), Some(at(seconds)));
        peer.handle_timeout(at(seconds));
        assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
        let (status, reason, _) = searching(&peer);
        assert_eq!((status, reason.as_str()), (Status::Unavailable, expected));
    }
}

#[test]
fn supernodes_are_tried_in_turn() {
    let supernodes = ["a", "b", "c"].map(str::to_owned).to_vec();
    let mut peer = Membership::new(MembershipConfig { supernodes, ..config() }, 3, Instant::ZERO);
    let mut dialled = Vec::new();
    for dial in 1..=6 {
        let now = peer.next_timeout().unwrap();
        peer.handle_timeout(now);
        let outputs = drain(&mut peer);
        let [MembershipOutput::Dial { locations, .. }] = &outputs[..] else { panic!("{outputs:?}") };
        dialled.extend(locations.clone());
        peer.handle_dial_failed(now, dial, &nobody_listens());
    }
    assert_eq!(dialled[..3], dialled[3..]);
    dialled.sort();
    assert_eq!(dialled, ["a", "a", "b", "b", "c", "c"]);
}

/// The longest wait of an hour in which every dial fails in this way
fn longest_wait(error: &DialError) -> Duration {
    let mut peer = dialling(config());
    let (mut now, mut longest) = (Instant::ZERO, Duration::ZERO);
    for dial in 1.. {
        now = now + Duration::from_secs(5);
        peer.handle_dial_failed(now, dial, error);
        if now > at(3600.0) {
            break;
        }
        let next = peer.next_timeout().unwrap();
        longest = longest.max(next - now);
        now = next;
        peer.handle_timeout(now);
    }
    longest
}

#[test]
fn who_is_cut_off_asks_more_often_than_who_is_not_answered() {
    let silence = |stage| DialError::TimedOut { stage, after: Duration::from_secs(5) };
    assert!(longest_wait(&nobody_listens()) <= RETRY_MAX);
    assert!(longest_wait(&silence(DialStage::Connecting)) <= RETRY_MAX);
    assert!(longest_wait(&silence(DialStage::Handshake)) > RETRY_MAX_SILENT / 2);
}

#[test]
fn supernodes_beyond_the_bound_are_left_out() {
    let supernodes: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    let mut peer = Membership::new(MembershipConfig { supernodes, ..config() }, 3, Instant::ZERO);
    let mut dialled = std::collections::BTreeSet::new();
    for dial in 1..=100 {
        let now = peer.next_timeout().unwrap();
        peer.handle_timeout(now);
        dialled.extend(drain(&mut peer).into_iter().map(|output| format!("{output:?}").replace(&dial.to_string(), "")));
        peer.handle_dial_failed(now, dial, &nobody_listens());
    }
    assert!(dialled.len() <= 2 * SUPERNODES_MAX);
    assert!(!dialled.iter().any(|output| output.contains("\"39\"")));
}

#[test]
fn peer_without_supernodes_says_so_and_waits() {
    let peer = Membership::new(MembershipConfig { supernodes: Vec::new(), ..config() }, 3, Instant::ZERO);
    assert_eq!(peer.next_timeout(), None);
    let reason = Reason::truncated("no supernode is configured");
    let status = Status::Unavailable;
    assert_eq!(peer.standing(), Standing::Searching { status, reason, next_try: None });
}
