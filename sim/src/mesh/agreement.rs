//! How several supernodes agree: elections, leaders that are cut off, and what becomes of commands on their way.
//!
//! It is what openraft comes to from outside, and the worst of it often: a leader needs a majority of the first five, which
//! vote, that it hears and that hears it; who has none stops leading, and nobody leads for 0.7 to 2 s until another is
//! elected. A command goes to the leader, is on its disk and then in the order; what is lost on the way may be in the order
//! all the same, and what is in the order may be said to be lost. Others hear of the order later, and only from the leader.
//! A single supernode needs none of this: see [`super::log`].

use std::collections::BTreeSet;
use std::time::Duration;

use kith_common::directory::Command;
use kith_common::id::SupernodeId;
use kith_common::supernode::{LogEvent, Proposal, SupernodeEntry};
use kith_common::time::Instant;
use kith_common::wire::session::{Location, Locations};

use super::disk::DiskDone;
use super::faults::Effect;
use super::log::Replica;
use super::node::NodeId;
use super::opening::location_of;
use super::processes::replica;
use super::queue::Event;
use super::watch::Observation;
use super::world::World;

/// How often is looked who leads, and who hears whom
const TICK: Duration = Duration::from_millis(100);
/// How long a leader leads on that has lost its majority: some of its beats, as of one that is too slow
const UNFIT_MAX: Duration = Duration::from_millis(400);
/// How long a follower believes in a leader that it does not hear
const DEAF_MAX: Duration = Duration::from_millis(500);
/// The shortest and the longest time without a leader
const ELECTION_MIN: Duration = Duration::from_millis(700);
const ELECTION_MAX: Duration = Duration::from_millis(2_000);
/// The shortest and the longest time until a proposer hears that a command is lost
const LOST_MIN: Duration = Duration::from_millis(300);
const LOST_MAX: Duration = Duration::from_millis(1_200);
/// Of commands that a leader could not finish, so many have got to a disk that the next leader has
const SURVIVES: f64 = 0.3;
/// Of commands that are in the order, so many are said to be lost, as the answer is
const UNANSWERED: f64 = 0.01;
/// Of the times that a supernode hears of the order, or how far it must have heard, so many are late
const LATE: f64 = 0.05;
/// By so much on average
const LATE_MEAN: Duration = Duration::from_millis(150);
/// Commands behind which a supernode may be given the whole directory instead, if it runs
const REPLACED_MIN: u64 = 24;

/// Something of the log that happens between supernodes
#[derive(Clone, Debug)]
pub enum LogStep {
    /// Somebody may have lost a leader, or the log
    Tick,
    /// A group of this life of a supernode has come to the leader
    Proposed { from: NodeId, life: u32, group: Vec<Proposal> },
    /// It is on the disk of this one, which led then
    Written { leader: NodeId, from: NodeId, life: u32, group: Vec<Proposal> },
    /// A supernode asks how far it must have heard
    Asked { from: NodeId, life: u32 },
    /// The log tells a supernode something
    Told { node: NodeId, life: u32, event: LogEvent },
}

/// Who leads, and who believes what of it
#[derive(Debug, Default)]
pub struct Agreement {
    leader: Option<Replica>,
    /// Since when the leader has had no majority
    unfit: Option<Instant>,
    /// When somebody may be elected, if nobody leads
    election: Option<Instant>,
    /// Whom each was told to lead
    told: Vec<Option<Replica>>,
    /// Since when each has not heard who leads
    deaf: Vec<Option<Instant>>,
    /// Whether it was seen that nobody leads, nor could
    is_lost: bool,
    /// Commands that nobody was told of, and that the next leader has
    survivors: Vec<Command>,
    /// Whether the log names a supernode that nobody can reach
    has_newcomer: bool,
    /// Whether each was told of that
    told_of_newcomer: Vec<bool>,
}

impl Agreement {
    /// The first of so many leads, of which nobody has been told
    pub fn new(supernodes: u32) -> Self {
        let count = supernodes as usize;
        let (told, deaf, told_of_newcomer) = (vec![None; count], vec![None; count], vec![false; count]);
        Self { leader: Some(Replica(0)), told, deaf, told_of_newcomer, ..Self::default() }
    }

