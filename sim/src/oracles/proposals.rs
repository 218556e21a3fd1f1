//! A supernode proposes what is its business, and nothing that is another's.
//!
//! Source: "Between supernodes" in docs/protocol.md. Only its home judges a session. The leader alone ends the sessions of
//! a home that is gone, one lease after neither it nor anybody whom it hears had a link with that home, and one lease after it
//! began to lead; it alone brings pairs together. Of a key that has a session elsewhere, that home is asked first whether the
//! peer answers.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::directory::{Command, LogIn};
use kith_common::id::{Key, Name, SessionId, SupernodeId};
use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::per_node::PerNode;
use super::sights::Sights;
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::processes::replica;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::{WRITE, World};

/// For which a command may have waited for its turn since what it says was so
const TURN: Duration = Duration::from_secs(3);
/// For which a supernode has had a link before others must have heard of it: some beats
const HEARD: Duration = Duration::from_secs(4);
/// A slow clock, and the steps between which nobody looks
const SPARE: Duration = Duration::from_secs(4);
/// A home that is asked says at once that its peer has no link, or waits so long for a sign of life
const ASKED: Duration = Duration::from_secs(2);

/// What one supernode has applied and been asked
#[derive(Debug, Default)]
struct Seat {
    /// Where each session is at home by what it has applied, and since when it knows
    homes: BTreeMap<SessionId, (SupernodeId, Instant)>,
    /// The session of each key
    keys: BTreeMap<Key, SessionId>,
    /// When each peer last asked here for a session without one to go on with
    newcomers: BTreeMap<Name, Instant>,
    /// Who is at the other end of each link, and on which link each has its session here, wherever that is at home: then that
    /// link is asked, and nobody else
    others: BTreeMap<u64, Name>,
    here: BTreeMap<Name, u64>,
    /// When a home has last said whether a peer answers
    claimed: Option<Instant>,
    /// When each home was last there, by its own links or by what it must have heard
    seen: BTreeMap<SupernodeId, Instant>,
    jumped: Option<Instant>,
    /// When it last did not run, or a disk was slow that commands wait for: what waited for its turn waited longer
    held: Instant,
}

/// What every supernode may propose
#[derive(Debug)]
pub(crate) struct Proposals {
    lease: Duration,
    supernodes: u32,
    seats: PerNode<Seat>,
    sights: Sights,
}

