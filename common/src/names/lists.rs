//! Questions for names, which nobody but a supernode can answer.

use std::collections::VecDeque;

use super::SUPERNODE_TIMEOUT;
use crate::status::Status;
use crate::time::{Instant, Timers};
use crate::wire::session::{List, Listing, Which};

/// Questions without an answer yet; the next one gets 429. Somebody types them
pub const ASKED_MAX: usize = 64;

/// Something to do or to tell, in this order
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListsOutput {
    /// Ask the supernode
    Ask(List),
    /// The one answer to a question: 429 or 503 if there is none
    Listed { query: u64, answer: Result<Listing, Status> },
}

/// Asks for names, and sees to it that each question is answered
#[derive(Debug, Default)]
pub struct Lists {
    is_home_up: bool,
    last: u64,
    /// Of each question, when the supernode counts as silent
    asked: Timers<u64>,
    outputs: VecDeque<ListsOutput>,
}

impl Lists {
    /// Asks for names; answered by one [`ListsOutput::Listed`] with the number that this returns
    pub fn ask(&mut self, now: Instant, which: Which) -> u64 {
        // Only the home link's supernode can answer, so the number need not be hard to guess.
        self.last += 1;
        let query = self.last;
        if !self.is_home_up {
            self.end(query, Err(Status::Unavailable));
        } else if self.asked.len() >= ASKED_MAX {
            self.end(query, Err(Status::SlowDown));
        } else {
            self.asked.set(now + SUPERNODE_TIMEOUT, query);
            self.outputs.push_back(ListsOutput::Ask(List { query, which }));
        }
        query
    }

    /// The session with the supernode came or went; what it has not answered it never will
    pub(crate) fn handle_home(&mut self, is_up: bool) {
        self.is_home_up = is_up;
        if !is_up {
            for query in self.asked.items().copied().collect::<Vec<_>>() {
                self.asked.stop(&query);
                self.end(query, Err(Status::Unavailable));
            }
        }
    }

    /// The supernode answers; what was not asked, or is too late, changes nothing
    pub(crate) fn handle_listing(&mut self, listing: Listing) {
        if self.asked.moment(&listing.query).is_none() {
            return tracing::debug!(query = listing.query, reason = "no question waits for it", "listing ignored");
        }
        self.asked.stop(&listing.query);
        let status = listing.status;
        self.end(listing.query, if status.is_success() { Ok(listing) } else { Err(status) });
    }

    /// Ends what was not answered in time
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(query) = self.asked.take_due(now) {
            self.end(query, Err(Status::Unavailable));
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.asked.next_timeout()
    }

    /// The next thing to do
    pub fn poll_output(&mut self) -> Option<ListsOutput> {
        self.outputs.pop_front()
    }

    fn end(&mut self, query: u64, answer: Result<Listing, Status>) {
        self.outputs.push_back(ListsOutput::Listed { query, answer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lists: &mut Lists) -> Vec<ListsOutput> {
        std::iter::from_fn(|| lists.poll_output()).collect()
    }

    fn at_home() -> Lists {
        let mut lists = Lists::default();
        lists.handle_home(true);
        lists
    }

    fn refused(query: u64, status: Status) -> ListsOutput {
        ListsOutput::Listed { query, answer: Err(status) }
    }

    #[test]
    fn question_is_asked_and_answered_once() {
        let mut lists = at_home();
        let query = lists.ask(Instant::ZERO, Which::After(None));
        assert_eq!(drain(&mut lists), [ListsOutput::Ask(List { query, which: Which::After(None) })]);
        let listing = Listing { names: 3, ..Listing::refused(query, Status::Delivered) };
        lists.handle_listing(Listing::refused(query + 1, Status::Delivered));
        lists.handle_listing(listing.clone());
        lists.handle_listing(listing.clone());
        assert_eq!(drain(&mut lists), [ListsOutput::Listed { query, answer: Ok(listing) }]);
        assert_eq!(lists.next_timeout(), None);
    }

    #[test]
    fn question_ends_when_the_supernode_is_silent_gone_or_not_there() {
        let mut lists = Lists::default();
        let first = lists.ask(Instant::ZERO, Which::After(None));
        assert_eq!(drain(&mut lists), [refused(first, Status::Unavailable)]);
        lists.handle_home(true);
        let silent = lists.ask(Instant::ZERO, Which::After(None));
        lists.poll_output();
        lists.handle_timeout(Instant::ZERO + SUPERNODE_TIMEOUT);
        assert_eq!(drain(&mut lists), [refused(silent, Status::Unavailable)]);
        let lost = lists.ask(Instant::ZERO, Which::After(None));
        lists.poll_output();
        lists.handle_home(false);
        assert_eq!(drain(&mut lists), [refused(lost, Status::Unavailable)]);
    }

    #[test]
    fn question_past_the_bound_is_refused_with_429() {
        let mut lists = at_home();
        for _ in 0..ASKED_MAX {
            lists.ask(Instant::ZERO, Which::After(None));
        }
        drain(&mut lists);
        let last = lists.ask(Instant::ZERO, Which::After(None));
        assert_eq!(drain(&mut lists), [refused(last, Status::SlowDown)]);
    }
}
