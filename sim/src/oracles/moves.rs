//! A session has one home, which is where its peer's link is; and a peer whose home is gone soon has another.
//!
//! Source: a session is at home at the supernode that its peer has logged in to last. A peer notices a home that is gone
//! within a third of a lease, finds the next one within a second or some, and its home follows in the log.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::SessionId;
use kith_common::time::Instant;

use super::fine::Fine;
use super::truth::{home, is_logged_in};
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::processes::replica;
use crate::mesh::world::World;

/// For a command and its news to come everywhere, late and with slow clocks
const TOLD: Duration = Duration::from_secs(12);

/// Since when what should not last
#[derive(Debug, Default)]
pub(crate) struct Moves {
    fine: Fine,
    /// Of whom the log and the link say different homes
    torn: BTreeMap<NodeId, Instant>,
    /// Which sessions have links at two supernodes
    doubled: BTreeMap<SessionId, Instant>,
    /// Which supernodes do not run
    dead: BTreeMap<NodeId, Instant>,
    /// When the log last was not led, or somebody's disk was slow
    disturbed: Instant,
}

impl Moves {
    /// From a home's death to another home of its peers
    fn moved(world: &World) -> Duration {
        world.config.lease / 3 + TOLD + Duration::from_secs(10)
    }

    fn check_links(&mut self, world: &World, node: &Node, before: Option<Instant>) -> Result<(), String> {
        let Some(linked) = home(world, node).filter(|_| is_logged_in(node)) else { return Ok(()) };
        let own = node.place();
        let directory = world.directory();
        let session = directory.zip(own).and_then(|(directory, own)| directory.by_address(own));
        // Who has no session by now is told so, once it can be; others look at that.
        let session = session.filter(|_| world.can_talk(linked, node.id));
        let Some(said) = session.filter(|session| session.home != replica(linked).id()) else { return Ok(()) };
        let since = before.unwrap_or(world.now());
        if world.now() - since.max(self.disturbed) > TOLD && world.hears_log(linked) {
            let name = &node.name;
            return Err(format!(
                "{name} is linked to {}, and the log says it is at home at {}",
                linked.0 + 1,
                said.home
            ));
        }
        self.torn.insert(node.id, since);
        Ok(())
    }

    fn check_dead(&self, world: &World, node: &Node) -> Result<(), String> {
        let now = world.now();
        let own = node.place();
        let session = world.directory().zip(own).and_then(|(directory, own)| directory.by_address(own));
        let Some(session) = session.filter(|_| is_logged_in(node)) else { return Ok(()) };
        let dead = self.dead.iter().find(|(supernode, _)| replica(**supernode).id() == session.home);
        let (Some((_, dead)), Some(well)) = (dead, self.fine.since(node.id)) else { return Ok(()) };
        let since = (*dead).max(well).max(self.disturbed);
        if now - since > Self::moved(world) {
            return Err(format!(
                "{} has been at home at {}, which is dead, for {:?}",
                node.name,
                session.home,
                now - since
            ));
        }
        Ok(())
    }

    fn check_doubled(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        let mut homes: BTreeMap<SessionId, usize> = BTreeMap::new();
        for node in world.supernodes().filter(|node| world.hears_log(node.id)) {
            let Some(supernode) = node.supernode() else { continue };
            let sessions = supernode.core.directory().sessions().map(|session| session.id);
            for session in sessions.filter(|session| supernode.core.home_of(*session).is_some()) {
                *homes.entry(session).or_default() += 1;
            }
        }
        let before = std::mem::take(&mut self.doubled);
        for (session, _) in homes.into_iter().filter(|(_, count)| *count > 1) {
            let since = *before.get(&session).unwrap_or(&now);
            if now - since.max(self.disturbed) > TOLD {
                return Err(format!("session {session} has been at home at two supernodes for {:?}", now - since));
            }
            self.doubled.insert(session, since);
        }
        Ok(())
    }
}

impl Oracle for Moves {
    fn name(&self) -> &'static str {
        "moves"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) = fault {
            self.fine.disturb(*node);
            self.disturbed = now;
        }
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if !world.must_agree() {
            return Ok(());
        }
        let now = world.now();
        self.fine.step(world);
        let is_slow = |supernode: NodeId| world.node(supernode).runs() && world.is_disk_slow(supernode);
        if world.leading().is_none() || world.config.supernodes().any(is_slow) {
            self.disturbed = now;
        }
        for node in world.supernodes() {
            if node.process.is_none() {
                self.dead.entry(node.id).or_insert(now);
            } else {
                self.dead.remove(&node.id);
            }
        }
        let before = std::mem::take(&mut self.torn);
        for node in world.peers() {
            self.check_links(world, node, before.get(&node.id).copied())?;
            self.check_dead(world, node)?;
        }
        self.check_doubled(world)
    }
}
