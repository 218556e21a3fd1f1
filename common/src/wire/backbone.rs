//! Bodies of the frames between supernodes.
//!
//! Packets pass between them, too: a [`Relay`](super::FrameKind::Relay) is for a peer that is at home at the receiver,
//! which hands it over or gives it back; a [`Packet`](super::FrameKind::Packet) was given back, and is for its source.

use bincode::{Decode, Encode};

use super::bounded::Bounded;
use super::grant::SignedCertificate;
use super::session::{Report, SUPERNODES_MAX};
use crate::id::{Address, SessionId, SupernodeId};

/// The first frame after the hellos, from both sides: who the sender is
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Present {
    /// The network key's word that the key of this link is a supernode's
    pub certificate: SignedCertificate,
    /// How many of the links that it may have it has, in thousandths
    pub load: u16,
}

/// Once a second: how the sender is, and whom it sees
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Beat {
    /// As in [`Present::load`]
    pub load: u16,
    /// Who leads the log, as far as it knows
    pub leader: Option<SupernodeId>,
    /// The supernodes that it has a link with, in the order of their ids
    pub sees: Bounded<SupernodeId, SUPERNODES_MAX>,
}

/// What a peer reported of one that is at home at the receiver
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reported {
    /// Whose report it is; it is at home at the sender
    pub reporter: Address,
    /// Of one peer: an isolated peer's supernode asks the home of each of its neighbours
    pub report: Report,
}

/// Does the peer of this session still answer? Somebody with its key logs in at the sender
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// Chosen by who asks; repeated in the answer
    pub number: u64,
    pub session: SessionId,
}

/// The answer to a [`Claim`]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claimed {
    pub number: u64,
    /// Whether it has answered; not so of one that has no link there
    pub is_alive: bool,
}
