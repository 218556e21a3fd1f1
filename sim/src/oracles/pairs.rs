//! Two peers that could not connect are brought together again.
//!
//! Source: an unreachable pair counts as absent to each other for 10 minutes at most, and a supernode that restarts gives
//! it as much again.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::directory::{Directory, PAIR_TERM, Pair};
use kith_common::time::Instant;

use super::Oracle;
use crate::mesh::node::NodeId;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// A slow clock, a slow disk, a pause
const LATE: Duration = Duration::from_secs(60);

/// Since when each pair has been apart
#[derive(Debug, Default)]
pub struct Pairs {
    since: BTreeMap<Pair, Instant>,
}

impl Pairs {
    fn look(&mut self, now: Instant, directory: &Directory) {
        let before = std::mem::take(&mut self.since);
        self.since = directory.pairs().map(|pair| (pair, *before.get(&pair).unwrap_or(&now))).collect();
    }
}

impl Oracle for Pairs {
    fn name(&self) -> &'static str {
        "pairs"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started if node == NodeId(0) => self.since.clear(),
            Observation::Applied(directory) => self.look(now, directory),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if world.node(NodeId(0)).runs()
            && let Some((pair, since)) = self.since.iter().find(|(_, since)| world.now() - **since > PAIR_TERM + LATE)
        {
            let term = world.now() - *since;
            return Err(format!("{} and {} have been kept apart for {term:?}", pair.low, pair.high));
        }
        Ok(())
    }
}
