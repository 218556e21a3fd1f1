//! Whether a sender's name is its own still: what the directory has confirmed, and what waits for its word.
//!
//! A grant says that a key had a name and a place when its session began; it does not say that it has them now. So a
//! message for the in-box is held until the directory has confirmed the *binding* of name, key and place:
//!
//! | the directory says | the message |
//! |---|---|
//! | this key has this name, at this place | is kept as confirmed |
//! | this key has this name, elsewhere or nowhere | is kept, unconfirmed: its session has ended |
//! | another key has the name, or nobody has | is refused with 403 |
//! | nothing, as it cannot be asked, is silent, or may say what was so before | is kept as the last answer said; unconfirmed if there was none |
//!
//! The peer's own table, which came from the directory, confirms as well, and neighbours' tables while nobody can be asked.
//! One answer is good for [`CONFIRMED_FOR`], so that a conversation costs the directory one question a lease.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::arrivals::Arrived;
use crate::id::{Address, Key, Name};
use crate::mutant::{self, Mutant};
use crate::names::{Answer, Source};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::bounded::Bytes;
use crate::wire::content::DATA_BYTES_MAX;
use crate::wire::grant::Grant;

/// How long an answer is good: a lease, after which a session that was not renewed has ended
pub const CONFIRMED_FOR: Duration = Duration::from_secs(30);
/// How long a message waits for an answer: long round trips, and well before its sender gives up
pub const CONFIRM_WAIT: Duration = Duration::from_secs(1);
/// Bindings that are remembered, as many as grants are; at the bound the oldest is forgotten, and asked for again
pub const BINDINGS_MAX: usize = 1_024;
/// Messages that wait for an answer, 3.5 MiB at worst; one more is judged by what is known
pub(super) const WAITING_MAX: usize = 64;

/// What is believed of a sender
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Confirmed,
    Unconfirmed,
    /// For this reason
    Refused(&'static str),
}

#[derive(Clone, Debug)]
struct Known {
    name: Name,
    verdict: Verdict,
    at: Instant,
}

/// A message whose sender is being asked about
#[derive(Debug)]
struct Waiting {
    arrived: Arrived,
    bytes: Bytes<DATA_BYTES_MAX>,
    until: Instant,
}

/// A message that has its verdict
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) arrived: Arrived,
    pub(super) bytes: Bytes<DATA_BYTES_MAX>,
    pub(super) verdict: Verdict,
}

/// What is known of senders, and the messages of those who are being asked about
#[derive(Debug, Default)]
pub(super) struct Bindings {
    known: BTreeMap<(Key, Address), Known>,
    by_age: BTreeSet<(Instant, (Key, Address))>,
    /// In the order in which they came
    waiting: Vec<Waiting>,
    judged: VecDeque<Judged>,
}

impl Bindings {
    /// Takes a message for the in-box; the name to ask the directory for, if it waits for an answer that nobody has asked
    /// for yet
    ///
    /// `table` says whether a table of the directory's has the sender so.
    pub(super) fn handle_message(
        &mut self,
        now: Instant,
        arrived: Arrived,
        bytes: Bytes<DATA_BYTES_MAX>,
        table: bool,
        can_ask: bool,
    ) -> Option<Name> {
        if table {
            self.learn(now, &arrived.from, Verdict::Confirmed);
        }
        let known = self.known_of(&arrived.from).filter(|known| now - known.at < CONFIRMED_FOR);
        let fresh = known.map(|known| known.verdict);
        let verdict = if mutant::is(Mutant::BindingUnchecked) { Some(Verdict::Confirmed) } else { fresh };
        if verdict.is_none() && can_ask {
            let same = |waiting: &&mut Waiting| waiting.arrived.is_same(&arrived);
            if let Some(waiting) = self.waiting.iter_mut().find(same) {
                // It came again, by another way perhaps.
                waiting.arrived = arrived;
                return None;
            }
            if self.waiting.len() < WAITING_MAX {
                let name = arrived.from.name.clone();
                let is_asked = self.waiting.iter().any(|waiting| waiting.arrived.from.name == name);
                self.waiting.push(Waiting { arrived, bytes, until: now + CONFIRM_WAIT });
                return (!is_asked).then_some(name);
            }
        }
        let verdict = verdict.unwrap_or_else(|| self.last(&arrived.from));
        self.judged.push_back(Judged { arrived, bytes, verdict });
        None
    }

