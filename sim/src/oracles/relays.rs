//! What a supernode cannot hand over itself goes to the destination's home.
//!
//! Source: "Between supernodes" in docs/protocol.md: a packet for a peer that is at home elsewhere goes to that home, once,
//! over the link of the two supernodes if there is one; and what has come over such a link goes over none.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::{Address, SupernodeId};
use kith_common::time::Instant;
use kith_common::wire::content::{Cause, Payload, Undeliverable};
use kith_common::wire::{self, Frame, PacketBytes};

use super::per_node::PerNode;
use super::sights::Sights;
use crate::mesh::config::MeshConfig;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::processes::replica;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// For which a link between two supernodes has been there before it counts: a step, and the news of it
const LINKED: Duration = Duration::from_secs(2);

/// What one supernode knows, and what it was given last
#[derive(Debug, Default)]
struct Seat {
    homes: BTreeMap<Address, SupernodeId>,
    /// The packet that a peer has given last: if it is given back here, then before the next one comes
    given: Option<u64>,
    /// The packet that another supernode has handed over last, and when
    taken_over: Option<(u64, Instant)>,
}

/// What supernodes were given to relay
#[derive(Debug)]
pub(crate) struct Relays {
    supernodes: u32,
    seats: PerNode<Seat>,
    sights: Sights,
}

impl Relays {
    /// Nothing was given to anybody
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self { supernodes: config.supernodes, seats: PerNode::default(), sights: Sights::default() }
    }

    /// A supernode gives a packet back to its source
    fn check(&mut self, now: Instant, node: NodeId, packet: &PacketBytes) -> Result<(), String> {
        let seat = self.seats.of(node);
        let Some(given) = seat.given else { return Ok(()) };
        let Some(report) = report(packet).filter(|report| report.packet == given) else { return Ok(()) };
        let Undeliverable { destination, cause: Cause::NoSession, .. } = report else { return Ok(()) };
        let Some(home) = seat.homes.get(&destination).filter(|home| **home != replica(node).id()) else {
            return Ok(());
        };
        match self.sights.linked(node, *home) {
            Some(since) if now - since > LINKED => {
                Err(format!("gives a packet to {destination} back, and has a link with {home} where that is at home"))
            }
            _ => Ok(()),
        }
    }
}

fn report(packet: &PacketBytes) -> Option<Undeliverable> {
    match wire::decode(packet.as_ref().payload()) {
        Ok(Payload::Undeliverable(report)) => Some(report),
        _ => None,
    }
}

impl Oracle for Relays {
    fn name(&self) -> &'static str {
        "relays"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if self.supernodes < 2 || node.0 >= self.supernodes {
            return Ok(());
        }
        self.sights.see(node, seen, self.supernodes);
        let seat = self.seats.of(node);
        match seen {
            Observation::Started => *seat = Seat::default(),
            Observation::Applied(directory) => {
                seat.homes = directory.sessions().map(|session| (session.address, session.home)).collect();
            }
            Observation::Received { link, frame: Frame::Relay(packet) } => {
                let packet = packet.as_ref().header().id;
                match self.sights.is_open(node, *link) {
                    true => seat.taken_over = Some((packet, now)),
                    false => seat.given = Some(packet),
                }
            }
            Observation::Sent { link, frame: Frame::Relay(packet) } if self.sights.is_open(node, *link) => {
                let packet = packet.as_ref().header().id;
                if seat.taken_over == Some((packet, now)) {
                    return Err(format!("hands packet {packet:x} on to a third supernode, or back"));
                }
                // Whatever comes back now, its home could not hand over either.
                seat.given = None;
            }
            Observation::Sent { frame: Frame::Packet(packet), .. } => return self.check(now, node, packet),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if self.supernodes > 1 {
            self.sights.step(world);
        }
        Ok(())
    }
}
