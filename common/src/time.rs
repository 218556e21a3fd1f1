//! The cores' own clock: they are told the time and never read it.

mod timers;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

pub use timers::Timers;

/// A moment: microseconds since an origin that the shell chooses (its start; the simulator's zero)
///
/// Only differences mean anything. `Instant`s of two processes cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    pub const ZERO: Self = Self(0);

    /// The moment `micros` microseconds after the origin
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is the later one
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time, 584,000 years after the origin
    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What is looked at this much later than it was due shows that the process itself stood still (stopped, or without a
/// processor): no loop that is well is so late
pub const HELD_UP_MIN: Duration = Duration::from_millis(500);

/// By how much this process was held up, if something that was `due` is looked at only `now`; `None`: it was not
pub fn held_up(now: Instant, due: Option<Instant>) -> Option<Duration> {
    due.map(|due| now - due).filter(|late| *late > HELD_UP_MIN)
}

/// `least`, doubled so many times, but at most `most`: how waits grow here
pub fn doubled(least: Duration, times: u32, most: Duration) -> Duration {
    least.saturating_mul(2_u32.saturating_pow(times)).min(most)
}

/// The earlier of two optional deadlines
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_to_a_later_moment_is_zero() {
        let (early, late) = (Instant::from_micros(5), Instant::from_micros(9));
        assert_eq!(late - early, Duration::from_micros(4));
        assert_eq!(early - late, Duration::ZERO);
    }

    #[test]
    fn process_is_held_up_only_when_it_is_more_than_half_a_second_late() {
        let (due, late) = (Some(Instant::from_micros(7)), Instant::from_micros(7) + HELD_UP_MIN);
        assert_eq!((held_up(late, due), held_up(late, None), held_up(Instant::ZERO, due)), (None, None, None));
        assert_eq!(held_up(late + Duration::from_micros(1), due), Some(HELD_UP_MIN + Duration::from_micros(1)));
    }

    #[test]
    fn addition_saturates() {
        assert_eq!(Instant::from_micros(u64::MAX) + Duration::MAX, Instant::from_micros(u64::MAX));
    }
}
