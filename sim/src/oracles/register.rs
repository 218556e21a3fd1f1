//! The peers at the other ends of the supernode's links, and those with a session: several oracles ask for these.

use std::collections::BTreeMap;

use kith_common::directory::Directory;
use kith_common::id::{Name, SessionId, SupernodeId};

use crate::mesh::node::NodeId;
use crate::mesh::processes::replica;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;

/// As one life of the supernode saw it
#[derive(Debug)]
pub(super) struct Register {
    id: SupernodeId,
    others: BTreeMap<u64, Name>,
    sessions: BTreeMap<SessionId, Name>,
}

impl Register {
    /// Nobody has come to this supernode
    pub(super) fn of(supernode: NodeId) -> Self {
        Self { id: replica(supernode).id(), others: BTreeMap::new(), sessions: BTreeMap::new() }
    }

    /// Something was seen at the supernode
    pub(super) fn see(&mut self, seen: &Observation<'_>) {
        match seen {
            Observation::Started => {
                self.others.clear();
                self.sessions.clear();
            }
            Observation::Opened { opened, other, .. } => drop(self.others.insert(opened.link.0, name_of(other.0))),
            _ => {}
        }
    }

    /// The peer that is at the other end, or was
    pub(super) fn other(&self, link: u64) -> Option<&Name> {
        self.others.get(&link)
    }

    /// The session of this name, as far as a command has said
    pub(super) fn session_of(&self, name: &Name) -> Option<SessionId> {
        self.sessions.iter().find(|(_, owner)| *owner == name).map(|(session, _)| *session)
    }

    /// The peers that have a session that is at home here
    pub(super) fn present(&self) -> impl Iterator<Item = &Name> {
        self.sessions.values()
    }

    /// A command was applied: the sessions that were at home here and are over by it, and whose they were
    pub(super) fn apply(&mut self, directory: &Directory) -> Vec<(SessionId, Name)> {
        let own = directory.sessions().filter(|session| session.home == self.id);
        let sessions = own.map(|session| (session.id, session.name.clone())).collect();
        let before = std::mem::replace(&mut self.sessions, sessions);
        before.into_iter().filter(|(session, _)| directory.session(*session).is_none()).collect()
    }
}
