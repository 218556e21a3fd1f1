//! Bodies of the frames between a peer and its supernode.

use bincode::{Decode, Encode};

use super::bounded::{Bounded, Text};
use super::grant::{SignedCertificate, SignedGrant};
use crate::crypto::Signature;
use crate::id::{Address, Epoch, InviteId, Key, Name, NetworkId, SessionId, SupernodeId};
use crate::status::Status;

/// Where a peer can be dialled: the text of a multiaddr, without a `/p2p` part
pub type Location = Text<100>;

/// A peer's locations; [`LOCATIONS_MAX`] are enough for two addresses in two families
pub type Locations = Bounded<Location, LOCATIONS_MAX>;

/// Locations a peer has at most
pub const LOCATIONS_MAX: usize = 4;

/// Where a peer's listeners are, as its own machine knows it
pub type Listening = Bounded<Location, LISTENING_MAX>;

/// Addresses that a login tells at most: two networks in two families, and as many bridges between containers
pub const LISTENING_MAX: usize = 8;

/// Neighbours a peer has at most: twice what hardly any peer has at degree 16 (docs/figures.md)
pub const NEIGHBOURS_MAX: usize = 64;

/// A short reason for people, from the other side
pub type Reason = Text<REASON_BYTES_MAX>;

/// Bytes of a [`Reason`]: a sentence
pub const REASON_BYTES_MAX: usize = 200;

/// What a node is: one of two
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Role {
    Peer,
    Supernode,
}

/// What a link is for
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Purpose {
    /// Forwarding between neighbours
    Neighbour,
    /// A peer's session with its supernode
    Home,
    /// Agreement between two supernodes of a network, and what one hands to the other
    Backbone,
}

/// The first frame on every link, from both sides; its version stands before it, outside bincode
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// What the sender is
    pub role: Role,
    /// What the dialler wants the link for; the listener repeats it
    pub purpose: Purpose,
    /// How often the sender has started: a larger one replaces links of a smaller one with the same key
    pub boot: u64,
    /// Fresh for every link; a login signs both
    pub nonce: [u8; 32],
    /// The network, if the sender has chosen one
    pub network: Option<NetworkId>,
    /// Between neighbours: the right to be here
    pub grant: Option<SignedGrant>,
}

/// Supernode → peer, after the hellos: who it is, and what it wants to know
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Challenge {
    /// The right to sign grants
    pub certificate: SignedCertificate,
    /// Over [`crate::crypto::Handshake::challenge_bytes`]
    pub signature: Signature,
    /// Whether the network wants its secret proved
    pub secret_required: bool,
    /// Whether the supernode hears somebody lead the log: else it can take a session up, and not for good
    pub is_led: bool,
}

/// Peer → supernode: the wish to log in
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Login {
    /// The name to be known by
    pub name: Name,
    /// Over [`crate::crypto::Handshake::login_bytes`]
    pub signature: Signature,
    /// [`crate::crypto::Handshake::secret_proof`]
    pub secret_proof: Option<[u8; 32]>,
    /// Configured external locations; none: what the supernode makes of `listening` and of the IP that it sees
    pub external: Locations,
    /// Where it listens, by addresses of its own machine
    pub listening: Listening,
    /// The session that the peer had, which may be taken up again while its lease lasts
    pub resume: Option<SessionId>,
    /// The invite that the peer came by, if it did; whoever owns the name needs none
    pub invite: Option<InviteProof>,
}

/// That a peer holds an invite
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct InviteProof {
    pub id: InviteId,
    /// [`crate::crypto::Handshake::invite_proof`]
    pub proof: [u8; 32],
}

/// Supernode → peer: the login is durable
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Granted {
    /// To be shown to neighbours
    pub grant: SignedGrant,
    /// How long the session lasts without a renewal, in milliseconds
    pub lease_ms: u32,
    /// The neighbourhood to begin with
    pub rewire: Box<Rewire>,
}

/// Supernode → peer: no
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refused {
    /// 401, 403, 409, 413, 426, 429 or 503
    pub status: Status,
    /// Why, and what to do
    pub reason: Reason,
    /// When to try again, in milliseconds; 0: trying again as it is will not help
    pub retry_after_ms: u32,
}

/// Peer → supernode, every third of the lease
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Renew {
    pub session: SessionId,
    /// Of the table that the peer has; another one than the directory's for it is answered by a rewire
    pub epoch: Epoch,
}

/// Supernode → peer: the lease begins anew
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Renewed {
    pub session: SessionId,
    /// The epoch of the last rewire that concerned the peer
    pub epoch: Epoch,
    /// Whether the supernode hears nobody lead, and too few others to elect somebody: they may be well without it
    pub is_cut_off: bool,
}

/// Peer → supernode: the session ends now
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Logout {
    pub session: SessionId,
}

