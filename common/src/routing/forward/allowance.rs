//! How many reports the packets of one link, or those that were in limbo, may cause.

use std::time::Duration;

use crate::rate::Bucket;
use crate::time::Instant;

/// Reports a second that the packets of one link may cause, and as many at once; so many again all that was in limbo
///
/// They go to a source that is only claimed: whoever sends packets may cause so many, and no flood.
pub const REPORTS_PER_SECOND: u32 = 100;

/// What is left of [`REPORTS_PER_SECOND`]
#[derive(Clone, Copy, Debug)]
pub struct Allowance(Bucket);

impl Allowance {
    /// A full one
    pub const fn new() -> Self {
        Self(Bucket::new(REPORTS_PER_SECOND, Duration::from_micros(1_000_000 / REPORTS_PER_SECOND as u64)))
    }

    /// Takes one, if there is one
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.0.take(now).is_ok()
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowance_is_so_many_a_second() {
        let mut now = Instant::ZERO;
        let mut allowance = Allowance::new();
        let mut take = |now, tries| (0..tries).filter(|_| allowance.take(now)).count();
        assert_eq!(take(now, 500), 100);
        now = now + Duration::from_millis(100);
        assert_eq!(take(now, 500), 10);
        now = now + Duration::from_secs(100);
        assert_eq!(take(now, 500), 100);
    }

    #[test]
    fn allowance_grows_however_often_it_is_asked() {
        let mut allowance = Allowance::new();
        let taken = (0..2_000_000_u64).step_by(7).filter(|at| allowance.take(Instant::from_micros(*at))).count();
        assert!((290..=300).contains(&taken), "{taken}");
    }
}
