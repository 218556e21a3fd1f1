//! Who is suspected, when, and why.

use super::*;
use SuspectReason::{HomeLost, Reported, Silent};

const A: SessionId = SessionId([1; 16]);
const B: SessionId = SessionId([2; 16]);
const LEASE: Duration = Duration::from_secs(30);

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn drain(suspicion: &mut Suspicion) -> Vec<SuspicionOutput> {
    std::iter::from_fn(|| suspicion.poll_output()).collect()
}

/// Started long ago; A and B have their home links
fn settled() -> Suspicion {
    let mut suspicion = Suspicion::new(at(0), Duration::ZERO, []);
    [A, B].into_iter().for_each(|session| suspicion.handle_heard(at(0), session));
    assert_eq!(drain(&mut suspicion), []);
    suspicion
}

#[test]
fn peer_whose_home_link_stays_lost_is_suspected_after_two_seconds() {
    let mut suspicion = settled();
    suspicion.handle_home_lost(at(1000), A);
    assert_eq!(suspicion.next_timeout(), Some(at(3000)));
    suspicion.handle_timeout(at(2999));
    assert_eq!(drain(&mut suspicion), []);
    suspicion.handle_timeout(at(3000));
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Suspect { session: A, reason: HomeLost }]);
    assert_eq!(suspicion.next_timeout(), None);
}

#[test]
fn peer_that_returns_within_two_seconds_is_not_suspected() {
    let mut suspicion = settled();
    suspicion.handle_home_lost(at(1000), A);
    suspicion.handle_heard(at(1500), A);
    suspicion.handle_timeout(at(9000));
    assert_eq!(drain(&mut suspicion), []);
}

#[test]
fn lost_home_link_and_a_report_are_enough_in_either_order() {
    let mut suspicion = settled();
    suspicion.handle_home_lost(at(1000), A);
    suspicion.handle_report(at(1001), A);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Suspect { session: A, reason: Reported }]);

    suspicion.handle_report(at(2000), B);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Probe { session: B }]);
    suspicion.handle_home_lost(at(2001), B);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Suspect { session: B, reason: Reported }]);
}

#[test]
fn report_is_remembered_over_a_frame_that_may_be_older() {
    let mut suspicion = settled();
    suspicion.handle_report(at(2000), A);
    suspicion.handle_heard(at(1500), A);
    suspicion.handle_home_lost(at(2002), A);
    let expected = [SuspicionOutput::Probe { session: A }, SuspicionOutput::Suspect { session: A, reason: Reported }];
    assert_eq!(drain(&mut suspicion), expected);
}

#[test]
fn report_long_before_the_home_link_was_lost_does_not_count() {
    let mut suspicion = settled();
    suspicion.handle_report(at(2000), A);
    suspicion.handle_heard(at(1500), A);
    suspicion.handle_home_lost(at(7001), A);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Probe { session: A }]);
    assert_eq!(suspicion.next_timeout(), Some(at(9001)));
}

#[test]
fn reported_peer_that_answers_its_home_is_not_suspected() {
    let mut suspicion = settled();
    suspicion.handle_report(at(1000), A);
    suspicion.handle_report(at(1001), A);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Probe { session: A }]);
    suspicion.handle_heard(at(1500), A);
    suspicion.handle_timeout(at(9000));
    assert_eq!(drain(&mut suspicion), []);
}

#[test]
fn reported_peer_that_is_silent_is_suspected_though_its_home_link_stands() {
    let mut suspicion = settled();
    suspicion.handle_report(at(1000), A);
    suspicion.handle_timeout(at(2500));
    let expected = [SuspicionOutput::Probe { session: A }, SuspicionOutput::Suspect { session: A, reason: Silent }];
    assert_eq!(drain(&mut suspicion), expected);
}

#[test]
fn suspect_is_cleared_by_its_next_frame_once() {
    let mut suspicion = Suspicion::new(at(0), LEASE, [(A, true)]);
    suspicion.handle_heard(at(1500), A);
    suspicion.handle_heard(at(1500), A);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Clear { session: A }]);
}

#[test]
fn in_the_first_lease_after_a_start_only_reports_count() {
    let mut suspicion = Suspicion::new(at(0), LEASE, [(A, false), (B, false)]);
    assert_eq!(suspicion.next_timeout(), Some(at(32_000)));
    suspicion.handle_report(at(1000), A);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Suspect { session: A, reason: Reported }]);

    suspicion.handle_heard(at(1500), B);
    suspicion.handle_home_lost(at(2000), B);
    assert_eq!(suspicion.next_timeout(), Some(at(30_000)));
    suspicion.handle_timeout(at(30_000));
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Suspect { session: B, reason: HomeLost }]);
}

