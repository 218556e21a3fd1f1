//! Packets of peers whose mesh is cut: passed on to the destination's home link, or given back.
//!
//! What is for a peer that is at home elsewhere goes to that home, once: what comes from another supernode is handed over
//! here or given back, and what is given back and cannot be handed over is dropped, so that no packet goes to and fro.

use super::backbone::Backbone;
use super::links::Links;
use crate::directory::Directory;
use crate::id::{Address, ShortId, SupernodeId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::wire::bounded::Bounded;
use crate::wire::content::{Cause, Payload, Undeliverable};
use crate::wire::packet::{self, Class, Edit, Header, Mark, PacketRef, TTL_DEFAULT};
use crate::wire::{self, Frame, PacketBytes};

/// How a packet gets on from here
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Over the home link of its destination
    Peer(LinkId),
    /// Over the link with its destination's home
    Supernode(LinkId),
    /// Its destination has no link that is known here
    Unlinked,
    /// Nobody is at its destination
    Nobody,
}

/// Who has given a packet to this supernode, and has it back if need be
#[derive(Clone, Copy, Debug)]
enum Giver {
    /// Its source, on its home link
    Peer(LinkId),
    /// The home of its source
    Supernode(LinkId),
}

/// What relaying may touch
pub(super) struct Relay<'a> {
    /// What stands for this supernode on the path of a packet that it relayed
    pub(super) short_id: ShortId,
    pub(super) directory: &'a Directory,
    pub(super) links: &'a mut Links,
    pub(super) backbone: &'a mut Backbone,
    pub(super) id: SupernodeId,
    /// Whether this supernode hears what is committed, so that it knows who has gone
    pub(super) is_sure: bool,
}

impl Relay<'_> {
    /// Passes a packet on to the home link of its destination, and says so in its path
    pub(super) fn pass_on(&mut self, link: LinkId, packet: &PacketBytes) {
        let packet = packet.as_ref();
        let Header { source, destination, .. } = *packet.header();
        if self.links.address_on(self.directory, link) != Some(source) {
            return tracing::info!(event = "relay_refused", %source, reason = "sent from another's address");
        }
        let way = self.way_to(destination, true);
        self.carry(way, Giver::Peer(link), &packet);
    }

    /// A packet for a peer that is at home here, as another supernode says
    pub(super) fn take_over(&mut self, from: LinkId, packet: &PacketBytes) {
        let packet = packet.as_ref();
        let way = self.way_to(packet.header().destination, mutant::is(Mutant::RelayedToAndFro));
        self.carry(way, Giver::Supernode(from), &packet);
    }

    /// A packet that another supernode gives back to its source, which is at home here
    pub(super) fn hand_back(&mut self, packet: PacketBytes) {
        let Header { source, destination, .. } = *packet.as_ref().header();
        let home = self.directory.by_address(destination).and_then(|session| self.links.home_of(session.id));
        match home {
            Some(home) => self.links.send(home, Frame::Packet(packet)),
            None => {
                let reason = "it was given back, and its source has no link here";
                tracing::debug!(event = "relay_dropped", %source, %destination, reason);
            }
        }
    }

    /// How a packet gets to this place; over another supernode only if `beyond`
    fn way_to(&self, destination: Address, beyond: bool) -> Way {
        let Some(session) = self.directory.by_address(destination) else {
            // Another supernode that knows of somebody there knows more, or less: it is for that to say who has gone.
            return if self.is_sure && beyond { Way::Nobody } else { Way::Unlinked };
        };
        let home = Some(session.home).filter(|home| *home != self.id && beyond);
        match (self.links.home_of(session.id), home.and_then(|home| self.backbone.link_to(home))) {
            (Some(link), _) => Way::Peer(link),
            (None, Some(link)) if !mutant::is(Mutant::RelayEndsHere) => Way::Supernode(link),
            (None, _) => Way::Unlinked,
        }
    }

    /// Carries the packet on, and says so in its path
    fn carry(&mut self, way: Way, giver: Giver, packet: &PacketRef<'_>) {
        match way {
            Way::Peer(_) | Way::Supernode(_) => {}
            Way::Unlinked => return self.give_back(giver, packet, Status::Unavailable, Cause::NoSession),
            // A packet tells an address and no name: whoever was there has gone, and there may well be such a name.
            Way::Nobody => return self.give_back(giver, packet, Status::Gone, Cause::NoSession),
        }
        let edit = Edit { way: Some((Mark::Relay, self.short_id)), ..Edit::default() };
        let mut bytes = Vec::with_capacity(packet.bytes().len() + packet::ENTRY_BYTES);
        if packet::emit_forwarded(packet, &edit, &mut bytes).is_err() {
            return self.give_back(giver, packet, Status::Unavailable, Cause::TtlSpent);
        }
        let Ok(carried) = PacketBytes::new(bytes) else { return };
        match way {
            Way::Peer(link) => self.links.send(link, Frame::Packet(carried)),
            Way::Supernode(link) => self.backbone.send(link, Frame::Relay(carried)),
            Way::Unlinked | Way::Nobody => {}
        }
    }

    /// Gives a packet over the rate of relays back
    pub(super) fn refuse(&mut self, link: LinkId, packet: &PacketBytes) {
        self.give_back(Giver::Peer(link), &packet.as_ref(), Status::SlowDown, Cause::Congested);
    }

    fn give_back(&mut self, giver: Giver, packet: &PacketRef<'_>, status: Status, cause: Cause) {
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
            match giver {
                Giver::Peer(link) => self.links.send(link, Frame::Packet(packet)),
                Giver::Supernode(link) => self.backbone.send(link, Frame::Packet(packet)),
            }
        }
    }
}
