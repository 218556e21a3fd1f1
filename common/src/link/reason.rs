//! Why a link ended, and why one never began.

use std::time::Duration;
use std::{fmt, io};

use super::LinkEnd;
use super::limits::Refusal;
use crate::status::Status;
use crate::wire::session::Reason;
use crate::wire::{FrameKind, WireError};

/// Why a link ended; the link is gone, and what waited on it with it
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The connection broke, or ended without a word: a killed process, a lost network
    #[error("connection lost ({})", reset_text(.0))]
    Reset(io::ErrorKind),
    /// The neighbour answers no more
    #[error("no answer for {} ms", unanswered.as_millis())]
    Silent {
        /// Since the first traffic that it did not answer
        unanswered: Duration,
    },
    /// The neighbour sent what the protocol does not allow
    #[error("protocol error: {0}")]
    Protocol(WireError),
    /// The neighbour sent a frame that is good, but not there
    #[error("protocol error: {0:?} is out of place")]
    Unexpected(FrameKind),
    /// The neighbour said why it closes
    #[error("the other side closed: {status}: {reason}")]
    Bye {
        /// Its code
        status: Status,
        /// Its words
        reason: Reason,
    },
    /// This node closed it
    #[error("closed here: {status}: {reason}")]
    Local {
        /// The code that the neighbour was told
        status: Status,
        /// The words that it was told
        reason: Reason,
    },
    /// The neighbour is too slow to be told from a dead one, or from an attacker
    #[error("too slow: {0}")]
    Slow(Slow),
    /// The link's task ended by a bug of ours
    #[error("internal error")]
    Internal,
}

/// What a neighbour was too slow at
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Slow {
    /// A frame was begun and not finished in time
    #[error("a frame was begun and not finished")]
    Frame,
    /// A write was not taken in time
    #[error("it takes no bytes")]
    Write,
    /// Control frames piled up to their bound
    #[error("its control queue is full")]
    ControlQueue,
    /// No hello in time
    #[error("no hello")]
    Hello,
}

impl CloseReason {
    /// One word for a log's `reason` field
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Reset(_) => "reset",
            Self::Silent { .. } => "silent",
            Self::Protocol(_) => "protocol",
            Self::Unexpected(_) => "unexpected_frame",
            Self::Bye { .. } => "bye",
            Self::Local { .. } => "local",
            Self::Slow(Slow::Frame) => "slow_frame",
            Self::Slow(Slow::Write) => "slow_write",
            Self::Slow(Slow::ControlQueue) => "control_queue_full",
            Self::Slow(Slow::Hello) => "slow_hello",
            Self::Internal => "internal",
        }
    }

    /// What the cores above are told
    pub fn link_end(&self) -> LinkEnd {
        match self {
            Self::Bye { status, reason } => LinkEnd::Bye(*status, reason.clone()),
            other => LinkEnd::Lost(Reason::truncated(&other.to_string())),
        }
    }

    /// What the neighbour is told, if it can still be told anything
    pub fn farewell(&self) -> Option<(Status, Reason)> {
        let status = match self {
            Self::Local { status, reason } => return Some((*status, reason.clone())),
            Self::Protocol(WireError::Version(_)) => Status::VersionNotSupported,
            Self::Protocol(WireError::TooLong) => Status::TooLarge,
            Self::Protocol(_) | Self::Unexpected(_) => Status::Malformed,
            Self::Slow(Slow::Frame | Slow::Hello) => Status::TimedOut,
            Self::Internal => Status::Failed,
            // It reads nothing more, or took its leave itself: words to it would only wait for their deadline.
            Self::Reset(_) | Self::Silent { .. } | Self::Bye { .. } | Self::Slow(_) => return None,
        };
        Some((status, Reason::truncated(&self.to_string())))
    }
}

impl From<Refusal> for CloseReason {
    fn from(refusal: Refusal) -> Self {
        Self::Local { status: Status::SlowDown, reason: Reason::truncated(&refusal.to_string()) }
    }
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> Self {
        Self::Reset(error.kind())
    }
}

/// How far a dial comes before anybody has said hello
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialStage {
    /// Until somebody takes the connection; if nobody does, it has cost the other side nothing
    Connecting,
    /// Until both keys are proved
    Handshake,
}

impl fmt::Display for DialStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Handshake => "handshake",
        })
    }
}

/// Why a dial made no link; nothing is left of it
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// There is nowhere to dial
    #[error("no location is known")]
    NoLocation,
    /// Nobody took the connection, at any location
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The handshake failed
    #[error("handshake failed: {0}")]
    Handshake(String),
    /// Somebody else lives there
    #[error("another node answered at that location")]
    OtherKey,
    /// This node itself lives there
    #[error("that location is this node's own")]
    OwnKey,
    /// A deadline passed
    #[error("no answer within {} s ({stage})", after.as_secs_f32())]
    TimedOut {
        /// What was not done by then
        stage: DialStage,
        /// The deadline
        after: Duration,
    },
    /// The other side's hello was not one, or it refused
    #[error(transparent)]
    Hello(CloseReason),
    /// This node has as many links as it may have
    #[error("this node has {0} links already")]
    TooManyLinks(usize),
}

impl DialError {
    /// What it comes to as a code: what the other side said, 426 for another version, 408 if it said nothing in time,
    /// else 503
    pub const fn status(&self) -> Status {
        match self {
            Self::Hello(CloseReason::Bye { status, .. }) => *status,
            Self::Hello(CloseReason::Protocol(WireError::Version(_))) => Status::VersionNotSupported,
            Self::TimedOut { .. } | Self::Hello(CloseReason::Slow(_)) => Status::TimedOut,
            _ => Status::Unavailable,
        }
    }

    /// One word for a log's `reason` field
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoLocation => "no_location",
            Self::Connect(_) => "connect",
            Self::Handshake(_) => "handshake",
            Self::OtherKey => "other_key",
            Self::OwnKey => "own_key",
            Self::TimedOut { .. } => "timed_out",
            Self::Hello(reason) => reason.word(),
            Self::TooManyLinks(_) => "too_many_links",
        }
    }
}

const fn reset_text(kind: &io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::UnexpectedEof => "ended without a word",
        io::ErrorKind::ConnectionReset => "reset",
        io::ErrorKind::BrokenPipe => "broken pipe",
        io::ErrorKind::TimedOut => "timed out",
        io::ErrorKind::InvalidData => "bytes that are not TLS",
        _ => "broken",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn farewell_carries_the_status_of_the_fault() {
        let status = |reason: CloseReason| reason.farewell().map(|(status, _)| status);
        assert_eq!(status(CloseReason::Protocol(WireError::Version(9))), Some(Status::VersionNotSupported));
        assert_eq!(status(CloseReason::Protocol(WireError::TooLong)), Some(Status::TooLarge));
        assert_eq!(status(CloseReason::Protocol(WireError::Kind(99))), Some(Status::Malformed));
        assert_eq!(status(CloseReason::Reset(io::ErrorKind::ConnectionReset)), None);
        let told = Reason::truncated("not in my table");
        let local = CloseReason::Local { status: Status::NotAllowed, reason: told.clone() };
        assert_eq!(local.farewell(), Some((Status::NotAllowed, told)));
    }
}
