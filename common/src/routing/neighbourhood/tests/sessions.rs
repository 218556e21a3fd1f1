use super::super::dialling::GAP;
use super::*;

#[test]
fn logout_closes_all_links_with_410() {
    let mut core = peer_5_linked(&[1, 7]);
    core.handle_logout(at(1_000));
    let close =
        |link| NeighbourhoodOutput::Close { link: LinkId(link), status: Status::Gone, reason: CloseReason::LoggedOut };
    assert_eq!(acts(&mut core), [close(1), close(2), NeighbourhoodOutput::RoutesChanged]);
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
    assert_eq!(acts(&mut core), [NeighbourhoodOutput::RoutesChanged]);
    assert_eq!(live(&core), [(1, 1), (7, 2)]);
}

#[test]
fn new_address_reopens_every_link_and_closes_the_old_ones_after() {
    let mut core = peer_5_linked(&[6, 7]);
    core.handle_login(at(1_000), &grant_at(5, address(50), 20), &rewire(20, &[6, 7]));
    let mut seen = acts(&mut core);
    seen.extend(run(&mut core, at(1_000) + GAP).into_iter().map(|(_, act)| act));
    assert_eq!(dialled(&seen), [6, 7]);
    assert!(
        !seen.iter().any(|act| matches!(act, NeighbourhoodOutput::Close { .. } | NeighbourhoodOutput::Send { .. }))
    );
    assert_eq!(live(&core), [(6, 1), (7, 2)]);
    core.handle_link_opened(at(1_050), opened(11, 6, Direction::Outgoing));
    core.handle_table(at(1_060), LinkId(11), table(20, &[]));
    assert_eq!((closed(&mut core), live(&core)), (vec![(1, CloseReason::Duplicate)], vec![(6, 11), (7, 2)]));
    let seen = run(&mut core, at(6_000));
    let close = NeighbourhoodOutput::Close { link: LinkId(2), status: Status::NotAllowed, reason: CloseReason::Moved };
    assert!(seen.contains(&(6_000, close)));
}
