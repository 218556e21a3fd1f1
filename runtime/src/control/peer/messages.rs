//! What is answered of messages: those that are sent, wait, and have come.

use kith_common::id::Name;
use serde::{Deserialize, Serialize};

use super::{Body, Id};

/// Answers `send`: the message's fate. 200 it is on the receiver's disk, 202 it is in the out-box, and will be delivered
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendAnswer {
    pub id: Id,
    pub to: Name,
    /// Links it crossed; 0 if it is not known
    pub hops: u64,
    /// Names, both ends included; a name that nobody knows is its address
    pub path: Vec<String>,
    /// Whether a supernode carried it
    pub relayed: bool,
    /// The time from the request to the receipt
    pub elapsed_us: u64,
    /// How often it was sent
    pub attempts: u64,
    /// Why it was not delivered, or is not yet
    pub reason: Option<String>,
    /// For how long it may wait still, with 202
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
}

/// Answers `outbox`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxAnswer {
    /// How many wait, those that are not shown among them
    pub messages: u64,
    /// What they are counted as
    pub bytes: u64,
    /// How much that may be
    pub bytes_max: u64,
    /// The oldest of them, at most [`OUTBOX_MAX`]
    pub waiting: Vec<WaitingMessage>,
}

/// Messages that one [`OutboxAnswer`] shows at most
pub const OUTBOX_MAX: usize = 1_000;

/// A message that is not delivered yet
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingMessage {
    pub id: Id,
    pub to: Name,
    pub bytes: u64,
    pub age_s: u64,
    /// For how long it may wait still
    pub left_s: u64,
    /// How often it was sent
    pub attempts: u64,
    /// Why it is not there yet, if that is known
    pub reason: Option<String>,
}

/// Answers `fate`, whose status is the message's, and 202 while it waits; and `take_back`, whose status is 200 if it waited
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateAnswer {
    pub id: Id,
    pub to: Name,
    /// While it waits
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingMessage>,
    /// How often it was sent
    pub attempts: u64,
    /// The time from the request to its fate, or to now
    pub elapsed_us: u64,
    /// When its fate was known, RFC 3339, UTC
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why it was not delivered, or is not yet
    pub reason: Option<String>,
}

/// A message in the in-box
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxLine {
    /// Its number in this in-box; later ones are larger
    pub sequence: u64,
    pub id: Id,
    /// The sender; its signature was checked
    pub from: Name,
    /// Its place on the ring when it sent
    pub address: String,
    /// Whether the directory has confirmed that the sender has this name
    pub confirmed: bool,
    /// When it came, RFC 3339, UTC
    pub at: String,
    pub bytes: u64,
    /// What it says: `text`, or `data` where it is not UTF-8
    #[serde(flatten)]
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxAnswer {
    /// How many lines were before
    pub messages: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAnswer {
    /// How many were still there
    pub removed: u64,
}
