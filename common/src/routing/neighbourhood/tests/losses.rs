use std::time::Duration;

use super::*;

#[test]
fn lost_link_is_told_to_neighbours_and_home_and_dialled_at_once() {
    let mut core = peer_5_linked(&[2, 7, 8]);
    core.handle_link_closed(at(6_000), LinkId(2), lost());
    let frame = Frame::Delta(delta(&[(7, false)]));
    let expected = [
        NeighbourhoodOutput::Send { link: LinkId(1), frame: frame.clone() },
        NeighbourhoodOutput::Send { link: LinkId(3), frame },
        NeighbourhoodOutput::RoutesChanged,
        NeighbourhoodOutput::Report(Report::LinkDown(address(7))),
        NeighbourhoodOutput::Dial { key: key(7), address: address(7), locations: record_of(&grant(7)).locations },
    ];
    assert_eq!(acts(&mut core), expected);
    bring_up(&mut core, at(6_100), 9, 7);
    core.handle_timeout(at(6_150));
    let frame = Frame::Delta(delta(&[(7, true)]));
    assert!(acts(&mut core).contains(&NeighbourhoodOutput::Send { link: LinkId(3), frame }));
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
fn dials_back_off_from_a_fifth_of_a_second_to_five_while_somebody_answers() {
    let mut core = peer_5(&[7]);
    let bounds = [(200, 400), (400, 800), (800, 1_600), (1_600, 3_200), (2_500, 5_000), (2_500, 5_000)];
    back_off(&mut core, Status::Unavailable, &bounds);
}

#[test]
fn dials_that_nobody_answers_in_time_back_off_to_a_minute_until_one_succeeds() {
    let mut core = peer_5(&[7]);
    let first = (0..8).map(|doublings| (200 << doublings, 400 << doublings));
    let bounds: Vec<(u64, u64)> = first.chain([(30_000, 60_000); 2]).collect();
    let now = back_off(&mut core, Status::TimedOut, &bounds);
    core.handle_link_opened(now, opened(1, 7, Direction::Outgoing));
    core.handle_table(now, LinkId(1), table(11, &[(5, true)]));
    core.handle_link_closed(now + 300 * SECOND, LinkId(1), lost());
    assert_eq!(dialled(&acts(&mut core)), [7], "a long life makes up for all failures");
}

#[test]
fn link_that_comes_and_goes_is_dialled_less_and_less() {
    let mut core = peer_5(&[7]);
    let (mut now, mut waits) = (at(0), Vec::new());
    for link in 1..=12 {
        core.handle_link_opened(now, opened(link, 7, Direction::Outgoing));
        core.handle_table(now, LinkId(link), table(11, &[(5, true)]));
        let down = now + 6 * SECOND;
        while core.next_timeout().is_some_and(|due| due < down) {
            core.handle_timeout(core.next_timeout().unwrap());
        }
        core.handle_link_closed(down, LinkId(link), lost());
        acts(&mut core);
        let due = match core.neighbours[&address(7)].dial {
            Dial::At(due) => due,
            _ => down,
        };
        core.handle_timeout(due);
        acts(&mut core);
        waits.push(due - down);
        now = due;
    }
    assert_eq!(waits[0], Duration::ZERO, "it has lived for longer than five seconds");
    assert!(waits.iter().all(|wait| *wait <= 2 * SECOND), "a fifth of its time: {waits:?}");
}

/// Dials that fail at once, with the bounds of the waits after them; when the last one of them failed
#[track_caller]
fn back_off(core: &mut Neighbourhood, status: Status, bounds: &[(u64, u64)]) -> Instant {
    let mut now = at(0);
    for (min, max) in bounds.iter().copied() {
        core.handle_dial_failed(now, key(7), status, "nobody there");
        acts(core);
        let Dial::At(due) = core.neighbours[&address(7)].dial else { panic!("not dialled") };
        assert!(due - now >= ms(min) && due - now <= ms(max), "{:?}", due - now);
        while core.next_timeout().unwrap() < due {
            let due = core.next_timeout().unwrap();
            core.handle_timeout(due);
        }
        core.handle_timeout(due);
        assert!(dialled(&acts(core)).contains(&7));
        now = due;
    }
    now
}

#[test]
fn dial_that_is_never_answered_counts_as_failed() {
    let mut core = peer_5(&[7]);
    acts(&mut core);
    let seen = run(&mut core, at(62_000));
    let dials: Vec<u64> =
        seen.iter().filter(|(_, act)| matches!(act, NeighbourhoodOutput::Dial { .. })).map(|(at, _)| *at).collect();
    assert_eq!(dials.len(), 1);
    assert!((61_200..=61_400).contains(&dials[0]), "{dials:?}");
}

#[test]
fn peer_whose_links_are_all_down_reports_that_it_is_isolated() {
    let mut core = peer_5_linked(&[7, 8]);
    core.handle_link_closed(at(6_000), LinkId(1), lost());
    assert!(!acts(&mut core).contains(&NeighbourhoodOutput::Report(Report::Isolated)));
    core.handle_link_closed(at(6_000), LinkId(2), lost());
    assert!(acts(&mut core).contains(&NeighbourhoodOutput::Report(Report::Isolated)));
    let seen = run(&mut core, at(17_000));
    let again = seen.iter().filter(|(_, act)| *act == NeighbourhoodOutput::Report(Report::Isolated));
    assert_eq!(again.map(|(at, _)| *at).collect::<Vec<_>>(), [16_000]);
}

#[test]
fn peer_that_has_just_logged_in_is_isolated_only_when_no_link_came_up_in_time() {
    let mut core = peer_5(&[7, 8]);
    acts(&mut core);
    let seen = run(&mut core, at(5_500));
    let isolated: Vec<u64> = seen
        .iter()
        .filter(|(_, act)| *act == NeighbourhoodOutput::Report(Report::Isolated))
        .map(|(at, _)| *at)
        .collect();
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
        assert_eq!(seen.contains(&NeighbourhoodOutput::Report(Report::LinkDown(address(7)))), is_reported, "{end:?}");
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
    let close =
        NeighbourhoodOutput::Close { link: LinkId(1), status: Status::NotAllowed, reason: CloseReason::NoGrant };
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
        assert!(!acts(&mut core).contains(&NeighbourhoodOutput::Report(Report::Unreachable(address(7)))));
        now = now + SECOND;
        core.handle_timeout(now);
    }
}

