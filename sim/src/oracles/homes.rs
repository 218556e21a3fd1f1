//! A supernode knows who has a link with it, and who has lost it.
//!
//! Source: a home link that has closed makes its peer a suspect after 2 s at most, unless many are lost at once, so that
//! the mesh need not wait for a lease; and whoever comes back while its session lasts goes on with the same one, at the
//! same place, and renews that one. Nobody is kept apart from a peer that its home has lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::directory::{Directory, Pair};
use kith_common::id::{Name, SessionId};
use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::crowds::Crowd;
use super::register::Register;
use super::truth::is_writing;
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::processes::replica;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// 2 s for the suspicion, and what a slow clock, the disk and a step add
const NOTICE: Duration = Duration::from_secs(6);

/// Within which what was proposed is applied
const PROPOSED: Duration = Duration::from_secs(3);

/// A write that a slow disk has begun may last this long after the disk is well again
pub(super) const SLOW_WRITE: Duration = Duration::from_secs(60);

/// The sessions that peers want to go on with at one supernode, and the peers without a link there
#[derive(Debug)]
pub(crate) struct Homes {
    supernode: NodeId,
    /// In its first lease, or the first after it stood still, a supernode suspects nobody by itself
    lease: Duration,
    register: Register,
    resumed: BTreeMap<Name, SessionId>,
    /// Whose name is given free: its session ends by that, even if a login that would go on with it came before the
    /// disk was through with the release
    released: BTreeSet<Name>,
    /// The session that was last granted on each link
    granted: BTreeMap<u64, SessionId>,
    absent: BTreeMap<Name, Instant>,
    /// Who was kept apart at the last step
    pairs: BTreeSet<Pair>,
    started: Instant,
    held: Instant,
    /// Since when it has not heard the log, and when it last heard it again after it had not for longer than a tenth of a
    /// lease: whoever was sent on meanwhile has a lease for its move
    deaf: Option<Instant>,
    hearing: Option<Instant>,
    /// When others were last before whoever was lost
    crowded: Instant,
    slow: Option<Instant>,
    /// Who is lost with many others waits its turn
    crowd: Crowd,
    /// When the log could last not be written, or held what was not known yet: who cannot log in meanwhile loses its
    /// session in the end
    full: Option<Instant>,
    /// When supernodes were last without a link to each other: whose home cannot be asked is judged by others
    apart: Option<Instant>,
}

impl Homes {
    /// Nobody has come to this supernode yet
    pub(crate) fn of(supernode: NodeId, config: &MeshConfig) -> Self {
        Self {
            supernode,
            lease: config.lease,
            register: Register::of(supernode),
            resumed: BTreeMap::new(),
            released: BTreeSet::new(),
            granted: BTreeMap::new(),
            absent: BTreeMap::new(),
            pairs: BTreeSet::new(),
            started: Instant::ZERO,
            held: Instant::ZERO,
            deaf: None,
            hearing: None,
            crowded: Instant::ZERO,
            slow: None,
            crowd: Crowd::of(replica(supernode).id(), config.lease),
            full: None,
            apart: None,
        }
    }

    fn apply(&mut self, now: Instant, directory: &Directory) -> Result<(), String> {
        self.crowd.apply(now, directory);
        let was_full = self.full.is_some_and(|at| now - at < NOTICE);
        for (session, name) in self.register.apply(directory) {
            let successor = directory.account(&name).and_then(|account| account.session);
            let was_released = self.released.remove(&name);
            if !was_released && !was_full && successor.is_some() && self.resumed.get(&name) == Some(&session) {
                return Err(format!("{name} wanted to go on with its session, and got another one"));
            }
        }
        Ok(())
    }

    /// Nothing follows from who cannot reach a peer that its home does not hear either
    fn check_pairs(&mut self, now: Instant, directory: &Directory) -> Result<(), String> {
        let before = std::mem::replace(&mut self.pairs, directory.pairs().collect());
        let new = self.pairs.difference(&before).flat_map(|pair| pair.ends());
        let mut names = new.filter_map(|end| directory.by_address(end)).map(|session| &session.name);
        let was_apart = self.apart.is_some_and(|at| now - at < NOTICE);
        let is_lost = |name: &&Name| {
            !was_apart && self.absent.get(*name).is_some_and(|since| now - (*since).max(self.held) > PROPOSED)
        };
        match names.find(is_lost) {
            Some(name) => Err(format!("{name} has no link here, and is kept apart from somebody who cannot reach it")),
            None => Ok(()),
        }
    }
}

