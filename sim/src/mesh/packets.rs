//! Packets at a peer: decided by the product's own forwarder, carried by the simulated links.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::id::Address;
use kith_common::link::LinkId;
use kith_common::link::chunks::Chunks;
use kith_common::link::open::SendError;
use kith_common::routing::forward::{Count, Forwarder, Links, NewRoutes, PushError};
use kith_common::time::Instant;
use kith_common::wire::content::{PayloadKind, Undeliverable};
use kith_common::wire::packet::{self, Edit, PacketRef};
use kith_common::wire::{FRAME_HEADER_BYTES, FrameKind, PacketBytes, finish_frame};

use super::costs::FRAME;
use super::faults::Effect;
use super::net::Network;
use super::node::{End, Node, NodeId};
use super::watch::{Observation, Watch};
use super::world::World;

/// A neighbour, and the link to it
pub(super) type Target = (Address, LinkId);

/// What the forwarder wants done, once it is done
#[derive(Default)]
struct Wishes {
    delivered: Vec<Vec<u8>>,
    returned: Vec<Undeliverable>,
}

struct SimLinks<'a> {
    ends: &'a mut BTreeMap<u64, End>,
    touched: &'a mut BTreeSet<u64>,
    chunks: &'a Chunks,
    now: Instant,
    node: NodeId,
    address: Address,
    net: &'a mut Network,
    watch: &'a mut Watch,
    wishes: Wishes,
}

impl Links for SimLinks<'_> {
    type Link = Target;

    fn link(&self, neighbour: Address, link: LinkId) -> Option<Target> {
        self.ends.contains_key(&link.0).then_some((neighbour, link))
    }

    fn push(&mut self, (to, link): &Target, packet: &PacketRef<'_>, edit: &mut Edit) -> Result<(), PushError> {
        let (to, link) = (*to, link.0);
        let Some(end) = self.ends.get_mut(&link).filter(|end| !end.core.is_ending()) else {
            return Err(PushError::NoLink);
        };
        if self.net.drops() {
            self.net.count(Effect::Drop);
            return Err(PushError::Full);
        }
        end.core.forward(packet, edit, self.chunks).map_err(|error| match error {
            SendError::Ending => PushError::NoLink,
            SendError::Full(_) => PushError::Full,
            SendError::Wire(_) => PushError::TrailerFull,
        })?;
        self.touched.insert(link);
        // Once more, for the oracles: what the queue has of it is among other frames.
        let mut after = vec![0; FRAME_HEADER_BYTES];
        packet::emit_forwarded(packet, edit, &mut after).map_err(|_| PushError::TrailerFull)?;
        if finish_frame(FrameKind::Packet, 0, &mut after).is_err() {
            return Err(PushError::TrailerFull);
        }
        let seen = Observation::Forwarded { here: self.address, to, packet, edit, after: &after };
        self.watch.see(self.now, self.node, &seen);
        if self.net.duplicates() && end.core.forward(packet, edit, self.chunks).is_ok() {
            self.net.count(Effect::Duplication);
            self.watch.see(self.now, self.node, &Observation::Duplicated { packet });
        }
        Ok(())
    }

    fn deliver(&mut self, _: PayloadKind, packet: &PacketRef<'_>) {
        self.wishes.delivered.push(packet.bytes().to_vec());
    }

    fn returned(&mut self, report: Undeliverable) {
        self.wishes.returned.push(report);
    }

    fn count(&mut self, count: Count) {
        self.watch.count(count);
    }

    fn packet_id(&mut self) -> u64 {
        self.net.random()
    }
}

impl World {
    /// What becomes of a packet that came over a link
    pub fn forward(&mut self, id: NodeId, link: u64, packet: &PacketBytes) {
        let packet = packet.as_ref();
        self.processors.spend(FRAME);
        self.watch.see(self.queue.now(), id, &Observation::Arrived { packet: &packet });
        if self.drops_as_liar(id, &packet) {
            return;
        }
        let now = self.local(id);
        self.drive_forwarder(id, LinkId(link), |forwarder, links| {
            let from = forwarder.neighbour_on(LinkId(link));
            // Copied out and back: the forwarder is lent all links, this one among them.
            let mut allowance = links.ends.get(&link).map(|end| end.reports).unwrap_or_default();
            forwarder.handle_packet(links, &packet, from, &mut allowance, now);
            if let Some(end) = links.ends.get_mut(&link) {
                end.reports = allowance;
            }
        });
    }

    /// What becomes of a packet that starts at a peer
    pub fn originate(&mut self, id: NodeId, packet: PacketBytes, avoid: &[Address]) {
        let (now, mut first_hop) = (self.local(id), None);
        self.drive_forwarder(id, LinkId(0), |forwarder, links| {
            first_hop = forwarder.originate(links, &packet.as_ref(), avoid, now);
        });
        let Some(peer) = self.node_mut(id).peer_mut() else { return };
        match first_hop {
            Some(first_hop) => peer.stack.handle_sent(packet.as_ref().header().id, &first_hop),
            None => peer.stack.handle_unsent(now, packet),
        }
    }

    /// The peer forwards by other routes from now on
    pub fn set_routes(&mut self, id: NodeId, routes: Option<NewRoutes>) {
        let now = self.local(id);
        self.drive_forwarder(id, LinkId(0), |forwarder, links| forwarder.set_routes(links, routes, now));
    }

    /// Lets the peer's forwarder do something with what came over `link`, and then does what that wants
    fn drive_forwarder(
        &mut self,
        id: NodeId,
        link: LinkId,
        run: impl FnOnce(&mut Forwarder<Target>, &mut SimLinks<'_>),
    ) {
        let now = self.queue.now();
        let Self { nodes, net, watch, chunks, .. } = self;
        let Node { process, ends, touched, .. } = &mut nodes[id.index()];
        let Some(super::node::Process::Peer(peer)) = process else { return };
        let forwarder = &mut peer.forwarder;
        let address = forwarder.routes().map_or(Address(0), |routes| routes.own());
        let mut links =
            SimLinks { ends, touched, chunks, now, node: id, address, net, watch, wishes: Wishes::default() };
        run(forwarder, &mut links);
        let (wishes, from) = (links.wishes, forwarder.neighbour_on(link));
        self.carry_out(id, link, from, wishes);
    }

    fn carry_out(&mut self, id: NodeId, link: LinkId, from: Option<Address>, wishes: Wishes) {
        let local = self.local(id);
        for bytes in wishes.delivered {
            let Ok(packet) = PacketRef::parse(&bytes) else { continue };
            self.watch.see(self.queue.now(), id, &Observation::Delivered { packet: &packet });
            if let Some(peer) = self.node_mut(id).peer_mut() {
                peer.stack.handle_packet(local, link, from, &packet);
            }
        }
        for report in wishes.returned {
            if let Some(peer) = self.node_mut(id).peer_mut() {
                peer.stack.handle_undeliverable(local, &report);
            }
        }
    }
}
