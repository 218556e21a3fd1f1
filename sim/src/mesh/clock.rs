//! A machine's clock: it may run fast or slow, and jump forward.

use std::time::Duration;

use kith_common::time::Instant;

const PPM: i128 = 1_000_000;

/// What one machine takes for the time since its process started
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// A true moment, and what the clock said then
    base: (Instant, Instant),
    /// How many millionths it runs fast
    fast_ppm: i64,
}

impl Clock {
    /// A clock that begins at zero
    pub const fn new(now: Instant, fast_ppm: i64) -> Self {
        Self { base: (now, Instant::ZERO), fast_ppm }
    }

    /// What it says at `now`
    pub fn local(&self, now: Instant) -> Instant {
        let passed = now.since(self.base.0).as_micros() as i128;
        let shown = passed * (PPM + i128::from(self.fast_ppm)) / PPM;
        self.base.1 + Duration::from_micros(shown as u64)
    }

    /// The first true moment at which it says at least `local`
    pub fn truly(&self, local: Instant) -> Instant {
        let shown = local.since(self.base.1).as_micros() as i128;
        let rate = PPM + i128::from(self.fast_ppm);
        self.base.0 + Duration::from_micros(((shown * PPM + rate - 1) / rate) as u64)
    }

    /// Makes it say `by` more from `now` on
    pub fn jump(&mut self, now: Instant, by: Duration) {
        self.base = (now, self.local(now) + by);
    }

    /// Makes it run at another rate from `now` on
    pub fn set_rate(&mut self, now: Instant, fast_ppm: i64) {
        self.base = (now, self.local(now));
        self.fast_ppm = fast_ppm;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_moment_is_the_first_at_which_the_clock_says_so() {
        for ppm in [-5_000, -1, 0, 3, 20_000] {
            let mut clock = Clock::new(Instant::from_micros(1_000), ppm);
            clock.jump(Instant::from_micros(5_000), Duration::from_millis(7));
            for local in [9_000, 12_345, 1_000_000, 3_600_000_000] {
                let local = Instant::from_micros(local);
                let truly = clock.truly(local);
                assert!(clock.local(truly) >= local, "{ppm}");
                let before = Instant::from_micros(truly.as_micros() - 1);
                assert!(truly.as_micros() <= 5_000 || clock.local(before) < local, "{ppm}");
            }
        }
    }
}
