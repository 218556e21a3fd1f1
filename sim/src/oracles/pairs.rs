//! Two peers are kept apart if they could not connect, and are brought together again.
//!
//! Source: an unreachable pair counts as absent to each other for 30 to 60 s, for twice as long each time that it fails its
//! trial, and for ten minutes at most; a supernode that restarts begins with the first term. Whoever would have nobody
//! else left is not kept apart. Those between whom a way is cut for ever are, when all else is whole. While
//! nothing breaks everybody can connect to everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::directory::{Directory, PAIRS_PER_PEER_MAX, Pair};
use kith_common::id::{Address, Name, SupernodeId};
use kith_common::supernode::{PAIR_TERM_MAX, PAIR_TERM_MIN};
use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::truth::is_logged_in;
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// A slow clock, a slow disk, a pause
const LATE: Duration = Duration::from_secs(60);

/// Whatever broke may have kept two apart until this long after it
const EXCUSED: Duration = Duration::from_secs(35);

/// Parted again this soon after a term, a pair has surely failed its trial …
const SURELY_AGAIN: Duration = Duration::from_secs(20);

/// … and this late it surely has not, unless a disk was slow
const PERHAPS_AGAIN: Duration = Duration::from_secs(95);

/// Two who are, or were just now, kept apart
#[derive(Clone, Copy, Debug)]
struct Term {
    since: Instant,
    /// No shorter than this, unless one of them logs in anew
    least: Duration,
    /// No longer than this and [`LATE`]
    most: Duration,
    ended: Option<Instant>,
}

/// The terms of all pairs
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    terms: BTreeMap<Pair, Term>,
    /// When each name last logged in, which brings it together with everybody
    logins: BTreeMap<Name, Instant>,
    homes: BTreeMap<Name, SupernodeId>,
    /// Who was in the ring at the last look
    ring: BTreeSet<Address>,
    disturbed: Option<Instant>,
    /// Whoever of the supernodes wakes first proposes that a pair is brought together
    supernodes: u32,
    /// Ways outside a healthy core are broken for ever
    is_outside: bool,
}

impl Pairs {
    /// Nobody is kept apart
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let is_outside = config.core() < config.machines();
        Self { is_outside, supernodes: config.supernodes, ..Self::default() }
    }

    fn part(&mut self, now: Instant, pair: Pair) {
        let before = self.terms.get(&pair).and_then(|term| Some((*term, now - term.ended?)));
        let least = |term: &Term| (term.least * 2).clamp(PAIR_TERM_MIN, PAIR_TERM_MAX / 2);
        let most = |term: &Term| (term.most * 2).min(PAIR_TERM_MAX);
        let (least, most) = match before {
            Some((term, gap)) if gap < SURELY_AGAIN => (least(&term), most(&term)),
            Some((term, _)) => (PAIR_TERM_MIN, most(&term)),
            None => (PAIR_TERM_MIN, PAIR_TERM_MIN * 2),
        };
        self.terms.insert(pair, Term { since: now, least, most, ended: None });
    }

    /// A pair is together again, perhaps before its time
    fn join(&mut self, now: Instant, directory: &Directory, pair: Pair) -> Result<(), String> {
        let Some(term) = self.terms.get_mut(&pair) else { return Ok(()) };
        term.ended = Some(now);
        // A clock may run a fiftieth fast.
        if (now - term.since) * 51 / 50 >= term.least {
            return Ok(());
        }
        let (least, since) = (std::mem::take(&mut term.least), term.since);
        let sessions = pair.ends().map(|end| directory.by_address(end));
        let is_new = |name| self.logins.get(name).is_some_and(|at| *at + LATE >= since);
        let are_old = sessions.iter().all(|session| session.is_some_and(|session| !is_new(&session.name)));
        // At its bound one of them has had to forget somebody.
        let of = |end: Address| self.terms.keys().filter(|pair| pair.ends().contains(&end)).count();
        let are_few = pair.ends().into_iter().all(|end| of(end) < PAIRS_PER_PEER_MAX);
        match are_old && are_few && !self.was_last(directory, pair) {
            false => Ok(()),
            true => Err(format!("{} and {} were kept apart for {:?}, not {least:?}", pair.low, pair.high, now - since)),
        }
    }

    /// Whether one of these has lost all others that it was not kept apart from; several commands may come together
    fn was_last(&self, directory: &Directory, pair: Pair) -> bool {
        let is_parted = |a, b| self.terms.get(&Pair::of(a, b)).is_some_and(|term| term.ended.is_none());
        pair.ends().into_iter().any(|end| {
            let other = pair.ends().into_iter().find(|other| *other != end);
            let mut others = directory.ring().filter(|x| *x != end && Some(*x) != other && self.ring.contains(x));
            let was_there = self.ring.contains(&end) || directory.neighbourhood(end).is_some();
            was_there && others.all(|x| is_parted(end, x))
        })
    }

    /// A supernode starts, and counts each term anew as a first one: of several that is of account only if it leads later
    fn begin_anew(&mut self, now: Instant) {
        if self.supernodes == 1 {
            return self.terms.clear();
        }
        for term in self.terms.values_mut() {
            let passed = now - term.since;
            // A trial that it does not know of is followed by a first term, too.
            let least = if term.ended.is_some() { PAIR_TERM_MIN / 2 } else { PAIR_TERM_MIN };
            (term.least, term.most) = (term.least.min(least), term.most.max(passed + PAIR_TERM_MIN * 2));
        }
    }

    fn look(&mut self, now: Instant, directory: &Directory) -> Result<(), String> {
        let homes: BTreeMap<Name, SupernodeId> = directory.sessions().map(|s| (s.name.clone(), s.home)).collect();
        // Whoever moves its home logs in by that, some time after it has asked to.
        let moved = homes.iter().filter(|(name, home)| self.homes.get(*name).is_some_and(|before| before != *home));
        self.logins.extend(moved.map(|(name, _)| (name.clone(), now)));
        self.homes = homes;
        self.terms.retain(|_, term| term.ended.is_none_or(|at| now - at < PERHAPS_AGAIN));
        let parted: BTreeSet<Pair> = directory.pairs().collect();
        let gone = self.terms.iter().filter(|(pair, term)| term.ended.is_none() && !parted.contains(pair));
        let gone: Vec<Pair> = gone.map(|(pair, _)| *pair).collect();
        gone.into_iter().try_for_each(|pair| self.join(now, directory, pair))?;
        self.ring = directory.ring().collect();
        let new = |pair: &Pair| self.terms.get(pair).is_none_or(|term| term.ended.is_some());
        let new: Vec<Pair> = parted.iter().copied().filter(new).collect();
        new.iter().for_each(|pair| self.part(now, *pair));
        let mut ends = parted.iter().flat_map(|pair| pair.ends());
        let is_alone = |end: &Address| directory.neighbourhood(*end).is_some_and(|table| table.neighbours.is_empty());
        if let Some(end) = ends.find(is_alone).filter(|_| self.ring.len() > 1) {
            return Err(format!("{end} is kept apart from everybody"));
        }
        match new.first().filter(|_| !self.is_outside && self.disturbed.is_none_or(|at| now - at > EXCUSED)) {
            Some(pair) => Err(format!("{} and {} are kept apart, and nothing was broken", pair.low, pair.high)),
            None => Ok(()),
        }
    }
}

