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
    assert_eq!(acts(&mut core), [NeighbourhoodOutput::RoutesChanged]);
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
