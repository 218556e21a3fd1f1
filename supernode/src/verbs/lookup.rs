//! `kith-supernode lookup`

use kith_common::id::Name;
use kith_runtime::cli::{Screen, Stop, ask, if_stale};
use kith_runtime::control::supernode::{Member, Request};
use kith_runtime::home::Home;

use super::peers::state;

/// Show who owns a name and where the owner is
///
/// Exits with 0 if it is logged in, 44 (404) if nobody has the name, 50 (410) if its owner is logged out.
#[derive(Debug, clap::Args)]
pub(crate) struct Lookup {
    /// The name
    name: Name,
}

impl Lookup {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = ask::<Member>(home, &Request::Lookup { name: self.name })?;
        screen.show(&answer.line, || readable(&answer.answer))?;
        Ok(answer.status.exit_code())
    }
}

fn readable(member: &Member) -> String {
    let mut lines = vec![format!("{} is {}{}", member.name, state(member), if_stale(member.stale))];
    let mut line = |key: &str, value: &str| lines.push(format!("  {key:<10} {value}"));
    if let Some(address) = &member.address {
        line("address", address);
    }
    for location in &member.locations {
        line("location", location);
    }
    line("key", &member.key);
    line("peer id", &member.peer_id);
    lines.join("\n")
}
