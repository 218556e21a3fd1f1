//! `kith-supernode restore`

use std::path::PathBuf;

use kith_runtime::cli::{Failure, Screen, Stop, count};
use kith_runtime::home::Home;
use serde_json::json;

use crate::daemon;

/// Make this home's directory of a backup: the network goes on from it, with this supernode alone
///
/// For when more than half of the supernodes are lost for good; as long as half of them and one are there, nothing needs to
/// be put back. Stop those that are left, and start them again with empty homes and --join: what they know is of before.
/// The home needs a certificate of the network, or its key.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// What `kith-supernode backup` wrote
    file: PathBuf,
}

impl Restore {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let names = daemon::restore(home, &self.file).map_err(|error| Failure::local(error.to_string()))?;
        if screen.is_json() {
            screen.object(&json!({ "done": true, "status": 200, "names": names }))?;
        } else {
            let text = format!("{} put back; start it with: {}", count(names, "name"), home.command("run"));
            screen.text(&text)?;
        }
        Ok(0)
    }
}
