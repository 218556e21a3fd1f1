//! What a test runs on that chooses the order of everything.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::{Config, FailurePersistence, Runner};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use shuttle::future::block_on;
pub use shuttle::sync::mpsc as blocking;
pub use shuttle::sync::{Mutex, MutexGuard};
pub use shuttle::thread;

use super::Mistake;

/// How many schedules are tried unless the environment's [`SCHEDULES`] says more
const SCHEDULES_DEFAULT: usize = 1_000;

/// The variable that says how many schedules are tried
const SCHEDULES: &str = "KITH_SCHEDULES";

/// How often a schedule of priorities changes them: mistakes that need more such moments are rare
const CHANGES: usize = 4;

/// Bytes of a thread's stack: redb's calls are deep, unoptimised
const STACK: usize = 512 * 1024;

/// One of so many looks finds that a time is over, so that some end at once and some late
const LOOKS: u32 = 4;

thread_local! {
    static MISTAKE: Cell<Option<Mistake>> = const { Cell::new(None) };
    static TIME: Cell<Time> = const { Cell::new(Time::Stands) };
}

/// What becomes of time limits
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// They are never over: whoever is helped by nothing else waits for ever, and is told
    Stands,
    /// Each may be over at any moment at which somebody waits for it
    Passes,
}

/// Whether this mistake is to be made
pub fn makes(mistake: Mistake) -> bool {
    MISTAKE.get() == Some(mistake)
}

/// tokio's, where others may go on before each of its calls
#[derive(Debug, Default)]
pub struct Notify {
    notify: tokio::sync::Notify,
    step: AtomicBool,
}

impl Notify {
    /// Hears of every [`Self::notify_waiters`] from now on
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.step();
        self.notify.notified()
    }

    /// All that have called [`Self::notified`] go on
    pub fn notify_waiters(&self) {
        self.step();
        self.notify.notify_waiters();
    }

    fn step(&self) {
        self.step.load(Ordering::SeqCst);
    }
}

/// Runs a test under many schedules, half of them drawn step by step, and half by priorities that change a few times (PCT)
///
/// # Panics
/// The test does under one of them, or some of its threads wait for ever; the schedule is printed.
pub fn explore(time: Time, test: impl Fn() + Send + Sync + Clone + 'static) {
    let wanted = std::env::var(SCHEDULES).ok().and_then(|count| count.parse().ok());
    run(time, wanted.unwrap_or(SCHEDULES_DEFAULT), FailurePersistence::Print, test);
}

/// Whether one of as many schedules as there are at least shows a mistake
pub fn sees(mistake: Mistake, time: Time, test: impl Fn() + Send + Sync + Clone + 'static) -> bool {
    MISTAKE.set(Some(mistake));
    let run = || run(time, SCHEDULES_DEFAULT, FailurePersistence::None, test);
    let seen = catch_unwind(AssertUnwindSafe(run)).is_err();
    MISTAKE.set(None);
    seen
}

fn run(time: Time, schedules: usize, told: FailurePersistence, test: impl Fn() + Send + Sync + Clone + 'static) {
    TIME.set(time);
    let half = schedules.div_ceil(2);
    run_by(RandomScheduler::new(half), told.clone(), test.clone());
    run_by(PctScheduler::new(CHANGES, half), told, test);
}

fn run_by(scheduler: impl Scheduler + 'static, told: FailurePersistence, test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.failure_persistence = told;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(test);
}

/// Lets others go on
pub async fn pass() {
    shuttle::future::yield_now().await;
}

/// Starts a task for which nobody waits
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(shuttle::future::spawn(task));
}

/// Starts a task on this thread
pub fn spawn_local(task: impl Future<Output = ()> + 'static) -> shuttle::future::JoinHandle<()> {
    shuttle::future::spawn_local(task)
}

/// Sends from a thread that may block; false if nobody takes it any more
pub fn blocking_send<T>(to: &mpsc::Sender<T>, what: T) -> bool {
    shuttle::future::block_on(to.send(what)).is_ok()
}

/// It has taken too long
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// # Errors
/// [`Elapsed`], at a moment that the schedule chooses, if time passes at all.
pub async fn timeout_at<F: Future>(_: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if TIME.get() == Time::Passes {
            if thread_rng().gen_ratio(1, LOOKS) {
                return Poll::Ready(Err(Elapsed));
            }
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await
}

/// Takes no time, but lets others go on
pub async fn sleep(_: Duration) {
    pass().await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Two threads that take two locks, in the same order or in opposite ones
    fn two_locks(is_reversed: bool) {
        let locks = Arc::new([Mutex::new(0), Mutex::new(0)]);
        let taken = Arc::clone(&locks);
        let other = thread::spawn(move || {
            let [first, second] = if is_reversed { [1, 0] } else { [0, 1] };
            let _first = taken[first].lock().unwrap();
            *taken[second].lock().unwrap() += 1;
        });
        {
            let _first = locks[0].lock().unwrap();
            *locks[1].lock().unwrap() += 1;
        }
        other.join().unwrap();
    }

    #[test]
    fn schedules_show_locks_that_are_taken_in_opposite_orders() {
        explore(Time::Stands, || two_locks(false));
        let reversed = catch_unwind(|| run(Time::Stands, 1_000, FailurePersistence::None, || two_locks(true)));
        assert!(reversed.is_err());
    }

    #[test]
    fn schedules_limits_are_over_only_where_time_passes() {
        let wait = || shuttle::future::block_on(timeout_at(Instant::now(), std::future::pending::<()>()));
        let try_in = |time| {
            TIME.set(time);
            run_by(RandomScheduler::new(100), FailurePersistence::None, move || assert_eq!(wait(), Err(Elapsed)));
        };
        try_in(Time::Passes);
        let stands = catch_unwind(|| try_in(Time::Stands));
        assert!(stands.is_err(), "whoever waits for ever is told");
    }
}
