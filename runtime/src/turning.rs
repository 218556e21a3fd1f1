//! Whether the threads of a daemon turn: one that has not for some seconds is told in the log, by its name.
//!
//! A task on each thread beats. Whoever computes for ever or waits for another thread where it should not keeps it from
//! beating, and another thread sees that. A process that stood still as a whole is not taken for one that is stuck, as the
//! one that looks stood still, too.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// From one beat to the next, and from one look to the next: seldom enough to cost an idle daemon nothing
const EVERY: Duration = Duration::from_secs(2);

/// Looks without a beat after which a thread is told: four seconds at least, which no work of a single turn takes
const LOOKS_MAX: u32 = 3;

/// Runs `work` on a thread that is called `name`, and tells whenever that does not turn
pub async fn watched<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    watched_every(EVERY, name, work, move |stuck| match stuck {
        true => tracing::warn!(
            event = "thread_stuck",
            thread = name,
            for_s = (EVERY * (LOOKS_MAX - 1)).as_secs(),
            reason = "it has not turned for so long: it computes, waits for another thread, or gets no processor"
        ),
        false => tracing::warn!(event = "thread_turns_again", thread = name, reason = "it was stuck"),
    })
    .await
}

/// As [`watched`], at other times; `tell` is told whether it is stuck, whenever that changes
async fn watched_every<T>(
    every: Duration,
    name: &'static str,
    work: impl Future<Output = T>,
    tell: impl Fn(bool) + Send + 'static,
) -> T {
    let beats = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&beats);
    // The other end is dropped with this future.
    let (_runs, is_over) = mpsc::channel::<()>();
    let watch = move || {
        let (mut last, mut missed) = (0, 0);
        while is_over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let now = seen.load(Ordering::Relaxed);
            let was_stuck = missed >= LOOKS_MAX;
            missed = if now == last { missed + 1 } else { 0 };
            last = now;
            match (was_stuck, missed >= LOOKS_MAX) {
                (false, true) => tell(true),
                (true, false) => tell(false),
                _ => {}
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("turning".into()).spawn(watch) {
        tracing::warn!(event = "thread_not_watched", thread = name, reason = %error);
    }
    let beat = async {
        loop {
            beats.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        () = beat => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn thread_that_is_stuck_is_told_and_told_to_turn_again() {
        let (tells, told) = mpsc::channel();
        let tell = move |stuck| tells.send(stuck).unwrap();
        let work = async {
            tokio::time::sleep(2 * SHORT).await;
            // As whoever waits where nobody may.
            let is_stuck = told.recv_timeout(Duration::from_secs(30));
            tokio::time::sleep(10 * SHORT).await;
            [is_stuck, told.recv_timeout(Duration::from_secs(30))]
        };
        assert_eq!(watched_every(SHORT, "test", work, tell).await, [Ok(true), Ok(false)]);
    }
}
