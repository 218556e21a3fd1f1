//! At the end everybody reaches everybody.
//!
//! Source: the promise itself. Every ordered pair's packet is walked over the peers' present routes, hop by hop, as their
//! forwarders would pass it on. Outside a healthy core only those to whom links lead need to be reached.

use std::collections::BTreeMap;

use kith_common::id::Address;
use kith_common::peer::Peer;
use kith_common::routing::{Decision, RouteCache};
use kith_common::wire::packet::{Header, PacketRef, emit_forwarded, new_packet};

use super::truth::is_logged_in;
use crate::mesh::node::{Identity, Node};
use crate::mesh::oracle::Oracle;
use crate::mesh::world::World;

/// Pairs that are tried at most: all of a hundred peers
const PAIRS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Delivery;

impl Oracle for Delivery {
    fn name(&self) -> &'static str {
        "delivery"
    }

    fn whole(&mut self, world: &World) -> Result<(), String> {
        let peers = peers(world);
        let mut caches: BTreeMap<Address, RouteCache> = BTreeMap::new();
        let step = (peers.len() * peers.len() / PAIRS_MAX).max(1);
        let places: Vec<Address> = peers.keys().copied().collect();
        let parts = parts(&peers);
        let is_core = |place: &Address| peers.get(place).is_some_and(|(_, is_core)| *is_core);
        // Along the diagonals, so that everybody is a source and a destination.
        let pairs = places.iter().enumerate().flat_map(|(i, from)| {
            places.iter().enumerate().filter(move |(j, _)| (i + j) % step == 0).map(move |(_, to)| (*from, *to))
        });
        for (number, (from, to)) in pairs.enumerate() {
            let has_way = parts.get(&from) == parts.get(&to);
            if from != to && (has_way || is_core(&from) && is_core(&to)) {
                walk(world, &peers, &mut caches, number as u64, from, to)?;
            }
        }
        Ok(())
    }
}

/// The peers that are logged in, by place, and whether each is of the healthy core
pub(super) fn peers(world: &World) -> BTreeMap<Address, (&Peer<Identity>, bool)> {
    by_place(world, is_logged_in)
}

/// The peers of which this holds that have a place, and whether each is of the healthy core
pub(super) fn by_place(world: &World, holds: impl Fn(&Node) -> bool) -> BTreeMap<Address, (&Peer<Identity>, bool)> {
    let core = world.config.core();
    let peers = world.peers().filter(|node| holds(node)).filter_map(|node| {
        let peer = node.peer()?.core();
        Some((peer.own()?.address, (peer, node.id.0 < core)))
    });
    peers.collect()
}

/// By place, one of those to whom links that are up lead from there, the same for all of them
fn parts(peers: &BTreeMap<Address, (&Peer<Identity>, bool)>) -> BTreeMap<Address, Address> {
    let mut parts = BTreeMap::new();
    for first in peers.keys() {
        let mut next = vec![*first];
        while let Some(place) = next.pop() {
            let std::collections::btree_map::Entry::Vacant(vacant) = parts.entry(place) else { continue };
            vacant.insert(*first);
            let routes = peers.get(&place).and_then(|(peer, _)| peer.routes());
            let views = routes.into_iter().flat_map(|routes| routes.views());
            next.extend(views.filter(|view| view.up).map(|view| view.address));
        }
    }
    parts
}

/// The hops of one packet
pub(super) fn walk(
    world: &World,
    peers: &BTreeMap<Address, (&Peer<Identity>, bool)>,
    caches: &mut BTreeMap<Address, RouteCache>,
    id: u64,
    source: Address,
    destination: Address,
) -> Result<usize, String> {
    let now = world.now();
    let name = |place: Address| peers.get(&place).and_then(|(peer, _)| peer.own()).map(|own| own.name.to_string());
    let directory = world.directory();
    let pairs = directory.map_or(0, |directory| directory.pairs().count());
    let called = |place: Address| name(place).unwrap_or_else(|| place.to_string());
    let lost = |why: String| {
        let (from, to) = (called(source), called(destination));
        format!("{from} does not reach {to}: {why} ({pairs} unreachable pairs)")
    };
    let mut bytes = new_packet(&Header::new(source, destination, id), &[]).map_err(|error| lost(error.to_string()))?;
    let (mut here, mut from, mut hops) = (source, None, 0);
    loop {
        let Some(routes) = peers.get(&here).and_then(|(peer, _)| peer.routes()) else {
            return Err(lost(format!("{here} has no routes")));
        };
        let cache = caches.entry(here).or_default();
        let packet = PacketRef::parse(&bytes).map_err(|error| lost(error.to_string()))?;
        let (to, edit) = match routes.decide(cache, &packet, from, now) {
            Decision::Deliver => return Ok(hops),
            Decision::Forward { to, edit, .. } | Decision::Back { to, edit } => (to, edit),
            Decision::Undeliverable { cause } => return Err(lost(format!("{cause:?} at {}", called(here)))),
            Decision::Drop(reason) => return Err(lost(format!("{reason:?} at {}", called(here)))),
        };
        let mut next = Vec::with_capacity(bytes.len() + 8);
        emit_forwarded(&packet, &edit, &mut next).map_err(|error| lost(error.to_string()))?;
        (bytes, from, here, hops) = (next, Some(here), to, hops + 1);
    }
}
