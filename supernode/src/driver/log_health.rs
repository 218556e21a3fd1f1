//! How it stands with the log, and when to find out whether a fault has passed.

use std::time::Duration;

use kith_common::time::Instant;

/// After this long it is found out again whether a full disk takes anything, and what of the commands that were told as
/// lost it holds after all: soon enough that no session ends long after the reason for it, and seldom enough for opening
/// the log anew, which takes about a second for each gigabyte
const RETRY: Duration = Duration::from_secs(5);

/// What the log's thread said last
#[derive(Debug, Default)]
pub(super) struct LogHealth {
    /// Why the log cannot be written at present
    fault: Option<String>,
    /// When to find out whether that is still so; `None` without a fault, and while the log's thread does
    retry_at: Option<Instant>,
}

impl LogHealth {
    /// The log's thread has said how it stands
    pub(super) fn hear(&mut self, now: Instant, fault: Option<String>) {
        self.retry_at = fault.is_some().then(|| now + RETRY);
        self.fault = fault;
    }

    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether there is something to find out, which from now on the log's thread does
    pub(super) const fn begin_retry(&mut self) -> bool {
        self.retry_at.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_is_looked_into_once_after_a_while_until_the_answer_is_there() {
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let mut health = LogHealth::default();
        assert_eq!((health.retry_at(), health.begin_retry()), (None, false));
        health.hear(at(1), Some("full".into()));
        assert_eq!((health.fault(), health.retry_at()), (Some("full"), Some(at(6))));
        assert_eq!((health.begin_retry(), health.begin_retry()), (true, false));
        assert_eq!((health.fault(), health.retry_at()), (Some("full"), None), "while it is looked into");
        health.hear(at(7), Some("full".into()));
        assert_eq!(health.retry_at(), Some(at(12)));
        health.hear(at(8), None);
        assert_eq!((health.fault(), health.retry_at()), (None, None));
    }
}
