//! `kith-supernode backup`

use std::path::PathBuf;

use kith_runtime::cli::{Failure, Screen, Stop, ask, size};
use kith_runtime::control::supernode::{BackupAnswer, Request};
use kith_runtime::home::Home;

/// Write a copy of the directory into a file, while the supernode runs: names, their owners, sessions, invites
///
/// Any supernode of the network will do. Keep the network's key with it, which is in no backup: the directory `network` in
/// the home of the supernode that made the network.
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    /// Where to; a file that is there is replaced
    file: PathBuf,
}

impl Backup {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        // The daemon may have been started elsewhere.
        let path = std::path::absolute(&self.file)
            .map_err(|error| Failure::local(format!("{}: {error}", self.file.display())))?;
        let answer = ask::<BackupAnswer>(home, &Request::Backup { path })?;
        screen.show(&answer.line, || format!("{}: {}", answer.answer.path.display(), size(answer.answer.bytes)))?;
        Ok(answer.status.exit_code())
    }
}
