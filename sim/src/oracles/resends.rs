//! A message that nobody replies to is sent again, over another first hop.
//!
//! Source: the out-box's table: no reply in 500 ms, then 1, 2, 4 s: it transmits again, over another first hop. What one
//! neighbour lost the next one may deliver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::{Address, MessageId};
use kith_common::mail::Reason;
use kith_common::peer::PeerOutput;
use kith_common::routing::NeighbourView;
use kith_common::routing::forward::NewRoutes;
use kith_common::time::Instant;
use kith_common::wire::packet::{Edit, PacketRef};

use super::per_node::PerNode;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::{Observation, carries};
use crate::mesh::world::World;

/// A peer with so many neighbours that are up has another way to almost everybody
const NEIGHBOURS_MIN: usize = 4;
/// A peer that stood still for a moment may have had no time for the second transmission
const DISTURBED: Duration = Duration::from_secs(15);

/// How one message went
#[derive(Debug, Default)]
struct Sent {
    /// To where it went by the present routes, and by whom
    hops: Vec<(Address, Address)>,
    /// By whom it ever went: who has tried everybody begins anew
    tried: BTreeSet<Address>,
}

/// Messages that have no fate yet
#[derive(Debug, Default)]
pub(crate) struct Resends {
    routes: PerNode<Option<NewRoutes>>,
    sent: PerNode<BTreeMap<MessageId, Sent>>,
    disturbed: BTreeMap<NodeId, Instant>,
}

impl Resends {
    fn is_disturbed(&self, now: Instant, node: NodeId) -> bool {
        self.disturbed.get(&node).is_some_and(|at| now - *at < DISTURBED)
    }

    /// A message's second packet to a place goes by another neighbour than its first one
    fn transmit(&mut self, node: NodeId, hop: Address, packet: &PacketRef<'_>, edit: &Edit) -> Result<(), String> {
        let Some(routes) = self.routes.of(node) else { return Ok(()) };
        let Some((id, sent)) = self.sent.of(node).iter_mut().find(|(id, _)| carries(packet, id)) else {
            return Ok(());
        };
        let destination = packet.header().destination;
        sent.hops.push((destination, hop));
        sent.tried.insert(hop);
        let [first, second] = sent.hops[..] else { return Ok(()) };
        let is_up =
            |view: &&NeighbourView| view.up && view.table.iter().any(|(to, up)| *up && *to != routes.routes.own());
        let views = routes.routes.views();
        let others = views.iter().filter(is_up).count();
        // A destination that is taken for gone is looked for by any way that is left.
        let is_missed = !edit.dead.is_empty();
        // And whoever has become a neighbour is sent to without a detour. Of those who were not tried one may have no way,
        // as when the network is in two parts.
        let has_more = others >= NEIGHBOURS_MIN && sent.tried.len() + 1 < others;
        if first == second && first.1 != destination && !is_missed && has_more {
            return Err(format!("sent message {id:?} again over {hop}, by whom it went first, of {others} neighbours"));
        }
        Ok(())
    }
}

impl Oracle for Resends {
    fn name(&self) -> &'static str {
        "resends"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) | Fault::Pause(node, _) | Fault::Resume(node) = fault {
            self.disturbed.insert(*node, now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started | Observation::Killed => {
                *self.routes.of(node) = None;
                self.sent.of(node).clear();
            }
            Observation::Peer(PeerOutput::Routes(routes)) => {
                // By other routes the out-box may begin anew: who failed once is better than nobody.
                self.sent.of(node).values_mut().for_each(|sent| sent.hops.clear());
                *self.routes.of(node) = routes.as_deref().cloned();
            }
            Observation::Asked { id, .. } => {
                self.sent.of(node).insert(*id, Sent::default());
            }
            Observation::Forwarded { .. } if !self.is_disturbed(now, node) => {
                if let Some((packet, to, edit)) = seen.own_packet() {
                    return self.transmit(node, to, packet, edit);
                }
            }
            Observation::Peer(PeerOutput::Done(outcome)) => {
                let fate = &outcome.fate;
                self.sent.of(node).remove(&fate.id);
                // Looking a name up takes 8 s at most, so that there are 2 s for two transmissions.
                if fate.reason == Reason::NoReply && fate.transmissions == 1 && !self.is_disturbed(now, node) {
                    return Err(format!("sent message {:?} only once, as nobody replied for 10 s", fate.id));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for node in world.peers().filter(|node| !node.runs()) {
            self.disturbed.insert(node.id, world.now());
        }
        Ok(())
    }
}
