//! How long whoever was kept waiting for a processor rests before it makes another handshake.
//!
//! A process can put its own work in order, but processes that share a processor know nothing of each other, and the system
//! gives all of them their part: the answers of one wait behind the handshakes of all others. What each can know is how
//! long it could have run and was kept waiting. If it rests a few times as long before it begins another handshake, then of
//! many that share a processor only a few compute handshakes at any time, however many there are; the processor is as busy
//! with them, and what everybody else has to answer is answered at once.

use std::time::Duration;

use crate::mutant::{self, Mutant};
use crate::time::Instant;

/// When the next one may begin
#[derive(Debug)]
pub(crate) struct Rest {
    /// The longest time from one beginning to the next
    max: Duration,
    /// How many times as long as it was kept waiting since the last one began it rests
    per_wait: u32,
    /// When the last one began
    began: Option<Instant>,
    until: Instant,
    /// Whether it is known how long it was kept waiting at first
    is_known: bool,
    /// Whether it was kept waiting
    is_slow: bool,
}

impl Rest {
    /// Nothing has begun, so that the first may begin at any time; however long the rest, it ends `max` after the last
    /// beginning
    pub(crate) const fn new(max: Duration) -> Self {
        Self { max, per_wait: 0, began: None, until: Instant::ZERO, is_known: true, is_slow: false }
    }

    /// One begins, and the next does not before `gap` is over; for whatever this process is kept waiting from now on it
    /// rests `per_wait` times as long
    pub(crate) fn begin(&mut self, now: Instant, gap: Duration, per_wait: u32) {
        *self = Self { max: self.max, per_wait, began: Some(now), until: now + gap, is_known: false, is_slow: false };
    }

    /// This process was kept waiting for so long since it said so last
    ///
    /// What it waits for its turn at the end of a rest is no reason for another one, or a rest would have no end where
    /// everybody always waits a little.
    pub(crate) fn handle_kept_waiting(&mut self, now: Instant, by: Duration) {
        let Some(began) = self.began else { return };
        let is_over = now >= self.until;
        if is_over && std::mem::replace(&mut self.is_known, true) {
            return;
        }
        self.is_slow |= !by.is_zero();
        let until = self.until.max(now) + by * self.per_wait;
        self.until = if mutant::is(Mutant::RestsForEver) { until } else { until.min(began + self.max) };
    }

    /// Until when nothing begins; `None`: the next one may begin now
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        Some(self.until).filter(|until| *until > now && !mutant::is(Mutant::NeverRests))
    }

    /// Whether this process was kept waiting since the last one began, and rests for that
    pub(crate) fn is_slow(&self, now: Instant) -> bool {
        self.is_slow && self.until(now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at_ms;

    const GAP: Duration = Duration::from_millis(5);

    fn kept_waiting(rest: &mut Rest, ms: u64, by: u64) -> Option<Instant> {
        rest.handle_kept_waiting(at_ms(ms), Duration::from_millis(by));
        rest.until(at_ms(ms))
    }

    #[test]
    fn whoever_is_kept_waiting_rests_some_times_as_long_and_others_do_not_rest() {
        let mut rest = Rest::new(Duration::from_secs(30));
        assert_eq!(kept_waiting(&mut rest, 0, 9_000), None, "before anything began");
        rest.begin(at_ms(0), GAP, 5);
        assert_eq!((kept_waiting(&mut rest, 2, 0), rest.is_slow(at_ms(2))), (Some(at_ms(5)), false));
        assert_eq!(kept_waiting(&mut rest, 5, 0), None);
        rest.begin(at_ms(5), GAP, 5);
        assert_eq!((kept_waiting(&mut rest, 30, 20), rest.is_slow(at_ms(30))), (Some(at_ms(130)), true));
        assert_eq!(kept_waiting(&mut rest, 60, 10), Some(at_ms(180)), "both waits count");
        assert_eq!((kept_waiting(&mut rest, 200, 20), rest.is_slow(at_ms(200))), (None, false), "its rest is over");
    }

    #[test]
    fn rest_has_an_end_however_long_it_was_kept_waiting() {
        let mut rest = Rest::new(Duration::from_secs(2));
        rest.begin(at_ms(1_000), GAP, 5);
        for ms in [1_500, 2_000, 2_900] {
            assert_eq!(kept_waiting(&mut rest, ms, 500), Some(at_ms(3_000)));
        }
        assert_eq!(rest.until(at_ms(3_000)), None);
    }
}
