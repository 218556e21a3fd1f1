//! `kith-supernode peers`

use kith_runtime::cli::{Screen, Stop, ask, count, short, table};
use kith_runtime::control::supernode::{Member, MemberState, PeersAnswer, Request};
use kith_runtime::home::Home;

/// List every name, and whether its owner is here; `lookup NAME` says why one is a suspect
#[derive(Debug, clap::Args)]
pub(crate) struct Peers {}

impl Peers {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = ask::<PeersAnswer>(home, &Request::Peers)?;
        screen.show(&answer.line, || readable(&answer.answer))?;
        Ok(answer.status.exit_code())
    }
}

fn readable(answer: &PeersAnswer) -> String {
    let here = answer.peers.iter().filter(|peer| peer.state == MemberState::LoggedIn).count();
    let summary = format!("{}, {here} in the ring", count(answer.peers.len() as u64, "name"));
    if answer.peers.is_empty() {
        return summary;
    }
    let heading = ["NAME", "STATE", "ADDRESS", "HOME", "LOCATIONS"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(answer.peers.iter().map(row)).collect();
    format!("{}{summary}", table(&rows))
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
