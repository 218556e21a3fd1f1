//! What a peer does: flags over `KITH_…` over the file over the defaults, decided once.
//!
//! [`Settings`] is what people may write; [`DaemonConfig`] is what holds. `config/node.toml` has every setting with its
//! default and reason, and a test keeps the two the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use kith_common::id::{Name, NetworkId};
use kith_common::invite::{Invitation, Token};
use kith_common::link::limits::{Deadlines, Limits, STEP_MAX};
use kith_common::names::REMEMBER;
use kith_common::wire::session::{LOCATIONS_MAX, Location, NEIGHBOURS_MAX};
use kith_runtime::config::{
    ConfigError, Endpoint, HostConfig, HostSettings, Layer, Listen, Source, Within, listen_at, load, locations, number,
    text, texts, undecided,
};
use kith_runtime::home::Home;
use kith_runtime::location::SUPERNODE_PORT;
use libp2p::Multiaddr;

use crate::functions::{OWN_MAX, Own, is_built_in};
use crate::joined::Joined;
use crate::tunnels::{Entrance, Exposed, Forwarded, Kept, TUNNELS_MAX};

/// Supernodes a peer is given at most; five make a large network, and a peer learns of the others
pub(crate) const SUPERNODES_MAX: usize = 16;

/// Beyond it a dial would be given up by whoever waits for its end
const STEP_MAX_MS: u64 = STEP_MAX.as_millis() as u64;

/// What people may write, each as a flag, as `KITH_…` in the environment, or as a key in the file
#[derive(Clone, Debug, Default, PartialEq, clap::Args, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Name to log in under: 1 to 63 of a-z, 0-9 and '-' [default: the host's name]
    #[arg(long, env = "KITH_NAME")]
    pub name: Option<Name>,

    /// Supernode to log in to, port 7400 if none is written; give it once for each, or separated by commas
    #[arg(long = "supernode", env = "KITH_SUPERNODES", value_name = "HOST[:PORT]", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub supernodes: Option<Vec<Endpoint<SUPERNODE_PORT>>>,

    /// IP address to listen on; port 0, or none, lets the system choose; give it once for each, [::] is all of both families
    /// [default: [::]:0]
    #[arg(long, env = "KITH_LISTEN", value_name = "IP[:PORT]", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub listen: Option<Vec<Listen<0>>>,

    /// Where other peers can dial this one, at most 4 [default: the listening port at the IP the supernode sees]
    #[arg(long, env = "KITH_EXTERNAL", value_name = "HOST:PORT", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub external: Option<Vec<Endpoint<0>>>,

    /// The network's id, 64 hexadecimal digits [default: that of the first login, kept in the home]
    #[arg(long, env = "KITH_NETWORK", value_name = "ID")]
    #[serde(deserialize_with = "text")]
    pub network: Option<NetworkId>,

    /// Bytes of unread messages kept on disk [default: 67108864]
    #[arg(long, env = "KITH_INBOX_BYTES_MAX", value_name = "BYTES")]
    pub inbox_bytes_max: Option<Within<65_536, 1_099_511_627_776>>,

    /// Bytes of messages kept on disk that are not delivered yet [default: 67108864]
    #[arg(long, env = "KITH_OUTBOX_BYTES_MAX", value_name = "BYTES")]
    pub outbox_bytes_max: Option<Within<65_536, 1_099_511_627_776>>,

    /// Links to other peers at most [default: 64]
    #[arg(long, env = "KITH_LINKS_MAX", value_name = "N")]
    pub links_max: Option<Within<4, { NEIGHBOURS_MAX as u64 }>>,

    /// Milliseconds until a dial is given up [default: 5000]
    #[arg(long, env = "KITH_DIAL_TIMEOUT_MS", value_name = "MS")]
    pub dial_timeout_ms: Option<Within<100, STEP_MAX_MS>>,

    /// Milliseconds until a TLS handshake is given up [default: 5000]
    #[arg(long, env = "KITH_HANDSHAKE_TIMEOUT_MS", value_name = "MS")]
    pub handshake_timeout_ms: Option<Within<100, STEP_MAX_MS>>,

    /// Milliseconds until the other side must have said hello [default: 5000]
    #[arg(long, env = "KITH_HELLO_TIMEOUT_MS", value_name = "MS")]
    pub hello_timeout_ms: Option<Within<100, STEP_MAX_MS>>,

    /// Seconds that a looked-up peer is remembered when no supernode answers [default: 86400]
    #[arg(long, env = "KITH_LOOKUP_REMEMBERED_S", value_name = "S")]
    pub lookup_remembered_s: Option<Within<0, 31_536_000>>,

    /// Port or socket here that leads to a destination at a peer, such as "8080 bob:80"; give it once for each
    #[arg(long, env = "KITH_FORWARD", value_name = "ENTRANCE NAME:DESTINATION", value_delimiter = ';')]
    #[serde(deserialize_with = "texts")]
    pub forward: Option<Vec<Forwarded>>,

    /// Port here at which programs reach any peer's port by SOCKS 5; give it once for each
    #[arg(long, env = "KITH_SOCKS", value_name = "PORT", value_delimiter = ';')]
    #[serde(deserialize_with = "texts")]
    pub socks: Option<Vec<Entrance>>,

    /// What peers may reach by way of this one, and which of them, such as "22 for alice,carol"; give it once for each rule
    #[arg(long, env = "KITH_EXPOSE", value_name = "DESTINATION for NAMES", value_delimiter = ';')]
    #[serde(deserialize_with = "texts")]
    pub expose: Option<Vec<Exposed>>,

    /// Function that others may call, whom, and the program that it runs: "sum(number...) for alice: /usr/local/bin/sum"; give it
    /// once for each
    #[arg(long = "function", env = "KITH_FUNCTIONS", value_name = "FUNCTION", value_delimiter = ';')]
    #[serde(deserialize_with = "texts")]
    pub functions: Option<Vec<Own>>,

    #[command(flatten)]
    #[serde(skip)]
    pub host: HostSettings,
}

