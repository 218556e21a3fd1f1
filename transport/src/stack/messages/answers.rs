//! What comes of messages that are out, and of those whose time is over.

use kith_common::id::{Address, Key, MessageId, Name};
use kith_common::mail::OVERHEAD_BYTES;
use kith_common::mutant::{self, Mutant};
use kith_common::names::Answer;
use kith_common::status::Status;
use kith_common::time::{Instant, doubled};
use kith_common::wire;
use kith_common::wire::content::Receipt;

use super::fate::why;
use super::receiver::{Entry, Out, Stage, WINDOW};
use super::{MessageFate, Messages, REST_MAX, REST_MIN, TOO_EARLY_MAX, Trouble};
use crate::output::End;
use crate::questions::Fate;
use crate::stack::called::Why;
use crate::stack::wishes::{Wish, moved};

/// What a receiver's status means: there is one good word of its, and what it says otherwise is understood or final
fn told(status: u16) -> Status {
    match Status::from_code(status) {
        Some(status) if status == Status::Delivered || !status.is_success() => status,
        _ => Status::Malformed,
    }
}

/// Words for people: nobody can say whether it arrived
fn unsure(why: &str) -> String {
    format!("it may have arrived, but no receipt came: {why}")
}

impl Messages {
    /// What became of a question
    pub(in crate::stack) fn handle_fate(&mut self, now: Instant, ticket: u64, fate: Fate) {
        let Some(sequence) = self.by_ticket.remove(&ticket) else { return };
        let Some(to) = self.by_sequence.get(&sequence).cloned() else { return };
        let Some(receiver) = self.receivers.get_mut(&to) else { return };
        let Some(entry) = receiver.queue.get_mut(&sequence) else { return };
        let has_left = matches!(entry.out, Out::Left(_));
        entry.out = Out::No;
        if let (Fate::Answered { .. }, Some(key)) = (&fate, receiver.out_at) {
            self.wishes.push_back(Wish::Relied { name: to.clone(), key });
        }
        let (status, body) = match fate {
            Fate::Answered { status, body } => (told(status), body),
            // Nobody asks for a pipe by a message.
            Fate::Opened(_) => return,
            Fate::TimedOut => {
                entry.was_lost |= has_left;
                return self.time_out(now, sequence);
            }
            Fate::Lost(end) => {
                entry.was_lost |= has_left;
                return self.lose(now, &to, end);
            }
        };
        let receipt: Receipt = wire::decode(&body).unwrap_or_default();
        let words = receipt.reason.to_string();
        match status {
            Status::Delivered => {
                receiver.doubts.reset();
                (receiver.losses, receiver.refusals, receiver.too_early) = (0, 0, 0);
                receiver.trouble = None;
                self.finish_with(now, sequence, status, Why::Answered, words, receipt);
            }
            // Behind one that was refused are as many as may be out; more is somebody who forgets.
            Status::TooEarly => {
                receiver.too_early += 1;
                if receiver.too_early <= TOO_EARLY_MAX {
                    self.fill(now, &to);
                } else {
                    self.pause(now, &to, Status::SlowDown, Why::Answered, words);
                }
            }
            Status::TimedOut | Status::SlowDown | Status::Failed | Status::Unavailable => {
                if status == Status::TimedOut {
                    entry.was_lost = true;
                }
                // What is not kept ends with it.
                if entry.is_kept {
                    self.pause(now, &to, status, Why::Answered, words);
                } else {
                    self.finish_with(now, sequence, status, Why::Answered, words, receipt);
                }
            }
            _ => self.finish_with(now, sequence, status, Why::Answered, words, receipt),
        }
    }

    /// The receiver wants no more for now
    pub(super) fn pause(&mut self, now: Instant, to: &Name, status: Status, reason: Why, words: String) {
        let Some(receiver) = self.receivers.get_mut(to) else { return };
        if receiver.stage == Stage::Resting {
            return;
        }
        receiver.refusals += 1;
        let rest = doubled(REST_MIN, receiver.refusals - 1, REST_MAX);
        self.set_resting(to, now + rest);
        if mutant::is(Mutant::RefusedNotSentAgain) {
            self.timers.stop(&(to.clone(), 0));
        }
        self.tell_trouble(now, to, status, reason, words);
    }

    /// The connection under the messages of a receiver is lost: they go out again, soon
    pub(super) fn lose(&mut self, now: Instant, to: &Name, end: End) {
        let Some(receiver) = self.receivers.get_mut(to) else { return };
        if receiver.key().is_none() {
            return;
        }
        (receiver.losses, receiver.last_end) = (receiver.losses + 1, Some(end));
        // What it has refused before is no answer to what is sent now.
        receiver.refusals = 0;
        let is_met = matches!(receiver.stage, Stage::Open { .. });
        // Who is merely to be met is named by somebody who need not know.
        if is_met && receiver.last_end.as_ref().is_some_and(End::is_distrust) {
            return self.rest(now, to, Status::NotAllowed, Why::NotTrusted);
        }
        if mutant::is(Mutant::MessagesNotSentAgain) {
            return self.set_stage(to, Stage::Away);
        }
        if receiver.losses == 1 {
            return self.resolve(now, to, true);
        }
        let rest = doubled(REST_MIN, receiver.losses - 2, REST_MAX);
        self.set_resting(to, now + rest);
    }

