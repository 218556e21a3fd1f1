//! Packets at a peer: decided by the product's own forwarder, carried by the simulated links.

use std::collections::VecDeque;

use kith_common::id::Address;
use kith_common::link::{LinkId, NewRoutes};
use kith_common::routing::forward::{self, Count, Here, Links, PushError};
use kith_common::wire::content::Undeliverable;
use kith_common::wire::packet::{self, Edit, PacketRef};
use kith_common::wire::{FRAME_HEADER_BYTES, FrameKind, PacketBytes, Priority, finish_frame};

use super::faults::Effect;
use super::net::Network;
use super::node::{Node, NodeId};
use super::watch::{Observation, Watch};
use super::world::World;

/// What the forwarder wants done, once it is done
#[derive(Default)]
struct Wishes {
    pushed: VecDeque<(u64, Vec<u8>, Priority)>,
    delivered: Vec<Vec<u8>>,
    returned: Vec<Undeliverable>,
}

struct SimLinks<'a> {
    targets: &'a [(Address, LinkId)],
    is_open: &'a dyn Fn(u64) -> bool,
    now: kith_common::time::Instant,
    node: NodeId,
    address: Address,
    net: &'a mut Network,
    watch: &'a mut Watch,
    wishes: Wishes,
}

impl Links for SimLinks<'_> {
    fn push(&mut self, to: Address, packet: &PacketRef<'_>, edit: &mut Edit) -> Result<(), PushError> {
        let target = self.targets.iter().find(|(address, _)| *address == to).map(|(_, link)| link.0);
        let link = target.filter(|link| (self.is_open)(*link)).ok_or(PushError::NoLink)?;
        if self.net.drops() {
            self.net.count(Effect::Drop);
            return Err(PushError::Full);
        }
        let mut body = vec![0; FRAME_HEADER_BYTES];
        packet::emit_forwarded(packet, edit, &mut body).map_err(|_| PushError::TrailerFull)?;
        if finish_frame(FrameKind::Packet, 0, &mut body).is_err() {
            return Err(PushError::TrailerFull);
        }
        self.watch.see(
            self.now,
            self.node,
            &Observation::Forwarded { here: self.address, to, packet, edit, after: &body },
        );
        let priority = packet.header().class.priority();
        if self.net.duplicates() {
            self.net.count(Effect::Duplication);
            self.watch.see(self.now, self.node, &Observation::Duplicated { packet });
            self.wishes.pushed.push_back((link, body.clone(), priority));
        }
        self.wishes.pushed.push_back((link, body, priority));
        Ok(())
    }

    fn deliver(&mut self, packet: &PacketRef<'_>) {
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
        self.watch.see(self.queue.now(), id, &Observation::Arrived { packet: &packet });
        let from = self.node(id).peer().and_then(|peer| peer.neighbour_on(link));
        let wishes = self.with_forwarder(
            id,
            |parts, links| {
                let Parts { here, cache, limbo, allowance, now } = parts;
                match here {
                    Some(here) => forward::forward(here, cache, limbo, links, &packet, from, allowance, now),
                    None => links.count(Count::DroppedNotNeighbour),
                }
            },
            Some(link),
        );
        self.carry_out(id, link, from, wishes);
    }

    /// The peer forwards by other routes from now on
    pub fn set_routes(&mut self, id: NodeId, routes: Option<NewRoutes>) {
        let Some(peer) = self.node_mut(id).peer_mut() else { return };
        peer.routes = routes;
        if peer.limbo.is_empty() {
            return;
        }
        let wishes = self.with_forwarder(
            id,
            |parts, links| {
                let Parts { here, cache, limbo, now, .. } = parts;
                forward::release_limbo(here, cache, limbo, links, now);
            },
            None,
        );
        self.carry_out(id, 0, None, wishes);
    }

    fn with_forwarder(
        &mut self,
        id: NodeId,
        run: impl FnOnce(Parts<'_>, &mut SimLinks<'_>),
        link: Option<u64>,
    ) -> Wishes {
        let (local, true_now) = (self.local(id), self.queue.now());
        let Self { nodes, net, watch, .. } = self;
        let Node { process, ends, .. } = &mut nodes[id.index()];
        let Some(super::node::Process::Peer(peer)) = process else { return Wishes::default() };
        let super::node::PeerProcess { routes, cache, limbo, .. } = &mut **peer;
        let mut allowance = link.and_then(|link| ends.get(&link)).map(|end| end.reports);
        let here =
            routes.as_ref().map(|routes| Here { routes: &routes.routes, address: routes.address, name: &routes.name });
        let is_open = |link: u64| ends.contains_key(&link);
        let mut links = SimLinks {
            targets: routes.as_ref().map_or(&[], |routes| &routes.links),
            is_open: &is_open,
            now: true_now,
            node: id,
            address: routes.as_ref().map_or(Address(0), |routes| routes.address),
            net,
            watch,
            wishes: Wishes::default(),
        };
        run(Parts { here: here.as_ref(), cache, limbo, allowance: allowance.as_mut(), now: local }, &mut links);
        let wishes = links.wishes;
        if let (Some(allowance), Some(end)) = (allowance, link.and_then(|link| ends.get_mut(&link))) {
            end.reports = allowance;
        }
        wishes
    }

    fn carry_out(&mut self, id: NodeId, link: u64, from: Option<Address>, wishes: Wishes) {
        for (link, body, priority) in wishes.pushed {
            self.send_bytes(id, link, body, priority, true);
        }
        let local = self.local(id);
        for bytes in wishes.delivered {
            let Ok(packet) = PacketRef::parse(&bytes) else { continue };
            self.watch.see(self.queue.now(), id, &Observation::Delivered { packet: &packet });
            if let Some(peer) = self.node_mut(id).peer_mut() {
                peer.core.handle_packet(local, LinkId(link), from, &packet);
            }
        }
        for report in wishes.returned {
            if let Some(peer) = self.node_mut(id).peer_mut() {
                peer.core.handle_undeliverable(local, &report);
            }
        }
    }
}

struct Parts<'a> {
    /// None: it is logged out
    here: Option<&'a Here<'a>>,
    cache: &'a mut kith_common::routing::RouteCache,
    limbo: &'a mut forward::Limbo,
    allowance: Option<&'a mut forward::Allowance>,
    now: kith_common::time::Instant,
}
