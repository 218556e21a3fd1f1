//! How calls end, and how the end of a call or of a message is known.

use std::fmt;
use std::time::Duration;

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::wire::bounded::Text;

use super::messages::status_of_look_up;
use crate::output::End;
use crate::pipes::PipeId;

/// What became of a call
#[derive(Clone, PartialEq, Eq)]
pub struct Called {
    pub id: MessageId,
    pub to: Name,
    /// 200 with a result, else why there is none
    pub status: Status,
    /// How this is known
    pub reason: Why,
    /// The result; else the other end's words, if it has said anything
    pub body: Vec<u8>,
    /// With 200, if a pipe was asked for
    pub pipe: Option<PipeId>,
    /// The time from the call to this
    pub elapsed: Duration,
}

impl fmt::Debug for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, to, status, reason, body, .. } = self;
        write!(f, "Called({id} at {to}: {status}, {reason:?}, {} bytes)", body.len())
    }
}

impl Called {
    /// What ends before it has begun
    pub(super) const fn at_once(id: MessageId, to: Name, status: Status, reason: Why) -> Self {
        Self { id, to, status, reason, body: Vec::new(), pipe: None, elapsed: Duration::ZERO }
    }

    /// Whether the other peer has said so itself
    pub fn is_answered(&self) -> bool {
        self.reason == Why::Answered
    }

    /// Why there is no result, for people: the other peer's words, or what is known without it
    pub fn why(&self) -> String {
        let words = Text::<200>::truncated(&String::from_utf8_lossy(&self.body));
        match (&self.reason, self.status) {
            _ if !words.is_empty() => words.to_string(),
            (Why::LookUp, status) => status_of_look_up(status).to_owned(),
            (reason, _) => reason.to_string(),
        }
    }
}

/// How the end of a call or of a message is known
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("the other peer has answered")]
    Answered,
    /// Nothing was asked: a connection was wanted
    #[error("a connection stands")]
    Met,
    #[error("that is this peer itself")]
    Own,
    #[error("so says the look-up of the name")]
    LookUp,
    #[error("no answer in time")]
    NoAnswer,
    /// No answer in time, and this is how the last connection ended
    #[error("no answer in time; the last connection is over: {0}")]
    Lost(End),
    /// Three times what was sent came back, and no supernode was there to relay it, or none had a link to the other peer
    #[error("no way leads there, and no supernode could help")]
    NoWay,
    /// The holder of the key that somebody has named shows a grant for another name
    #[error("whoever is found under that name has another")]
    OtherName,
    /// [`CALLS_MAX`](super::CALLS_MAX), or as many questions wait for the connection
    #[error("too many calls are under way")]
    TooMany,
    /// The other peer's user has pinned another key to this peer's name
    #[error("the other peer knows this one's name with another key, until its user says otherwise")]
    NotTrusted,
    #[error("whoever has that name was removed from the network for good")]
    Removed,
    #[error("this peer has logged out")]
    LoggedOut,
    #[error("another one with this id is under way")]
    IdInUse,
    #[error("over {} bytes", crate::questions::CALL_BYTES_MAX)]
    TooLarge,
    #[error("the out-box is full: what waits in it must be delivered first, or taken back")]
    OutboxFull,
    #[error("the disk of the out-box has failed, or is full, so that it was now or never")]
    DiskFailed,
    #[error("it was taken back")]
    TakenBack,
}
