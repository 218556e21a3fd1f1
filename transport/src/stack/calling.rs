//! Calls, as the user of this peer makes them, and as others' come.

use kith_common::crypto::Signer;
use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire;
use kith_common::wire::content::Call;
use kith_common::wire::grant::Grant;

use super::calls::NotBegun;
use super::evaluating::{Begun, Caller};
use super::keeping::OWN_TICKETS;
use super::{Stack, StackOutput};
use crate::output::{ConnectionId, StreamId};
use crate::questions::{Fate, Kind, Question};

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// Begins a call that may take until a moment, for [`CALL_TIME_MAX`](super::CALL_TIME_MAX) at most;
    /// [`StackOutput::Called`] follows by then
    ///
    /// Whoever is asked evaluates it once, however often it is asked as connections are lost. That holds for a later call with
    /// the `id` of this one, too, which comes to the same result without being evaluated: for
    /// [`REMEMBERED_FOR`](super::REMEMBERED_FOR), unless the other peer has started again, or had to forget the result. Without
    /// an `id` one is drawn.
    ///
    /// # Errors
    /// [`NotBegun`]: there will be no end of it.
    pub fn call(
        &mut self,
        now: Instant,
        id: Option<MessageId>,
        to: Name,
        call: &Call,
        until: Instant,
    ) -> Result<MessageId, NotBegun> {
        if self.peer.own().is_none() {
            return Err(NotBegun::NotLoggedIn);
        }
        let id = id.unwrap_or_else(|| self.random_id());
        if self.calls.has(&id) {
            return Err(NotBegun::IdInUse);
        }
        // Arguments that cannot be encoded are as long as those that are too long.
        let body = wire::encode(call).unwrap_or_else(|_| vec![0; crate::CALL_BYTES_MAX + 1]);
        self.calls.begin(now, id, to, Kind::Call, body, until);
        self.settle(now);
        Ok(id)
    }

    /// Gives a call up: its end is not told any more, and whoever evaluates it hears that nobody waits. Its result is there for
    /// a later call with its id.
    pub fn cancel(&mut self, now: Instant, id: &MessageId) {
        self.calls.cancel(id);
        self.settle(now);
    }

    /// A call has come
    pub(super) fn on_call(
        &mut self,
        now: Instant,
        place: (ConnectionId, StreamId),
        from: Grant,
        Question { id, body, .. }: &Question,
    ) {
        let Ok(call) = wire::decode::<Call>(body) else {
            return self.answer(now, place, Status::Malformed, b"that is no call");
        };
        let caller = Caller::Other(place.0, place.1);
        match self.evaluating.begin(now, from.key, *id, body, caller) {
            Begun::Evaluate(ticket) => {
                let (id, from) = (*id, Some(Box::new(from)));
                self.outputs.push_back(StackOutput::Evaluate { ticket, id, from, call });
            }
            begun => self.tell_begun(now, caller, begun),
        }
    }

    /// A call at this peer itself, which needs no connection
    pub(super) fn call_own(&mut self, now: Instant, id: MessageId, body: &[u8]) {
        let (key, ticket) = (self.peer.key(), OWN_TICKETS | self.evaluating.next_ticket());
        self.calls.handle_asked(now, id, key, Some(ticket));
        let caller = Caller::Own(ticket);
        let Ok(call) = wire::decode::<Call>(body) else {
            return self.tell(now, caller, Status::Malformed, b"that is no call");
        };
        match self.evaluating.begin(now, key, id, body, caller) {
            Begun::Evaluate(ticket) => {
                self.outputs.push_back(StackOutput::Evaluate { ticket, id, from: None, call });
            }
            begun => self.tell_begun(now, caller, begun),
        }
    }

    /// What is told at once of a call that is not to be evaluated
    fn tell_begun(&mut self, now: Instant, caller: Caller, begun: Begun) {
        match begun {
            Begun::Evaluate(_) | Begun::Waits { instead_of: None } => {}
            Begun::Waits { instead_of: Some(oldest) } => {
                self.tell(now, oldest, Status::SlowDown, b"it was asked too often since, and is answered there");
            }
            Begun::Ended { status, body } => self.tell(now, caller, status, &body),
            Begun::Conflict => self.tell(now, caller, Status::Conflict, b"its id is that of another call of yours"),
            Begun::Full => self.tell(now, caller, Status::SlowDown, b"too many calls wait at the receiver"),
        }
    }

    /// Whether anybody still waits for what a call comes to that was to be evaluated; whoever has lost a connection asks again within
    /// seconds
    pub fn is_awaited(&self, ticket: u64) -> bool {
        self.evaluating.waiting(ticket).any(|caller| match caller {
            Caller::Other(connection, stream) => {
                self.transport.as_ref().is_some_and(|transport| transport.is_awaited((*connection, *stream)))
            }
            Caller::Own(ticket) => self.calls.is_asked(*ticket),
        })
    }

    /// The answer to [`StackOutput::Evaluate`]: with 200 the result, else the reason. All who wait for it are told
    pub fn handle_evaluated(&mut self, now: Instant, ticket: u64, status: Status, body: Vec<u8>) {
        for caller in self.evaluating.end(now, ticket, status, &body) {
            self.tell(now, caller, status, &body);
        }
    }

    fn tell(&mut self, now: Instant, caller: Caller, status: Status, body: &[u8]) {
        match caller {
            Caller::Other(connection, stream) => self.answer(now, (connection, stream), status, body),
            Caller::Own(ticket) => {
                let fate = Fate::Answered { status: status.code(), body: body.to_vec() };
                self.calls.handle_fate(now, ticket, fate);
                self.settle(now);
            }
        }
    }
}
