//! Nobody floods the others: in a second a machine sends no more frames than any healthy one ever does.
//!
//! Source: what each part of the product says of its rate. A link is probed when it is idle; a table is sent when it
//! changes, and a bit when a link does; a message is sent again after 500 ms, then 1 s, then 2 s; a question is passed on
//! once. None of it feeds itself, so no fault makes much of it.

use kith_common::time::Instant;

use super::Oracle;
use super::per_node::PerNode;
use crate::mesh::node::NodeId;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Frames that a machine may send in a step of the oracles, one second, for each machine that there is: a peer sends its
/// table over all its links when each of them changes, and a supernode sends every peer's to it
const FRAMES_MAX: u64 = 200;
/// … and so many beyond that
const SPARE: u64 = 2_000;

/// Frames of each machine since the last step
#[derive(Debug, Default)]
pub struct Storms {
    sent: PerNode<u64>,
    most: u64,
}

impl Oracle for Storms {
    fn name(&self) -> &'static str {
        "storms"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if !matches!(seen, Observation::Sent { .. } | Observation::Forwarded { .. }) {
            return Ok(());
        }
        let sent = self.sent.of(node);
        *sent += 1;
        if self.most > 0 && *sent > self.most {
            return Err(format!("{} has sent {sent} frames within a second", name_of(node.0)));
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        self.most = SPARE + FRAMES_MAX * world.nodes.len() as u64;
        self.sent.clear();
        Ok(())
    }
}