kith_runtime::layer! {
    Settings {
        name, supernodes, listen, external, network, inbox_bytes_max, outbox_bytes_max, links_max, dial_timeout_ms,
        handshake_timeout_ms, hello_timeout_ms, lookup_remembered_s, forward, socks, expose,
        functions,
    } and host
}

impl Settings {
    /// What holds where nobody says anything; `config/node.toml` gives the reasons
    pub(crate) fn defaults() -> Self {
        let Deadlines { dial, handshake, hello, .. } = Deadlines::default();
        Self {
            listen: "[::]:0".parse().ok().map(|listen| vec![listen]),
            external: Some(Vec::new()),
            inbox_bytes_max: Some(Within::clamped(crate::inbox::BYTES_MAX_DEFAULT)),
            outbox_bytes_max: Some(Within::clamped(crate::inbox::OUTBOX_BYTES_MAX_DEFAULT)),
            links_max: Some(Within::clamped(Limits::default().links_max as u64)),
            dial_timeout_ms: Some(Within::clamped(dial.as_millis() as u64)),
            handshake_timeout_ms: Some(Within::clamped(handshake.as_millis() as u64)),
            hello_timeout_ms: Some(Within::clamped(hello.as_millis() as u64)),
            lookup_remembered_s: Some(Within::clamped(REMEMBER.as_secs())),
            forward: Some(Vec::new()),
            socks: Some(Vec::new()),
            expose: Some(Vec::new()),
            functions: Some(Vec::new()),
            host: HostSettings::defaults(),
            ..Self::default()
        }
    }
}

/// What a peer does
#[derive(Clone, Debug)]
pub(crate) struct DaemonConfig {
    pub host: HostConfig,
    /// The name that it logs in with
    pub name: Name,
    /// To log in to; at least one, at most [`SUPERNODES_MAX`]
    pub supernodes: Vec<Location>,
    /// At least one; port 0 lets the system choose
    pub listen: Vec<Multiaddr>,
    /// At most [`LOCATIONS_MAX`]; none means what the supernode sees
    pub external: Vec<Location>,
    /// None means that of the first login
    pub network: Option<NetworkId>,
    /// The invite that it came by, if it did
    pub invite: Option<Token>,
    /// To be kept in the home, once it is known to be the home of a peer of that network
    pub joining: Option<Joined>,
    /// Bytes of unread messages on disk
    pub inbox_bytes_max: u64,
    /// Bytes of messages on disk that are not delivered yet
    pub outbox_bytes_max: u64,
    /// Links to other peers
    pub links_max: usize,
    /// Until a dial is given up
    pub dial_timeout: Duration,
    /// Until a TLS handshake is given up
    pub handshake_timeout: Duration,
    /// Until the other side must have said hello
    pub hello_timeout: Duration,
    /// How long a looked-up peer is remembered when no supernode answers
    pub lookup_remembered: Duration,
    /// What enters and leaves the mesh here
    pub tunnels: Kept,
    /// Beside those that every peer has
    pub functions: Vec<Own>,
}

impl DaemonConfig {
    /// Decides from flags and environment, the file `config` (else the home's own, if there is one) and the defaults
    ///
    /// # Errors
    /// [`ConfigError`] says which setting is wrong, where, and what would be right.
    pub(crate) fn load(home: Home, flags: Settings, config: Option<&Path>) -> Result<Self, ConfigError> {
        let source = Source::of(&home, config);
        let settings = load(flags, &source)?;
        let joined = Joined::load(&home)?;
        Self::decide(home, settings, &own_host(), joined)
    }

    /// As [`Self::load`], for a newcomer with an invite, which it keeps
    ///
    /// # Errors
    /// [`ConfigError`] as there, or as the invite is for another name or network than the settings say.
    pub(crate) fn join(
        home: Home,
        flags: Settings,
        config: Option<&Path>,
        invitation: Invitation,
    ) -> Result<Self, ConfigError> {
        let settings = load(flags, &Source::of(&home, config))?;
        Self::decide_to_join(home, settings, &own_host(), invitation)
    }

