//! What clients did and were told, with the times between which it must have happened.

use serde::{Deserialize, Serialize};

/// A client's key under one name, counted from 0: each client has a key of its own for each name
pub(super) type KeyNumber = u32;

/// When something happened, in microseconds since the history's beginning
pub(super) type Micros = u64;

/// One thing that a client did to one name
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Op {
    pub(super) name: u32,
    pub(super) what: What,
    pub(super) answer: Answer,
    /// It began
    pub(super) from: Micros,
    /// Its answer was there; none: nobody knows whether and when it was done, and it may be done still
    pub(super) until: Option<Micros>,
    /// Up to which command of the log the answer holds, if it says so
    pub(super) index: Option<u64>,
}

/// What was done
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// A key wants the name, and a session under it
    LogIn(KeyNumber),
    LookUp,
    /// A key ends its session, which began at this epoch
    LogOut(KeyNumber, u64),
    /// A key's client is gone without a word: the session of this epoch ends some time, unless the key comes back
    Lose(KeyNumber, u64),
    /// An operator gives the name free
    Release,
}

/// What it came to
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The key has a session, which began at this epoch
    In(u64),
    /// Another key owns the name
    Taken,
    /// This key is logged in, since this epoch
    Found(KeyNumber, u64),
    /// Somebody owns the name, and is not logged in
    Away,
    /// Nobody owns the name
    Nobody,
    /// Whatever was answered, it says of itself that it may be old
    MayBeOld,
    Done,
    /// Nobody knows
    Unknown,
}

/// Why a history cannot be what one directory, which does one thing after the other, has answered
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anomaly(pub(super) String);

/// A history that tests read as a story
#[cfg(test)]
pub(super) fn op(name: u32, what: What, answer: Answer, from: Micros, until: Micros, index: u64) -> Op {
    let index = Some(index).filter(|index| *index > 0);
    let until = Some(until).filter(|_| answer != Answer::Unknown && !matches!(what, What::Lose(..)));
    Op { name, what, answer, from, until, index }
}
