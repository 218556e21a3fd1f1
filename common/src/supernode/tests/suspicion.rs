use super::*;
use crate::directory::SuspectReason;

/// A member of a large ring, and another one that it is not linked with
fn strangers(bench: &Bench, peers: u8) -> (u8, u8) {
    let all = (1..=peers).flat_map(|a| (1..=peers).map(move |b| (a, b)));
    let linked = |a, b| bench.core.directory().are_neighbours(bench.address(a), bench.address(b));
    all.into_iter().find(|(a, b)| a != b && !linked(*a, *b)).unwrap()
}

#[test]
fn lost_home_link_and_a_report_take_a_peer_out_of_the_ring() {
    let mut bench = Bench::of(3);
    let gone = bench.address(1);
    bench.close(1);
    assert_eq!(bench.drain(), [""; 0]);
    bench.report(2, Report::LinkDown(gone));
    assert_eq!(bench.drain(), ["append Suspect"]);
    bench.commit();
    let told = rewires(&bench.outputs());
    assert_eq!(told.iter().map(|(link, _)| *link).collect::<std::collections::BTreeSet<_>>(), [2, 3].into());
    assert!(told.iter().all(|(_, rewire)| rewire.neighbours.iter().all(|record| record.address != gone)));
    assert_eq!(bench.suspects(), [bench.session(1)]);
}

#[test]
fn home_link_that_stays_lost_is_enough() {
    let mut bench = Bench::of(1);
    bench.close(1);
    assert_eq!(bench.wait(millis(1_999)), [""; 0]);
    assert_eq!(bench.wait(millis(1)), ["append Suspect"]);
}

#[test]
fn reported_peer_is_probed_and_suspected_if_it_is_silent() {
    let mut bench = Bench::of(2);
    let address = bench.address(1);
    bench.report(2, Report::LinkDown(address));
    assert_eq!(bench.drain(), ["1: Probe"]);
    bench.answer(1);
    assert_eq!(bench.wait(millis(1_500)), [""; 0]);

    bench.report(2, Report::LinkDown(address));
    assert_eq!(bench.drain(), ["1: Probe"]);
    assert_eq!(bench.wait(millis(1_500)), ["append Suspect"]);
}

#[test]
fn report_of_a_stranger_counts_nothing() {
    const PEERS: u8 = 40;
    let mut bench = Bench::with(PEERS, LEASE, Some(4));
    let (a, b) = strangers(&bench, PEERS);
    let address = bench.address(b);
    bench.report(a.into(), Report::LinkDown(address));
    bench.report(a.into(), Report::Unreachable(address));
    assert_eq!(bench.drain(), [""; 0]);
}

#[test]
fn peer_that_its_home_has_lost_is_parted_from_nobody() {
    let mut bench = Bench::of(3);
    let [address, other] = [1, 3].map(|peer| bench.address(peer));
    bench.close(1);
    bench.report(2, Report::Unreachable(address));
    assert_eq!(bench.drain(), [""; 0]);
    bench.report(2, Report::LinkDown(other));
    bench.report(2, Report::Unreachable(other));
    assert_eq!(bench.drain(), ["append UnreachablePair", "3: Probe"], "who is asked is there as far as is known");
}

#[test]
fn refused_parting_needs_no_place_in_the_log_however_often_it_is_asked_for() {
    let mut bench = Bench::of(2);
    for _ in 0..3 {
        bench.report(2, Report::Unreachable(bench.address(1)));
        assert_eq!(bench.drain(), [""; 0]);
    }
}

#[test]
fn isolated_peer_has_its_neighbours_probed_and_gets_its_table_again() {
    let mut bench = Bench::of(3);
    bench.report(1, Report::Isolated);
    let mut said = bench.drain();
    said.sort();
    assert_eq!(said, ["1: Rewire", "2: Probe", "3: Probe"]);
}

#[test]
fn suspect_that_is_heard_returns_to_the_ring() {
    let mut bench = Bench::of(2);
    bench.report(2, Report::LinkDown(bench.address(1)));
    bench.wait(millis(1_500));
    bench.settle();
    assert_eq!(bench.suspects(), [bench.session(1)]);
    bench.answer(1);
    assert_eq!(bench.drain(), ["append Clear"]);
    let said = bench.durable();
    assert!(["1: Rewire", "2: Rewire"].iter().all(|line| said.contains(&line.to_string())), "{said:?}");
    assert_eq!(bench.suspects(), []);
}

#[test]
fn peer_that_is_heard_while_the_disk_writes_its_suspicion_returns() {
    let mut bench = Bench::of(2);
    bench.report(2, Report::LinkDown(bench.address(1)));
    bench.wait(millis(1_500));
    bench.answer(1);
    bench.settle();
    assert_eq!((bench.suspects(), bench.core.directory().ring().count()), (vec![], 2));
}

#[test]
fn peer_that_is_lost_while_the_disk_writes_its_return_is_suspected_again() {
    let mut bench = Bench::of(2);
    bench.report(2, Report::LinkDown(bench.address(1)));
    bench.wait(millis(1_500));
    bench.settle();
    bench.answer(1);
    assert_eq!(bench.drain(), ["append Clear"]);
    bench.close(1);
    assert_eq!(bench.wait(millis(2_000)), [""; 0]);
    bench.settle();
    assert_eq!(bench.suspects(), [bench.session(1)]);
}

#[test]
fn directory_follows_what_was_heard_whatever_the_log_said() {
    let mut bench = Bench::of(2);
    let session = bench.session(1);
    let reason = SuspectReason::HomeLost;
    bench.core.proposals.push(Command::Suspect { session, home: HOME, reason }, Then::Nothing);
    assert_eq!(bench.drain(), ["append Suspect"]);
    assert_eq!(bench.durable(), ["append Clear", "2: Rewire"]);
    bench.settle();
    assert_eq!(bench.suspects(), []);
}

#[test]
fn in_the_first_lease_a_lost_home_link_alone_is_not_enough() {
    let mut bench = Bench::over(Directory::new(0), LEASE, None);
    bench.enter(1, 1);
    bench.close(1);
    let said = bench.wait(LEASE - millis(1));
    assert_eq!(said, [""; 0]);
}

#[test]
fn supernode_that_stood_still_longer_than_a_lease_ends_no_session_and_suspects_nobody() {
    let mut bench = Bench::of(2);
    bench.now = bench.now + 2 * LEASE;
    // Nobody answered their renewals here, so they have closed their links.
    bench.close(1);
    bench.close(2);
    assert_eq!(bench.wait(LEASE - millis(1)), [""; 0]);
    bench.open(3, 1);
    bench.frame(3, login(1, Some(bench.session(1))));
    assert!(bench.settle().contains(&"3: Granted".to_owned()));
    bench.wait(millis(1));
    bench.settle();
    assert_eq!((bench.suspects(), bench.core.homes()), (vec![], 1));
    assert!(bench.core.directory().by_key(&ed(2).key()).is_none(), "a peer that stays away is not kept for ever");
}

#[test]
fn stop_that_no_term_ends_in_is_noticed_all_the_same() {
    let mut bench = Bench::of(2);
    bench.now = bench.now + LEASE / 3;
    bench.close(1);
    assert_eq!(bench.wait(LEASE - millis(1)), [""; 0]);
}

#[test]
fn session_found_at_the_start_lasts_one_lease() {
    let found = Bench::of(1).core.directory().clone();
    let mut bench = Bench::over(found, LEASE, None);
    assert_eq!(bench.wait(LEASE - millis(1)), [""; 0]);
    assert_eq!(bench.wait(millis(1)), ["append Expire"]);
}