#[test]
fn peer_that_has_not_come_within_a_lease_of_a_start_is_suspected_if_its_session_still_lasts() {
    let mut suspicion = Suspicion::new(at(0), LEASE, [(A, false), (B, false)]);
    suspicion.handle_ended(A);
    suspicion.handle_timeout(at(31_999));
    assert_eq!(drain(&mut suspicion), []);
    suspicion.handle_timeout(at(32_000));
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Suspect { session: B, reason: HomeLost }]);
}

#[test]
fn supernode_that_was_held_up_hears_peers_before_it_judges_them() {
    let mut suspicion = settled();
    suspicion.handle_report(at(1000), A);
    suspicion.handle_home_lost(at(1000), B);
    drain(&mut suspicion);
    suspicion.handle_held_up(at(9000), Duration::from_millis(6_500), None);
    suspicion.handle_timeout(at(9000));
    assert_eq!(drain(&mut suspicion), []);
    suspicion.handle_timeout(at(10_500));
    let expected = [(B, HomeLost), (A, Silent)].map(|(session, reason)| SuspicionOutput::Suspect { session, reason });
    assert_eq!(drain(&mut suspicion), expected);
}

#[test]
fn in_the_lease_after_a_long_stop_only_reports_count() {
    let mut suspicion = settled();
    suspicion.handle_home_lost(at(1000), A);
    suspicion.handle_held_up(at(50_000), Duration::from_secs(48), Some(at(80_000)));
    suspicion.handle_home_lost(at(50_000), B);
    suspicion.handle_timeout(at(79_999));
    assert_eq!((drain(&mut suspicion), suspicion.next_timeout()), (vec![], Some(at(80_000))));
    suspicion.handle_report(at(79_999), B);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Suspect { session: B, reason: Reported }]);
}

#[test]
fn ended_session_is_forgotten() {
    let mut suspicion = settled();
    suspicion.handle_home_lost(at(1000), A);
    suspicion.handle_ended(A);
    suspicion.handle_report(at(1001), A);
    suspicion.handle_timeout(at(9000));
    assert_eq!((drain(&mut suspicion), suspicion.next_timeout()), (vec![], None));
}

#[test]
fn session_of_another_home_is_not_judged() {
    let mut suspicion = Suspicion::new(at(0), Duration::ZERO, []);
    suspicion.handle_home_lost(at(1000), A);
    suspicion.handle_report(at(1000), A);
    assert_eq!((drain(&mut suspicion), suspicion.next_timeout()), (vec![], None));
}

/// Loses the home link and is suspected for it, two seconds later
fn lose(suspicion: &mut Suspicion, millis: u64) {
    suspicion.handle_home_lost(at(millis), A);
    suspicion.handle_timeout(at(millis + 2000));
    assert_eq!(drain(suspicion), [SuspicionOutput::Suspect { session: A, reason: HomeLost }]);
}

#[test]
fn peer_that_is_suspected_again_and_again_comes_back_later_each_time_and_is_forgiven() {
    const CLEAR: [SuspicionOutput; 1] = [SuspicionOutput::Clear { session: A }];
    let mut suspicion = settled();
    let mut now = 10_000;
    for wait in [0, 1000, 2000, 4000, 8000, 8000] {
        lose(&mut suspicion, now);
        now += 2000;
        suspicion.handle_heard(at(now), A);
        if wait > 0 {
            assert_eq!((drain(&mut suspicion), suspicion.next_timeout()), (vec![], Some(at(now + wait))));
            suspicion.handle_timeout(at(now + wait));
        }
        assert_eq!((drain(&mut suspicion), suspicion.is_suspect(A)), (CLEAR.into(), Some(false)));
        now += wait;
    }
    lose(&mut suspicion, now + 7 * 60_000);
    suspicion.handle_heard(at(now + 7 * 60_000 + 2000), A);
    assert_eq!(drain(&mut suspicion), CLEAR);
}

#[test]
fn login_of_a_peer_that_waits_to_come_back_waits_as_long_whenever_it_is_asked() {
    let mut suspicion = settled();
    lose(&mut suspicion, 1000);
    assert_eq!(suspicion.back_at(at(3000), A), None);
    suspicion.handle_heard(at(3000), A);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Clear { session: A }]);
    lose(&mut suspicion, 4000);
    assert_eq!([6500, 7000].map(|millis| suspicion.back_at(at(millis), A)), [Some(at(7500)); 2]);
    assert_eq!((suspicion.back_at(at(7500), A), suspicion.back_at(at(7500), B)), (None, None));
    suspicion.handle_heard(at(7500), A);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Clear { session: A }]);
}