    /// The disks are others than they were
    pub fn handle_log_back(&mut self) {
        self.survivors.clear();
    }
}

impl World {
    /// Whether the log is several supernodes', which must agree
    pub const fn must_agree(&self) -> bool {
        self.config.supernodes > 1
    }

    /// Whether these two hear each other, or are one that runs
    pub fn can_talk(&self, a: NodeId, b: NodeId) -> bool {
        let is_free = !self.net.is_blocked(a, b) && !self.net.is_blocked(b, a);
        self.node(a).runs() && self.node(b).runs() && (a == b || is_free)
    }

    /// Whether it could lead: its disk takes something, and so do those of a majority that it hears
    fn could_lead(&self, id: NodeId) -> bool {
        let voters = self.config.voters();
        let takes =
            |other: &NodeId| other.0 < voters && self.can_talk(id, *other) && !self.log.is_full(replica(*other));
        let count = self.config.supernodes().filter(takes).count();
        takes(&id) && 2 * count > voters as usize
    }

    /// The supernode that leads and has a majority
    pub fn leading(&self) -> Option<NodeId> {
        if !self.must_agree() {
            return Some(self.config.leader()).filter(|leader| self.node(*leader).runs());
        }
        let leader = self.agreement.leader.map(|leader| NodeId(leader.0 as u32));
        leader.filter(|leader| self.could_lead(*leader))
    }

    /// Whether this supernode hears of what is committed
    pub fn hears_log(&self, id: NodeId) -> bool {
        !self.must_agree() || self.leading().is_some_and(|leader| self.can_talk(leader, id))
    }

    /// Begins to look who leads
    pub fn begin_agreement(&mut self) {
        if self.must_agree() {
            self.queue.after(TICK, Event::Log(Box::new(LogStep::Tick)));
        }
    }

    /// A supernode that starts is told who leads, who the supernodes are, and what was committed without it
    pub fn greet_several(&mut self, node: NodeId) {
        let index = node.index();
        let leader = self.leading().filter(|leader| self.can_talk(*leader, node)).map(replica);
        (self.agreement.told[index], self.agreement.deaf[index]) = (leader, None);
        self.agreement.told_of_newcomer[index] = self.agreement.has_newcomer;
        let entries = self.entries();
        self.tell_log(node, LogEvent::Supernodes(entries));
        self.tell_log(node, LogEvent::LeaderChanged(leader.map(Replica::id)));
        if leader.is_some() {
            self.write(node, DiskDone::Learnt);
        }
    }

    /// Who the log says that the supernodes are
    fn entries(&self) -> Vec<SupernodeEntry> {
        // It learns only: with a vote it would count for the majority.
        let nowhere = NodeId(self.config.machines() + 1);
        let newcomer = self.agreement.has_newcomer.then(|| SupernodeEntry { is_voter: false, ..entry_of(nowhere) });
        let voters = self.config.voters();
        let entry = |node: NodeId| SupernodeEntry { is_voter: node.0 < voters, ..entry_of(node) };
        self.config.supernodes().map(entry).chain(newcomer).collect()
    }

    /// The supernodes that the log names
    pub fn named(&self) -> BTreeSet<SupernodeId> {
        self.entries().iter().map(|entry| entry.id).collect()
    }

    /// The log names a supernode that nobody can reach, or does so no more; each hears of it as it hears of the order
    pub fn name_newcomer(&mut self, is_named: bool) {
        if self.must_agree() {
            self.net.count(Effect::Newcomer);
            self.agreement.has_newcomer = is_named;
        }
    }

    fn tell_of_newcomer(&mut self, node: NodeId) {
        let has_newcomer = self.agreement.has_newcomer;
        if self.agreement.told_of_newcomer[node.index()] != has_newcomer {
            self.agreement.told_of_newcomer[node.index()] = has_newcomer;
            let (life, event) = (self.node(node).life, LogEvent::Supernodes(self.entries()));
            self.handle_log_step(LogStep::Told { node, life, event });
        }
    }

    /// A supernode wants a group in the order
    pub fn propose_to_leader(&mut self, from: NodeId, group: Vec<Proposal>) {
        let (life, way) = (self.node(from).life, self.way());
        self.queue.after(way, Event::Log(Box::new(LogStep::Proposed { from, life, group })));
    }

