//! The one token bucket: so many at once, and one more every so often.

use std::time::Duration;

use crate::time::Instant;

/// Allows `burst` at once and one more every `interval`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again: each taken token moves it by one interval
    full_at: Instant,
}

impl Bucket {
    /// A full bucket
    pub(crate) const fn new(burst: u32, interval: Duration) -> Self {
        Self { interval, burst, full_at: Instant::ZERO }
    }

    /// Takes one; if none is there, takes nothing and says how long it is until one is
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let next = self.full_at.max(now) + self.interval;
        let excess = (next - now).saturating_sub(self.interval * self.burst);
        if excess > Duration::ZERO {
            return Err(excess);
        }
        self.full_at = next;
        Ok(())
    }

    /// Whether nothing is taken that has not come back: such a bucket may be forgotten and made anew
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_allows_its_burst_then_one_an_interval() {
        let interval = Duration::from_millis(100);
        let mut bucket = Bucket::new(3, interval);
        let start = Instant::from_micros(5);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(interval));
        assert_eq!(bucket.take(start + interval), Ok(()));
        assert_eq!(bucket.take(start + interval), Err(interval));
        assert_eq!(bucket.take(start + interval * 50), Ok(()));
    }
}