#[test]
fn peer_that_is_lost_while_it_waits_to_come_back_stays_a_suspect() {
    let mut suspicion = settled();
    lose(&mut suspicion, 1000);
    suspicion.handle_heard(at(3000), A);
    drain(&mut suspicion);
    lose(&mut suspicion, 4000);
    suspicion.handle_heard(at(6000), A);
    suspicion.handle_home_lost(at(6500), A);
    assert_eq!(drain(&mut suspicion), [SuspicionOutput::Suspect { session: A, reason: HomeLost }]);
    suspicion.handle_timeout(at(60_000));
    assert_eq!((drain(&mut suspicion), suspicion.is_suspect(A)), (vec![], Some(true)));
}

/// So many have their home links
fn crowd_of(peers: u32) -> (Suspicion, Vec<SessionId>) {
    let mut suspicion = Suspicion::new(at(0), LEASE, []);
    let sessions: Vec<SessionId> = (0..peers).map(|n| SessionId(u128::from(n).to_be_bytes())).collect();
    sessions.iter().for_each(|session| suspicion.handle_heard(at(0), *session));
    (suspicion, sessions)
}

#[test]
fn of_a_crowd_that_is_lost_the_first_are_suspected_and_who_comes_back_never_was() {
    let (mut suspicion, peers) = crowd_of(40);
    peers.iter().for_each(|session| suspicion.handle_home_lost(at(60_000), *session));
    let suspected = |suspicion: &mut Suspicion, millis| {
        suspicion.handle_timeout(at(millis));
        drain(suspicion).len()
    };
    assert_eq!(suspected(&mut suspicion, 62_000), CROWD_MIN);
    // From here on one in each sixteenth of a third of the lease.
    assert_eq!(suspicion.next_timeout(), Some(at(62_625)));
    assert_eq!([62_624, 62_625, 62_700, 63_250].map(|millis| suspected(&mut suspicion, millis)), [0, 1, 0, 1]);
    peers.iter().for_each(|session| suspicion.handle_heard(at(64_000), *session));
    assert_eq!(suspicion.next_timeout(), None);
    let cleared = |act: &SuspicionOutput| matches!(act, SuspicionOutput::Clear { .. });
    assert_eq!(drain(&mut suspicion).iter().filter(|act| cleared(act)).count(), CROWD_MIN + 2);
    assert_eq!(suspected(&mut suspicion, 99_000), 0);
}

#[test]
fn whoever_waits_its_turn_keeps_its_place_and_its_reason() {
    let (mut suspicion, peers) = crowd_of(18);
    peers.iter().for_each(|session| suspicion.handle_report(at(60_000), *session));
    suspicion.handle_timeout(at(61_500));
    assert_eq!(drain(&mut suspicion).len(), 18 + CROWD_MIN, "all are asked");
    suspicion.handle_home_lost(at(61_600), peers[16]);
    suspicion.handle_report(at(61_700), peers[16]);
    suspicion.handle_report(at(61_800), peers[17]);
    assert_eq!(drain(&mut suspicion), []);
    suspicion.handle_timeout(at(64_000));
    let expected = [(peers[16], Silent), (peers[17], Silent)];
    assert_eq!(drain(&mut suspicion), expected.map(|(session, reason)| SuspicionOutput::Suspect { session, reason }));
}

#[test]
fn stop_of_the_supernode_gives_who_waits_its_turn_another_look() {
    let (mut suspicion, peers) = crowd_of(20);
    peers[..18].iter().for_each(|session| suspicion.handle_report(at(60_000), *session));
    suspicion.handle_timeout(at(61_500));
    peers[18..].iter().for_each(|session| suspicion.handle_home_lost(at(59_900), *session));
    suspicion.handle_timeout(at(61_900));
    drain(&mut suspicion);
    suspicion.handle_held_up(at(80_000), Duration::from_secs(2), None);
    suspicion.handle_timeout(at(80_000));
    assert_eq!((drain(&mut suspicion), suspicion.next_timeout()), (vec![], Some(at(81_500))));
    suspicion.handle_timeout(at(82_000));
    assert_eq!(drain(&mut suspicion).len(), 4, "two that were asked, and two whose home links were lost");
}

#[test]
fn whoever_is_next_can_have_its_turn_when_it_is_said_to_come() {
    for peers in (30..1_200_u32).step_by(13) {
        let (mut suspicion, sessions) = crowd_of(peers);
        sessions.iter().for_each(|session| suspicion.handle_home_lost(at(60_000), *session));
        for _ in 0..3 {
            let due = suspicion.next_timeout().unwrap();
            suspicion.handle_timeout(due);
            assert!(!drain(&mut suspicion).is_empty() && suspicion.next_timeout() > Some(due), "{peers}");
        }
    }
}
