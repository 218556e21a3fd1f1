//! While no supernode runs, living peers go on, and close the gaps that dead ones leave.
//!
//! Source: the promise for zero supernodes. Of the messages between peers that live, at least 99 % arrive, though others
//! crash; a peer that starts meanwhile is back among its last neighbours soon; and once nobody has come or gone for a
//! while, those who live are linked as the definition says of them alone. While too few supernodes run to agree on anything,
//! as many arrive between peers that have a way of links to each other: tables stay as they were then, so that somebody
//! whose neighbours have all left has none.
//!
//! Nobody is told of who moves to another place on the ring, or to another port as it starts again, but by a supernode. So
//! whoever has moved is no receiver that counts, and those who have started again need not be linked with each other; who
//! listens elsewhere than before, and whose last neighbours all do, has lost touch. Ways that are cut must be free again for as
//! long as healing takes; whom a supernode has parted stays so, as only a supernode brings them together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::{Address, MessageId, Name};
use kith_common::lift::{self, Maps};
use kith_common::mail::Outcome;
use kith_common::peer::PeerOutput;
use kith_common::ring::Ring;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::session::Record;
use kith_transport::stack::Why;

use super::truth::{is_alive, live_links};
use crate::mesh::config::MeshConfig;
use crate::mesh::node::{End, Node, NodeId};
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
/// After so long without a quorum nobody takes a home for its own that is dead
const WITHOUT_QUORUM: Duration = Duration::from_secs(5);
/// So long after the last supernode has gone peers may not have asked yet who their neighbours' neighbours are: 3 s without a
/// home, and a question. Whoever is lost by then takes along what it alone could say of two of its neighbours
const ASKED: Duration = Duration::from_secs(6);
/// Messages that tell a share
const MESSAGES_MIN: u64 = 100;
/// So many may be lost of any number: two of 150 are no share
const LOST_MAX: u64 = 2;

