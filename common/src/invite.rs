//! An invite: what a newcomer of a closed network shows, and the one line that hands it over.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};

use crate::crypto;
use crate::hex;
use crate::id::{InviteId, Name, NetworkId};
use crate::wire;
use crate::wire::bounded::Bounded;
use crate::wire::session::Location;

/// What a line begins with; the number is of its form
const PREFIX: &str = "kith1-";
/// Bytes of the check at a line's end: a line that lost a letter is told from an invite that is not known
const CHECK_BYTES: usize = 4;
/// Supernodes that a line names at most: two addresses in two families
pub const SUPERNODES_MAX: usize = 4;

/// 128 random bits that let a newcomer in; proved at a login, never sent, and hidden by `Debug`
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// By what supernodes know it, which gives nothing away
    pub fn id(&self) -> InviteId {
        let [a, b, c, d, e, f, g, h, ..] = crypto::sha256(&[b"kith/invite-id/1\0", &self.0]);
        InviteId([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token of {}", self.id())
    }
}

/// All that a newcomer needs; its text, by `Display` and `FromStr`, is one word that no shell takes for anything else
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Invitation {
    /// The only network that it is good in
    pub network: NetworkId,
    pub token: Token,
    /// The only name that it is good for, if it is for one
    pub name: Option<Name>,
    /// Where to log in
    pub supernodes: Bounded<Location, SUPERNODES_MAX>,
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = wire::encode(self).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}{}", hex::encode(&bytes), hex::encode(&check(&bytes)))
    }
}

/// A text is no invite
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    #[error("an invite begins with {PREFIX}")]
    Prefix,
    #[error("the invite is not whole; copy all of its line")]
    Check,
}

impl FromStr for Invitation {
    type Err = InvitationError;

    /// White space around it, as mail programs add it, is no part of it.
    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(InvitationError::Prefix)?;
        let bytes = hex::decode(digits).ok_or(InvitationError::Check)?;
        let (body, checked) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(InvitationError::Check)?;
        if *checked != check(body) {
            return Err(InvitationError::Check);
        }
        wire::decode(body).map_err(|_| InvitationError::Check)
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let [a, b, c, d, ..] = crypto::sha256(&[b"kith/invite/1\0", bytes]);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        Invitation {
            network: NetworkId([7; 32]),
            token: Token([9; 16]),
            name: Some("alice".parse().unwrap()),
            supernodes: Bounded::truncated(["/dns/hub/tcp/7400".to_owned().try_into().unwrap()]),
        }
    }

    #[test]
    fn line_is_one_word_and_comes_back() {
        let line = invitation().to_string();
        assert!(line.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{line}");
        assert_eq!(format!(" {line}\n").parse(), Ok(invitation()));
    }

    #[test]
    fn line_that_lost_or_changed_a_letter_is_refused() {
        let line = invitation().to_string();
        for len in PREFIX.len()..line.len() {
            assert_eq!(line[..len].parse::<Invitation>(), Err(InvitationError::Check), "{len} letters");
            let other = if line.as_bytes()[len] == b'0' { "1" } else { "0" };
            let changed = [&line[..len], other, &line[len + 1..]].concat();
            assert_eq!(changed.parse::<Invitation>(), Err(InvitationError::Check), "letter {len}");
        }
        assert_eq!("hub.example.org".parse::<Invitation>(), Err(InvitationError::Prefix));
    }

    #[test]
    fn token_is_in_no_log() {
        assert!(!format!("{:?}", invitation()).contains(&"09".repeat(8)));
    }
}
