//! Queues, tables and caches stay within their bounds, and so does the memory of a run.
//!
//! Source: the bounds that the product documents, and a number of events and streams a machine that no healthy run needs.

use kith_common::mail::{IN_FLIGHT_MAX, OVERHEAD_BYTES};
use kith_common::names::RECORDS_MAX;
use kith_common::routing::neighbourhood::{DIALS_MAX, LINKS_MAX};
use kith_common::time::Instant;
use kith_transport::CONNECTIONS_MAX;
use kith_transport::stack::CALLS_MAX;

use super::per_node::PerNode;
use super::under_way::UnderWay;
use crate::mesh::disk::OUTBOX_BYTES_MAX;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Events that wait, for each machine: a timer and a frame or two for each link
const EVENTS_MAX: usize = 2_000;
/// Dials and streams, for each machine: all its links, and as many that end
const CONNS_MAX: usize = 2 * LINKS_MAX;
/// Dials and links that one process may hold beyond those in its tables: home, and those that have not said who they are
const SPARE: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Bounds {
    /// Bytes that each peer found in its out-box at its start
    restored: PerNode<u64>,
    under_way: UnderWay,
}

impl Oracle for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        self.under_way.see(node, seen);
        if let Observation::Restored(restored) = seen {
            *self.restored.of(node) = restored.iter().map(|one| one.bytes + OVERHEAD_BYTES).sum();
        }
        let sends = self.under_way.of(node);
        // The one too many has its fate at once.
        if sends > IN_FLIGHT_MAX + 1 { Err(format!("{sends} pings are under way")) } else { Ok(()) }
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let machines = world.nodes.len();
        for node in world.peers() {
            let Some(peer) = node.peer() else { continue };
            let ((waiting, _), restored) = (peer.stack.outbox_bytes(), *self.restored.of(node.id));
            let measures = [
                ("bytes in its out-box", waiting as usize, OUTBOX_BYTES_MAX.max(restored) as usize),
                ("links in its neighbourhood", peer.core().neighbourhood().links_open(), LINKS_MAX),
                ("links", node.ends.len(), LINKS_MAX + SPARE),
                // The home link's is the one more, and of one that the session has given up the stream may still open.
                ("dials", node.dials.len(), DIALS_MAX + 2),
                ("pings under way", peer.core().mail().in_flight(), IN_FLIGHT_MAX),
                ("calls under way", peer.stack.calls(), CALLS_MAX),
                ("connections", peer.stack.connections(), CONNECTIONS_MAX),
                ("names remembered", peer.core().names().len(), RECORDS_MAX),
            ];
            for (what, is, most) in measures {
                if is > most {
                    return Err(format!("{} has {is} {what}, more than {most}", node.name));
                }
            }
        }
        if world.net.live() > CONNS_MAX * machines {
            return Err(format!("{} dials and streams of {machines} machines", world.net.live()));
        }
        if world.queue.longest() > EVENTS_MAX * machines {
            return Err(format!("{} events wait for {machines} machines", world.queue.longest()));
        }
        Ok(())
    }
}
