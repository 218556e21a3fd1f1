//! Calls of others that wait for their functions, and what came of those that were evaluated: each is evaluated once.
//!
//! A caller whose connection is lost asks again under the same id, and so may a person who was told that no answer came.
//!
//! | a call comes whose id | what is done |
//! |---|---|
//! | this caller has not used | it is evaluated |
//! | is that of one that is being evaluated | it waits for the same result; all who wait are answered |
//! | is that of one that was evaluated | it is answered as that one was |
//! | is either's, and the call is another one | 409 |
//!
//! A caller that hangs up changes nothing of it: it may ask again. Nothing of this outlives the process.

use std::collections::{BTreeMap, VecDeque};

use kith_common::crypto;
use kith_common::id::{Key, MessageId};
use kith_common::mutant::{self, Mutant};
use kith_common::status::Status;
use kith_common::time::Instant;

use super::results::{Digest, Ended, Results};
use crate::output::{ConnectionId, StreamId};

/// Calls that wait for their functions at most; more are answered with 429. A shell evaluates at once, so they are no more than
/// came together
pub const EVALUATING_MAX: usize = 1_024;

/// Streams that wait for the result of one call: a caller has one that is alive, and others for as long as nobody has noticed
/// that their connections are lost. One more is heard instead of the oldest
const WAITING_MAX: usize = 8;

/// Whom a result is for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Other(ConnectionId, StreamId),
    /// This peer itself, which knows its question by this ticket
    Own(u64),
}

/// What is to be done about a call that has come
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// Its function is to be evaluated, under this ticket
    Evaluate(u64),
    /// It waits for the result of one that is being evaluated; for who has waited the longest there is no room any more
    Waits { instead_of: Option<Caller> },
    /// It was evaluated, and came to this
    Ended { status: Status, body: Vec<u8> },
    /// Another call has its id
    Conflict,
    /// [`EVALUATING_MAX`] wait
    Full,
}

/// A call whose function is being evaluated
#[derive(Debug)]
struct Running {
    caller: Key,
    id: MessageId,
    digest: Digest,
    /// From the oldest to the newest
    waiting: VecDeque<Caller>,
}

/// Who waits for which result, and the results that are remembered
#[derive(Debug, Default)]
pub(super) struct Evaluating {
    running: BTreeMap<u64, Running>,
    /// The tickets of those by whose calls they are
    tickets: BTreeMap<(Key, MessageId), u64>,
    results: Results,
    last_ticket: u64,
}

impl Evaluating {
    /// A call has come from the holder of a key, with this id and these bytes
    pub(super) fn begin(&mut self, now: Instant, key: Key, id: MessageId, body: &[u8], caller: Caller) -> Begun {
        let digest = crypto::sha256(&[body]);
        let ticket = self.tickets.get(&(key, id)).filter(|_| !mutant::is(Mutant::RepeatEvaluated));
        if let Some(running) = ticket.and_then(|ticket| self.running.get_mut(ticket)) {
            return running.wait(digest, caller);
        }
        if let Some(Ended { digest: before, status, body }) = self.results.get(now, &key, &id) {
            let is_same = *before == digest;
            return if is_same { Begun::Ended { status: *status, body: body.clone() } } else { Begun::Conflict };
        }
        if self.running.len() >= EVALUATING_MAX {
            return Begun::Full;
        }
        let ticket = self.next_ticket();
        self.tickets.insert((key, id), ticket);
        self.running.insert(ticket, Running { caller: key, id, digest, waiting: [caller].into() });
        Begun::Evaluate(ticket)
    }

    /// Who waits for what it comes to
    pub(super) fn waiting(&self, ticket: u64) -> impl Iterator<Item = &Caller> {
        self.running.get(&ticket).into_iter().flat_map(|running| &running.waiting)
    }

    /// A number that is given once, to an evaluation or to a question of this peer at itself
    pub(super) const fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Its function is done: whom to tell, from the oldest to the newest; a ticket is good once
    pub(super) fn end(&mut self, now: Instant, ticket: u64, status: Status, body: &[u8]) -> VecDeque<Caller> {
        let Some(Running { caller, id, digest, waiting }) = self.running.remove(&ticket) else {
            return VecDeque::new();
        };
        self.tickets.remove(&(caller, id));
        if !mutant::is(Mutant::ResultsForgotten) {
            self.results.insert(now, caller, id, Ended { digest, status, body: body.to_vec() });
        }
        waiting
    }

    /// Forgets results whose time is over. That need not be soon, as nobody is told one after its time: any timer of a peer is
    /// soon enough.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.results.handle_timeout(now);
    }
}

impl Running {
    fn wait(&mut self, digest: Digest, caller: Caller) -> Begun {
        if digest != self.digest {
            return Begun::Conflict;
        }
        let instead_of = if self.waiting.len() < WAITING_MAX { None } else { self.waiting.pop_front() };
        self.waiting.push_back(caller);
        Begun::Waits { instead_of }
    }
}
