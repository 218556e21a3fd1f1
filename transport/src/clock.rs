//! QUIC's clock, which is ours: moments are handed in, and only their differences count.

use std::time::Duration;

use kith_common::time::Instant;

/// What quinn-proto takes for a moment
#[expect(clippy::disallowed_types, reason = "quinn-proto's own type for a moment, which it never asks for")]
pub(crate) type QuicInstant = std::time::Instant;

/// The moment that stands for our zero
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin(QuicInstant);

impl Origin {
    /// Any moment does, and there is no other way to make one
    #[expect(
        clippy::disallowed_methods,
        reason = "what the system's clock says is of no account: only differences count"
    )]
    pub(crate) fn arbitrary() -> Self {
        Self(QuicInstant::now())
    }

    pub(crate) fn quic(self, at: Instant) -> QuicInstant {
        // Half a million years on, it stands still.
        self.0.checked_add(Duration::from_micros(at.as_micros())).unwrap_or(self.0)
    }

    /// The first of our moments at which `at` has come: ours are microseconds, and a timer that is looked at too early is
    /// looked at again
    pub(crate) fn ours(self, at: QuicInstant) -> Instant {
        let nanos = at.saturating_duration_since(self.0).as_nanos();
        Instant::from_micros(u64::try_from(nanos.div_ceil(1000)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back_as_they_went_and_what_lies_between_is_rounded_up() {
        let origin = Origin::arbitrary();
        for micros in [0, 1, 1_000_000_007] {
            let at = Instant::from_micros(micros);
            assert_eq!(origin.ours(origin.quic(at)), at);
            assert_eq!(origin.ours(origin.quic(at) + Duration::from_nanos(1)), Instant::from_micros(micros + 1));
        }
    }
}
