//! `kith-supernode peers`

use kith_runtime::cli::{Screen, Stop, count, if_stale, short, table};
use kith_runtime::control::supernode::{Member, MemberState, PeersAnswer, Request};
use kith_runtime::home::Home;

use super::list;

/// List every name, and whether its owner is here; `lookup NAME` says why one is a suspect
#[derive(Debug, clap::Args)]
pub(crate) struct Peers {}

impl Peers {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        list::tell(home, screen, &Request::Peers, rows, summary)
    }
}

fn rows(peers: &[Member]) -> String {
    let heading = ["NAME", "STATE", "ADDRESS", "HOME", "LOCATIONS"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(peers.iter().map(row)).collect();
    table(&rows)
}

fn summary(answer: &PeersAnswer) -> String {
    format!("{}, {} in the ring{}", count(answer.names, "name"), answer.members, if_stale(answer.stale))
}

pub(super) fn state(member: &Member) -> String {
    match (member.state, &member.reason) {
        (MemberState::Suspect, Some(reason)) => format!("{}: {reason}", member.state),
        (state, _) => state.to_string(),
    }
}

fn row(peer: &Member) -> [String; 5] {
    [
        peer.name.to_string(),
        peer.state.to_string(),
        peer.address.as_deref().map_or("-", short).to_owned(),
        if peer.home { "here" } else { "-" }.to_owned(),
        if peer.locations.is_empty() { "-".into() } else { peer.locations.join(", ") },
    ]
}