/// Whether these are neighbours, and one of them is nobody else's
fn are_last(directory: &Directory, pair: Pair) -> bool {
    let only = |end: Address| directory.neighbourhood(end).is_some_and(|table| table.neighbours.len() == 1);
    directory.are_neighbours(pair.low, pair.high) && pair.ends().into_iter().any(only)
}

impl Oracle for Pairs {
    fn name(&self) -> &'static str {
        "pairs"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        self.disturbed = Some(now);
        // It wakes late, or early.
        if let Fault::Jump(node, _) | Fault::Pause(node, _) | Fault::SlowDisk(node, _) = fault
            && node.0 < self.supernodes
        {
            let stop = if let Fault::Pause(_, stop) = fault { *stop } else { Duration::ZERO };
            for term in self.terms.values_mut() {
                // Terms go on from where they were when it stopped.
                (term.least, term.most) = (Duration::ZERO, term.most + stop);
            }
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started if node.0 < self.supernodes => self.begin_anew(now),
            Observation::Received { frame: Frame::Login(login), .. } if node.0 < self.supernodes => {
                self.logins.insert(login.name.clone(), now);
            }
            Observation::Agreed(directory) => return self.look(now, directory),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        // Who has logged out is dialled in vain until the log has taken it.
        if world.net.is_cut() || world.is_log_full() || world.nodes.iter().any(|node| !node.runs()) {
            self.disturbed = Some(world.now());
        }
        let is_late = |term: &Term| term.ended.is_none() && world.now() - term.since > term.most + LATE;
        if world.must_agree() && world.is_log_full() {
            // Nobody can bring anybody together.
            self.terms.values_mut().for_each(|term| term.most += world.config.step());
        }
        if world.leading().is_some()
            && let Some((pair, term)) = self.terms.iter().find(|(_, term)| is_late(term))
        {
            let passed = world.now() - term.since;
            return Err(format!("{} and {} have been kept apart for {passed:?}", pair.low, pair.high));
        }
        Ok(())
    }

    fn whole(&mut self, world: &World) -> Result<(), String> {
        let Some(directory) = world.directory() else { return Ok(()) };
        let outside = world.peers().filter(|node| node.id.0 >= world.config.core() && is_logged_in(node));
        let places = outside.filter_map(|node| Some((node.id, node.place()?)));
        let places: Vec<(NodeId, Address)> = places.collect();
        for (one, place) in &places {
            let is_cut = |(id, other): &&(NodeId, Address)| {
                let term = self.terms.get(&Pair::of(*place, *other));
                let is_on_trial = term.and_then(|term| term.ended).is_some_and(|at| world.now() - at < SURELY_AGAIN);
                world.net.is_blocked(*one, *id) && !is_on_trial
            };
            let others = places.iter().filter(is_cut).map(|(_, other)| *other);
            let are_wrong = |other: &Address| {
                directory.are_neighbours(*place, *other) && !are_last(directory, Pair::of(*place, *other))
            };
            if let Some(other) = others.into_iter().find(are_wrong) {
                return Err(format!("{place} cannot reach {other}, and they are still neighbours"));
            }
        }
        Ok(())
    }
}
