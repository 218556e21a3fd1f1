//! However many are lost at once, a supernode takes no more than a few of them out of the ring at a time.
//!
//! Source: the rule for suspicions (docs/routing.md): in a third of a lease a twentieth of those who are at home with a
//! supernode are suspected, at least sixteen, and as many at once after a quiet time. A supernode that starts, or that
//! has another hour than before, counts anew.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use kith_common::directory::{Directory, Session};
use kith_common::id::{SessionId, SupernodeId};
use kith_common::time::Instant;

use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// Of how many one, and how many at least
const SHARE: usize = 20;
const LEAST: usize = 16;

/// Who was a suspect before and is one again, as a login was under way when it was lost, takes no turn
const SPARE: usize = 8;

/// Who was suspected in the last third of a lease, by all supernodes or by one
#[derive(Debug)]
pub(super) struct Crowd {
    by: Option<SupernodeId>,
    /// Of a lease: in which as many are suspected as at once
    third: Duration,
    suspects: BTreeSet<SessionId>,
    at: VecDeque<Instant>,
    /// How many may be at once, the least and the most of all looks since a quiet one: sessions come and go meanwhile
    bounds: (usize, usize),
}

impl Crowd {
    pub(super) fn of(supernode: SupernodeId, lease: Duration) -> Self {
        Self { by: Some(supernode), ..Self::of_all(lease) }
    }

    fn of_all(lease: Duration) -> Self {
        let (suspects, at) = Default::default();
        Self { by: None, third: lease / 3, suspects, at, bounds: (LEAST, LEAST) }
    }

    pub(super) fn apply(&mut self, now: Instant, directory: &Directory) {
        let is_own = |session: &&Session| self.by.is_none_or(|id| session.home == id);
        let suspects: BTreeSet<SessionId> = directory.suspects().filter(is_own).map(|session| session.id).collect();
        self.at.extend(suspects.difference(&self.suspects).map(|_| now));
        self.suspects = suspects;
        let here = directory.sessions().filter(is_own).count();
        let bound = (here / SHARE).max(LEAST);
        let (least, most) = if self.within(now, self.third * 2) == 0 { (bound, bound) } else { self.bounds };
        self.bounds = (least.min(bound), most.max(bound));
    }

    /// How many within this time
    fn within(&mut self, now: Instant, time: Duration) -> usize {
        self.at.retain(|at| now - *at <= self.third * 2);
        self.at.iter().filter(|at| now - **at <= time).count()
    }

    /// Whether others wait their turn
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        // A clock may run a fiftieth slow, or fast.
        self.within(now, self.third * 51 / 50) >= self.bounds.0
    }
}

/// What all supernodes suspect
#[derive(Debug)]
pub(crate) struct Crowds {
    crowd: Crowd,
    supernodes: u32,
}

impl Crowds {
    /// Nobody is suspected
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self { crowd: Crowd::of_all(config.lease), supernodes: config.supernodes }
    }
}

impl Oracle for Crowds {
    fn name(&self) -> &'static str {
        "crowds"
    }

    fn fault(&mut self, _: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) | Fault::Pause(node, _) = fault
            && node.0 < self.supernodes
        {
            self.crowd.at.clear();
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started if node.0 < self.supernodes => self.crowd.at.clear(),
            Observation::Agreed(directory) => {
                self.crowd.apply(now, directory);
                let (suspected, most) = (
                    self.crowd.within(now, self.crowd.third * 49 / 50),
                    2 * self.crowd.bounds.1 * self.supernodes as usize + SPARE,
                );
                if suspected > most {
                    return Err(format!("{suspected} were suspected within a third of a lease, more than {most}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
