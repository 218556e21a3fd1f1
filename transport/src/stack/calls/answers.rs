//! What comes of calls that are asked, and how they end.

use kith_common::id::{Key, MessageId};
use kith_common::mutant::{self, Mutant};
use kith_common::names::Answer;
use kith_common::status::Status;
use kith_common::time::{Instant, doubled};

use super::{Call, Called, Calls, REST_MAX, REST_MIN, Stage, Why};
use crate::output::End;
use crate::pipes::PipeId;
use crate::questions::Fate;
use crate::stack::wishes::{Wish, moved};

impl Calls {
    /// What became of a question; it is given back if it is none of a call
    pub(in crate::stack) fn handle_fate(&mut self, now: Instant, ticket: u64, fate: Fate) -> Option<Fate> {
        let Some(id) = self.by_ticket.remove(&ticket) else { return Some(fate) };
        if matches!(fate, Fate::Answered { .. } | Fate::Opened(_)) {
            self.note_relied(&id);
        }
        match fate {
            Fate::Answered { status, body } => {
                let status = Status::from_code(status).unwrap_or(Status::Failed);
                let body = if mutant::is(Mutant::ResultLost) { Vec::new() } else { body };
                self.finish(now, &id, status, Why::Answered, body);
            }
            Fate::Opened(pipe) => {
                self.finish_with(now, &id, Status::Delivered, Why::Answered, Vec::new(), Some(pipe));
            }
            Fate::TimedOut if mutant::is(Mutant::CallDeadlineForgotten) => {}
            Fate::TimedOut => self.time_out(now, &id),
            Fate::Lost(end) => self.lose(now, id, end),
        }
        None
    }

    /// Whoever was wanted is there, by what it has said itself
    pub(super) fn note_relied(&mut self, id: &MessageId) {
        if let Some(Call { to, stage: Stage::Asked { key, .. }, .. }) = self.calls.get(id) {
            self.wishes.push_back(Wish::Relied { name: to.clone(), key: *key });
        }
    }

    /// The connection under a call is lost: it is asked again, soon
    pub(super) fn lose(&mut self, now: Instant, id: MessageId, end: End) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        self.waiting.remove(&(call.to.clone(), id));
        call.part(now);
        // Who is merely met is named by somebody who need not know.
        if end.is_distrust() && !matches!(call.stage, Stage::Meeting { .. }) {
            return self.finish(now, &id, Status::NotAllowed, Why::NotTrusted, Vec::new());
        }
        (call.last_end, call.losses) = (Some(end), call.losses + 1);
        if mutant::is(Mutant::CallNotAskedAgain) {
            return self.time_out(now, &id);
        }
        if call.losses == 1 {
            return self.resolve(id, true);
        }
        call.stage = Stage::Resting;
        let rest = now + doubled(REST_MIN, call.losses - 2, REST_MAX);
        self.timers.set(rest.min(call.until), id);
    }

    /// The mesh says that something does not arrive at the holder of this key; `of_relay`: a supernode that was to relay it says
    /// so
    pub(in crate::stack) fn handle_undeliverable(&mut self, now: Instant, key: &Key, of_relay: bool) {
        for (id, call) in &mut self.calls {
            let (is_asked, stage) = match call.stage {
                Stage::Asked { key: of, ticket, is_doubted } if of == *key => {
                    (is_doubted, Stage::Asked { key: of, ticket, is_doubted: true })
                }
                // Whoever has said that it is there knew of a place that it has left.
                Stage::Meeting { key: of, .. } if of == *key => (false, Stage::Resolving { fresh: true }),
                _ => continue,
            };
            if call.doubts.raise(now, of_relay, is_asked) {
                call.stage = stage;
                self.waiting.insert((call.to.clone(), *id));
                self.wishes.push_back(Wish::Resolve { name: call.to.clone(), fresh: true });
            }
        }
    }

    pub(super) fn on_found_again(
        &mut self,
        now: Instant,
        id: MessageId,
        key: Key,
        answer: Result<&Answer, Status>,
        can_relay: bool,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Stage::Asked { is_doubted, .. } = &mut call.stage {
            *is_doubted = false;
        }
        match answer {
            Ok(answer) if answer.key().is_some_and(|found| found != key) => {
                call.part(now);
                self.give_up(&id);
                self.on_found(now, id, true, Ok(answer));
            }
            Err(status @ (Status::NotFound | Status::Gone | Status::AnotherKey)) => {
                self.finish(now, &id, status, Why::LookUp, Vec::new());
            }
            answer => {
                let is_hopeless = call.doubts.settle(can_relay);
                self.wishes.extend(answer.ok().and_then(moved));
                if is_hopeless {
                    self.finish(now, &id, Status::Unavailable, Why::NoWay, Vec::new());
                }
            }
        }
    }

    /// Its question is nobody's any more
    pub(super) fn give_up(&mut self, id: &MessageId) {
        if let Some(Call { stage: Stage::Asked { ticket: Some(ticket), .. }, .. }) = self.calls.get(id) {
            let ticket = *ticket;
            if self.by_ticket.remove(&ticket).is_some() {
                self.wishes.push_back(Wish::Cancel { ticket });
            }
        }
    }

    pub(super) fn finish(&mut self, now: Instant, id: &MessageId, status: Status, reason: Why, body: Vec<u8>) {
        self.finish_with(now, id, status, reason, body, None);
    }

    pub(super) fn finish_with(
        &mut self,
        now: Instant,
        id: &MessageId,
        status: Status,
        reason: Why,
        body: Vec<u8>,
        pipe: Option<PipeId>,
    ) {
        self.give_up(id);
        let Some(Call { to, want, begun, .. }) = self.forget(id) else { return };
        tracing::debug!(event = "call_ended", %id, %to, %status, %reason);
        let called = Called { id: *id, to, status, reason, body, pipe, elapsed: now - begun };
        if mutant::is(Mutant::CallEndsTwice) {
            self.wishes.push_back(want.ended(called.clone()));
        }
        self.wishes.push_back(want.ended(called));
    }

    pub(super) fn time_out(&mut self, now: Instant, id: &MessageId) {
        let end = self.calls.get_mut(id).and_then(|call| call.last_end.take());
        self.finish(now, id, Status::TimedOut, end.map_or(Why::NoAnswer, Why::Lost), Vec::new());
    }
}
