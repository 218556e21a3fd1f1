//! Values that are right once they exist.

use std::fmt;
use std::str::FromStr;

use kith_common::wire::session::Location;
use libp2p::Multiaddr;
use serde::{Deserialize, Deserializer, de};

use crate::location::{self, LocationError};

/// Where something listens or can be dialled: `HOST:PORT` or a multiaddr; with `PORT` = 0 the port must be written
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint<const PORT: u16> {
    multiaddr: Multiaddr,
    wire: Location,
}

impl<const PORT: u16> Endpoint<PORT> {
    pub fn multiaddr(&self) -> &Multiaddr {
        &self.multiaddr
    }

    pub fn location(&self) -> &Location {
        &self.wire
    }
}

impl<const PORT: u16> FromStr for Endpoint<PORT> {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let multiaddr = location::parse_location(text, PORT)?;
        if PORT == 0 && location::port_of(&multiaddr) == Some(0) {
            return Err(LocationError::Port("0".into()));
        }
        let wire = location::to_wire(&multiaddr)?;
        Ok(Self { multiaddr, wire })
    }
}

impl<const PORT: u16> fmt::Display for Endpoint<PORT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wire.fmt(f)
    }
}

/// An IP address of this machine to listen on, and a port, `PORT` if none is written; 0 lets the system choose
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen<const PORT: u16>(Multiaddr);

impl<const PORT: u16> Listen<PORT> {
    pub fn multiaddr(&self) -> &Multiaddr {
        &self.0
    }
}

impl<const PORT: u16> FromStr for Listen<PORT> {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let multiaddr = location::parse_location(text, PORT)?;
        match location::ip_of(&multiaddr) {
            Some(_) => Ok(Self(multiaddr)),
            None => Err(LocationError::NoIp(text.to_owned())),
        }
    }
}

impl<const PORT: u16> fmt::Display for Listen<PORT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text is no secret
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("a secret is not empty; leave it out for a network without one")]
    Empty,
    #[error("a secret has at most {} bytes", Secret::BYTES_MAX)]
    TooLong,
}

/// A network's secret; never printed
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The longest, in bytes; arbitrary, permissive
    pub const BYTES_MAX: usize = 1024;

    /// To prove it
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    /// White space around it is not part of it: a file ends with a new line.
    fn from_str(text: &str) -> Result<Self, SecretError> {
        match text.trim() {
            "" => Err(SecretError::Empty),
            text if text.len() > Self::BYTES_MAX => Err(SecretError::TooLong),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A text or a number is outside of the bounds of a setting
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} is not a whole number from {min} to {max}")]
pub struct NotWithin {
    text: String,
    min: u64,
    max: u64,
}

/// A whole number within both bounds
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Within<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Within<MIN, MAX> {
    /// The number; one outside is moved to the nearer bound
    pub const fn clamped(number: u64) -> Self {
        Self(if number < MIN {
            MIN
        } else if number > MAX {
            MAX
        } else {
            number
        })
    }

    pub const fn number(self) -> u64 {
        self.0
    }

    fn checked(number: Option<u64>, text: &dyn fmt::Display) -> Result<Self, NotWithin> {
        match number {
            Some(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(NotWithin { text: text.to_string(), min: MIN, max: MAX }),
        }
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Within<MIN, MAX> {
    type Err = NotWithin;

    fn from_str(text: &str) -> Result<Self, NotWithin> {
        Self::checked(text.replace('_', "").parse().ok(), &text)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        Self::checked(u64::try_from(number).ok(), &number).map_err(de::Error::custom)
    }
}
