//! The peers that are well: nobody but themselves, or an operator, may end their sessions.

use std::collections::BTreeMap;

use kith_common::time::Instant;

use crate::mesh::node::NodeId;
use crate::mesh::world::World;

/// Since when each peer has been well: it runs, its user wants it in, and some supernode is within its reach: one that hears
/// the log, or any while nobody leads
///
/// That nobody leads is no excuse: each leader counts anew, and a peer that can reach a supernode meanwhile is taken up.
#[derive(Debug, Default)]
pub(super) struct Fine {
    /// With the process that it was since then
    since: BTreeMap<NodeId, (u32, Instant)>,
}

impl Fine {
    /// Something was done to it: it counts anew
    pub(super) fn disturb(&mut self, node: NodeId) {
        self.since.remove(&node);
    }

    /// Looks at all peers
    pub(super) fn step(&mut self, world: &World) {
        let now = world.now();
        let is_led = world.leading().is_some();
        let is_able = |supernode: &NodeId| !is_led || world.hears_log(*supernode);
        let able: Vec<NodeId> = world.config.supernodes().filter(is_able).collect();
        let is_well = |node: NodeId| able.iter().any(|supernode| world.can_talk(*supernode, node));
        for node in world.peers() {
            if !node.runs() || !node.wants_session || !is_well(node.id) {
                self.since.remove(&node.id);
                continue;
            }
            let known = self.since.entry(node.id).or_insert((node.life, now));
            if known.0 != node.life {
                *known = (node.life, now);
            }
        }
    }

    /// Since when this one has been well
    pub(super) fn since(&self, node: NodeId) -> Option<Instant> {
        self.since.get(&node).map(|(_, since)| *since)
    }
}
