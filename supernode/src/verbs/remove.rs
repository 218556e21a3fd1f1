//! `kith-supernode remove`

use kith_common::id::Name;
use kith_runtime::cli::{Screen, Stop, ask};
use kith_runtime::control::supernode::{RemoveAnswer, RemoveSupernodeAnswer, Request};
use kith_runtime::home::Home;

/// Bar a peer for good: its session ends now, and its key never logs in again, under no name
///
/// The name stays taken, so that nobody else appears under it; `kith-supernode release` gives it free. With --supernode it is
/// a supernode that goes: put another one in its place first, and its home can be thrown away.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Its name
    #[arg(required_unless_present = "supernode", conflicts_with = "supernode")]
    name: Option<Name>,

    /// Take the supernode of this serial out of the network, which `members` tells
    #[arg(long, value_name = "SERIAL")]
    supernode: Option<u64>,

    /// Take it out even if one supernode is left that decides alone, with what it acknowledges on its disk only
    #[arg(long, requires = "supernode")]
    leave_one: bool,
}

impl Remove {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        if let Some(serial) = self.supernode {
            let answer =
                ask::<RemoveSupernodeAnswer>(home, &Request::RemoveSupernode { serial, leaves_one: self.leave_one })?;
            screen.show(&answer.line, || format!("supernode {serial} is taken out of the network"))?;
            return Ok(answer.status.exit_code());
        }
        let Some(name) = self.name else { return Ok(0) };
        let answer = ask::<RemoveAnswer>(home, &Request::Remove { name: name.clone() })?;
        screen.show(&answer.line, || match answer.answer.was_logged_in {
            true => format!("{name} is removed, and its session has ended"),
            false => format!("{name} is removed; it was not logged in"),
        })?;
        Ok(answer.status.exit_code())
    }
}
