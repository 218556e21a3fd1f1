//! The clock of the shells: what the cores are told.

use std::time::Instant as StdInstant;

use kith_common::time::Instant;

/// Tells the time since its own making
///
/// A process makes one and hands copies around: the moments of one clock can be compared, those of two cannot.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: StdInstant,
}

impl Clock {
    /// A clock that begins now
    pub fn start() -> Self {
        Self { origin: StdInstant::now() }
    }

    /// Now
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// Returns at `wake`, or never if there is nothing to wake for
    pub async fn sleep_until(&self, wake: Option<Instant>) {
        match wake {
            Some(at) => tokio::time::sleep_until(self.to_std(at).into()).await,
            None => std::future::pending().await,
        }
    }

    /// The same moment for the operating system's timers
    pub(crate) fn to_std(self, at: Instant) -> StdInstant {
        self.origin + at.since(Instant::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_survive_the_way_to_the_system_and_back() {
        let clock = Clock::start();
        let now = clock.now();
        assert_eq!(clock.to_std(now), clock.origin + now.since(Instant::ZERO));
        assert!(clock.now() >= now);
    }
}
