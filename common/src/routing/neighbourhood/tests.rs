use proptest::prelude::*;

use super::*;
use crate::routing::NeighbourView;
use crate::wire::link::Probe;
use crate::wire::session::{NEIGHBOURS_MAX, Report};

mod world;
use world::*;

/// Peer 5, logged in, with these neighbours in its table
fn peer_5(neighbours: &[u8]) -> Neighbourhood {
    let mut core = Neighbourhood::new(key(5), Config::default(), 1);
    core.handle_login(at(0), &grant(5), &rewire(10, neighbours));
    core
}

/// … whose links 1, 2, … to them are up since the beginning
fn peer_5_linked(neighbours: &[u8]) -> Neighbourhood {
    let mut core = peer_5(neighbours);
    for (link, n) in (1..).zip(neighbours) {
        bring_up(&mut core, at(0), link, *n);
    }
    core.handle_timeout(at(50));
    acts(&mut core);
    core
}

/// By the dial that is out, or else by the other side's
fn bring_up(core: &mut Neighbourhood, now: Instant, link: u64, n: u8) {
    let is_dialled =
        core.neighbours.values().any(|it| it.record.key == key(n) && matches!(it.dial, Dial::Running { .. }));
    bring_up_by(core, now, link, n, if is_dialled { Direction::Outgoing } else { Direction::Incoming });
}

fn bring_up_by(core: &mut Neighbourhood, now: Instant, link: u64, n: u8, direction: Direction) {
    core.handle_link_opened(now, opened(link, n, direction));
    core.handle_table(now, LinkId(link), table(10, &[(5, true)]));
}

fn closed(core: &mut Neighbourhood) -> Vec<(u64, CloseReason)> {
    let close = |output| if let Output::Close { link, reason, .. } = output { Some((link.0, reason)) } else { None };
    acts(core).into_iter().filter_map(close).collect()
}

fn dialled(outputs: &[Output]) -> Vec<u8> {
    outputs
        .iter()
        .filter_map(|output| if let Output::Dial { key, .. } = output { Some(key.0[0]) } else { None })
        .collect()
}

fn live(core: &Neighbourhood) -> Vec<(u64, u64)> {
    core.live_links().map(|(address, link)| (address.0 >> 32, link.0)).collect()
}

/// Handles every timeout that is due up to `end`, one by one; the acts, with the milliseconds at which they came
fn run(core: &mut Neighbourhood, end: Instant) -> Vec<(u64, Output)> {
    let mut seen = Vec::new();
    while let Some(due) = core.next_timeout().filter(|due| *due <= end) {
        core.handle_timeout(due);
        seen.extend(acts(core).into_iter().map(|act| (due.as_micros() / 1_000, act)));
    }
    seen
}

mod rewires {
    use super::*;

    #[test]
    fn rewire_with_an_equal_or_smaller_epoch_changes_nothing() {
        let mut core = peer_5_linked(&[1, 2]);
        for epoch in [10, 9, 0] {
            core.handle_rewire(at(1), &rewire(epoch, &[7]));
            let event = Event::RewireIgnored { epoch: Epoch(epoch), reason: RewireFault::NotNewer };
            assert_eq!(drain(&mut core), [Output::Event(event)]);
        }
        assert_eq!((core.epoch(), live(&core)), (Some(Epoch(10)), vec![(1, 1), (2, 2)]));
    }

    #[test]
    fn rewire_without_a_session_is_ignored() {
        let mut core = Neighbourhood::new(key(5), Config::default(), 1);
        core.handle_rewire(at(0), &rewire(10, &[1]));
        let event = Event::RewireIgnored { epoch: Epoch(10), reason: RewireFault::NotLoggedIn };
        assert_eq!(drain(&mut core), [Output::Event(event)]);
    }

    #[test]
    fn login_with_the_grant_of_another_key_changes_nothing() {
        let mut core = Neighbourhood::new(key(5), Config::default(), 1);
        core.handle_login(at(0), &grant(6), &rewire(10, &[1]));
        let event = Event::RewireIgnored { epoch: Epoch(10), reason: RewireFault::OtherKey };
        assert_eq!((drain(&mut core), core.own_address()), (vec![Output::Event(event)], None));
    }

    #[test]
    fn rewire_with_a_degree_out_of_bounds_is_ignored() {
        for degree in [0, 2, 5, 49, 50] {
            let mut core = peer_5(&[1]);
            drain(&mut core);
            core.handle_rewire(at(0), &Rewire { degree, ..rewire(11, &[2]) });
            let event = Event::RewireIgnored { epoch: Epoch(11), reason: RewireFault::Degree };
            assert_eq!((drain(&mut core), core.degree()), (vec![Output::Event(event)], 4));
        }
    }

    #[test]
    fn records_of_ourselves_and_repeated_ones_are_left_out() {
        let twice = Record { address: address(7), ..record_of(&grant(1)) };
        let here = Record { address: address(5), ..record_of(&grant(6)) };
        let records = [record_of(&grant(1)), twice, record_of(&grant(5)), here, record_of(&grant(1))];
        let mut core = peer_5(&[]);
        drain(&mut core);
        core.handle_rewire(at(0), &rewire_of(11, records));
        let ignored = events(&mut core).into_iter().filter_map(|event| match event {
            Event::RecordIgnored { reason, .. } => Some(reason),
            _ => None,
        });
        let (ours, again) = (RewireFault::Ourselves, RewireFault::Repeated);
        assert_eq!(ignored.collect::<Vec<_>>(), [again, ours, ours, again]);
        assert_eq!(core.views().len(), 1);
    }

    #[test]
    fn old_link_is_closed_only_once_the_new_one_is_up() {
        let mut core = peer_5_linked(&[1, 2]);
        core.handle_rewire(at(1_000), &rewire(11, &[2, 7]));
        assert_eq!(dialled(&acts(&mut core)), [7]);
        assert_eq!(live(&core), [(1, 1), (2, 2)]);
        core.handle_link_opened(at(1_040), opened(9, 7, Direction::Outgoing));
        assert_eq!(closed(&mut core), []);
        core.handle_table(at(1_060), LinkId(9), table(11, &[]));
        assert_eq!(closed(&mut core), [(1, CloseReason::Rewired)]);
        assert_eq!(live(&core), [(2, 2), (7, 9)]);
    }

    #[test]
    fn old_link_waits_no_longer_than_five_seconds_for_a_new_one() {
        let mut core = peer_5_linked(&[1]);
        core.handle_rewire(at(1_000), &rewire(11, &[7]));
        acts(&mut core);
        let seen = run(&mut core, at(6_000));
        let close = Output::Close { link: LinkId(1), status: Status::NotAllowed, reason: CloseReason::Rewired };
        assert!(seen.contains(&(6_000, close)), "{seen:?}");
        assert!(seen.contains(&(6_000, Output::Report(Report::Unreachable(address(7))))));
    }

