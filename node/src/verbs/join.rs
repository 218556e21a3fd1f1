//! `kith join`

use std::path::PathBuf;

use kith_common::invite::Invitation;
use kith_runtime::cli::{Failure, Stop};
use kith_runtime::home::Home;

use crate::config::{DaemonConfig, Settings};
use crate::daemon;

/// Enter a network by an invite, and stay: all that a newcomer types
///
/// The line is what `kith-supernode invite` prints. It and the name are kept in the home, so that `kith run` is enough from
/// then on; the rest is as `kith run` says.
#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The invite, beginning with kith1-
    #[arg(value_name = "LINE")]
    line: Invitation,

    /// File of settings [default: node.toml in the home, if there is one]
    #[arg(long, env = "KITH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

impl Join {
    pub(crate) fn run(self, home: &Home) -> Result<u8, Stop> {
        let config = self.config.as_deref();
        let config = DaemonConfig::join(home.clone(), self.settings, config, self.line).map_err(Failure::from)?;
        daemon::run(config).map_err(Failure::from)?;
        Ok(0)
    }
}
