//! What a supernode's daemon is asked, and what it answers.
//!
//! | `verb` | more keys | answer |
//! |---|---|---|
//! | `status` | | [`StatusAnswer`] |
//! | `peers` | | a line [`Member`] for each name, sorted by name, then [`PeersAnswer`] |
//! | `lookup` | `name` | [`Member`] |
//! | `ring` | | a line [`PlaceOnRing`] for each peer, sorted by address, then [`RingAnswer`] |
//! | `invite` | `name`, `uses`, `minutes`, `at` | [`InviteAnswer`] |
//! | `remove` | `name` | [`RemoveAnswer`] |
//! | `members` | | [`MembersAnswer`] |
//! | `remove_supernode` | `serial`, `leaves_one` | [`RemoveSupernodeAnswer`] |
//! | `backup` | `path` | [`BackupAnswer`] |
//! | `release` | `name` | [`ReleaseAnswer`] |
//!
//! There may be a million names: each line is as its peer was when it was about to be told, and whoever comes or goes
//! meanwhile is told or not.

use std::fmt;
use std::path::PathBuf;

use kith_common::id::Name;
use serde::{Deserialize, Serialize};

/// What a supernode's daemon is asked for
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    Status,
    /// Every name and how its owner is
    Peers,
    /// Who and where somebody is
    Lookup {
        name: Name,
    },
    /// Everybody in the ring, in its order, with their tables
    Ring,
    /// Make an invite
    Invite {
        /// The only name that it is good for, if it is for one
        name: Option<Name>,
        /// Newcomers that it lets in, at least one
        uses: u32,
        /// How long it is good; none: until it is used up
        minutes: Option<u32>,
        /// Where newcomers reach this supernode, at most 4; none: where it listens
        at: Vec<String>,
    },
    /// Bar the key that owns a name for good; its session ends
    Remove {
        name: Name,
    },
    /// Give a name free; a session under it ends
    Release {
        name: Name,
    },
    /// Who the supernodes are, and how each is
    Members,
    /// Take a supernode out of the network for good
    RemoveSupernode {
        /// Of its certificate
        serial: u64,
        /// Even if one is left that decides alone
        leaves_one: bool,
    },
    /// Write a copy of the directory into a file
    Backup {
        /// Where, from the root on: the daemon writes it
        path: PathBuf,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The network's id, 64 hexadecimal digits
    pub network: String,
    /// The supernode's public key
    pub key: String,
    /// The same as libp2p writes it
    pub peer_id: String,
    pub listen: Vec<String>,
    pub degree: u8,
    /// How long a session lasts without a renewal
    pub lease_s: u64,
    /// The epoch of the last change to a table
    pub epoch: u64,
    /// Commands in the log, ever
    pub log_index: u64,
    /// The number of its certificate, by which supernodes know each other
    pub serial: u64,
    /// The serial of the supernode that leads the log; none if nobody does
    pub leader: Option<u64>,
    /// How often a leader was sought, ever
    pub term: u64,
    /// Entries of the log that are not applied here yet
    pub lag: u64,
    /// Supernodes of the network, this one among them
    pub supernodes: u64,
    /// Of these, those that vote when a leader is sought: more than half of them must agree on each command
    pub voters: u64,
    /// Of those that vote, those to which there is a link, this one among them
    pub voters_reached: u64,
    /// Why nobody can log in: the status is 503 then
    pub reason: Option<String>,
    /// Names that have an owner
    pub names: u64,
    /// Peers that are logged in
    pub members: u64,
    /// Of these, those that are out of the ring because they are silent
    pub suspects: u64,
    /// Pairs of peers that cannot connect
    pub unreachable_pairs: u64,
    /// Sessions with a link here
    pub homes: u64,
    pub links: u64,
    /// Connections that were refused, or put out before they had said anything, as there were too many, since the daemon began
    pub refused_connections: u64,
    /// Handshakes that came to nothing since then
    pub failed_handshakes: u64,
    /// Whether peers must know the network's secret
    pub secret_required: bool,
    /// Whether whoever comes may have a name, without a secret or an invite
    pub open: bool,
    /// Invites that still let somebody in
    pub invites: u64,
    /// Names that were taken and not used yet: free again after their term
    pub unused: u64,
    /// What keys, networks and invites may ask for
    pub budgets: Vec<Budget>,
    /// Those that want to log in
    pub logins: LoginQueue,
    pub uptime_s: u64,
    pub version: String,
    pub pid: u32,
}

