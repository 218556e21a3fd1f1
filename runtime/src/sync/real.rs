//! What the product runs on.

use std::future::Future;

use tokio::sync::mpsc;

pub use std::sync::mpsc as blocking;
pub use std::sync::{Mutex, MutexGuard};
pub use std::thread;
pub use tokio::sync::Notify;
pub use tokio::time::{sleep, timeout_at};

/// Starts a task for which nobody waits
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Sends from a thread that may block; false if nobody takes it any more
pub fn blocking_send<T>(to: &mpsc::Sender<T>, what: T) -> bool {
    to.blocking_send(what).is_ok()
}
