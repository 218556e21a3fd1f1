//! `kith run`

use std::path::PathBuf;

use kith_runtime::cli::{Failure, Stop};
use kith_runtime::home::Home;

use crate::config::{DaemonConfig, Settings};
use crate::daemon;

/// Join the mesh and stay: the daemon that all other verbs talk to
///
/// The home directory is made if it is not there, with a key of the peer's own: whoever has the home is the peer. A
/// supernode that does not answer is tried again until it does. SIGTERM and Ctrl-C log out and end within 5 seconds; a
/// second one ends at once.
///
/// Every setting may also stand in the home's node.toml; flags override the environment, which overrides the file.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// File of settings [default: node.toml in the home, if there is one]
    #[arg(long, env = "KITH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

impl Run {
    pub(crate) fn run(self, home: &Home) -> Result<u8, Stop> {
        let config = DaemonConfig::load(home.clone(), self.settings, self.config.as_deref()).map_err(Failure::from)?;
        daemon::run(config).map_err(Failure::from)?;
        Ok(0)
    }
}