    #[test]
    fn neighbour_that_comes_back_before_its_link_was_closed_keeps_it() {
        let mut core = peer_5_linked(&[1, 2]);
        core.handle_rewire(at(1_000), &rewire(11, &[2, 7]));
        core.handle_rewire(at(1_100), &rewire(12, &[1, 2]));
        assert_eq!(closed(&mut core), []);
        assert_eq!(live(&core), [(1, 1), (2, 2)]);
    }

    #[test]
    fn rewire_that_changes_more_than_half_of_the_table_is_an_event_with_its_reason() {
        let mut core = peer_5_linked(&[1, 2, 3]);
        core.handle_rewire(at(1_000), &rewire(11, &[3, 6, 7]));
        let upset = Event::Upset { epoch: Epoch(11), left: 2, of: 3, reason: UpsetReason::Rewire };
        assert!(events(&mut core).contains(&upset));
        core.handle_rewire(at(1_000), &rewire(12, &[2, 6, 7]));
        assert!(!events(&mut core).iter().any(|event| matches!(event, Event::Upset { .. })));
        core.handle_login(at(1_000), &grant_at(5, address(50), 13), &rewire(13, &[10, 11]));
        let upset = Event::Upset { epoch: Epoch(13), left: 3, of: 3, reason: UpsetReason::OwnAddressChanged };
        assert!(events(&mut core).contains(&upset));
    }

    #[test]
    fn table_is_told_to_neighbours_when_its_members_change_only() {
        let mut core = peer_5_linked(&[1, 2]);
        core.handle_rewire(at(1_000), &rewire(11, &[1, 2]));
        assert_eq!(acts(&mut core), [Output::RoutesChanged]);
        core.handle_rewire(at(1_000), &rewire(12, &[1, 2, 7]));
        assert_eq!(sent(&mut core), []);
        core.handle_timeout(at(1_050));
        let frame = Frame::Table(table(12, &[(1, true), (2, true), (7, false)]));
        assert_eq!(sent(&mut core), [1, 2].map(|link| (LinkId(link), frame.clone())));
    }

    #[test]
    fn what_is_gained_within_a_twentieth_of_a_second_is_told_once() {
        let mut core = peer_5_linked(&[1, 2]);
        core.handle_rewire(at(1_000), &rewire(11, &[1, 2, 7]));
        core.handle_rewire(at(1_020), &rewire(12, &[1, 2, 7, 8]));
        sent(&mut core);
        bring_up(&mut core, at(1_040), 9, 7);
        let whole = |up| Frame::Table(table(12, &[(1, true), (2, true), (7, up), (8, false)]));
        assert_eq!(sent(&mut core), [(LinkId(9), whole(false))], "a new link hears that it is accepted at once");
        core.handle_timeout(at(1_049));
        assert_eq!(sent(&mut core), []);
        core.handle_timeout(at(1_050));
        let up = Frame::Delta(delta(&[(7, true)]));
        assert_eq!(sent(&mut core), [(LinkId(1), whole(true)), (LinkId(2), whole(true)), (LinkId(9), up)]);
        core.handle_timeout(at(2_000));
        assert_eq!(sent(&mut core), []);
    }

    #[test]
    fn what_comes_and_goes_before_it_was_told_is_not_told() {
        let mut core = peer_5_linked(&[1, 2]);
        core.handle_rewire(at(1_000), &rewire(11, &[1, 2, 7]));
        core.handle_rewire(at(1_020), &rewire(12, &[1, 2]));
        core.handle_timeout(at(2_000));
        assert_eq!(sent(&mut core), []);
    }

    #[test]
    fn loss_is_told_at_once_with_all_that_waits() {
        let mut core = peer_5_linked(&[1, 2]);
        core.handle_rewire(at(1_000), &rewire(11, &[1, 2, 7]));
        sent(&mut core);
        core.handle_link_closed(at(1_010), LinkId(2), lost());
        let frame = Frame::Table(table(11, &[(1, true), (2, false), (7, false)]));
        assert_eq!(sent(&mut core), [(LinkId(1), frame)]);
        core.handle_timeout(at(1_050));
        assert_eq!(sent(&mut core), []);
    }

    #[test]
    fn link_that_opens_when_the_others_are_told_is_told_too() {
        let mut core = peer_5_linked(&[1, 2]);
        core.handle_rewire(at(1_000), &rewire(11, &[1, 2, 7]));
        sent(&mut core);
        core.handle_link_opened(at(1_050), opened(9, 7, Direction::Incoming));
        let frame = Frame::Table(table(11, &[(1, true), (2, true), (7, false)]));
        assert_eq!(sent(&mut core), [1, 2, 9].map(|link| (LinkId(link), frame.clone())));
    }

    #[test]
    fn loss_of_what_only_a_new_link_was_told_is_told_to_it_at_once() {
        let mut core = peer_5_linked(&[1]);
        core.handle_rewire(at(1_000), &rewire(11, &[1, 7, 8]));
        bring_up(&mut core, at(1_010), 7, 7);
        bring_up(&mut core, at(1_020), 8, 8);
        let frame = Frame::Table(table(11, &[(1, true), (7, true), (8, false)]));
        assert!(sent(&mut core).contains(&(LinkId(8), frame)));
        core.handle_link_closed(at(1_030), LinkId(7), lost());
        let frame = Frame::Delta(delta(&[(7, false), (8, true)]));
        assert!(sent(&mut core).contains(&(LinkId(8), frame)));
    }
}

mod losses {
    use super::*;

    #[test]
    fn lost_link_is_told_to_neighbours_and_home_and_dialled_at_once() {
        let mut core = peer_5_linked(&[2, 7, 8]);
        core.handle_link_closed(at(6_000), LinkId(2), lost());
        let frame = Frame::Delta(delta(&[(7, false)]));
        let expected = [
            Output::Send { link: LinkId(1), frame: frame.clone() },
            Output::Send { link: LinkId(3), frame },
            Output::RoutesChanged,
            Output::Report(Report::LinkDown(address(7))),
            Output::Dial { key: key(7), address: address(7), locations: record_of(&grant(7)).locations },
        ];
        assert_eq!(acts(&mut core), expected);
        bring_up(&mut core, at(6_100), 9, 7);
        core.handle_timeout(at(6_150));
        let frame = Frame::Delta(delta(&[(7, true)]));
        assert!(acts(&mut core).contains(&Output::Send { link: LinkId(3), frame }));
    }

