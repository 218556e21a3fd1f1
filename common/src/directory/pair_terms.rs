//! How long two peers that could not connect are kept apart, by this supernode's clock.
//!
//! One failed dial says little about how long the way is cut: a cut between two halves of a network parts every pair
//! that dials across it within seconds, and may be mended the next minute. So the first term is short, and a pair that
//! fails its trial, as it is brought together again, is kept apart for twice as long.

use std::collections::BTreeMap;
use std::time::Duration;

use super::deadlines::Deadlines;
use super::leases::LEASE;
use super::pairs::{PAIRS_MAX, Pair};
use crate::mutant::{self, Mutant};
use crate::time::Instant;

/// The first term: two halves of a network find each other a lease and a dial after the way between them is whole
pub const PAIR_TERM_MIN: Duration = LEASE;

/// The longest term: two that can never connect spend one dial of 5 s in ten minutes on it
pub const PAIR_TERM_MAX: Duration = Duration::from_secs(600);

/// Who is parted again this soon after a term has failed its trial: a rewire and a dial, with room for a slow disk
pub const TRIAL: Duration = Duration::from_secs(30);

/// The deadlines of the directory's pairs, volatile and monotonic: after a start every pair has the first term
///
/// The last terms of those on trial are remembered too, [`PAIRS_MAX`] of them: beyond, the oldest begins with the first
/// term again.
#[derive(Clone, Debug)]
pub struct PairTerms {
    deadlines: Deadlines<Pair>,
    /// Until when a new term is twice the last one
    trials: Deadlines<Pair>,
    /// The last term of each, and when it was to end
    last: BTreeMap<Pair, (Duration, Instant)>,
}

impl PairTerms {
    /// The first term from `now` for each of `present`
    pub fn new(now: Instant, present: impl IntoIterator<Item = Pair>) -> Self {
        let mut terms = Self { deadlines: Deadlines::new(), trials: Deadlines::new(), last: BTreeMap::new() };
        present.into_iter().for_each(|pair| {
            terms.begin(now, pair);
        });
        terms
    }

    /// The directory has parted `pair`: for how long
    ///
    /// As long as the last time if that was cut short, since a login of one of them tries again early.
    pub fn begin(&mut self, now: Instant, pair: Pair) -> Duration {
        self.forget_trials(now);
        let term = match self.last.get(&pair) {
            Some((last, end)) if now >= *end && !mutant::is(Mutant::PairTermNeverGrows) => {
                (*last * 2).min(PAIR_TERM_MAX)
            }
            Some((last, _)) => *last,
            None => PAIR_TERM_MIN,
        };
        let end = now + term;
        self.last.insert(pair, (term, end));
        self.trials.set(end + TRIAL, pair);
        self.deadlines.set(end, pair);
        term
    }

    /// The directory no longer parts `pair`
    pub fn end(&mut self, pair: Pair) {
        self.deadlines.end(pair);
    }

    /// Whose terms have ended; each is named again every second until [`Self::end`] or [`Self::begin`]
    pub fn expire(&mut self, now: Instant) -> Vec<Pair> {
        self.deadlines.expire(now)
    }

    /// When to call [`Self::expire`]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next_timeout()
    }

    /// Makes room for one, and forgets those that passed
    fn forget_trials(&mut self, now: Instant) {
        while let Some((until, pair)) = self.trials.first()
            && (until < now || self.last.len() >= PAIRS_MAX)
        {
            self.trials.end(pair);
            self.last.remove(&pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Address;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    fn pair(low: u64) -> Pair {
        Pair::of(Address(low), Address(u64::MAX))
    }

    /// Parted at this time, the whole term, and brought together again
    fn serve(terms: &mut PairTerms, now: u64) -> u64 {
        let term = terms.begin(at(now), pair(1)).as_secs();
        assert_eq!(terms.next_timeout(), Some(at(now + term)));
        assert_eq!(terms.expire(at(now + term - 1)), []);
        assert_eq!(terms.expire(at(now + term)), [pair(1)]);
        terms.end(pair(1));
        assert_eq!(terms.next_timeout(), None);
        term
    }

    #[test]
    fn pair_that_fails_every_trial_is_tried_less_and_less() {
        let mut terms = PairTerms::new(at(0), []);
        let mut now = 0;
        let mut next = || {
            let term = serve(&mut terms, now);
            now += term + 6;
            term
        };
        assert_eq!([(); 7].map(|()| next()), [30, 60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn pair_that_passed_its_trial_begins_anew() {
        let mut terms = PairTerms::new(at(0), []);
        assert_eq!(serve(&mut terms, 0), 30);
        assert_eq!(serve(&mut terms, 60), 60);
        assert_eq!(serve(&mut terms, 151), 30);
    }

    #[test]
    fn pair_that_a_login_brought_together_early_does_not_wait_longer_for_it() {
        let mut terms = PairTerms::new(at(0), []);
        assert_eq!(serve(&mut terms, 0), 30);
        assert_eq!(terms.begin(at(36), pair(1)), PAIR_TERM_MIN * 2);
        terms.end(pair(1));
        assert_eq!(terms.begin(at(50), pair(1)), PAIR_TERM_MIN * 2);
        assert_eq!(terms.next_timeout(), Some(at(110)));
    }

    #[test]
    fn pairs_found_at_the_start_have_the_first_term() {
        let mut terms = PairTerms::new(at(7), [pair(1), pair(2)]);
        assert_eq!(terms.expire(at(37)), [pair(1), pair(2)]);
        assert_eq!(terms.expire(at(37)), []);
        assert_eq!(terms.expire(at(38)), [pair(1), pair(2)]);
    }

    #[test]
    fn no_more_trials_are_remembered_than_there_can_be_pairs() {
        let mut terms = PairTerms::new(at(0), []);
        for low in 0..=PAIRS_MAX as u64 {
            terms.begin(at(0), pair(low));
            terms.end(pair(low));
        }
        assert_eq!(terms.last.len(), PAIRS_MAX);
        assert_eq!(terms.begin(at(31), pair(0)), PAIR_TERM_MIN);
        assert_eq!(terms.begin(at(31), pair(9)), PAIR_TERM_MIN * 2);
    }
}
