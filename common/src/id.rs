//! Who and where: keys, names, addresses and the other identifiers.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bincode::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A place on the 64-bit ring; clockwise is increasing, and the ring wraps
pub type Point = u64;

/// A node's place on the ring, given by the supernodes for one session
///
/// `Display` is the first 8 hexadecimal digits, `Debug` all 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Address(pub Point);

impl Address {
    /// The upper half, which packets carry in their lists of peers
    ///
    /// Given addresses keep their distance (at a million peers some 2^40), so the upper halves differ.
    pub const fn short(self) -> ShortId {
        ShortId((self.0 >> 32) as u32)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The upper 32 bits of an [`Address`]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ShortId(pub u32);

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Defines a fixed array of bytes whose `Display` is its first 8 hexadecimal digits and whose `Debug` is complete.
macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                if text.len() != 2 * $len || !text.is_ascii() {
                    return Err(ParseIdError { digits: 2 * $len });
                }
                for (i, byte) in bytes.iter_mut().enumerate() {
                    let digits = text.get(2 * i..2 * i + 2).unwrap_or_default();
                    *byte = u8::from_str_radix(digits, 16).map_err(|_| ParseIdError { digits: 2 * $len })?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

bytes_id! {
    /// An Ed25519 public key: the identity of a node
    Key, 32
}
bytes_id! {
    /// SHA-256 of `"kith/network/1\0"` and the network key: the identity of a network
    NetworkId, 32
}
bytes_id! {
    /// One stay of one peer, from login to logout
    SessionId, 16
}
bytes_id! {
    /// The hash of an invite's token: by it supernodes know the invite
    InviteId, 8
}
bytes_id! {
    /// 128 random bits from the sender; a duplicate is known by it
    MessageId, 16
}

/// A text is not the hexadecimal form of an id
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} hexadecimal digits")]
pub struct ParseIdError {
    digits: usize,
}

/// A supernode of a network: the serial of its certificate, which no other one of the network ever has
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SupernodeId(pub u64);

impl fmt::Display for SupernodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A change of the ring: the index of the directory's log entry that made it, and which log that stands in
///
/// A log that is put back from a copy, or begun anew, gives indices again that peers have seen already. So whoever opens
/// a log draws it an [`incarnation`](Self::incarnation), and only epochs of one incarnation have an order: larger is
/// newer. What the home says after a login holds whatever incarnation a peer knew before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct Epoch {
    /// A random number, so that 1 of 2^32 restored logs is mistaken for the one before
    pub incarnation: u32,
    pub index: u64,
}

impl Epoch {
    pub const fn new(incarnation: u32, index: u64) -> Self {
        Self { incarnation, index }
    }
}

impl PartialOrd for Epoch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.incarnation == other.incarnation).then(|| self.index.cmp(&other.index))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}/{}", self.incarnation, self.index)
    }
}

/// What people type: `alice`
///
/// 1 to 63 of `a`–`z`, `0`–`9` and `-`, neither starting nor ending with `-`: a DNS label in lower case, so a host's
/// name is a name, nothing needs escaping in a terminal, and no two names look the same but for their case. A clone
/// shares the text: one name is in many tables.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in bytes
    pub const BYTES_MAX: usize = 63;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text is not a [`Name`]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters, or more than [`Name::BYTES_MAX`]
    #[error("a name has 1 to 63 characters, this one has {0}")]
    Length(usize),
    /// A character outside the set
    #[error("a name consists of a-z, 0-9 and '-', not {0:?}")]
    Character(char),
    /// A `-` at an end
    #[error("a name neither starts nor ends with '-'")]
    Hyphen,
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-');
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            return Err(NameError::Length(text.chars().count()));
        }
        if let Some(c) = text.chars().find(|c| !allowed(c)) {
            return Err(NameError::Character(c));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::Hyphen);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

/// Its order and hash are the text's, so that a table of names can be asked for a text that may be none
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_wrong_form_is_refused_with_its_fault() {
        let refused = |text: &str| text.parse::<Name>().unwrap_err();
        assert_eq!(refused(""), NameError::Length(0));
        assert_eq!(refused(&"a".repeat(64)), NameError::Length(64));
        assert_eq!(refused("Alice"), NameError::Character('A'));
        assert_eq!(refused("al\u{1b}[2J"), NameError::Character('\u{1b}'));
        assert_eq!(refused("-a"), NameError::Hyphen);
        assert_eq!(refused("a-"), NameError::Hyphen);
        assert!("a".repeat(63).parse::<Name>().is_ok());
        assert!("d3b07384d113".parse::<Name>().is_ok());
    }

    #[test]
    fn ids_are_parsed_from_their_complete_form_only() {
        let id = MessageId(*b"0123456789abcdef");
        assert_eq!(format!("{id:?}").parse(), Ok(id));
        assert!(id.to_string().parse::<MessageId>().is_err());
        assert!("zz".repeat(16).parse::<MessageId>().is_err());
    }

    #[test]
    fn epochs_of_two_incarnations_have_no_order() {
        let (old, new) = (Epoch::new(7, 100), Epoch::new(8, 1));
        assert!(old != new && !(old < new || new < old || old <= new || new <= old));
        assert!(Epoch::new(7, 99) < old && Epoch::new(7, 100) <= old && Epoch::new(7, 101) > old);
    }

    #[test]
    fn display_of_an_address_is_its_short_id() {
        let address = Address(0x0123_4567_89ab_cdef);
        assert_eq!(address.to_string(), "01234567");
        assert_eq!(address.short().to_string(), "01234567");
        assert_eq!(format!("{address:?}"), "0123456789abcdef");
    }
}
