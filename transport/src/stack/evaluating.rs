//! Calls of others that wait for their functions.

use std::collections::BTreeMap;

use kith_common::crypto::Signer;
use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::content::Call;

use super::{Called, Stack, StackOutput, Why};
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

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// A call at this peer itself
    pub(super) fn evaluate_own(&mut self, id: MessageId, to: Name, call: &Call) {
        match self.evaluating.begin(Caller::Own(id)) {
            Some(ticket) => {
                let call = call.clone();
                self.outputs.push_back(StackOutput::Evaluate { ticket, from: None, call });
            }
            None => {
                let (status, reason) = (Status::SlowDown, Why::TooMany);
                let called = Called { id, to, status, reason, body: Vec::new(), elapsed: Default::default() };
                self.outputs.push_back(StackOutput::Called(called));
            }
        }
    }

    /// The answer to [`StackOutput::Evaluate`]: with 200 the result, else the reason
    pub fn handle_evaluated(&mut self, now: Instant, ticket: u64, status: Status, body: Vec<u8>) {
        match self.evaluating.end(ticket) {
            Some(Caller::Other(connection, stream)) => self.answer(now, (connection, stream), status, &body),
            Some(Caller::Own(id)) => {
                let Some(to) = self.peer.own().map(|own| own.name.clone()) else { return };
                let (reason, elapsed) = (Why::Answered, Default::default());
                self.outputs.push_back(StackOutput::Called(Called { id, to, status, reason, body, elapsed }));
            }
            None => {}
        }
    }
}