    /// It is not to be reached now
    pub(super) fn rest(&mut self, now: Instant, to: &Name, status: Status, reason: Why) {
        let Some(receiver) = self.receivers.get_mut(to) else { return };
        let rest = doubled(REST_MIN, receiver.losses, REST_MAX);
        (receiver.losses, receiver.refusals) = (receiver.losses + 1, 0);
        // Whoever is next is not sent while those before it end.
        self.set_resting(to, now + rest);
        self.end_hasty(now, to, status, &reason);
        self.tell_trouble(now, to, status, reason, String::new());
    }

    fn tell_trouble(&mut self, now: Instant, to: &Name, status: Status, reason: Why, words: String) {
        let Some(receiver) = self.receivers.get_mut(to) else { return };
        let trouble = Trouble { status, reason, words };
        receiver.troubled_at = now;
        if receiver.trouble.as_ref() != Some(&trouble) {
            receiver.trouble = Some(trouble.clone());
            tracing::info!(event = "messages_delayed", %to, %status, reason = trouble.why(), waiting = receiver.queue.len());
        }
        // Whoever has sent something since has not heard of it.
        self.wishes.push_back(Wish::Delayed { to: to.clone(), trouble });
    }

    /// Nobody waits for answers any more
    pub(super) fn take_back(&mut self, to: &Name) {
        let Some(receiver) = self.receivers.get_mut(to) else { return };
        let tickets: Vec<u64> = receiver.queue.values_mut().filter_map(Entry::take_back).collect();
        tickets.into_iter().for_each(|ticket| self.give_up(ticket));
    }

    /// A question is nobody's any more
    fn give_up(&mut self, ticket: u64) {
        if self.by_ticket.remove(&ticket).is_some() {
            self.wishes.push_back(Wish::Cancel { ticket });
        }
    }

