//! The end of a send, and how it is known.

use std::fmt;
use std::time::Duration;

use crate::id::{MessageId, Name};
use crate::status::Status;
use crate::wire::content::{Cause, PathHop};
use crate::wire::session;

/// What became of a send
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    pub id: MessageId,
    pub to: Name,
    /// What became of it
    pub status: Status,
    /// The way that it took, both ends left out, as the receiver saw it; empty without a reply
    pub path: Vec<PathHop>,
    /// The time from the send to this
    pub elapsed: Duration,
    /// How often it was transmitted or relayed
    pub transmissions: u8,
    /// How this is known
    pub reason: Reason,
    /// The receiver's words, if it has said any
    pub words: session::Reason,
}

/// How a fate is known
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Replied,
    NoReply,
    /// The directory, or whoever else was asked for the name, said so
    LookUp,
    /// It came back, and no supernode could help
    Undeliverable(Cause),
    /// The supernode that was to relay it said so
    Relay(Cause),
    /// No link was up, and no supernode could help
    NoFirstHop,
    /// It left and was not given back, so it may have arrived; now there is no way, or nobody, for this reason
    Uncertain(Status),
    /// [`IN_FLIGHT_MAX`](super::IN_FLIGHT_MAX) sends had no fate yet
    OutboxFull,
    /// A reply was offered to be sent like a request
    NotARequest,
    /// Another send has this id
    IdInUse,
    /// The shell could not make a packet of it
    Refused(&'static str),
}

impl Fate {
    /// Why it was not answered with 200, for people: the receiver's words, or what is known without it
    pub fn why(&self) -> String {
        match (self.reason, self.status) {
            _ if !self.words.is_empty() => self.words.to_string(),
            (Reason::LookUp, Status::NotFound) => "nobody has that name".to_owned(),
            // A supernode cannot tell a peer that was killed from one that has no network.
            (Reason::LookUp, Status::Gone) => "its owner has logged out, or is not heard any more".to_owned(),
            (Reason::LookUp, Status::Unavailable) => {
                "no supernode can say for sure, and nobody near knows that name".to_owned()
            }
            (reason, _) => reason.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Replied => "the receiver replied",
            Self::NoReply => "no reply in time",
            Self::LookUp => "so says the look-up of the name",
            Self::Undeliverable(cause) => return write!(f, "{}, and no supernode could help", words(*cause)),
            Self::Relay(cause) => return write!(f, "so says the relaying supernode: {}", words(*cause)),
            Self::Uncertain(status) => {
                return write!(f, "it may have arrived, but no reply came, and now the receiver is {}", status.text());
            }
            Self::NoFirstHop => "no neighbour that is up leads there, and no supernode could help",
            Self::OutboxFull => "too many pings are under way",
            Self::NotARequest => "a reply cannot be sent as a request",
            Self::IdInUse => "another send with this id is under way",
            Self::Refused(reason) => reason,
        };
        f.write_str(text)
    }
}

const fn words(cause: Cause) -> &'static str {
    match cause {
        Cause::NoCandidate => "no neighbour was left to try",
        Cause::TtlSpent => "it had used up its hops",
        Cause::DestinationDown => "the destination's neighbours have lost it",
        Cause::NoSession => "nobody is logged in at that address",
        Cause::Congested => "a queue on the way was full",
    }
}
