//! Two peers are kept apart if they could not connect, and are brought together again.
//!
//! Source: an unreachable pair counts as absent to each other for 10 minutes at most, and a supernode that restarts gives
//! it as much again. Those between whom a way is cut for ever are kept apart when all else is whole. While nothing
//! breaks everybody can connect to everybody.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::directory::{Directory, PAIR_TERM, Pair};
use kith_common::id::Address;
use kith_common::time::Instant;

use super::Oracle;
use super::truth::is_logged_in;
use crate::mesh::config::Config;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// A slow clock, a slow disk, a pause
const LATE: Duration = Duration::from_secs(60);

/// Whatever broke may have kept two apart until this long after it
const EXCUSED: Duration = Duration::from_secs(35);

/// Since when each pair has been apart
#[derive(Debug, Default)]
pub struct Pairs {
    since: BTreeMap<Pair, Instant>,
    disturbed: Option<Instant>,
    /// Ways outside a healthy core are broken for ever
    is_outside: bool,
}

impl Pairs {
    /// Nobody is kept apart
    pub fn new(config: &Config) -> Self {
        Self { is_outside: config.core() < config.machines(), ..Self::default() }
    }

    fn look(&mut self, now: Instant, directory: &Directory) -> Result<(), String> {
        let before = std::mem::take(&mut self.since);
        self.since = directory.pairs().map(|pair| (pair, *before.get(&pair).unwrap_or(&now))).collect();
        let new = self.since.keys().find(|pair| !before.contains_key(pair));
        match new.filter(|_| !self.is_outside && self.disturbed.is_none_or(|at| now - at > EXCUSED)) {
            Some(pair) => Err(format!("{} and {} are kept apart, and nothing was broken", pair.low, pair.high)),
            None => Ok(()),
        }
    }
}

impl Oracle for Pairs {
    fn name(&self) -> &'static str {
        "pairs"
    }

    fn fault(&mut self, now: Instant, _: &Fault) {
        self.disturbed = Some(now);
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started if node == NodeId(0) => self.since.clear(),
            Observation::Applied(directory) => return self.look(now, directory),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if world.net.is_cut() || world.nodes.iter().any(|node| !node.runs()) {
            self.disturbed = Some(world.now());
        }
        if world.node(NodeId(0)).runs()
            && let Some((pair, since)) = self.since.iter().find(|(_, since)| world.now() - **since > PAIR_TERM + LATE)
        {
            let term = world.now() - *since;
            return Err(format!("{} and {} have been kept apart for {term:?}", pair.low, pair.high));
        }
        Ok(())
    }

    fn whole(&mut self, world: &World) -> Result<(), String> {
        let Some(supernode) = world.node(NodeId(0)).supernode() else { return Ok(()) };
        let directory = supernode.core.directory();
        let outside = world.peers().filter(|node| node.id.0 >= world.config.core() && is_logged_in(node));
        let places = outside.filter_map(|node| Some((node.id, node.peer()?.core.own()?.address)));
        let places: Vec<(NodeId, Address)> = places.collect();
        for (one, place) in &places {
            let is_cut = |other: &NodeId| world.net.is_blocked(*one, *other);
            let others = places.iter().filter(|(other, _)| is_cut(other)).map(|(_, other)| *other);
            if let Some(other) = others.into_iter().find(|other| directory.are_neighbours(*place, *other)) {
                return Err(format!("{place} cannot reach {other}, and they are still neighbours"));
            }
        }
        Ok(())
    }
}
