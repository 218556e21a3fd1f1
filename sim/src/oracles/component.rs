//! While the network is whole, all live peers are connected by links that work.
//!
//! Source: the ring is part of every table, so whoever is in the ring is reachable from everywhere. Whoever could not connect
//! when all of a cut was tried is kept apart for a while, which is judged by [`super::pairs`].

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::directory::Pair;
use kith_common::id::Address;
use kith_common::peer::Output;
use kith_common::time::Instant;

use super::Oracle;
use super::truth::{is_alive, is_logged_in, live_links};
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// From the last cut, pause or silent death to the time when all must be connected again: noticing, telling, linking
const CALM: Duration = Duration::from_secs(25);

/// When the network was last disturbed
#[derive(Debug, Default)]
pub struct Component {
    disturbed: Instant,
    logged_in_since: BTreeMap<NodeId, Instant>,
}

/// Whom the supernode keeps apart from each
fn kept_apart(world: &World) -> BTreeMap<NodeId, Vec<NodeId>> {
    let Some(supernode) = world.node(NodeId(0)).supernode() else { return BTreeMap::new() };
    let pairs: Vec<Pair> = supernode.core.directory().pairs().collect();
    if pairs.is_empty() {
        return BTreeMap::new();
    }
    let places = world.peers().filter_map(|node| Some((node.peer()?.core.own()?.address, node.id)));
    let places: BTreeMap<Address, NodeId> = places.collect();
    let mut apart: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for Pair { low, high } in pairs {
        if let (Some(low), Some(high)) = (places.get(&low), places.get(&high)) {
            apart.entry(*low).or_default().push(*high);
            apart.entry(*high).or_default().push(*low);
        }
    }
    apart
}

impl Oracle for Component {
    fn name(&self) -> &'static str {
        "one component"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        let is_small = matches!(fault, Fault::Weather(..) | Fault::FullDisk(..) | Fault::Reset(_) | Fault::Skew(..));
        if !is_small {
            self.disturbed = now;
        }
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if let Observation::Peer(Output::LoggedIn | Output::LoggedOut { .. }) = seen {
            self.logged_in_since.remove(&node);
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        let core = world.config.core();
        let present = world.peers().filter(|node| node.id.0 < core && is_logged_in(node)).map(|node| node.id);
        let before = std::mem::take(&mut self.logged_in_since);
        self.logged_in_since = present.map(|id| (id, *before.get(&id).unwrap_or(&now))).collect();
        let is_still = world.nodes.iter().all(|node| node.runs() && node.write <= crate::mesh::world::WRITE);
        if world.net.is_cut() || !is_still {
            self.disturbed = now;
        }
        if now - self.disturbed < CALM {
            return Ok(());
        }
        let settled = self.logged_in_since.iter().filter(|(_, since)| now - **since >= CALM);
        let members: Vec<NodeId> = settled.map(|(id, _)| *id).collect();
        let Some(first) = members.first().copied() else { return Ok(()) };
        let mut is_reached = vec![false; world.nodes.len()];
        let mut next = vec![first];
        let apart = kept_apart(world);
        while let Some(id) = next.pop() {
            is_reached[id.index()] = true;
            next.extend(apart.get(&id).into_iter().flatten().filter(|other| !is_reached[other.index()]));
            let live = live_links(world, world.node(id)).filter(|(_, end, _)| is_alive(world, end));
            next.extend(live.map(|(.., other)| other).filter(|other| !is_reached[other.index()]));
        }
        let lost: Vec<NodeId> = members.iter().copied().filter(|id| !is_reached[id.index()]).collect();
        match lost.first() {
            None => Ok(()),
            Some(one) => Err(format!(
                "{} of {} peers cannot be reached from {}, {} among them",
                lost.len(),
                members.len(),
                world.node(first).name,
                world.node(*one).name
            )),
        }
    }
}
