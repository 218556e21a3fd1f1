//! Soon after a fault every packet has a way past it: how soon, depends on the kind of fault.
//!
//! Source: what is promised (docs/protocol.md, "Probes, silence and the end"): a link that closes is out of every
//! choice at once, and one that is silent after 2 s; so ways are whole again long before sessions end and tables change.
//! The packets of [`super::delivery`] are walked, from everybody to somebody else, as soon as the last fault has had its
//! time and whenever nothing happens for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::Address;
use kith_common::peer::PeerOutput;
use kith_common::time::Instant;

use super::delivery::{by_place, walk};
use super::homes::SLOW_WRITE;
use super::truth::{is_logged_in, is_writing};
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// After a link that closed, or news of one: a frame's way, a lost frame that TCP sends again, and a step
const CLOSED: Duration = Duration::from_secs(3);
/// After somebody fell silent: the first packet to it would find that out within 2 s, and until one is sent the next
/// probe of an idle link does; then what follows a link that closed
const SILENT: Duration = super::isolation::NOTICE.saturating_add(CLOSED);
/// After a cut: whoever has found his neighbours dead dials them again after some seconds
const CUT: Duration = Duration::from_secs(12);
/// After a link that broke again and again: the longest wait before a dial, and the dial
const OFTEN: Duration = Duration::from_secs(65);
/// A new member must have its links before packets are expected to find it
const SETTLED: Duration = Duration::from_secs(12);
/// While nothing happens it is looked at so often
const EVERY: Duration = Duration::from_secs(10);

/// When the last fault has had its time, and who is new
#[derive(Debug, Default)]
pub(crate) struct Healing {
    due: Instant,
    joined: BTreeMap<NodeId, Instant>,
    /// When a supernode last had a slow disk
    slow: Option<Instant>,
    /// Which packets are walked next
    round: usize,
}

impl Healing {
    fn wait(&mut self, now: Instant, bound: Duration) {
        self.due = self.due.max(now + bound);
    }
}

/// How long a fault of this kind may keep packets from their destinations
const fn bound(fault: &Fault) -> Duration {
    match fault {
        // Nothing of what a packet needs is concerned: the mesh routes without supernodes and disks. Who has lost all
        // neighbours meanwhile is what `step` waits for.
        Fault::Skew(..)
        | Fault::SlowDisk(..)
        | Fault::FullDisk(..)
        | Fault::FullLog(..)
        | Fault::CopyLog
        | Fault::Newcomer(_) => Duration::ZERO,
        Fault::Crash(..)
        | Fault::LeaderCrash(_)
        | Fault::Remove(_)
        | Fault::Reset(_)
        | Fault::Babble(_)
        | Fault::Start(_)
        | Fault::Weather(_) => CLOSED,
        Fault::HalfOpen(_) | Fault::PowerCut(..) | Fault::Pause(..) | Fault::Jump(..) => SILENT,
        // Each link that breaks as soon as it is up is dialled later.
        Fault::Flap(..) => OFTEN,
        Fault::Cut(..)
        | Fault::Resume(_)
        | Fault::LogBack(_)
        | Fault::Blackout(_)
        | Fault::NoQuorum(..)
        | Fault::OddHellos(_) => CUT,
    }
}

impl Oracle for Healing {
    fn name(&self) -> &'static str {
        "healing"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        self.wait(now, bound(fault));
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Peer(PeerOutput::LoggedIn) => drop(self.joined.insert(node, now)),
            Observation::Started | Observation::Wants(_) => self.wait(now, CLOSED),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        if world.config.supernodes().any(|supernode| world.is_disk_slow(supernode)) {
            self.slow = Some(now);
        }
        // A supernode that cannot write, or waits for a slow disk, brings no new neighbours to those who have lost theirs.
        let is_slow = self.slow.is_some_and(|at| now - at < SLOW_WRITE) && world.supernodes().any(is_writing);
        if world.net.is_cut() || world.is_log_full() || is_slow {
            self.wait(now, CUT);
        }
        if now < self.due {
            return Ok(());
        }
        self.due = now + EVERY;
        let old = |node: NodeId| self.joined.get(&node).is_some_and(|at| now - *at >= SETTLED);
        // Whoever has just lost its home forwards on, and is not where packets are expected to arrive.
        let forwarders = by_place(world, Node::runs);
        let ends = by_place(world, |node| is_logged_in(node) && old(node.id));
        let places: Vec<Address> =
            ends.into_iter().filter_map(|(place, (_, is_core))| is_core.then_some(place)).collect();
        self.round += 1;
        let mut caches = BTreeMap::new();
        for (number, from) in places.iter().enumerate() {
            let to = places.get((number + self.round) % places.len()).filter(|to| *to != from);
            if let Some(to) = to {
                walk(world, &forwarders, &mut caches, (number * self.round) as u64, *from, *to)?;
            }
        }
        Ok(())
    }
}
