//! Nobody is put out by another's death: a session of a peer that is well lasts, whatever befalls supernodes.
//!
//! Source: only its home judges a session, and the leader ends those of a home that is gone one lease after it saw it go
//! (docs/protocol.md, "Between supernodes"). In that time a peer that runs, and that can reach a supernode that hears the
//! log, has found another home. That nobody led for a while changes nothing: whoever leads next counts a whole lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::directory::Directory;
use kith_common::id::{Address, Name, SessionId, SupernodeId};
use kith_common::peer::PeerOutput;
use kith_common::time::Instant;

use super::fine::Fine;
use super::patience::Patience;
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
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
    /// Each with its name, its home and its place
    sessions: BTreeMap<SessionId, (Name, SupernodeId, Address)>,
    nodes: BTreeMap<Name, NodeId>,
    /// When each name was given free or its key barred, or its peer logged out or wanted in anew
    left: BTreeMap<Name, Instant>,
    /// The peers whose processes hold what they were granted: others want a new session, and give the old one up
    holding: BTreeSet<NodeId>,
    /// The places that peers were granted last: a session at another one is of a login of which its peer was not told, and
    /// that it gives up with its next one
    places: BTreeMap<NodeId, Address>,
    disturbed: Instant,
    patience: Patience,
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
            holding: BTreeSet::new(),
            places: BTreeMap::new(),
            disturbed: Instant::ZERO,
            patience: Patience::default(),
            full: BTreeSet::new(),
        }
    }

    fn look(&mut self, now: Instant, directory: &Directory) -> Result<(), String> {
        let sessions = directory.sessions();
        let sessions = sessions.map(|session| (session.id, (session.name.clone(), session.home, session.address)));
        let before = std::mem::replace(&mut self.sessions, sessions.collect());
        if !self.full.is_empty() || now - self.disturbed < self.lease * 2 + SPARE {
            return Ok(());
        }
        for (_, (name, home, place)) in before.into_iter().filter(|(session, _)| !self.sessions.contains_key(session)) {
            let has_left = self.left.get(&name).is_some_and(|at| now - *at < self.lease + SPARE);
            let holds = |node: &&NodeId| self.holding.contains(*node) && self.places.get(*node) == Some(&place);
            let holder = self.nodes.get(&name).filter(holds);
            let since = holder.and_then(|node| self.fine.since(*node));
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
                self.holding.remove(&node);
            }
            Observation::Started | Observation::Killed => {
                self.fine.disturb(node);
                self.holding.remove(&node);
            }
            Observation::Peer(PeerOutput::LoggedIn) => _ = self.holding.insert(node),
            Observation::LogWentBack => self.disturbed = now,
            Observation::Agreed(directory) => return self.look(now, directory),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        self.fine.step(world);
        self.patience.step(world);
        let excused = world.peers().filter(|node| self.patience.excuses(world, node, SPARE));
        excused.for_each(|node| self.fine.disturb(node.id));
        let place = |node: &Node| Some((node.id, node.place()?));
        self.places.extend(world.peers().filter_map(place));
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "mutants")]
mod tests {
    use kith_common::mutant::Mutant;

    use super::*;
    use crate::mesh::faults::Effect;
    use crate::oracles;

    /// What this oracle alone says of a run in which supernodes die that lead
    fn judged(mutant: Option<Mutant>) -> Option<String> {
        let kinds = [Effect::LeaderCrash].into();
        let (faults, fault_every) = (Duration::from_secs(300), Duration::from_secs(60));
        let config = MeshConfig { supernodes: 3, degree: 4, faults, fault_every, kinds, ..MeshConfig::new(1, 12) };
        oracles::judged(&config, Judgement::new(&config), mutant)
    }

    #[test]
    fn sessions_that_a_new_leader_ends_as_the_one_before_it_died_are_missed() {
        assert!(judged(Some(Mutant::HomeGoneEndsAtOnce)).is_some_and(|what| what.contains("it was well for")));
        assert_eq!(judged(None), None);
    }
}
