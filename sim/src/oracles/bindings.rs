//! What an in-box has as confirmed came from a session that there is, or was a lease ago.
//!
//! Source: a receiver believes a name, a key and a place together if the directory has confirmed them within a lease
//! (docs/protocol.md, "Messages and their fates"); only while nobody can be asked what was said last holds for longer, and
//! silence makes nobody unconfirmed who was confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::{Address, Key};
use kith_common::mail::CONFIRMED_FOR;
use kith_common::peer::PeerOutput;
use kith_common::time::Instant;

use super::per_node::PerNode;
use super::truth::{home, is_logged_in};
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// A table that is late, a clock that is slow, and a question that waits for a supernode
const SLACK: Duration = Duration::from_secs(15);

/// When each session was seen last, by its key and place, and since when each peer has had somebody to ask
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    seen: BTreeMap<(Key, Address), Instant>,
    home: PerNode<Option<Instant>>,
    /// Which sessions are in the ring
    here: BTreeSet<(Key, Address)>,
    /// When each was last found to be out of it: answers that say so may be under way
    gone: BTreeMap<(Key, Address), Instant>,
    /// Whom each peer has as confirmed, and who was in the ring ever since
    confirmed: PerNode<BTreeSet<(Key, Address)>>,
}

impl Oracle for Bindings {
    fn name(&self) -> &'static str {
        "bindings"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Agreed(directory) => {
                let here = directory.sessions().map(|session| ((session.key, session.address), now));
                self.seen.extend(here);
                let ring = directory.sessions().filter(|session| session.suspect.is_none());
                let here: BTreeSet<_> = ring.map(|session| (session.key, session.address)).collect();
                let gone: Vec<_> = std::mem::replace(&mut self.here, here).difference(&self.here).copied().collect();
                self.gone.extend(gone.iter().map(|gone| (*gone, now)));
                for confirmed in self.confirmed.iter_mut().filter(|_| !gone.is_empty()) {
                    gone.iter().for_each(|gone| _ = confirmed.remove(gone));
                }
            }
            Observation::LogWentBack => {
                self.here.clear();
                self.confirmed.clear();
            }
            Observation::Peer(PeerOutput::Keep { message, .. })
                if !message.confirmed && self.confirmed.of(node).contains(&(message.key, message.address)) =>
            {
                let gone = self.gone.get(&(message.key, message.address));
                if gone.is_some_and(|at| now - *at < SLACK) {
                    return Ok(());
                }
                return Err(format!("kept a message of {} as unconfirmed, who was confirmed before", message.from));
            }
            Observation::Peer(PeerOutput::Keep { message, .. }) if message.confirmed => {
                let patience = CONFIRMED_FOR + SLACK;
                let could_ask = self.home.of(node).is_some_and(|since| now - since > patience);
                let last = self.seen.get(&(message.key, message.address));
                let is_old = last.is_none_or(|at| now - *at > patience);
                if self.here.contains(&(message.key, message.address)) {
                    self.confirmed.of(node).insert((message.key, message.address));
                }
                if could_ask && is_old {
                    let since = last.map(|at| now - *at);
                    return Err(format!(
                        "kept a message of {} as confirmed, whose session is over: {since:?}",
                        message.from
                    ));
                }
            }
            Observation::Killed => {
                *self.home.of(node) = None;
                self.confirmed.of(node).clear();
            }
            Observation::Peer(PeerOutput::HomeLost { .. } | PeerOutput::LoggedOut { .. }) => {
                *self.home.of(node) = None;
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        if let Some(directory) = world.directory() {
            self.seen.extend(directory.sessions().map(|session| ((session.key, session.address), now)));
        }
        for node in world.peers() {
            let home = home(world, node).unwrap_or(world.config.leader());
            let is_cut = world.net.is_blocked(node.id, home) || world.net.is_blocked(home, node.id);
            let can_ask = is_logged_in(node) && world.node(home).runs() && world.hears_log(home) && !is_cut;
            let since = self.home.of(node.id);
            *since = can_ask.then(|| since.unwrap_or(now));
        }
        Ok(())
    }
}