    /// A supernode asks how far it must have heard
    pub fn ask_leader(&mut self, from: NodeId) {
        let (life, way) = (self.node(from).life, self.way());
        self.queue.after(way, Event::Log(Box::new(LogStep::Asked { from, life })));
    }

    /// Something of the log happens
    pub fn handle_log_step(&mut self, step: LogStep) {
        match step {
            LogStep::Tick => {
                self.queue.after(TICK, Event::Log(Box::new(LogStep::Tick)));
                self.look_who_leads();
                self.look_for_quorum();
                self.tell_who_leads();
            }
            LogStep::Proposed { from, life, group } => self.take_proposed(from, life, group),
            LogStep::Written { leader, from, life, group } => self.decide(leader, from, life, group),
            LogStep::Asked { from, life } => {
                let is_heard = self.node(from).life == life && self.hears_log(from);
                let answer = if is_heard { LogEvent::Readable(self.log.end()) } else { LogEvent::Unreadable };
                // The answer may be late as well, and what is committed meanwhile is not in it.
                let late = if self.chance.happens(LATE) { self.chance.wait(LATE_MEAN) } else { Duration::ZERO };
                let wait = if is_heard { self.way() + late } else { self.lost_after() };
                self.queue.after(wait, Event::Log(Box::new(LogStep::Told { node: from, life, event: answer })));
            }
            LogStep::Told { node, life, event } => {
                let waits = Event::Log(Box::new(LogStep::Told { node, life, event: event.clone() }));
                if self.node(node).life == life && self.node(node).process.is_some() && self.takes(node, &waits) {
                    self.tell_log(node, event);
                    self.settle(node);
                }
            }
        }
    }

    /// A frame's way between two supernodes
    fn way(&mut self) -> Duration {
        Duration::from_micros(300) + self.chance.wait(Duration::from_millis(1))
    }

    fn lost_after(&mut self) -> Duration {
        LOST_MIN + (LOST_MAX - LOST_MIN).mul_f64(self.chance.unit())
    }

    fn take_proposed(&mut self, from: NodeId, life: u32, group: Vec<Proposal>) {
        let leader = self.agreement.leader.map(|leader| NodeId(leader.0 as u32));
        let Some(leader) = leader.filter(|leader| self.can_talk(from, *leader)) else {
            return self.lose(from, life, group, 0.0);
        };
        if let Some(wait) = self.slow_write(&group) {
            return self.queue.after(wait, Event::Log(Box::new(LogStep::Written { leader, from, life, group })));
        }
        let write = self.node(leader).write;
        if write > super::world::WRITE {
            self.net.count(Effect::SlowDisk);
        }
        let wait = self.chance.wait(write) + Duration::from_micros(200);
        self.queue.after(wait, Event::Log(Box::new(LogStep::Written { leader, from, life, group })));
    }

    /// The group is on the disk of whoever led: it is in the order if that leads still
    fn decide(&mut self, leader: NodeId, from: NodeId, life: u32, group: Vec<Proposal>) {
        if self.log.is_full(replica(leader)) {
            self.net.count(Effect::FullLog);
        }
        if self.leading() != Some(leader) {
            return self.lose(from, life, group, SURVIVES);
        }
        let is_answered = !self.chance.happens(UNANSWERED);
        let proposer = Some((replica(from), life)).filter(|_| is_answered);
        for Proposal { number, command } in &group {
            self.log.put(command.clone(), proposer.map(|(from, life)| (from, life, *number)));
        }
        if !is_answered {
            self.lose(from, life, group, 0.0);
        }
        self.show_agreed();
        self.spread();
    }

    /// The proposer hears that the group is lost; part of it may be in the order all the same, sooner or later
    fn lose(&mut self, from: NodeId, life: u32, group: Vec<Proposal>, survives: f64) {
        for Proposal { number, command } in group {
            if self.chance.happens(survives) {
                self.agreement.survivors.push(command);
            }
            let wait = self.lost_after();
            let event = LogEvent::Lost { number };
            self.queue.after(wait, Event::Log(Box::new(LogStep::Told { node: from, life, event })));
        }
    }

