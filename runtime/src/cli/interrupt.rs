//! Ctrl-C, for verbs that have something to say before they end.

use std::io;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::sync::thread;

/// What a shell says of a process that Ctrl-C has ended
const EXIT_INTERRUPTED: i32 = 130;

/// Does something at the first Ctrl-C, on a thread of its own, and ends the process at the second
///
/// # Errors
/// The system has no thread or no signal for it; then Ctrl-C ends the process as ever.
pub fn on_interrupt(act: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let mut interrupts = {
        let _inside = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    let wait = move || {
        runtime.block_on(interrupts.recv());
        // What it does may wait for a daemon that stands still: the second one must not.
        if thread::Builder::new().name("kith-ending".into()).spawn(act).is_ok() {
            runtime.block_on(interrupts.recv());
        }
        std::process::exit(EXIT_INTERRUPTED);
    };
    thread::Builder::new().name("kith-interrupt".into()).spawn(wait).map(|_| ())
}
