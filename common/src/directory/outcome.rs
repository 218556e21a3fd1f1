//! What became of a command.

use std::collections::BTreeSet;

use super::command::SuspectReason;
use super::pairs::Pair;
use crate::id::{Address, Epoch, Key, Name, SessionId, SupernodeId};
use crate::invite::Token;
use crate::lift::{DEGREE_MAX, DEGREE_MIN};
use crate::status::Status;
use crate::wire::session::{Locations, Record};

/// The effect of one command
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The answer to whoever proposed it
    pub outcome: Outcome,
    /// The peers whose table the command changed, and who are to be sent their
    /// [`neighbourhood`](super::Directory::neighbourhood); one that has left the ring is among them, and has none
    ///
    /// It may hold a ring neighbour whose table stayed as it was where unreachable pairs are involved, never less.
    pub touched: BTreeSet<Address>,
}

/// The answer to a command
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The network's degree has changed
    Configured,
    /// Epochs are of another incarnation
    Incarnated,
    LoggedIn(LoggedIn),
    /// The peer is out of the ring
    Suspected {
        address: Address,
    },
    /// The peer is in the ring again
    Cleared {
        address: Address,
    },
    /// The two are absent to each other
    Parted {
        /// Pairs that had to be forgotten for it, as one of its peers or the directory has too many; oldest first
        dropped: Vec<Pair>,
    },
    /// The two may connect again
    Reunited,
    /// The session is over, by log-out, expiry or release
    Ended(Ended),
    /// The name belongs to nobody; it had no session
    Released,
    /// Newcomers may come by the invite of this token
    Invited(Token),
    /// The key is barred; it had no session
    Removed,
    /// A minute has passed
    Passed {
        /// Names that nobody has used in their term and that belong to nobody now
        freed: Vec<Name>,
    },
    /// Nothing to do, for this reason; only the index of the last command has moved
    Unchanged(&'static str),
    /// The directory refuses; only the index of the last command has moved
    Refused(Refusal),
    /// The index is not larger than the last one: the command had its effect before, and the directory is unchanged
    Stale,
}

/// A session that stands
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    pub session: SessionId,
    /// Name, key, address, the epoch at which it began, and its locations
    pub record: Record,
    /// Whether the peer was here already
    pub entry: Entry,
    /// The key's session that this one stands in for
    pub replaced: Option<SessionId>,
}

/// How a peer entered
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is new, and so is its address
    New,
    /// At the address that its key had, as the lease of the session before lasted
    Rejoined,
    /// Into the very session that it had
    Resumed,
}

/// A session that is over
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub session: SessionId,
    pub name: Name,
    pub key: Key,
    /// The place that is free now
    pub address: Address,
}

/// Why a command was refused; the directory is unchanged
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is bound to another key
    #[error("the name belongs to another key; choose another name")]
    NameTaken,
    /// The key is in session under another name
    #[error("this key is logged in as {0}; log out first")]
    KeyInSession(Name),
    /// The session id is another key's, which chance alone does not do
    #[error("the session's id is in use; log in again")]
    SessionIdTaken,
    /// All candidates for an address are taken, which chance alone does not do
    #[error("no free place on the ring; log in again")]
    NoPlace,
    /// [`ACCOUNTS_MAX`](super::ACCOUNTS_MAX) names are registered
    #[error("no more names can be registered; an operator can release unused ones")]
    AccountsFull,
    /// [`SESSIONS_MAX`](super::SESSIONS_MAX) peers are logged in
    #[error("no more peers can be logged in; try again later")]
    SessionsFull,
    /// An operator has removed this key
    #[error("an operator has removed this peer from the network for good")]
    Removed,
    /// [`REMOVED_MAX`](crate::removed::REMOVED_MAX) keys are barred
    #[error("no more keys can be barred in this network")]
    RemovedFull,
    /// The network takes newcomers by invites only, and this one has none
    #[error(
        "this network takes invites only: ask its operator for one (kith-supernode invite), then type: kith join LINE"
    )]
    NotInvited,
    /// No such invite was made in this network, or it was used up or expired long ago
    #[error("this invite is not known here; ask for a new one (kith-supernode invite)")]
    InviteUnknown,
    /// As many have come by the invite as may
    #[error("this invite is used up; ask for a new one (kith-supernode invite)")]
    InviteSpent,
    /// The invite's time is over
    #[error("this invite has expired; ask for a new one (kith-supernode invite)")]
    InviteExpired,
    /// The invite is for another name
    #[error("this invite is for the name {0}: start with --name {0}")]
    InviteForOther(Name),
    /// An invite for a name that is somebody's already; said to an operator, and not by the log
    #[error("{0} is somebody's name already, who needs no invite; release it first, or choose another name")]
    InviteForOwned(Name),
    /// An invite that would let nobody in
    #[error("an invite lets at least one newcomer in")]
    InviteForNobody,
    /// [`INVITES_MAX`](super::INVITES_MAX) invites are good
    #[error("no more invites can be made until some are used up or expire")]
    InvitesFull,
    /// There is no such session, or it has ended
    #[error("the session has ended; log in again")]
    NoSession,
    /// The session is at home at another supernode by now, which judges it
    #[error("the session is at home at another supernode")]
    OtherHome,
    /// The name is not registered
    #[error("no such name")]
    UnknownName,
    /// Nobody has that address
    #[error("nobody is at that address")]
    UnknownAddress,
    /// A pair of one peer with itself
    #[error("a peer is no pair with itself")]
    SamePeer,
    /// An odd degree, or one out of bounds
    #[error("a degree is even and from {DEGREE_MIN} to {DEGREE_MAX}, not {0}")]
    Degree(u8),
}

impl Refusal {
    /// The code for the wire
    pub const fn status(&self) -> Status {
        match self {
            Self::NameTaken
            | Self::KeyInSession(_)
            | Self::SessionIdTaken
            | Self::InviteForOwned(_)
            | Self::OtherHome => Status::Conflict,
            Self::AccountsFull | Self::SessionsFull | Self::InvitesFull | Self::RemovedFull => Status::SlowDown,
            Self::Removed
            | Self::NotInvited
            | Self::InviteUnknown
            | Self::InviteSpent
            | Self::InviteExpired
            | Self::InviteForOther(_) => Status::NotAllowed,
            Self::NoPlace => Status::Unavailable,
            Self::NoSession => Status::NotLoggedIn,
            Self::UnknownName | Self::UnknownAddress => Status::NotFound,
            Self::SamePeer | Self::Degree(_) | Self::InviteForNobody => Status::Malformed,
        }
    }
}

/// A name and whose it is
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub key: Key,
    /// Its session, if it is logged in
    pub session: Option<SessionId>,
}

/// One stay of one peer
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub name: Name,
    pub key: Key,
    pub address: Address,
    /// When it began
    pub epoch: Epoch,
    /// When the peer's table last changed
    pub rewired: Epoch,
    /// Where the peer can be dialled
    pub locations: Locations,
    /// The supernode that the peer has logged in to, and that judges whether it is gone
    pub home: SupernodeId,
    /// Why it is out of the ring, if it is
    pub suspect: Option<SuspectReason>,
}

impl Session {
    /// What others may know of it
    pub fn record(&self) -> Record {
        Record {
            name: self.name.clone(),
            key: self.key,
            address: self.address,
            epoch: self.epoch,
            locations: self.locations.clone(),
        }
    }
}
