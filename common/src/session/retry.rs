//! When a peer tries again.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::mutant::{self, Mutant};
use crate::time::Instant;

/// The shortest wait between two tries
pub(super) const RETRY_MIN: Duration = Duration::from_millis(500);
/// The longest wait between two tries: with the longest that connecting may take after its last SYN, a peer whose way was
/// cut is back within 10 s of its return
pub(super) const RETRY_MAX: Duration = Duration::from_secs(6);
/// The longest wait in the first [`EARLY`] of a search: a supernode that restarts has its peers back within 5 s
pub(super) const RETRY_MAX_EARLY: Duration = Duration::from_secs(4);
/// The longest wait while whoever takes the connection does not answer in time: whoever is too slow for those who dial it gets
/// fewer of them with each try, and a search that has lasted for long goes on about a third as long again
pub(super) const RETRY_MAX_SILENT: Duration = Duration::from_secs(60);
/// How long a search is young
pub(super) const EARLY: Duration = Duration::from_secs(60);
/// The first try after a loss comes within this: at once, but not of all peers in the same instant
pub(super) const QUICK_MAX: Duration = Duration::from_millis(500);
/// Losses closer together than this are flapping, and only the first is followed by a quick try
pub(super) const FLAPPING: Duration = Duration::from_secs(10);
/// A refusal that trying again will not soften, ± a fifth
pub(super) const SLOW: Duration = Duration::from_secs(10);
/// A supernode asks for no longer silence than this
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Within this another supernode is tried after one that failed: at once, but not by all of its peers in the same instant
pub(super) const STEP_MAX: Duration = Duration::from_millis(250);
/// Retries that a peer may spend before it has earned any by logins that were granted: as many as there are others in a
/// network of four supernodes
///
/// A *retry* is a try that comes sooner than a supernode asked for, or right after one that did not answer in time: a
/// peer that goes on to the next one when it was told to wait, or was not heard, gives that one work which the first one
/// could not do. Not counted is what costs no supernode anything, and what it asked for itself: the next one after a dial
/// that nobody took, the first try after a loss, and every try that waits as long as it was told.
pub(super) const RETRIES_AT_FIRST: u32 = 3;

/// Waits with decorrelated jitter: each is drawn between the least wait and three times the last one
#[derive(Debug)]
pub(super) struct Backoff {
    rng: ChaCha8Rng,
    previous: Duration,
    since: Instant,
    quick: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), previous: RETRY_MIN, since: now, quick: None }
    }

    /// A new search begins
    pub(super) fn restart(&mut self, now: Instant) {
        self.previous = RETRY_MIN;
        self.since = now;
    }

    /// After a try that failed
    pub(super) fn next(&mut self, now: Instant) -> Duration {
        self.grow(if now - self.since < EARLY { RETRY_MAX_EARLY } else { RETRY_MAX })
    }

    /// After a try that was not answered in time, which may have cost somebody who is short of a processor a handshake
    pub(super) fn patient(&mut self) -> Duration {
        self.grow(RETRY_MAX_SILENT)
    }

    fn grow(&mut self, max: Duration) -> Duration {
        let previous = if mutant::is(Mutant::BackoffNeverGrows) { RETRY_MIN } else { self.previous };
        self.previous = self.draw(RETRY_MIN, (previous * 3).min(max));
        self.previous
    }

    /// After the loss of what had worked; a supernode that has not failed lately (`is_fresh`) is none that flaps
    pub(super) fn quick(&mut self, now: Instant, is_fresh: bool) -> Duration {
        let flapping = self.quick.is_some_and(|last| now - last < FLAPPING) && !is_fresh;
        self.quick = Some(now);
        if flapping {
            return self.next(now);
        }
        self.restart(now);
        self.draw(Duration::ZERO, QUICK_MAX)
    }

    /// After a refusal that will probably come again
    pub(super) fn slow(&mut self) -> Duration {
        self.draw(SLOW * 4 / 5, SLOW * 6 / 5)
    }

    /// When the supernode said when: no sooner, and spread over half as long again
    pub(super) fn after(&mut self, wish: Duration) -> Duration {
        let wish = wish.min(RETRY_AFTER_MAX);
        wish + self.draw(Duration::ZERO, (wish / 2).max(RETRY_MIN))
    }

    /// Before the next one of a row, after one of it that failed
    pub(super) fn step(&mut self) -> Duration {
        self.draw(Duration::ZERO, STEP_MAX)
    }

    /// Uniform in `min..max`; `min` if that is empty
    pub(super) fn between(&mut self, min: u64, max: u64) -> u64 {
        min + self.rng.next_u64() % max.saturating_sub(min).max(1)
    }

    /// Uniform in `min..=max`
    pub(super) fn draw(&mut self, min: Duration, max: Duration) -> Duration {
        let span = if mutant::is(Mutant::NoJitter) { 0 } else { max.saturating_sub(min).as_micros() as u64 };
        min + Duration::from_micros(self.rng.next_u64() % (span + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(7, Instant::ZERO)
    }

    #[test]
    fn waits_of_a_young_search_are_under_four_seconds_and_of_an_old_one_under_six() {
        let (mut young, mut old) = (backoff(), backoff());
        let late = Instant::ZERO + EARLY;
        let young: Vec<_> = (0..1000).map(|_| young.next(Instant::ZERO)).collect();
        let old: Vec<_> = (0..1000).map(|_| old.next(late)).collect();
        assert!(young.iter().all(|wait| (RETRY_MIN..=RETRY_MAX_EARLY).contains(wait)));
        assert!(old.iter().all(|wait| (RETRY_MIN..=RETRY_MAX).contains(wait)));
        assert!(old.iter().any(|wait| *wait > Duration::from_secs(5)));
        assert!(young.first() <= Some(&(RETRY_MIN * 3)));
    }

    #[test]
    fn waits_grow_to_a_minute_while_nobody_answers_in_time_and_begin_anew_with_a_success() {
        let mut backoff = backoff();
        let waits: Vec<_> = (0..1000).map(|_| backoff.patient()).collect();
        assert!(waits.iter().all(|wait| (RETRY_MIN..=RETRY_MAX_SILENT).contains(wait)));
        assert!(waits.iter().max() > Some(&(RETRY_MAX_SILENT * 4 / 5)));
        backoff.restart(Instant::ZERO);
        assert!(backoff.patient() <= RETRY_MIN * 3);
    }

    #[test]
    fn first_try_after_a_loss_is_quick_and_flapping_is_not() {
        let mut backoff = backoff();
        assert!(backoff.quick(Instant::ZERO, false) <= QUICK_MAX);
        let soon = Instant::ZERO + Duration::from_secs(1);
        assert!(backoff.quick(soon, true) <= QUICK_MAX, "another supernode");
        assert!(backoff.quick(soon, false) >= RETRY_MIN);
        assert!(backoff.quick(soon + FLAPPING, false) <= QUICK_MAX);
    }

    #[test]
    fn wish_of_a_supernode_is_honoured_within_a_minute() {
        let mut backoff = backoff();
        for _ in 0..100 {
            let wait = backoff.after(Duration::from_secs(4));
            assert!((Duration::from_secs(4)..=Duration::from_secs(6)).contains(&wait));
            assert!(backoff.after(Duration::MAX) <= RETRY_AFTER_MAX * 3 / 2);
            assert!((SLOW * 4 / 5..=SLOW * 6 / 5).contains(&backoff.slow()));
        }
    }
}
