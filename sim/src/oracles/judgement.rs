//! Nobody is put out by another's death: a session of a peer that is well lasts, whatever befalls supernodes.
//!
//! Source: only its home judges a session, and the leader ends those of a home that is gone one lease after it saw it go
//! (docs/protocol.md, "Between supernodes"). In that time a peer that runs, and that can reach a supernode that hears the
//! log, has found another home.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::directory::Directory;
use kith_common::id::{Name, SessionId, SupernodeId};
use kith_common::time::Instant;

use super::fine::Fine;
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// A step, a slow disk and a slow clock
const SPARE: Duration = Duration::from_secs(15);

/// Who is well, and whose sessions there are
#[derive(Debug)]
pub(crate) struct Judgement {
    lease: Duration,
    supernodes: u32,
    fine: Fine,
    sessions: BTreeMap<SessionId, (Name, SupernodeId)>,
    nodes: BTreeMap<Name, NodeId>,
    /// When each name was given free or its key barred, or its peer logged out or wanted in anew
    left: BTreeMap<Name, Instant>,
    disturbed: Instant,
    /// Those whose disk with the log is full
    full: BTreeSet<NodeId>,
}

impl Judgement {
    /// Nobody has a session
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let nodes = (config.supernodes..config.machines()).map(|number| (name_of(number), NodeId(number))).collect();
        Self {
            lease: config.lease,
            supernodes: config.supernodes,
            fine: Fine::default(),
            sessions: BTreeMap::new(),
            nodes,
            left: BTreeMap::new(),
            disturbed: Instant::ZERO,
            full: BTreeSet::new(),
        }
    }

    fn look(&mut self, now: Instant, directory: &Directory) -> Result<(), String> {
        let sessions = directory.sessions().map(|session| (session.id, (session.name.clone(), session.home)));
        let before = std::mem::replace(&mut self.sessions, sessions.collect());
        if !self.full.is_empty() || now - self.disturbed < self.lease * 2 + SPARE {
            return Ok(());
        }
        for (_, (name, home)) in before.into_iter().filter(|(session, _)| !self.sessions.contains_key(session)) {
            let has_left = self.left.get(&name).is_some_and(|at| now - *at < self.lease + SPARE);
            let since = self.nodes.get(&name).and_then(|node| self.fine.since(*node));
            if let Some(since) = since.filter(|since| !has_left && now - *since > self.lease + SPARE) {
                let well = now - since;
                return Err(format!("the session of {name}, at home at {home}, ended, and it was well for {well:?}"));
            }
        }
        Ok(())
    }
}

impl Oracle for Judgement {
    fn name(&self) -> &'static str {
        "judgement"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        match fault {
            // Clocks that jump end leases early. Disks that are full end them late, and let nobody in for as long as they
            // are.
            Fault::Jump(node, _) if node.0 < self.supernodes => self.disturbed = now,
            Fault::Jump(node, _) => self.fine.disturb(*node),
            Fault::FullLog(node, true) => _ = self.full.insert(*node),
            Fault::FullLog(node, false) => {
                self.full.remove(node);
                self.disturbed = now;
            }
            _ => {}
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Released | Observation::Removing | Observation::Wants(_) => {
                self.left.insert(name_of(node.0), now);
            }
            Observation::Started | Observation::Killed => self.fine.disturb(node),
            Observation::LogWentBack => self.disturbed = now,
            Observation::Agreed(directory) => return self.look(now, directory),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        self.fine.step(world);
        Ok(())
    }
}