/// Supernode → peer: the logout is durable
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LoggedOut {
    pub session: SessionId,
}

/// Supernodes of a network at most: five that vote are more than any network needs, and the others hold sessions
pub const SUPERNODES_MAX: usize = 16;

/// A supernode as others know it
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SupernodeRecord {
    pub id: SupernodeId,
    /// Where it can be dialled
    pub locations: Locations,
    /// How many of the links that it may have it has, in thousandths
    pub load: u16,
}

/// Supernode → peer, after each login and when they change: all supernodes of the network
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Supernodes {
    /// Who says so
    pub home: SupernodeId,
    /// In the order of their ids, the home among them
    pub supernodes: Bounded<SupernodeRecord, SUPERNODES_MAX>,
}

/// What a look-up asks for
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Subject {
    /// The peer of this name
    Name(Name),
    /// The peer at the place with this upper half, to print a path
    ShortId(crate::id::ShortId),
}

/// A question for the directory (peer → supernode) or for the peers near by (peer → neighbour, flooded)
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LookUp {
    /// Chosen by who asks; repeated in the answer
    pub query: u64,
    /// How much farther a flood may go; 0 to a supernode
    pub ttl: u8,
    /// What is asked for
    pub subject: Subject,
    /// To a supernode: what it knows by itself will do, which may be old
    pub may_be_stale: bool,
}

/// The answer to a [`LookUp`]
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Found {
    pub query: u64,
    /// 200, 404, 410, 429 or 503
    pub status: Status,
    /// The peer that was sought, if the status is 200
    pub record: Option<Record>,
    /// The last command of the log that the answer takes account of; 0 from a neighbour
    pub index: u64,
    /// Whether it may be older than the question: the supernode could not ask the others, or was not to, or it is a
    /// neighbour's answer
    pub is_stale: bool,
}

impl Found {
    /// The answer to a question that was not looked at
    pub const fn refused(query: u64, status: Status) -> Self {
        Self { query, status, record: None, index: 0, is_stale: true }
    }

    /// What a neighbour knows
    pub const fn of_neighbour(query: u64, record: Record) -> Self {
        Self { query, status: Status::Delivered, record: Some(record), index: 0, is_stale: true }
    }
}

/// Names in one [`Listing`] at most: the longest ones take 8 KiB, half a small frame
pub const LISTED_MAX: usize = 100;

/// Peer → supernode: which names are there
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct List {
    /// Chosen by who asks; repeated in the answer
    pub query: u64,
    pub which: Which,
}

/// What a [`List`] asks for
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Which {
    /// All names behind this one, in their order; `None`: from the first on
    After(Option<Name>),
    /// Names that whoever typed this one may have meant
    Like(Name),
}

/// The answer to a [`List`]: fewer than [`LISTED_MAX`] names after one are the last ones
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Listing {
    pub query: u64,
    /// 200 or 429
    pub status: Status,
    /// How many names have an owner
    pub names: u64,
    /// How many peers are in the ring
    pub members: u64,
    pub listed: Bounded<Listed, LISTED_MAX>,
}

impl Listing {
    /// The answer to a question that was not looked at
    pub fn refused(query: u64, status: Status) -> Self {
        Self { query, status, names: 0, members: 0, listed: Bounded::new() }
    }
}

/// A name that has an owner
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Listed {
    pub name: Name,
    pub presence: Presence,
}

/// Whether the owner of a name is here
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Presence {
    /// In the ring, at this place
    Here(Address),
    /// A suspect: out of the ring until it is heard again
    Suspect,
    /// Logged out
    Away,
}

/// What the directory knows of a peer that is logged in
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Record {
    pub name: Name,
    pub key: Key,
    pub address: Address,
    /// The epoch at which its session began
    pub epoch: Epoch,
    /// Where it can be dialled
    pub locations: Locations,
}

/// Supernode → peer: the whole neighbourhood, now
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rewire {
    /// Of the change that made it; a table with an epoch no larger than the last is ignored, and one of another
    /// incarnation is taken after a login only
    pub epoch: Epoch,
    /// n̂: how many members the ring has
    pub members: u64,
    /// d: the network's degree, even, 4 to 40
    pub degree: u8,
    /// Every neighbour, in the order of addresses
    pub neighbours: Bounded<Record, NEIGHBOURS_MAX>,
    /// Whom of the ring the peer is parted from, in the order of addresses: it finds none of them, though each is there
    pub apart: Bounded<Address, NEIGHBOURS_MAX>,
}

/// Peer → supernode: what it found out about its neighbours
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Report {
    /// The link to this neighbour is down
    LinkDown(Address),
    /// A dial to this neighbour failed for 5 s
    Unreachable(Address),
    /// All links are down
    Isolated,
}
