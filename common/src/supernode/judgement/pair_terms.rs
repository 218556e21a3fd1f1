//! How long two peers that could not connect are kept apart, by this supernode's clock.
//!
//! One failed dial says little about how long the way is cut: a cut between two halves of a network parts every pair
//! that dials across it within seconds, and may be mended the next minute. So the first term is short. When it ends the
//! two are neighbours again, and that is their trial: who fails it is kept apart for twice as long.

use std::collections::BTreeMap;
use std::time::Duration;

use super::RETRY;
use crate::directory::{PAIRS_MAX, Pair};
use crate::mutant::{self, Mutant};
use crate::session::LEASE_DEFAULT;
use crate::time::{Instant, Timers};

/// The shortest term: after a short cut two halves of a network find each other within twice this and a dial, after a
/// longer one within about as long as it lasted
pub const PAIR_TERM_MIN: Duration = LEASE_DEFAULT;

/// The longest term: two that can never connect spend one dial of 5 s in five to ten minutes on it
pub const PAIR_TERM_MAX: Duration = Duration::from_secs(600);

/// A pair that is parted again this soon after it was brought together has failed its trial: a rewire, a dial and a
/// report, with room for a slow disk
const TRIAL: Duration = Duration::from_secs(30);

/// The deadlines of the directory's pairs, volatile and monotonic: after a start every pair has a first term
///
/// It holds what the directory holds if it is told, and as many pairs on trial: beyond, the one whose trial ends first is
/// forgotten, and begins with a first term again.
#[derive(Clone, Debug)]
pub(crate) struct PairTerms {
    deadlines: Timers<Pair>,
    /// Of each pair, the longest that its term could have been
    longest: BTreeMap<Pair, Duration>,
    trials: Timers<Pair>,
}

impl PairTerms {
    /// A first term from `now` for each of `present`, `chance` drawn anew for each
    pub(crate) fn new(now: Instant, present: impl IntoIterator<Item = Pair>, mut chance: impl FnMut() -> u8) -> Self {
        let mut terms = Self { deadlines: Timers::default(), longest: BTreeMap::new(), trials: Timers::default() };
        for pair in present {
            terms.begin(now, pair, chance());
        }
        terms
    }

    /// The directory has parted `pair`: for how long
    ///
    /// Half of the longest term is left to `chance`, as pairs that were parted by one cut shall not all have their trials
    /// at once, with nobody left to stand in.
    pub(crate) fn begin(&mut self, now: Instant, pair: Pair, chance: u8) -> Duration {
        while let Some((_, passed)) = self.trials.first().filter(|(until, _)| *until < now) {
            self.forget(*passed);
        }
        let is_again = self.trials.moment(&pair).is_some() && !mutant::is(Mutant::PairTermNeverGrows);
        let last = self.longest.get(&pair).filter(|_| is_again);
        let longest = last.map_or(PAIR_TERM_MIN * 2, |last| (*last * 2).min(PAIR_TERM_MAX));
        let term = longest / 2 + longest / 2 * u32::from(chance) / 255;
        self.trials.stop(&pair);
        self.longest.insert(pair, longest);
        self.deadlines.set(now + term, pair);
        term
    }

    /// The term of `pair` has ended, and the directory has brought it together: its trial begins
    pub(crate) fn end(&mut self, now: Instant, pair: Pair) {
        self.deadlines.stop(&pair);
        if self.trials.len() >= PAIRS_MAX
            && let Some((_, first)) = self.trials.first()
        {
            self.forget(*first);
        }
        self.trials.set(now + TRIAL, pair);
    }

    /// Forgets those of whom the directory says, before their time, that they are not apart: one of them has logged in
    /// anew or is gone
    pub(crate) fn keep(&mut self, are_apart: impl Fn(Pair) -> bool) {
        let gone: Vec<Pair> = self.deadlines.items().copied().filter(|pair| !are_apart(*pair)).collect();
        gone.into_iter().for_each(|pair| self.forget(pair));
    }

