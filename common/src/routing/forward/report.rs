//! Packets about packets: to the source, of one that goes no further, and of each hop of one that is traced.

use super::snapshot::Snapshot;
use super::{Allowance, Count, Links};
use crate::id::Address;
use crate::routing::{Decision, RouteCache};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::bounded::Bounded;
use crate::wire::content::{Cause, Choice, Hop, PathHop, Payload, PayloadKind, Undeliverable};
use crate::wire::encode;
use crate::wire::packet::{Class, Header, Mark, PacketRef, TTL_DEFAULT, new_packet};

/// Tells the source of one packet what became of it; made only when there is something to tell
pub(super) struct Reporter<'a, L: Links> {
    pub(super) here: &'a Snapshot<L::Link>,
    pub(super) cache: &'a mut RouteCache,
    pub(super) links: &'a mut L,
    pub(super) allowance: &'a mut Allowance,
    pub(super) now: Instant,
}

impl<L: Links> Reporter<'_, L> {
    /// Nobody is left to try
    #[cold]
    pub(super) fn give_up(self, packet: &PacketRef<'_>, cause: Cause) {
        self.links.count(Count::Undeliverable);
        let Header { id, source, destination, .. } = packet.header();
        tracing::debug!(event = "packet_given_up", id, %source, %destination, reason = ?cause);
        self.report_undeliverable(packet, cause);
    }

    /// The packet goes no further: its source is told, unless the packet itself tells somebody of another
    #[cold]
    pub(super) fn report_undeliverable(self, packet: &PacketRef<'_>, cause: Cause) {
        let header = packet.header();
        let is_own = header.source == self.here.address();
        if !is_own && (is_report(packet) || !self.allowance.take(self.now)) {
            return self.links.count(Count::DroppedReports);
        }
        let hop = |(mark, short)| PathHop { short, relay: mark == Mark::Relay, name: None };
        // The way so far does not have this node yet, which is where it ends.
        let end = (!is_own).then_some((Mark::Way, self.here.address().short()));
        let undeliverable = Undeliverable {
            packet: header.id,
            destination: header.destination,
            status: Status::Unavailable,
            cause,
            path: Bounded::truncated(packet.way().chain(end).map(hop)),
        };
        if is_own {
            self.links.returned(undeliverable);
        } else {
            self.send(header.source, &Payload::Undeliverable(undeliverable));
        }
    }

    /// The packet is traced, and went on to `next`
    #[cold]
    pub(super) fn report_hop(self, packet: &PacketRef<'_>, next: Address, choice: Choice) {
        let header = packet.header();
        if is_report(packet) || header.source == self.here.address() {
            return;
        }
        if !self.allowance.take(self.now) {
            return self.links.count(Count::DroppedReports);
        }
        let index = u8::try_from(packet.way().count()).unwrap_or(u8::MAX);
        let (name, address) = (self.here.name.clone(), self.here.address());
        let hop = Hop { packet: header.id, index, name, address, next, choice };
        self.send(header.source, &Payload::Hop(hop));
    }

    /// Sends a packet of this node's own; nobody is told of one that finds no way
    fn send(self, to: Address, payload: &Payload) {
        let header = Header {
            destination: to,
            source: self.here.address(),
            id: self.links.packet_id(),
            ttl: TTL_DEFAULT,
            class: Class::Signal,
            congested: false,
            traced: false,
        };
        let Self { here, cache, links, now, .. } = self;
        let mut push = |packet: &PacketRef<'_>| match here.routes.first_hop(cache, packet, &[], &[], now) {
            Decision::Forward { to, mut edit, .. } => here.push(links, to, packet, &mut edit).is_ok(),
            _ => false,
        };
        let report = encode(payload).and_then(|payload| new_packet(&header, &payload));
        let sent = report.is_ok_and(|bytes| PacketRef::parse(&bytes).is_ok_and(|packet| push(&packet)));
        if !sent {
            links.count(Count::DroppedReports);
        }
    }
}

/// Whether a packet tells its receiver of another packet: nothing is told about those
pub(super) fn is_report(packet: &PacketRef<'_>) -> bool {
    let is_about_a_packet = matches!(PayloadKind::of(packet), Some(PayloadKind::Undeliverable | PayloadKind::Hop));
    packet.header().class == Class::Signal && is_about_a_packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bounded::Bytes;

    fn packet(payload: &Payload, class: Class) -> Vec<u8> {
        let (destination, source) = (Address(1), Address(2));
        let header = Header { destination, source, id: 3, ttl: 9, class, congested: false, traced: true };
        new_packet(&header, &encode(payload).unwrap()).unwrap()
    }

    #[test]
    fn reports_are_known_by_their_first_bytes() {
        let name = "alice".parse().unwrap();
        let hop = Hop { packet: 1, index: 0, name, address: Address(1), next: Address(2), choice: Choice::Back };
        let undeliverable = Undeliverable {
            packet: 1,
            destination: Address(1),
            status: Status::Unavailable,
            cause: Cause::NoCandidate,
            path: Bounded::new(),
        };
        let is_report = |payload: &Payload, class| is_report(&PacketRef::parse(&packet(payload, class)).unwrap());
        assert!(is_report(&Payload::Hop(hop.clone()), Class::Signal));
        assert!(is_report(&Payload::Undeliverable(undeliverable), Class::Signal));
        assert!(!is_report(&Payload::Datagram(Bytes::default()), Class::Signal));
        assert!(!is_report(&Payload::Hop(hop), Class::Data), "nobody escapes a report by its payload alone");
    }
}
