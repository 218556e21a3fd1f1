use std::collections::BTreeSet;

use super::*;

/// Peer 5 with links to these, which has lost its home
fn homeless(linked: &[u8]) -> Neighbourhood {
    let mut core = peer_5_linked(linked);
    core.handle_home(at(1_000), false);
    drain(&mut core);
    core
}

fn records(of: &[u8]) -> Vec<Record> {
    of.iter().map(|n| record_of(&grant(*n))).collect()
}

fn places(of: &[u8]) -> BTreeSet<Address> {
    of.iter().map(|n| address(*n)).collect()
}

#[test]
fn stand_ins_are_dialled_and_nobody_is_told_of_them_before_they_have_a_link() {
    let mut core = homeless(&[7]);
    core.handle_stand_ins(at(1_000), &BTreeSet::new(), records(&[8]));
    let outputs = acts(&mut core);
    assert!(
        matches!(
            &outputs[..],
            [NeighbourhoodOutput::RoutesChanged, NeighbourhoodOutput::Dial { .. }]
                | [NeighbourhoodOutput::Dial { .. }, ..]
        ),
        "{outputs:?}"
    );
    assert_eq!(core.views().iter().map(|view| view.address).collect::<Vec<_>>(), [address(7)]);
    assert!(core.find(&name(8)).is_none() && core.record_at(address(8)).is_none());
    bring_up(&mut core, at(1_100), 9, 8);
    assert_eq!(live(&core), [(7, 1), (8, 9)]);
    drain(&mut core);
    core.handle_timeout(at(1_200));
    let frame = Frame::Table(table(10, &[(7, true), (8, true)]));
    assert!(sent(&mut core).contains(&(LinkId(1), frame)), "as all that is gained, a moment later");
    assert!(core.find(&name(8)).is_some() && core.record_at(address(8)).is_some());
}

#[test]
fn nothing_is_confirmed_by_a_stand_in() {
    let mut core = homeless(&[7]);
    core.handle_stand_ins(at(1_000), &BTreeSet::new(), records(&[8]));
    bring_up(&mut core, at(1_100), 9, 8);
    core.handle_table(at(1_200), LinkId(9), table(10, &[(5, true), (3, true)]));
    assert!(!core.confirms(&name(8), &key(8), address(8), true));
    assert!(!core.confirms(&name(3), &key(3), address(3), true));
    core.handle_table(at(1_200), LinkId(1), table(10, &[(5, true), (3, true)]));
    assert!(core.confirms(&name(3), &key(3), address(3), true), "a neighbour by home's word");
}

#[test]
fn homes_table_is_the_truth_again_also_if_it_is_the_same() {
    for epoch in [10, 11] {
        let mut core = homeless(&[7]);
        core.handle_stand_ins(at(1_000), &BTreeSet::new(), records(&[8]));
        bring_up(&mut core, at(1_100), 9, 8);
        core.handle_login(at(2_000), &grant(5), &rewire(epoch, &[7]));
        run(&mut core, at(20_000));
        assert_eq!(live(&core), [(7, 1)], "epoch {epoch}");
        core.handle_stand_ins(at(21_000), &BTreeSet::new(), records(&[8]));
        assert_eq!(core.wanted(), 1, "with a home there are none");
    }
}

#[test]
fn linked_stand_in_stays_and_another_goes_when_it_is_needed_no_more() {
    let mut core = homeless(&[7]);
    core.handle_stand_ins(at(1_000), &BTreeSet::new(), records(&[8, 9]));
    bring_up(&mut core, at(1_100), 9, 8);
    core.handle_stand_ins(at(2_000), &BTreeSet::new(), Vec::new());
    drain(&mut core);
    assert_eq!(core.neighbours.keys().copied().collect::<BTreeSet<_>>(), places(&[7, 8]));
}

#[test]
fn table_has_room_for_so_many_stand_ins_and_for_nobody_twice() {
    let mut core = homeless(&[7]);
    let twice = Record { address: address(99), ..record_of(&grant(7)) };
    core.handle_stand_ins(at(1_000), &BTreeSet::new(), vec![record_of(&grant(5)), twice]);
    assert_eq!(core.wanted(), 1, "neither this peer itself nor a key that is wanted already");
    core.handle_stand_ins(at(1_000), &BTreeSet::new(), records(&(8..=200).collect::<Vec<u8>>()));
    assert_eq!(core.wanted(), NEIGHBOURS_MAX);
    drain(&mut core);
}

#[test]
fn heard_are_those_who_are_up_somewhere_and_those_whom_only_the_lost_knew() {
    let mut core = homeless(&[2, 7]);
    let links: Vec<u64> = live(&core).into_iter().map(|(_, link)| link).collect();
    core.handle_table(at(1_000), LinkId(links[0]), table(10, &[(3, true), (4, true), (5, true), (6, true)]));
    let other = table(10, &[(3, false), (4, true), (5, true), (8, false), (9, false)]);
    core.handle_table(at(1_000), LinkId(links[1]), table_without(&[9], other));
    let heard = core.heard();
    assert!(heard.members.is_superset(&places(&[2, 3, 4, 5, 6, 7])), "{heard:?}");
    assert!(heard.gone.contains(&address(8)) && !heard.members.contains(&address(8)));
    assert!(!heard.members.contains(&address(9)) && !heard.gone.contains(&address(9)), "nobody knows of it");
    // The one that is lost was the only one to tell of 6; of 3 another has said that it is gone.
    core.handle_link_closed(at(2_000), LinkId(links[0]), lost());
    let heard = core.heard();
    assert!(heard.members.is_superset(&places(&[4, 5, 6, 7])) && heard.gone.contains(&address(3)), "{heard:?}");
    assert!(!heard.up.contains(&address(6)) && heard.up.contains(&address(4)));
}

#[test]
fn guest_under_the_name_of_another_is_refused() {
    let mut core = homeless(&[7]);
    let other = Grant { name: name(7), ..grant(8) };
    core.handle_link_opened(at(2_000), Opened { grant: Some(other), ..opened(9, 8, Direction::Incoming) });
    let close =
        NeighbourhoodOutput::Close { link: LinkId(9), status: Status::NotAllowed, reason: CloseReason::OthersName };
    assert!(acts(&mut core).contains(&close));
    let own = Grant { name: name(5), ..grant(8) };
    core.handle_link_opened(at(2_000), Opened { grant: Some(own), ..opened(10, 8, Direction::Incoming) });
    assert!(closed(&mut core).len() == 1);
    core.handle_table(at(2_000), LinkId(1), table(10, &[(5, true), (8, true)]));
    let moved = grant_at(8, address(88), 1);
    core.handle_link_opened(at(2_000), Opened { grant: Some(moved), ..opened(11, 8, Direction::Incoming) });
    assert!(closed(&mut core).len() == 1, "a neighbour knows it at another place");
    bring_up(&mut core, at(2_000), 12, 8);
    assert_eq!(live(&core), [(7, 1), (8, 12)]);
}
