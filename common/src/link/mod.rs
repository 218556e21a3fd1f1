//! The ground floor: links, their words, and what a link does with frames, bytes and time.
//!
//! A byte stream becomes a link by an [`opening`]: both sides say hello. An [`open`] link has a [`queue`] of three
//! classes in [`chunks`], knows by its [`liveness`] whether the other side still answers, and ends for a [`reason`];
//! [`limits`] bound how many there are, by the [`permits`] that they hold, and for how long each step may take; handshakes
//! are computed by [`turns`]. What carries the bytes, sets timers and proves keys is the shell's; shell and simulator drive
//! the very same link.

pub mod chunks;
pub(crate) mod crowd;
pub mod limits;
pub mod liveness;
pub mod lobby;
pub mod open;
pub mod opening;
pub mod permits;
pub mod queue;
pub mod reason;
pub(crate) mod rest;
pub mod turns;

use std::net::IpAddr;

use crate::id::{Key, NetworkId};
use crate::status::Status;
use crate::wire::grant::SignedGrant;
use crate::wire::session::{Hello, Location, Purpose, Reason, Role};

/// A link, numbered by the shell; a number is never used twice
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Who dialled
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We did
    Outgoing,
    /// The other side did
    Incoming,
}

/// Why a link ended that we did not close
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// It broke, or its liveness said so
    Lost(Reason),
    /// The other side took its leave
    Bye(Status, Reason),
}

impl LinkEnd {
    /// The words
    pub fn reason(&self) -> Reason {
        match self {
            Self::Lost(reason) | Self::Bye(_, reason) => reason.clone(),
        }
    }
}

/// What every hello of this node says; the rest is fresh for each link
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloTemplate {
    /// What this node is
    pub role: Role,
    /// How often it has started
    pub boot: u64,
    /// Its network, once chosen
    pub network: Option<NetworkId>,
    /// Its right to be here, once granted
    pub grant: Option<SignedGrant>,
}

impl HelloTemplate {
    /// The hello on a new link; `nonce` must never have been used before
    pub fn hello(&self, purpose: Purpose, nonce: [u8; 32]) -> Hello {
        let Self { role, boot, network, grant } = self.clone();
        Hello { role, purpose, boot, nonce, network, grant }
    }
}

/// The wish for a link
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The asker's number for it, which the outcome names
    pub number: u64,
    /// Who must answer; `None`: anybody
    pub key: Option<Key>,
    /// Where; each is tried a quarter of a second after the one before
    pub locations: Vec<Location>,
    /// What the link is for
    pub purpose: Purpose,
}

/// A new link: both hellos are exchanged
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number, never used again
    pub link: LinkId,
    /// Who dialled
    pub direction: Direction,
    /// Who is on the other side, as the handshake proved
    pub key: Key,
    /// What the other side said; its grant is not checked
    pub hello: Hello,
    /// The nonce in this node's own hello
    pub own_nonce: [u8; 32],
    /// The number of the dial that made it; `None` on the side that was dialled
    pub dial: Option<u64>,
    /// The other side's IP address
    pub remote_ip: Option<IpAddr>,
}

#[cfg(test)]
mod tests;
