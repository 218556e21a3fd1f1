//! `kith-supernode run`

use std::path::PathBuf;

use kith_runtime::cli::{Failure, Stop};
use kith_runtime::config::Endpoint;
use kith_runtime::home::Home;
use kith_runtime::location::SUPERNODE_PORT;

use crate::config::{DaemonConfig, Settings};
use crate::daemon::{self, Entry};

/// Be the supernode: log peers in and out and keep their neighbourhoods, until a signal
///
/// The home directory is made if it is not there, with a network of its own: whoever has the home is the network. What
/// was acknowledged survives kill -9 and power cuts. SIGTERM and Ctrl-C end within 5 seconds; a second one ends at once.
///
/// Every setting may also stand in the home's supernode.toml; flags override the environment, which overrides the file.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// File of settings [default: supernode.toml in the home, if there is one]
    #[arg(long, env = "KITH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Join the network of the supernode at HOST instead of making one: for the first start of a further supernode, which
    /// needs a certificate
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    join: Vec<Endpoint<SUPERNODE_PORT>>,

    /// The line that kith-supernode certify printed for this supernode's key; it is kept in the home
    #[arg(long, value_name = "LINE")]
    certificate: Option<String>,

    /// Draw salts and session ids from this number instead of the system's randomness: for labs, so that a ring can be
    /// had again; whoever knows it can choose places in the ring
    #[arg(long, hide = true, value_name = "N")]
    salt_seed: Option<u64>,

    #[command(flatten)]
    settings: Settings,
}

impl Run {
    pub(crate) fn run(self, home: &Home) -> Result<u8, Stop> {
        let config = DaemonConfig::load(home.clone(), self.settings, self.config.as_deref()).map_err(Failure::from)?;
        let join = self.join.iter().map(|at| at.location().clone()).collect();
        let entry = Entry { join, certificate: self.certificate, salt_seed: self.salt_seed };
        daemon::run(config, entry).map_err(Failure::from)?;
        Ok(0)
    }
}
