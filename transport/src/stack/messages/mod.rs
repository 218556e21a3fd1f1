//! Messages of this peer's own: each waits in the out-box until it has a fate, and those for one receiver go out in their order.
//!
//! | what happens | what is done |
//! |---|---|
//! | a message is new | it goes to the out-box on disk, and out at once if its receiver is to be reached |
//! | a receiver's name is found, with a key that the directory vouches for | its messages go out over the connection with that key |
//! | … with a key that nobody vouches for | they wait until whoever holds the key has shown a grant with that name |
//! | … and the mesh says that nothing arrives there | the name is asked for anew; the third time they rest |
//! | a message is answered with 200 | that is its fate |
//! | … with 425 | it goes out again, behind those before it |
//! | … with 408, 429, 500 or 503 | all for this receiver rest, and go out again |
//! | … with anything else | that is its fate |
//! | the connection is lost | the name is asked for anew, and all go out again, under their ids |
//! | the directory says 410, or cannot be asked, or no way leads there | they rest until the receiver may be back |
//! | a key is not the one that is pinned, here (421) or there (403) | they rest, until the user has said whose the name is or their time is over |
//! | it says 404 | that is their fate |
//! | a message's time is over | its fate is what kept it here, and 408 if it may have arrived |
//!
//! A message that is not kept, as there is no time to wait for anybody, ends with the first status that says why it is not there.
//!
//! Only the receiver's answer ends a message well. The receiver may hear of one twice, under one id, and keeps it once.

mod answers;
mod fate;
mod kept;
mod receiver;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kith_common::id::{Address, Key, MessageId, Name};
use kith_common::mail::{OVERHEAD_BYTES, Place};
use kith_common::mutant::{self, Mutant};
use kith_common::names::Answer;
use kith_common::status::Status;
use kith_common::time::{Instant, Timers};
use kith_common::wire::content::Receipt;

pub(super) use self::fate::status_of_look_up;
pub use self::fate::{MessageFate, Trouble};
pub use self::kept::{Restored, Waiting};

use self::receiver::{Entry, Next, Out, Receiver, Stage, WINDOW};
use super::Outgoing;
use super::called::Why;
use super::wishes::Wish;
use crate::output::End;
use crate::questions::{Kind, MESSAGE_BYTES_MAX, Question, message_body};

/// How long a message that is not kept is tried
pub const NOW_OR_NEVER: Duration = Duration::from_secs(10);

/// After a connection was lost for the second time in a row, or a look-up was in vain, and twice as long each time after that
const REST_MIN: Duration = Duration::from_millis(250);
/// A receiver that comes back is found so soon; a thousand who wait for somebody ask 33 times a second
const REST_MAX: Duration = Duration::from_secs(30);
/// A new message for somebody who was not found is no reason to ask more often than that
const RETRY_MIN: Duration = Duration::from_secs(1);
/// So many answers that a message has come too early, with none that one is kept, are a matter of order
const TOO_EARLY_MAX: usize = 2 * WINDOW;

/// A message that is new
pub(super) struct New {
    pub(super) id: MessageId,
    pub(super) to: Name,
    pub(super) body: Vec<u8>,
    pub(super) until: Instant,
    /// Whether it is to be on disk until then
    pub(super) is_kept: bool,
}

/// Every message from its beginning to its fate
pub(super) struct Messages {
    receivers: BTreeMap<Name, Receiver>,
    by_id: BTreeMap<MessageId, u64>,
    by_sequence: BTreeMap<u64, Name>,
    by_ticket: BTreeMap<u64, u64>,
    /// Those whose holders of these keys are met, or sent something
    by_key: BTreeMap<Key, BTreeSet<Name>>,
    /// Each message's end, and with 0 for a sequence the end of a receiver's rest
    timers: Timers<(Name, u64)>,
    last_sequence: u64,
    /// What messages are counted as, overheads included
    bytes: u64,
    bytes_max: u64,
    is_logged_in: bool,
    wishes: VecDeque<Wish>,
}

