//! Packets of this peer: made from messages, and read when they arrive.

use std::time::SystemTime;

use kith_common::id::{Address, MessageId, ShortId};
use kith_common::messages::outbox::Via;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::bounded::{Bounded, Bytes};
use kith_common::wire::content::{
    Call, Choice, Content, DATA_BYTES_MAX, Message, PathHop, Payload, Reply, Signal, SignedMessage,
};
use kith_common::wire::grant::Grant;
use kith_common::wire::packet::{self, Class, Header, Mark, PacketRef, TTL_DEFAULT};
use kith_common::wire::{self, Frame, PacketBytes};

use super::{Driver, Own};
use crate::functions;
use crate::inbox::worker::Outcome;
use crate::inbox::{InboxError, Incoming, Kept};

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

impl Driver {
    /// Carries out the out-box's wish to transmit
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        id: MessageId,
        attempt: u8,
        destination: Address,
        avoid: &[Address],
    ) {
        let packet = match self.packet_of(&id, destination) {
            Ok(packet) => packet,
            Err((status, reason)) => return self.outbox.handle_refused(now, &id, status, reason),
        };
        if self.own.as_ref().is_some_and(|own| own.address == destination) {
            self.outbox.handle_sent(&id, attempt, packet.as_ref().header().id, Via::FirstHop(destination));
            return self.handle_packet(now, Origin::Own, &packet.as_ref());
        }
        let packet_id = packet.as_ref().header().id;
        match self.hand_over(now, &packet, avoid) {
            Some((first_hop, choice)) => {
                self.outbox.handle_sent(&id, attempt, packet_id, Via::FirstHop(first_hop));
                self.waiting.handle_sent(now, &id, packet_id, first_hop, choice);
            }
            None => self.outbox.handle_unsent(now, &id, attempt),
        }
    }

    /// Carries out the out-box's wish to have a message relayed
    pub(super) fn relay(&mut self, now: Instant, id: MessageId, attempt: u8, destination: Address) {
        let packet = match self.packet_of(&id, destination) {
            Ok(packet) => packet,
            Err((status, reason)) => return self.outbox.handle_refused(now, &id, status, reason),
        };
        let packet_id = packet.as_ref().header().id;
        match self.home_link() {
            Some(home) => {
                self.send(home, Frame::Relay(packet));
                self.outbox.handle_sent(&id, attempt, packet_id, Via::Relay);
            }
            None => self.outbox.handle_unsent(now, &id, attempt),
        }
    }

    fn packet_of(&mut self, id: &MessageId, destination: Address) -> Result<PacketBytes, (Status, &'static str)> {
        let traced = self.waiting.is_traced(id);
        let own = self.own.as_ref().ok_or((Status::NotLoggedIn, "not logged in"))?;
        let message = self.outbox.message(id).ok_or((Status::Failed, "the message is gone"))?;
        let class = match message.content {
            Content::Data(_) | Content::Call(_) => Class::Data,
            Content::Signal(_) | Content::Reply(_) => Class::Signal,
        };
        let payload = signed_payload(message, own, &self.identity).ok_or((Status::TooLarge, "over 56 KiB"))?;
        let header = Header {
            destination,
            source: own.address,
            id: self.random_u64(),
            ttl: TTL_DEFAULT,
            class,
            congested: false,
            traced,
        };
        new_packet(&header, &payload).ok_or((Status::TooLarge, "over 60 KiB with its signatures"))
    }

    /// Gives a packet of this peer's to the neighbour that routing chooses; `None` if there is nobody to choose
    fn hand_over(&mut self, now: Instant, packet: &PacketBytes, avoid: &[Address]) -> Option<(Address, Choice)> {
        let Header { destination, id, .. } = *packet.as_ref().header();
        let routes = self.routes.clone()?;
        let (to, choice, edit) = routes.first_hop(&mut self.cache, destination, id, avoid, now)?;
        let link = self.link_to(to)?;
        let mut bytes = Vec::with_capacity(packet.as_ref().bytes().len() + packet::ENTRY_BYTES);
        packet::emit_forwarded(&packet.as_ref(), &edit, &mut bytes).ok()?;
        self.send(link, Frame::Packet(PacketBytes::new(bytes).ok()?));
        Some((to, choice))
    }

    /// A packet that ends here
    pub(super) fn handle_packet(&mut self, now: Instant, origin: Origin, packet: &PacketRef<'_>) {
        let Header { destination, source, .. } = *packet.header();
        if self.own.as_ref().is_none_or(|own| own.address != destination) {
            return tracing::debug!(event = "packet_dropped", reason = "for another address", %source, %destination);
        }
        match wire::decode::<Payload>(packet.payload()) {
            Ok(Payload::Message(message)) => self.handle_message(now, origin, packet, &message),
            // Why it is ignored, if it is, is traced by the out-box.
            Ok(Payload::Undeliverable(report)) => _ = self.outbox.handle_undeliverable(now, &report),
            Ok(Payload::Hop(hop)) => {
                if let Some(id) = self.outbox.message_of_packet(hop.packet) {
                    self.waiting.handle_hop(now, &id, hop);
                }
            }
            Ok(Payload::Datagram(_)) => {
                tracing::debug!(event = "packet_dropped", reason = "nobody listens for datagrams", %source)
            }
            Err(reason) => tracing::info!(event = "packet_dropped", %reason, %source),
        }
    }
}

