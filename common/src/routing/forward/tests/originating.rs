//! Packets that start here, and packets that end here.

use super::*;

fn own(destination: Address) -> Header {
    Header { source: HERE, ..header(destination) }
}

const fn sent(to: Address) -> Option<FirstHop> {
    Some(FirstHop { to, choice: Choice::Destination, is_full: false })
}

#[test]
fn own_packet_is_decided_and_queued_where_others_are() {
    let mut node = Node::new();
    assert_eq!(node.originate(&own(C), &[]), sent(C));
    let [(to, bytes)] = &node.pushed()[..] else { panic!("one packet") };
    let packet = PacketRef::parse(bytes).unwrap();
    assert_eq!((*to, packet.payload(), packet.header().ttl), (C, &b"own"[..], TTL_DEFAULT - 1));
    assert_eq!(packet.entries().count(), 0, "its source is no part of its way");
    node.assert_counts(&[(Count::Originated, 1)]);
}

#[test]
fn own_packet_is_marked_by_a_congested_link() {
    let mut node = Node::new();
    node.links.congested.insert(C);
    node.originate(&own(C), &[]);
    let [(_, bytes)] = &node.pushed()[..] else { panic!("one packet") };
    assert!(PacketRef::parse(bytes).unwrap().header().congested);
}

/// Both neighbours have a link to [`FAR`]
fn with_two_ways() -> Node {
    let mut node = Node::new();
    let view = |address| NeighbourView {
        address,
        up: true,
        held: false,
        name: "neighbour".parse().unwrap(),
        table: [(HERE, true), (FAR, true)].into(),
        unseen: [].into(),
    };
    node.set_routes(Routes::new(HERE, 4, 4, 2, vec![view(A), view(C)]), NOW);
    node
}

#[track_caller]
fn first_hop(first_hop: Option<FirstHop>) -> Address {
    let Some(FirstHop { to, choice, is_full: false }) = first_hop else { panic!("{first_hop:?}") };
    assert_eq!(choice, Choice::KnowsDestination);
    to
}

#[test]
fn own_packet_goes_by_a_neighbour_to_avoid_only_if_no_other_has_a_way() {
    let mut node = with_two_ways();
    assert_eq!(first_hop(node.originate(&own(FAR), &[A])), C);
    assert_eq!(first_hop(node.originate(&own(FAR), &[C])), A);
    let preferred = first_hop(node.originate(&own(FAR), &[]));
    assert_eq!(first_hop(node.originate(&own(FAR), &[A, C])), preferred);
}

#[test]
fn own_packet_passes_over_a_link_that_has_just_ended() {
    let mut node = with_two_ways();
    node.links.ended.insert(A);
    assert_eq!(first_hop(node.originate(&own(FAR), &[])), C);
    assert_eq!(first_hop(node.originate(&own(FAR), &[C])), C, "better one to avoid than none");
    node.links.ended.insert(C);
    assert_eq!(node.originate(&own(FAR), &[]), None);
    assert!(node.is_limbo_empty(), "whoever sends it may send it elsewhere");
    node.assert_counts(&[(Count::Originated, 2)]);
}

#[test]
fn own_packet_that_meets_a_full_queue_is_dropped_and_its_sender_told_where() {
    let mut node = Node::new();
    node.links.full.insert(C);
    assert_eq!(node.originate(&own(C), &[]), Some(FirstHop { to: C, choice: Choice::Destination, is_full: true }));
    node.originate(&Header { class: Class::Signal, ..own(C) }, &[]);
    assert!(node.pushed().is_empty() && node.links.returned.is_empty());
    node.assert_counts(&[(Count::DroppedDataQueue, 1), (Count::DroppedSignalQueue, 1)]);
}

#[test]
fn own_packet_without_a_way_stays_here() {
    let mut node = Node::new();
    assert_eq!(node.originate(&own(HERE), &[]), None);
    assert_eq!(node.originate(&header(C), &[]), None, "it has another's source");
    assert_eq!(node.originate(&Header { ttl: 0, ..own(C) }, &[]), None);
    node.forwarder.set_routes(&mut node.links, None, NOW);
    assert_eq!(node.originate(&own(C), &[]), None);
    assert!(node.pushed().is_empty() && node.links.delivered.is_empty());
    node.assert_counts(&[]);
}

#[test]
fn arrival_that_nobody_has_registered_for_is_dropped_and_counted() {
    let mut node = Node::new();
    let datagram = [&3_u32.to_le_bytes()[..], b"datagram"].concat();
    for payload in [&datagram[..], &[4, 0, 0, 0], &[0, 0, 0, 1], &[0, 0], &[]] {
        node.forward(&packet(&header(HERE), payload, &[]), A);
        node.forward(&packet(&header(HERE), payload, &[]), None);
    }
    assert!(node.links.delivered.is_empty());
    node.assert_counts(&[(Count::DroppedNoReceiver, 10)]);
    node.forwarder.register(PayloadKind::Datagram);
    node.forward(&packet(&header(HERE), &datagram, &[]), A);
    assert_eq!(node.links.delivered, [(PayloadKind::Datagram, 9)]);
}

#[test]
fn neighbours_are_known_by_the_links_of_the_present_routes() {
    let mut node = Node::new();
    let neighbours = |node: &Node| [1, 2, 3].map(|link| node.forwarder.neighbour_on(LinkId(link)));
    assert_eq!(neighbours(&node), [Some(A), Some(C), None]);
    node.set_routes(routes(2, &[C]), NOW);
    assert_eq!(neighbours(&node), [Some(C), None, None]);
    node.forwarder.set_routes(&mut node.links, None, NOW);
    assert_eq!(neighbours(&node), [None, None, None]);
}