impl Messages {
    /// Nothing waits; what waits may have so many bytes, overheads included. Sequences begin behind those of the runs before
    /// this one.
    pub(super) fn new(bytes_max: u64, run: u32) -> Self {
        let (receivers, by_id, by_sequence, by_ticket, by_key, timers, wishes) = Default::default();
        let (last_sequence, bytes, is_logged_in) = (u64::from(run) << 32, 0, false);
        Self {
            receivers,
            by_id,
            by_sequence,
            by_ticket,
            by_key,
            timers,
            last_sequence,
            bytes,
            bytes_max,
            is_logged_in,
            wishes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Bytes of all that wait, overheads included
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn insert(&mut self, now: Instant, to: &Name, sequence: u64, entry: Entry) {
        self.bytes += entry.bytes + OVERHEAD_BYTES;
        self.by_id.insert(entry.id, sequence);
        self.by_sequence.insert(sequence, to.clone());
        self.timers.set(entry.until, (to.clone(), sequence));
        self.receivers.entry(to.clone()).or_insert_with(|| Receiver::new(now)).queue.insert(sequence, entry);
    }

    /// Whether there is no room for a message that says so much
    fn is_too_much(&self, bytes: u64) -> bool {
        self.bytes + bytes + OVERHEAD_BYTES > self.bytes_max && !mutant::is(Mutant::OutboxUnbounded)
    }

    /// Begins a message
    pub(super) fn begin(&mut self, now: Instant, new: New) {
        let New { id, to, body, until, is_kept } = new;
        let bytes = body.len() as u64;
        let refused = match () {
            () if self.by_id.contains_key(&id) => Some((Status::Conflict, Why::IdInUse)),
            () if body.len() > MESSAGE_BYTES_MAX => Some((Status::TooLarge, Why::TooLarge)),
            () if self.is_too_much(bytes) => Some((Status::SlowDown, Why::OutboxFull)),
            () => None,
        };
        if let Some((status, reason)) = refused {
            let (words, path, attempts, elapsed) = Default::default();
            let fate = MessageFate { id, to, status, reason, words, path, attempts, elapsed };
            return self.wishes.push_back(Wish::Ended { fate, stored: None });
        }
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        if is_kept {
            let outgoing = Outgoing { sequence, id, to: to.clone(), body: body.clone(), until };
            self.wishes.push_back(Wish::Store(outgoing));
        }
        let entry = Entry { is_kept, body: Some(body), ..Entry::new(id, bytes, now, until) };
        self.insert(now, &to, sequence, entry);
        let Some(receiver) = self.receivers.get(&to) else { return };
        let trouble = receiver.trouble.clone();
        let refused = trouble.clone().filter(|trouble| receiver.refusals > 0 && trouble.reason == Why::Answered);
        match (receiver.stage, refused) {
            (Stage::Away, _) if self.is_logged_in => self.resolve(now, &to, false),
            (Stage::Away, _) if !is_kept => self.finish(now, sequence, Status::NotLoggedIn, Why::LoggedOut),
            (Stage::Open { .. }, _) => self.fill(now, &to),
            (Stage::Resting, Some(Trouble { status, reason, words })) if !is_kept => {
                self.finish_with(now, sequence, status, reason, words, Receipt::default());
            }
            (Stage::Resting, None) if !is_kept || now - receiver.tried > RETRY_MIN => self.resolve(now, &to, true),
            (Stage::Resting, _) => {
                self.wishes.extend(trouble.map(|trouble| Wish::Delayed { to, trouble }));
            }
            _ => {}
        }
    }

    /// The answer to [`Wish::Store`]: whether it is on disk
    pub(super) fn handle_stored(&mut self, now: Instant, sequence: u64, is_stored: bool) {
        let Some(to) = self.by_sequence.get(&sequence).cloned() else { return };
        let Some(receiver) = self.receivers.get_mut(&to) else { return };
        let is_long = receiver.queue.len() > WINDOW;
        let Some(entry) = receiver.queue.get_mut(&sequence) else { return };
        if is_stored {
            if is_long && entry.out == Out::No {
                entry.body = None;
            }
            return;
        }
        (entry.is_kept, entry.is_refused_by_disk) = (false, true);
        entry.until = entry.until.min(entry.begun + NOW_OR_NEVER);
        let until = entry.until;
        self.timers.set(until, (to, sequence));
        self.handle_timeout(now);
    }

    /// The answer to [`Wish::Load`]: what it says; `None`: it cannot be read
    pub(super) fn handle_loaded(&mut self, now: Instant, sequence: u64, body: Option<Vec<u8>>) {
        let Some(to) = self.by_sequence.get(&sequence).cloned() else { return };
        let Some(entry) = self.entry(sequence) else { return };
        entry.is_loading = false;
        match body {
            Some(body) => {
                entry.body = Some(body);
                self.fill(now, &to);
            }
            None => self.finish(now, sequence, Status::Failed, Why::DiskFailed),
        }
    }

    /// There is a session: whoever messages wait for is looked for
    pub(super) fn handle_login(&mut self, now: Instant) {
        if std::mem::replace(&mut self.is_logged_in, true) {
            return;
        }
        for to in self.receivers.keys().cloned().collect::<Vec<_>>() {
            self.resolve(now, &to, false);
        }
    }

    /// The session is over: what is kept waits for the next one
    pub(super) fn handle_logout(&mut self, now: Instant) {
        self.is_logged_in = false;
        for to in self.receivers.keys().cloned().collect::<Vec<_>>() {
            self.take_back(&to);
            self.set_stage(&to, Stage::Away);
            self.timers.stop(&(to.clone(), 0));
            self.end_hasty(now, &to, Status::NotLoggedIn, &Why::LoggedOut);
        }
    }

    fn set_stage(&mut self, to: &Name, stage: Stage) {
        let Some(receiver) = self.receivers.get_mut(to) else { return };
        let before = receiver.key();
        receiver.stage = stage;
        let key = receiver.key();
        if let Some(before) = before
            && let Some(names) = self.by_key.get_mut(&before)
        {
            names.remove(to);
            if names.is_empty() {
                self.by_key.remove(&before);
            }
        }
        if let Some(key) = key {
            self.by_key.entry(key).or_default().insert(to.clone());
        }
    }

    /// Until then nothing is tried
    fn set_resting(&mut self, to: &Name, until: Instant) {
        self.set_stage(to, Stage::Resting);
        self.timers.set(until, (to.clone(), 0));
    }

    fn entry(&mut self, sequence: u64) -> Option<&mut Entry> {
        let to = self.by_sequence.get(&sequence)?;
        self.receivers.get_mut(to)?.queue.get_mut(&sequence)
    }

    fn resolve(&mut self, now: Instant, to: &Name, fresh: bool) {
        if !self.is_logged_in {
            return;
        }
        self.set_stage(to, Stage::Resolving { fresh });
        self.timers.stop(&(to.clone(), 0));
        if let Some(receiver) = self.receivers.get_mut(to) {
            receiver.tried = now;
            self.wishes.push_back(Wish::Resolve { name: to.clone(), fresh });
        }
    }

    /// The answer to [`Wish::Resolve`]; `fresh` if it is good enough for those who asked for a fresh one
    pub(super) fn handle_resolved(
        &mut self,
        now: Instant,
        name: &Name,
        fresh: bool,
        answer: Result<&Answer, Status>,
        can_relay: bool,
    ) {
        let Some(receiver) = self.receivers.get(name) else { return };
        match receiver.stage {
            Stage::Resolving { fresh: wanted } if fresh || !wanted => self.on_found(now, name, fresh, answer),
            Stage::Open { key, address, is_doubted: true } if fresh => {
                self.on_found_again(now, name, (key, address), answer, can_relay);
            }
            _ => {}
        }
    }

    fn on_found(&mut self, now: Instant, name: &Name, fresh: bool, answer: Result<&Answer, Status>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(Status::NotFound) => return self.end_all(now, name, Status::NotFound, &Why::LookUp),
            Err(status) => return self.rest(now, name, status, Why::LookUp),
        };
        match (answer.key(), &answer.record) {
            (Some(key), _) => self.open(now, name, key, answer.address),
            (None, Some(record)) => {
                let (key, address) = (record.key, answer.address);
                self.set_stage(name, Stage::Meeting { key, address });
                self.wishes.push_back(Wish::Dial { key, address });
            }
            // Whoever is near may know its key.
            (None, None) if !fresh => self.resolve(now, name, true),
            (None, None) => self.rest(now, name, Status::Unavailable, Why::LookUp),
        }
    }

    /// The name is this peer's own
    pub(in crate::stack) fn handle_own(&mut self, now: Instant, name: &Name, (key, address): (Key, Address)) {
        if self.receivers.get(name).is_some_and(|receiver| matches!(receiver.stage, Stage::Resolving { .. })) {
            self.open(now, name, key, address);
        }
    }

    fn open(&mut self, now: Instant, name: &Name, key: Key, address: Address) {
        // What is out at the holder of another key would keep what comes behind it from going out.
        if self.receivers.get(name).is_some_and(|receiver| receiver.out_at.is_some_and(|before| before != key)) {
            self.take_back(name);
        }
        self.set_stage(name, Stage::Open { key, address, is_doubted: false });
        if let Some(receiver) = self.receivers.get_mut(name) {
            receiver.out_at = Some(key);
            // It is found now, whatever was said before.
            receiver.trouble.take_if(|trouble| trouble.reason == Why::LookUp);
        }
        self.fill(now, name);
    }

    /// Sends what there is room for
    fn fill(&mut self, now: Instant, name: &Name) {
        let Some(receiver) = self.receivers.get_mut(name) else { return };
        let Stage::Open { key, address, .. } = receiver.stage else { return };
        let Next { ask, load } = receiver.next();
        self.wishes.extend(load.into_iter().map(|sequence| Wish::Load { sequence }));
        for (sequence, after) in ask {
            let Some(entry) = receiver.queue.get_mut(&sequence) else { continue };
            if now >= entry.until {
                // Its timer ends it.
                entry.out = Out::No;
                continue;
            }
            let after = if mutant::is(Mutant::PredecessorNotNamed) { 0 } else { after };
            let content = entry.body.as_deref().unwrap_or_default();
            let body = message_body(Place { sequence, after }, content);
            let question = Question { kind: Kind::Message, id: entry.id, body };
            self.wishes.push_back(Wish::Ask { id: entry.id, key, address, question, until: entry.until });
        }
    }

    /// The answer to [`Wish::Ask`]: with the question's ticket
    pub(super) fn handle_asked(&mut self, now: Instant, id: &MessageId, ticket: Option<u64>) {
        let Some((sequence, to)) = self.find(id) else { return };
        match (self.entry(sequence), ticket) {
            (Some(entry), Some(ticket)) => {
                entry.out = Out::Asked(ticket);
                self.by_ticket.insert(ticket, sequence);
            }
            (Some(entry), None) => {
                entry.out = Out::No;
                self.pause(now, &to, Status::SlowDown, Why::TooMany, String::new());
            }
            (None, _) => {}
        }
    }

    /// The question with this ticket has left: from now on the receiver may have it
    pub(super) fn handle_left(&mut self, ticket: u64) {
        let sequence = self.by_ticket.get(&ticket).copied();
        if let Some(entry) = sequence.and_then(|sequence| self.entry(sequence)) {
            entry.out = Out::Left(ticket);
        }
    }

    fn find(&self, id: &MessageId) -> Option<(u64, Name)> {
        let sequence = *self.by_id.get(id)?;
        Some((sequence, self.by_sequence.get(&sequence)?.clone()))
    }

    /// Whoever was to be sent it was removed from the network
    pub(super) fn handle_removed(&mut self, now: Instant, id: &MessageId) {
        if let Some((sequence, _)) = self.find(id) {
            if let Some(entry) = self.entry(sequence) {
                entry.out = Out::No;
            }
            self.finish(now, sequence, Status::NotAllowed, Why::Removed);
        }
    }

    /// … and was to be met, by its key
    pub(super) fn handle_removed_key(&mut self, now: Instant, key: &Key) {
        for (name, _) in self.meeting(key) {
            // Nobody vouches for it that this is the key of that name.
            self.rest(now, &name, Status::Unavailable, Why::OtherName);
        }
    }

    /// Whoever holds this key has shown that it has this name
    pub(super) fn handle_met(&mut self, now: Instant, key: &Key, name: &Name) {
        for (of, address) in self.meeting(key) {
            if of == *name {
                self.open(now, &of, *key, address);
            } else {
                // Whoever has named that key may have lied.
                self.rest(now, &of, Status::Unavailable, Why::OtherName);
            }
        }
        // Whoever was waited for is back, and has come by itself.
        let waits = |receiver: &Receiver| receiver.stage == Stage::Resting && receiver.refusals == 0;
        if self.receivers.get(name).is_some_and(waits) {
            self.resolve(now, name, true);
        }
    }

    /// The user has said whose this name is: what waits goes on, and what is on its way to the holder of another key than this one
    /// is taken back; that key
    pub(super) fn handle_trusted(&mut self, now: Instant, name: &Name, key: Option<&Key>) -> Option<Key> {
        let receiver = self.receivers.get(name)?;
        let other = receiver.key().filter(|at| key.is_some_and(|key| key != at));
        if other.is_some() {
            self.take_back(name);
        }
        if other.is_some() || self.receivers.get(name)?.stage == Stage::Resting {
            self.resolve(now, name, true);
        }
        other
    }

    fn of_key(&self, key: &Key) -> impl Iterator<Item = Name> {
        self.by_key.get(key).into_iter().flatten().cloned()
    }

    fn meeting(&self, key: &Key) -> Vec<(Name, Address)> {
        let meeting = self.of_key(key).filter_map(|name| match self.receivers.get(&name)?.stage {
            Stage::Meeting { address, .. } => Some((name, address)),
            _ => None,
        });
        meeting.collect()
    }

    /// A connection with this key is over
    pub(super) fn handle_ended(&mut self, now: Instant, key: &Key, end: &End) {
        for (name, _) in self.meeting(key) {
            self.lose(now, &name, end.clone());
        }
    }
}
