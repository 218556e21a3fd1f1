//! The settings that both daemons have: the network's secret, who may link, what is logged.

use std::path::{Path, PathBuf};

use kith_common::session;

use super::layer::read_text;
use super::value::{Secret, SecretError, Within};
use super::{ConfigError, number, text, undecided};
use crate::home::Home;
use crate::logging;

/// What people may write for either daemon, beside what is its own
#[derive(Clone, Debug, Default, PartialEq, clap::Args, serde::Deserialize)]
#[serde(default)]
pub struct HostSettings {
    /// The network's secret; others on this machine can see a flag, so prefer --secret-file
    #[arg(long, env = "KITH_SECRET", hide_env_values = true, conflicts_with = "secret_file")]
    #[serde(deserialize_with = "text")]
    pub secret: Option<Secret>,

    /// File with the network's secret
    #[arg(long, env = "KITH_SECRET_FILE", value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// Links to one IP address at most, this machine's own aside [default: 256]
    #[arg(long, env = "KITH_LINKS_PER_IP_MAX", value_name = "N")]
    pub links_per_ip_max: Option<Within<1, 65_535>>,

    /// Events to log: warn, info, kith_common=debug [default: info]
    #[arg(long, env = "KITH_LOG", value_name = "FILTER")]
    #[serde(deserialize_with = "text")]
    pub log: Option<logging::Filter>,

    /// How to write them [default: text]
    #[arg(long, env = "KITH_LOG_FORMAT", value_name = "FORMAT")]
    #[serde(deserialize_with = "text")]
    pub log_format: Option<logging::Format>,
}

impl HostSettings {
    /// The names of these settings, as they stand in a file
    pub const KEYS: [&'static str; 5] = ["secret", "secret_file", "links_per_ip_max", "log", "log_format"];

    /// What holds where nobody says anything; the files in `config/` give the reasons
    pub fn defaults() -> Self {
        Self {
            secret: None,
            secret_file: None,
            links_per_ip_max: Some(Within::clamped(256)),
            log: Some(logging::Filter::default()),
            log_format: Some(logging::Format::default()),
        }
    }

    /// These settings, and the lower layer's where these have none
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        // The two say the same thing, so whichever a layer has hides both of the layer below.
        let says_secret = self.secret.is_some() || self.secret_file.is_some();
        let lower = if says_secret { Self { secret: None, secret_file: None, ..lower } } else { lower };
        Self {
            secret: self.secret.or(lower.secret),
            secret_file: self.secret_file.or(lower.secret_file),
            links_per_ip_max: self.links_per_ip_max.or(lower.links_per_ip_max),
            log: self.log.or(lower.log),
            log_format: self.log_format.or(lower.log_format),
        }
    }

    /// With relative paths in it resolved: those in a file are relative to it
    #[must_use]
    pub fn resolved(self, directory: &Path) -> Self {
        Self { secret_file: self.secret_file.map(|path| directory.join(path)), ..self }
    }

    /// What holds in `home`, with the defaults for what nobody set
    ///
    /// # Errors
    /// [`ConfigError`] if the secret is said twice, or its file cannot be read or holds none.
    pub fn decide(self, home: Home) -> Result<HostConfig, ConfigError> {
        let settings = self.over(Self::defaults());
        let secret = match (settings.secret, settings.secret_file) {
            (Some(_), Some(_)) => {
                return Err(undecided("secret", "both secret and secret_file are set; leave one out"));
            }
            (None, Some(path)) => Some(read_secret(&path)?),
            (secret, None) => secret,
        };
        Ok(HostConfig {
            home,
            secret: secret.map(|secret| session::Secret::new(secret.as_bytes().to_vec())),
            links_per_ip_max: number("links_per_ip_max", settings.links_per_ip_max)? as usize,
            log: settings.log.unwrap_or_default(),
            log_format: settings.log_format.unwrap_or_default(),
        })
    }
}

/// What a daemon does that the other one does, too
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where it keeps its things
    pub home: Home,
    /// None for a network without one
    pub secret: Option<session::Secret>,
    /// Links to one IP address
    pub links_per_ip_max: usize,
    pub log: logging::Filter,
    /// How to write them
    pub log_format: logging::Format,
}

/// The secret in a file, which ends with a new line or not
fn read_secret(path: &Path) -> Result<Secret, ConfigError> {
    let text = read_text(path, 2 * Secret::BYTES_MAX as u64)
        .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
    text.parse().map_err(|fault: SecretError| undecided("secret_file", format!("{}: {fault}", path.display())))
}