/// What is known of outages
#[derive(Debug)]
pub(crate) struct Outages {
    supernodes: u32,
    running: BTreeSet<NodeId>,
    /// Since when no supernode has run
    since: Option<Instant>,
    /// Since when nothing can be agreed on, though some supernode may run
    unled: Option<Instant>,
    /// When a peer last came or went, or was told to
    changed: Instant,
    /// When a way between two of them was last cut
    cut: Option<Instant>,
    /// Since when each peer lives: it runs, and takes itself for a member
    living: BTreeMap<NodeId, Instant>,
    /// When each was started, if it had been in the network before, and has not been in it since
    started: BTreeMap<NodeId, Instant>,
    /// Who had links with whom when the last supernode had just gone, and who was lost within [`ASKED`]
    tables: BTreeMap<NodeId, BTreeSet<NodeId>>,
    lost_early: BTreeSet<NodeId>,
    /// Who has been in the network, and was not told to leave it
    been: BTreeSet<NodeId>,
    /// Where each was on the ring, and who has moved
    places: BTreeMap<NodeId, Address>,
    moved: BTreeSet<NodeId>,
    /// The port at which each listened when a supernode was last told
    ports: BTreeMap<NodeId, u16>,
    /// Who has lost touch: it listens elsewhere than anybody was told, and so do all of whom it was told itself
    strays: BTreeSet<NodeId>,
    /// Without a quorum: to which part of the mesh each belongs, by the links that there are
    parts: BTreeMap<NodeId, NodeId>,
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
            unled: None,
            changed: Instant::ZERO,
            cut: None,
            living: BTreeMap::new(),
            started: BTreeMap::new(),
            tables: BTreeMap::new(),
            lost_early: BTreeSet::new(),
            been: BTreeSet::new(),
            places: BTreeMap::new(),
            moved: BTreeSet::new(),
            ports: BTreeMap::new(),
            strays: BTreeSet::new(),
            parts: BTreeMap::new(),
            sends: BTreeMap::new(),
            arrived: 0,
            lost: Vec::new(),
        }
    }

    fn is_settled(&self, now: Instant, node: NodeId) -> bool {
        self.living.get(&node).is_some_and(|since| now - *since >= SETTLED)
    }

    /// Whether it has lasted for long enough that there is no supernode, or no quorum
    fn is_outage(&self, now: Instant) -> bool {
        let lasts = |since: Option<Instant>, settled| since.is_some_and(|since| now - since >= settled);
        lasts(self.since, SETTLED) || (!self.is_healing() && lasts(self.unled, WITHOUT_QUORUM))
    }

    /// Whether all supernodes went at once: then gaps are closed, and who has no links should have some
    fn is_healing(&self) -> bool {
        self.since.is_some_and(|since| self.unled.is_none_or(|unled| unled >= since))
    }

    /// Whether there are links from one to the other, if there need not be
    fn is_linked(&self, now: Instant, [one, other]: [NodeId; 2]) -> bool {
        let was_cut = self.cut.is_some_and(|at| now - at < HEALED);
        let are_in_touch = !was_cut && ![one, other].iter().any(|end| self.strays.contains(end));
        (self.is_healing() && are_in_touch)
            || self.parts.get(&one).is_some_and(|part| self.parts.get(&other) == Some(part))
    }

    /// Whether any two of those who live cannot reach each other
    fn are_any_apart(&self, world: &World) -> bool {
        let is_cut = |one, other| world.net.is_blocked(one, other) || world.net.is_blocked(other, one);
        let living: Vec<NodeId> = self.living.keys().copied().collect();
        let mut rests = (1..=living.len()).zip(&living);
        rests.any(|(next, one)| living.iter().skip(next).any(|other| is_cut(*one, *other)))
    }

    /// Looks who has lost touch with the others
    fn look_for_strays(&mut self, world: &World) {
        self.strays.clear();
        for node in world.peers() {
            let Some(core) = node.peer().map(|peer| peer.core()) else { continue };
            let port = world.port_of(node.id);
            if core.home_link().is_some() {
                self.ports.insert(node.id, port);
            }
            let has_moved = self.ports.get(&node.id).is_some_and(|told| *told != port);
            if !has_moved || live_links(world, node).next().is_some() {
                continue;
            }
            let neighbourhood = core.neighbourhood();
            let neighbours = neighbourhood.neighbours().into_iter();
            let mut told = neighbours.filter_map(|known| neighbourhood.find(&known.name)?.1);
            let is_there = |record: Record| record.locations.iter().any(|location| world.is_listened_at(location));
            if !told.any(is_there) {
                self.strays.insert(node.id);
            }
        }
    }

    /// Looks which parts the mesh has
    fn part(&mut self, world: &World) {
        self.parts.clear();
        let is_alive = |node: &Node, end: &End| node.runs() && is_alive(world, end);
        for first in world.peers().filter(|node| node.runs()) {
            let mut next = vec![first];
            while let Some(node) = next.pop() {
                if self.parts.contains_key(&node.id) {
                    continue;
                }
                self.parts.insert(node.id, first.id);
                let links = live_links(world, node).filter(|(_, end, _)| is_alive(node, end));
                next.extend(links.map(|(_, _, other)| world.node(other)));
            }
        }
    }

    /// Whether nearly all messages between the living have arrived
    fn judge_messages(&self) -> Result<(), String> {
        let (lost, arrived) = (self.lost.len() as u64, self.arrived);
        if lost > LOST_MAX && lost + arrived >= MESSAGES_MIN && lost * 100 > lost + arrived {
            let all = lost + arrived;
            return Err(format!(
                "of {all} messages between the living {lost} did not arrive: {}",
                self.lost.join("; ")
            ));
        }
        Ok(())
    }

    /// What has become of a message of somebody
    fn finish(&mut self, now: Instant, node: NodeId, (id, to): (&MessageId, &Name), status: Status) {
        match (self.sends.remove(id), status) {
            // An in-box or an out-box was full.
            (None, _) | (_, Status::SlowDown | Status::TooLarge) => {}
            // What there is not to call fails when it is called.
            (_, Status::Delivered | Status::Accepted | Status::Failed) => self.arrived += 1,
            (_, status) => self.lost.push(format!("from {} to {to} at {now:?}: {status}", name_of(node.0))),
        }
    }

    fn go(&mut self, now: Instant, node: NodeId) {
        self.changed = now;
        if self.is_early(now) {
            self.lost_early.insert(node);
        }
        self.living.remove(&node);
        self.started.remove(&node);
        self.sends.retain(|_, ends| !ends.contains(&node));
    }

    /// Whether nobody may have asked yet who stands behind its neighbours
    fn is_early(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now - since < ASKED)
    }

    /// Whether somebody who was lost early was a neighbour of both, so that neither may ever have heard where the other is
    fn has_lost_both(&self, one: NodeId, other: NodeId) -> bool {
        let tables = self.lost_early.iter().filter_map(|lost| self.tables.get(lost));
        tables.into_iter().any(|table| table.contains(&one) && table.contains(&other))
    }

    /// Whether the links between the living are those of the definition
    fn check_links(&self, world: &World) -> Result<(), String> {
        let peers =
            || self.living.keys().filter_map(|id| Some((world.node(*id), world.node(*id).peer()?.core().own()?)));
        let places: BTreeMap<Address, &Node> = peers().map(|(node, own)| (own.address, node)).collect();
        let ring: Ring = places.keys().copied().collect();
        let told = peers().filter_map(|(node, own)| Some((own.address, node.peer()?.core())));
        let parted = told.flat_map(|(own, core)| core.neighbourhood().parted_from().map(move |other| (own, other)));
        let parted: BTreeSet<_> = parted.flat_map(|(own, other)| [(own, other), (other, own)]).collect();
        let maps = Maps::of_degree(world.config.degree);
        // Perhaps only one end has heard that they are parted, and the other one is right to have its link: who is to be
        // linked either way must be.
        let whole = lift::graph(&ring, &maps, &BTreeSet::new());
        for (place, mut table) in lift::graph(&ring, &maps, &parted) {
            table.retain(|other| whole.get(&place).is_some_and(|table| table.contains(other)));
            let Some(node) = places.get(&place) else { continue };
            let live: BTreeSet<Address> = node
                .peer()
                .into_iter()
                .flat_map(|peer| peer.core().neighbourhood().live_links())
                .map(|(address, _)| address)
                .collect();
            let missing = table.iter().filter(|other| !live.contains(other)).filter_map(|other| places.get(other));
            let is_findable =
                |other: &&&Node| node.life == 1 && other.life == 1 && !self.has_lost_both(node.id, other.id);
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
                self.tables.clear();
                self.lost_early.clear();
            }
            Observation::Killed if is_supernode => {
                self.running.remove(&node);
                if self.running.is_empty() {
                    self.since = Some(now);
                }
            }
            Observation::Quorum(is_there) => {
                self.unled = (!is_there).then_some(now);
                if *is_there {
                    self.sends.clear();
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
            Observation::Asked { id, to, .. } | Observation::Sending { id, to, .. } => {
                let is_outage = self.is_outage(now);
                let counts = |other: &NodeId| *other != node && is_outage && !self.moved.contains(other);
                if let Some(other) = machine_of(to).filter(counts)
                    && self.is_settled(now, node)
                    && self.is_settled(now, other)
                    && self.is_linked(now, [node, other])
                {
                    self.sends.insert(*id, [node, other]);
                }
            }
            Observation::Peer(PeerOutput::Done(Outcome { fate, .. })) => {
                self.finish(now, node, (&fate.id, &fate.to), fate.status);
            }
            // It may have arrived long before.
            Observation::Ended(fate) if fate.reason == Why::TakenBack => drop(self.sends.remove(&fate.id)),
            Observation::Ended(fate) => self.finish(now, node, (&fate.id, &fate.to), fate.status),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        for node in world.peers() {
            let Some(place) = node.place() else { continue };
            if self.places.insert(node.id, place).is_some_and(|before| before != place) {
                self.moved.insert(node.id);
            }
        }
        let lives = |node: &Node| node.runs() && node.peer().is_some_and(|peer| peer.core().own().is_some());
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
        if world.net.is_cut() && self.are_any_apart(world) {
            (self.cut, self.changed) = (Some(now), now);
        }
        self.look_for_strays(world);
        if self.unled.is_some() || self.is_healing() {
            self.part(world);
            let mut sends = std::mem::take(&mut self.sends);
            sends.retain(|_, ends| self.is_linked(now, *ends));
            self.sends = sends;
        }
        if self.is_early(now) && self.tables.is_empty() {
            let table = |node: &Node| live_links(world, node).map(|(_, _, other)| other).collect();
            self.tables = world.peers().map(|node| (node.id, table(node))).collect();
        }
        let Some(since) = self.since else { return Ok(()) };
        if let Some((node, at)) = self.started.iter().find(|(_, at)| now - **at > RETURNED && now - since > RETURNED) {
            return Err(format!("{} has started {:?} ago, and is not back", name_of(node.0), now - *at));
        }
        let is_whole = now - since >= HEALED && now - self.changed >= HEALED;
        if is_whole { self.check_links(world) } else { Ok(()) }
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        self.judge_messages()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kith_common::mail::{Fate, Reason};

    use super::*;

    /// What is thought of a run in which, without a quorum, so many of 200 messages arrive
    fn share(arrived: u64) -> Result<(), String> {
        let config = MeshConfig { supernodes: 3, ..MeshConfig::new(1, 4) };
        let mut outages = Outages::new(&config);
        let [leader, from, to] = [0, 3, 4].map(NodeId);
        let mut see = |seconds, node, seen: &Observation<'_>| {
            outages.see(Instant::ZERO + Duration::from_secs(seconds), node, seen).unwrap();
        };
        see(0, leader, &Observation::Started);
        see(60, leader, &Observation::Quorum(false));
        outages.living = [(from, Instant::ZERO), (to, Instant::ZERO)].into();
        outages.parts = [(from, from), (to, from)].into();
        for number in 0..200_u64 {
            let id = MessageId((u128::from(number)).to_le_bytes());
            let name = name_of(to.0);
            let asked = Observation::Asked { id, to: &name, source: Address(1) };
            let now = Instant::ZERO + Duration::from_secs(70 + number);
            outages.see(now, from, &asked).unwrap();
            let status = if number < arrived { Status::Delivered } else { Status::TimedOut };
            let (elapsed, reason, words) = (Duration::ZERO, Reason::NoReply, Default::default());
            let fate = Fate { id, to: name, status, path: Vec::new(), elapsed, transmissions: 1, reason, words };
            outages.see(now, from, &Observation::Peer(&PeerOutput::Done(Outcome { fate, trace: None }))).unwrap();
        }
        outages.judge_messages()
    }

    #[test]
    fn one_in_a_hundred_may_be_lost_without_a_quorum_and_no_more() {
        assert_eq!(share(198), Ok(()));
        assert!(share(197).unwrap_err().contains("3 did not arrive"));
    }
}
