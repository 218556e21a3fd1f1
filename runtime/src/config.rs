//! What people set, and how it is put together: flags over `KITH_…` over a file over defaults.
//!
//! Each daemon has settings of its own; here is what they have in common: layers, values that are right once they exist,
//! and the errors that say what to write instead.

mod layer;
mod value;

use std::path::Path;

pub use layer::{ConfigError, Layer, Place, Source, load, nearest, parse, text, texts};
pub use value::{Endpoint, Listen, Secret, Within};

/// The error for settings that do not go together
pub fn undecided(key: &'static str, fault: impl Into<String>) -> ConfigError {
    ConfigError::Undecided { key, fault: fault.into() }
}

/// The error for a setting that has no value
pub fn missing(key: &'static str) -> ConfigError {
    undecided(key, "no value")
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

/// The network's secret, from one of the two settings that can say it
///
/// # Errors
/// [`ConfigError`] if both do, or the file cannot be read or holds none.
pub fn secret(secret: Option<&Secret>, secret_file: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    match (secret, secret_file) {
        (Some(_), Some(_)) => Err(undecided("secret", "both secret and secret_file are set; leave one out")),
        (None, Some(path)) => read_secret(path).map(Some),
        (secret, None) => Ok(secret.cloned()),
    }
}

/// The secret in a file, which ends with a new line or not
fn read_secret(path: &Path) -> Result<Secret, ConfigError> {
    let text = std::fs::File::open(path)
        .and_then(|file| std::io::read_to_string(std::io::Read::take(file, 2 * Secret::BYTES_MAX as u64)))
        .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
    text.parse().map_err(|fault: String| undecided("secret_file", format!("{}: {fault}", path.display())))
}
