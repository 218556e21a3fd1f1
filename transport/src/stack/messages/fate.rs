//! What becomes of a message, and how that is known.

use std::time::Duration;

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::wire::content::PathHop;

use crate::stack::called::Why;

/// What became of a message: there is one for each
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFate {
    pub id: MessageId,
    pub to: Name,
    /// 200: the receiver has it on disk. 408: it may have it; every other status: it has not
    pub status: Status,
    /// How this is known
    pub reason: Why,
    /// The receiver's words, if it has said any
    pub words: String,
    /// The way that it took, both ends left out, as the receiver saw it; empty without a receipt
    pub path: Vec<PathHop>,
    /// How often it was sent
    pub attempts: u32,
    /// The time from its beginning to this
    pub elapsed: Duration,
}

impl MessageFate {
    /// Why it was not delivered, for people: the receiver's words, or what is known without it
    pub fn why(&self) -> String {
        why(self.status, &self.reason, &self.words)
    }
}

/// Why a message is not there, for people
pub(super) fn why(status: Status, reason: &Why, words: &str) -> String {
    match (reason, status) {
        _ if !words.is_empty() => words.to_owned(),
        (Why::LookUp, status) => status_of_look_up(status).to_owned(),
        (Why::TooLarge, _) => format!("over {} bytes", crate::MESSAGE_BYTES_MAX),
        (reason, _) => reason.to_string(),
    }
}

/// What a look-up's status means for whoever wants something of the holder of a name
pub(in crate::stack) fn status_of_look_up(status: Status) -> &'static str {
    match status {
        Status::NotFound => "nobody has that name",
        // A supernode cannot tell a peer that was killed from one that has no network.
        Status::Gone | Status::TimedOut => "its owner has logged out, or is not heard any more",
        Status::SlowDown => "too many names are asked for",
        Status::AnotherKey => "that name has another key than the one that is pinned to it here",
        _ => "no supernode can say for sure, and nobody near knows that name",
    }
}

/// Why messages for somebody are not there yet
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub status: Status,
    pub reason: Why,
    /// The receiver's words, if it has said any
    pub words: String,
}

impl Trouble {
    /// For people
    pub fn why(&self) -> String {
        why(self.status, &self.reason, &self.words)
    }
}
