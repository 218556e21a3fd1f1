//! `kith-supernode members`

use kith_runtime::cli::{Screen, Stop, ask, count, table};
use kith_runtime::control::supernode::{MembersAnswer, Request, SupernodeMember};
use kith_runtime::home::Home;

/// List the supernodes of the network: who leads, who votes, and how each is
#[derive(Debug, clap::Args)]
pub(crate) struct Members {}

impl Members {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = ask::<MembersAnswer>(home, &Request::Members)?;
        screen.show(&answer.line, || readable(&answer.answer))?;
        Ok(answer.status.exit_code())
    }
}

fn readable(answer: &MembersAnswer) -> String {
    let heading = ["SERIAL", "ROLE", "LINK", "LOAD", "SESSIONS", "LAG", "LOCATIONS"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(answer.supernodes.iter().map(row)).collect();
    let supernodes = count(answer.supernodes.len() as u64, "supernode");
    let changing = if answer.changing { "; others are about to vote" } else { "" };
    format!("{}\n{supernodes}; the log has entry {} in term {}{changing}", table(&rows), answer.entries, answer.term)
}

fn row(member: &SupernodeMember) -> [String; 7] {
    let none = || "-".to_owned();
    let link = match (member.here, member.linked, member.rtt_us) {
        (true, _, _) => "here".to_owned(),
        (false, true, Some(rtt)) => format!("{:.1} ms", rtt as f64 / 1e3),
        (false, true, None) => "up".to_owned(),
        (false, false, _) => "DOWN".to_owned(),
    };
    [
        member.serial.to_string(),
        member.role.to_string(),
        link,
        member.load.map_or_else(none, |load| format!("{:.1} %", f64::from(load) / 10.0)),
        member.sessions.to_string(),
        member.lag.map_or_else(none, |lag| lag.to_string()),
        if member.locations.is_empty() { none() } else { member.locations.join(", ") },
    ]
}
