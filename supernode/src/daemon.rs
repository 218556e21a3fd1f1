//! A supernode from its configuration to its end.

use std::path::Path;
use std::sync::Arc;

use kith_common::crypto::Signer;
use kith_common::session::admission::AdmissionConfig;
use kith_common::session::home_silence;
use kith_common::wire::session::{Location, Role};
use kith_runtime::control::supernode::Request;
use kith_runtime::home::{Home, HomeError};
use kith_runtime::host::{DaemonError, Links, Seat, Start, StartError, host, seeded};
use kith_runtime::identity::Identity;
use kith_runtime::link::{HelloTemplate, LinkConfig, LinkEvent};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc;

use crate::config::DaemonConfig;
use crate::driver::{Driver, DriverError, Parts, locations};
use crate::log::backup::{self, BackupError};
use crate::log::{FILE_NAME, Log, LogError, LogParts, News, Started};
use crate::network::{NETWORK_DIRECTORY, Network, NetworkError};
use crate::others::{self, LogLost, Others};

/// Why a supernode did not start, or gave up; what was acknowledged is on disk
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupernodeError {
    #[error(transparent)]
    Start(#[from] StartError),
    /// It has no network to serve
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its log cannot be used
    #[error(transparent)]
    Log(#[from] LogError),
    /// It has none, and others count on it
    #[error(transparent)]
    LogLost(#[from] LogLost),
    /// It ran, and cannot go on
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// How this supernode comes into a network, beside what is set
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// Supernodes of the network that it joins; none: it has one, or makes one
    pub(crate) join: Vec<Location>,
    /// The network key's word for it, as a line
    pub(crate) certificate: Option<String>,
    /// Draws salts and session ids from this number
    pub(crate) salt_seed: Option<u64>,
}

/// Runs a supernode until a signal ends it
///
/// # Errors
/// [`DaemonError`]; what was acknowledged is on disk.
pub(crate) fn run(config: DaemonConfig, entry: Entry) -> Result<(), DaemonError<SupernodeError>> {
    host(&config.host, |seat| serve(&config, entry, seat))
}

async fn serve(config: &DaemonConfig, entry: Entry, mut seat: Seat<Request>) -> Result<(), SupernodeError> {
    let (parts, events, news) = parts(config, entry).await?;
    let shutdown = async move { seat.shutdown.wait().await };
    Ok(Driver::new(parts).run(events, news, seat.requests, shutdown).await?)
}

async fn parts(
    config: &DaemonConfig,
    entry: Entry,
) -> Result<(Parts, mpsc::Receiver<LinkEvent>, mpsc::Receiver<News>), SupernodeError> {
    let Entry { join: contacts, certificate, salt_seed } = entry;
    let mut start = Start::of(&config.host)?;
    // Of the system's randomness even in a lab: two runs of one seed have two logs, and elections need no seed.
    let (incarnation, log_rng) = (start.rng.next_u32(), ChaCha20Rng::from_rng(&mut start.rng));
    if let Some(seed) = salt_seed {
        tracing::warn!(event = "salts_from_seed", reason = "whoever knows the seed can choose places in the ring");
        start.rng = ChaCha20Rng::seed_from_u64(seed);
        // Each start draws other ids than those before, which are taken as long as their sessions last.
        start.rng.set_stream(start.boot.saturating_sub(1));
    }
    let home = config.host.home.path();
    let joins = !contacts.is_empty();
    let network = Network::load(home, start.identity.key(), certificate.as_deref(), joins)?;
    let log = home.join(FILE_NAME);
    if start.boot > 1 && !log.exists() {
        others::refuse_without_log(home, network.supernode(), &log)?;
        let reason = "this supernode has started before: the owners of all names are forgotten with it";
        tracing::warn!(event = "log_missing", path = %log.display(), reason);
    }
    let hello = HelloTemplate { role: Role::Supernode, boot: start.boot, network: Some(network.id()), grant: None };
    let mut link = LinkConfig::of_supernode(hello, home_silence(config.lease), start.clock, start.rng.next_u64());
    link.listen = config.listen.clone();
    link.limits = link.limits.with_links_max(config.links_max);
    let Links { handle: links, events, listen, .. } = start.links(&config.host, link).await?;
    let me = network.supernode();
    let founder_at = (!joins).then(|| locations(&config.external, &listen));
    let log = LogParts { home, me, boot: start.boot, founder_at, rng: log_rng };
    let Started { log, news, directory, is_alone } = Log::start(log)?;
    let (names, members) = (directory.accounts().len(), directory.members().len());
    tracing::info!(event = "directory_read", names, members, epoch = %directory.epoch(), network = ?network.id(), serial = %me);
    let admission = Arc::new(AdmissionConfig {
        network: network.id(),
        certificate: network.certificate().clone(),
        secret: config.host.secret.clone(),
        is_open: config.is_open,
        lease: config.lease,
    });
    if admission.takes_anybody() {
        tracing::warn!(event = "open", reason = "set so: whoever reaches this supernode may take any free name");
    }
    let Start { clock, identity, rng, .. } = start;
    let parts = Parts {
        clock,
        id: me,
        identity,
        admission,
        directory,
        log,
        links,
        listen,
        degree: config.degree,
        links_max: config.links_max,
        contacts,
        others: Others::new(home, me),
        external: config.external.clone(),
        incarnation: is_alone.then_some(incarnation),
        rng,
    };
    Ok((parts, events, news))
}

/// Makes the log of a home of a backup; returns how many names there are
///
/// # Errors
/// [`RestoreError`]; the home has no more than a key and a certificate that it did not have.
pub(crate) fn restore(home: &Home, file: &Path) -> Result<u64, RestoreError> {
    home.create()?;
    let _lock = home.lock()?;
    let path = home.path();
    let mut rng = seeded()?;
    let identity = Identity::load_or_create(path).map_err(StartError::Identity)?;
    let has_network_key = path.join(NETWORK_DIRECTORY).exists();
    let network = Network::load(path, identity.key(), None, !has_network_key)?;
    let drawn = (rng.next_u64(), rng.next_u32());
    Ok(backup::restore(path, file, &network.id(), network.supernode(), drawn)?)
}

/// Why nothing was put back
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Backup(#[from] BackupError),
}
