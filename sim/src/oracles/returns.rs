//! A peer that is suspected again and again comes back later each time.
//!
//! Source: `kith_common::supernode`'s suspicion: the second time it waits for 1 s once it is heard again, then for 2 s, 4 s
//! and 8 s, unless a minute without a suspicion lies between. Half of that is asked for here, since a suspicion stands in
//! the log somewhat later than it was judged; and a login that was there before it goes its way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kith_common::id::{Name, SessionId, SupernodeId};
use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::register::Register;
use crate::mesh::faults::Fault;
use crate::mesh::log::Replica;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// Suspicions that are surely not forgiven
const REMEMBERED: Duration = Duration::from_secs(50);
/// Half of what the second one costs …
const BACK_MIN: Duration = Duration::from_millis(500);
/// … and of what the longest does
const BACK_MAX: Duration = Duration::from_secs(4);
/// A disk that is slow, or a clock that jumped, may still be at what was judged so long ago
const DISTURBED: Duration = Duration::from_secs(60);

/// The suspicions of one supernode
#[derive(Debug)]
pub(crate) struct Returns {
    supernode: NodeId,
    id: SupernodeId,
    /// When each session was suspected, in one life of the supernode
    suspected: BTreeMap<SessionId, VecDeque<Instant>>,
    suspects: BTreeMap<SessionId, Instant>,
    register: Register,
    /// When each peer asked last to be logged in
    logins: BTreeMap<Name, Instant>,
    disturbed: Option<Instant>,
    /// It has just started, and knows of its suspects no more than that they are
    has_started: bool,
}

impl Returns {
    /// Nobody was suspected yet
    pub(crate) fn of(supernode: NodeId) -> Self {
        let id = Replica(supernode.index()).id();
        Self {
            supernode,
            id,
            suspected: BTreeMap::new(),
            suspects: BTreeMap::new(),
            register: Register::of(supernode),
            logins: BTreeMap::new(),
            disturbed: None,
            has_started: true,
        }
    }
}

impl Oracle for Returns {
    fn name(&self) -> &'static str {
        "returns"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if let Fault::SlowDisk(node, _) | Fault::Jump(node, _) | Fault::Pause(node, _) = fault
            && *node == self.supernode
        {
            self.disturbed = Some(now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if node != self.supernode {
            return Ok(());
        }
        self.register.see(seen);
        let directory = match seen {
            Observation::Started => {
                (self.suspected, self.suspects, self.has_started) = (BTreeMap::new(), BTreeMap::new(), true);
                return Ok(());
            }
            Observation::Received { link, frame: Frame::Login(_) } => {
                let name = self.register.other(*link).cloned();
                self.logins.extend(name.map(|name| (name, now)));
                return Ok(());
            }
            Observation::Applied(directory) => directory,
            _ => return Ok(()),
        };
        let is_disturbed = self.disturbed.is_some_and(|at| now - at < DISTURBED);
        let has_started = std::mem::take(&mut self.has_started);
        let mut suspects = BTreeMap::new();
        for session in directory.sessions().filter(|session| session.home == self.id) {
            let before = self.suspects.get(&session.id).copied();
            let suspected = self.suspected.entry(session.id).or_default();
            match (session.suspect, before) {
                (Some(_), Some(since)) => drop(suspects.insert(session.id, since)),
                (Some(_), None) => {
                    if !has_started {
                        suspected.push_back(now);
                    }
                    suspects.insert(session.id, now);
                }
                (None, Some(since)) => {
                    suspected.retain(|at| now - *at < REMEMBERED);
                    let doublings = u32::try_from(suspected.len().saturating_sub(2)).unwrap_or(u32::MAX);
                    let least = BACK_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(BACK_MAX);
                    let was_before = self.logins.get(&session.name).is_some_and(|asked| *asked <= since);
                    if suspected.len() > 1 && now - since < least && !was_before && !is_disturbed {
                        let (name, times) = (&session.name, suspected.len());
                        return Err(format!(
                            "{name}, a suspect for the {times}. time, is back after {:?}",
                            now - since
                        ));
                    }
                }
                (None, None) => {}
            }
        }
        self.suspected.retain(|session, _| directory.session(*session).is_some());
        self.suspects = suspects;
        Ok(())
    }
}
