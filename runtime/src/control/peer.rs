//! What a peer's daemon is asked, and what it answers.
//!
//! | `verb` | more keys | lines before the last | the last line |
//! |---|---|---|---|
//! | `status` | | | [`StatusAnswer`] |
//! | `neighbours` | | | [`NeighboursAnswer`] |
//! | `lookup` | `name` | | [`LookupAnswer`] |
//! | `peers` | `after` | | [`PeersAnswer`]: a page of all names |
//! | `similar` | `name` | | [`PeersAnswer`]: names that may have been meant |
//! | `send` | `name`, `text` or `data`, `ttl_s`, `wait_ms` | | [`SendAnswer`] |
//! | `outbox` | | | [`OutboxAnswer`] |
//! | `fate` | `id` | | [`FateAnswer`] |
//! | `take_back` | `id` | | [`FateAnswer`] |
//! | `inbox` | `follow`, `from` | [`InboxLine`] | [`InboxAnswer`] |
//! | `read` | `sequences` | | [`ReadAnswer`] |
//! | `ping` | `name` | | [`PingAnswer`]: of one, with its way |
//! | `ping` | `name`, `count`, `interval_ms`, `size`, `timeout_ms` | [`PingLine`] | [`PingsAnswer`]: of a series |
//! | `end_pings` | `series` | | [`EndPingsAnswer`] |
//! | `trace` | `name` | | [`TraceAnswer`] |
//! | `call` | `name`, `function`, `arguments`, `timeout_ms`, `id` | | [`CallAnswer`] |
//! | `pipe` | `name`, `channel`, `timeout_ms` | | [`PipeAnswer`]; with 200 the connection is the pipe from then on |
//! | `listen` | `channel`, `from` | | as well |
//! | `pipe_end` | `pipe` | | [`PipeEndAnswer`] |
//! | `forward` | `at`, `to` | [`TunnelLine`]; it stands until the asker hangs up | [`TunnelAnswer`] |
//! | `socks` | `at` | likewise | likewise |
//! | `expose` | `rule` | likewise | likewise |
//! | `tunnels` | | | [`TunnelsAnswer`] |
//! | `connections` | | | [`ConnectionsAnswer`] |
//! | `pins` | `name`, `after` | | [`PinsAnswer`]: a page of all pins, or that of one name |
//! | `pin` | `name`, `key` | | [`PinAnswer`] |
//! | `unpin` | `name` | | as well |
//! | `logout`, `login` | | | [`SessionAnswer`] |

mod calls;
mod connections;
mod contents;
mod messages;
mod neighbours;
mod pings;
mod pipes;
mod traces;
mod trust;
mod tunnels;

use std::fmt;

use kith_common::id::Name;
use serde::{Deserialize, Serialize};

pub use self::calls::{CallAnswer, Function, FunctionsResult};
pub use self::connections::{Connection, ConnectionsAnswer};
pub use self::contents::{Body, Content, Id};
pub use self::messages::{
    FateAnswer, InboxAnswer, InboxLine, OUTBOX_MAX, OutboxAnswer, ReadAnswer, SendAnswer, WaitingMessage,
};
pub use self::neighbours::{Direction, LinkState, Neighbour, NeighboursAnswer};
pub use self::pings::{EndPingsAnswer, PingAnswer, PingEcho, PingLine, PingsAnswer, Series};
pub use self::pipes::{PipeAnswer, PipeEndAnswer};
pub use self::traces::{TraceAnswer, TraceHop, explain};
pub use self::trust::{PINS_PAGE_MAX, PinAnswer, PinnedKey, PinnedName, PinsAnswer};
pub use self::tunnels::{
    OpenPipe, TUNNEL_PIPES_MAX, Tunnel, TunnelAnswer, TunnelLeads, TunnelLine, TunnelState, TunnelsAnswer,
};
pub use super::supernode::MemberState;

/// Messages that one `read` names at most
pub const READ_MAX: usize = 1024;

