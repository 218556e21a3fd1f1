//! What an in-box has as confirmed came from a session that there is, or was a lease ago.
//!
//! Source: a receiver believes a name, a key and a place together if the directory has confirmed them within a lease
//! (docs/protocol.md, "Messages and their fates"); only while nobody can be asked what was said last on that connection holds
//! for longer. Whoever can ask has everybody confirmed who is there.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::{Address, Key};
use kith_common::peer::PeerOutput;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_transport::stack::GOOD_FOR;

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
    /// Since when sessions are in the ring
    here: BTreeMap<(Key, Address), Instant>,
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
                let before = std::mem::take(&mut self.here);
                let since = |session: &(Key, Address)| before.get(session).copied().unwrap_or(now);
                let here = ring.map(|session| (session.key, session.address));
                self.here = here.map(|session| (session, since(&session))).collect();
            }
            Observation::LogWentBack => self.here.clear(),
            Observation::Keeping(message) if !message.confirmed => {
                let could_ask = self.home.of(node).is_some_and(|since| now - since > SLACK);
                let is_here = self.here.get(&(message.key, message.address)).is_some_and(|since| now - *since > SLACK);
                if could_ask && is_here {
                    return Err(format!("kept a message of {} as unconfirmed, and could have asked", message.from));
                }
            }
            Observation::Keeping(message) if message.confirmed => {
                let patience = GOOD_FOR + SLACK;
                let could_ask = self.home.of(node).is_some_and(|since| now - since > patience);
                let last = self.seen.get(&(message.key, message.address));
                let is_old = last.is_none_or(|at| now - *at > patience);
                if could_ask && is_old {
                    let since = last.map(|at| now - *at);
                    return Err(format!(
                        "kept a message of {} as confirmed, whose session is over: {since:?}",
                        message.from
                    ));
                }
            }
            // Its supernode is not sure itself.
            Observation::Received { frame: Frame::Found(found), .. } if found.is_stale => *self.home.of(node) = None,
            Observation::Killed | Observation::Peer(PeerOutput::HomeLost { .. } | PeerOutput::LoggedOut { .. }) => {
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
            let is_sure = world.hears_log(home) && !world.is_log_full() && !world.is_log_ahead_of(home);
            let can_ask = is_logged_in(node) && world.node(home).runs() && is_sure && !is_cut;
            let since = self.home.of(node.id);
            *since = can_ask.then(|| since.unwrap_or(now));
        }
        Ok(())
    }
}