/// Whether all supernodes have links with each other
fn are_linked(world: &World) -> bool {
    let ids = || world.config.supernodes().map(|supernode| replica(supernode).id());
    let is_linked = |node: &Node| {
        let core = node.supernode().filter(|_| node.runs()).map(|supernode| &supernode.core);
        core.is_some_and(|core| ids().all(|id| id == replica(node.id).id() || core.backbone_to(id).is_some()))
    };
    !world.must_agree() || world.supernodes().all(is_linked)
}

impl Oracle for Homes {
    fn name(&self) -> &'static str {
        "homes"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        match fault {
            Fault::SlowDisk(node, _) if *node == self.supernode => (self.slow, self.held) = (Some(now), now),
            Fault::Jump(node, _) if *node == self.supernode => (self.started, self.held) = (now, now),
            _ => {}
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if let Observation::Released = seen {
            self.released.insert(name_of(node.0));
        }
        if node != self.supernode {
            // Whoever goes elsewhere has what it says there.
            if let Observation::Received { frame: Frame::Login(login), .. } = seen {
                self.resumed.remove(&login.name);
            }
            return Ok(());
        }
        if let Observation::Applied(directory) = seen {
            return self.apply(now, directory);
        }
        self.register.see(seen);
        match seen {
            Observation::Started => {
                self.resumed.clear();
                self.released.clear();
                self.granted.clear();
                (self.started, self.held) = (now, now);
            }
            Observation::Received { link, frame: Frame::Login(login) } => {
                let Some(name) = self.register.other(*link).cloned() else { return Ok(()) };
                match login.resume {
                    Some(session) => self.resumed.insert(name, session),
                    None => self.resumed.remove(&name),
                };
            }
            Observation::Received { link, frame: Frame::Renew(renew) }
                if self.granted.get(link).is_some_and(|session| *session != renew.session) =>
            {
                let name = self.register.other(*link).map_or("somebody", Name::as_str);
                return Err(format!("{name} renews another session than it was granted last"));
            }
            Observation::Sent { link, frame: Frame::Granted(_) } => {
                // A release that found no session excuses nothing later.
                if let Some(name) = self.register.other(*link) {
                    self.released.remove(name);
                }
                let session = self.register.other(*link).and_then(|name| self.register.session_of(name));
                self.granted.extend(session.map(|session| (*link, session)));
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let (node, now) = (world.node(self.supernode), world.now());
        if !are_linked(world) {
            self.apart = Some(now);
        }
        if world.is_log_full() || world.is_log_ahead_of(self.supernode) {
            self.full = Some(now);
        }
        let was_slow = self.slow.is_some_and(|at| now - at < SLOW_WRITE);
        if !node.runs() || world.is_disk_slow(self.supernode) || (is_writing(node) && was_slow) {
            self.held = now;
        }
        if self.crowd.is_full(now) {
            self.crowded = now;
        }
        if !node.runs() {
            self.started = now;
        }
        if !world.hears_log(self.supernode) {
            self.deaf.get_or_insert(now);
        } else if self.deaf.take().is_some_and(|since| now - since > self.lease / 10) {
            self.hearing = Some(now);
        }
        let Some(supernode) = node.supernode() else { return Ok(()) };
        let linked: BTreeSet<&Name> = node.ends.keys().filter_map(|link| self.register.other(*link)).collect();
        let before = std::mem::take(&mut self.absent);
        let id = replica(self.supernode).id();
        let own = supernode.core.directory().sessions().filter(|session| session.home == id);
        for session in own.filter(|session| session.suspect.is_none()) {
            if let Some(home) = supernode.core.home_of(session.id)
                && !node.ends.contains_key(&home.0)
            {
                return Err(format!("{} is at home on link {home:?}, which has closed", session.name));
            }
            if linked.contains(&session.name) {
                continue;
            }
            let since = *before.get(&session.name).unwrap_or(&now);
            let is_moving = self.hearing.is_some_and(|at| since <= at && now - at <= self.lease + NOTICE);
            if !is_moving
                && now - since.max(self.held).max(self.crowded) > NOTICE
                && now - self.started > self.lease + NOTICE
            {
                return Err(format!("{} has had no link for {:?}, and is no suspect", session.name, now - since));
            }
            self.absent.insert(session.name.clone(), since);
        }
        self.check_pairs(now, supernode.core.directory())
    }
}