    #[test]
    fn larger_key_gives_the_smaller_one_a_head_start() {
        let mut core = peer_5(&[1, 7]);
        assert_eq!(dialled(&acts(&mut core)), [7]);
        core.handle_timeout(at(299));
        assert_eq!(dialled(&acts(&mut core)), []);
        core.handle_timeout(at(300));
        assert_eq!(dialled(&acts(&mut core)), [1]);
    }

    #[test]
    fn dials_back_off_from_a_fifth_of_a_second_to_five() {
        let mut core = peer_5(&[7]);
        let bounds = [(200, 400), (400, 800), (800, 1_600), (1_600, 3_200), (2_500, 5_000), (2_500, 5_000)];
        let mut now = at(0);
        for (min, max) in bounds {
            core.handle_dial_failed(now, key(7), "connection refused");
            acts(&mut core);
            let Dial::At(due) = core.neighbours[&address(7)].dial else { panic!("not dialled") };
            assert!(due - now >= ms(min) && due - now <= ms(max), "{:?}", due - now);
            while core.next_timeout().unwrap() < due {
                let due = core.next_timeout().unwrap();
                core.handle_timeout(due);
            }
            core.handle_timeout(due);
            assert_eq!(dialled(&acts(&mut core)), [7]);
            now = due;
        }
    }

    #[test]
    fn dial_that_is_never_answered_counts_as_failed() {
        let mut core = peer_5(&[7]);
        acts(&mut core);
        let seen = run(&mut core, at(21_000));
        let dials: Vec<u64> =
            seen.iter().filter(|(_, act)| matches!(act, Output::Dial { .. })).map(|(at, _)| *at).collect();
        assert_eq!(dials.len(), 1);
        assert!((20_200..=20_400).contains(&dials[0]));
    }

    #[test]
    fn peer_whose_links_are_all_down_reports_that_it_is_isolated() {
        let mut core = peer_5_linked(&[7, 8]);
        core.handle_link_closed(at(6_000), LinkId(1), lost());
        assert!(!acts(&mut core).contains(&Output::Report(Report::Isolated)));
        core.handle_link_closed(at(6_000), LinkId(2), lost());
        assert!(acts(&mut core).contains(&Output::Report(Report::Isolated)));
        let seen = run(&mut core, at(17_000));
        let again = seen.iter().filter(|(_, act)| *act == Output::Report(Report::Isolated));
        assert_eq!(again.map(|(at, _)| *at).collect::<Vec<_>>(), [16_000]);
    }

    #[test]
    fn peer_that_has_just_logged_in_is_isolated_only_when_no_link_came_up_in_time() {
        let mut core = peer_5(&[7, 8]);
        acts(&mut core);
        let seen = run(&mut core, at(5_500));
        let isolated: Vec<u64> =
            seen.iter().filter(|(_, act)| *act == Output::Report(Report::Isolated)).map(|(at, _)| *at).collect();
        assert_eq!(isolated, [5_000]);
    }

    #[test]
    fn peer_alone_in_its_ring_is_not_isolated() {
        let mut core = peer_5_linked(&[]);
        assert_eq!((run(&mut core, at(60_000)), core.next_timeout()), (vec![], None));
    }

    /// How the end of a link that was up for 6 s is taken: whether home hears of it, and after how many milliseconds
    /// the smaller key dials again
    #[test]
    fn link_end_consequences() {
        let rows = [
            (lost(), true, 0..=0),
            (bye(Status::Gone), true, 2_500..=5_000),
            (bye(Status::NotAllowed), false, 200..=400),
            (bye(Status::Conflict), false, 200..=400),
            (bye(Status::NotLoggedIn), false, 200..=400),
            (bye(Status::SlowDown), false, 200..=400),
            (bye(Status::TimedOut), false, 200..=400),
        ];
        for (end, is_reported, redial) in rows {
            let mut core = peer_5_linked(&[7, 8]);
            core.handle_link_closed(at(6_000), LinkId(1), end.clone());
            let seen = acts(&mut core);
            assert_eq!(seen.contains(&Output::Report(Report::LinkDown(address(7)))), is_reported, "{end:?}");
            let mut dial = if dialled(&seen).is_empty() { None } else { Some(0) };
            for (at, act) in run(&mut core, at(12_000)) {
                if dialled(&[act]) == [7] {
                    dial = dial.or(Some(at - 6_000));
                }
            }
            assert!(dial.is_some_and(|dial| redial.contains(&dial)), "{end:?}: {dial:?}");
        }
    }

    #[test]
    fn link_that_breaks_as_soon_as_it_is_up_is_not_dialled_at_once() {
        let mut core = peer_5_linked(&[7]);
        core.handle_link_closed(at(100), LinkId(1), lost());
        assert_eq!(dialled(&acts(&mut core)), []);
    }

    #[test]
    fn peer_that_shows_no_grant_is_refused_and_dialled_with_backoff() {
        let mut core = peer_5(&[7]);
        acts(&mut core);
        let opened = Opened { grant: None, ..opened(1, 7, Direction::Outgoing) };
        core.handle_link_opened(at(50), opened);
        let close = Output::Close { link: LinkId(1), status: Status::NotAllowed, reason: CloseReason::NoGrant };
        assert_eq!(acts(&mut core), [close]);
        let seen = run(&mut core, at(2_000));
        assert_eq!(dialled(&[seen[0].1.clone()]), [7]);
        assert!(seen[0].0 >= 250);
    }

    #[test]
    fn neighbour_that_answers_but_refuses_is_not_reported_as_unreachable() {
        let mut core = peer_5(&[7]);
        let mut now = at(0);
        for link in 1..20 {
            core.handle_link_opened(now, opened(link, 7, Direction::Outgoing));
            core.handle_link_closed(now + ms(500), LinkId(link), bye(Status::NotAllowed));
            assert!(!acts(&mut core).contains(&Output::Report(Report::Unreachable(address(7)))));
            now = now + SECOND;
            core.handle_timeout(now);
        }
    }

    #[test]
    fn home_that_was_away_is_told_what_it_missed() {
        let mut core = peer_5_linked(&[2, 7, 8]);
        core.handle_home(at(6_000), false);
        core.handle_link_closed(at(6_000), LinkId(2), lost());
        acts(&mut core);
        assert!(run(&mut core, at(60_000)).iter().all(|(_, act)| !matches!(act, Output::Report(_))));
        core.handle_home(at(60_000), true);
        let reports: Vec<Output> = acts(&mut core).into_iter().filter(|act| matches!(act, Output::Report(_))).collect();
        assert_eq!(reports, [Report::LinkDown(address(7)), Report::Unreachable(address(7))].map(Output::Report));
    }

