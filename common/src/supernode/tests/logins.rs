use super::*;

#[test]
fn second_login_of_a_key_is_refused_while_the_first_link_answers() {
    let mut bench = Bench::of(1);
    bench.ask(2, 1);
    assert_eq!(bench.drain(), ["2: Challenge", "1: Probe"]);
    bench.answer(1);
    assert_eq!(bench.wait(millis(2_499)), [""; 0]);
    assert_eq!(bench.wait(millis(1)), ["2: Refused 409 for 10000 ms"]);
    assert_eq!((bench.core.home_of(bench.session(1)), bench.core.links()), (Some(LinkId(1)), 2));
}

#[test]
fn silent_holder_gives_way_to_the_second_login_of_its_key() {
    let mut bench = Bench::of(1);
    let (session, address) = (bench.session(1), bench.address(1));
    bench.ask(2, 1);
    bench.drain();
    assert_eq!(bench.wait(millis(2_500)), ["append LogIn", "1: Close 401"]);
    let said = bench.durable();
    assert_eq!(said, ["1: Refused 401 for 0 ms", "1: Close 401", "2: Granted", "2: Rewire"]);
    assert_eq!((bench.address(1), bench.core.directory().session(session)), (address, None));
    assert_eq!(bench.core.home_of(bench.session(1)), Some(LinkId(2)));
    bench.close(1);
    assert_eq!(bench.wait(LEASE / 2), [""; 0]);
}

#[test]
fn peer_that_goes_on_with_its_session_over_a_newer_link_has_it_at_once() {
    let mut bench = Bench::of(1);
    let session = bench.session(1);
    bench.open(2, 1);
    bench.frame(2, login(1, Some(session)));
    let said = ["2: Challenge", "1: Refused 401 for 0 ms", "1: Close 401", "2: Granted"];
    assert_eq!(bench.drain(), said, "without a probe, and without the disk");
    assert_eq!(bench.core.home_of(session), Some(LinkId(2)));
    bench.close(1);
    assert_eq!(bench.drain(), [""; 0]);
    assert_eq!(bench.core.home_of(session), Some(LinkId(2)));
}

#[test]
fn of_two_logins_that_go_on_with_one_session_the_newer_link_has_it() {
    let mut bench = Bench::of(1);
    let session = bench.session(1);
    bench.close(1);
    // Something for the log to do, so that neither is answered at once.
    bench.ask(3, 3);
    bench.drain();
    bench.open(4, 1);
    bench.open(5, 1);
    for link in [5, 4] {
        bench.frame(link, login(1, Some(session)));
    }
    bench.settle();
    assert_eq!(bench.core.home_of(session), Some(LinkId(5)));
}

#[test]
fn frame_that_was_under_way_is_no_answer_of_the_holder() {
    let mut bench = Bench::of(1);
    let renew = Renew { session: bench.session(1), epoch: Epoch::new(0, 0) };
    bench.ask(2, 1);
    bench.frame(1, Frame::Renew(renew));
    bench.drain();
    assert_eq!(bench.wait(millis(2_500)), ["append LogIn", "1: Close 401"]);
}

#[test]
fn second_login_goes_on_at_once_when_the_holders_link_closes() {
    let mut bench = Bench::of(1);
    bench.ask(2, 1);
    bench.drain();
    bench.close(1);
    assert_eq!(bench.drain(), ["append LogIn"]);
    assert_eq!(bench.durable(), ["2: Granted", "2: Rewire"]);
}

#[test]
fn login_does_not_wait_for_a_link_that_closed_while_the_disk_writes_its_logout() {
    for bye in [false, true] {
        let mut bench = Bench::of(1);
        bench.log_out_and_close(1, bye);
        assert_eq!((bench.core.homes(), bench.core.links()), (0, 0));
        bench.ask(2, 1);
        assert_eq!(bench.drain(), ["2: Challenge"], "nobody is probed");
        assert_eq!(bench.durable(), ["append LogIn"]);
        assert_eq!(bench.durable(), ["2: Granted", "2: Rewire"]);
        assert_eq!((bench.core.home_of(bench.session(1)), bench.core.homes()), (Some(LinkId(2)), 1));
    }
}

#[test]
fn session_that_logs_out_is_not_suspected_when_its_link_closes() {
    let mut bench = Bench::of(2);
    bench.log_out_and_close(2, false);
    assert_eq!(bench.wait(LEASE / 2), [""; 0]);
    assert_eq!(bench.durable(), ["1: Rewire"]);
    assert_eq!(bench.core.directory().sessions().count(), 1);
}

#[test]
fn old_link_of_a_session_that_was_taken_up_again_takes_no_home_with_it() {
    let mut bench = Bench::of(1);
    let session = bench.session(1);
    bench.frame(1, Frame::Bye(Bye { status: Status::Delivered, reason: Reason::truncated("stopped") }));
    bench.open(2, 1);
    bench.frame(2, login(1, Some(session)));
    assert_eq!(bench.drain(), ["1: Close 200", "2: Challenge", "2: Granted"]);
    bench.close(1);
    assert_eq!((bench.core.home_of(session), bench.core.homes()), (Some(LinkId(2)), 1));
}

#[test]
fn second_login_whose_own_link_closes_is_forgotten() {
    let mut bench = Bench::of(1);
    bench.ask(2, 1);
    bench.drain();
    bench.close(2);
    bench.close(1);
    assert_eq!(bench.drain(), [""; 0]);
    assert_eq!(bench.core.links(), 0);
}

