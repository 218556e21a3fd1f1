//! However many are lost at once, a supernode takes no more than a few of them out of the ring at a time.
//!
//! Source: the rule for suspicions (docs/routing.md): in a third of a lease a twentieth of those who are at home with a
//! supernode are suspected, at least sixteen, and as many at once after a quiet time. A supernode that starts, or that
//! has another hour than before, counts anew.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use kith_common::directory::{Directory, Session};
use kith_common::id::{SessionId, SupernodeId};
use kith_common::session::LEASE_DEFAULT;
use kith_common::time::Instant;

use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// In which as many are suspected as at once; a clock may run a fiftieth fast
const THIRD: Duration = LEASE_DEFAULT.saturating_mul(98).checked_div(300).expect("a divisor");

/// Of how many one, and how many at least
const SHARE: usize = 20;
const LEAST: usize = 16;

/// Who was a suspect before and is one again, as a login was under way when it was lost, takes no turn
const SPARE: usize = 8;

/// Who was suspected in the last third of a lease, by all supernodes or by one
#[derive(Debug, Default)]
pub(super) struct Crowd {
    by: Option<SupernodeId>,
    suspects: BTreeSet<SessionId>,
    at: VecDeque<Instant>,
    most: usize,
}

impl Crowd {
    pub(super) fn of(supernode: SupernodeId) -> Self {
        Self { by: Some(supernode), ..Self::default() }
    }

    pub(super) fn apply(&mut self, now: Instant, directory: &Directory) {
        let is_own = |session: &&Session| self.by.is_none_or(|id| session.home == id);
        let suspects: BTreeSet<SessionId> = directory.suspects().filter(is_own).map(|session| session.id).collect();
        self.at.extend(suspects.difference(&self.suspects).map(|_| now));
        self.suspects = suspects;
        let here = directory.sessions().filter(is_own).count();
        self.most = (here / SHARE).max(LEAST);
    }

    /// How many within this time
    fn within(&mut self, now: Instant, time: Duration) -> usize {
        self.at.retain(|at| now - *at <= THIRD * 2);
        self.at.iter().filter(|at| now - **at <= time).count()
    }

    /// Whether others wait their turn
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.within(now, THIRD * 103 / 98) >= self.most
    }
}

/// What all supernodes suspect
#[derive(Debug)]
pub(crate) struct Crowds {
    crowd: Crowd,
    supernodes: u32,
    leader: NodeId,
}

impl Crowds {
    /// Nobody is suspected
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self { crowd: Crowd::default(), supernodes: config.supernodes, leader: config.leader() }
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
            Observation::Applied(directory) if node == self.leader => {
                self.crowd.apply(now, directory);
                let (suspected, most) =
                    (self.crowd.within(now, THIRD), 2 * self.crowd.most * self.supernodes as usize + SPARE);
                if suspected > most {
                    return Err(format!("{suspected} were suspected within {THIRD:?}, more than {most}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
