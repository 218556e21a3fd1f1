//! What an endpoint wants done, and what it tells.

use std::ops::RangeInclusive;

use kith_common::id::{Address, Key};
use kith_common::status::Status;
use quinn_proto::VarInt;

/// A connection of an endpoint, by a number that is not given twice
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A stream of a connection, by its number there
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) quinn_proto::StreamId);

impl StreamId {
    /// From before all streams of a connection to behind them
    pub(crate) fn all_of(connection: ConnectionId) -> RangeInclusive<(ConnectionId, Self)> {
        let [first, last] = [VarInt::from_u32(0), VarInt::MAX].map(|id| Self(id.into()));
        (connection, first)..=(connection, last)
    }

    /// Whether only whoever has opened it writes
    pub(crate) fn is_one_way(self) -> bool {
        self.0.dir() == quinn_proto::Dir::Uni
    }
}

/// Whether one end writes on a stream, or both do
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Only whoever opens it writes
    One,
    Both,
}

impl From<Direction> for quinn_proto::Dir {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::One => Self::Uni,
            Direction::Both => Self::Bi,
        }
    }
}

impl From<quinn_proto::Dir> for Direction {
    fn from(direction: quinn_proto::Dir) -> Self {
        match direction {
            quinn_proto::Dir::Uni => Self::One,
            quinn_proto::Dir::Bi => Self::Both,
        }
    }
}

/// How a packet's payload has come
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// As the packet says
    pub source: Address,
    /// Of the way that it has taken
    pub label: u32,
    /// Whether a queue on its way was more than half full
    pub is_congested: bool,
    /// Whether a supernode has relayed it, which has checked the source
    pub is_relayed: bool,
}

/// A packet's payload, on its way to the other end
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Whose it is; `None`: an answer to somebody without one
    pub connection: Option<ConnectionId>,
    pub to: Address,
    /// Decides among equal ways
    pub label: u32,
    /// First hops that others are preferred to: nothing came of what they had carried. Whoever carries it is to be told
    /// ([`Endpoint::handle_sent`](crate::Endpoint::handle_sent)).
    pub avoid: Vec<Address>,
    /// Whether a supernode is to relay a copy, as no way of the mesh has led there
    pub is_relayed: bool,
    /// [`DATAGRAM_BYTES`](crate::settings::DATAGRAM_BYTES) at most
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connection, to, label, avoid, is_relayed, bytes } = self;
        let bytes = bytes.len();
        write!(f, "Datagram({connection:?} to {to} by {label:08x} not {avoid:?}, relayed {is_relayed}, {bytes} bytes)")
    }
}

/// Why a connection is over
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// Somebody else than was dialled holds the other end
    #[error("another key than the one that was dialled")]
    AnotherKey,
    /// Nothing was heard for [`IDLE`](crate::settings::IDLE), or by whichever end wants to wait less
    #[error("nothing was heard for too long")]
    Silent,
    /// The other end knows nothing of it: it has started anew
    #[error("the other end has started anew")]
    Forgotten,
    /// The other end has ended it, and says why
    #[error("the other end has closed it: {code}")]
    Closed { code: u64 },
    /// This end has, or it has made room for another one
    #[error("closed here: {code}")]
    ClosedHere { code: u64 },
    /// One of the two does not keep to QUIC
    #[error("{0}")]
    Broken(String),
}

impl End {
    /// Whether the other end must have this peer's name with another key than it holds
    pub(crate) fn is_distrust(&self) -> bool {
        *self == Self::Closed { code: Status::AnotherKey.code().into() }
    }
}

/// What is to be done, and what has happened; drain [`poll_output`](crate::Endpoint::poll_output) after every input
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Put it into a packet
    Send(Datagram),
    /// Both ends have proved their keys
    Connected {
        connection: ConnectionId,
        /// Of the other end
        key: Key,
        /// Whether that has dialled
        is_theirs: bool,
        /// Whether they did so on an earlier connection, of which there is a ticket, and do so again ([`Self::Confirmed`]): what must
        /// not be heard twice waits for that
        is_early: bool,
    },
    /// The handshake is done of a connection that was used before it was
    Confirmed { connection: ConnectionId },
    /// It is over, and so are its streams
    Ended { connection: ConnectionId, end: End },
    /// Nothing was acknowledged in time, or the mesh has said that it leads nowhere: another way is taken
    WayChanged {
        connection: ConnectionId,
        /// How often since something was last acknowledged
        changes: u32,
    },
    /// The other end has opened a stream
    Opened { connection: ConnectionId, stream: StreamId, direction: Direction },
    /// There is something to read, or its end
    Readable { connection: ConnectionId, stream: StreamId },
    /// There is room again for what could not be written
    Writable { connection: ConnectionId, stream: StreamId },
    /// All that was written, and its end, is acknowledged
    Finished { connection: ConnectionId, stream: StreamId },
    /// The other end wants no more of it
    Stopped { connection: ConnectionId, stream: StreamId, code: u64 },
    /// There is room again for a stream that could not be opened
    Room { connection: ConnectionId, direction: Direction },
    /// There are datagrams to take
    Heard { connection: ConnectionId },
}
