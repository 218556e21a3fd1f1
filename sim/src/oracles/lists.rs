//! Peers know who the supernodes are.
//!
//! Source: "Between supernodes" in docs/protocol.md: a peer is told after its login, and when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::SupernodeId;
use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::per_node::PerNode;
use super::truth::{home, is_logged_in};
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// For the news to come to the home and from there to its peers, with a slow clock and frames that are sent again
const TOLD: Duration = Duration::from_secs(10);

/// What peers were told last, and since when it is not so
#[derive(Debug, Default)]
pub(crate) struct Lists {
    told: PerNode<BTreeSet<SupernodeId>>,
    wrong: BTreeMap<NodeId, Instant>,
}

impl Oracle for Lists {
    fn name(&self) -> &'static str {
        "lists"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if let Observation::Received { frame: Frame::Supernodes(list), .. } = seen {
            *self.told.of(node) = list.supernodes.iter().map(|record| record.id).collect();
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if !world.must_agree() {
            return Ok(());
        }
        let (now, named) = (world.now(), world.named());
        let before = std::mem::take(&mut self.wrong);
        for node in world.peers().filter(|node| node.runs() && is_logged_in(node)) {
            let is_heard = |home: &NodeId| world.hears_log(*home) && world.can_talk(*home, node.id);
            if home(world, node).filter(is_heard).is_none() || *self.told.of(node.id) == named {
                continue;
            }
            let since = *before.get(&node.id).unwrap_or(&now);
            if now - since > TOLD {
                let told: Vec<u64> = self.told.of(node.id).iter().map(|id| id.0).collect();
                return Err(format!("{} has believed for {TOLD:?} that the supernodes are {told:?}", node.name));
            }
            self.wrong.insert(node.id, since);
        }
        Ok(())
    }
}
