use super::*;

#[test]
fn unknown_peer_waits_three_seconds_and_is_refused() {
    let mut core = peer_5_linked(&[7]);
    core.handle_link_opened(at(1_000), opened(9, 1, Direction::Incoming));
    assert_eq!(acts(&mut core), []);
    let close =
        NeighbourhoodOutput::Close { link: LinkId(9), status: Status::NotAllowed, reason: CloseReason::NotANeighbour };
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
    assert!(acts(&mut core).contains(&NeighbourhoodOutput::Send { link: LinkId(9), frame }));
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
    let close =
        NeighbourhoodOutput::Close { link: LinkId(9), status: Status::NotAllowed, reason: CloseReason::NotANeighbour };
    assert!(seen.contains(&(63_000, close)));
    assert_eq!(live(&core), [(7, 1)]);
}

#[test]
fn unknown_peer_that_waits_is_accepted_when_home_is_lost() {
    let mut core = peer_5_linked(&[7]);
    core.handle_link_opened(at(1_000), opened(9, 1, Direction::Incoming));
    acts(&mut core);
    core.handle_home(at(2_000), false);
    let accepted = Event::GuestAccepted { link: LinkId(9), name: name(1), address: address(1) };
    let accepted = NeighbourhoodOutput::Event(accepted);
    assert!(drain(&mut core).contains(&accepted));
    core.handle_home(at(2_000), false);
    assert!(!drain(&mut core).contains(&accepted), "it is told once");
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
    let mut core = Neighbourhood::new(key(5), NeighbourhoodConfig::default(), 1);
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
    let close = NeighbourhoodOutput::Close { link: LinkId(1), status: Status::TimedOut, reason: CloseReason::NoTable };
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
