//! `kith-supernode certify`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kith_common::id::Key;
use kith_common::wire::grant::SignedCertificate;
use kith_runtime::cli::{Failure, Screen, Stop};
use kith_runtime::home::Home;
use serde_json::json;

use crate::network::{Issuer, NETWORK_DIRECTORY, NetworkError, line};

/// Between two looks whether the network's key is there
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Let another supernode in: sign a certificate for its key, with the network's key
///
/// Needs no daemon. The network's key is in the home of the supernode that made the network, in the directory `network`,
/// which may be kept anywhere else, and be brought here only for this. The line that is printed is no secret: it is of use
/// to whoever has the key alone. Where the other home is on this machine too, --into needs neither: it puts the certificate
/// there.
#[derive(Debug, clap::Args)]
pub(crate) struct Certify {
    /// The other supernode's key, 64 hexadecimal digits: it says it when it is started with --join
    #[arg(value_name = "KEY", required_unless_present = "into", conflicts_with = "into")]
    key: Option<Key>,

    /// Put the certificate into the home of a supernode that is on this machine, and make its key if it has none yet; give it
    /// once for each
    #[arg(long, value_name = "HOME")]
    into: Vec<PathBuf>,

    /// Directory of the network's key [default: network in the home]
    #[arg(long, value_name = "DIR")]
    network: Option<PathBuf>,

    /// Wait for so many seconds at most until there is a network: its first supernode may only be starting
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

impl Certify {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let directory = self.network.clone().unwrap_or_else(|| home.path().join(NETWORK_DIRECTORY));
        let issuer = self.issuer(&directory)?;
        let failed = |error: NetworkError| Failure::local(error.to_string());
        for home in &self.into {
            tell(screen, &issuer.issue_into(home).map_err(failed)?)?;
        }
        if let Some(key) = self.key {
            tell(screen, &issuer.issue(key).map_err(failed)?)?;
        }
        Ok(0)
    }

    /// The network's key, once it is there
    fn issuer(&self, directory: &Path) -> Result<Issuer, Failure> {
        let until = Instant::now() + Duration::from_secs(self.wait);
        loop {
            match Issuer::load(directory) {
                Err(_) if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
                loaded => return loaded.map_err(|error| Failure::local(error.to_string())),
            }
        }
    }
}

fn tell(screen: &mut Screen, certificate: &SignedCertificate) -> Result<(), Stop> {
    let line = line(certificate).map_err(|error| Failure::local(error.to_string()))?;
    if screen.is_json() {
        screen.object(&json!({ "done": true, "status": 200, "certificate": line }))?;
    } else {
        screen.text(&line)?;
    }
    Ok(())
}
