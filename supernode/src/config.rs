//! What a supernode does: flags over `KITH_…` over the file over the defaults, decided once.
//!
//! `config/supernode.toml` has every setting with its default and reason, and a test keeps the two the same.

use std::path::Path;
use std::time::Duration;

use kith_common::lift::{self, DEGREE_DEFAULT, DEGREE_MAX, DEGREE_MIN};
use kith_common::link::limits::Limits;
use kith_common::session::{LEASE_DEFAULT, LEASE_MAX, LEASE_MIN};
use kith_common::wire::session::{LOCATIONS_MAX, Location};
use kith_runtime::config::{
    ConfigError, Endpoint, HostConfig, HostSettings, Layer, Listen, Source, Within, listen_at, load, locations, number,
    texts, undecided,
};
use kith_runtime::home::Home;
use kith_runtime::location::SUPERNODE_PORT;
use libp2p::Multiaddr;

/// What people may write, each as a flag, as `KITH_…` in the environment, or as a key in the file
#[derive(Clone, Debug, Default, PartialEq, clap::Args, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// IP address to listen on; port 7400 if none is written, 0 lets the system choose; give it once for each, [::] is all of both families
    /// [default: [::]:7400]
    #[arg(long, env = "KITH_LISTEN", value_name = "IP[:PORT]", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub listen: Option<Vec<Listen<SUPERNODE_PORT>>>,

    /// Where peers and other supernodes reach this one, at most 4 [default: where it listens]
    #[arg(long, env = "KITH_EXTERNAL", value_name = "HOST[:PORT]", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub external: Option<Vec<Endpoint<SUPERNODE_PORT>>>,

    /// Neighbours that a peer has on average, even, 4 to 40 [default: what the network has, 16 for a new one]
    #[arg(long, env = "KITH_DEGREE", value_name = "D")]
    pub degree: Option<Within<{ DEGREE_MIN as u64 }, { DEGREE_MAX as u64 }>>,

    /// Milliseconds that a session lasts without a renewal [default: 30000]
    #[arg(long, env = "KITH_LEASE_MS", value_name = "MS")]
    pub lease_ms: Option<Within<{ LEASE_MIN.as_millis() as u64 }, { LEASE_MAX.as_millis() as u64 }>>,

    /// Links at most, peers that are logging in included [default: 4096]
    #[arg(long, env = "KITH_LINKS_MAX", value_name = "N")]
    pub links_max: Option<Within<1, 65_536>>,

    /// Let in whoever reaches this supernode, without an invite; with a secret, that is what they must know [default: false]
    #[arg(long, env = "KITH_OPEN", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub open: Option<bool>,

    #[command(flatten)]
    #[serde(skip)]
    pub host: HostSettings,
}

kith_runtime::layer! { Settings { listen, external, degree, lease_ms, links_max, open } and host }

impl Settings {
    /// What holds where nobody says anything; `config/supernode.toml` gives the reasons
    pub(crate) fn defaults() -> Self {
        Self {
            listen: "[::]:7400".parse().ok().map(|listen| vec![listen]),
            external: Some(Vec::new()),
            lease_ms: Some(Within::clamped(LEASE_DEFAULT.as_millis() as u64)),
            links_max: Some(Within::clamped(Limits::of_supernode().links_max as u64)),
            open: Some(false),
            host: HostSettings::defaults(),
            ..Self::default()
        }
    }
}

/// What a supernode does
#[derive(Clone, Debug)]
pub(crate) struct DaemonConfig {
    pub host: HostConfig,
    /// At least one; port 0 lets the system choose
    pub listen: Vec<Multiaddr>,
    /// Where others reach it; empty: where it listens
    pub external: Vec<Location>,
    /// Even, 4 to 40; `None` leaves it as it is in the network
    pub degree: Option<u8>,
    /// How long a session lasts without a renewal
    pub lease: Duration,
    pub links_max: usize,
    /// Whether whoever comes may have a name, without a secret or an invite
    pub is_open: bool,
}

impl DaemonConfig {
    /// Decides from flags and environment, the file `config` (else the home's own, if there is one) and the defaults
    ///
    /// # Errors
    /// [`ConfigError`] says which setting is wrong, where, and what would be right.
    pub(crate) fn load(home: Home, flags: Settings, config: Option<&Path>) -> Result<Self, ConfigError> {
        let source = Source::of(&home, config);
        Self::decide(home, load(flags, &source)?)
    }

    fn decide(home: Home, settings: Settings) -> Result<Self, ConfigError> {
        let settings = settings.over(Settings::defaults());
        let degree = settings.degree.map(|degree| degree.number() as u8);
        if degree.is_some_and(|degree| !lift::is_degree(degree)) {
            let fault = format!("a degree is even and from {DEGREE_MIN} to {DEGREE_MAX}; try {DEGREE_DEFAULT}");
            return Err(undecided("degree", fault));
        }
        Ok(Self {
            host: settings.host.decide(home)?,
            listen: listen_at(settings.listen.as_deref())?,
            external: locations("external", settings.external.as_deref(), LOCATIONS_MAX)?,
            degree,
            lease: Duration::from_millis(number("lease_ms", settings.lease_ms)?),
            links_max: number("links_max", settings.links_max)? as usize,
            is_open: settings.open.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use kith_runtime::config::parse;
    use kith_runtime::home::SUPERNODE;

    use super::*;

    fn decide(text: &str) -> Result<DaemonConfig, String> {
        let home = Home::resolve(SUPERNODE, Some(Path::new("/srv/s"))).unwrap();
        let settings = parse(Path::new("s.toml"), text).map_err(|error| error.to_string())?;
        DaemonConfig::decide(home, settings).map_err(|error| error.to_string())
    }

    #[test]
    fn file_in_the_repository_has_every_key_and_the_defaults() {
        let text = include_str!("../../config/supernode.toml");
        let file: Settings = parse(Path::new("supernode.toml"), text).unwrap();
        assert_eq!(file, Settings::defaults());
        for key in Settings::keys() {
            let is_there = |line: &str| line.trim_start_matches('#').starts_with(&format!("{key} = "));
            assert!(text.lines().any(is_there), "{key} is missing");
        }
    }

    #[test]
    fn odd_degree_is_refused_with_what_would_be_right() {
        assert!(decide("degree = 7").unwrap_err().contains("even and from 4 to 40"));
        assert_eq!(decide("degree = 8").unwrap().degree, Some(8));
        assert_eq!(decide("").unwrap().degree, None);
    }

    #[test]
    fn bare_address_to_listen_on_has_the_port_that_peers_try() {
        let listen = decide("listen = [\"0.0.0.0\", \"[::1]:1\"]").unwrap().listen;
        assert_eq!(
            listen.iter().map(|at| at.to_string()).collect::<Vec<_>>(),
            ["/ip4/0.0.0.0/tcp/7400", "/ip6/::1/tcp/1"]
        );
    }

    #[test]
    fn unknown_key_is_refused_with_its_line_and_the_nearest() {
        let error = decide("degree = 8\nlease = 10").unwrap_err();
        assert!(error.starts_with("s.toml:2:") && error.contains("lease_ms"), "{error}");
    }
}
