//! `kith forward ENTRANCE NAME:DESTINATION`

use kith_runtime::cli::{Failure, Screen, Stop};
use kith_runtime::control::peer::Request;
use kith_runtime::home::Home;

use super::standing;
use crate::tunnels::Forwarded;

/// Let programs of this machine reach a port or a socket at a peer, until Ctrl-C
///
/// kith forward 8080 bob:80, and http://127.0.0.1:8080 is bob's web server, if bob exposes it to you: there, type
/// kith expose 80 --for YOUR-NAME. For a tunnel that comes back after a restart, write it into the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Forward {
    /// Where programs come to: PORT (0: any), IP:PORT, *:PORT for all addresses of this machine, or unix:/PATH
    at: String,

    /// Where that leads: NAME:PORT, NAME:HOST:PORT for a machine that the peer reaches, or NAME:unix:/PATH
    to: String,

    /// Datagrams instead of connections
    #[arg(long)]
    udp: bool,
}

impl Forward {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let to = match self.to.split_once(':') {
            Some((name, destination)) if self.udp && !destination.starts_with("udp:") => {
                format!("{name}:udp:{destination}")
            }
            _ => self.to,
        };
        let forwarded = Forwarded::parse(&self.at, &to).map_err(|error| Failure::usage(error.to_string(), None))?;
        let Forwarded { to: name, destination, .. } = forwarded;
        standing::run(home, screen, &Request::Forward { at: self.at, to }, |at| {
            format!("{at} leads to {destination} at {name}; Ctrl-C ends it")
        })
    }
}
