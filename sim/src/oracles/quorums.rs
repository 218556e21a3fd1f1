//! While there is no quorum no answer is sure, and soon after its return everybody is served again.
//!
//! Source: the promise for a quorum that is away: what is answered meanwhile is marked, and within 10 s of the return logins
//! are granted and look-ups are sure. That nothing is acknowledged which is not in the log is what
//! [`super::acknowledged`] looks at, and that the mesh forwards on is for [`super::outages`].

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::status::Status;
use kith_common::supernode::READ_WAIT;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::{Found, LookUp};

use super::patience::Patience;
use super::truth::{home, is_logged_in};
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::processes::replica;
use crate::mesh::watch::Observation;
use crate::mesh::world::{WRITE, World};

/// The promise, of which an election takes 2 s; the rest is for the longest wait of a search between two tries, which is 6 s
const SERVED: Duration = Duration::from_secs(10);
/// A dial, a slow clock, and a step
const SPARE: Duration = Duration::from_secs(2);
/// A quorum that was away for less is what other oracles look at
const AWAY: Duration = Duration::from_secs(5);
/// Answers in a row that are marked where none need be: the log may be late to say how far it is, now and then
const UNSURE_MAX: u32 = 3;
/// Questions that are remembered; at the bound all are forgotten
const ASKED_MAX: usize = 4_096;

/// Since when there is a quorum, or none
#[derive(Debug)]
pub(crate) struct Quorums {
    supernodes: u32,
    /// Since when there has been none
    lost: Option<Instant>,
    /// Since when there is one again
    back: Option<Instant>,
    /// When supernodes, their disks or their ways were last other than they should be
    disturbed: Instant,
    patience: Patience,
    /// When each peer's process or user last began anew
    begun: BTreeMap<NodeId, Instant>,
    /// When each supernode was asked what, on which link, and whether only a sure answer would do
    asked: BTreeMap<(NodeId, u64, u64), (Instant, bool)>,
    /// Answers in a row that were marked, though all was well; those that waited for one word of the log are one
    unsure: u32,
    /// When the question was asked that was counted last
    unsure_at: Instant,
}

impl Quorums {
    /// There is a quorum
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self {
            supernodes: config.supernodes,
            lost: None,
            back: None,
            disturbed: Instant::ZERO,
            patience: Patience::default(),
            begun: BTreeMap::new(),
            asked: BTreeMap::new(),
            unsure: 0,
            unsure_at: Instant::ZERO,
        }
    }

    fn on_asked(&mut self, now: Instant, node: NodeId, link: u64, look_up: &LookUp) {
        if self.asked.len() >= ASKED_MAX {
            self.asked.clear();
        }
        self.asked.insert((node, link, look_up.query), (now, !look_up.may_be_stale));
    }

    fn on_found(&mut self, now: Instant, node: NodeId, link: u64, found: &Found) -> Result<(), String> {
        let Some((asked, is_to_be_sure)) = self.asked.remove(&(node, link, found.query)) else { return Ok(()) };
        if let Some(lost) = self.lost.filter(|lost| *lost <= asked && !found.is_stale) {
            return Err(format!("gives a sure answer, and there has been no quorum for {:?}", now - lost));
        }
        let is_well = self.lost.is_none() && asked - self.disturbed >= SERVED + SPARE;
        let is_answer = matches!(found.status, Status::Delivered | Status::NotFound | Status::Gone);
        if !is_well || !is_to_be_sure || !is_answer || !found.is_stale {
            self.unsure = 0;
            return Ok(());
        }
        if asked - self.unsure_at < READ_WAIT {
            return Ok(());
        }
        self.unsure += 1;
        self.unsure_at = asked;
        if self.unsure >= UNSURE_MAX {
            let well = now - self.disturbed;
            return Err(format!("marks the {UNSURE_MAX}rd answer in a row, and all has been well for {well:?}"));
        }
        Ok(())
    }

    /// Whether a peer is logged in at a supernode that hears the log
    fn is_served(world: &World, node: &Node) -> bool {
        is_logged_in(node) && home(world, node).is_some_and(|home| world.hears_log(home))
    }
}

