//! While the network is whole, all live peers are connected by links that work.
//!
//! Source: the ring is part of every table, so whoever is in the ring is reachable from everywhere. Whoever could not connect
//! when all of a cut was tried is kept apart for a while, which is judged by [`super::pairs`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::directory::Pair;
use kith_common::id::Address;
use kith_common::lift::{self, Maps};
use kith_common::peer::PeerOutput;
use kith_common::time::Instant;

use super::truth::{is_alive, is_logged_in, live_links};
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// From the last cut, pause or silent death to the time when all must be connected again: noticing, telling, linking
const CALM: Duration = Duration::from_secs(25);

/// Two peers that were kept apart and are brought together lose those that stood in once a dial succeeded or failed
const TRIAL: Duration = Duration::from_secs(12);

/// When the network was last disturbed
#[derive(Debug, Default)]
pub(crate) struct Component {
    disturbed: Instant,
    /// Since when some have been out of reach of others
    split: Option<Instant>,
    logged_in_since: BTreeMap<NodeId, Instant>,
}

/// The links that the tables would make if nobody were kept apart
fn kept_apart(world: &World) -> BTreeMap<NodeId, Vec<NodeId>> {
    let Some(directory) = world.directory() else { return BTreeMap::new() };
    let none: BTreeSet<(Address, Address)> = BTreeSet::new();
    let graph = lift::graph(&directory.ring().collect(), &Maps::of_degree(directory.degree()), &none);
    let places = world.peers().filter_map(|node| Some((node.place()?, node.id)));
    let places: BTreeMap<Address, NodeId> = places.collect();
    let mut apart: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for Pair { low, high } in directory.pairs() {
        let would_be_linked = graph.get(&low).is_some_and(|table| table.contains(&high));
        if let (true, Some(low), Some(high)) = (would_be_linked, places.get(&low), places.get(&high)) {
            apart.entry(*low).or_default().push(*high);
            apart.entry(*high).or_default().push(*low);
        }
    }
    apart
}

/// Those of `members` who cannot be reached from the first of them, by live links and by `others`
fn unreached(world: &World, members: &[NodeId], others: &BTreeMap<NodeId, Vec<NodeId>>) -> Vec<NodeId> {
    let mut is_reached = vec![false; world.nodes.len()];
    let mut next: Vec<NodeId> = members.iter().take(1).copied().collect();
    while let Some(id) = next.pop() {
        is_reached[id.index()] = true;
        let live = live_links(world, world.node(id)).filter(|(_, end, _)| is_alive(world, end));
        let all = live.map(|(.., other)| other).chain(others.get(&id).into_iter().flatten().copied());
        next.extend(all.filter(|other| !is_reached[other.index()]));
    }
    members.iter().copied().filter(|id| !is_reached[id.index()]).collect()
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
        if let Observation::Peer(PeerOutput::LoggedIn | PeerOutput::LoggedOut { .. }) = seen {
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
        let is_still = world.nodes.iter().all(|node| node.runs() && !world.is_disk_slow(node.id));
        if world.net.is_cut() || !is_still {
            self.disturbed = now;
        }
        if now - self.disturbed < CALM {
            self.split = None;
            return Ok(());
        }
        let settled = self.logged_in_since.iter().filter(|(_, since)| now - **since >= CALM);
        let members: Vec<NodeId> = settled.map(|(id, _)| *id).collect();
        let mut lost = unreached(world, &members, &BTreeMap::new());
        if !lost.is_empty() {
            lost = unreached(world, &members, &kept_apart(world));
        }
        let (Some(first), Some(one)) = (members.first(), lost.first()) else {
            self.split = None;
            return Ok(());
        };
        if now - *self.split.get_or_insert(now) < TRIAL {
            return Ok(());
        }
        let [first, one] = [first, one].map(|id| &world.node(*id).name);
        let (lost, members) = (lost.len(), members.len());
        Err(format!("{lost} of {members} peers cannot be reached from {first}, {one} among them"))
    }
}
