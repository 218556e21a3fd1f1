//! `kith-supernode release`

use kith_common::id::Name;
use kith_runtime::cli::{Screen, Stop, ask};
use kith_runtime::control::supernode::{ReleaseAnswer, Request};
use kith_runtime::home::Home;

/// Give a name free: the next key to log in under it owns it
///
/// If its owner is logged in, that session ends; if it goes on running, it tries again after some seconds and may be the
/// first. Stop it before.
#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    /// The name
    name: Name,
}

impl Release {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let name = self.name.clone();
        let answer = ask::<ReleaseAnswer>(home, &Request::Release { name: self.name })?;
        screen.show(&answer.line, || match answer.answer.was_logged_in {
            true => {
                format!("{name} is free; its owner's session has ended, but while it runs it may take the name again")
            }
            false => format!("{name} is free"),
        })?;
        Ok(answer.status.exit_code())
    }
}