    #[test]
    fn process_that_was_held_up_blames_nobody() {
        let mut core = peer_5(&[7]);
        acts(&mut core);
        core.handle_timeout(at(60_000));
        let seen = drain(&mut core);
        assert!(seen.contains(&Output::Event(Event::HeldUp { late: ms(55_000) })), "{seen:?}");
        assert!(!seen.iter().any(|output| matches!(output, Output::Report(_))));
        let seen = run(&mut core, at(65_000));
        assert!(seen.contains(&(65_000, Output::Report(Report::Unreachable(address(7))))));
    }

    #[test]
    fn table_of_a_neighbour_is_remembered_while_its_link_is_down() {
        let mut core = peer_5_linked(&[7, 8]);
        core.handle_table(at(1), LinkId(1), table(11, &[(1, true), (2, false), (5, true)]));
        core.handle_link_closed(at(6_000), LinkId(1), lost());
        let down = NeighbourView {
            address: address(7),
            up: false,
            name: name(7),
            table: [(address(1), true), (address(2), false), (address(5), true)].into(),
        };
        assert_eq!(core.views()[0], down);
    }
}

mod acceptance {
    use super::*;

    #[test]
    fn unknown_peer_waits_three_seconds_and_is_refused() {
        let mut core = peer_5_linked(&[7]);
        core.handle_link_opened(at(1_000), opened(9, 1, Direction::Incoming));
        assert_eq!(acts(&mut core), []);
        let close = Output::Close { link: LinkId(9), status: Status::NotAllowed, reason: CloseReason::NotANeighbour };
        assert_eq!(run(&mut core, at(10_000)), [(4_000, close)]);
    }

    #[test]
    fn unknown_peer_becomes_a_neighbour_by_a_rewire() {
        let mut core = peer_5_linked(&[7]);
        core.handle_link_opened(at(1_000), opened(9, 1, Direction::Incoming));
        core.handle_table(at(1_010), LinkId(9), table(11, &[(5, false)]));
        acts(&mut core);
        core.handle_rewire(at(1_500), &rewire(11, &[1, 7]));
        let frame = Frame::Table(table(11, &[(1, true), (7, true)]));
        assert!(acts(&mut core).contains(&Output::Send { link: LinkId(9), frame }));
        assert_eq!(live(&core), [(1, 9), (7, 1)]);
        assert!(run(&mut core, at(20_000)).iter().all(is_send));
    }

    #[test]
    fn unknown_peer_is_a_guest_while_no_home_is_reachable() {
        let mut core = peer_5_linked(&[7]);
        core.handle_home(at(1_000), false);
        bring_up(&mut core, at(1_000), 9, 1);
        assert_eq!(live(&core), [(1, 9), (7, 1)]);
        assert_eq!(closed(&mut core), []);
        assert!(run(&mut core, at(60_000)).iter().all(is_send));
        core.handle_home(at(60_000), true);
        let seen = run(&mut core, at(70_000));
        let close = Output::Close { link: LinkId(9), status: Status::NotAllowed, reason: CloseReason::NotANeighbour };
        assert!(seen.contains(&(63_000, close)));
        assert_eq!(live(&core), [(7, 1)]);
    }

    #[test]
    fn unknown_peer_that_waits_is_accepted_when_home_is_lost() {
        let mut core = peer_5_linked(&[7]);
        core.handle_link_opened(at(1_000), opened(9, 1, Direction::Incoming));
        core.handle_home(at(2_000), false);
        core.handle_table(at(2_000), LinkId(9), table(10, &[]));
        assert_eq!(live(&core), [(1, 9), (7, 1)]);
    }

    #[test]
    fn guest_that_the_next_rewire_names_stays() {
        let mut core = peer_5_linked(&[7]);
        core.handle_home(at(1_000), false);
        bring_up(&mut core, at(1_000), 8, 2);
        bring_up(&mut core, at(1_000), 9, 1);
        acts(&mut core);
        core.handle_rewire(at(2_000), &rewire(11, &[1, 7]));
        assert_eq!(closed(&mut core), [(8, CloseReason::Rewired)]);
        assert_eq!(live(&core), [(1, 9), (7, 1)]);
    }

    #[test]
    fn peer_with_the_grant_of_another_key_is_refused() {
        let mut core = peer_5_linked(&[7]);
        core.handle_link_opened(at(0), Opened { grant: Some(grant(7)), ..opened(9, 1, Direction::Incoming) });
        assert_eq!(closed(&mut core), [(9, CloseReason::NoGrant)]);
    }

    #[test]
    fn nobody_is_accepted_without_a_session_of_our_own() {
        let mut core = Neighbourhood::new(key(5), Config::default(), 1);
        core.handle_link_opened(at(0), opened(9, 1, Direction::Incoming));
        assert_eq!(closed(&mut core), [(9, CloseReason::NotLoggedIn)]);
    }

    #[test]
    fn dialled_peer_that_has_left_the_table_meanwhile_is_refused() {
        let mut core = peer_5(&[7]);
        core.handle_rewire(at(10), &rewire(11, &[8]));
        core.handle_link_opened(at(20), opened(9, 7, Direction::Outgoing));
        assert_eq!(closed(&mut core), [(9, CloseReason::NotANeighbour)]);
    }

    #[test]
    fn link_without_a_table_is_closed_and_was_never_up() {
        let mut core = peer_5(&[7]);
        core.handle_link_opened(at(100), opened(1, 7, Direction::Outgoing));
        acts(&mut core);
        assert_eq!(live(&core), []);
        let seen = run(&mut core, at(5_100));
        let close = Output::Close { link: LinkId(1), status: Status::TimedOut, reason: CloseReason::NoTable };
        assert!(seen.contains(&(5_100, close)));
    }

    #[test]
    fn one_unknown_peer_too_many_is_refused_with_429() {
        let mut core = peer_5_linked(&[7]);
        for n in 0..=WAITING_MAX as u8 {
            core.handle_link_opened(at(0), opened(100 + u64::from(n), 100 + n, Direction::Incoming));
        }
        assert_eq!(closed(&mut core), [(100 + WAITING_MAX as u64, CloseReason::TooMany)]);
        assert_eq!(CloseReason::TooMany.status(), Status::SlowDown);
    }

