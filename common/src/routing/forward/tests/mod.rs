//! One node's forwarder among links that only remember what was done to them.

mod originating;
mod reports;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::routing::NeighbourView;
use crate::wire::packet::{Mark, PAYLOAD_BYTES_MAX, TTL_DEFAULT, emit_forwarded, new_packet};

/// The source of most packets, and a neighbour of here
const A: Address = Address(0x1000_0000_0000_0000);
const HERE: Address = Address(0x2000_0000_0000_0000);
/// The destination of most packets, and a neighbour of here
const C: Address = Address(0x3000_0000_0000_0000);
/// Nobody has this address, and neighbours of here say so
const NOBODY: Address = Address(0x4000_0000_0000_0000);
/// Members that are no neighbours of here
const FAR: Address = Address(0x5000_0000_0000_0000);

/// How the payload of a message begins
const MESSAGE: &[u8] = &[0, 0, 0, 0];

const NOW: Instant = Instant::from_micros(5_000_000);

/// What was done to the links of one node
#[derive(Default)]
struct Recorder {
    ended: BTreeSet<Address>,
    full: BTreeSet<Address>,
    congested: BTreeSet<Address>,
    trailer_full: BTreeSet<Address>,
    pushed: Vec<(Address, Vec<u8>)>,
    delivered: Vec<(PayloadKind, u64)>,
    returned: Vec<Undeliverable>,
    counts: BTreeMap<Count, u64>,
    ids: u64,
}

impl Links for Recorder {
    type Link = Address;

    fn link(&self, neighbour: Address, _: LinkId) -> Option<Address> {
        Some(neighbour)
    }

    fn push(&mut self, to: &Address, packet: &PacketRef<'_>, edit: &mut Edit) -> Result<(), PushError> {
        let refusals = [
            (&self.ended, PushError::NoLink),
            (&self.full, PushError::Full),
            (&self.trailer_full, PushError::TrailerFull),
        ];
        if let Some((_, refusal)) = refusals.into_iter().find(|(at, _)| at.contains(to)) {
            return Err(refusal);
        }
        edit.congested |= self.congested.contains(to);
        let mut bytes = Vec::new();
        emit_forwarded(packet, edit, &mut bytes).unwrap();
        self.pushed.push((*to, bytes));
        Ok(())
    }

    fn deliver(&mut self, kind: PayloadKind, packet: &PacketRef<'_>) {
        self.delivered.push((kind, packet.header().id));
    }

    fn returned(&mut self, report: Undeliverable) {
        self.returned.push(report);
    }

    fn count(&mut self, count: Count) {
        *self.counts.entry(count).or_default() += 1;
    }

    fn packet_id(&mut self) -> u64 {
        self.ids += 1;
        1_000_000 + self.ids
    }
}

/// A node that takes messages and reports
struct Node {
    forwarder: Forwarder<Address>,
    allowance: Allowance,
    links: Recorder,
}

impl Node {
    /// Linked to [`A`] and [`C`]
    fn new() -> Self {
        let mut forwarder = Forwarder::new();
        for kind in [PayloadKind::Message, PayloadKind::Undeliverable, PayloadKind::Hop] {
            forwarder.register(kind);
        }
        let mut node = Self { forwarder, allowance: Allowance::new(), links: Recorder::default() };
        node.set_routes(routes(1, &[A, C]), NOW);
        node
    }

    /// New routes, with a link to each neighbour
    fn set_routes(&mut self, routes: Routes, now: Instant) {
        let links = routes.views().iter().zip(1..).map(|(view, link)| (view.address, LinkId(link))).collect();
        let routes = NewRoutes { routes: Arc::new(routes), links, name: "here".parse().unwrap() };
        self.forwarder.set_routes(&mut self.links, Some(routes), now);
    }

    /// The same routes once more
    fn release(&mut self, now: Instant) {
        let routes = self.forwarder.routes().unwrap().clone();
        self.set_routes(routes, now);
    }

    fn forward(&mut self, bytes: &[u8], from: impl Into<Option<Address>>) {
        self.forward_at(bytes, from.into(), NOW);
    }

