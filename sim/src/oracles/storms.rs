//! Nobody floods the others: in a second a machine sends no more frames than any healthy one ever does.
//!
//! Source: what each part of the product says of its rate. A link is probed when it is idle; a table is sent when it
//! changes, and a bit when a link does; a message is sent again after 500 ms, then 1 s, then 2 s; a question is passed on
//! once. None of it feeds itself, so no fault makes much of it.

use kith_common::mail::IN_FLIGHT_MAX;
use kith_common::time::Instant;

use super::per_node::PerNode;
use crate::mesh::config::MeshConfig;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Frames that a peer may send in a second: three times what its links take when all its neighbours join at once (650 at
/// degree 16), and what is in a full out-box
const PEER_MAX: u64 = 2_000 + IN_FLIGHT_MAX as u64;
/// Frames that a supernode may send from one step to the next for each machine that there is: twice what a join costs, of
/// twenty tables and the login, if everybody joins at once …
const SUPERNODE_MAX: u64 = 40;
/// … and so many beyond that …
const SPARE: u64 = 2_000;
/// … and for each deed of a user: where faults have held messages up, what was to be sent in ten steps is on its way in one, each
/// over a look-up, a relay there and one back
const DEED_MAX: u64 = 30;

/// Frames of each machine since the last step
#[derive(Debug)]
pub(crate) struct Storms {
    sent: PerNode<u64>,
    supernodes: u32,
    /// What a supernode and a peer may send until the next step
    most: [u64; 2],
}

impl Storms {
    /// Nobody has sent anything
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let step = config.step();
        let deeds =
            u64::from(config.machines()) * step.as_micros() as u64 / (config.deed_every.as_micros() as u64).max(1);
        let supernode = SPARE + SUPERNODE_MAX * u64::from(config.machines()) + DEED_MAX * deeds;
        let peer = PEER_MAX * step.as_secs();
        Self { sent: PerNode::default(), supernodes: config.supernodes, most: [supernode, peer] }
    }
}

impl Oracle for Storms {
    fn name(&self) -> &'static str {
        "storms"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if !matches!(seen, Observation::Sent { .. } | Observation::Forwarded { .. }) {
            return Ok(());
        }
        let [supernode, peer] = self.most;
        let most = if node.0 < self.supernodes { supernode } else { peer };
        let sent = self.sent.of(node);
        *sent += 1;
        if *sent > most {
            return Err(format!("sends its {sent}th frame since the oracles' last step"));
        }
        Ok(())
    }

    fn step(&mut self, _: &World) -> Result<(), String> {
        self.sent.clear();
        Ok(())
    }
}
