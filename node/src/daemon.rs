//! A peer from its configuration to its end.

use std::time::SystemTime;

use kith_common::peer::{self, Peer};
use kith_common::session::Secret;
use kith_common::session::membership::MembershipConfig;
use kith_common::wire::session::{Locations, Role};
use kith_runtime::clock::Clock;
use kith_runtime::control::peer::Request;
use kith_runtime::host::{DaemonError, Seat, host, listening, system_rng};
use kith_runtime::identity::{Identity, next_boot};
use kith_runtime::link::{self, HelloTemplate, LinkHandle};
use rand_chacha::rand_core::Rng;

use crate::config::Config;
use crate::driver::{Driver, Parts};
use crate::functions::Functions;
use crate::inbox::{Inbox, worker};

/// Runs a peer until a signal ends it
///
/// # Errors
/// [`DaemonError`]
pub fn run(config: Config) -> Result<(), DaemonError> {
    let (home, log, format) = (config.home.clone(), config.log.clone(), config.log_format);
    host(&home, &log, format, |seat| serve(config, seat))
}

/// Runs a peer until its seat says that it is over
async fn serve(config: Config, mut seat: Seat<Request>) -> Result<(), String> {
    let clock = Clock::start();
    let home = config.home.path();
    let identity = Identity::load_or_create(home).map_err(text)?;
    let boot = next_boot(home).map_err(text)?;
    let mut inbox = Inbox::open(&config.home.file("inbox.redb"), config.inbox_bytes_max).map_err(text)?;
    let network = network(&config, &mut inbox)?;
    let mut rng = system_rng()?;
    let remembered = inbox.names(SystemTime::now()).map_err(text)?;
    let remembered = remembered.into_iter().filter(|(_, age)| *age < config.lookup_remembered);
    let (inbox, kept) = worker::start(inbox).map_err(text)?;
    let hello = HelloTemplate { role: Role::Peer, boot, network, grant: None };
    let (links, mut events) =
        link::spawn(link_config(&config, hello, clock, rng.next_u64()), &identity).map_err(text)?;
    let (listen, listen_port) = listening(&mut events).await?;
    let session = MembershipConfig {
        name: config.name.clone(),
        supernodes: config.supernodes.iter().map(ToString::to_string).collect(),
        network,
        secret: config.secret.as_ref().map(|secret| Secret::new(secret.as_bytes().to_vec())),
        external: Locations::truncated(config.external.clone()),
        listen_port,
    };
    let peer = peer::Config { session, neighbourhood: Default::default(), boot };
    let driver = Driver::new(Parts {
        peer: Peer::new(clock.now(), peer, identity, rng, remembered),
        functions: functions(&config, clock, links.clone()),
        clock,
        home: config.home,
        name: config.name,
        links,
        listen,
        inbox,
    });
    let shutdown = async move { seat.shutdown.wait().await };
    driver.run(events, kept, seat.requests, shutdown).await
}

/// The network that this peer must be in: the configured one, or that of its first login
fn network(config: &Config, inbox: &mut Inbox) -> Result<Option<kith_common::id::NetworkId>, String> {
    let pinned = worker::pinned(inbox).map_err(text)?;
    match (config.network, pinned) {
        (Some(configured), Some(pinned)) if configured != pinned => Err(format!(
            "this home belongs to the network {pinned:?}, not to {configured:?}: leave `network` out, or give another --home"
        )),
        (configured, pinned) => Ok(configured.or(pinned)),
    }
}

fn link_config(config: &Config, hello: HelloTemplate, clock: Clock, seed: u64) -> link::Config {
    let mut link = link::Config::of_peer(hello, clock, seed);
    link.listen = vec![config.listen.clone()];
    link.limits.links_max = config.links_max;
    link.limits.links_per_ip_max = config.links_per_ip_max;
    link.deadlines.dial = config.dial_timeout;
    link.deadlines.handshake = config.handshake_timeout;
    link.deadlines.hello = config.hello_timeout;
    link
}

/// What other peers may ask of this one: that it is here, and since when
fn functions(config: &Config, clock: Clock, links: LinkHandle) -> Functions {
    let name = config.name.clone();
    Functions::new(move || {
        let counts = links.counters().counts();
        let uptime_s = clock.now().as_micros() / 1_000_000;
        serde_json::json!({
            "name": name,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": uptime_s,
            "packets_forwarded": counts.forwarded,
        })
        .to_string()
    })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
