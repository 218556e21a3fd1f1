//! `kith expose DESTINATION --for NAMES`

use kith_runtime::cli::{Failure, Screen, Stop};
use kith_runtime::control::peer::Request;
use kith_runtime::home::Home;

use super::standing;
use crate::tunnels::Exposed;

/// Let peers reach a port or a socket by way of this one, until Ctrl-C
///
/// Nothing can be reached unless it is exposed, and by nobody else. kith expose 22 --for alice, and alice can type
/// ssh -o ProxyCommand='kith pipe %h:22' YOUR-NAME. For a rule that holds after a restart, write it into the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Expose {
    /// PORT of this machine, HOST:PORT, NETWORK/BITS:PORT or *:PORT of machines that it reaches (* for all ports), or unix:/PATH
    destination: String,

    /// For whom: names, separated by commas
    #[arg(long = "for", value_name = "NAMES", required_unless_present = "everyone", conflicts_with = "everyone")]
    names: Option<String>,

    /// For whoever is in the network
    #[arg(long)]
    everyone: bool,

    /// Datagrams instead of connections
    #[arg(long)]
    udp: bool,
}

impl Expose {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let prefix = if self.udp && !self.destination.starts_with("udp:") { "udp:" } else { "" };
        let names = self.names.as_deref().unwrap_or("everyone");
        let rule = format!("{prefix}{} for {names}", self.destination);
        let exposed = rule.parse::<Exposed>().map_err(|error| Failure::usage(error.to_string(), None))?;
        standing::run(home, screen, &Request::Expose { rule }, |_| format!("{exposed}; Ctrl-C ends it"))
    }
}
