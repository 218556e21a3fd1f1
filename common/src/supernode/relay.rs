//! Packets of peers whose mesh is cut: passed on to the destination's home link, or given back.

use super::links::Links;
use crate::directory::Directory;
use crate::id::ShortId;
use crate::link::LinkId;
use crate::status::Status;
use crate::wire::bounded::Bounded;
use crate::wire::content::{Cause, Payload, Undeliverable};
use crate::wire::packet::{self, Class, Edit, Header, Mark, PacketRef, TTL_DEFAULT};
use crate::wire::{self, Frame, PacketBytes};

/// What relaying may touch
pub(super) struct Relay<'a> {
    /// What stands for this supernode on the path of a packet that it relayed
    pub(super) short_id: ShortId,
    pub(super) directory: &'a Directory,
    pub(super) links: &'a mut Links,
}

impl Relay<'_> {
    /// Passes a packet on to the home link of its destination, and says so in its path
    pub(super) fn pass_on(&mut self, link: LinkId, packet: &PacketBytes) {
        let packet = packet.as_ref();
        let Header { source, destination, .. } = *packet.header();
        if self.links.address_on(self.directory, link) != Some(source) {
            return tracing::info!(event = "relay_refused", %source, reason = "sent from another's address");
        }
        match self.directory.by_address(destination).map(|session| self.links.home_of(session.id)) {
            Some(Some(home)) => {
                let edit = Edit { way: Some((Mark::Relay, self.short_id)), ..Edit::default() };
                let mut bytes = Vec::with_capacity(packet.bytes().len() + packet::ENTRY_BYTES);
                if packet::emit_forwarded(&packet, &edit, &mut bytes).is_err() {
                    return self.give_back(link, &packet, Status::Unavailable, Cause::TtlSpent);
                }
                if let Ok(packet) = PacketBytes::new(bytes) {
                    self.links.send(home, Frame::Packet(packet));
                }
            }
            Some(None) => self.give_back(link, &packet, Status::Unavailable, Cause::NoSession),
            // A packet tells an address and no name: whoever was there has gone, and there may well be such a name.
            None => self.give_back(link, &packet, Status::Gone, Cause::NoSession),
        }
    }

    /// Gives a packet over the rate of relays back
    pub(super) fn refuse(&mut self, link: LinkId, packet: &PacketBytes) {
        self.give_back(link, &packet.as_ref(), Status::SlowDown, Cause::Congested);
    }

    fn give_back(&mut self, link: LinkId, packet: &PacketRef<'_>, status: Status, cause: Cause) {
        let Header { destination, source, id, .. } = *packet.header();
        tracing::info!(event = "relay_refused", %source, %destination, %status, reason = ?cause);
        let report = Undeliverable { packet: id, destination, status, cause, path: Bounded::new() };
        let header = Header {
            destination: source,
            source: destination,
            id,
            ttl: TTL_DEFAULT,
            class: Class::Signal,
            congested: false,
            traced: false,
        };
        let payload = wire::encode(&Payload::Undeliverable(report)).ok();
        let bytes = payload.and_then(|payload| packet::new_packet(&header, &payload).ok());
        if let Some(packet) = bytes.and_then(|bytes| PacketBytes::new(bytes).ok()) {
            self.links.send(link, Frame::Packet(packet));
        }
    }
}
