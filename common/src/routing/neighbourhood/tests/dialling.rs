use std::time::Duration;

use super::super::dialling::{DIALS_MAX, GAP, REST_MAX};
use super::*;

/// Peers whom peer 5 dials at once, as their keys are larger
fn larger(count: usize) -> Vec<u8> {
    (10..).take(count).collect()
}

/// Whom it dials up to `end`, with the milliseconds
fn dials_until(core: &mut Neighbourhood, end: Instant) -> Vec<(u64, u8)> {
    let mut seen: Vec<(u64, NeighbourhoodOutput)> = acts(core).into_iter().map(|act| (0, act)).collect();
    seen.extend(run(core, end));
    seen.into_iter().flat_map(|(ms, act)| dialled(&[act]).into_iter().map(move |n| (ms, n))).collect()
}

#[test]
fn dials_begin_one_after_the_other_and_sixteen_at_most_are_in_flight() {
    let mut core = peer_5(&larger(DIALS_MAX + 2));
    let gap = GAP.as_millis() as u64;
    let dials = dials_until(&mut core, at(2_000));
    let expected: Vec<(u64, u8)> = (0..DIALS_MAX as u64).map(|i| (i * gap, 10 + i as u8)).collect();
    assert_eq!(dials, expected);
    bring_up(&mut core, at(2_000), 1, 10);
    core.handle_dial_failed(at(2_000), key(11), Status::TimedOut, "silence");
    assert_eq!(dials_until(&mut core, at(2_100)).into_iter().map(|(_, n)| n).collect::<Vec<_>>(), [26, 27]);
}

#[test]
fn who_has_failed_least_often_is_dialled_first() {
    let mut core = peer_5(&larger(DIALS_MAX + 1));
    dials_until(&mut core, at(1_000));
    // The first to fail is due again before the last one has had its turn.
    core.handle_timeout(at(4_000));
    core.handle_dial_failed(at(4_000), key(10), Status::Unavailable, "refused");
    core.handle_timeout(at(4_000) + GAP);
    assert_eq!(dialled(&acts(&mut core)), [10 + DIALS_MAX as u8]);
}

#[test]
fn peer_that_is_kept_waiting_rests_some_times_as_long_before_it_dials_again() {
    let mut core = peer_5(&larger(3));
    assert_eq!(dialled(&acts(&mut core)), [10]);
    core.handle_kept_waiting(at(100), Duration::from_millis(100));
    let dials = dials_until(&mut core, at(5_000));
    // At least three times as long, and at most seven times.
    assert!(matches!(dials[..], [(400..=800, 11), (_, 12)]), "{dials:?}");
}

#[test]
fn rest_between_dials_ends_after_half_a_minute() {
    let mut core = peer_5(&larger(2));
    acts(&mut core);
    core.handle_kept_waiting(at(20_000), Duration::from_secs(20));
    let rested = REST_MAX.as_millis() as u64;
    assert_eq!(dials_until(&mut core, at(40_000)).first(), Some(&(rested, 11)));
}

#[test]
fn peer_that_rests_reports_nobody_as_unreachable() {
    let reports = |is_slow: bool| {
        let mut core = peer_5(&larger(2));
        core.handle_dial_failed(at(1), key(10), Status::TimedOut, "silence");
        if is_slow {
            core.handle_kept_waiting(at(2), Duration::from_secs(5));
        }
        acts(&mut core);
        let seen = run(&mut core, at(6_000)).into_iter();
        seen.filter(|(_, act)| matches!(act, NeighbourhoodOutput::Report(Report::Unreachable(_)))).count()
    };
    assert_eq!([reports(false), reports(true)], [1, 0]);
}

#[test]
fn nobody_is_reported_as_unreachable_before_a_dial_has_failed() {
    let mut core = peer_5(&larger(1));
    acts(&mut core);
    let is_report = |act: &NeighbourhoodOutput| matches!(act, NeighbourhoodOutput::Report(Report::Unreachable(_)));
    assert!(!run(&mut core, at(7_000)).iter().any(|(_, act)| is_report(act)));
    core.handle_dial_failed(at(7_000), key(10), Status::TimedOut, "silence");
    assert!(acts(&mut core).iter().any(is_report));
}
