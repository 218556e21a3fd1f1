//! A supernode from its configuration to its end.

use std::sync::Arc;

use kith_common::crypto::Signer;
use kith_common::directory::{Command, Directory};
use kith_common::session::Secret;
use kith_common::session::supernode::AdmissionConfig;
use kith_common::wire::session::{Purpose, Role};
use kith_node::clock::Clock;
use kith_node::daemon::{DaemonError, Seat, host};
use kith_node::identity::{Identity, next_boot};
use kith_node::link::{self, HelloTemplate, LinkEvent};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::config::Config;
use crate::control::Request;
use crate::driver::{Driver, Parts};
use crate::network::Network;
use crate::store::Store;

/// Runs a supernode until a signal ends it
///
/// # Errors
/// [`DaemonError`]; what was acknowledged is on disk.
pub fn run(config: Config, salt_seed: Option<u64>) -> Result<(), DaemonError> {
    let (home, log, format) = (config.home.clone(), config.log.clone(), config.log_format);
    host(&home, &log, format, |seat| serve(config, salt_seed, seat))
}

async fn serve(config: Config, salt_seed: Option<u64>, mut seat: Seat<Request>) -> Result<(), String> {
    let (parts, events) = parts(&config, salt_seed).await?;
    let (driver, durable) = Driver::new(parts).map_err(text)?;
    let shutdown = async move { seat.shutdown.wait().await };
    driver.run(events, durable, seat.requests, shutdown).await.map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
