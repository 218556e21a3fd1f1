//! A peer that is no neighbour does not stay linked for long while a supernode says who the neighbours are.
//!
//! Source: a peer with a good grant is let in as a guest while no supernode can be asked; once home is back, its table
//! says who stays.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::Address;
use kith_common::routing::neighbourhood::LinkStatus;
use kith_common::time::Instant;

use super::truth::{is_logged_in, is_settled};
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::world::World;

/// From home's return to the table that does not name a guest, and to the end of its link
const STAY: Duration = Duration::from_secs(15);

/// Since when each peer has had each guest, with home in reach
#[derive(Debug, Default)]
pub(crate) struct Guests {
    since: BTreeMap<(NodeId, Address), Instant>,
}

impl Oracle for Guests {
    fn name(&self) -> &'static str {
        "guests"
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        let before = std::mem::take(&mut self.since);
        // Whichever is its home, it could have asked it.
        let is_cut = |node: NodeId| {
            world.config.supernodes().any(|home| world.net.is_blocked(node, home) || world.net.is_blocked(home, node))
        };
        let is_here = world.supernodes().all(Node::runs);
        let could_have = |node: &&Node| is_here && is_logged_in(node) && !is_settled(node) && !is_cut(node.id);
        for node in world.peers().filter(could_have) {
            let neighbours = node.peer().map(|peer| peer.core().neighbourhood().neighbours()).unwrap_or_default();
            for guest in neighbours.iter().filter(|n| !n.is_wanted && n.state == LinkStatus::Up) {
                let key = (node.id, guest.address);
                let since = *before.get(&key).unwrap_or(&now);
                if now - since > STAY {
                    return Err(format!("{} has had {} as a guest for {STAY:?}", node.name, guest.name));
                }
                self.since.insert(key, since);
            }
        }
        Ok(())
    }
}
