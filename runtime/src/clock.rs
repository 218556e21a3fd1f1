//! The clock of the shells: what the cores are told.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant as StdInstant};

use kith_common::time::{Instant, held_up};
use tokio::time::timeout_at;

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

    /// What `future` comes to, or `None` once it had `limit`
    ///
    /// A limit that this process notices too late begins anew: what was waited for may have come while it stood still.
    pub(crate) async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            let due = self.now() + limit;
            if let Ok(output) = timeout_at(self.to_std(due).into(), future.as_mut()).await {
                return Some(output);
            }
            held_up(self.now(), Some(due))?;
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

    #[tokio::test]
    async fn limit_that_is_noticed_late_begins_anew_and_one_in_time_does_not() {
        let (clock, limit) = (Clock::start(), Duration::from_millis(20));
        assert!(clock.within(limit, std::future::pending::<()>()).await.is_none());
        let mut polls = 0;
        let held_up = std::future::poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                // This thread stands still for longer than the limit; what it waits for comes only after that.
                std::thread::sleep(kith_common::time::HELD_UP_MIN + 4 * limit);
                return std::task::Poll::Pending;
            }
            if polls == 2 {
                cx.waker().wake_by_ref();
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(())
        });
        assert!(clock.within(limit, held_up).await.is_some());
    }

    #[test]
    fn moments_survive_the_way_to_the_system_and_back() {
        let clock = Clock::start();
        let now = clock.now();
        assert_eq!(clock.to_std(now), clock.origin + now.since(Instant::ZERO));
        assert!(clock.now() >= now);
    }
}
