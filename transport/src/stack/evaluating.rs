//! Calls of others that wait for their functions.

use std::collections::BTreeMap;

use kith_common::id::MessageId;

use crate::output::{ConnectionId, StreamId};

/// Calls that wait for their functions at most; more are answered with 429. A shell evaluates at once, so they are no more than
/// came together
pub const EVALUATING_MAX: usize = 1_024;

/// Whom a result is for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Other(ConnectionId, StreamId),
    /// This peer itself
    Own(MessageId),
}

/// Who waits for which result
#[derive(Debug, Default)]
pub(super) struct Evaluating {
    callers: BTreeMap<u64, Caller>,
    last_ticket: u64,
}

impl Evaluating {
    /// The ticket of one more; `None` if [`EVALUATING_MAX`] wait
    pub(super) fn begin(&mut self, caller: Caller) -> Option<u64> {
        if self.callers.len() >= EVALUATING_MAX {
            return None;
        }
        self.last_ticket += 1;
        self.callers.insert(self.last_ticket, caller);
        Some(self.last_ticket)
    }

    /// Its function is done; a ticket is good once
    pub(super) fn end(&mut self, ticket: u64) -> Option<Caller> {
        self.callers.remove(&ticket)
    }
}
