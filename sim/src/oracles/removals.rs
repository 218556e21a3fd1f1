//! Who was removed for good is out, by everybody who can know.
//!
//! Source: an operator's removal bars a key for good (docs/protocol.md, "Who was removed"): the supernode tells all who
//! are at home, and whoever has no home asks its neighbours. From then on there is no link with the removed peer, and
//! nothing of it is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::Key;
use kith_common::removed::{ASK_EVERY, RemovedKeys};
use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::truth::{home, is_alive, live_links};
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Within which a supernode tells everybody who is at home: at once, but for frames that a bad network sends again
const TOLD: Duration = Duration::from_secs(8);
/// Within which a peer without a home learns what all its neighbours know: its next question, and the way there and back
const LEARNT: Duration = Duration::from_secs(ASK_EVERY.as_secs() + 8);

/// What each peer knew at the last look, and since when it lacks what it could know
#[derive(Debug, Default)]
pub(crate) struct Removals {
    known: BTreeMap<NodeId, BTreeSet<Key>>,
    lacks: BTreeMap<NodeId, (Instant, usize)>,
}

/// The keys that this machine's peer knows to be removed
fn known(node: &Node) -> Option<&RemovedKeys> {
    node.peer().map(|peer| peer.core().removed())
}

/// How many keys somebody within reach would tell this peer: its home, or all its neighbours
fn told_by_others(world: &World, node: &Node) -> Option<usize> {
    let (peer, leader) = (node.peer()?, world.node(home(world, node).unwrap_or(world.config.leader())));
    let is_cut = world.net.is_blocked(node.id, leader.id) || world.net.is_blocked(leader.id, node.id);
    if peer.core().home_link().is_some() {
        let is_there = leader.runs() && !is_cut && world.hears_log(leader.id);
        return world.directory().filter(|_| is_there).map(|directory| directory.removed().len());
    }
    peer.core().own()?;
    let mut links = live_links(world, node).peekable();
    links.peek()?;
    let of = |(_, end, other): (u64, _, NodeId)| {
        let other = world.node(other);
        let ahead = known(other).filter(|_| other.runs() && is_alive(world, end) && world.directory().is_some());
        // A neighbour that has another list cannot help.
        ahead.filter(|ahead| ahead.was_at(&peer.core().removed().mark())).map_or(0, RemovedKeys::len)
    };
    links.map(of).min()
}

impl Oracle for Removals {
    fn name(&self) -> &'static str {
        "removals"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::LogWentBack => *self = Self::default(),
            Observation::Started | Observation::Killed => drop(self.known.remove(&node)),
            // A list of a log that was put back has not all of those who were removed.
            Observation::Received { frame: Frame::Removed(told), .. }
                if self.known.get(&node).is_some_and(|known| (told.from.count as usize) < known.len()) =>
            {
                self.known.remove(&node);
            }
            Observation::Keeping(message)
                if self.known.get(&node).is_some_and(|known| known.contains(&message.key)) =>
            {
                return Err(format!("keeps a message of {}, who was removed, as it knows", message.from));
            }
            Observation::Evaluating { from: Some(grant), .. }
                if self.known.get(&node).is_some_and(|known| known.contains(&grant.key)) =>
            {
                return Err(format!("evaluates a function for {}, who was removed, as it knows", grant.name));
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        let before = std::mem::take(&mut self.lacks);
        self.known.clear();
        for node in world.peers().filter(|node| node.runs()) {
            let Some(known) = known(node) else { continue };
            if !known.is_empty() {
                self.known.insert(node.id, known.iter().copied().collect());
            }
            for (_, _, other) in live_links(world, node) {
                let other = world.node(other);
                if other.peer().is_some_and(|peer| known.contains(&peer.core().key())) {
                    return Err(format!("{} has a link with {}, who was removed, as it knows", node.name, other.name));
                }
            }
            let could = told_by_others(world, node).filter(|count| *count > known.len());
            let Some(could) = could else { continue };
            let has_home = node.peer().is_some_and(|peer| peer.core().home_link().is_some());
            let (since, of) = before.get(&node.id).copied().unwrap_or((now, known.len()));
            // Whoever learns something is not the one who is never told.
            let since = if of == known.len() { since } else { now };
            if now - since > if has_home { TOLD } else { LEARNT } {
                let known = known.len();
                return Err(format!("{} knows of {known} removals for {:?}, of {could}", node.name, now - since));
            }
            self.lacks.insert(node.id, (since, known.len()));
        }
        Ok(())
    }
}