    fn forward_at(&mut self, bytes: &[u8], from: Option<Address>, now: Instant) {
        let packet = PacketRef::parse(bytes).unwrap();
        let Self { forwarder, links, allowance } = self;
        forwarder.handle_packet(links, &packet, from, allowance, now);
    }

    fn originate(&mut self, header: &Header, avoid: &[Address]) -> Option<FirstHop> {
        let bytes = new_packet(header, b"own").unwrap();
        self.forwarder.originate(&mut self.links, &PacketRef::parse(&bytes).unwrap(), avoid, NOW)
    }

    fn is_limbo_empty(&mut self) -> bool {
        let waiting = self.forwarder.limbo.take();
        let is_empty = waiting.is_empty();
        for Waiting { since, from, bytes } in waiting {
            assert!(self.forwarder.limbo.keep(since, from, &PacketRef::parse(&bytes).unwrap()));
        }
        is_empty
    }

    /// What was queued since the last look, and for whom
    fn pushed(&mut self) -> Vec<(Address, Vec<u8>)> {
        std::mem::take(&mut self.links.pushed)
    }

    #[track_caller]
    fn assert_counts(&self, counts: &[(Count, u64)]) {
        assert_eq!(self.links.counts, counts.iter().copied().collect());
    }
}

/// Routes of [`HERE`] whose neighbours have no links but to here
fn routes(generation: u64, neighbours: &[Address]) -> Routes {
    let view = |address: &Address| NeighbourView {
        address: *address,
        up: true,
        held: false,
        name: "neighbour".parse().unwrap(),
        table: [(HERE, true)].into(),
        unseen: [].into(),
    };
    Routes::new(HERE, 4, 3, generation, neighbours.iter().map(view).collect())
}

fn header(destination: Address) -> Header {
    let (id, ttl) = (9, TTL_DEFAULT);
    Header { destination, source: A, id, ttl, class: Class::Data, congested: false, traced: false }
}

/// A packet with these entries in its trailer
fn packet(header: &Header, payload: &[u8], entries: &[(Mark, Address)]) -> Vec<u8> {
    let mut bytes = new_packet(header, payload).unwrap();
    for (mark, who) in entries {
        bytes[27] += 1;
        bytes.push(*mark as u8);
        bytes.extend(who.short().0.to_le_bytes());
    }
    bytes
}

#[test]
fn packet_goes_on_with_its_way() {
    let mut node = Node::new();
    node.forward(&packet(&header(C), b"on", &[]), A);
    let [(to, bytes)] = &node.pushed()[..] else { panic!("one packet") };
    let packet = PacketRef::parse(bytes).unwrap();
    assert_eq!((*to, packet.payload(), packet.header().ttl), (C, &b"on"[..], TTL_DEFAULT - 1));
    assert_eq!(packet.way().collect::<Vec<_>>(), [(Mark::Way, HERE.short())]);
    assert!(!packet.header().congested);
    node.assert_counts(&[(Count::Forwarded, 1)]);
}

#[test]
fn packet_is_marked_by_a_congested_link() {
    let mut node = Node::new();
    node.links.congested.insert(C);
    node.forward(&packet(&header(C), b"on", &[]), A);
    let [(_, bytes)] = &node.pushed()[..] else { panic!("one packet") };
    assert!(PacketRef::parse(bytes).unwrap().header().congested);
}

#[test]
fn packet_for_this_node_is_delivered_and_over_a_strangers_link_nothing_else_is() {
    let mut node = Node::new();
    node.forward(&packet(&header(HERE), MESSAGE, &[]), A);
    let relayed = Header { source: FAR, id: 10, ..header(HERE) };
    node.forward(&packet(&relayed, MESSAGE, &[(Mark::Relay, NOBODY)]), None);
    assert_eq!(node.links.delivered, [(PayloadKind::Message, 9), (PayloadKind::Message, 10)]);
    node.forward(&packet(&header(C), b"through", &[]), None);
    node.assert_counts(&[(Count::DroppedNotNeighbour, 1)]);
    assert!(node.links.pushed.is_empty());
}

