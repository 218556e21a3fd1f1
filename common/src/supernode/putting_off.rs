//! When logins that are put off may come again: spread over the time that the log needs for all of them.
//!
//! Whoever is put off is promised a share of the log behind all that were put off before. The span of those promises is
//! what grows with a crowd; each is told a moment that is drawn from all of it (full jitter). So ten thousand that came in
//! one instant come back one by one, as fast as the log can take them, though this supernode keeps no list of them. It
//! draws, and not the peer, as it alone knows how many there are and how fast the log is.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use crate::mutant::{self, Mutant};
use crate::rate::Strangers;
use crate::time::Instant;

/// Nobody is to come again sooner: as long as a healthy log needs for all that may wait
pub const PUT_OFF_MIN: Duration = Duration::from_secs(1);
/// Nobody is to wait for longer: a supernode that has room again should not stand idle, and peers keep to a minute at most
pub const PUT_OFF_MAX: Duration = Duration::from_secs(30);

/// What a login takes where that is not known: as on a disk that syncs a thousand times a second
const COST_UNKNOWN: Duration = Duration::from_millis(1);

/// Whom the log is promised to
#[derive(Debug, Default)]
pub(super) struct PuttingOff {
    /// Until then it has work with those that were put off, if they come
    promised: Instant,
    /// How many were put off since this process began
    pub(super) count: u64,
    /// What everybody who looks at the log of events is told
    pub(super) told: Strangers,
}

impl PuttingOff {
    /// How long a login is put off, as there is `room` for it no sooner and it takes the log `cost`:
    /// [`PUT_OFF_MIN`] to [`PUT_OFF_MAX`]
    pub(super) fn draw(
        &mut self,
        now: Instant,
        room: Duration,
        cost: Option<Duration>,
        rng: &mut ChaCha20Rng,
    ) -> Duration {
        self.count += 1;
        let least = room.clamp(PUT_OFF_MIN, PUT_OFF_MAX);
        let promised = self.promised.max(now + least) + cost.unwrap_or(COST_UNKNOWN);
        self.promised = promised.min(now + PUT_OFF_MAX);
        let span = (self.promised - now).saturating_sub(least).as_micros() as u64;
        let drawn = if mutant::is(Mutant::PutOffWithoutJitter) { 0 } else { rng.next_u64() % (span + 1) };
        least + Duration::from_micros(drawn)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::testing::at_ms;

    fn draw_all(count: usize, room_s: u64, cost_ms: u64) -> Vec<Duration> {
        let (mut putting_off, mut rng) = (PuttingOff::default(), ChaCha20Rng::seed_from_u64(7));
        let (room, cost) = (Duration::from_secs(room_s), Duration::from_millis(cost_ms));
        (0..count).map(|_| putting_off.draw(at_ms(1), room, Some(cost), &mut rng)).collect()
    }

    #[test]
    fn ten_thousand_that_are_put_off_at_once_come_back_over_the_time_that_the_log_needs_for_them() {
        let drawn = draw_all(10_000, 2, 1);
        assert!(drawn.iter().all(|wait| (2.0..=12.0).contains(&wait.as_secs_f64())));
        let in_second = |second: u64| drawn.iter().filter(|wait| wait.as_secs() == second).count();
        assert!((2..11).all(|second| in_second(second) > 0), "nowhere is nobody");
        // The log takes 1,000 a second; who came first was told of a shorter time, as fewer were before it.
        assert!((2..12).all(|second| in_second(second) < 3_500), "{:?}", (2..12).map(in_second).collect::<Vec<_>>());
    }

    #[test]
    fn nobody_is_put_off_for_less_than_a_second_or_more_than_thirty() {
        for wait in draw_all(5_000, 0, 100).into_iter().chain(draw_all(10, 900, 1)) {
            assert!((PUT_OFF_MIN..=PUT_OFF_MAX).contains(&wait), "{wait:?}");
        }
        assert_eq!(draw_all(1, 0, 0), [PUT_OFF_MIN]);
    }

    #[test]
    fn promises_that_are_over_count_no_more() {
        let (mut putting_off, mut rng) = (PuttingOff::default(), ChaCha20Rng::seed_from_u64(7));
        for _ in 0..1_000 {
            putting_off.draw(at_ms(0), Duration::ZERO, Some(Duration::from_millis(10)), &mut rng);
        }
        let later = putting_off.draw(at_ms(60_000), Duration::ZERO, Some(Duration::from_millis(10)), &mut rng);
        assert!(later <= PUT_OFF_MIN + Duration::from_millis(10), "{later:?}");
    }
}
