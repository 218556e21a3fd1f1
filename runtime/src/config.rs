//! What people set, and how it is put together: flags over `KITH_…` over a file over defaults.
//!
//! Each daemon has settings of its own; here is what they have in common: layers, values that are right once they exist,
//! the errors that say what to write instead, and the settings that both have.

mod host;
mod layer;
mod value;

use kith_common::wire::session::Location;
use libp2p::Multiaddr;

/// For [`layer!`](crate::layer), whose callers need not name it themselves
#[doc(hidden)]
pub use ::toml;
pub use host::{HostConfig, HostSettings};
pub use layer::{ConfigError, Layer, Position, Source, load, nearest, parse, text, texts};
pub use value::{Endpoint, Listen, Secret, Within};

/// The error for settings that do not go together
pub fn undecided(key: &'static str, fault: impl Into<String>) -> ConfigError {
    ConfigError::Undecided { key, fault: fault.into() }
}

/// The error for a setting that has no value
pub fn missing(key: &'static str) -> ConfigError {
    undecided(key, "no value")
}

/// Where to listen
///
/// # Errors
/// [`ConfigError`] if nothing is left of the list: a daemon that listens nowhere would be found by nobody.
pub fn listen_at<const PORT: u16>(listen: Option<&[Listen<PORT>]>) -> Result<Vec<Multiaddr>, ConfigError> {
    match listen.unwrap_or_default() {
        [] => Err(missing("listen")),
        listen => Ok(listen.iter().map(|listen| listen.multiaddr().clone()).collect()),
    }
}

/// The places that a setting names, of which `max` are possible
///
/// # Errors
/// [`ConfigError`] if there are more.
pub fn locations<const PORT: u16>(
    key: &'static str,
    endpoints: Option<&[Endpoint<PORT>]>,
    max: usize,
) -> Result<Vec<Location>, ConfigError> {
    let endpoints = endpoints.unwrap_or_default();
    if endpoints.len() > max {
        return Err(undecided(key, format!("at most {max} are possible, these are {}", endpoints.len())));
    }
    Ok(endpoints.iter().map(|endpoint| endpoint.location().clone()).collect())
}

/// The number of a setting that has a default
///
/// # Errors
/// [`ConfigError`] if it has none after all.
pub fn number<const MIN: u64, const MAX: u64>(
    key: &'static str,
    value: Option<Within<MIN, MAX>>,
) -> Result<u64, ConfigError> {
    value.map(Within::number).ok_or_else(|| missing(key))
}
