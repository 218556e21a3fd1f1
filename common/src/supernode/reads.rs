//! Look-ups that wait until it is sure that their answers are not older than they are.
//!
//! A supernode hears of commands later than others, so before it answers it asks the log how far it must have got
//! ([`SupernodeOutput::Read`](super::SupernodeOutput::Read)), and waits until it is there. One such read is under way at a
//! time; whoever asks meanwhile shares the next one. Who cannot be sure says so in time: the answer is marked.

use std::collections::VecDeque;
use std::time::Duration;

use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::session::LookUp;

/// How long a look-up waits for the log at most; half of what the asker waits for
pub const READ_WAIT: Duration = Duration::from_secs(1);
/// Look-ups that wait; the next one is answered with 429
pub const READS_MAX: usize = 4_096;

/// A look-up that waits
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) link: LinkId,
    pub(super) look_up: LookUp,
    until: Instant,
}

/// The look-ups that wait, [`READS_MAX`] in all; whoever stands behind has come later, and those in `ready` came first
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Since the last read was sent
    waiting: VecDeque<Asked>,
    /// Before it was sent; there is a read under way if it is there, with nobody waiting any more perhaps
    under_way: Option<VecDeque<Asked>>,
    /// Those whose index the log has said
    ready: VecDeque<(u64, VecDeque<Asked>)>,
}

/// As many wait as may
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Reads {
    /// A look-up whose answer must not be older than it is
    pub(super) fn push(&mut self, now: Instant, link: LinkId, look_up: LookUp) -> Result<(), Full> {
        let ready: usize = self.ready.iter().map(|(_, asked)| asked.len()).sum();
        if ready + self.under_way.as_ref().map_or(0, VecDeque::len) + self.waiting.len() >= READS_MAX {
            return Err(Full);
        }
        self.waiting.push_back(Asked { link, look_up, until: now + READ_WAIT });
        Ok(())
    }

    /// Whether the log is to be asked now; if so, it is
    pub(super) fn begin(&mut self) -> bool {
        let begins = self.under_way.is_none() && !self.waiting.is_empty();
        if begins {
            self.under_way = Some(std::mem::take(&mut self.waiting));
        }
        begins
    }

    /// The log's answer: how far one must have applied it
    pub(super) fn handle_readable(&mut self, index: u64) {
        let mut asked = self.under_way.take().unwrap_or_default();
        if mutant::is(Mutant::ReadSharedTooLate) {
            asked.append(&mut self.waiting);
        }
        if !asked.is_empty() {
            self.ready.push_back((index, asked));
        }
    }

    /// The log cannot say: these are answered by what is known here
    pub(super) fn handle_unreadable(&mut self) -> VecDeque<Asked> {
        self.under_way.take().unwrap_or_default()
    }

    /// Nobody leads: all but those whose index is known are answered by what is known here
    pub(super) fn give_up(&mut self) -> VecDeque<Asked> {
        let under_way = self.under_way.as_mut().map(std::mem::take).unwrap_or_default();
        under_way.into_iter().chain(std::mem::take(&mut self.waiting)).collect()
    }

    /// The next one that can be sure of its answer now that the log is applied so far
    pub(super) fn take_ready(&mut self, applied: u64) -> Option<Asked> {
        while let Some((index, asked)) = self.ready.front_mut() {
            if *index > applied && !mutant::is(Mutant::ReadNotAwaited) {
                return None;
            }
            if let Some(asked) = asked.pop_front() {
                return Some(asked);
            }
            self.ready.pop_front();
        }
        None
    }

    /// The next one that has waited for long enough
    pub(super) fn take_late(&mut self, now: Instant) -> Option<Asked> {
        while let Some((_, asked)) = self.ready.front()
            && asked.is_empty()
        {
            self.ready.pop_front();
        }
        let queue = self.first_queue()?;
        queue.front().filter(|asked| asked.until <= now)?;
        queue.pop_front()
    }

    /// When to call [`Self::take_late`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let ready = self.ready.iter().map(|(_, asked)| asked);
        let queues = ready.chain(&self.under_way).chain([&self.waiting]);
        queues.filter_map(|queue| queue.front()).map(|asked| asked.until).min()
    }

    fn first_queue(&mut self) -> Option<&mut VecDeque<Asked>> {
        let ready = self.ready.iter_mut().map(|(_, asked)| asked);
        ready.chain(&mut self.under_way).chain([&mut self.waiting]).find(|queue| !queue.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at_ms, name};
    use crate::wire::session::Subject;

    fn push(reads: &mut Reads, ms: u64, query: u64) -> Result<(), Full> {
        let subject = Subject::Name(name("bob"));
        reads.push(at_ms(ms), LinkId(1), LookUp { query, ttl: 0, subject, may_be_stale: false })
    }

    fn queries(asked: impl IntoIterator<Item = Asked>) -> Vec<u64> {
        asked.into_iter().map(|asked| asked.look_up.query).collect()
    }

    fn ready(reads: &mut Reads, applied: u64) -> Vec<u64> {
        queries(std::iter::from_fn(|| reads.take_ready(applied)))
    }

    #[test]
    fn who_asks_before_a_read_shares_it_and_who_asks_later_does_not() {
        let mut reads = Reads::default();
        assert!(!reads.begin());
        push(&mut reads, 0, 1).unwrap();
        push(&mut reads, 0, 2).unwrap();
        assert!(reads.begin());
        push(&mut reads, 1, 3).unwrap();
        assert!(!reads.begin(), "one is under way");
        reads.handle_readable(7);
        assert!(reads.begin());
        assert_eq!(ready(&mut reads, 6), []);
        assert_eq!(ready(&mut reads, 7), [1, 2]);
        assert_eq!(queries(reads.handle_unreadable()), [3]);
        assert_eq!(reads.next_timeout(), None);
    }

    #[test]
    fn who_has_waited_for_a_second_waits_no_more_and_its_read_is_not_taken_for_the_next_ones() {
        let mut reads = Reads::default();
        push(&mut reads, 0, 1).unwrap();
        reads.begin();
        push(&mut reads, 500, 2).unwrap();
        assert_eq!(reads.next_timeout(), Some(at_ms(1_000)));
        assert_eq!(queries(std::iter::from_fn(|| reads.take_late(at_ms(1_499)))), [1]);
        assert!(!reads.begin(), "the log has not answered");
        assert_eq!(queries(std::iter::from_fn(|| reads.take_late(at_ms(1_500)))), [2]);
        reads.handle_readable(1);
        push(&mut reads, 2_000, 3).unwrap();
        assert!(reads.begin());
        assert_eq!(ready(&mut reads, 9), []);
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut reads = Reads::default();
        (0..READS_MAX as u64).for_each(|query| push(&mut reads, 0, query).unwrap());
        assert_eq!(push(&mut reads, 0, 0), Err(Full));
        assert_eq!(reads.give_up().len(), READS_MAX);
        assert_eq!(push(&mut reads, 0, 0), Ok(()));
    }
}
