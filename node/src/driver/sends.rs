//! Messages of this peer's user: into the out-box, and what he is told of them.

use std::time::{Duration, SystemTime};

use kith_common::id::{MessageId, Name};
use kith_common::session::membership::Standing;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_runtime::control::peer::{Body, FateAnswer, Id, OUTBOX_MAX, OutboxAnswer, SendAnswer, WaitingMessage};
use kith_runtime::control::server::Reply;
use kith_transport::stack::{MessageFate, Outgoing, Trouble, Waiting};

use super::Driver;
use super::requests::is_relayed;
use super::waiting::{Sender, Told};
use crate::inbox::outbox::{Letter, PastFate};

/// How long a message is kept for somebody who is not here, unless its sender says otherwise: until tomorrow at this time
const TTL_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// A month: whoever has not been here for so long will not come for it
pub(crate) const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long its sender waits for the receipt, unless it says otherwise: the mesh heals within that
const WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// Nobody waits longer, as that holds a connection
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// What is to be sent, and what its sender waits for
pub(super) struct Wanted {
    pub(super) name: Name,
    pub(super) body: Body,
    pub(super) ttl_s: Option<u64>,
    pub(super) wait_ms: Option<u64>,
}

impl Driver {
    pub(super) fn ask_send(&mut self, now: Instant, wanted: Wanted, reply: Reply) {
        let Wanted { name, body, ttl_s, wait_ms } = wanted;
        let keep = match ttl_s {
            None => Some(TTL_DEFAULT),
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds)),
        };
        if keep.is_some_and(|keep| keep > TTL_MAX) {
            let error = format!("a message is kept for {} s at most", TTL_MAX.as_secs());
            return reply.refuse(Status::Malformed, error, None);
        }
        let standing = self.stack.peer().standing();
        let has_left = matches!(standing, Standing::LoggedOut { .. } | Standing::LoggingOut { .. });
        if has_left || keep.is_none() && self.stack.peer().own().is_none() {
            return self.refuse_to_send(now, reply);
        }
        let wait = wait_ms.map_or(WAIT_DEFAULT, Duration::from_millis).min(WAIT_MAX);
        let id = self.stack.send(now, name.clone(), body.into_bytes(), keep);
        let sender = Sender { reply, to: name, begun: now, until: now + wait, keep, is_stored: false, trouble: None };
        self.waiting.for_message(id, sender);
    }

    /// A message is to be put into the out-box
    pub(super) fn store(&mut self, now: Instant, Outgoing { sequence, id, to, body, until }: Outgoing) {
        let begun = SystemTime::now();
        self.inbox.store(Letter { sequence, id, to, begun, until: begun + (until - now), body });
    }

    /// It is there, or is not
    pub(super) fn handle_stored(&mut self, now: Instant, sequence: u64, id: &MessageId, is_stored: bool) {
        self.stack.handle_stored(now, sequence, is_stored);
        if is_stored {
            self.waiting.note_stored(id);
        }
        self.tell_waited(now);
    }

    /// Messages for somebody are not there yet, and why
    pub(super) fn on_delayed(&mut self, now: Instant, to: &Name, trouble: &Trouble) {
        self.waiting.note_trouble(to, trouble);
        self.tell_waited(now);
    }

    /// Tells those who have waited long enough that their messages are in the out-box
    pub(super) fn tell_waited(&mut self, now: Instant) {
        while let Some((id, sender)) = self.waiting.take_waited(now) {
            let Sender { reply, to, begun, keep, trouble, .. } = sender;
            let answer = SendAnswer {
                id: Id(id),
                to,
                hops: 0,
                path: Vec::new(),
                relayed: false,
                elapsed_us: (now - begun).as_micros() as u64,
                attempts: 0,
                reason: trouble.map(|trouble| trouble.why()),
                left_s: keep.map(|keep| keep.saturating_sub(now - begun).as_secs()),
            };
            reply.finish(Status::Accepted, &answer);
        }
    }

    /// A message has its fate; who sent it may have hung up
    ///
    /// Whoever is told that it was not delivered may rely on it: what was on the disk is gone from there first. And whoever is told
    /// that it was can ask for its fate later: what was not on the disk by then has its fate there first.
    pub(super) fn on_ended(&mut self, fate: MessageFate, stored: Option<u64>) {
        let why = if fate.status.is_success() { String::new() } else { fate.why() };
        if let Some(Sender { reply, is_stored, .. }) = self.waiting.take_message(&fate.id) {
            let must_be_written = stored.is_some() && !(is_stored && fate.status == Status::Delivered);
            let answer = SendAnswer {
                id: Id(fate.id),
                hops: self.hops_to(fate.status, &fate.to, &fate.path),
                path: self.path_to(fate.status, &fate.to, &fate.path),
                relayed: is_relayed(&fate.path),
                elapsed_us: fate.elapsed.as_micros() as u64,
                attempts: fate.attempts.into(),
                reason: Some(why.clone()).filter(|why| !why.is_empty()),
                to: fate.to.clone(),
                left_s: None,
            };
            if must_be_written {
                self.waiting.for_written(fate.id, Told { reply, status: fate.status, answer });
            } else {
                reply.finish(fate.status, &answer);
            }
        }
        // Of what was never to be on the disk it remembers nothing.
        if let Some(sequence) = stored {
            let MessageFate { id, to, status, attempts, elapsed, .. } = fate;
            self.inbox.end(sequence, PastFate { id, to, status, why, attempts, elapsed, at: SystemTime::now() });
        }
    }

    /// What the disk has to remember of a message's fate is there
    pub(super) fn handle_ended(&mut self, id: &MessageId) {
        if let Some(Told { reply, status, answer }) = self.waiting.take_written(id) {
            reply.finish(status, &answer);
        }
    }

    pub(super) fn outbox(&self, now: Instant) -> OutboxAnswer {
        let (bytes, bytes_max) = self.stack.outbox_bytes();
        let waiting = self.stack.waiting(now).take(OUTBOX_MAX).map(waiting_message);
        OutboxAnswer { messages: self.stack.messages() as u64, bytes, bytes_max, waiting: waiting.collect() }
    }

    pub(super) fn ask_fate(&self, now: Instant, id: MessageId, reply: Reply) {
        match self.fate_of_waiting(now, &id) {
            Some(answer) => reply.finish(Status::Accepted, &answer),
            None => self.inbox.fate(id, reply),
        }
    }

    /// What was to be sent is given up
    pub(super) fn take_back(&mut self, now: Instant, id: MessageId, reply: Reply) {
        let before = self.fate_of_waiting(now, &id);
        match before.filter(|_| self.stack.take_back(now, &id)) {
            Some(answer) => reply.finish(Status::Delivered, &FateAnswer { waiting: None, ..answer }),
            None => {
                let error = format!("no message with the id {id} waits in the out-box");
                reply.refuse(Status::NotFound, error, Some(self.next("outbox")));
            }
        }
    }

    fn fate_of_waiting(&self, now: Instant, id: &MessageId) -> Option<FateAnswer> {
        let waiting = self.stack.waiting_with(now, id)?;
        let elapsed_us = waiting.age.as_micros() as u64;
        let waiting = waiting_message(waiting);
        let WaitingMessage { id, to, attempts, reason, .. } = waiting.clone();
        Some(FateAnswer { id, to, waiting: Some(waiting), attempts, elapsed_us, at: None, reason })
    }
}

fn waiting_message(waiting: Waiting<'_>) -> WaitingMessage {
    WaitingMessage {
        id: Id(waiting.id),
        to: waiting.to.clone(),
        bytes: waiting.bytes,
        age_s: waiting.age.as_secs(),
        left_s: waiting.left.as_secs(),
        attempts: waiting.attempts.into(),
        reason: waiting.trouble.map(Trouble::why),
    }
}
