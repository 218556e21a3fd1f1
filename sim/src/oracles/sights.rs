//! Which supernodes have had links with each other, and whom each believes to lead: what their cores say at each step.

use std::collections::BTreeMap;

use kith_common::id::SupernodeId;
use kith_common::time::Instant;

use crate::mesh::node::NodeId;
use crate::mesh::processes::replica;
use crate::mesh::world::World;

/// What the cores of supernodes have said of each other, and since when without a break
#[derive(Debug, Default)]
pub(super) struct Sights {
    links: BTreeMap<(NodeId, SupernodeId), Instant>,
    leaders: BTreeMap<NodeId, (Option<SupernodeId>, Instant)>,
}

impl Sights {
    /// Looks at all supernodes; whoever does not run sees nobody, and believes nothing
    pub(super) fn step(&mut self, world: &World) {
        let (now, before) = (world.now(), std::mem::take(self));
        for node in world.supernodes().filter(|node| node.runs()) {
            let Some(supernode) = node.supernode() else { continue };
            for other in world.config.supernodes().map(|other| replica(other).id()) {
                if supernode.core.backbone_to(other).is_some() {
                    let since = before.links.get(&(node.id, other)).copied().unwrap_or(now);
                    self.links.insert((node.id, other), since);
                }
            }
            let leader = supernode.core.leader();
            let since = before.leaders.get(&node.id).filter(|(known, _)| *known == leader).map_or(now, |(_, at)| *at);
            self.leaders.insert(node.id, (leader, since));
        }
    }

    /// A link of this machine is over: with whom, the next step says
    pub(super) fn lose(&mut self, node: NodeId) {
        self.links.retain(|(at, _), _| *at != node);
    }

    /// Since when it has had a link with that one
    pub(super) fn linked(&self, node: NodeId, other: SupernodeId) -> Option<Instant> {
        self.links.get(&(node, other)).copied()
    }

    /// Whom it believes to lead, and since when
    pub(super) fn leader(&self, node: NodeId) -> Option<(Option<SupernodeId>, Instant)> {
        self.leaders.get(&node).copied()
    }
}
