//! What a forwarder chooses is what its routes say, and its routes are what its peer knows.
//!
//! Source: the forwarding rules. A next hop is a neighbour whose link is up; a dead one that would have been chosen is
//! noted in the packet once; whoever finds the link to the destination itself down notes the destination, and at the
//! second such note the search is over. What a forwarder remembers of an earlier decision is what it would decide anew.
//!
//! Peers with a link that is down are asked what they would do with packets that could come, as few that do come meet it.

use kith_common::id::{Address, ShortId};
use kith_common::peer::PeerOutput;
use kith_common::routing::forward::NewRoutes;
use kith_common::routing::{Decision, RouteCache, Routes};
use kith_common::time::Instant;
use kith_common::wire::content::Cause;
use kith_common::wire::packet::{Edit, Header, Mark, PacketRef, emit_forwarded, new_packet};
use kith_common::wire::{Frame, PacketBytes};

use super::per_node::PerNode;
use super::truth::is_logged_in;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// In each step one of so many peers is asked what it forwards by: what is not published stays so for longer
const TURNS: usize = 4;
/// Peers with a link that is down that are asked in each step
const ASKED_MAX: usize = 2;

/// What every forwarder forwards by
#[derive(Debug, Default)]
pub(crate) struct Choices {
    routes: PerNode<Option<NewRoutes>>,
    /// The packet that a peer has just got, and from whom; nobody else's routes count for it
    arrived: Option<(NodeId, PacketBytes, Address)>,
    /// Destinations that are asked for, one after the other
    turn: usize,
    steps: usize,
}

impl Oracle for Choices {
    fn name(&self) -> &'static str {
        "choices"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started | Observation::Killed => {
                *self.routes.of(node) = None;
            }
            Observation::Peer(PeerOutput::Routes(routes)) => {
                self.arrived = None;
                *self.routes.of(node) = routes.as_deref().cloned();
            }
            Observation::Received { link, frame: Frame::Packet(packet) } => {
                let links = self.routes.of(node).as_ref().map(|routes| routes.links.as_slice()).unwrap_or_default();
                let from = links.iter().find(|(_, id)| id.0 == *link).map(|(address, _)| *address);
                self.arrived = from.map(|from| (node, packet.clone(), from));
            }
            Observation::Forwarded { to, packet, .. } => {
                // Reports are of another id than what came, and what was in limbo came before.
                let Some((_, came, from)) = self.arrived.take_if(|(at, ..)| *at == node) else { return Ok(()) };
                let Some(routes) = self.routes.of(node).as_ref().filter(|_| came.as_ref().bytes() == packet.bytes())
                else {
                    return Ok(());
                };
                let anew = routes.routes.decide(&mut RouteCache::new(), packet, Some(from), now);
                if !matches!(&anew, Decision::Forward { to: hop, .. } | Decision::Back { to: hop, .. } if hop == to) {
                    let id = packet.header().id;
                    return Err(format!("packet {id:016x} went to {to}, and would now be decided anew: {anew:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let present = || world.peers().filter(|node| is_logged_in(node));
        self.steps += 1;
        for node in present().filter(|node| (node.id.index() + self.steps).is_multiple_of(TURNS)) {
            let Some(peer) = node.peer() else { continue };
            let Some(routes) = peer.forwarder.routes() else { continue };
            let mut links: Vec<_> = peer.forwarder.links().collect();
            links.sort_unstable();
            if !peer.core().neighbourhood().live_links().eq(links) {
                return Err(format!("{} forwards over other links than those that are up", node.name));
            }
            if peer.core().neighbourhood().views() != routes.views() {
                return Err(format!("{} forwards by other tables than those that its neighbours told last", node.name));
            }
        }
        let places: Vec<Address> = present().filter_map(|node| node.place()).collect();
        let has_gap = |routes: &NewRoutes| routes.routes.views().iter().any(|view| !view.up);
        let all = self.routes.iter().filter_map(|(node, routes)| Some((node, routes.as_ref()?)));
        let with_gaps = all.filter(|(_, routes)| has_gap(routes));
        let count = with_gaps.clone().count();
        for (node, routes) in with_gaps.cycle().skip(self.turn % count.max(1)).take(ASKED_MAX.min(count)) {
            self.turn += 1;
            let destinations = places.get(self.turn % places.len().max(1)).copied();
            let gone = routes.routes.views().iter().filter(|view| !view.up).map(|view| view.address);
            for destination in gone.chain(destinations) {
                ask(world.now(), &routes.routes, destination).map_err(|why| format!("{}: {why}", name_of(node.0)))?;
            }
        }
        Ok(())
    }
}

/// What a peer would do with a packet to `destination` that comes from a neighbour
fn ask(now: Instant, routes: &Routes, destination: Address) -> Result<(), String> {
    let Some(source) = routes.views().iter().find(|view| view.up && view.address != destination) else { return Ok(()) };
    let source = source.address;
    let mut cache = RouteCache::new();
    let mut decide = |bytes: &[u8]| match PacketRef::parse(bytes) {
        Ok(packet) => Ok(routes.decide(&mut cache, &packet, Some(source), now)),
        Err(error) => Err(format!("no packet: {error}")),
    };
    let fresh = packet(source, destination, &[])?;
    let first = decide(&fresh)?;
    let (Decision::Forward { edit, .. } | Decision::Back { edit, .. }) = &first else { return Ok(()) };
    let is_up = |address: Address| routes.view(address).is_some_and(|view| view.up);
    if let Decision::Forward { to, .. } = &first
        && !is_up(*to)
    {
        return Err(format!("a packet to {destination} would go to {to}, to whom the link is down"));
    }
    // Whom a peer never saw it does not miss.
    let is_seen = !routes.unseen().contains(&destination);
    let is_missed = is_seen && routes.view(destination).is_some_and(|view| !view.up);
    if is_missed && !edit.dead.contains(&destination.short()) {
        return Err(format!("a packet to {destination} would not note that this neighbour is gone: {first:?}"));
    }
    let again = decide(&packet(source, destination, &edit.dead)?)?;
    if is_missed && !matches!(again, Decision::Undeliverable { cause: Cause::DestinationDown }) {
        return Err(format!("a packet to {destination}, which two found gone, would search on: {again:?}"));
    }
    if let Decision::Forward { edit: twice, .. } | Decision::Back { edit: twice, .. } = &again
        && let Some(dead) = twice.dead.iter().find(|dead| edit.dead.contains(dead))
    {
        return Err(format!("a packet to {destination} would note {dead:?}, which is gone, once more"));
    }
    Ok(())
}

/// A packet on which somebody has noted these
fn packet(source: Address, destination: Address, dead: &[ShortId]) -> Result<Vec<u8>, String> {
    let bytes = new_packet(&Header::new(source, destination, 7), &[]).map_err(|error| error.to_string())?;
    if dead.is_empty() {
        return Ok(bytes);
    }
    let mut noted = Vec::new();
    let edit = Edit { dead: dead.into(), way: Some((Mark::Way, source.short())), ..Edit::default() };
    let packet = PacketRef::parse(&bytes).map_err(|error| error.to_string())?;
    emit_forwarded(&packet, &edit, &mut noted).map_err(|error| error.to_string())?;
    Ok(noted)
}