/// What a peer's daemon is asked for
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    Status,
    /// The links it has and wants
    Neighbours,
    /// Who and where somebody is
    Lookup {
        name: Name,
    },
    /// A page of all names in the network, in their order
    Peers {
        /// The last name of the page before; none: from the first name on
        #[serde(default)]
        after: Option<Name>,
    },
    /// The names that resemble one that nobody has
    Similar {
        name: Name,
    },
    /// Deliver a message; answered when its fate is known, or once it is in the out-box and was waited for long enough
    Send {
        name: Name,
        #[serde(flatten)]
        body: Body,
        /// How long it stays in the out-box until it is delivered; a day if nothing is said, and with 0 it is delivered now or
        /// never
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_s: Option<u64>,
        /// How long to wait for the receipt; 10 s if nothing is said
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
    },
    /// The messages that are not delivered yet, oldest first
    Outbox,
    /// What became of a message
    Fate {
        id: Id,
    },
    /// Send a message no more; it may have arrived
    TakeBack {
        id: Id,
    },
    /// The unread messages, oldest first; they stay until they are [`Request::Read`]
    Inbox {
        /// Whether to go on with those that come, until the asker hangs up
        #[serde(default)]
        follow: bool,
        /// Only those of one sender
        #[serde(default)]
        from: Option<Name>,
    },
    /// Remove messages from the in-box: the asker has them
    Read {
        /// Which, at most [`READ_MAX`]
        sequences: Vec<u64>,
    },
    /// Is somebody there; whoever asks for a series and hangs up has ended it
    Ping {
        name: Name,
        #[serde(flatten)]
        series: Series,
    },
    /// End a series of pings, whose asker is told what it came to
    EndPings {
        series: Id,
    },
    /// Find the way that a packet goes
    Trace {
        name: Name,
    },
    /// Evaluate a function at another peer
    Call {
        name: Name,
        function: String,
        /// Its arguments, at most 64
        #[serde(default)]
        arguments: Vec<Content>,
        /// How long to wait for the result, an hour at most; 10 s if nothing is said
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// That of an earlier call, to repeat it, which is evaluated once; one is drawn if nothing is said
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Id>,
    },
    /// Open a pipe to whoever listens at another peer, or to a port or a socket that it exposes; with 200 this connection carries its bytes, and is half closed as they end
    Pipe {
        name: Name,
        /// Which of those who listen there; `PORT`, `HOST:PORT` or `unix:/PATH` is what is exposed there
        #[serde(default, skip_serializing_if = "String::is_empty")]
        channel: String,
        /// How long to try; 10 s if nothing is said
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Take the next pipe that somebody opens; answered once there is one
    Listen {
        #[serde(default, skip_serializing_if = "String::is_empty")]
        channel: String,
        /// Only from this peer
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Name>,
    },
    /// How a pipe has ended
    PipeEnd {
        pipe: u64,
    },
    /// Let programs that come to a port or a socket here reach a destination at a peer, until the asker hangs up
    Forward {
        /// `PORT`, `IP:PORT`, `*:PORT` or `unix:/PATH`
        at: String,
        /// `NAME:PORT`, `NAME:HOST:PORT`, `NAME:udp:PORT` or `NAME:unix:/PATH`
        to: String,
    },
    /// … reach whatever peer's port they ask for by SOCKS 5
    Socks {
        at: String,
    },
    /// Let peers reach something here, until the asker hangs up
    Expose {
        /// `DESTINATION for NAME[,NAME…]`, or `for everyone`
        rule: String,
    },
    /// The tunnels of this peer, and the pipes that are open
    Tunnels,
    /// The connections with other peers
    Connections,
    /// The keys that names must have, as this peer has relied on them
    Pins {
        /// Only this name's
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// The last name of the page before; none: from the first name on
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Name>,
    },
    /// Take whoever has this key for the holder of the name, and nobody else
    Pin {
        name: Name,
        key: PinnedKey,
    },
    /// Take whomever the directory names for the holder of the name, once more
    Unpin {
        name: Name,
    },
    /// Leave the mesh and stay out until [`Request::Login`]; the daemon goes on
    Logout,
    /// Come back
    Login,
}

/// Where the login stands
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A member of the mesh
    LoggedIn,
    /// No supernode answers, or none lets it in; it goes on trying
    Searching,
    /// A supernode answers
    Joining,
    /// As it wished
    LoggedOut,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LoggedIn => "logged in",
            Self::Searching => "searching",
            Self::Joining => "joining",
            Self::LoggedOut => "logged out",
        })
    }
}

/// Answers `status`: 200 logged in, 503 searching or joining, 401 logged out, else what the supernode refused with
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    pub name: Name,
    pub key: String,
    /// The same as libp2p writes it
    pub peer_id: String,
    /// Its place on the ring, while it is logged in
    pub address: Option<String>,
    /// Where the login stands
    pub state: State,
    /// Why it is not logged in, or not well
    pub reason: Option<String>,
    /// For how many seconds its home has owed it an answer, if it has missed one
    pub home_silent_s: Option<u64>,
    /// Its home supernode, or the one it tries
    pub supernode: Option<String>,
    /// What is known of its home, while it has one
    pub home: Option<HomeSupernode>,
    /// How many supernodes it can try, that one among them
    pub supernodes: u64,
    /// The network's id, once it is known
    pub network: Option<String>,
    /// The epoch of its newest table
    pub epoch: u64,
    /// Members of the mesh, as far as it knows
    pub members: u64,
    /// The network's degree; 0 before the first login
    pub degree: u8,
    /// Links that are up
    pub links_up: u64,
    /// Links that its table asks for
    pub links: u64,
    pub inbox_messages: u64,
    pub inbox_bytes: u64,
    /// Messages that are not delivered yet
    pub outbox_messages: u64,
    pub outbox_bytes: u64,
    pub uptime_s: u64,
    pub version: String,
    pub pid: u32,
    pub listen: Vec<String>,
}

/// The supernode that a peer is logged in to
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeSupernode {
    /// The serial of its certificate
    pub serial: Option<u64>,
    /// Where the link with it leads
    pub location: String,
    /// Smoothed round-trip time
    pub rtt_us: Option<u64>,
    /// How many of the links that it may have it has, in thousandths, as it was told last
    pub load: Option<u16>,
    /// Why it was chosen
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupAnswer {
    pub name: Name,
    pub key: String,
    /// The same as libp2p writes it
    pub peer_id: String,
    /// Its place on the ring, while it is logged in
    pub address: Option<String>,
    /// Where it can be dialled
    pub locations: Vec<String>,
    /// Whether it may have changed since: no supernode answers
    pub stale: bool,
    pub source: Source,
}

/// Answers `peers` and `similar`, as the supernode says
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersAnswer {
    /// Names that have an owner, in the whole network
    pub names: u64,
    pub members: u64,
    /// Whether more names follow behind the last of these
    pub more: bool,
    /// Whether it may have changed since: the home hears too few others
    pub stale: bool,
    /// Sorted by name
    pub peers: Vec<Peer>,
}

/// A name that has an owner
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub name: Name,
    /// Whether its owner is here
    pub state: MemberState,
    /// Its place on the ring, while it is in it
    pub address: Option<String>,
}

/// Where the answer of a look-up comes from
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Supernode,
    Neighbours,
    /// This peer, from an earlier look-up
    Memory,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionAnswer {
    pub name: Name,
    pub state: State,
    /// Why it is not what was asked for
    pub reason: Option<String>,
}