#[test]
fn packet_that_nobody_takes_is_given_back() {
    let mut node = Node::new();
    node.set_routes(routes(2, &[A]), NOW);
    node.forward(&packet(&header(FAR), b"?", &[]), A);
    let [(to, bytes)] = &node.pushed()[..] else { panic!("one packet") };
    let tried: Vec<_> = PacketRef::parse(bytes).unwrap().entries().filter(|(mark, _)| *mark == Mark::Tried).collect();
    assert_eq!((*to, tried), (A, vec![(Mark::Tried, HERE.short())]));
    node.assert_counts(&[(Count::GivenBack, 1)]);
}

#[test]
fn forged_packets_are_counted_and_dropped() {
    let mut node = Node::new();
    node.forward(&packet(&Header { source: FAR, ..header(C) }, b"not me", &[]), A);
    node.forward(&packet(&header(C), b"", &[(Mark::Way, FAR)]), A);
    node.forward(&packet(&Header { source: FAR, ..header(HERE) }, b"to you", &[]), A);
    node.assert_counts(&[(Count::DroppedForged, 3)]);
    assert!(node.links.pushed.is_empty() && node.links.delivered.is_empty());
}

#[test]
fn packet_whose_next_hop_has_just_gone_waits_for_new_routes() {
    let mut node = Node::new();
    node.links.ended.insert(C);
    for id in [7, 8] {
        node.forward(&packet(&Header { id, ..header(C) }, b"late", &[]), A);
    }
    assert!(!node.is_limbo_empty() && node.links.pushed.is_empty());
    node.assert_counts(&[]);
    // By a third, which has a link to the destination.
    let knows =
        NeighbourView { address: FAR, table: [(HERE, true), (C, true)].into(), ..routes(2, &[A]).views()[0].clone() };
    let views = routes(2, &[A]).views().iter().cloned().chain([knows]).collect();
    node.set_routes(Routes::new(HERE, 4, 4, 2, views), NOW + LIMBO_AGE_MAX);
    let id = |bytes: &[u8]| PacketRef::parse(bytes).unwrap().header().id;
    let pushed: Vec<_> = node.pushed().iter().map(|(to, bytes)| (*to, id(bytes))).collect();
    assert_eq!(pushed, [(FAR, 7), (FAR, 8)]);
    assert!(node.is_limbo_empty());
    node.assert_counts(&[(Count::Forwarded, 2)]);
}

#[test]
fn packet_that_was_in_limbo_for_too_long_is_dropped() {
    let mut node = Node::new();
    node.links.ended.insert(C);
    node.forward(&packet(&header(C), b"late", &[]), A);
    node.release(NOW + LIMBO_AGE_MAX);
    assert!(!node.is_limbo_empty(), "the next routes lead over the same link");
    node.links.ended.clear();
    node.release(NOW + LIMBO_AGE_MAX + Duration::from_micros(1));
    assert!(node.is_limbo_empty() && node.links.pushed.is_empty());
    node.assert_counts(&[(Count::DroppedNoLink, 1)]);
}

#[test]
fn packets_in_limbo_are_dropped_without_routes() {
    let mut node = Node::new();
    node.links.ended.insert(C);
    node.forward(&packet(&header(C), b"late", &[]), A);
    node.forwarder.set_routes(&mut node.links, None, NOW);
    assert!(node.is_limbo_empty());
    node.assert_counts(&[(Count::DroppedNoLink, 1)]);
}

#[test]
fn limbo_over_its_bound_drops_what_comes() {
    let mut node = Node::new();
    node.links.ended.insert(C);
    let large = packet(&header(C), &[0; PAYLOAD_BYTES_MAX], &[]);
    let fit = LIMBO_BYTES_MAX / large.len();
    for _ in 0..fit + 3 {
        node.forward(&large, A);
    }
    node.assert_counts(&[(Count::DroppedNoLink, 3)]);
    node.links.ended.clear();
    node.release(NOW);
    assert_eq!(node.pushed().len(), fit);
}
