//! A session moves from the home that whoever takes it over believed it to have, and is over for its peer when it is over.
//!
//! Source: `kith_common::directory::LogIn::resumes`: of two homes that want one session the later would take it from the
//! other. And "Between supernodes" in docs/protocol.md: whether a peer has gone to another home, its link says, and not the
//! log. And `kith_common::directory::Command::Suspect`: a home that a session has left does not make its peer a suspect.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::directory::{Command, Directory};
use kith_common::id::{Name, SessionId, SupernodeId};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::per_node::PerNode;
use crate::mesh::config::MeshConfig;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;

/// What one supernode was asked and knows
#[derive(Debug, Default)]
struct Seat {
    /// Who is at the other end of each link
    others: BTreeMap<u64, Name>,
    /// On which a login has come
    asked: BTreeSet<u64>,
    /// The session that was renewed last on each link
    renewed: BTreeMap<u64, SessionId>,
    sessions: BTreeSet<SessionId>,
}

/// Where sessions are at home, and who has wanted which from where
#[derive(Debug)]
pub(crate) struct Takeovers {
    supernodes: u32,
    seats: PerNode<Seat>,
    homes: BTreeMap<SessionId, SupernodeId>,
    /// From which home to which, as was ever proposed
    wanted: BTreeMap<SessionId, BTreeSet<(SupernodeId, SupernodeId)>>,
    /// To which home, wherever it was, as its peer had logged in there with it and that home had not heard of it yet
    offered: BTreeMap<SessionId, BTreeSet<SupernodeId>>,
    /// The sessions whose peers are suspects, and the homes by whose word they were ever to be
    suspects: BTreeSet<SessionId>,
    suspected: BTreeMap<SessionId, BTreeSet<SupernodeId>>,
}

impl Takeovers {
    /// Nobody has a session
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let (seats, homes, wanted, offered) = Default::default();
        let (suspects, suspected) = Default::default();
        Self { supernodes: config.supernodes, seats, homes, wanted, offered, suspects, suspected }
    }

    fn look(&mut self, directory: &Directory) -> Result<(), String> {
        let homes = directory.sessions().map(|session| (session.id, session.home)).collect();
        let before = std::mem::replace(&mut self.homes, homes);
        let is_present = |session: &SessionId| self.homes.contains_key(session) || !before.contains_key(session);
        self.wanted.retain(|session, _| is_present(session));
        self.offered.retain(|session, _| is_present(session));
        self.suspected.retain(|session, _| is_present(session));
        let suspects = directory.sessions().filter(|session| session.suspect.is_some()).map(|session| session.id);
        let suspected_before = std::mem::replace(&mut self.suspects, suspects.collect());
        for session in self.suspects.difference(&suspected_before) {
            let home = self.homes.get(session).filter(|home| before.get(session) == Some(home));
            let by = self.suspected.get(session);
            if let Some(home) = home.filter(|home| !by.is_some_and(|by| by.contains(home))) {
                return Err(format!("the peer of session {session} is a suspect, and its home {home} has not said so"));
            }
        }
        for (session, home) in &self.homes {
            let Some(from) = before.get(session).filter(|from| *from != home) else { continue };
            if !self.is_way(*session, *from, *home) {
                return Err(format!(
                    "session {session} went from home {from} to {home}, and nobody wanted it from there"
                ));
            }
        }
        Ok(())
    }

    /// Whether what was proposed leads from one home to the other: several commands may be seen as one change
    fn is_way(&self, session: SessionId, from: SupernodeId, to: SupernodeId) -> bool {
        let (wanted, offered) = (self.wanted.get(&session), self.offered.get(&session));
        let mut reached: BTreeSet<SupernodeId> = offered.into_iter().flatten().copied().chain([from]).collect();
        while !reached.contains(&to) {
            let ways = wanted.into_iter().flatten();
            let next: BTreeSet<SupernodeId> =
                ways.filter(|(from, _)| reached.contains(from)).map(|(_, to)| *to).collect();
            if next.is_subset(&reached) {
                return false;
            }
            reached.extend(next);
        }
        true
    }
}

impl Oracle for Takeovers {
    fn name(&self) -> &'static str {
        "takeovers"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if self.supernodes < 2 {
            return Ok(());
        }
        match seen {
            Observation::LogWentBack => {
                (self.homes, self.wanted, self.offered) = Default::default();
                (self.suspects, self.suspected) = Default::default();
            }
            Observation::Agreed(directory) => return self.look(directory),
            _ if node.0 >= self.supernodes => {}
            Observation::Started => *self.seats.of(node) = Seat::default(),
            Observation::Applied(directory) => {
                self.seats.of(node).sessions = directory.sessions().map(|session| session.id).collect();
            }
            Observation::Proposed(group) => {
                for command in group.iter().map(|one| &one.command) {
                    if let Command::Suspect { session, home, .. } = command {
                        self.suspected.entry(*session).or_default().insert(*home);
                    }
                    if let Command::LogIn(login) = command {
                        let ways = self.wanted.entry(login.session).or_default();
                        ways.extend(login.resumes.map(|from| (from, login.home)));
                        if let Some(offered) = login.offers {
                            self.offered.entry(offered).or_default().insert(login.home);
                        }
                    }
                }
            }
            Observation::Opened { opened, other, .. } => {
                self.seats.of(node).others.insert(opened.link.0, name_of(other.0));
            }
            Observation::Closed { link, .. } => {
                let seat = self.seats.of(node);
                seat.others.remove(link);
                seat.asked.remove(link);
                seat.renewed.remove(link);
            }
            Observation::Received { link, frame: Frame::Login(_) } => drop(self.seats.of(node).asked.insert(*link)),
            Observation::Received { link, frame: Frame::Renew(renew) } => {
                self.seats.of(node).renewed.insert(*link, renew.session);
            }
            Observation::Sent { link, frame: Frame::Refused(refused) } if refused.status == Status::NotLoggedIn => {
                let seat = self.seats.of(node);
                // Its peer may go on with it over a newer link, which is not granted yet.
                let name = seat.others.get(link);
                let is_newest = !seat.asked.iter().any(|newer| newer > link && seat.others.get(newer) == name);
                let session = seat.renewed.get(link).filter(|_| is_newest);
                if let Some(session) = session.filter(|session| seat.sessions.contains(*session)) {
                    let reason = &refused.reason;
                    return Err(format!("tells a peer that session {session} is over, which lasts: {reason}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
