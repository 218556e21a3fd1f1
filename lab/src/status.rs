//! `kith-lab status`: who leads the supernodes, how each is, and which of them is whose home.

use std::collections::BTreeMap;

use kith_runtime::cli::table;
use kith_runtime::control::peer::{HomeSupernode, StatusAnswer};
use kith_runtime::control::supernode::SupernodeRole;
use serde::Serialize;

use crate::error::LabError;
use crate::mesh::{Lab, Standing};
use crate::output;
use crate::process::Condition;
use crate::role::Role;

/// A lab's supernodes and peers
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Status {
    /// Who leads, by the name that it has in the lab; none if nobody does
    leader: Option<String>,
    /// How often a leader was sought
    term: u64,
    /// Whether all that run are at one; what is lacking otherwise
    lacking: Option<String>,
    supernodes: Vec<Supernode>,
    peers: Vec<Peer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Supernode {
    name: String,
    state: Condition,
    /// Of its certificate; none if it cannot be asked
    serial: Option<u64>,
    role: Option<SupernodeRole>,
    /// Commands of the log that it has
    log_index: Option<u64>,
    /// Sessions with a link to it
    sessions: Option<u64>,
    /// Why nobody can log in there
    reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Peer {
    name: String,
    state: String,
    /// By the name that it has in the lab, or by its address if it is none of those that run
    home: Option<String>,
    links_up: u64,
    links: u64,
}

/// Prints it
///
/// # Errors
/// The lab's state cannot be read.
pub(crate) fn run(lab: &Lab, json: bool) -> Result<(), LabError> {
    let status = Status::of(lab)?;
    output::line(&if json { serde_json::to_string(&status).unwrap_or_default() } else { status.text() });
    Ok(())
}

impl Status {
    fn of(lab: &Lab) -> Result<Self, LabError> {
        let state = lab.state()?;
        let mut standings: BTreeMap<String, Standing> = BTreeMap::new();
        for node in lab.running(Role::Supernode)? {
            if let Ok(standing) = Standing::of(node) {
                standings.insert(standing.node.name.clone(), standing);
            }
        }
        let of_role = |role| state.processes.iter().filter(move |process| process.role == role);
        let supernodes = of_role(Role::Supernode).map(|process| {
            let standing = standings.get(&process.name);
            let status = standing.map(|standing| &standing.status);
            Supernode {
                name: process.name.clone(),
                state: process.condition(),
                serial: status.map(|status| status.serial),
                role: standing.and_then(own_role),
                log_index: status.map(|status| status.log_index),
                sessions: status.map(|status| status.homes),
                reason: status.and_then(|status| status.reason.clone()),
            }
        });
        let names: BTreeMap<u64, &str> =
            standings.values().map(|standing| (standing.status.serial, standing.node.name.as_str())).collect();
        let peers = of_role(Role::Peer).map(|process| {
            let asked = match process.condition() {
                Condition::Running => lab.node(&process.name).and_then(|node| node.status()).ok(),
                _ => None,
            };
            Peer::of(&process.name, process.condition(), asked.map(|done| done.answer), &names)
        });
        Ok(Self {
            leader: lab.leader().ok().map(|leader| leader.name),
            term: standings.values().map(|standing| standing.members.term).max().unwrap_or_default(),
            lacking: lab.agreed().err(),
            supernodes: supernodes.collect(),
            peers: peers.collect(),
        })
    }

    fn text(&self) -> String {
        let led = match &self.leader {
            Some(leader) => format!("{leader} leads, in term {}", self.term),
            None => "nobody leads: whoever is logged in stays so, and nobody else can log in".to_owned(),
        };
        let heading = ["SUPERNODE", "STATE", "SERIAL", "ROLE", "LOG", "SESSIONS", ""].map(str::to_owned);
        let supernodes: Vec<_> = std::iter::once(heading).chain(self.supernodes.iter().map(Supernode::row)).collect();
        let heading = ["PEER", "STATE", "HOME", "LINKS"].map(str::to_owned);
        let peers: Vec<_> = std::iter::once(heading).chain(self.peers.iter().map(Peer::row)).collect();
        let lacking = self.lacking.as_ref().map(|lacking| format!("not whole: {lacking}\n")).unwrap_or_default();
        format!("{led}\n{lacking}\n{}\n{}", table(&supernodes), table(&peers).trim_end())
    }
}

fn own_role(standing: &Standing) -> Option<SupernodeRole> {
    standing.members.supernodes.iter().find(|member| member.here).map(|member| member.role)
}

fn dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

impl Supernode {
    fn row(&self) -> [String; 7] {
        let Self { name, state, serial, role, log_index, sessions, reason } = self;
        let reason = reason.clone().unwrap_or_default();
        [name.clone(), state.word().into(), dash(*serial), dash(*role), dash(*log_index), dash(*sessions), reason]
    }
}

impl Peer {
    fn of(name: &str, state: Condition, asked: Option<StatusAnswer>, supernodes: &BTreeMap<u64, &str>) -> Self {
        let name = name.to_owned();
        let Some(answer) = asked else {
            return Self { name, state: state.word().into(), home: None, links_up: 0, links: 0 };
        };
        let named = |home: HomeSupernode| match home.serial.and_then(|serial| supernodes.get(&serial)) {
            Some(name) => (*name).to_owned(),
            None => home.location,
        };
        let StatusAnswer { links_up, links, .. } = answer;
        Self { name, state: answer.state.to_string(), home: answer.home.map(named), links_up, links }
    }

    fn row(&self) -> [String; 4] {
        let Self { name, state, home, links_up, links } = self;
        [name.clone(), state.clone(), dash(home.clone()), format!("{links_up} of {links}")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{name, status};

    fn home(serial: u64) -> Option<HomeSupernode> {
        let location = "/ip4/127.0.0.1/tcp/1".to_owned();
        Some(HomeSupernode { serial: Some(serial), location, rtt_us: None, load: None, reason: "near".into() })
    }

    #[test]
    fn home_has_the_name_that_it_has_in_the_lab_and_else_its_address() {
        let names = BTreeMap::from([(2, "supernode-2")]);
        let peer = |serial| {
            let answer = StatusAnswer { name: name("alice"), home: home(serial), ..status(9) };
            Peer::of("alice", Condition::Running, Some(answer), &names)
        };
        assert_eq!(peer(2).home.as_deref(), Some("supernode-2"));
        assert_eq!(peer(3).home.as_deref(), Some("/ip4/127.0.0.1/tcp/1"));
        let paused = Peer::of("alice", Condition::Paused, None, &names);
        assert_eq!(paused.row(), ["alice", "paused", "-", "0 of 0"].map(str::to_owned));
    }

    #[test]
    fn lab_without_a_leader_says_what_that_means() {
        let lost = Status { leader: None, term: 4, lacking: None, supernodes: Vec::new(), peers: Vec::new() };
        assert!(lost.text().starts_with("nobody leads: whoever is logged in stays so"));
        let led = Status { leader: Some("supernode-3".into()), ..lost };
        assert!(led.text().starts_with("supernode-3 leads, in term 4"));
    }
}