    /// The mesh says that something does not arrive at the holder of this key; `of_relay`: a supernode that was to relay it says
    /// so
    pub(in crate::stack) fn handle_undeliverable(&mut self, now: Instant, key: &Key, of_relay: bool) {
        for name in self.of_key(key).collect::<Vec<_>>() {
            let Some(receiver) = self.receivers.get_mut(&name) else { continue };
            match receiver.stage {
                Stage::Open { key, address, is_doubted }
                    if receiver.queue.values().take(WINDOW).any(|entry| entry.out != Out::No)
                        && receiver.doubts.raise(now, of_relay, is_doubted) =>
                {
                    receiver.stage = Stage::Open { key, address, is_doubted: true };
                    self.wishes.push_back(Wish::Resolve { name, fresh: true });
                }
                // Whoever has said that it is there knew of a place that it has left.
                Stage::Meeting { .. } if receiver.doubts.raise(now, of_relay, false) => {
                    if receiver.doubts.settle(false) {
                        receiver.doubts.reset();
                        self.rest(now, &name, Status::Unavailable, Why::NoWay);
                    } else {
                        self.resolve(now, &name, true);
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn on_found_again(
        &mut self,
        now: Instant,
        name: &Name,
        (key, address): (Key, Address),
        answer: Result<&Answer, Status>,
        can_relay: bool,
    ) {
        let Some(receiver) = self.receivers.get_mut(name) else { return };
        receiver.stage = Stage::Open { key, address, is_doubted: false };
        match answer {
            Ok(answer) if answer.key().is_some_and(|found| found != key) => {
                self.take_back(name);
                self.on_found(now, name, true, Ok(answer));
            }
            Err(status @ Status::AnotherKey) => {
                self.take_back(name);
                self.on_found(now, name, true, Err(status));
            }
            Err(status @ (Status::NotFound | Status::Gone)) => {
                self.take_back(name);
                self.wishes.push_back(Wish::Close { key });
                self.on_found(now, name, true, Err(status));
            }
            answer => {
                let is_hopeless = receiver.doubts.settle(can_relay);
                if let Some(Wish::Moved { key, address }) = answer.ok().and_then(moved) {
                    receiver.stage = Stage::Open { key, address, is_doubted: false };
                    self.wishes.push_back(Wish::Moved { key, address });
                }
                if is_hopeless {
                    receiver.doubts.reset();
                    self.take_back(name);
                    self.rest(now, name, Status::Unavailable, Why::NoWay);
                }
            }
        }
    }

    /// Takes a message back: it may have arrived
    ///
    /// Whether there was such a message.
    pub(in crate::stack) fn cancel(&mut self, now: Instant, id: &MessageId) -> bool {
        let found = self.find(id);
        if let Some((sequence, _)) = &found {
            self.finish(now, *sequence, Status::TimedOut, Why::TakenBack);
        }
        found.is_some()
    }

    /// Those that are not kept end
    pub(super) fn end_hasty(&mut self, now: Instant, to: &Name, status: Status, reason: &Why) {
        let Some(receiver) = self.receivers.get(to) else { return };
        let hasty = receiver.queue.iter().filter(|(_, entry)| !entry.is_kept && !entry.is_refused_by_disk);
        for sequence in hasty.map(|(sequence, _)| *sequence).collect::<Vec<_>>() {
            self.finish(now, sequence, status, reason.clone());
        }
    }

    pub(super) fn end_all(&mut self, now: Instant, to: &Name, status: Status, reason: &Why) {
        self.set_stage(to, Stage::Away);
        let Some(receiver) = self.receivers.get(to) else { return };
        for sequence in receiver.queue.keys().copied().collect::<Vec<_>>() {
            self.finish(now, sequence, status, reason.clone());
        }
    }

    /// Its time is over: what is known of its receiver is its fate
    pub(super) fn time_out(&mut self, now: Instant, sequence: u64) {
        let Some(receiver) = self.by_sequence.get(&sequence).and_then(|to| self.receivers.get(to)) else { return };
        let Some(entry) = receiver.queue.get(&sequence) else { return };
        let (status, reason, words) = match (&receiver.trouble, &receiver.last_end) {
            _ if entry.is_refused_by_disk => (Status::Failed, Why::DiskFailed, String::new()),
            // What was so before it was begun need not be so since.
            (Some(Trouble { status, reason, words }), _) if receiver.troubled_at >= entry.begun => {
                (*status, reason.clone(), words.clone())
            }
            _ if !self.is_logged_in => (Status::NotLoggedIn, Why::LoggedOut, String::new()),
            (_, Some(end)) => (Status::TimedOut, Why::Lost(end.clone()), String::new()),
            (_, None) => (Status::TimedOut, Why::NoAnswer, String::new()),
        };
        self.finish_with(now, sequence, status, reason, words, Receipt::default());
    }

    pub(super) fn finish(&mut self, now: Instant, sequence: u64, status: Status, reason: Why) {
        self.finish_with(now, sequence, status, reason, String::new(), Receipt::default());
    }

    pub(super) fn finish_with(
        &mut self,
        now: Instant,
        sequence: u64,
        status: Status,
        reason: Why,
        words: String,
        receipt: Receipt,
    ) {
        let Some(to) = self.by_sequence.remove(&sequence) else { return };
        let Some(receiver) = self.receivers.get_mut(&to) else { return };
        let Some(mut entry) = receiver.queue.remove(&sequence) else { return };
        let is_last = receiver.queue.is_empty();
        self.timers.stop(&(to.clone(), sequence));
        self.by_id.remove(&entry.id);
        self.bytes -= entry.bytes + OVERHEAD_BYTES;
        let is_uncertain = entry.is_uncertain() && !mutant::is(Mutant::CertaintyFeigned);
        entry.take_back().into_iter().for_each(|ticket| self.give_up(ticket));
        // Only the receiver's own word is surer than what may have arrived.
        let is_told = reason == Why::Answered && matches!(status, Status::Delivered | Status::TooLarge);
        let is_unsure = is_uncertain && !is_told;
        // What the look-up said is still why.
        let words = if is_unsure { unsure(&why(status, &reason, &words)) } else { words };
        let status = if is_unsure { Status::TimedOut } else { status };
        let (id, attempts, elapsed) = (entry.id, entry.attempts, entry.age + (now - entry.begun));
        let path = receipt.path.into_vec();
        let fate = MessageFate { id, to: to.clone(), status, reason, words, path, attempts, elapsed };
        tracing::debug!(event = "message_ended", %id, %to, %status, reason = fate.why(), attempts);
        // What a disk has failed may be there all the same.
        let stored = (entry.is_kept || entry.is_refused_by_disk).then_some(sequence);
        if mutant::is(Mutant::FateTwice) {
            self.wishes.push_back(Wish::Ended { fate: fate.clone(), stored });
        }
        self.wishes.push_back(Wish::Ended { fate, stored });
        if is_last {
            self.set_stage(&to, Stage::Away);
            self.timers.stop(&(to.clone(), 0));
            self.receivers.remove(&to);
        } else {
            self.fill(now, &to);
        }
    }

    /// Ends messages whose time is over, and looks anew for receivers that have rested
    pub(in crate::stack) fn handle_timeout(&mut self, now: Instant) {
        while let Some((to, sequence)) = self.timers.take_due(now) {
            match sequence {
                0 => self.resolve(now, &to, true),
                sequence if mutant::is(Mutant::MessageDeadlineForgotten) => _ = sequence,
                sequence => self.time_out(now, sequence),
            }
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub(in crate::stack) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    /// The next thing to do
    pub(in crate::stack) fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }
}
