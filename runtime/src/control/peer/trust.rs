//! What is asked and answered of the keys that names must have.

use kith_common::hex;
use kith_common::id::{Key, Name};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::parse_key;

/// Pins that one [`PinsAnswer`] shows at most: its line is no longer than 256 KiB
pub const PINS_PAGE_MAX: usize = 512;

/// A key in JSON: 64 hexadecimal digits, or as libp2p writes it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedKey(pub Key);

impl Serialize for PinnedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0.0))
    }
}

impl<'de> Deserialize<'de> for PinnedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_key(&text).map(Self).ok_or_else(|| D::Error::custom("neither 64 hexadecimal digits nor a peer id"))
    }
}

/// Answers `pins`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinsAnswer {
    /// Sorted by name, at most [`PINS_PAGE_MAX`]
    pub pins: Vec<PinnedName>,
    /// Whether more follow behind the last of these
    pub more: bool,
}

/// A name, and the key that it must have
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedName {
    pub name: Name,
    pub key: PinnedKey,
    /// The same as libp2p writes it
    pub peer_id: String,
    /// Another key that the name was found with last, as libp2p writes it, since this process has started
    pub refused: Option<String>,
}

/// Answers `pin` and `unpin`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinAnswer {
    pub name: Name,
    /// The key that it had to have before, as libp2p writes it
    pub before: Option<String>,
}
