//! While no supernode runs, living peers go on, and close the gaps that dead ones leave.
//!
//! Source: the promise for zero supernodes. Of the messages between peers that live, at least 99 % arrive, though others
//! crash; a peer that starts meanwhile is back among its last neighbours soon; and once nobody has come or gone for a
//! while, those who live are linked as the definition says of them alone.
//!
//! Nobody is told of who moves to another place on the ring, or to another port as it starts again, but by a supernode. So
//! whoever has moved is no receiver that counts, and those who have started again need not be linked with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::{Address, MessageId};
use kith_common::lift::{self, Maps};
use kith_common::peer::PeerOutput;
use kith_common::ring::Ring;
use kith_common::status::Status;
use kith_common::time::Instant;

use crate::mesh::config::MeshConfig;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::users::{machine_of, name_of};
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// After so long without a change somebody counts as living, and an outage as one: noticing, asking, dialling
const SETTLED: Duration = Duration::from_secs(30);
/// From the last coming or going to tables that are whole again, as far as anybody can know: 5 s until a dead peer is given
/// up, a question to each neighbour and its answer, a dial
const HEALED: Duration = Duration::from_secs(45);
/// From a start to the return: 5 s of searching, as long for a dial or two to neighbours that are cut off, the wait before
/// each is tried again, and what slow clocks and a step add
const RETURNED: Duration = Duration::from_secs(45);
/// Messages that tell a share
const MESSAGES_MIN: u64 = 100;

/// What is known of outages
#[derive(Debug)]
pub(crate) struct Outages {
    supernodes: u32,
    running: BTreeSet<NodeId>,
    /// Since when no supernode has run
    since: Option<Instant>,
    /// When a peer last came or went, or was told to
    changed: Instant,
    /// Since when each peer lives: it runs, and takes itself for a member
    living: BTreeMap<NodeId, Instant>,
    /// When each was started, if it had been in the network before, and has not been in it since
    started: BTreeMap<NodeId, Instant>,
    /// Who has been in the network, and was not told to leave it
    been: BTreeSet<NodeId>,
    /// Where each was on the ring, and who has moved
    places: BTreeMap<NodeId, Address>,
    moved: BTreeSet<NodeId>,
    /// Messages between the living that have no fate yet
    sends: BTreeMap<MessageId, [NodeId; 2]>,
    arrived: u64,
    lost: Vec<String>,
}

impl Outages {
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self {
            supernodes: config.supernodes,
            running: BTreeSet::new(),
            since: None,
            changed: Instant::ZERO,
            living: BTreeMap::new(),
            started: BTreeMap::new(),
            been: BTreeSet::new(),
            places: BTreeMap::new(),
            moved: BTreeSet::new(),
            sends: BTreeMap::new(),
            arrived: 0,
            lost: Vec::new(),
        }
    }

    fn is_settled(&self, now: Instant, node: NodeId) -> bool {
        self.living.get(&node).is_some_and(|since| now - *since >= SETTLED)
    }

    fn go(&mut self, now: Instant, node: NodeId) {
        self.changed = now;
        self.living.remove(&node);
        self.started.remove(&node);
        self.sends.retain(|_, ends| !ends.contains(&node));
    }

    /// Whether the links between the living are those of the definition
    fn check_links(&self, world: &World) -> Result<(), String> {
        let peers = || self.living.keys().filter_map(|id| Some((world.node(*id), world.node(*id).peer()?.core.own()?)));
        let places: BTreeMap<Address, &Node> = peers().map(|(node, own)| (own.address, node)).collect();
        let ring: Ring = places.keys().copied().collect();
        let none: BTreeSet<(Address, Address)> = BTreeSet::new();
        let graph = lift::graph(&ring, &Maps::of_degree(world.config.degree), &none);
        for (place, table) in graph {
            let Some(node) = places.get(&place) else { continue };
            let live: BTreeSet<Address> = node
                .peer()
                .into_iter()
                .flat_map(|peer| peer.core.neighbourhood().live_links())
                .map(|(address, _)| address)
                .collect();
            let missing = table.iter().filter(|other| !live.contains(other)).filter_map(|other| places.get(other));
            let is_findable = |other: &&&Node| node.life == 1 && other.life == 1;
            if let Some(other) = missing.into_iter().find(is_findable) {
                return Err(format!(
                    "{} and {} are to be neighbours without a supernode, and have no link",
                    node.name, other.name
                ));
            }
        }
        Ok(())
    }
}