#[test]
fn neighbour_whose_table_has_this_peer_no_more_is_dialled_less_and_less_until_home_is_back() {
    let mut core = peer_5(&[7]);
    acts(&mut core);
    core.handle_home(at(0), false);
    let (mut now, mut waits) = (at(0), Vec::new());
    for link in 1..=12 {
        core.handle_link_opened(now, opened(link, 7, Direction::Outgoing));
        let refused = now + ms(3_000);
        core.handle_link_closed(refused, LinkId(link), bye(Status::NotAllowed));
        acts(&mut core);
        let Dial::At(due) = core.neighbours[&address(7)].dial else { panic!("not to be dialled") };
        waits.push(due - refused);
        (now, _) = (due, core.handle_timeout(due));
        assert_eq!(dialled(&acts(&mut core)), [7]);
    }
    assert!(waits[0] <= ms(400), "{waits:?}");
    assert!(waits[11] >= 30 * SECOND && waits[11] <= 60 * SECOND, "{waits:?}");
    core.handle_link_opened(now, opened(13, 7, Direction::Outgoing));
    core.handle_link_closed(now, LinkId(13), bye(Status::NotAllowed));
    assert_eq!(dialled(&acts(&mut core)), []);
    core.handle_home(now + SECOND, true);
    core.handle_timeout(now + 2 * SECOND);
    assert_eq!(dialled(&acts(&mut core)), [7], "with home there is a new table, or soon will be");
}

