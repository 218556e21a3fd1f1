use super::*;
use crate::wire::bounded::Bounded;

fn ignored(core: &mut Neighbourhood) -> Vec<IgnoreReason> {
    let ignored = |event| if let Event::FrameIgnored { reason, .. } = event { Some(reason) } else { None };
    events(core).into_iter().filter_map(ignored).collect()
}

#[test]
fn table_and_deltas_of_a_neighbour_change_its_view() {
    let mut core = peer_5_linked(&[7]);
    core.handle_table(at(0), LinkId(1), table(11, &[(1, true), (2, true), (5, true)]));
    assert_eq!(acts(&mut core), [NeighbourhoodOutput::RoutesChanged]);
    core.handle_delta(at(0), LinkId(1), &delta(&[(2, false)]));
    let loss = NeighbourhoodOutput::LossBeyond { neighbour: address(7) };
    assert_eq!(acts(&mut core), [NeighbourhoodOutput::RoutesChanged, loss.clone()]);
    core.handle_delta(at(0), LinkId(1), &delta(&[(2, true)]));
    assert_eq!(acts(&mut core), [NeighbourhoodOutput::RoutesChanged]);
    core.handle_table(at(0), LinkId(1), table(11, &[(1, true), (2, false)]));
    assert_eq!(acts(&mut core), [NeighbourhoodOutput::RoutesChanged, loss]);
    assert_eq!(*core.views()[0].table, [(address(1), true), (address(2), false)]);
}

#[test]
fn table_or_delta_that_says_the_same_again_changes_nothing() {
    let mut core = peer_5_linked(&[7]);
    core.handle_table(at(0), LinkId(1), table(11, &[(1, true), (2, true)]));
    core.handle_delta(at(0), LinkId(1), &delta(&[(2, false)]));
    assert!(acts(&mut core).contains(&NeighbourhoodOutput::RoutesChanged));
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

#[test]
fn neighbours_are_told_of_whom_nothing_is_known() {
    let mut core = peer_5(&[2, 7]);
    core.handle_link_opened(at(0), opened(1, 2, Direction::Incoming));
    let unseen = |core: &mut Neighbourhood| {
        let tables = sent(core).into_iter().filter_map(|(_, frame)| match frame {
            Frame::Table(table) => Some(table.unseen.into_vec()),
            _ => None,
        });
        tables.last()
    };
    assert_eq!(unseen(&mut core), Some(vec![address(2), address(7)]), "there was no link with either yet");
    core.handle_table(at(0), LinkId(1), table(11, &[(5, true)]));
    run(&mut core, at(100));
    assert_eq!(*core.unseen(), [address(7)], "the link is up");
    core.handle_link_closed(at(200), LinkId(1), lost());
    assert_eq!(*core.unseen(), [address(7)], "and its loss says something");
    core.handle_rewire(at(300), &Rewire { apart: Bounded::truncated([address(9)]), ..rewire(99, &[2]) });
    assert_eq!(*core.unseen(), [address(9)], "who left the table for a parting is not missed either");
}
