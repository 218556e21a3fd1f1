//! What strangers cause is counted, and told once a second with an example: who has no key yet, or no link, must not
//! decide how much is written into the log.

use std::cell::Cell;
use std::time::Duration;

use kith_common::time::Instant;

/// How long further failures are only counted
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Failures of one kind
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    told: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl Strangers {
    /// One more; how many there were since the last that was told, if this one is to be told
    pub(crate) fn count(&self, now: Instant) -> Option<u64> {
        let count = self.untold.get() + 1;
        if self.told.get().is_some_and(|told| now < told + TELL_EVERY) {
            self.untold.set(count);
            return None;
        }
        self.told.set(Some(now));
        self.untold.set(0);
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_is_told_at_once_and_the_rest_once_a_second() {
        let strangers = Strangers::default();
        let at = |millis: u64| Instant::ZERO + Duration::from_millis(millis);
        let told: Vec<(u64, u64)> = (0..3_000).filter_map(|ms| Some((ms, strangers.count(at(ms))?))).collect();
        assert_eq!(told, [(0, 1), (1_000, 1_000), (2_000, 1_000)]);
        assert_eq!(strangers.count(at(9_000)), Some(1_000));
    }
}