    #[test]
    fn neighbour_takes_the_place_of_a_guest_at_the_bound() {
        let mut core = peer_5(&[]);
        core.handle_home(at(0), false);
        for n in 0..LINKS_MAX as u8 {
            bring_up(&mut core, at(0), u64::from(n), 100 + n);
        }
        acts(&mut core);
        core.handle_link_opened(at(0), opened(900, 200, Direction::Incoming));
        assert_eq!(closed(&mut core), [(900, CloseReason::TooMany)]);
        core.handle_rewire(at(0), &rewire(11, &[200]));
        acts(&mut core);
        core.handle_link_opened(at(10), opened(901, 200, Direction::Incoming));
        assert_eq!(closed(&mut core)[0], (0, CloseReason::TooMany));
        assert_eq!(core.links_open(), LINKS_MAX);
    }

    #[test]
    fn full_table_of_links_still_lets_a_rebooted_neighbour_replace_its_own() {
        let all: Vec<u8> = (100..100 + LINKS_MAX as u8).collect();
        let mut core = peer_5_linked(&all);
        assert_eq!(core.links_open(), LINKS_MAX);
        core.handle_link_opened(at(9_000), Opened { boot: 2, ..opened(900, 100, Direction::Incoming) });
        assert_eq!(closed(&mut core), [(1, CloseReason::Duplicate)]);
        core.handle_link_opened(at(9_000), Opened { boot: 1, ..opened(901, 100, Direction::Incoming) });
        assert_eq!(closed(&mut core), [(901, CloseReason::Duplicate)]);
    }
}

mod duplicates {
    use super::*;

    #[test]
    fn of_crossed_dials_the_smaller_keys_stays_and_the_other_ends_after_a_table() {
        let mut core = peer_5(&[7]);
        core.handle_link_opened(at(100), opened(1, 7, Direction::Incoming));
        core.handle_table(at(110), LinkId(1), table(10, &[]));
        core.handle_link_opened(at(120), opened(2, 7, Direction::Outgoing));
        assert_eq!(closed(&mut core), []);
        assert_eq!(live(&core), [(7, 1)]);
        core.handle_table(at(130), LinkId(2), table(10, &[]));
        assert_eq!(closed(&mut core), [(1, CloseReason::Duplicate)]);
        assert_eq!(live(&core), [(7, 2)]);
    }

    #[test]
    fn both_crossed_links_stay_until_one_has_a_table() {
        let mut core = peer_5(&[1]);
        core.handle_link_opened(at(100), opened(1, 1, Direction::Outgoing));
        core.handle_link_opened(at(120), opened(2, 1, Direction::Incoming));
        assert_eq!(closed(&mut core), []);
        core.handle_table(at(130), LinkId(2), table(10, &[]));
        assert_eq!((closed(&mut core), live(&core)), (vec![(1, CloseReason::Duplicate)], vec![(1, 2)]));
    }

    #[test]
    fn winner_that_fails_leaves_the_loser_in_use() {
        let mut core = peer_5(&[7]);
        bring_up_by(&mut core, at(100), 1, 7, Direction::Incoming);
        core.handle_link_opened(at(120), opened(2, 7, Direction::Outgoing));
        core.handle_link_closed(at(130), LinkId(2), lost());
        assert_eq!((closed(&mut core), live(&core)), (vec![], vec![(7, 1)]));
        assert!(run(&mut core, at(30_000)).iter().all(is_send));
    }

    #[test]
    fn loser_closed_by_the_other_side_first_leaves_no_gap() {
        let mut core = peer_5(&[7]);
        bring_up_by(&mut core, at(100), 1, 7, Direction::Incoming);
        core.handle_link_opened(at(120), opened(2, 7, Direction::Outgoing));
        drain(&mut core);
        core.handle_link_closed(at(130), LinkId(1), bye(Status::Conflict));
        assert_eq!(acts(&mut core), [Output::RoutesChanged]);
        assert_eq!(live(&core), [(7, 2)]);
    }

    #[test]
    fn later_dial_of_the_same_peer_replaces_its_older_link() {
        for direction in [Direction::Incoming, Direction::Outgoing] {
            let mut core = peer_5(&[1]);
            bring_up_by(&mut core, at(100), 1, 1, direction);
            bring_up(&mut core, at(3_000), 2, 1);
            assert_eq!((closed(&mut core), live(&core)), (vec![(1, CloseReason::Duplicate)], vec![(1, 2)]));
        }
    }

    #[test]
    fn larger_boot_replaces_and_a_smaller_one_is_refused() {
        let mut core = peer_5(&[7]);
        core.handle_link_opened(at(0), opened(1, 7, Direction::Outgoing));
        core.handle_table(at(0), LinkId(1), table(10, &[]));
        core.handle_link_opened(at(10), Opened { boot: 2, ..opened(2, 7, Direction::Incoming) });
        core.handle_table(at(10), LinkId(2), table(10, &[]));
        assert_eq!((closed(&mut core), live(&core)), (vec![(1, CloseReason::Duplicate)], vec![(7, 2)]));
        core.handle_link_opened(at(20), Opened { boot: 1, ..opened(3, 7, Direction::Incoming) });
        assert_eq!((closed(&mut core), live(&core)), (vec![(3, CloseReason::Duplicate)], vec![(7, 2)]));
    }

    #[test]
    fn many_links_of_one_peer_leave_two_at_most() {
        let mut core = peer_5_linked(&[1, 7]);
        for link in 10..40 {
            core.handle_link_opened(at(5_000 + link), opened(link, 7, Direction::Incoming));
            drain(&mut core);
        }
        assert_eq!((core.links_open(), live(&core)), (3, vec![(1, 1), (7, 2)]));
    }

    #[test]
    fn neighbour_that_rejoined_elsewhere_is_replaced_by_the_rewire_without_a_gap() {
        let mut core = peer_5_linked(&[1, 7]);
        let moved = grant_at(7, address(70), 20);
        core.handle_link_opened(at(1_000), Opened { grant: Some(moved.clone()), ..opened(9, 7, Direction::Incoming) });
        core.handle_table(at(1_010), LinkId(9), table(20, &[]));
        assert_eq!((closed(&mut core), live(&core)), (vec![], vec![(1, 1), (7, 2)]));
        core.handle_rewire(at(1_100), &rewire_of(20, [record_of(&grant(1)), record_of(&moved)]));
        assert_eq!((closed(&mut core), live(&core)), (vec![(2, CloseReason::Duplicate)], vec![(1, 1), (70, 9)]));
    }
}

mod tables {
    use super::*;

    fn ignored(core: &mut Neighbourhood) -> Vec<IgnoreReason> {
        let ignored = |event| if let Event::FrameIgnored { reason, .. } = event { Some(reason) } else { None };
        events(core).into_iter().filter_map(ignored).collect()
    }