    /// What is known about the holder of `name`, by now
    pub(super) fn handle_resolved(&mut self, now: Instant, name: &Name, answer: Result<&Answer, Status>) {
        let asked: Vec<Waiting> = self.waiting.extract_if(.., |waiting| waiting.arrived.from.name == *name).collect();
        for Waiting { arrived, bytes, .. } in asked {
            let verdict = match said(&arrived.from, answer) {
                Some(verdict) => {
                    self.learn(now, &arrived.from, verdict);
                    verdict
                }
                None => self.last(&arrived.from),
            };
            self.judged.push_back(Judged { arrived, bytes, verdict });
        }
    }

    /// Judges those that have waited for long enough by what is known
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let late: Vec<Waiting> = self.waiting.extract_if(.., |waiting| waiting.until <= now).collect();
        for Waiting { arrived, bytes, .. } in late {
            let verdict = self.last(&arrived.from);
            self.judged.push_back(Judged { arrived, bytes, verdict });
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.first().map(|waiting| waiting.until)
    }

    /// The next message that has its verdict
    pub(super) fn poll(&mut self) -> Option<Judged> {
        self.judged.pop_front()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.judged.is_empty()
    }

    /// What the last answer said, however old it is
    fn last(&self, from: &Grant) -> Verdict {
        let known = self.known_of(from).filter(|_| !mutant::is(Mutant::LastBindingForgotten));
        known.map_or(Verdict::Unconfirmed, |known| known.verdict)
    }

    fn known_of(&self, from: &Grant) -> Option<&Known> {
        self.known.get(&(from.key, from.address)).filter(|known| known.name == from.name)
    }

    fn learn(&mut self, now: Instant, from: &Grant, verdict: Verdict) {
        let place = (from.key, from.address);
        let known = Known { name: from.name.clone(), verdict, at: now };
        if let Some(before) = self.known.insert(place, known) {
            self.by_age.remove(&(before.at, place));
        }
        self.by_age.insert((now, place));
        if self.known.len() > BINDINGS_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.known.remove(&oldest);
        }
    }
}