impl Oracle for Outages {
    fn name(&self) -> &'static str {
        "outages"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        let is_supernode = node.0 < self.supernodes;
        match seen {
            Observation::Started if is_supernode => {
                self.running.insert(node);
                self.since = None;
                self.sends.clear();
                self.started.clear();
            }
            Observation::Killed if is_supernode => {
                self.running.remove(&node);
                if self.running.is_empty() {
                    self.since = Some(now);
                }
            }
            Observation::Started => {
                self.go(now, node);
                if self.been.contains(&node) {
                    self.started.insert(node, now);
                }
            }
            Observation::Killed => self.go(now, node),
            Observation::Wants(_) | Observation::Removing => {
                self.go(now, node);
                self.been.remove(&node);
            }
            Observation::Peer(PeerOutput::LoggedIn) => _ = self.been.insert(node),
            Observation::Asked { id, to, .. } => {
                let is_outage = self.since.is_some_and(|since| now - since >= SETTLED);
                let counts = |other: &NodeId| *other != node && is_outage && !self.moved.contains(other);
                if let Some(other) = machine_of(to).filter(counts)
                    && self.is_settled(now, node)
                    && self.is_settled(now, other)
                {
                    self.sends.insert(*id, [node, other]);
                }
            }
            Observation::Peer(PeerOutput::Done(outcome)) => {
                let fate = &outcome.fate;
                match (self.sends.remove(&fate.id), fate.status) {
                    // An in-box or an out-box was full.
                    (None, _) | (_, Status::SlowDown | Status::TooLarge) => {}
                    // What there is not to call fails when it is called.
                    (_, Status::Delivered | Status::Accepted | Status::Failed) => self.arrived += 1,
                    (_, status) => {
                        self.lost.push(format!("from {} to {} at {now:?}: {status}", name_of(node.0), fate.to));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        for node in world.peers() {
            let Some(place) = node.peer().and_then(|peer| peer.core.own()).map(|own| own.address) else { continue };
            if self.places.insert(node.id, place).is_some_and(|before| before != place) {
                self.moved.insert(node.id);
            }
        }
        let lives = |node: &Node| node.runs() && node.peer().is_some_and(|peer| peer.core.own().is_some());
        for node in world.peers() {
            match (lives(node), self.living.contains_key(&node.id)) {
                (true, false) => {
                    self.living.insert(node.id, now);
                    self.started.remove(&node.id);
                    self.changed = now;
                }
                (false, true) => self.go(now, node.id),
                _ => {}
            }
        }
        let Some(since) = self.since else { return Ok(()) };
        if let Some((node, at)) = self.started.iter().find(|(_, at)| now - **at > RETURNED && now - since > RETURNED) {
            return Err(format!("{} has started {:?} ago, and is not back", name_of(node.0), now - *at));
        }
        let is_whole = !world.net.is_cut() && now - since >= HEALED && now - self.changed >= HEALED;
        if is_whole { self.check_links(world) } else { Ok(()) }
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        let (lost, arrived) = (self.lost.len() as u64, self.arrived);
        if lost + arrived >= MESSAGES_MIN && lost * 100 > lost + arrived {
            let all = lost + arrived;
            return Err(format!(
                "of {all} messages between the living {lost} did not arrive: {}",
                self.lost.join("; ")
            ));
        }
        Ok(())
    }
}