    /// Whoever hears the leader hears of what is new in the order, once it is on the own disk
    fn spread(&mut self) {
        for node in self.config.supernodes().collect::<Vec<_>>() {
            if self.log.is_ahead_of(replica(node)) && self.hears_log(node) {
                if self.chance.happens(LATE) {
                    let wait = self.chance.wait(LATE_MEAN);
                    let life = self.node(node).life;
                    self.queue.after(wait, Event::Disk { node, life, done: DiskDone::Learnt });
                } else {
                    self.write(node, DiskDone::Learnt);
                }
            }
        }
    }

    fn look_who_leads(&mut self) {
        let now = self.now();
        let leader = self.agreement.leader.map(|leader| NodeId(leader.0 as u32));
        match leader {
            Some(leader) if self.could_lead(leader) => self.agreement.unfit = None,
            Some(leader) => {
                let since = *self.agreement.unfit.get_or_insert(now);
                if self.node(leader).process.is_none() || now - since >= UNFIT_MAX {
                    self.agreement.leader = None;
                    self.agreement.unfit = None;
                    self.agreement.election = Some(now + self.election());
                    self.watch.tell(now, &format!("{} leads no more", self.node(leader).name));
                }
            }
            None if self.agreement.election.is_none_or(|at| at <= now) => {
                let able: Vec<NodeId> = self.config.supernodes().filter(|node| self.could_lead(*node)).collect();
                self.agreement.election = Some(now + self.election());
                let Some(elected) = self.chance.pick(&able).copied() else { return };
                self.agreement.leader = Some(replica(elected));
                self.watch.tell(now, &format!("{} leads", self.node(elected).name));
                for command in std::mem::take(&mut self.agreement.survivors) {
                    self.log.put(command, None);
                }
                self.show_agreed();
                self.spread();
            }
            None => {}
        }
    }

    /// While nobody leads nothing can come into the log, nor be read from it; perhaps nobody can be elected either
    fn look_for_quorum(&mut self) {
        let could_be = self.agreement.leader.is_some() || self.config.supernodes().any(|node| self.could_lead(node));
        if could_be == self.agreement.is_lost {
            self.agreement.is_lost = !could_be;
            self.watch.tell(self.now(), if could_be { "there is a quorum again" } else { "there is no quorum" });
            self.watch.see(self.queue.now(), self.config.leader(), &Observation::Quorum(could_be));
        }
    }

    fn election(&mut self) -> Duration {
        ELECTION_MIN + (ELECTION_MAX - ELECTION_MIN).mul_f64(self.chance.unit())
    }

    /// Each supernode hears that another leads as soon as it hears that one, and that nobody does after a while
    fn tell_who_leads(&mut self) {
        let now = self.now();
        for node in self.config.supernodes().collect::<Vec<_>>() {
            if !self.node(node).runs() {
                continue;
            }
            let index = node.index();
            let heard = self.leading().filter(|leader| self.can_talk(*leader, node)).map(replica);
            let told = self.agreement.told[index];
            if heard.is_some() {
                self.agreement.deaf[index] = None;
                self.tell_of_newcomer(node);
                if self.log.is_ahead_of(replica(node)) && heard != told {
                    self.write(node, DiskDone::Learnt);
                }
            } else if told.is_some() {
                let since = *self.agreement.deaf[index].get_or_insert(now);
                if now - since < DEAF_MAX {
                    continue;
                }
            }
            if heard != told {
                self.agreement.told[index] = heard;
                let (life, event) = (self.node(node).life, LogEvent::LeaderChanged(heard.map(Replica::id)));
                self.handle_log_step(LogStep::Told { node, life, event });
            }
        }
        // What was late, or lost with a process, is heard in the end.
        self.spread();
    }

    fn tell_log(&mut self, node: NodeId, event: LogEvent) {
        let local = self.local(node);
        if let Some(supernode) = self.node_mut(node).supernode_mut() {
            supernode.core.handle_log(local, event);
        }
    }

    /// Whether a supernode that is so far behind is given the whole directory
    pub fn is_replaced(&mut self, node: NodeId) -> bool {
        self.must_agree() && self.log.lag(replica(node)) >= REPLACED_MIN && self.chance.happens(0.5)
    }
}

fn entry_of(node: NodeId) -> SupernodeEntry {
    let locations = Locations::truncated([Location::truncated(&location_of(node))]);
    SupernodeEntry { id: replica(node).id(), locations, is_voter: true }
}
