//! A session lasts one lease from the last time that its peer renewed it: no less, and no more.
//!
//! Source: the lease's promise to peers (three tries to renew it) and to everybody else (who is gone is gone). A
//! supernode that starts, or goes on after a stop of more than a tenth of a lease, gives every session one whole lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::directory::Directory;
use kith_common::id::{Name, SessionId};
use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::register::Register;
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// What a slow disk, a slow clock and a step add
const LATE: Duration = Duration::from_secs(15);

/// A renewal may come while the disk writes that the session has ended
const CROSSING: Duration = Duration::from_secs(5);

/// When each session was renewed, as one supernode sees it
#[derive(Debug)]
pub(crate) struct Leases {
    supernode: NodeId,
    lease: Duration,
    register: Register,
    /// When each was last told that it has a whole lease
    told: BTreeMap<Name, Instant>,
    /// When each last asked for one, whether it got it or not
    asked: BTreeMap<Name, Instant>,
    /// Whoever wanted its session to end, or whose name was given free
    left: BTreeMap<Name, Instant>,
    /// The sessions that their peers have ended at other supernodes, which may hear of it long after
    logged_out: BTreeSet<SessionId>,
    /// When each last asked another supernode for a new one: that one may be over, too, before this one hears of either
    elsewhere: BTreeMap<Name, Instant>,
    /// When the supernode last started, last stood still or had a slow disk, and last had its clock moved
    started: Instant,
    held: Instant,
    /// When the log could last not be written, or held what was not known yet
    full: Option<Instant>,
    moved: Instant,
    /// Since when it stands still, if it does
    stopped: Option<Instant>,
}

impl Leases {
    /// Nobody has renewed anything at this supernode
    pub(crate) fn of(supernode: NodeId, config: &MeshConfig) -> Self {
        Self {
            supernode,
            lease: config.lease,
            register: Register::of(supernode),
            told: BTreeMap::new(),
            asked: BTreeMap::new(),
            left: BTreeMap::new(),
            logged_out: BTreeSet::new(),
            elsewhere: BTreeMap::new(),
            started: Instant::ZERO,
            held: Instant::ZERO,
            full: None,
            moved: Instant::ZERO,
            stopped: None,
        }
    }

    fn apply(&mut self, now: Instant, directory: &Directory) -> Result<(), String> {
        for (session, name) in self.register.apply(directory) {
            let has_logged_out = self.logged_out.remove(&session);
            if directory.account(&name).is_some_and(|account| account.session.is_some()) {
                continue;
            }
            let told = self.told.get(&name).copied().unwrap_or_default();
            let renewed = told.max(self.started);
            let is_replaced = self.elsewhere.get(&name).is_some_and(|at| *at >= renewed);
            let has_left =
                has_logged_out || is_replaced || self.left.get(&name).is_some_and(|at| *at + LATE >= renewed);
            // What a full disk was told to have kept out of the log may be in it after all.
            let is_left_over = self.full.is_some_and(|at| now - at < LATE);
            // What follows a stop at once comes before the step that sees its end.
            let lasted = self.stopped.filter(|at| self.was_long_still(now) && *at < told + self.lease * 9 / 10);
            if let Some(stopped) = lasted.filter(|_| !has_left && !is_left_over && self.moved < told) {
                let still = now - stopped;
                return Err(format!("the session of {name} ended as the supernode had stood still for {still:?}"));
            }
            // A clock may be fast by 2 %.
            let is_early = now - renewed > CROSSING && now - renewed < self.lease * 9 / 10;
            if is_early && !has_left && !is_left_over && self.moved < renewed {
                return Err(format!("the session of {name} ended {:?} after it was renewed", now - renewed));
            }
        }
        Ok(())
    }
}

impl Leases {
    /// Whether it stands still, or has until just now, for so long that it gives whole leases as after a start; two
    /// seconds more, as its clock may be slow and a step late
    fn was_long_still(&self, now: Instant) -> bool {
        self.stopped.is_some_and(|at| now - at > self.lease / 10 + Duration::from_secs(2))
    }
}

impl Oracle for Leases {
    fn name(&self) -> &'static str {
        "leases"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        match fault {
            Fault::Jump(node, _) if *node == self.supernode => (self.moved, self.held) = (now, now),
            Fault::Resume(node) | Fault::SlowDisk(node, _) if *node == self.supernode => self.held = now,
            _ => {}
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if let Observation::Released | Observation::Removing = seen {
            self.left.insert(name_of(node.0), now);
        }
        if node != self.supernode {
            match seen {
                Observation::Received { frame: Frame::Logout(logout), .. } => {
                    self.logged_out.insert(logout.session);
                }
                Observation::Received { frame: Frame::Login(login), .. } => {
                    self.elsewhere.insert(login.name.clone(), now);
                }
                _ => {}
            }
            return Ok(());
        }
        if let Observation::Applied(directory) = seen {
            return self.apply(now, directory);
        }
        self.register.see(seen);
        match seen {
            Observation::Started => (self.started, self.held, self.stopped) = (now, now, None),
            Observation::Received { link, frame } | Observation::Sent { link, frame } => {
                let when = match frame {
                    Frame::Renewed(_) | Frame::Granted(_) => &mut self.told,
                    Frame::Renew(_) | Frame::Login(_) => &mut self.asked,
                    Frame::Logout(_) => &mut self.left,
                    _ => return Ok(()),
                };
                if let Some(name) = self.register.other(*link) {
                    when.insert(name.clone(), now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let (supernode, now) = (world.node(self.supernode), world.now());
        if !supernode.runs() {
            self.stopped.get_or_insert(now);
        } else if self.was_long_still(now) {
            (self.started, self.stopped) = (now, None);
        } else {
            self.stopped = None;
        }
        if world.is_log_full() || world.is_log_ahead_of(self.supernode) {
            self.full = Some(now);
        }
        if !supernode.runs() || world.is_disk_slow(self.supernode) {
            self.held = now;
        }
        for name in self.register.present() {
            let renewed = self.asked.get(name).copied().unwrap_or_default().max(self.held);
            if now - renewed > self.lease + LATE {
                return Err(format!("{name} has a session, and has not asked for it for {:?}", now - renewed));
            }
        }
        Ok(())
    }
}