/// What this answer means for the grant; nothing, if it is not the directory's, or not of now
fn said(from: &Grant, answer: Result<&Answer, Status>) -> Option<Verdict> {
    match answer {
        Ok(Answer { record: Some(record), source: Source::Supernode, stale: false, .. }) => {
            Some(if record.key != from.key {
                Verdict::Refused("the sender's name belongs to another key")
            } else if record.address == from.address {
                Verdict::Confirmed
            } else {
                Verdict::Unconfirmed
            })
        }
        Ok(_) => None,
        Err(Status::NotFound) => Some(Verdict::Refused("nobody has the sender's name")),
        Err(Status::Gone) => Some(Verdict::Unconfirmed),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Origin;
    use super::*;
    use crate::crypto::Signer;
    use crate::id::{Epoch, MessageId, SessionId};
    use crate::testing::{at_ms, ed, network_of, peer_name};
    use crate::wire::session::Record;

    fn grant(n: u8, place: u64) -> Grant {
        let (network, name, key, session) = (network_of(1), peer_name(n), ed(n).key(), SessionId([n; 16]));
        Grant { network, name, key, address: Address(place), session, epoch: Epoch::new(0, 1) }
    }

    fn message(id: u8, from: &Grant) -> Arrived {
        Arrived { from: from.clone(), id: MessageId([id; 16]), path: Vec::new(), origin: Origin::Mesh }
    }

    fn answer(name: &Name, by: u8, place: u64, source: Source) -> Answer {
        let record = Record {
            name: name.clone(),
            key: ed(by).key(),
            address: Address(place),
            epoch: Epoch::new(0, 1),
            locations: Default::default(),
        };
        Answer { name: name.clone(), address: Address(place), record: Some(record), source, stale: false }
    }

    fn take(bindings: &mut Bindings, now: Instant, id: u8, from: &Grant, can_ask: bool) -> Option<Name> {
        bindings.handle_message(now, message(id, from), Bytes::default(), false, can_ask)
    }

    fn verdicts(bindings: &mut Bindings) -> Vec<Verdict> {
        std::iter::from_fn(|| bindings.poll()).map(|judged| judged.verdict).collect()
    }

    #[test]
    fn answer_decides_and_is_good_for_a_lease() {
        let from = grant(2, 7);
        let cases = [
            (Ok(answer(&from.name, 2, 7, Source::Supernode)), Verdict::Confirmed),
            (Ok(answer(&from.name, 2, 8, Source::Supernode)), Verdict::Unconfirmed),
            (
                Ok(answer(&from.name, 3, 7, Source::Supernode)),
                Verdict::Refused("the sender's name belongs to another key"),
            ),
            (Err(Status::NotFound), Verdict::Refused("nobody has the sender's name")),
            (Err(Status::Gone), Verdict::Unconfirmed),
        ];
        for (answer, expected) in cases {
            let mut bindings = Bindings::default();
            assert_eq!(take(&mut bindings, at_ms(0), 1, &from, true), Some(from.name.clone()));
            assert_eq!(verdicts(&mut bindings), []);
            bindings.handle_resolved(at_ms(10), &from.name, answer.as_ref().map_err(|status| *status));
            assert_eq!(verdicts(&mut bindings), [expected]);
            assert_eq!(take(&mut bindings, at_ms(30_009), 2, &from, true), None, "no question");
            assert_eq!(verdicts(&mut bindings), [expected]);
            assert_eq!(take(&mut bindings, at_ms(30_010), 3, &from, true), Some(from.name.clone()), "a lease later");
        }
    }

    #[test]
    fn what_nobody_vouches_for_decides_nothing() {
        let from = grant(2, 7);
        for source in [Source::Neighbours, Source::Memory, Source::Tables] {
            let mut bindings = Bindings::default();
            take(&mut bindings, at_ms(0), 1, &from, true);
            bindings.handle_resolved(at_ms(1), &from.name, Ok(&answer(&from.name, 2, 7, source)));
            assert_eq!(verdicts(&mut bindings), [Verdict::Unconfirmed]);
        }
        let mut bindings = Bindings::default();
        take(&mut bindings, at_ms(0), 1, &from, true);
        let old = Answer { stale: true, ..answer(&from.name, 2, 7, Source::Supernode) };
        bindings.handle_resolved(at_ms(1), &from.name, Ok(&old));
        assert_eq!(verdicts(&mut bindings), [Verdict::Unconfirmed], "it was so, and may be no more");
    }

    #[test]
    fn silence_leaves_what_was_said_last_and_the_next_message_asks_afresh() {
        let from = grant(2, 7);
        let mut bindings = Bindings::default();
        take(&mut bindings, at_ms(0), 1, &from, true);
        assert_eq!(bindings.next_timeout(), Some(at_ms(1_000)));
        bindings.handle_timeout(at_ms(1_000));
        assert_eq!(verdicts(&mut bindings), [Verdict::Unconfirmed], "it was never confirmed");
        take(&mut bindings, at_ms(2_000), 2, &from, true);
        bindings.handle_resolved(at_ms(2_010), &from.name, Ok(&answer(&from.name, 2, 7, Source::Supernode)));
        assert_eq!(take(&mut bindings, at_ms(99_000), 3, &from, true), Some(from.name.clone()));
        bindings.handle_timeout(at_ms(100_000));
        take(&mut bindings, at_ms(200_000), 4, &from, false);
        assert_eq!(verdicts(&mut bindings), [Verdict::Confirmed; 3]);
    }

    #[test]
    fn two_messages_of_one_sender_wait_for_one_answer_and_one_that_comes_again_is_one() {
        let from = grant(2, 7);
        let mut bindings = Bindings::default();
        assert!(take(&mut bindings, at_ms(0), 1, &from, true).is_some());
        assert!(take(&mut bindings, at_ms(1), 2, &from, true).is_none());
        assert!(take(&mut bindings, at_ms(2), 1, &from, true).is_none());
        bindings.handle_resolved(at_ms(3), &from.name, Err(Status::Gone));
        assert_eq!(verdicts(&mut bindings), [Verdict::Unconfirmed; 2]);
        assert!(bindings.is_empty());
    }

    #[test]
    fn table_confirms_without_a_question() {
        let from = grant(2, 7);
        let mut bindings = Bindings::default();
        assert_eq!(bindings.handle_message(at_ms(0), message(1, &from), Bytes::default(), true, true), None);
        assert_eq!(verdicts(&mut bindings), [Verdict::Confirmed]);
    }

    #[test]
    fn what_waits_and_what_is_known_are_bounded() {
        let mut bindings = Bindings::default();
        for place in 0..=WAITING_MAX as u64 {
            take(&mut bindings, at_ms(0), place as u8, &grant(2, place), true);
        }
        assert_eq!((bindings.waiting.len(), verdicts(&mut bindings)), (WAITING_MAX, vec![Verdict::Unconfirmed]));
        for place in 0..=BINDINGS_MAX as u64 {
            bindings.learn(at_ms(place), &grant(2, place), Verdict::Confirmed);
        }
        assert_eq!((bindings.known.len(), bindings.by_age.len()), (BINDINGS_MAX, BINDINGS_MAX));
        assert!(bindings.known_of(&grant(2, 0)).is_none() && bindings.known_of(&grant(2, 1)).is_some());
    }
}
