//! What waits, as the disk has it at a start, and as people see it.

use std::time::Duration;

use kith_common::id::{MessageId, Name};
use kith_common::mutant::{self, Mutant};
use kith_common::time::Instant;

use super::receiver::Entry;
use super::{Messages, Trouble};

/// A message that was found in the out-box on disk
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// As it was stored
    pub sequence: u64,
    pub id: MessageId,
    pub to: Name,
    /// Of what it says
    pub bytes: u64,
    /// For how long it has waited
    pub age: Duration,
    /// For how long it may wait still
    pub left: Duration,
}

/// A message that has no fate yet, for people
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting<'a> {
    pub sequence: u64,
    pub id: MessageId,
    pub to: &'a Name,
    /// Of what it says
    pub bytes: u64,
    /// For how long it has waited
    pub age: Duration,
    /// For how long it may wait still
    pub left: Duration,
    /// How often it was sent
    pub attempts: u32,
    /// Whether it is, or will be, there after a restart
    pub is_kept: bool,
    /// Why it is not there yet, if anything is known
    pub trouble: Option<&'a Trouble>,
}

impl Messages {
    /// What the out-box on disk has; before anything else, whatever the bound says
    pub(in crate::stack) fn restore(&mut self, now: Instant, restored: impl IntoIterator<Item = Restored>) {
        for Restored { sequence, id, to, bytes, age, left } in restored {
            if mutant::is(Mutant::StoredForgotten) {
                continue;
            }
            // Before the restart it may have been out.
            let entry = Entry { age, is_kept: true, was_lost: true, ..Entry::new(id, bytes, now, now + left) };
            // Where starts are counted anew, what is on the disk has numbers of more starts than there were.
            self.last_sequence = self.last_sequence.max(sequence);
            self.insert(now, &to, sequence, entry);
        }
    }

    /// All that wait, the oldest first
    pub(in crate::stack) fn waiting(&self, now: Instant) -> impl Iterator<Item = Waiting<'_>> {
        self.by_sequence.keys().filter_map(move |sequence| self.waiting_at(now, *sequence))
    }

    /// The message with this id, if it waits
    pub(in crate::stack) fn waiting_with(&self, now: Instant, id: &MessageId) -> Option<Waiting<'_>> {
        self.waiting_at(now, *self.by_id.get(id)?)
    }

    fn waiting_at(&self, now: Instant, sequence: u64) -> Option<Waiting<'_>> {
        let to = self.by_sequence.get(&sequence)?;
        let receiver = self.receivers.get(to)?;
        let Entry { id, bytes, begun, age, until, attempts, is_kept, .. } = receiver.queue.get(&sequence)?;
        Some(Waiting {
            sequence,
            id: *id,
            to,
            bytes: *bytes,
            age: *age + (now - *begun),
            left: *until - now,
            attempts: *attempts,
            is_kept: *is_kept,
            trouble: receiver.trouble.as_ref(),
        })
    }
}
