//! Messages that have come, on their way to the in-box, until their senders can be told.

use std::collections::BTreeMap;

use kith_common::crypto::Signer;
use kith_common::mail::{self, Kept, NotStored};
use kith_common::mutant::{self, Mutant};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire;
use kith_common::wire::bounded::{Bounded, Text};
use kith_common::wire::content::Receipt;
use kith_common::wire::grant::Grant;

use super::{Stack, StackOutput};
use crate::output::{ConnectionId, StreamId};
use crate::questions::{Fate, HELD_BYTES_MAX, Question, parsed_message};

/// Messages that wait for the disk, or for a word on their senders, at most; more are answered with 429. Their bytes have a
/// bound, too ([`HELD_BYTES_MAX`](crate::HELD_BYTES_MAX)), so this is for the shortest ones: all that 32 senders have out at once
pub const STORING_MAX: usize = 4_096;

/// Tickets of messages to this peer itself, and of its calls at itself, are larger than those of questions ever become
pub(super) const OWN_TICKETS: u64 = 1 << 63;

/// Whom a receipt is for
#[derive(Debug)]
enum Sender {
    Other(ConnectionId, StreamId),
    /// This peer itself
    Own,
}

/// Who waits for which message to be on disk
#[derive(Debug, Default)]
pub(super) struct Keeping {
    senders: BTreeMap<u64, (Sender, usize)>,
    last_ticket: u64,
    held: Held,
}

/// How many messages wait, and their bytes: a stream that was given up frees what its connection holds, and not these
#[derive(Debug, Default)]
pub(super) struct Held {
    count: usize,
    bytes: usize,
}

impl Held {
    /// Whether there was room for one more
    fn add(&mut self, bytes: usize) -> bool {
        let has_room = self.count < STORING_MAX && self.bytes + bytes <= HELD_BYTES_MAX;
        if has_room {
            (self.count, self.bytes) = (self.count + 1, self.bytes + bytes);
        }
        has_room
    }

    fn remove(&mut self, bytes: usize) {
        (self.count, self.bytes) = (self.count.saturating_sub(1), self.bytes.saturating_sub(bytes));
    }
}

impl Keeping {
    /// A ticket for a message that is counted already
    fn begin(&mut self, sender: Sender, bytes: usize) -> u64 {
        self.last_ticket += 1;
        self.senders.insert(self.last_ticket, (sender, bytes));
        self.last_ticket
    }
}

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// A message has come: it goes to the in-box, or waits for a word on its sender if that `is_unchecked`
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        place: (ConnectionId, StreamId),
        from: Grant,
        question: Question,
        is_unchecked: bool,
    ) {
        if !self.keeping.held.add(question.body.len()) {
            return self.receipt(now, place, Status::SlowDown, "the receiver's disk is behind");
        }
        if is_unchecked {
            self.unchecked.entry(place.0).or_default().push((place, from, question));
        } else {
            self.keep(now, place, from, question);
        }
    }

    /// What is known of the sender of these is known
    pub(super) fn keep_checked(&mut self, now: Instant, connection: ConnectionId) {
        for (place, from, message) in self.unchecked.remove(&connection).unwrap_or_default() {
            self.keep(now, place, from, message);
        }
    }

    /// The connection of these is over: nothing of them is kept
    pub(super) fn drop_unchecked(&mut self, connection: ConnectionId) {
        for (_, _, message) in self.unchecked.remove(&connection).unwrap_or_default() {
            self.keeping.held.remove(message.body.len());
        }
    }

    fn keep(&mut self, now: Instant, place: (ConnectionId, StreamId), from: Grant, question: Question) {
        let count = question.body.len();
        let Some((order, bytes)) = parsed_message(&question.body) else {
            self.keeping.held.remove(count);
            return self.receipt(now, place, Status::Malformed, "that is no message");
        };
        let confirmed = self.checks.is_confirmed(place.0);
        if !confirmed {
            let reason = "no directory says that the sender's session lasts";
            tracing::info!(event = "sender_unconfirmed", reason, from = %from.name, id = %question.id);
        }
        let bytes = if mutant::is(Mutant::BytesLost) { Vec::new() } else { bytes.to_vec() };
        let Grant { name, key, address, .. } = from;
        let message = mail::Arrival { id: question.id, from: name, key, address, confirmed, place: order, bytes };
        let ticket = self.keeping.begin(Sender::Other(place.0, place.1), count);
        self.outputs.push_back(StackOutput::Keep { ticket, message });
    }

    /// A message to itself, which needs no connection; its ticket as a question
    pub(super) fn keep_own(&mut self, question: Question) -> Option<u64> {
        let own = self.peer.own()?;
        let (from, address, key) = (own.name.clone(), own.address, self.peer.key());
        let (place, bytes) = parsed_message(&question.body)?;
        let (bytes, count) = (bytes.to_vec(), question.body.len());
        let message = mail::Arrival { id: question.id, from, key, address, confirmed: true, place, bytes };
        if !self.keeping.held.add(count) {
            return None;
        }
        let ticket = self.keeping.begin(Sender::Own, count);
        self.outputs.push_back(StackOutput::Keep { ticket, message });
        Some(OWN_TICKETS | ticket)
    }

    /// The answer to [`StackOutput::Keep`]: what the in-box said, once all that is new is on disk; the receipt leaves
    pub fn handle_kept(&mut self, now: Instant, ticket: u64, kept: Result<Kept, NotStored>) {
        let Some((sender, count)) = self.keeping.senders.remove(&ticket) else { return };
        self.keeping.held.remove(count);
        let (status, reason) = match kept {
            Ok(kept) => (kept.status(), kept.reason()),
            Err(error) => (error.status(), error.reason()),
        };
        match sender {
            Sender::Other(connection, stream) => {
                // What comes too early is no news: it comes again at once.
                if !status.is_success() && status != Status::TooEarly {
                    let from = self.checks.grant(connection).map(|grant| grant.name.to_string());
                    tracing::warn!(event = "message_not_kept", from, %status, reason);
                }
                self.receipt(now, (connection, stream), status, reason);
            }
            Sender::Own => {
                let receipt = Receipt { reason: Text::truncated(reason), ..Receipt::default() };
                let body = wire::encode(&receipt).unwrap_or_default();
                let fate = Fate::Answered { status: status.code(), body };
                self.messages.handle_fate(now, OWN_TICKETS | ticket, fate);
                self.settle(now);
            }
        }
    }

    fn receipt(&mut self, now: Instant, place: (ConnectionId, StreamId), status: Status, reason: &str) {
        let way = self.ways.get(&place.0).into_iter().flatten().copied();
        let path = Bounded::truncated(mail::path_of(way, self.peer.neighbourhood()));
        let receipt = Receipt { path, reason: Text::truncated(reason) };
        match wire::encode(&receipt) {
            Ok(body) => self.answer(now, place, status, &body),
            Err(error) => tracing::error!(event = "receipt_not_sent", reason = %error),
        }
    }
}