    #[test]
    fn table_and_deltas_of_a_neighbour_change_its_view() {
        let mut core = peer_5_linked(&[7]);
        core.handle_table(at(0), LinkId(1), table(11, &[(1, true), (2, true)]));
        assert_eq!(acts(&mut core), [Output::RoutesChanged]);
        core.handle_delta(at(0), LinkId(1), &delta(&[(2, false)]));
        assert_eq!(acts(&mut core), [Output::RoutesChanged]);
        assert_eq!(*core.views()[0].table, [(address(1), true), (address(2), false)]);
    }

    #[test]
    fn table_or_delta_that_says_the_same_again_changes_nothing() {
        let mut core = peer_5_linked(&[7]);
        core.handle_table(at(0), LinkId(1), table(11, &[(1, true), (2, true)]));
        core.handle_delta(at(0), LinkId(1), &delta(&[(2, false)]));
        assert_eq!(acts(&mut core), [Output::RoutesChanged, Output::RoutesChanged]);
        core.handle_table(at(0), LinkId(1), table(12, &[(1, true), (2, false)]));
        core.handle_delta(at(0), LinkId(1), &delta(&[(2, false)]));
        assert_eq!(acts(&mut core), []);
    }

    #[test]
    fn stale_table_is_ignored() {
        let mut core = peer_5_linked(&[7]);
        core.handle_table(at(0), LinkId(1), table(9, &[(1, true)]));
        assert_eq!(ignored(&mut core), [IgnoreReason::StaleTable]);
        assert_eq!(*core.views()[0].table, [(address(5), true)]);
    }

    #[test]
    fn frames_that_make_no_sense_are_ignored_with_a_reason() {
        let mut core = peer_5(&[7]);
        core.handle_link_opened(at(0), opened(1, 7, Direction::Incoming));
        drain(&mut core);
        core.handle_delta(at(0), LinkId(1), &delta(&[(2, false)]));
        core.handle_table(at(0), LinkId(2), table(10, &[]));
        core.handle_delta(at(0), LinkId(2), &delta(&[]));
        core.handle_frame(at(0), LinkId(1), Frame::Probe(Probe { sequence: 1 }));
        let (unknown, kind) = (IgnoreReason::UnknownLink, IgnoreReason::UnexpectedKind);
        assert_eq!(ignored(&mut core), [IgnoreReason::NoTable, unknown, unknown, kind]);
        core.handle_table(at(0), LinkId(1), table(10, &[(1, true)]));
        core.handle_delta(at(0), LinkId(1), &delta(&[(2, false), (1, false)]));
        assert_eq!(ignored(&mut core), [IgnoreReason::UnknownAddress]);
        assert_eq!(*core.views()[0].table, [(address(1), false)]);
    }

    #[test]
    fn neighbour_is_no_neighbour_of_itself() {
        let mut core = peer_5_linked(&[7]);
        core.handle_table(at(0), LinkId(1), table(11, &[(7, true), (5, true), (1, true)]));
        assert_eq!(*core.views()[0].table, [(address(1), true), (address(5), true)]);
    }

    #[test]
    fn names_near_by_are_known() {
        let mut core = peer_5_linked(&[7, 8]);
        core.handle_table(at(0), LinkId(1), table(11, &[(1, true), (8, true)]));
        assert_eq!(core.name_of(address(5).short()), Some(name(5)));
        assert_eq!(core.name_of(address(7).short()), Some(name(7)));
        assert_eq!(core.name_of(address(1).short()), Some(name(1)));
        assert_eq!(core.name_of(address(2).short()), None);
        assert_eq!(core.find(&name(8)), Some((address(8), Some(record_of(&grant(8))))));
        assert_eq!(core.find(&name(1)), Some((address(1), None)));
        assert_eq!(core.find(&name(5)), Some((address(5), None)));
        assert_eq!(core.find(&name(2)), None);
    }
}

mod sessions {
    use super::*;

    #[test]
    fn logout_closes_all_links_with_410() {
        let mut core = peer_5_linked(&[1, 7]);
        core.handle_logout(at(1_000));
        let close = |link| Output::Close { link: LinkId(link), status: Status::Gone, reason: CloseReason::LoggedOut };
        assert_eq!(acts(&mut core), [close(1), close(2), Output::RoutesChanged]);
        assert_eq!((core.views(), core.own_address(), core.next_timeout()), (vec![], None, None));
    }

    #[test]
    fn epoch_of_before_the_logout_still_counts() {
        let mut core = peer_5_linked(&[1]);
        core.handle_logout(at(0));
        core.handle_login(at(0), &grant(5), &rewire(10, &[7]));
        assert_eq!(core.views(), []);
        core.handle_login(at(0), &grant(5), &rewire(11, &[7]));
        assert_eq!(core.views().len(), 1);
    }

    #[test]
    fn session_taken_up_again_at_the_same_address_keeps_its_links() {
        let mut core = peer_5_linked(&[1, 7]);
        core.handle_home(at(0), false);
        core.handle_login(at(0), &grant(5), &rewire(10, &[1, 7]));
        assert_eq!(acts(&mut core), [Output::RoutesChanged]);
        assert_eq!(live(&core), [(1, 1), (7, 2)]);
    }

    #[test]
    fn new_address_reopens_every_link_and_closes_the_old_ones_after() {
        let mut core = peer_5_linked(&[6, 7]);
        core.handle_login(at(1_000), &grant_at(5, address(50), 20), &rewire(20, &[6, 7]));
        let seen = acts(&mut core);
        assert_eq!(dialled(&seen), [6, 7]);
        assert!(!seen.iter().any(|act| matches!(act, Output::Close { .. } | Output::Send { .. })));
        assert_eq!(live(&core), [(6, 1), (7, 2)]);
        core.handle_link_opened(at(1_050), opened(11, 6, Direction::Outgoing));
        core.handle_table(at(1_060), LinkId(11), table(20, &[]));
        assert_eq!((closed(&mut core), live(&core)), (vec![(1, CloseReason::Duplicate)], vec![(6, 11), (7, 2)]));
        let seen = run(&mut core, at(6_000));
        let close = Output::Close { link: LinkId(2), status: Status::NotAllowed, reason: CloseReason::Moved };
        assert!(seen.contains(&(6_000, close)));
    }
}

mod meshes {
    use super::*;

    fn mesh(n: u8, seed: u64) -> World {
        let mut world = World::new(seed);
        (1..=n).for_each(|n| world.join(n));
        world.push_full_mesh();
        world
    }

    fn downs(world: &World) -> usize {
        world.events.iter().filter(|(_, _, event)| matches!(event, Event::LinkDown { .. })).count()
    }

