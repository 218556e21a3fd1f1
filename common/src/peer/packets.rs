//! Packets of this peer's own messages: made, and handed to a neighbour or to the supernode.

use super::receive::{Arrived, Origin};
use super::{Own, Peer};
use crate::crypto::Signer;
use crate::id::{Address, MessageId};
use crate::mail::outbox::Via;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::bounded::{Bounded, Bytes};
use crate::wire::content::{Choice, Content, DATA_BYTES_MAX, Message, Payload, Reply, SignedMessage};
use crate::wire::packet::{self, Class, Header, TTL_DEFAULT};
use crate::wire::{self, Frame, PacketBytes};
use rand_chacha::rand_core::Rng;

impl<S: Signer> Peer<S> {
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
        let packet_id = packet.as_ref().header().id;
        if self.own.as_ref().is_some_and(|own| own.address == destination) {
            self.outbox.handle_sent(&id, attempt, packet_id, Via::FirstHop(destination));
            return self.receive(now, Origin::Own, &packet.as_ref());
        }
        match self.hand_over(now, &packet, avoid) {
            Some((first_hop, choice)) => {
                self.outbox.handle_sent(&id, attempt, packet_id, Via::FirstHop(first_hop));
                self.traces.handle_sent(now, &id, packet_id, first_hop, choice);
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
                self.send_frame(home, Frame::Relay(packet));
                self.outbox.handle_sent(&id, attempt, packet_id, Via::Relay);
            }
            None => self.outbox.handle_unsent(now, &id, attempt),
        }
    }

    fn packet_of(&mut self, id: &MessageId, destination: Address) -> Result<PacketBytes, (Status, &'static str)> {
        let traced = self.traces.is_traced(id);
        let own = self.own.as_ref().ok_or((Status::NotLoggedIn, "not logged in"))?;
        let message = self.outbox.message(id).ok_or((Status::Failed, "the message is gone"))?;
        let class = match message.content {
            Content::Data(_) | Content::Call(_) => Class::Data,
            Content::Signal(_) | Content::Reply(_) => Class::Signal,
        };
        let payload = signed_payload(message, own, &self.signer).ok_or((Status::TooLarge, "over 56 KiB"))?;
        let header = Header {
            destination,
            source: own.address,
            id: self.rng.next_u64(),
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
        let routes = self.routes.as_ref()?;
        let (to, choice, edit) = routes.first_hop(&mut self.cache, destination, id, avoid, now)?;
        let link = self.link_to(to)?;
        let mut bytes = Vec::with_capacity(packet.as_ref().bytes().len() + packet::ENTRY_BYTES);
        packet::emit_forwarded(&packet.as_ref(), &edit, &mut bytes).ok()?;
        self.send_frame(link, Frame::Packet(PacketBytes::new(bytes).ok()?));
        Some((to, choice))
    }

    pub(super) fn reply(&mut self, now: Instant, arrived: &Arrived, status: Status, reason: &str) {
        self.reply_with(now, arrived, status, reason.as_bytes().to_vec().try_into().unwrap_or_default());
    }

    /// Says what became of a message; a lost reply is made good by the sender, who sends again
    pub(super) fn reply_with(&mut self, now: Instant, arrived: &Arrived, status: Status, body: Bytes<DATA_BYTES_MAX>) {
        let reply = Reply { to: arrived.id, status, path: Bounded::truncated(arrived.path.clone()), body };
        let id = self.random_id();
        let message = Message { id, to: arrived.from.name.clone(), content: Content::Reply(reply) };
        let Some(own) = self.own.as_ref() else { return };
        let Some(payload) = signed_payload(&message, own, &self.signer) else { return };
        let (destination, source) = (arrived.from.address, own.address);
        let (class, id) = (Class::Signal, self.rng.next_u64());
        let header = Header { destination, source, id, ttl: TTL_DEFAULT, class, congested: false, traced: false };
        let Some(packet) = new_packet(&header, &payload) else { return };
        if arrived.origin == Origin::Own {
            return self.receive(now, Origin::Own, &packet.as_ref());
        }
        self.hand_reply_over(now, arrived, packet);
    }

    /// By another first hop than before, or by the supernode: where it relayed the message, where nobody else is left,
    /// and where routing knows no way
    fn hand_reply_over(&mut self, now: Instant, arrived: &Arrived, packet: PacketBytes) {
        let tried = self.replies.tried(&arrived.id);
        let is_mesh_cut = arrived.origin == Origin::Home
            || self.neighbourhood.live_links().all(|(neighbour, _)| tried.contains(&neighbour));
        let home = self.home_link();
        let by_mesh = if is_mesh_cut && home.is_some() { None } else { self.hand_over(now, &packet, &tried) };
        match (by_mesh, home) {
            (Some((first_hop, _)), _) => self.replies.handle_sent(arrived.id, first_hop),
            (None, Some(home)) => self.send_frame(home, Frame::Relay(packet)),
            (None, None) => tracing::info!(event = "reply_dropped", reason = "no way back", to = %arrived.from.name),
        }
    }
}

fn signed_payload(message: &Message, own: &Own, signer: &impl Signer) -> Option<Vec<u8>> {
    let signed = SignedMessage::sign(message, own.signed.clone(), signer).ok()?;
    wire::encode(&Payload::Message(Box::new(signed))).ok()
}

fn new_packet(header: &Header, payload: &[u8]) -> Option<PacketBytes> {
    PacketBytes::new(packet::new_packet(header, payload).ok()?).ok()
}
