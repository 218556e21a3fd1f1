//! What threads and tasks share their things by: std's and tokio's, or ones whose order a test chooses.
//!
//! With the feature `schedules` these are the ones of [shuttle](https://docs.rs/shuttle), which runs all threads and tasks
//! of a test on one thread, and goes on with another one at each of them as a seed wants it. So the code that runs is the
//! product's own, a thread that waits for ever is told at once, and a schedule that failed can be run again. Without the
//! feature nothing of this is in the program. With it there is no product: nothing of these works outside of `explore`.
//!
//! Channels of tokio's block no thread, and their futures may be polled by anybody: they stay as they are. What blocks (a
//! mutex, a channel of std's, a send from outside a runtime), what starts something and what knows of time is here.
//!
//! A [`Mistake`] is what such tests are tested with: each is one that a programmer could make, at its own place.

#[cfg(not(feature = "schedules"))]
mod real;
#[cfg(feature = "schedules")]
mod scheduled;

#[cfg(not(feature = "schedules"))]
pub use self::real::{Mutex, MutexGuard, Notify, blocking, blocking_send, sleep, spawn, thread, timeout_at};
#[cfg(feature = "schedules")]
pub use self::scheduled::{
    Mutex, MutexGuard, Notify, Time, block_on, blocking, blocking_send, explore, pass, sees, sleep, spawn, spawn_local,
    thread, timeout_at,
};

/// One mistake in how things are shared; with the feature `schedules`, `sees` makes it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Whoever waits for its proposals looks first, and listens then
    LooksBeforeItListens,
    /// Whoever gives up its proposals gives up those of others as well
    GivesUpThoseOfOthers,
    /// A leader says that commands are written, and writes none
    AnswersWithoutWriting,
    /// A question, or a wish, goes out before anybody waits for its answer
    AsksBeforeItWaits,
    /// What is durable is said to be so in another order than it was wanted in
    AnswersInReverse,
    /// A log says how far it goes before it can show that
    SaysBeforeItShows,
    /// A message is said to be kept before it is
    TellsBeforeItKeeps,
    /// Who must make room for others is not told
    PutsOutInSilence,
    /// Whoever waits first is woken for ever, in place of who waits now
    KeepsFirstWaker,
}

/// Whether this mistake is to be made
#[cfg(not(feature = "schedules"))]
#[inline(always)]
pub const fn makes(_: Mistake) -> bool {
    false
}

#[cfg(feature = "schedules")]
pub use self::scheduled::makes;
