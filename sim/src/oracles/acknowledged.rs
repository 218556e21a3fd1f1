//! What a supernode says that it has done is in the log.
//!
//! Source: a login is granted, and a logout confirmed, once it is durable (docs/protocol.md, "Login", "Logout"). Without a
//! quorum nothing is; a session that lasts goes on as the directory of its supernode has it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::directory::Directory;
use kith_common::id::{Key, Name, SessionId};
use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::per_node::PerNode;
use crate::mesh::config::MeshConfig;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::{Operations, Oracle};
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;

/// For which a session that has ended since may be granted: entries of the log that are heard together are applied together
const TOGETHER: Duration = Duration::from_secs(5);

/// What is in the log, and who is told so
#[derive(Debug)]
pub(crate) struct Acknowledged {
    supernodes: u32,
    /// Who is at the other end of each link of a supernode
    others: BTreeMap<(NodeId, u64), Name>,
    /// Who has a session by what is agreed …
    sessions: BTreeMap<SessionId, Name>,
    /// … and by what each supernode has applied
    applied: PerNode<BTreeSet<Name>>,
    /// When each last had one by what is agreed
    ended: BTreeMap<Name, Instant>,
    owners: BTreeMap<Name, Key>,
    judged: Operations,
}

impl Acknowledged {
    /// Nothing is in the log
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self {
            supernodes: config.supernodes,
            others: BTreeMap::new(),
            sessions: BTreeMap::new(),
            applied: PerNode::default(),
            ended: BTreeMap::new(),
            owners: BTreeMap::new(),
            judged: Operations::default(),
        }
    }

    fn agree(&mut self, now: Instant, directory: &Directory) {
        let sessions = directory.sessions().map(|session| (session.id, session.name.clone())).collect();
        let before = std::mem::replace(&mut self.sessions, sessions);
        self.ended.extend(before.into_values().map(|name| (name, now)));
        let owners = directory.accounts().map(|(name, account)| (name.clone(), account.key)).collect();
        let before = std::mem::replace(&mut self.owners, owners);
        self.judged.registered += self.owners.keys().filter(|name| !before.contains_key(*name)).count() as u64;
        let is_released = |(name, key): &(&Name, &Key)| self.owners.get(*name) != Some(*key);
        self.judged.released += before.iter().filter(is_released).count() as u64;
    }

    fn on_granted(&mut self, now: Instant, node: NodeId, link: u64) -> Result<(), String> {
        let Some(name) = self.others.get(&(node, link)) else { return Ok(()) };
        let is_agreed = self.ended.get(name).is_some_and(|at| now - *at < TOGETHER);
        if !is_agreed && !self.applied.of(node).contains(name) && !self.sessions.values().any(|of| of == name) {
            return Err(format!("grants {name} a session that is not in the log"));
        }
        self.judged.logged_in += 1;
        Ok(())
    }

    fn on_logged_out(&mut self, session: SessionId) -> Result<(), String> {
        if let Some(name) = self.sessions.get(&session) {
            return Err(format!("says that {name} is logged out, and its session is in the log"));
        }
        self.judged.logged_out += 1;
        Ok(())
    }
}

impl Oracle for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn judged(&self) -> Operations {
        self.judged
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Agreed(directory) => self.agree(now, directory),
            // What an older log knew is said once more with its next entry.
            Observation::LogWentBack => self.sessions.clear(),
            // Alone, a supernode has applied what is agreed.
            Observation::Applied(directory) if self.supernodes > 1 => {
                *self.applied.of(node) = directory.sessions().map(|session| session.name.clone()).collect();
            }
            Observation::Started => self.others.retain(|(at, _), _| *at != node),
            Observation::Opened { opened, other, .. } if node.0 < self.supernodes && other.0 >= self.supernodes => {
                self.others.insert((node, opened.link.0), name_of(other.0));
            }
            Observation::Closed { link, .. } => drop(self.others.remove(&(node, *link))),
            // What began and ended in one entry of the log was never seen there.
            Observation::Released | Observation::Removing => drop(self.ended.insert(name_of(node.0), now)),
            Observation::Sent { link, frame: Frame::Granted(_) } => return self.on_granted(now, node, *link),
            Observation::Sent { frame: Frame::LoggedOut(told), .. } => return self.on_logged_out(told.session),
            _ => {}
        }
        Ok(())
    }
}
