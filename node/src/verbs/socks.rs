//! `kith socks PORT`

use kith_runtime::cli::{Failure, Screen, Stop};
use kith_runtime::control::peer::Request;
use kith_runtime::home::Home;

use super::standing;
use crate::tunnels::Entrance;

/// Let programs of this machine reach any peer's ports by SOCKS 5, until Ctrl-C
///
/// The peer's name is the host: curl --proxy socks5h://127.0.0.1:1080 http://bob/ (or http://bob.kith/). What a peer does not
/// expose is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Socks {
    /// Where programs come to: PORT (0: any), IP:PORT, or *:PORT for all addresses of this machine
    #[arg(default_value = "1080")]
    at: String,
}

impl Socks {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        self.at.parse::<Entrance>().map_err(|error| Failure::usage(error.to_string(), None))?;
        standing::run(home, screen, &Request::Socks { at: self.at }, |at| {
            format!("{at} speaks SOCKS 5, with peers' names as hosts; Ctrl-C ends it")
        })
    }
}
