//! Messages of this peer's own, as its user and its disk see them.

use std::time::Duration;

use kith_common::crypto::Signer;
use kith_common::id::{MessageId, Name};
use kith_common::time::Instant;

use super::Stack;
use super::messages::{NOW_OR_NEVER, New, Waiting};

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// Begins a message, which is kept in the out-box for so long at most; [`StackOutput::Ended`](super::StackOutput::Ended) follows
    /// by then
    ///
    /// `None`: it is delivered now or never: its end comes within [`NOW_OR_NEVER`], and with the first reason why not.
    pub fn send(&mut self, now: Instant, to: Name, body: Vec<u8>, keep: Option<Duration>) -> MessageId {
        let id = self.random_id();
        let (is_kept, until) = (keep.is_some(), now + keep.unwrap_or(NOW_OR_NEVER));
        self.messages.begin(now, New { id, to, body, until, is_kept });
        self.settle(now);
        id
    }

    /// Takes a message back: its end follows, unless it has had it. It may have arrived. Whether there was such a message.
    pub fn take_back(&mut self, now: Instant, id: &MessageId) -> bool {
        let was_there = self.messages.cancel(now, id);
        self.settle(now);
        was_there
    }

    /// The answer to [`StackOutput::Store`](super::StackOutput::Store): whether it is on disk
    pub fn handle_stored(&mut self, now: Instant, sequence: u64, is_stored: bool) {
        self.messages.handle_stored(now, sequence, is_stored);
        self.settle(now);
    }

    /// The answer to [`StackOutput::Load`](super::StackOutput::Load): what the message says; `None`: it cannot be read
    pub fn handle_loaded(&mut self, now: Instant, sequence: u64, body: Option<Vec<u8>>) {
        self.messages.handle_loaded(now, sequence, body);
        self.settle(now);
    }

    /// Messages that have no fate yet
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Bytes of messages that have no fate yet, overheads included, and how many there may be
    pub const fn outbox_bytes(&self) -> (u64, u64) {
        (self.messages.bytes(), self.messages.bytes_max())
    }

    /// The message with this id, if it has no fate yet
    pub fn waiting_with(&self, now: Instant, id: &MessageId) -> Option<Waiting<'_>> {
        self.messages.waiting_with(now, id)
    }

    /// Messages that have no fate yet, the oldest first
    pub fn waiting(&self, now: Instant) -> impl Iterator<Item = Waiting<'_>> {
        self.messages.waiting(now)
    }
}