    /// This process stood still for `by`: terms and trials go on from there
    pub(crate) fn handle_held_up(&mut self, by: Duration) {
        self.deadlines.delay(by);
        self.trials.delay(by);
    }

    /// How many are apart
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// The pairs whose terms have ended; each is named again every second until [`Self::end`] or [`Self::begin`]
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Pair> {
        let ended: Vec<Pair> = std::iter::from_fn(|| self.deadlines.take_due(now)).collect();
        ended.iter().for_each(|pair| self.deadlines.set(now + RETRY, *pair));
        ended
    }

    /// When to call [`Self::expire`]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next_timeout()
    }

    fn forget(&mut self, pair: Pair) {
        self.deadlines.stop(&pair);
        self.trials.stop(&pair);
        self.longest.remove(&pair);
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

    fn nobody() -> PairTerms {
        PairTerms::new(at(0), [], || 0)
    }

    /// Parted at this time, the whole term, and brought together again
    fn serve(terms: &mut PairTerms, now: u64, chance: u8) -> u64 {
        let term = terms.begin(at(now), pair(1), chance).as_secs();
        assert_eq!(terms.next_timeout(), Some(at(now + term)));
        assert_eq!(terms.expire(at(now + term - 1)), []);
        assert_eq!(terms.expire(at(now + term)), [pair(1)]);
        terms.end(at(now + term), pair(1));
        assert_eq!(terms.next_timeout(), None);
        term
    }

    #[test]
    fn pair_that_fails_every_trial_is_tried_less_and_less() {
        for (chance, expected) in [(0, [30, 60, 120, 240, 300, 300]), (255, [60, 120, 240, 480, 600, 600])] {
            let (mut terms, mut now) = (nobody(), 0);
            let mut next = || {
                let term = serve(&mut terms, now, chance);
                now += term + 6;
                term
            };
            assert_eq!([(); 6].map(|()| next()), expected);
        }
    }

    #[test]
    fn pair_that_passed_its_trial_begins_anew() {
        let mut terms = nobody();
        assert_eq!(serve(&mut terms, 0, 0), 30);
        assert_eq!(serve(&mut terms, 60, 0), 60, "the trial lasts thirty seconds");
        assert_eq!(serve(&mut terms, 151, 0), 30, "and is over after that");
    }

    #[test]
    fn pair_that_a_login_brought_together_begins_anew() {
        let mut terms = nobody();
        serve(&mut terms, 0, 0);
        assert_eq!(terms.begin(at(36), pair(1), 0), PAIR_TERM_MIN * 2);
        terms.keep(|_| true);
        assert_eq!(terms.len(), 1);
        terms.keep(|_| false);
        assert!(terms.len() == 0 && terms.next_timeout().is_none());
        assert_eq!(terms.begin(at(40), pair(1), 0), PAIR_TERM_MIN);
    }

    #[test]
    fn pairs_found_at_the_start_have_a_first_term() {
        let mut terms = PairTerms::new(at(7), [pair(1), pair(2)], || 0);
        assert_eq!(terms.expire(at(37)), [pair(1), pair(2)]);
        assert_eq!(terms.expire(at(37)), []);
        assert_eq!(terms.expire(at(38)), [pair(1), pair(2)]);
    }

    #[test]
    fn no_more_trials_are_remembered_than_there_can_be_pairs() {
        let mut terms = nobody();
        for low in 0..=PAIRS_MAX as u64 {
            terms.begin(at(0), pair(low), 0);
            terms.end(at(30 + low), pair(low));
        }
        assert_eq!(terms.longest.len(), PAIRS_MAX);
        assert_eq!(terms.begin(at(31), pair(0), 0), PAIR_TERM_MIN);
        assert_eq!(terms.begin(at(31), pair(9), 0), PAIR_TERM_MIN * 2);
    }
}