    fn assert_linked_once(world: &World) {
        for a in world.peers.keys() {
            for b in world.peers.keys().filter(|b| *b != a) {
                assert_eq!(world.links_between(*a, *b).len(), 1, "{a} and {b}");
            }
            assert_eq!(world.live(*a).len(), world.peers.len() - 1);
        }
    }

    #[test]
    fn two_peers_that_dial_at_once_end_with_one_link_and_no_gap() {
        for spread in [0, 5, 15, 45] {
            let mut world = World::new(spread);
            world.config.head_start = ms(spread);
            world.join(1);
            world.join(2);
            world.push_full_mesh();
            world.run(10 * SECOND);
            assert_eq!(world.dials.len(), if spread < 40 { 2 } else { 1 }, "{spread}");
            assert_linked_once(&world);
            assert_eq!((downs(&world), &world.reports), (0, &vec![]));
        }
    }

    #[test]
    fn eight_peers_link_each_pair_once_and_know_each_others_tables() {
        let mut world = mesh(8, 1);
        world.run(SECOND);
        assert_linked_once(&world);
        for peer in world.peers.values() {
            for view in peer.core.views() {
                assert_eq!(view.table.len(), 7);
                assert!(view.up && view.table.iter().all(|(_, up)| *up));
            }
        }
        let (steps, dials) = (world.steps, world.dials.len());
        world.run(60 * SECOND);
        assert_eq!((dials, world.dials.len()), (28, 28));
        assert!(world.steps - steps < 10, "a quiet mesh says nothing");
    }

    #[test]
    fn killed_peer_is_known_as_down_by_all_within_two_latencies() {
        let mut world = mesh(6, 2);
        world.run(10 * SECOND);
        world.kill(6);
        world.run(2 * world.latency);
        for n in 1..=5 {
            for view in world.core(n).views() {
                let told = view.table.iter().find(|(address, _)| *address == world::address(6));
                assert_eq!(told.map(|(_, up)| *up), if view.address == world::address(6) { None } else { Some(false) });
            }
        }
        let down = (1..=5).filter(|n| {
            world.reports.iter().any(|(_, by, report)| by == n && *report == Report::LinkDown(world::address(6)))
        });
        assert_eq!(down.count(), 5);
    }

    #[test]
    fn killed_peer_that_comes_back_at_the_same_place_is_linked_again() {
        let mut world = mesh(5, 3);
        world.run(10 * SECOND);
        world.kill(5);
        world.run(2 * SECOND);
        world.join_at(5, address(5), 2);
        world.push_full_mesh();
        world.run(2 * SECOND);
        assert_linked_once(&world);
    }

    #[test]
    fn suspect_cut_from_home_is_let_go_by_all_without_hurting_the_others() {
        let mut world = mesh(4, 4);
        world.run(10 * SECOND);
        world.push(&[(1, &[2, 3]), (2, &[1, 3]), (3, &[1, 2])]);
        world.run(10 * SECOND);
        assert_eq!(world.live(4), []);
        assert_eq!(world.live(1), [address(2), address(3)]);
        let isolated = |(_, by, report): &(Instant, u8, Report)| *by == 4 && *report == Report::Isolated;
        assert!(world.reports.iter().any(isolated));
        assert!(!world.reports.iter().any(|(_, by, _)| *by != 4));
    }

    #[test]
    fn make_before_break_leaves_every_peer_linked_throughout() {
        let mut world = World::new(5);
        (1..=6).for_each(|n| world.join(n));
        world.push(&[(1, &[2, 6]), (2, &[1, 3]), (3, &[2, 4]), (4, &[3, 5]), (5, &[4, 6]), (6, &[5, 1])]);
        world.run(10 * SECOND);
        world.push(&[(1, &[3, 5]), (2, &[4, 6]), (3, &[1, 5]), (4, &[2, 6]), (5, &[1, 3]), (6, &[2, 4])]);
        for _ in 0..600 {
            world.run(ms(10));
            assert!((1..=6).all(|n| world.live(n).len() >= 2), "{:?}", world.now);
        }
        assert!((1..=6).all(|n| world.live(n).len() == 2));
        assert_eq!(world.reports, []);
    }

    #[test]
    fn rewire_that_reaches_one_side_two_seconds_late_still_links() {
        let mut world = mesh(2, 6);
        world.run(10 * SECOND);
        world.join(3);
        world.push(&[(1, &[2, 3])]);
        world.run(2 * SECOND);
        world.push(&[(3, &[1])]);
        world.run(SECOND);
        assert_eq!(world.live(1), [address(2), address(3)]);
        assert_eq!(world.live(3), [address(1)]);
        assert_eq!(world.reports, []);
    }

    #[test]
    fn pair_that_cannot_connect_is_reported_by_both_after_five_seconds() {
        let mut world = World::new(7);
        world.cut.insert((1, 2));
        (1..=3).for_each(|n| world.join(n));
        world.push_full_mesh();
        world.run(6 * SECOND);
        let reports: Vec<(u8, Report)> = world.reports.iter().map(|(_, by, report)| (*by, *report)).collect();
        assert_eq!(reports, [(1, Report::Unreachable(address(2))), (2, Report::Unreachable(address(1)))]);
    }

    #[test]
    fn link_that_one_side_lost_unnoticed_by_the_other_is_replaced_at_once() {
        for (a, b) in [(1, 2), (2, 1)] {
            let mut world = mesh(3, 8);
            world.run(10 * SECOND);
            world.break_link(a, b, [ms(0), ms(2_000)]);
            world.run(SECOND);
            assert_eq!(world.live(a).len(), 2, "{a} has a new link");
            world.run(5 * SECOND);
            assert_linked_once(&world);
        }
    }

    #[test]
    fn peer_that_logs_in_at_another_address_is_linked_again_without_a_gap() {
        let mut world = mesh(4, 9);
        world.run(10 * SECOND);
        world.relogin(4, address(40), &[1, 2, 3]);
        world.push(&[(1, &[2, 3, 4]), (2, &[1, 3, 4]), (3, &[1, 2, 4])]);
        for _ in 0..100 {
            world.run(ms(10));
            assert!((1..=4).all(|n| world.live(n).len() >= 3), "{:?}", world.now);
        }
        world.run(10 * SECOND);
        assert_linked_once(&world);
        assert_eq!(world.live(1), [address(2), address(3), address(40)]);
        assert_eq!(downs(&world), 0);
    }