#[test]
fn home_that_was_away_is_told_what_it_missed() {
    let mut core = peer_5_linked(&[2, 7, 8]);
    core.handle_home(at(6_000), false);
    core.handle_link_closed(at(6_000), LinkId(2), lost());
    acts(&mut core);
    assert!(run(&mut core, at(60_000)).iter().all(|(_, act)| !matches!(act, NeighbourhoodOutput::Report(_))));
    core.handle_home(at(60_000), true);
    let now = acts(&mut core).into_iter().map(|act| (60_000, act)).collect();
    assert_eq!(reports(now), [(60_000, Report::LinkDown(address(7)))]);
    let seen = reports(run(&mut core, at(72_000)));
    assert!(matches!(seen[..], [(65_000..=70_000, Report::Unreachable(_))]), "after its whole patience: {seen:?}");
}

fn reports(seen: Vec<(u64, NeighbourhoodOutput)>) -> Vec<(u64, Report)> {
    let report = |(at, act)| if let NeighbourhoodOutput::Report(report) = act { Some((at, report)) } else { None };
    seen.into_iter().filter_map(report).collect()
}

/// A peer whose links are all lost at 6 s, at 60 s: what it has told its home meanwhile is that, and nothing of others
fn cut_off() -> Neighbourhood {
    let mut core = peer_5_linked(&[2, 7]);
    (1..3).for_each(|link| core.handle_link_closed(at(6_000), LinkId(link), lost()));
    let seen = reports(run(&mut core, at(60_000)));
    assert!(seen.iter().any(|(_, report)| *report == Report::Isolated));
    assert!(!seen.iter().any(|(_, report)| matches!(report, Report::Unreachable(_))), "{seen:?}");
    core
}

#[test]
fn peer_that_was_cut_off_gives_others_their_time_once_home_answers() {
    let mut core = cut_off();
    core.handle_rewire(at(60_000), &rewire(1, &[2, 7]));
    let seen = reports(run(&mut core, at(72_000)));
    let unreachable: Vec<u64> =
        seen.iter().filter(|(_, report)| matches!(report, Report::Unreachable(_))).map(|(at, _)| *at).collect();
    assert!(unreachable.len() == 2 && unreachable.iter().all(|at| *at >= 65_000), "{seen:?}");
}

#[test]
fn peer_that_was_cut_off_gives_others_their_time_once_a_link_is_up() {
    let mut core = cut_off();
    core.handle_link_opened(at(60_000), opened(9, 2, Direction::Incoming));
    core.handle_table(at(60_000), LinkId(9), table(11, &[(5, true)]));
    let seen = reports(run(&mut core, at(72_000)));
    let unreachable = |(at, report): &(u64, Report)| *at >= 65_000 && *report == Report::Unreachable(address(7));
    assert!(!seen.is_empty() && seen.iter().all(unreachable), "{seen:?}");
}

#[test]
fn process_that_was_held_up_blames_nobody() {
    let mut core = peer_5(&[7]);
    acts(&mut core);
    core.handle_held_up(at(60_000), ms(55_000));
    core.handle_timeout(at(60_000));
    let seen = drain(&mut core);
    assert!(seen.contains(&NeighbourhoodOutput::Event(Event::HeldUp { late: ms(55_000) })), "{seen:?}");
    assert!(!seen.iter().any(|output| matches!(output, NeighbourhoodOutput::Report(_))));
    core.handle_dial_failed(at(60_000), key(7), Status::TimedOut, "silence");
    let seen = run(&mut core, at(65_000));
    assert!(seen.contains(&(65_000, NeighbourhoodOutput::Report(Report::Unreachable(address(7))))));
}

#[test]
fn table_of_a_neighbour_is_remembered_while_its_link_is_down() {
    let mut core = peer_5_linked(&[7, 8]);
    core.handle_table(at(1), LinkId(1), table(11, &[(1, true), (2, false), (5, true)]));
    core.handle_link_closed(at(6_000), LinkId(1), lost());
    let down = NeighbourView {
        address: address(7),
        up: false,
        held: false,
        name: name(7),
        table: [(address(1), true), (address(2), false), (address(5), true)].into(),
        unseen: [].into(),
    };
    assert_eq!(core.views()[0], down);
}