/// How logins fare at present
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginQueue {
    /// How many wait for the log
    pub waiting: u64,
    /// Commands that the log takes in a second, as was last measured; none: it never had more than it could take at once
    pub commands_per_second: Option<u32>,
    /// How long one that came now would wait
    pub wait_ms: u64,
    /// How many were told to come again since the daemon began, as they would have waited too long, or had
    pub put_off: u64,
}

/// How much of something may be asked for, by each of its kind
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub what: String,
    /// How many at once
    pub burst: u32,
    /// One more every so often
    pub every_ms: u64,
    /// How many have not all of it at present
    pub owners: u64,
    /// What whoever has least has left
    pub least_left: u32,
    /// Logins that were refused for it since the daemon began
    pub refused: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersAnswer {
    /// Names that were told
    pub names: u64,
    /// Of these, those whose owners are in the ring
    pub members: u64,
    /// Whether it may have changed since: the supernodes cannot agree at present
    pub stale: bool,
}

/// A name and its owner
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: Name,
    /// Its owner's public key
    pub key: String,
    /// The same as libp2p writes it
    pub peer_id: String,
    /// Whether it is here
    pub state: MemberState,
    /// Why it is a suspect
    pub reason: Option<String>,
    /// Its place, while it is logged in
    pub address: Option<String>,
    /// Where it can be dialled
    pub locations: Vec<String>,
    /// Whether it has a link to this supernode
    pub home: bool,
    /// The epoch at which its session began
    pub since_epoch: Option<u64>,
    /// Whether it may have changed since: the supernodes cannot agree at present
    pub stale: bool,
}

/// How a member is
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It is in the ring
    LoggedIn,
    /// Silent: out of the ring until it is heard or its lease ends
    Suspect,
    /// Not here; the name stays its own
    LoggedOut,
    /// Barred for good; nobody else has the name until it is released
    Removed,
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LoggedIn => "logged in",
            Self::Suspect => "suspect",
            Self::LoggedOut => "logged out",
            Self::Removed => "removed",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingAnswer {
    /// The epoch of the last change to a table when the list began: a table of a later one has changed since
    pub epoch: u64,
    /// Peers that were told
    pub members: u64,
}

/// One peer's place and table
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceOnRing {
    pub name: Name,
    pub address: String,
    /// When the table last changed
    pub table_epoch: u64,
    /// Sorted by address
    pub neighbours: Vec<TableEntry>,
}

/// One neighbour in a table
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    pub name: Name,
    pub address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteAnswer {
    /// What a newcomer types after `kith join`
    pub invite: String,
    /// The only name that it is good for, if it is for one
    pub name: Option<Name>,
    /// Newcomers that it lets in
    pub uses: u32,
    /// How long it is good; none: until it is used up
    pub minutes: Option<u32>,
    /// Where newcomers will look for the supernode
    pub at: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveAnswer {
    /// Whether a session ended with it; not so if the key was removed before
    pub was_logged_in: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseAnswer {
    /// Whether a session ended with it
    pub was_logged_in: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersAnswer {
    /// How often a leader was sought, ever
    pub term: u64,
    /// Entries in the log that supernodes agree on
    pub entries: u64,
    /// Whether others are about to vote than did, and both must agree meanwhile
    pub changing: bool,
    /// In the order of their serials
    pub supernodes: Vec<SupernodeMember>,
}

/// A supernode of the network
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupernodeMember {
    /// Of its certificate
    pub serial: u64,
    pub role: SupernodeRole,
    /// Whether it is the one that answers
    pub here: bool,
    /// Where it can be dialled
    pub locations: Vec<String>,
    /// Whether the one that answers has a link to it
    pub linked: bool,
    /// The round trip on that link
    pub rtt_us: Option<u64>,
    /// How many of the links that it may have it has, in thousandths
    pub load: Option<u16>,
    /// Sessions that are at home there
    pub sessions: u64,
    /// Entries of the log that it lacks, if the one that answers leads
    pub lag: Option<u64>,
}

/// What a supernode is in the agreement
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SupernodeRole {
    /// It orders the log
    Leader,
    /// It has a vote
    Voter,
    /// It hears the log, and serves peers
    Learner,
}

impl fmt::Display for SupernodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Learner => "learner",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveSupernodeAnswer {
    pub serial: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupAnswer {
    pub path: PathBuf,
    /// How large it is
    pub bytes: u64,
}
