//! `kith-supernode remove`

use kith_common::id::Name;
use kith_runtime::cli::{Screen, Stop, ask};
use kith_runtime::control::supernode::{RemoveAnswer, Request};
use kith_runtime::home::Home;

/// Bar a peer for good: its session ends now, and its key never logs in again, under no name
///
/// The name stays taken, so that nobody else appears under it; `kith-supernode release` gives it free.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Its name
    name: Name,
}

impl Remove {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let name = self.name.clone();
        let answer = ask::<RemoveAnswer>(home, &Request::Remove { name: self.name })?;
        screen.show(&answer.line, || match answer.answer.was_logged_in {
            true => format!("{name} is removed, and its session has ended"),
            false => format!("{name} is removed; it was not logged in"),
        })?;
        Ok(answer.status.exit_code())
    }
}
