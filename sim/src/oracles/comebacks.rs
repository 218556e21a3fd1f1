//! When supernodes are back that had all been away, everybody is soon where the directory says.
//!
//! Source: the promise for zero supernodes: within 30 s of the return the directory and the ring agree again. It is of
//! supernodes that do not run, whose machines say so.

use std::time::Duration;

use kith_common::time::Instant;

use super::patience::Patience;
use super::truth::{home, is_logged_in};
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Shorter absences are what other oracles look at
const AWAY: Duration = Duration::from_secs(20);
/// The promise, with a slow clock and a step
const AGREED: Duration = Duration::from_secs(32);

/// Since when there is a supernode again, and since when nothing else has happened
#[derive(Debug, Default)]
pub(crate) struct Comebacks {
    away: Option<Instant>,
    back: Option<Instant>,
    disturbed: Instant,
    patience: Patience,
}

impl Comebacks {
    /// Whether a peer is where the directory says that it is
    fn is_placed(world: &World, node: &Node) -> bool {
        let own = node.place();
        let place = own.filter(|_| is_logged_in(node) && home(world, node).is_some());
        place.zip(world.directory()).is_some_and(|(place, directory)| {
            directory.by_address(place).is_some_and(|session| session.name == node.name && session.suspect.is_none())
        })
    }
}

impl Oracle for Comebacks {
    fn name(&self) -> &'static str {
        "comebacks"
    }

    fn fault(&mut self, now: Instant, _: &Fault) {
        self.disturbed = now;
    }

    fn see(&mut self, now: Instant, _: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if let Observation::Started | Observation::Killed | Observation::Wants(_) | Observation::Released = seen {
            self.disturbed = now;
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        self.patience.step(world);
        if world.supernodes().all(|node| node.process.is_none()) {
            self.back = None;
            self.away.get_or_insert(now);
            return Ok(());
        }
        if world.leading().is_none() || world.is_log_full() {
            self.disturbed = now;
            return Ok(());
        }
        if self.away.take().is_some_and(|away| now - away >= AWAY) {
            self.back = Some(now);
        }
        if world.net.is_cut() || world.supernodes().any(|node| !node.runs() || world.is_disk_slow(node.id)) {
            self.disturbed = now;
        }
        let Some(back) = self.back.filter(|back| now - (*back).max(self.disturbed) > AGREED) else { return Ok(()) };
        self.back = None;
        let is_due = |node: &&Node| !self.patience.excuses(world, node, AGREED);
        let mut peers = world.peers().filter(|node| node.runs() && node.wants_session).filter(is_due);
        match peers.find(|node| !Self::is_placed(world, node)) {
            Some(node) => Err(format!(
                "{} is not where the directory says, {:?} after the supernodes were back",
                node.name,
                now - back
            )),
            None => Ok(()),
        }
    }
}
