//! Whoever has logged out stays out until its user wants it back.
//!
//! Source: a logout ends the session for everybody (docs/protocol.md, "Logout"): no grant comes after it, nobody holds
//! a session under that name, and no retry of an earlier login brings one back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::peer::PeerOutput;
use kith_common::time::Instant;

use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// A logout that is not answered ends by itself, and the lease ends the session; the rest is for slow disks and clocks
const SETTLED: Duration = Duration::from_secs(30);

/// Who is wanted in, and since when each of the others has been out by its own word
#[derive(Debug)]
pub(crate) struct Departures {
    unwanted: BTreeSet<NodeId>,
    out: BTreeMap<NodeId, Instant>,
    supernodes: u32,
    /// When a supernode last gave every session a whole lease: at a start, after a long stop, or by what a log held that
    /// was not known
    began: Instant,
    /// Since when it has run with a log that takes what it says
    able: Instant,
    /// Since when it stands still, if it does
    stopped: Option<Instant>,
}

impl Departures {
    /// Nobody has logged out
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let (unwanted, out) = (BTreeSet::new(), BTreeMap::new());
        let [began, able] = [Instant::ZERO; 2];
        Self { unwanted, out, supernodes: config.supernodes, began, able, stopped: None }
    }
}

impl Oracle for Departures {
    fn name(&self) -> &'static str {
        "departures"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if matches!(fault, Fault::Jump(node, _) if node.0 < self.supernodes) {
            self.began = now;
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            // A process that starts logs in, whatever the one before it was told.
            Observation::Wants(true) | Observation::Started => {
                if node.0 < self.supernodes {
                    self.began = now;
                }
                self.unwanted.remove(&node);
                self.out.remove(&node);
            }
            // An older log may have the sessions that were over, and a lease ends each.
            Observation::LogWentBack => self.out.values_mut().for_each(|since| *since = now),
            Observation::Wants(false) => drop(self.unwanted.insert(node)),
            // Whoever was wanted back while it logged out goes in again at once.
            Observation::Peer(PeerOutput::LoggedOut { .. }) if self.unwanted.contains(&node) => {
                self.out.insert(node, now);
            }
            Observation::Peer(PeerOutput::LoggedIn) if self.out.contains_key(&node) => {
                return Err("is logged in, though its user has logged it out".into());
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let Some(directory) = world.directory() else { return Ok(()) };
        let (now, lease) = (world.now(), world.config.lease);
        let runs = world.supernodes().all(Node::runs);
        let is_ahead = !world.must_agree() && world.is_log_ahead_of(world.config.leader());
        if !runs {
            self.stopped.get_or_insert(now);
        } else if self.stopped.take().is_some_and(|at| now - at > lease / 10) || is_ahead {
            self.began = now;
        }
        if !runs || world.is_log_full() || world.config.supernodes().any(|supernode| !world.hears_log(supernode)) {
            self.able = now;
        }
        for (node, since) in &self.out {
            let machine = world.node(*node);
            let session = directory.account(&machine.name).and_then(|account| account.session);
            let is_over = now - self.began.max(*since) > lease + SETTLED && now - self.able.max(*since) > SETTLED;
            if session.is_some() && is_over {
                return Err(format!("{} logged out {:?} ago, and has a session", machine.name, now - *since));
            }
        }
        Ok(())
    }
}
