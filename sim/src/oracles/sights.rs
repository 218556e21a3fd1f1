//! Which supernodes have had links with each other, and whom each believes to lead: what their cores say at each step.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::id::SupernodeId;
use kith_common::time::Instant;

use crate::mesh::node::NodeId;
use crate::mesh::processes::replica;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// What the cores of supernodes have said of each other, and since when without a break
#[derive(Debug, Default)]
pub(super) struct Sights {
    links: BTreeMap<(NodeId, SupernodeId), Instant>,
    leaders: BTreeMap<NodeId, (Option<SupernodeId>, Instant)>,
    /// The links that supernodes have with each other, also those that were not seen at a step yet
    open: BTreeSet<(NodeId, u64)>,
}

impl Sights {
    /// Looks at all supernodes; whoever does not run sees nobody, and believes nothing
    pub(super) fn step(&mut self, world: &World) {
        let (now, links, leaders) = (world.now(), std::mem::take(&mut self.links), std::mem::take(&mut self.leaders));
        for node in world.supernodes().filter(|node| node.runs()) {
            let Some(supernode) = node.supernode() else { continue };
            for other in world.config.supernodes().map(|other| replica(other).id()) {
                if supernode.core.backbone_to(other).is_some() {
                    let since = links.get(&(node.id, other)).copied().unwrap_or(now);
                    self.links.insert((node.id, other), since);
                }
            }
            let leader = supernode.core.leader();
            let since = leaders.get(&node.id).filter(|(known, _)| *known == leader).map_or(now, |(_, at)| *at);
            self.leaders.insert(node.id, (leader, since));
        }
    }

    /// Something was seen at one of so many supernodes: when it has lost a link with another, the next step says what is left
    pub(super) fn see(&mut self, node: NodeId, seen: &Observation<'_>, supernodes: u32) {
        match seen {
            // It may have been away for less than a step.
            Observation::Started => {
                self.open.retain(|(at, _)| *at != node);
                self.links.retain(|(at, _), _| *at != node);
                self.leaders.remove(&node);
            }
            Observation::Opened { opened, other, .. } if other.0 < supernodes => {
                self.open.insert((node, opened.link.0));
            }
            Observation::Closed { link, .. } if self.open.remove(&(node, *link)) => {
                self.links.retain(|(at, _), _| *at != node);
            }
            _ => {}
        }
    }

    /// Whether this link of a supernode is one with another
    pub(super) fn is_open(&self, node: NodeId, link: u64) -> bool {
        self.open.contains(&(node, link))
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
