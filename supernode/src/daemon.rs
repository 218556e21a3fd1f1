//! A supernode from its configuration to its end.

use std::io;
use std::sync::Arc;

use kith_common::crypto::Signer;
use kith_common::session::Secret;
use kith_common::session::admission::AdmissionConfig;
use kith_common::wire::session::Role;
use kith_runtime::clock::Clock;
use kith_runtime::control::supernode::Request;
use kith_runtime::host::{DaemonError, ListenError, NoRandomness, Seat, host, listening, system_rng};
use kith_runtime::identity::{Identity, IdentityError, next_boot};
use kith_runtime::link::{self, HelloTemplate, LinkConfig, LinkEvent, SpawnError};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc;

use crate::config::DaemonConfig;
use crate::driver::{Driver, DriverError, Parts};
use crate::network::{Network, NetworkError};
use crate::store::{Store, StoreError};

/// Why a supernode did not start, or gave up; what was acknowledged is on disk
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupernodeError {
    /// It has no key
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It has no network to serve
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its log cannot be used
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no thread for the log
    #[error("cannot start the log's thread: {0}")]
    Thread(io::Error),
    /// The system gives no randomness, so anybody could choose places on the ring
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// It has no links
    #[error(transparent)]
    Links(#[from] SpawnError),
    /// It is not known where its links listen
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// It ran, and cannot go on
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// Runs a supernode until a signal ends it
///
/// # Errors
/// [`DaemonError`]; what was acknowledged is on disk.
pub(crate) fn run(config: DaemonConfig, salt_seed: Option<u64>) -> Result<(), DaemonError<SupernodeError>> {
    let (home, log, format) = (config.home.clone(), config.log.clone(), config.log_format);
    host(&home, &log, format, |seat| serve(config, salt_seed, seat))
}

async fn serve(config: DaemonConfig, salt_seed: Option<u64>, mut seat: Seat<Request>) -> Result<(), SupernodeError> {
    let (parts, events) = parts(&config, salt_seed).await?;
    let (driver, told) = Driver::new(parts).map_err(SupernodeError::Thread)?;
    let shutdown = async move { seat.shutdown.wait().await };
    Ok(driver.run(events, told, seat.requests, shutdown).await?)
}

async fn parts(
    config: &DaemonConfig,
    salt_seed: Option<u64>,
) -> Result<(Parts, mpsc::Receiver<LinkEvent>), SupernodeError> {
    let clock = Clock::start();
    let home = config.home.path();
    let identity = Identity::load_or_create(home)?;
    let boot = next_boot(home)?;
    let network = Network::load_or_create(home, identity.key())?;
    let (store, directory) = Store::open(home)?;
    let (names, members) = (directory.accounts().len(), directory.members().len());
    tracing::info!(event = "directory_read", names, members, epoch = %directory.epoch(), network = ?network.id());
    let hello = HelloTemplate { role: Role::Supernode, boot, network: Some(network.id()), grant: None };
    let mut rng = rng(salt_seed)?;
    let mut link = LinkConfig::of_supernode(hello, clock, rng.next_u64());
    link.listen = vec![config.listen.clone()];
    link.limits.links_max = config.links_max;
    link.limits.links_per_ip_max = config.links_per_ip_max;
    let (links, mut events) = link::spawn(link, &identity)?;
    let (listen, _) = listening(&mut events).await?;
    let admission = Arc::new(AdmissionConfig {
        network: network.id(),
        certificate: network.certificate().clone(),
        secret: config.secret.as_ref().map(|secret| Secret::new(secret.as_bytes().to_vec())),
        lease: config.lease,
    });
    let degree = config.degree;
    let id = network.supernode();
    let parts = Parts { clock, id, identity, admission, directory, store, links, listen, degree, rng };
    Ok((parts, events))
}

/// The system's randomness, or a lab's number
fn rng(salt_seed: Option<u64>) -> Result<ChaCha20Rng, NoRandomness> {
    if let Some(seed) = salt_seed {
        tracing::warn!(event = "salts_from_seed", reason = "whoever knows the seed can choose places in the ring");
        return Ok(ChaCha20Rng::seed_from_u64(seed));
    }
    system_rng()
}
