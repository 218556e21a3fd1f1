//! How many reports one neighbour's packets may cause.

use crate::time::Instant;

/// Reports a second that the packets of one link may cause, and as many at once
///
/// They go to a source that is only claimed: whoever sends packets may cause so many, and no flood.
pub const REPORTS_PER_SECOND: u32 = 100;

/// A token bucket, one for each link: [`REPORTS_PER_SECOND`], and as many at once
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    tokens: u32,
    refilled: Instant,
}

impl Allowance {
    /// A full one
    pub const fn new(now: Instant) -> Self {
        Self { tokens: REPORTS_PER_SECOND, refilled: now }
    }

    /// Takes one, if there is one
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let earned = now.since(self.refilled).as_micros() * u128::from(REPORTS_PER_SECOND) / 1_000_000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(REPORTS_PER_SECOND);
            self.refilled = now;
        }
        let taken = self.tokens.checked_sub(1);
        self.tokens = taken.unwrap_or(0);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn allowance_is_so_many_a_second() {
        let mut now = Instant::ZERO;
        let mut allowance = Allowance::new(now);
        let mut take = |now, tries| (0..tries).filter(|_| allowance.take(now)).count();
        assert_eq!(take(now, 500), 100);
        now = now + Duration::from_millis(100);
        assert_eq!(take(now, 500), 10);
        now = now + Duration::from_secs(100);
        assert_eq!(take(now, 500), 100);
    }

    #[test]
    fn allowance_grows_however_often_it_is_asked() {
        let mut allowance = Allowance::new(Instant::ZERO);
        let taken = (0..2_000_000_u64).step_by(7).filter(|at| allowance.take(Instant::from_micros(*at))).count();
        assert!((290..=300).contains(&taken), "{taken}");
    }
}
