//! A link whose other end is gone is noticed in time.
//!
//! Source: the liveness rules (an idle link is probed after 10 s ± 20 %, and is down after 2 s without an answer).

use std::collections::BTreeMap;

use kith_common::time::Instant;

use super::isolation::NOTICE;
use super::truth::{is_heard, is_other_paused};
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Since when each end of a link has nobody at the other end, and nothing came that had been under way
#[derive(Debug, Default)]
pub struct StaleLinks {
    since: BTreeMap<(NodeId, u64), Instant>,
}

impl Oracle for StaleLinks {
    fn name(&self) -> &'static str {
        "stale links"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if let Observation::Received { link, .. } = seen {
            self.since.remove(&(node, *link));
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let mut stale = BTreeMap::new();
        for node in world.nodes.iter().filter(|node| node.runs()) {
            for (link, end) in &node.ends {
                if is_heard(world, end) || is_other_paused(world, end) {
                    continue;
                }
                let key = (node.id, *link);
                let since = *self.since.get(&key).unwrap_or(&world.now());
                if world.now() - since > NOTICE {
                    return Err(format!("{}'s link {link} has been dead for {NOTICE:?}, unnoticed", node.name));
                }
                stale.insert(key, since);
            }
        }
        self.since = stale;
        Ok(())
    }
}
