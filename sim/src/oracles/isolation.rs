//! Every peer that is logged in has a live neighbour, or knows that it has none.
//!
//! Source: the design's promise that a peer whose links are all down tells its home, which gives it a new table. A peer
//! that believes in links of which none is alive would forward into nothing and never ask.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::time::Instant;

use super::Oracle;
use super::truth::{is_heard, is_logged_in, is_other_paused, live_links};
use crate::mesh::node::NodeId;
use crate::mesh::world::World;

/// An idle link is probed after 12 s at most, and given up 2 s later; the rest is for slow clocks and steps
pub(super) const NOTICE: Duration = Duration::from_secs(17);

/// Since when each peer is cut off without knowing it
#[derive(Debug, Default)]
pub struct Isolation {
    since: BTreeMap<NodeId, Instant>,
}

impl Oracle for Isolation {
    fn name(&self) -> &'static str {
        "isolation"
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for node in world.peers() {
            let mut believed = live_links(world, node).peekable();
            let deluded = is_logged_in(node)
                && believed.peek().is_some()
                && believed.all(|(_, end, _)| !is_heard(world, end) && !is_other_paused(world, end));
            if !deluded {
                self.since.remove(&node.id);
                continue;
            }
            let since = *self.since.entry(node.id).or_insert(world.now());
            if world.now() - since > NOTICE {
                return Err(format!("{} has had no live neighbour for {NOTICE:?}, and does not know", node.name));
            }
        }
        Ok(())
    }
}
