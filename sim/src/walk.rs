//! One packet's way, decided and emitted peer by peer as forwarders do.

use std::time::Duration;

use kith_common::routing::{Decision, RouteCache, Routes};
use kith_common::time::Instant;
use kith_common::wire::content::Cause;
use kith_common::wire::packet::{Header, PacketRef, emit_forwarded, new_packet};

use crate::overlay::{Overlay, Peer};

/// Snapshots that a walker keeps, 10 kB each
const SHELF_MAX: usize = 1 << 14;
/// From one decision to the next: nobody's budget of cold decisions runs out
const STEP: Duration = Duration::from_secs(1);

/// How a walk ended
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Delivered,
    /// It came back with 503, for this reason
    CameBack(Cause),
    /// Dropped as forged, or sent over a link that is not there: a fault of the product
    Lost,
}

/// What became of one packet
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    pub end: End,
    /// Links that it was sent over, ways back among them
    pub hops: u8,
}

/// One packet to send
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trip {
    /// A living peer
    pub from: Peer,
    pub to: Peer,
    /// The packet's id, which breaks ties
    pub id: u64,
}

/// Walks packets through an overlay
///
/// What peers know is made when a packet comes to them and kept for a while. What they have worked out is kept too: a
/// packet that comes back to a peer meets a warm cache there, as it would.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    overlay: &'a Overlay,
    shelf: Vec<Option<(Peer, Routes)>>,
    /// The first for the first peer that a packet comes to, and so on: snapshots' generations tell peers apart
    caches: Vec<RouteCache>,
    /// The peers that the present packet has come to
    visited: Vec<Peer>,
    now: Instant,
    packet: Vec<u8>,
    next: Vec<u8>,
}

impl<'a> Walker<'a> {
    /// Through this overlay, as it is
    pub(crate) fn new(overlay: &'a Overlay) -> Self {
        let shelf = vec![None; overlay.peers().min(SHELF_MAX)];
        let (caches, visited, now) = (Vec::new(), Vec::new(), Instant::ZERO);
        Self { overlay, shelf, caches, visited, now, packet: Vec::new(), next: Vec::new() }
    }

    /// Walks one packet with this TTL; `forwards` is called with each peer that sends it on, the source left out
    pub(crate) fn walk(&mut self, trip: Trip, ttl: u8, mut forwards: impl FnMut(Peer)) -> Walk {
        let (source, destination) = (self.overlay.address(trip.from), self.overlay.address(trip.to));
        let header = Header { ttl, ..Header::new(source, destination, trip.id) };
        let (mut here, mut from, mut hops) = (trip.from, None, 0);
        let Ok(packet) = new_packet(&header, &[]) else { return Walk { end: End::Lost, hops } };
        self.packet = packet;
        self.visited.clear();
        loop {
            let (to, edit) = match self.decide(here, from) {
                Some(Decision::Forward { to, edit, .. } | Decision::Back { to, edit }) => (to, edit),
                Some(Decision::Deliver) => return Walk { end: End::Delivered, hops },
                Some(Decision::Undeliverable { cause }) => return Walk { end: End::CameBack(cause), hops },
                Some(Decision::Drop(_)) | None => return Walk { end: End::Lost, hops },
            };
            let Some(next) = self.overlay.living_neighbour(here, to) else { return Walk { end: End::Lost, hops } };
            if here != trip.from {
                forwards(here);
            }
            self.next.clear();
            let emitted = PacketRef::parse(&self.packet).and_then(|at| emit_forwarded(&at, &edit, &mut self.next));
            if emitted.is_err() {
                return Walk { end: End::Lost, hops };
            }
            std::mem::swap(&mut self.packet, &mut self.next);
            (from, here, hops) = (Some(self.overlay.address(here)), next, hops + 1);
        }
    }

    /// What a peer does with the present packet; `None` if that is none, as no peer would emit
    fn decide(&mut self, here: Peer, from: Option<kith_common::id::Address>) -> Option<Decision> {
        let at = self.visited.iter().position(|peer| *peer == here).unwrap_or_else(|| {
            self.visited.push(here);
            self.visited.len() - 1
        });
        if self.caches.len() <= at {
            self.caches.resize_with(at + 1, RouteCache::new);
        }
        self.now = self.now + STEP;
        let packet = PacketRef::parse(&self.packet).ok()?;
        let slot = here as usize % self.shelf.len();
        let shelf = &mut self.shelf[slot];
        let routes = match shelf {
            Some((peer, routes)) if *peer == here => routes,
            _ => &mut shelf.insert((here, self.overlay.routes(here))).1,
        };
        Some(routes.decide(&mut self.caches[at], &packet, from, self.now))
    }
}

#[cfg(test)]
mod tests;