    #[test]
    fn logged_out_peer_is_dialled_rarely_until_the_rewire_comes() {
        let mut world = mesh(3, 10);
        world.run(10 * SECOND);
        let before = world.dials.len();
        world.logout(3);
        world.run(20 * SECOND);
        assert!(world.dials.len() - before <= 2 * 8, "{}", world.dials.len() - before);
        world.push(&[(1, &[2]), (2, &[1])]);
        let before = world.dials.len();
        world.run(20 * SECOND);
        assert_eq!(world.dials.len(), before);
    }

    #[test]
    fn mesh_without_a_home_heals_by_itself() {
        let mut world = mesh(5, 11);
        world.run(10 * SECOND);
        world.home(false);
        world.break_link(1, 2, [ms(0), ms(0)]);
        world.kill(5);
        world.run(SECOND);
        assert!((1..=4).all(|n| world.live(n).len() == 3));
        assert_eq!(world.reports, []);
    }

    #[test]
    fn mesh_heals_after_random_breaks_and_kills() {
        for seed in 0..20 {
            let mut world = mesh(7, seed);
            world.run(6 * SECOND);
            for i in 0..30 {
                let (a, b) = ((seed + i * 3) % 6 + 1, (seed + i * 5 + 1) % 6 + 1);
                if a != b {
                    let [x, y] = [i * 37 % 400, i * 91 % 400].map(ms);
                    world.break_link(a as u8, b as u8, [x, y]);
                }
                world.run(ms(i * 53 % 700));
            }
            world.kill(7);
            world.push_full_mesh();
            world.run(15 * SECOND);
            assert_linked_once(&world);
        }
    }
}

#[derive(Clone, Debug)]
enum Input {
    Login(u8, u64, Vec<u8>),
    Rewire(u64, Vec<u8>),
    Logout,
    Opened { link: u64, n: u8, place: u8, epoch: u64, boot: u64, is_outgoing: bool, has_grant: bool },
    Table(u64, u64, Vec<(u8, bool)>),
    Delta(u64, Vec<(u8, bool)>),
    Closed(u64, Option<usize>),
    DialFailed(u8),
    Home(bool),
    Timeout,
}

fn input() -> impl Strategy<Value = Input> {
    let peers = || prop::collection::vec(0u8..90, 0..70);
    let bits = || prop::collection::vec((any::<u8>(), any::<bool>()), 0..10);
    let opened = (0u64..200, 0u8..90, 0u8..3, 0u64..4, 0u64..3, any::<(bool, bool)>());
    prop_oneof![
        1 => (0u8..3, 0u64..100, peers()).prop_map(|(place, epoch, row)| Input::Login(place, epoch, row)),
        3 => (0u64..100, peers()).prop_map(|(epoch, row)| Input::Rewire(epoch, row)),
        1 => Just(Input::Logout),
        30 => opened.prop_map(|(link, n, place, epoch, boot, (is_outgoing, has_grant))| {
            Input::Opened { link, n, place, epoch, boot, is_outgoing, has_grant: has_grant || n > 9 }
        }),
        20 => (0u64..200, 0u64..20, bits()).prop_map(|(link, epoch, row)| Input::Table(link, epoch, row)),
        5 => (0u64..200, bits()).prop_map(|(link, row)| Input::Delta(link, row)),
        5 => (0u64..200, prop::option::of(0usize..14)).prop_map(|(link, end)| Input::Closed(link, end)),
        5 => (0u8..90).prop_map(Input::DialFailed),
        2 => any::<bool>().prop_map(Input::Home),
        10 => Just(Input::Timeout),
    ]
}

fn feed(core: &mut Neighbourhood, now: Instant, input: Input) {
    let place = |n: u8, place: u8| Address(address(n).0 + u64::from(place / 2));
    match input {
        Input::Login(to, epoch, row) => core.handle_login(now, &grant_at(5, place(5, to), epoch), &rewire(epoch, &row)),
        Input::Rewire(epoch, row) => core.handle_rewire(now, &rewire(epoch, &row)),
        Input::Logout => core.handle_logout(now),
        Input::Opened { link, n, place: to, epoch, boot, is_outgoing, has_grant } => {
            let direction = if is_outgoing { Direction::Outgoing } else { Direction::Incoming };
            let grant = has_grant.then(|| grant_at(n, place(n, to), epoch));
            core.handle_link_opened(now, Opened { link: LinkId(link), key: key(n), direction, boot, grant });
        }
        Input::Table(link, epoch, row) => core.handle_table(now, LinkId(link), table(epoch, &row)),
        Input::Delta(link, row) => core.handle_delta(now, LinkId(link), &delta(&row)),
        Input::Closed(link, end) => {
            let end = end.and_then(|end| Status::ALL.get(end)).map_or_else(lost, |status| bye(*status));
            core.handle_link_closed(now, LinkId(link), end);
        }
        Input::DialFailed(n) => core.handle_dial_failed(now, key(n), "refused"),
        Input::Home(reachable) => core.handle_home(now, reachable),
        Input::Timeout => core.handle_timeout(core.next_timeout().unwrap_or(now)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_bounds_hold_and_only_the_table_is_dialled(
        inputs in prop::collection::vec((input(), 0u64..900), 1..250),
        seed: u64,
    ) {
        let mut core = Neighbourhood::new(key(5), Config::default(), seed);
        let (mut now, mut epoch) = (at(0), None);
        for (input, step) in inputs {
            now = now + ms(step);
            feed(&mut core, now, input);
            prop_assert!(core.epoch() >= epoch);
            epoch = core.epoch();
            let outputs = drain(&mut core);
            prop_assert!(outputs.len() <= 20 * (LINKS_MAX + NEIGHBOURS_MAX));
            for output in outputs {
                match output {
                    Output::Dial { key, address, .. } => prop_assert!(core.is_neighbour(&key, address)),
                    Output::Send { link, .. } => prop_assert!(core.links.contains_key(&link)),
                    Output::Close { link, .. } => prop_assert!(!core.links.contains_key(&link)),
                    Output::Report(_) => prop_assert!(core.is_home_reachable),
                    Output::RoutesChanged | Output::Event(_) => {}
                }
            }
            let views = core.views();
            prop_assert!(views.windows(2).all(|pair| pair[0].address < pair[1].address));
            prop_assert!(views.iter().all(|view| Some(view.address) != core.own_address()));
            prop_assert_eq!(views.iter().filter(|view| view.up).count(), core.live_links().count());
        }
        // Left alone, it comes to rest but for its dials and reports.
        let mut steps = 0;
        let end = now + 60 * SECOND;
        while let Some(due) = core.next_timeout().filter(|due| *due <= end) {
            core.handle_timeout(due);
            drain(&mut core);
            steps += 1;
            prop_assert!(steps < 10_000);
            prop_assert!(core.next_timeout().is_none_or(|next| next > due));
        }
    }
}