impl Driver {
    fn handle_message(&mut self, now: Instant, origin: Origin, packet: &PacketRef<'_>, signed: &SignedMessage) {
        let Some(network) = self.session.network() else { return };
        let (from, message) = match self.grants.verify_message(&network, signed) {
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
            Content::Call(call) => self.handle_call(now, &arrived, &call),
        }
    }

    fn handle_data(&mut self, now: Instant, arrived: Arrived, bytes: Bytes<DATA_BYTES_MAX>) {
        if self.storing.len() >= STORING_MAX {
            return self.reply(now, &arrived, Status::SlowDown, "the receiver's disk is behind");
        }
        let Grant { name: from, key, address, .. } = arrived.from.clone();
        let incoming = Incoming { id: arrived.id, from, key, address, received: SystemTime::now(), bytes };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.storing.insert(ticket, arrived);
        self.inbox.keep(ticket, incoming);
    }

    /// A message is on disk, or could not be put there
    pub(super) fn handle_kept(&mut self, Outcome { ticket, kept }: Outcome) {
        let now = self.clock.now();
        let Some(arrived) = self.storing.remove(&ticket) else { return };
        let (status, reason) = match &kept {
            Ok(kept) => (kept.status(), kept_reason(*kept).to_owned()),
            Err(error) => (error.status(), failure(error)),
        };
        self.reply(now, &arrived, status, &reason);
    }

    fn handle_call(&mut self, now: Instant, arrived: &Arrived, call: &Call) {
        let functions::Outcome { status, body } = self.functions.evaluate(call, SystemTime::now());
        self.reply_with(now, arrived, status, body);
    }

    fn reply(&mut self, now: Instant, arrived: &Arrived, status: Status, reason: &str) {
        self.reply_with(now, arrived, status, reason.as_bytes().to_vec().try_into().unwrap_or_default());
    }

    /// Says what became of a message; a lost reply is made good by the sender, who sends again
    fn reply_with(&mut self, now: Instant, arrived: &Arrived, status: Status, body: Bytes<DATA_BYTES_MAX>) {
        let reply = Reply { to: arrived.id, status, path: Bounded::truncated(arrived.path.clone()), body };
        let id = self.random_id();
        let message = Message { id, to: arrived.from.name.clone(), content: Content::Reply(reply) };
        let Some(own) = self.own.as_ref() else { return };
        let Some(payload) = signed_payload(&message, own, &self.identity) else { return };
        let (destination, source) = (arrived.from.address, own.address);
        let (class, id) = (Class::Signal, self.random_u64());
        let header = Header { destination, source, id, ttl: TTL_DEFAULT, class, congested: false, traced: false };
        let Some(packet) = new_packet(&header, &payload) else { return };
        if arrived.origin == Origin::Own {
            return self.handle_packet(now, Origin::Own, &packet.as_ref());
        }
        self.hand_reply_over(now, arrived, packet);
    }

    /// By another first hop than before, or by the supernode: where it relayed the message, and where nobody else is left
    fn hand_reply_over(&mut self, now: Instant, arrived: &Arrived, packet: PacketBytes) {
        let tried = self.replies.tried(&arrived.id);
        let is_mesh_cut = arrived.origin == Origin::Home
            || self.neighbourhood.live_links().all(|(neighbour, _)| tried.contains(&neighbour));
        if let Some(home) = self.home_link().filter(|_| is_mesh_cut) {
            return self.send(home, Frame::Relay(packet));
        }
        match self.hand_over(now, &packet, &tried) {
            Some((first_hop, _)) => self.replies.handle_sent(arrived.id, first_hop),
            None => tracing::info!(event = "reply_dropped", reason = "no way back", to = %arrived.from.name),
        }
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

/// Messages that wait for the disk at most; more are answered with 429. At the largest size they hold 14 MiB
const STORING_MAX: usize = 256;

/// A message that arrived, and how
pub(super) struct Arrived {
    from: Grant,
    id: MessageId,
    path: Vec<PathHop>,
    origin: Origin,
}

fn signed_payload(message: &Message, own: &Own, signer: &impl kith_common::crypto::Signer) -> Option<Vec<u8>> {
    let signed = SignedMessage::sign(message, own.signed.clone(), signer).ok()?;
    wire::encode(&Payload::Message(signed)).ok()
}

fn new_packet(header: &Header, payload: &[u8]) -> Option<PacketBytes> {
    PacketBytes::new(packet::new_packet(header, payload).ok()?).ok()
}

fn kept_reason(kept: Kept) -> &'static str {
    match kept {
        Kept::New { .. } | Kept::Duplicate => "",
        Kept::Full => "the receiver's in-box is full: its owner has to read some messages first",
        Kept::TooLarge => "larger than the receiver's whole in-box",
    }
}

/// What the sender is told of a disk that is not its own
fn failure(error: &InboxError) -> String {
    match error {
        InboxError::DiskFull => "the receiver's disk is full".to_owned(),
        _ => "the receiver's in-box has failed".to_owned(),
    }
}
