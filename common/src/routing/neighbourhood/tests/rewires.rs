use super::*;

#[test]
fn rewire_with_an_equal_or_smaller_epoch_changes_nothing() {
    let mut core = peer_5_linked(&[1, 2]);
    for epoch in [10, 9, 0] {
        core.handle_rewire(at(1), &rewire(epoch, &[7]));
        let event = Event::RewireIgnored { epoch: Epoch::new(0, epoch), reason: RewireFault::NotNewer };
        assert_eq!(drain(&mut core), [NeighbourhoodOutput::Event(event)]);
    }
    assert_eq!((core.epoch(), live(&core)), (Some(Epoch::new(0, 10)), vec![(1, 1), (2, 2)]));
}

#[test]
fn login_at_a_log_that_went_back_replaces_the_table() {
    let mut core = peer_5_linked(&[1, 2]);
    let back = Rewire { epoch: Epoch::new(1, 3), ..rewire(3, &[2, 7]) };
    core.handle_login(at(1_000), &grant(5), &back);
    assert_eq!((core.epoch(), dialled(&acts(&mut core))), (Some(back.epoch), vec![7]));
    // Within the new incarnation epochs count as ever.
    core.handle_rewire(at(1_001), &Rewire { epoch: Epoch::new(1, 2), ..rewire(2, &[8]) });
    assert_eq!((core.epoch(), dialled(&acts(&mut core))), (Some(back.epoch), vec![]));
}

#[test]
fn table_of_a_neighbour_whose_log_went_back_is_taken() {
    let mut core = peer_5_linked(&[1]);
    core.handle_table(at(1), LinkId(1), table(10, &[(8, true)]));
    core.handle_table(at(2), LinkId(1), table(9, &[(9, true)]));
    let known = |core: &Neighbourhood| core.views().iter().flat_map(|view| view.table.to_vec()).collect::<Vec<_>>();
    assert_eq!(known(&core), [(address(8), true)]);
    core.handle_table(at(3), LinkId(1), Table { epoch: Epoch::new(1, 3), ..table(3, &[(9, true)]) });
    assert_eq!(known(&core), [(address(9), true)]);
}

#[test]
fn rewire_without_a_session_is_ignored() {
    let mut core = Neighbourhood::new(key(5), NeighbourhoodConfig::default(), 1);
    core.handle_rewire(at(0), &rewire(10, &[1]));
    let event = Event::RewireIgnored { epoch: Epoch::new(0, 10), reason: RewireFault::NotLoggedIn };
    assert_eq!(drain(&mut core), [NeighbourhoodOutput::Event(event)]);
}

#[test]
fn login_with_the_grant_of_another_key_changes_nothing() {
    let mut core = Neighbourhood::new(key(5), NeighbourhoodConfig::default(), 1);
    core.handle_login(at(0), &grant(6), &rewire(10, &[1]));
    let event = Event::RewireIgnored { epoch: Epoch::new(0, 10), reason: RewireFault::OtherKey };
    assert_eq!((drain(&mut core), core.own_address()), (vec![NeighbourhoodOutput::Event(event)], None));
}