#[test]
fn session_as_it_was_is_taken_up_again_without_the_disk() {
    let mut bench = Bench::of(1);
    let session = bench.session(1);
    bench.close(1);
    bench.open(2, 1);
    bench.frame(2, login(1, Some(session)));
    assert_eq!(bench.drain(), ["2: Challenge", "2: Granted"]);
    assert_eq!(bench.core.home_of(session), Some(LinkId(2)));
}

#[test]
fn session_of_another_key_is_not_taken_up() {
    let mut bench = Bench::of(1);
    let session = bench.session(1);
    bench.open(2, 2);
    bench.frame(2, login(2, Some(session)));
    bench.settle();
    assert_ne!(bench.session(2), session);
    assert_eq!(bench.core.home_of(session), Some(LinkId(1)));
}

#[test]
fn of_two_logins_that_the_disk_wrote_together_the_later_one_has_the_session() {
    let mut bench = Bench::of(0);
    bench.ask(1, 1);
    bench.ask(2, 1);
    assert_eq!(bench.drain(), ["append LogIn LogIn", "1: Challenge", "2: Challenge"]);
    let said = bench.durable();
    let ends = ["1: Granted", "1: Rewire", "1: Refused 401 for 0 ms", "1: Close 401", "2: Granted", "2: Rewire"];
    assert_eq!(said, ends);
    assert_eq!((bench.core.home_of(bench.session(1)), bench.core.homes()), (Some(LinkId(2)), 1));
}

#[test]
fn name_of_another_key_is_refused_without_the_disk() {
    let mut bench = Bench::of(1);
    bench.open(2, 2);
    bench.frame(2, login_as(2, name(1), None));
    assert_eq!(bench.drain(), ["2: Challenge", "2: Refused 409 for 0 ms"]);
}

#[test]
fn peer_whose_link_ends_while_the_disk_writes_its_login_is_suspected() {
    let mut bench = Bench::of(0);
    bench.ask(1, 1);
    bench.drain();
    bench.close(1);
    assert_eq!(bench.durable(), [""; 0]);
    assert_eq!((bench.core.directory().ring().count(), bench.core.homes()), (1, 0));
    assert_eq!(bench.wait(millis(2_000)), ["append Suspect"]);
}

#[test]
fn login_into_a_full_queue_is_refused_with_429() {
    let mut bench = Bench::of(1);
    bench.ask(2, 2);
    bench.drain();
    for number in 0..WAITING_MAX as u64 {
        let until = bench.now + LEASE;
        bench.core.proposals.push_login(Command::Minute, queue::Lane::New, LinkId(1_000 + number), until).unwrap();
    }
    bench.ask(3, 3);
    let said = bench.drain();
    assert!(said.last().unwrap().starts_with("3: Refused 429 for 100"), "{said:?}");
}

#[test]
fn link_without_a_login_is_closed() {
    let mut bench = Bench::of(0);
    bench.open(1, 1);
    bench.drain();
    assert_eq!(bench.wait(millis(5_000)), ["1: Close 408"]);
}

#[test]
fn frame_on_an_unknown_link_is_dropped() {
    let mut bench = Bench::of(1);
    bench.frame(9, login(9, None));
    bench.close(9);
    assert_eq!(bench.drain(), [""; 0]);
}

#[test]
fn key_that_logs_out_and_in_for_another_place_is_told_to_come_again() {
    let mut bench = Bench::with(0, LONG_LEASE, None);
    let start = bench.now;
    for link in 1..=u64::from(PLACES_BURST) {
        bench.enter(link, 1);
        bench.frame(link, Frame::Logout(Logout { session: bench.session(1) }));
        bench.settle();
        bench.close(link);
    }
    assert_eq!(bench.now, start);
    bench.ask(50, 1);
    assert_eq!(bench.settle(), ["50: Challenge", "50: Refused 429 for 15000 ms"], "without a write");
    bench.enter(51, 2);
    bench.close(50);
    bench.wait(PLACE_EVERY);
    bench.settle();
    bench.enter(52, 1);
    // Whoever comes back while its lease lasts has the place that it had.
    bench.close(52);
    bench.enter(53, 1);
}

#[test]
fn login_that_the_log_loses_takes_nothing_from_a_budget() {
    let mut bench = Bench::with(0, LONG_LEASE, None);
    for link in 1..=u64::from(PLACES_BURST) + 1 {
        bench.ask(link, 1);
        bench.drain();
        assert_eq!(bench.lose(), [format!("{link}: Refused 503 for 1000 ms")]);
        bench.close(link);
    }
    bench.enter(50, 1);
}

#[test]
fn network_that_asks_for_names_too_fast_is_told_to_come_again_and_owners_are_let_in() {
    let mut bench = Bench::of(0);
    let from = "192.0.2.1".parse().ok();
    let enter = |bench: &mut Bench, peer: u8| {
        bench.open_from(peer.into(), peer, from);
        bench.frame(peer.into(), login(peer, None));
        bench.settle()
    };
    assert!(enter(&mut bench, 1).contains(&"1: Granted".to_owned()));
    for _ in 1..NAMES_BURST {
        let wanted = budgets::Wanted { place: None, name: true, from, invite: None };
        bench.core.budgets.take(bench.now, &wanted).unwrap();
    }
    assert_eq!(enter(&mut bench, 100), ["100: Challenge", "100: Refused 429 for 60000 ms"]);
    bench.close(1);
    bench.open_from(101, 1, from);
    bench.frame(101, login(1, None));
    assert!(bench.settle().contains(&"101: Granted".to_owned()), "the name is its own");
    let [_, names, ..] = bench.core.budgets(bench.now);
    assert_eq!((names.kind, names.owners, names.least_left, names.refused), (BudgetKind::Names, 2, 0, 1));
}
