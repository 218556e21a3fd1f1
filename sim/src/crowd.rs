//! A crowd of peers that log in, leave and come again, beside those that stay: for the runs in which more want to be let in
//! than can be.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::Address;
use kith_common::time::Instant;
use kith_common::wire::Frame;

use crate::mesh::node::NodeId;
use crate::mesh::users::Deed;
use crate::mesh::world::World;

/// Those that come and go
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) peers: Vec<NodeId>,
    /// How long one stays in before it leaves
    stay: Duration,
    /// How long it is away then
    away: Duration,
    /// Since when each is in
    inside: BTreeMap<NodeId, Instant>,
}

impl Crowd {
    /// Nobody is in
    pub(crate) fn new(peers: Vec<NodeId>, stay: Duration, away: Duration) -> Self {
        Self { peers, stay, away, inside: BTreeMap::new() }
    }

    /// Whoever has been in for long enough goes, and comes again
    pub(crate) fn come_and_go(&mut self, world: &mut World) {
        let now = world.now();
        for node in &self.peers {
            if !is_in(world, *node) {
                self.inside.remove(node);
            } else if now - *self.inside.entry(*node).or_insert(now) >= self.stay {
                self.inside.remove(node);
                world.handle_deed(*node, Deed::LogOut(self.away));
            }
        }
    }
}

/// Whether a peer runs, and is logged in with a home link
pub(crate) fn is_in(world: &World, node: NodeId) -> bool {
    let is_linked = world.node(node).peer().is_some_and(|peer| peer.core().home_link().is_some());
    world.node(node).runs() && is_linked && place(world, node).is_some()
}

/// Where each of these is, by its session
pub(crate) fn places(world: &World, peers: &[NodeId]) -> BTreeMap<NodeId, Address> {
    peers.iter().filter_map(|node| Some((*node, place(world, *node)?))).collect()
}

fn place(world: &World, node: NodeId) -> Option<Address> {
    world.node(node).place()
}

/// What is asked in a session, and has an answer
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    Renewal,
    /// Of this number
    LookUp(u64),
}

impl Question {
    /// The question that a frame asks, if it does
    pub(crate) const fn asked_by(frame: &Frame) -> Option<Self> {
        match frame {
            Frame::Renew(_) => Some(Self::Renewal),
            Frame::LookUp(look_up) => Some(Self::LookUp(look_up.query)),
            _ => None,
        }
    }

    /// The question that a frame answers, if it does
    pub(crate) const fn answered_by(frame: &Frame) -> Option<Self> {
        match frame {
            Frame::Renewed(_) => Some(Self::Renewal),
            Frame::Found(found) => Some(Self::LookUp(found.query)),
            _ => None,
        }
    }
}
