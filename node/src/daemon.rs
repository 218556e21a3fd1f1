//! A peer from its configuration to its end.

use std::io;
use std::time::SystemTime;

use kith_common::id::NetworkId;
use kith_common::peer::{Peer, PeerConfig};
use kith_common::session::listening;
use kith_common::session::membership::MembershipConfig;
use kith_common::wire::session::{Locations, Role};
use kith_runtime::clock::Clock;
use kith_runtime::control::peer::Request;
use kith_runtime::host::{DaemonError, Links, Seat, Start, StartError, host};
use kith_runtime::link::{HelloTemplate, LinkConfig, LinkHandle};
use kith_transport::Stack;
use kith_transport::stack::{Outbox, PAYLOADS};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc;

use crate::config::DaemonConfig;
use crate::driver::{Driver, DriverError, Parts};
use crate::functions::Functions;
use crate::inbox::{InboxError, InboxFile, worker};
use crate::piping;

/// Why a peer did not start, or gave up
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its in-box cannot be used
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// The system has no thread for the in-box
    #[error("cannot start the in-box's thread: {0}")]
    Thread(io::Error),
    /// The invite cannot be kept
    #[error("cannot keep the invite in the home: {0}")]
    Invite(io::Error),
    /// It was in another network than the configured one, where its name and its messages are
    #[error(
        "this home belongs to the network {pinned:?}, not to {configured:?}: leave `network` out, or give another --home"
    )]
    OtherNetwork {
        /// The network that the settings name
        configured: NetworkId,
        /// The network of its first login
        pinned: NetworkId,
    },
    /// It ran, and cannot go on
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// Runs a peer until a signal ends it
///
/// # Errors
/// [`DaemonError`]
pub(crate) fn run(config: DaemonConfig) -> Result<(), DaemonError<PeerError>> {
    host(&config.host.clone(), |seat| serve(config, seat))
}

/// Runs a peer until its seat says that it is over
async fn serve(config: DaemonConfig, mut seat: Seat<Request>) -> Result<(), PeerError> {
    let mut start = Start::of(&config.host)?;
    let path = config.host.home.file("inbox.redb");
    if start.boot > 1 && !path.exists() {
        let reason = "this peer has started before: unread messages and the pinned network are gone with it";
        tracing::warn!(event = "inbox_missing", path = %path.display(), reason);
    }
    let mut inbox = InboxFile::open(&path, config.inbox_bytes_max)?;
    let network = network(&config, &mut inbox)?;
    if let Some(joined) = &config.joining {
        joined.keep(config.host.home.path()).map_err(PeerError::Invite)?;
    }
    let pins = inbox.pins()?;
    let (remembered, learned) = (inbox.names(SystemTime::now())?, worker::supernodes(&mut inbox)?);
    let stay = worker::stay(&mut inbox, SystemTime::now())?;
    let restored = inbox.waiting(SystemTime::now())?;
    // A boot counts a start of this home, on whose disk the out-box is.
    let run = u32::try_from(start.boot).unwrap_or(u32::MAX);
    let outbox = Outbox { bytes_max: config.outbox_bytes_max, run, restored };
    let (inbox, outcomes) = worker::start(inbox).map_err(PeerError::Thread)?;
    let hello = HelloTemplate { role: Role::Peer, boot: start.boot, network, grant: None };
    let link = link_config(&config, hello, start.clock, start.rng.next_u64());
    let Links { handle: links, events, listen } = start.links(&config.host, link).await?;
    let session = MembershipConfig {
        name: config.name.clone(),
        supernodes: config.supernodes.iter().map(ToString::to_string).collect(),
        learned,
        network,
        secret: config.host.secret.clone(),
        invite: config.invite,
        external: Locations::truncated(config.external.clone()),
        listening: listening(listen.addresses()),
    };
    let Start { clock, identity, boot, mut rng } = start;
    let peer =
        PeerConfig { session, neighbourhood: Default::default(), boot, remember: config.lookup_remembered, stay };
    let connections = ChaCha20Rng::from_rng(&mut rng);
    let peer = Peer::new(clock.now(), peer, identity.clone(), rng, remembered);
    let mut stack = Stack::new(clock.now(), peer, outbox, identity, kith_transport::provider(), connections);
    stack.restore_pins(pins);
    let (program_events, program_events_received) = mpsc::channel(piping::EVENTS_MAX);
    let driver = Driver::new(Parts {
        stack,
        functions: functions(&config, clock, links.clone()),
        clock,
        home: config.host.home,
        name: config.name,
        links,
        listen,
        inbox,
        program_events,
        tunnels: config.tunnels,
    });
    let shutdown = async move { seat.shutdown.wait().await };
    Ok(driver.run(events, outcomes, seat.requests, program_events_received, shutdown).await?)
}

/// The network that this peer must be in: the configured one, or that of its first login
fn network(config: &DaemonConfig, inbox: &mut InboxFile) -> Result<Option<NetworkId>, PeerError> {
    let pinned = worker::pinned(inbox)?;
    match (config.network, pinned) {
        (Some(configured), Some(pinned)) if configured != pinned => Err(PeerError::OtherNetwork { configured, pinned }),
        (configured, pinned) => Ok(configured.or(pinned)),
    }
}

fn link_config(config: &DaemonConfig, hello: HelloTemplate, clock: Clock, seed: u64) -> LinkConfig {
    let mut link = LinkConfig::of_peer(hello, clock, seed);
    link.payloads = PAYLOADS.to_vec();
    link.listen = config.listen.clone();
    link.limits = link.limits.with_links_max(config.links_max);
    link.deadlines.dial = config.dial_timeout;
    link.deadlines.handshake = config.handshake_timeout;
    link.deadlines.hello = config.hello_timeout;
    link
}

/// What other peers may ask of this one: that it is here, and since when, and what the configuration says
fn functions(config: &DaemonConfig, clock: Clock, links: LinkHandle) -> Functions {
    let name = config.name.clone();
    let status = move || {
        let counts = links.counters().counts();
        let uptime_s = clock.now().as_micros() / 1_000_000;
        serde_json::json!({
            "name": name,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": uptime_s,
            "packets_forwarded": counts.forwarded,
        })
        .to_string()
    };
    Functions::new(status, config.functions.clone())
}
