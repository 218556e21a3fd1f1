//! Pipes of this peer's programs, and those that others ask for.
//!
//! Who opens one finds its other end as a call does; it is open once somebody there has taken it.

use std::collections::BTreeMap;

use kith_common::crypto::Signer;
use kith_common::id::{MessageId, Name};
use kith_common::mail::NotLoggedIn;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire;
use kith_common::wire::content::Opening;
use kith_common::wire::grant::Grant;

use super::{Stack, StackOutput};
use crate::output::{ConnectionId, StreamId};
use crate::pipes::PipeId;
use crate::questions::Kind;
use crate::streams::{Gone, Read, StreamError};

/// Pipes of a peer, and questions for more that nobody has answered yet: as many as a shell has descriptors for, at two a pipe.
/// One more is answered with 429.
pub const PIPES_MAX: usize = 8_192;

/// Pipes that others ask for, until somebody takes them
#[derive(Debug, Default)]
pub(super) struct Piping {
    asked: BTreeMap<u64, (ConnectionId, StreamId)>,
    last_ticket: u64,
}

impl Piping {
    /// The connection is over: nobody asks on it any more
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.asked.retain(|_, place| place.0 != connection);
    }
}

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// Asks somebody to take a pipe, until a moment; [`StackOutput::Called`] follows by then, with the pipe if it is open
    ///
    /// # Errors
    /// [`NotLoggedIn`]: there will be no end of it.
    pub fn ask_for_pipe(
        &mut self,
        now: Instant,
        to: Name,
        opening: &Opening,
        until: Instant,
    ) -> Result<MessageId, NotLoggedIn> {
        self.peer.own().ok_or(NotLoggedIn)?;
        let id = self.random_id();
        let body = wire::encode(opening).unwrap_or_default();
        self.calls.begin(now, id, to, Kind::Pipe, body, until);
        self.settle(now);
        Ok(id)
    }

    /// Somebody asks for a pipe
    pub(super) fn on_pipe_asked(&mut self, now: Instant, place: (ConnectionId, StreamId), from: Grant, body: &[u8]) {
        let Ok(opening) = wire::decode::<Opening>(body) else {
            return self.answer(now, place, Status::Malformed, b"that opens no pipe");
        };
        let pipes = self.transport.as_ref().map_or(0, crate::Transport::pipes);
        if pipes + self.piping.asked.len() >= PIPES_MAX {
            return self.answer(now, place, Status::SlowDown, b"too many pipes are open there");
        }
        self.piping.last_ticket += 1;
        let ticket = self.piping.last_ticket;
        self.piping.asked.insert(ticket, place);
        self.outputs.push_back(StackOutput::PipeAsked { ticket, from: Box::new(from), opening });
    }

    /// An answer to [`StackOutput::PipeAsked`]: somebody takes the pipe
    ///
    /// # Errors
    /// [`Gone`]: whoever has asked for it has given it up.
    pub fn take_pipe(&mut self, now: Instant, ticket: u64) -> Result<PipeId, Gone> {
        let place = self.piping.asked.remove(&ticket).ok_or(Gone)?;
        let pipe = self.transport.as_mut().ok_or(Gone)?.open_pipe(now, place);
        self.settle(now);
        pipe
    }

    /// An answer to [`StackOutput::PipeAsked`]: nobody takes it, for this reason
    pub fn refuse_pipe(&mut self, now: Instant, ticket: u64, status: Status, reason: &str) {
        if let Some(place) = self.piping.asked.remove(&ticket) {
            self.answer(now, place, status, reason.as_bytes());
        }
    }

    /// Reads what is next in a pipe, `max` bytes at most
    ///
    /// # Errors
    /// [`StreamError`]: nothing more is to be read.
    pub fn read_pipe(&mut self, now: Instant, pipe: PipeId, max: usize) -> Result<Read, StreamError> {
        let read = self.transport.as_mut().ok_or(Gone)?.read_pipe(now, pipe, max);
        self.settle(now);
        read
    }

    /// Writes as much of `bytes` as there is room for; once that is not all,
    /// [`PipeNews::Writable`](crate::PipeNews::Writable) tells of room
    ///
    /// # Errors
    /// [`StreamError`]: nothing was written.
    pub fn write_pipe(&mut self, now: Instant, pipe: PipeId, bytes: &[u8]) -> Result<usize, StreamError> {
        let written = self.transport.as_mut().ok_or(Gone)?.write_pipe(now, pipe, bytes);
        self.settle(now);
        written
    }

    /// Nothing more is written into a pipe; [`PipeNews::Arrived`](crate::PipeNews::Arrived) follows, unless the other end gives it
    /// up
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn finish_pipe(&mut self, now: Instant, pipe: PipeId) -> Result<(), StreamError> {
        let finished = self.transport.as_mut().ok_or(Gone)?.finish_pipe(now, pipe);
        self.settle(now);
        finished
    }

    /// Gives up what was written into a pipe and has not arrived: the other end hears `code` where it reads
    pub fn reset_pipe(&mut self, now: Instant, pipe: PipeId, code: u64) {
        if let Some(transport) = &mut self.transport {
            transport.reset_pipe(now, pipe, code);
            self.settle(now);
        }
    }

    /// Reads nothing more of a pipe: the other end hears `code` where it writes
    pub fn stop_pipe(&mut self, now: Instant, pipe: PipeId, code: u64) {
        if let Some(transport) = &mut self.transport {
            transport.stop_pipe(now, pipe, code);
            self.settle(now);
        }
    }

    /// Nobody has a use for a pipe any more: both halves end, and the other end hears why
    pub fn drop_pipe(&mut self, now: Instant, pipe: PipeId, why: Status) {
        self.reset_pipe(now, pipe, why.code().into());
        self.stop_pipe(now, pipe, why.code().into());
    }
}