#[test]
fn rewire_with_a_degree_out_of_bounds_is_ignored() {
    for degree in [0, 2, 5, 49, 50] {
        let mut core = peer_5(&[1]);
        drain(&mut core);
        core.handle_rewire(at(0), &Rewire { degree, ..rewire(11, &[2]) });
        let event = Event::RewireIgnored { epoch: Epoch::new(0, 11), reason: RewireFault::Degree };
        assert_eq!((drain(&mut core), core.degree()), (vec![NeighbourhoodOutput::Event(event)], 4));
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
    core.handle_dial_failed(at(3_000), key(7), Status::TimedOut, "silence");
    acts(&mut core);
    let seen = run(&mut core, at(6_000));
    let close =
        NeighbourhoodOutput::Close { link: LinkId(1), status: Status::NotAllowed, reason: CloseReason::Rewired };
    assert!(seen.contains(&(6_000, close)), "{seen:?}");
    assert!(seen.contains(&(6_000, NeighbourhoodOutput::Report(Report::Unreachable(address(7))))));
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
    let upset = Event::Upset { epoch: Epoch::new(0, 11), left: 2, of: 3, reason: UpsetReason::Rewire };
    assert!(events(&mut core).contains(&upset));
    core.handle_rewire(at(1_000), &rewire(12, &[2, 6, 7]));
    assert!(!events(&mut core).iter().any(|event| matches!(event, Event::Upset { .. })));
    core.handle_login(at(1_000), &grant_at(5, address(50), 13), &rewire(13, &[10, 11]));
    let upset = Event::Upset { epoch: Epoch::new(0, 13), left: 3, of: 3, reason: UpsetReason::OwnAddressChanged };
    assert!(events(&mut core).contains(&upset));
}

#[test]
fn table_is_told_to_neighbours_when_its_members_change_only() {
    let mut core = peer_5_linked(&[1, 2]);
    core.handle_rewire(at(1_000), &rewire(11, &[1, 2]));
    assert_eq!(acts(&mut core), [NeighbourhoodOutput::RoutesChanged]);
    core.handle_rewire(at(1_000), &rewire(12, &[1, 2, 7]));
    assert_eq!(sent(&mut core), []);
    core.handle_timeout(at(1_050));
    let frame = Frame::Table(table_without(&[7], table(12, &[(1, true), (2, true), (7, false)])));
    assert_eq!(sent(&mut core), [1, 2].map(|link| (LinkId(link), frame.clone())));
}

#[test]
fn what_is_gained_within_a_twentieth_of_a_second_is_told_once() {
    let mut core = peer_5_linked(&[1, 2]);
    core.handle_rewire(at(1_000), &rewire(11, &[1, 2, 7]));
    core.handle_rewire(at(1_020), &rewire(12, &[1, 2, 7, 8]));
    sent(&mut core);
    bring_up(&mut core, at(1_040), 9, 7);
    let whole = |up, unseen: &[u8]| {
        Frame::Table(table_without(unseen, table(12, &[(1, true), (2, true), (7, up), (8, false)])))
    };
    assert_eq!(sent(&mut core), [(LinkId(9), whole(false, &[7, 8]))], "a new link hears that it is accepted at once");
    core.handle_timeout(at(1_049));
    assert_eq!(sent(&mut core), []);
    core.handle_timeout(at(1_050));
    let up = Frame::Delta(delta(&[(7, true)]));
    let whole = whole(true, &[8]);
    assert_eq!(sent(&mut core), [(LinkId(1), whole.clone()), (LinkId(2), whole), (LinkId(9), up)]);
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
    let frame = Frame::Table(table_without(&[7], table(11, &[(1, true), (2, false), (7, false)])));
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
    let frame = Frame::Table(table_without(&[7], table(11, &[(1, true), (2, true), (7, false)])));
    assert_eq!(sent(&mut core), [1, 2, 9].map(|link| (LinkId(link), frame.clone())));
}

#[test]
fn loss_of_what_only_a_new_link_was_told_is_told_to_it_at_once() {
    let mut core = peer_5_linked(&[1]);
    core.handle_rewire(at(1_000), &rewire(11, &[1, 7, 8]));
    bring_up(&mut core, at(1_010), 7, 7);
    bring_up(&mut core, at(1_020), 8, 8);
    let frame = Frame::Table(table_without(&[8], table(11, &[(1, true), (7, true), (8, false)])));
    assert!(sent(&mut core).contains(&(LinkId(8), frame)));
    core.handle_link_closed(at(1_030), LinkId(7), lost());
    let frame = Frame::Delta(delta(&[(7, false), (8, true)]));
    assert!(sent(&mut core).contains(&(LinkId(8), frame)));
}
