//! Packets that end here, and what is done about the messages in them.

use super::{Arrival, Output, Peer};
use crate::crypto::Signer;
use crate::id::{Address, MessageId, ShortId};
use crate::link::LinkId;
use crate::status::Status;
use crate::time::Instant;
use crate::wire;
use crate::wire::bounded::Bytes;
use crate::wire::content::{Call, Content, DATA_BYTES_MAX, PathHop, Payload, Signal, SignedMessage, Undeliverable};
use crate::wire::grant::Grant;
use crate::wire::packet::{Header, Mark, PacketRef};

/// Messages that wait for the disk at most; more are answered with 429. At the largest size they hold 14 MiB
pub const STORING_MAX: usize = 256;
/// Calls that wait for their functions at most; more are answered with 429. A shell evaluates at once, so they are no
/// more than came together
pub const EVALUATING_MAX: usize = 4_096;

/// Where a packet came from
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A neighbour forwarded it
    Mesh,
    /// The supernode relayed it
    Home,
    /// This peer sent it to itself
    Own,
}

/// A message that arrived, and how
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) from: Grant,
    pub(super) id: MessageId,
    pub(super) path: Vec<PathHop>,
    pub(super) origin: Origin,
}

impl<S: Signer> Peer<S> {
    /// A packet that ends here, from the neighbour `from`; from `None` only the home link's is believed
    pub fn handle_packet(&mut self, now: Instant, link: LinkId, from: Option<Address>, packet: &PacketRef<'_>) {
        let is_home = self.home.is_some_and(|home| home.link == link);
        let origin = match from {
            _ if is_home => Origin::Home,
            Some(_) => Origin::Mesh,
            None => {
                let (link, reason) = (link.0, "neither a neighbour nor the supernode");
                return tracing::debug!(event = "packet_dropped", link, reason);
            }
        };
        self.receive(now, origin, packet);
    }

    /// A packet of this peer's own came back inside the forwarder, and nobody is left to try
    pub fn handle_undeliverable(&mut self, now: Instant, report: &Undeliverable) {
        // Why it is ignored, if it is, is traced by the out-box.
        let _ = self.outbox.handle_undeliverable(now, report);
    }

    pub(super) fn receive(&mut self, now: Instant, origin: Origin, packet: &PacketRef<'_>) {
        let Header { destination, source, .. } = *packet.header();
        if self.own.as_ref().is_none_or(|own| own.address != destination) {
            return tracing::debug!(event = "packet_dropped", reason = "for another address", %source, %destination);
        }
        match wire::decode::<Payload>(packet.payload()) {
            Ok(Payload::Message(message)) => self.handle_message(now, origin, packet, &message),
            Ok(Payload::Undeliverable(report)) => self.handle_undeliverable(now, &report),
            Ok(Payload::Hop(hop)) => {
                if let Some(id) = self.outbox.message_of_packet(hop.packet) {
                    self.traces.handle_hop(now, &id, hop);
                }
            }
            Ok(Payload::Datagram(_)) => {
                tracing::debug!(event = "packet_dropped", reason = "nobody listens for datagrams", %source)
            }
            Err(reason) => tracing::info!(event = "packet_dropped", %reason, %source),
        }
    }

    fn handle_message(&mut self, now: Instant, origin: Origin, packet: &PacketRef<'_>, signed: &SignedMessage) {
        let Some(network) = self.session.network() else { return };
        let (from, message) = match self.grants.verify_message(&network, signed, &self.signer) {
            Ok(verified) => verified,
            Err(reason) => {
                return tracing::info!(event = "message_refused", %reason, source = %packet.header().source);
            }
        };
        if from.address != packet.header().source {
            return tracing::info!(event = "message_refused", reason = "sent from another's address", from = %from.name);
        }
        let arrived = Arrived { from, id: message.id, path: self.path_of(packet), origin };
        let is_elsewhere = self.own.as_ref().is_some_and(|own| own.name != message.to);
        match message.content {
            // First of all, as nobody replies to a reply. Why it is ignored, if it is, is traced by the out-box.
            Content::Reply(reply) => _ = self.outbox.handle_reply(now, &arrived.from, &reply),
            _ if is_elsewhere => self.reply(now, &arrived, Status::NotFound, "that name is not here"),
            Content::Data(data) => self.handle_data(now, arrived, data),
            Content::Signal(Signal::Ping) => self.reply(now, &arrived, Status::Delivered, ""),
            Content::Call(call) => self.handle_call(now, arrived, call),
        }
    }

    fn handle_data(&mut self, now: Instant, arrived: Arrived, bytes: Bytes<DATA_BYTES_MAX>) {
        if self.storing.len() >= STORING_MAX {
            return self.reply(now, &arrived, Status::SlowDown, "the receiver's disk is behind");
        }
        let Grant { name: from, key, address, .. } = arrived.from.clone();
        let message = Arrival { id: arrived.id, from, key, address, bytes };
        let ticket = self.ticket();
        self.storing.insert(ticket, arrived);
        self.outputs.push_back(Output::Keep { ticket, message });
    }

    fn handle_call(&mut self, now: Instant, arrived: Arrived, call: Call) {
        if self.evaluating.len() >= EVALUATING_MAX {
            return self.reply(now, &arrived, Status::SlowDown, "too many calls wait at the receiver");
        }
        let ticket = self.ticket();
        self.evaluating.insert(ticket, arrived);
        self.outputs.push_back(Output::Evaluate { ticket, call });
    }

    /// The way that a packet took, with the names that are known here
    fn path_of(&self, packet: &PacketRef<'_>) -> Vec<PathHop> {
        let hop = |(mark, short): (Mark, ShortId)| PathHop {
            short,
            relay: mark == Mark::Relay,
            name: self.neighbourhood.name_of(short),
        };
        packet.way().map(hop).collect()
    }
}