impl Oracle for Quorums {
    fn name(&self) -> &'static str {
        "quorums"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        // What befalls a peer's process excuses that peer alone.
        let is_peers = match fault {
            Fault::Crash(node, _) | Fault::Start(node) => node.0 >= self.supernodes,
            _ => false,
        };
        if !is_peers {
            self.disturbed = now;
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Quorum(false) => (self.lost, self.back) = (Some(now), None),
            Observation::Quorum(true) => {
                self.back = self.lost.take().filter(|lost| now - *lost >= AWAY).map(|_| now);
            }
            Observation::Started | Observation::Killed if node.0 < self.supernodes => self.disturbed = now,
            Observation::LogWentBack => self.disturbed = now,
            Observation::Started | Observation::Wants(_) | Observation::Released | Observation::Removing => {
                self.begun.insert(node, now);
            }
            Observation::Received { link, frame: Frame::LookUp(look_up) } if node.0 < self.supernodes => {
                self.on_asked(now, node, *link, look_up);
            }
            Observation::Sent { link, frame: Frame::Found(found) } if node.0 < self.supernodes => {
                return self.on_found(now, node, *link, found);
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        let is_unwell = |node: &Node| !node.runs() || node.write > WRITE || world.log.is_full(replica(node.id));
        if world.net.is_cut() || world.supernodes().any(is_unwell) {
            self.disturbed = now;
        }
        self.patience.step(world);
        let Some(back) = self.back.filter(|back| now - (*back).max(self.disturbed) >= SERVED + SPARE) else {
            return Ok(());
        };
        self.back = None;
        let is_due = |node: &&Node| {
            if self.patience.excuses(world, node, SERVED + SPARE) {
                return false;
            }
            let begun = self.begun.get(&node.id).copied().unwrap_or_default();
            node.runs() && node.wants_session && now - begun >= SERVED + SPARE
        };
        match world.peers().filter(is_due).find(|node| !Self::is_served(world, node)) {
            Some(node) => Err(format!("{} is not served, {:?} after the quorum was back", node.name, now - back)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_common::id::Name;
    use kith_common::wire::session::Subject;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    /// A question at `asked`, and what is thought of the answer a moment later
    fn ask(oracle: &mut Quorums, asked: Instant, is_stale: bool) -> Result<(), String> {
        let name: Name = crate::mesh::users::name_of(7);
        let look_up = LookUp { query: 1, ttl: 0, subject: Subject::Name(name), may_be_stale: false };
        oracle.on_asked(asked, NodeId(0), 3, &look_up);
        let found = Found { query: 1, status: Status::NotFound, record: None, index: 9, is_stale };
        oracle.on_found(asked + Duration::from_millis(5), NodeId(0), 3, &found)
    }

    #[test]
    fn sure_answers_without_a_quorum_and_marked_ones_with_one_are_objected_to() {
        let mut oracle = Quorums::new(&MeshConfig { supernodes: 3, ..MeshConfig::new(1, 4) });
        let quorum = |oracle: &mut Quorums, now, is| oracle.see(now, NodeId(0), &Observation::Quorum(is));
        assert_eq!(ask(&mut oracle, at(20), false), Ok(()));
        quorum(&mut oracle, at(30), false).unwrap();
        assert_eq!(ask(&mut oracle, at(31), true), Ok(()));
        assert!(ask(&mut oracle, at(32), false).unwrap_err().contains("no quorum"));
        quorum(&mut oracle, at(60), true).unwrap();
        oracle.fault(at(60), &Fault::Start(NodeId(1)));
        let answers: Vec<_> = (0..6).map(|second| ask(&mut oracle, at(69 + second), true)).collect();
        assert!(answers[..5].iter().all(Result::is_ok), "{answers:?}");
        assert!(answers[5].as_ref().is_err_and(|what| what.contains("in a row")));
    }
}