impl Proposals {
    /// Nobody has proposed anything
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let (lease, supernodes) = (config.lease, config.supernodes);
        Self { lease, supernodes, seats: PerNode::default(), sights: Sights::default() }
    }

    fn check(&mut self, now: Instant, node: NodeId, command: &Command) -> Result<(), String> {
        let id = replica(node).id();
        let seat = self.seats.of(node);
        match command {
            Command::Suspect { session, home, .. }
            | Command::Clear { session, home }
            | Command::Expire { session, home }
                if *home == id =>
            {
                let elsewhere =
                    seat.homes.get(session).filter(|(home, since)| *home != id && now - (*since).max(seat.held) > TURN);
                match elsewhere {
                    Some((home, _)) => Err(format!("judges session {session}, which is at home at {home}")),
                    None => Ok(()),
                }
            }
            Command::Expire { home, .. } => self.check_end_of_home(now, node, *home),
            Command::ExpirePair { .. } => match self.sights.leader(node) {
                Some((Some(leader), since)) if leader != id && now - since.max(seat.held) > TURN => {
                    Err(format!("brings a pair together, and {leader} leads"))
                }
                _ => Ok(()),
            },
            Command::LogIn(login) if login.resumes.is_none() => self.check_login(now, node, login),
            _ => Ok(()),
        }
    }

    /// The leader gives a home up that nobody has seen for a lease
    fn check_end_of_home(&mut self, now: Instant, node: NodeId, home: SupernodeId) -> Result<(), String> {
        let id = replica(node).id();
        let Some((leader, since)) = self.sights.leader(node) else { return Ok(()) };
        let seat = self.seats.of(node);
        if leader != Some(id) && now - since.max(seat.held) > TURN {
            return Err(format!("ends a session that is at home at {home}, and does not lead"));
        }
        if seat.jumped.is_some_and(|at| now - at < self.lease + SPARE) {
            return Ok(());
        }
        let led = Some(since).filter(|_| leader == Some(id));
        let from = seat.seen.get(&home).copied().max(led).unwrap_or_default();
        if now - from + SPARE < self.lease.mul_f64(0.95) {
            let after = now - from;
            return Err(format!("ends a session that is at home at {home}, {after:?} after that was there"));
        }
        Ok(())
    }

    /// Whose key has a session at a home that can be asked waits for that home's word
    fn check_login(&mut self, now: Instant, node: NodeId, login: &LogIn) -> Result<(), String> {
        let seat = self.seats.of(node);
        let session = seat.keys.get(&login.key);
        let home = session.and_then(|session| seat.homes.get(session)).filter(|(_, since)| now - *since > HEARD);
        let Some((home, _)) = home.filter(|(home, _)| *home != replica(node).id()) else { return Ok(()) };
        let Some(asked) = seat.newcomers.get(&login.name).copied() else { return Ok(()) };
        let is_heard = seat.claimed.is_some_and(|at| at >= asked);
        let is_linked = self.sights.linked(node, *home).is_some_and(|since| asked - since > HEARD);
        if is_linked && !is_heard && now - asked < ASKED {
            return Err(format!("takes {} in, and has not asked {home} where it has a session", login.name));
        }
        Ok(())
    }

    fn note(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) {
        let seat = self.seats.of(node);
        match seen {
            Observation::Started | Observation::Killed => *seat = Seat::default(),
            Observation::Applied(directory) => {
                let before = std::mem::take(&mut seat.homes);
                let since = |session: SessionId, home| match before.get(&session) {
                    Some((known, since)) if *known == home => *since,
                    _ => now,
                };
                let sessions = || directory.sessions();
                seat.homes = sessions().map(|one| (one.id, (one.home, since(one.id, one.home)))).collect();
                seat.keys = sessions().map(|one| (one.key, one.id)).collect();
            }
            Observation::Received { frame: Frame::Login(login), .. } => match login.resume {
                None if !seat.here.contains_key(&login.name) => {
                    seat.newcomers.insert(login.name.clone(), now);
                }
                _ => drop(seat.newcomers.remove(&login.name)),
            },
            Observation::Received { frame: Frame::Claimed(_), .. } => seat.claimed = Some(now),
            Observation::Opened { opened, other, .. } => {
                seat.others.insert(opened.link.0, name_of(other.0));
            }
            Observation::Sent { link, frame: Frame::Granted(_) } => {
                if let Some(name) = seat.others.get(link) {
                    seat.here.insert(name.clone(), *link);
                }
            }
            Observation::Closed { link, .. } => {
                seat.others.remove(link);
                seat.here.retain(|_, here| here != link);
            }
            _ => {}
        }
    }
}

impl Oracle for Proposals {
    fn name(&self) -> &'static str {
        "proposals"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) = fault {
            self.seats.of(*node).jumped = Some(now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        // A single supernode has nobody whose business it could meddle with.
        if self.supernodes < 2 || node.0 >= self.supernodes {
            return Ok(());
        }
        self.sights.see(node, seen, self.supernodes);
        match seen {
            Observation::Proposed(group) => group.iter().try_for_each(|one| self.check(now, node, &one.command)),
            _ => {
                self.note(now, node, seen);
                Ok(())
            }
        }
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if self.supernodes < 2 {
            return Ok(());
        }
        self.sights.step(world);
        let now = world.now();
        let have = |node: NodeId, other: NodeId| {
            self.sights.linked(node, replica(other).id()).is_some_and(|since| now - since > HEARD)
        };
        let is_slow = world.config.supernodes().any(|node| world.node(node).write > WRITE);
        for node in world.config.supernodes() {
            if is_slow || !world.node(node).runs() {
                self.seats.of(node).held = now;
            }
            for home in world.config.supernodes().filter(|home| *home != node) {
                let mut others = world.config.supernodes().filter(|other| *other != node && *other != home);
                if have(node, home) || others.any(|other| have(node, other) && have(other, node) && have(other, home)) {
                    self.seats.of(node).seen.insert(replica(home).id(), now);
                }
            }
        }
        Ok(())
    }
}