    fn decide_to_join(home: Home, settings: Settings, host: &str, invitation: Invitation) -> Result<Self, ConfigError> {
        let name = match (&settings.name, &invitation.name) {
            (Some(given), Some(meant)) if given != meant => {
                return Err(undecided("name", format!("the invite is for {meant}, not for {given}; leave --name out")));
            }
            (Some(name), _) | (None, Some(name)) => name.clone(),
            (None, None) => host_name(host)?,
        };
        if let Some(other) = settings.network.filter(|other| *other != invitation.network) {
            let fault = format!("the invite is of {:?}, not of {other:?}; leave `network` out", invitation.network);
            return Err(undecided("network", fault));
        }
        let joined = Joined { name, invitation };
        let config = Self::decide(home, settings, host, Some(joined.clone()))?;
        Ok(Self { joining: Some(joined), ..config })
    }

    fn decide(home: Home, settings: Settings, host: &str, joined: Option<Joined>) -> Result<Self, ConfigError> {
        let name = match (&settings.name, &joined) {
            (Some(name), _) => name.clone(),
            (None, Some(joined)) => joined.name.clone(),
            (None, None) => host_name(host)?,
        };
        let invitation = joined.map(|joined| joined.invitation);
        let network = settings.network.or(invitation.as_ref().map(|invitation| invitation.network));
        // An invite of another network than the settings name is none.
        let invitation = invitation.filter(|invitation| Some(invitation.network) == network);
        let mut supernodes = locations("supernodes", settings.supernodes.as_deref(), SUPERNODES_MAX)?;
        if let Some(invitation) = invitation.as_ref().filter(|_| supernodes.is_empty()) {
            supernodes = invitation.supernodes.iter().cloned().collect();
        }
        if supernodes.is_empty() {
            let hint = home.command(&format!("run --supernode HOST:{SUPERNODE_PORT} --name {name}"));
            let file = home.file(home.role().config_file);
            let fault = format!(
                "no supernode to log in to; type: {hint} (or kith join LINE with an invite, or set supernodes in {})",
                file.display()
            );
            return Err(undecided("supernodes", fault));
        }
        let external = locations("external", settings.external.as_deref(), LOCATIONS_MAX)?;
        let settings = settings.over(Settings::defaults());
        let tunnels = tunnels(&settings)?;
        let functions = functions(settings.functions.as_deref().unwrap_or_default())?;
        Ok(Self {
            host: settings.host.decide(home)?,
            name,
            supernodes,
            listen: listen_at(settings.listen.as_deref())?,
            external,
            network,
            invite: invitation.map(|invitation| invitation.token),
            joining: None,
            inbox_bytes_max: number("inbox_bytes_max", settings.inbox_bytes_max)?,
            outbox_bytes_max: number("outbox_bytes_max", settings.outbox_bytes_max)?,
            links_max: number("links_max", settings.links_max)? as usize,
            dial_timeout: Duration::from_millis(number("dial_timeout_ms", settings.dial_timeout_ms)?),
            handshake_timeout: Duration::from_millis(number("handshake_timeout_ms", settings.handshake_timeout_ms)?),
            hello_timeout: Duration::from_millis(number("hello_timeout_ms", settings.hello_timeout_ms)?),
            lookup_remembered: Duration::from_secs(number("lookup_remembered_s", settings.lookup_remembered_s)?),
            tunnels,
            functions,
        })
    }
}

fn tunnels(Settings { forward, socks, expose, .. }: &Settings) -> Result<Kept, ConfigError> {
    let kept = Kept {
        forwarded: forward.clone().unwrap_or_default(),
        socks: socks.clone().unwrap_or_default(),
        exposed: expose.clone().unwrap_or_default(),
    };
    let Kept { forwarded, socks, exposed } = &kept;
    if let Some(at) = socks.iter().find(|at| !matches!(at, Entrance::Port(_))) {
        return Err(undecided("socks", format!("{at}: SOCKS is spoken at a port")));
    }
    let count = forwarded.len() + socks.len() + exposed.len();
    if count > TUNNELS_MAX {
        return Err(undecided(
            "forward",
            format!("at most {TUNNELS_MAX} tunnels and rules are possible, these are {count}"),
        ));
    }
    Ok(kept)
}

fn functions(own: &[Own]) -> Result<Vec<Own>, ConfigError> {
    if own.len() > OWN_MAX {
        return Err(undecided("functions", format!("at most {OWN_MAX} are possible, these are {}", own.len())));
    }
    let mut names = BTreeSet::new();
    for name in own.iter().map(Own::name) {
        if is_built_in(name) || !names.insert(name) {
            return Err(undecided(
                "functions",
                format!("there is a function {name} already; give this one another name"),
            ));
        }
    }
    Ok(own.to_vec())
}

fn own_host() -> String {
    rustix::system::uname().nodename().to_str().unwrap_or_default().to_owned()
}

/// The first label of the host's name: containers are named by 12 hexadecimal digits, machines `Ada.local`.
fn host_name(host: &str) -> Result<Name, ConfigError> {
    let label = host.split('.').next().unwrap_or_default().to_lowercase();
    label.parse().map_err(|error| {
        undecided(
            "name",
            format!("no name is given, and the host's, {host:?}, cannot serve ({error}); give one with --name NAME"),
        )
    })
}

#[cfg(test)]
mod tests;
