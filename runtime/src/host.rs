//! The process around a driver: its home, logs, signals and control socket. The peer's and the supernode's alike.
//!
//! [`host`] sets all of it up, calls the driver with a [`Seat`], and ends when the driver returns. The driver answers
//! the seat's requests and returns soon after [`Shutdown`] came: it has `GRACE`, then the process goes without it.

mod start;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use sd_notify::NotifyState;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::cli::Failure;
use crate::config::HostConfig;
use crate::control::server::{ControlRequest, REQUESTS_MAX, serve};
use crate::files;
use crate::home::{HomeError, Lock};
use crate::logging;
use crate::turning;

pub use start::{Links, ListenAddresses, Start, StartError, seeded};

/// From the first signal to the end; the driver logs out in it
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// How often a daemon looks whether its home is still there: seldom enough to cost nothing, and a sender is told wrong
/// for no longer
const HOME_CHECK: Duration = Duration::from_secs(2);

/// Why a daemon ended, or did not start; `E` is its driver's reason
#[derive(Debug, thiserror::Error)]
pub enum DaemonError<E> {
    /// Its home cannot be used; nothing was started
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The system refused something that a daemon needs
    #[error("cannot {action}: {error}")]
    Io { action: &'static str, error: io::Error },
    /// Its home was removed, moved away or replaced: what it would acknowledge from then on would be nowhere
    #[error(
        "the home {} was removed or replaced under the running daemon; put it back and start again, or start with a new one",
        .0.display()
    )]
    HomeLost(PathBuf),
    /// The driver did not start, or gave up
    #[error(transparent)]
    Driver(E),
}

impl<E: std::error::Error> From<DaemonError<E>> for Failure {
    fn from(error: DaemonError<E>) -> Self {
        match error {
            DaemonError::Home(error) => error.into(),
            error => Self::local(error.to_string()),
        }
    }
}

/// Says when to end; clones hear the same
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Returns when the daemon is to end
    pub async fn wait(&mut self) {
        // Whoever could say so is gone: that is the end as well.
        let _ = self.0.wait_for(|is_over| *is_over).await;
    }

    /// A shutdown and its trigger: set it to `true`, or drop it
    pub fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }
}

/// What a driver gets
#[derive(Debug)]
pub struct Seat<R> {
    /// What comes over the control socket
    pub requests: mpsc::Receiver<ControlRequest<R>>,
    pub shutdown: Shutdown,
}

/// Runs `driver` as a daemon in its home until it returns
///
/// SIGTERM, SIGINT and SIGHUP ask it to end; a second one ends the process at once, with exit code 128 + its number.
///
/// # Errors
/// [`DaemonError`]; the home is free again.
pub fn host<R, D, F, E>(config: &HostConfig, driver: D) -> Result<(), DaemonError<E>>
where
    R: DeserializeOwned + Send + 'static,
    D: FnOnce(Seat<R>) -> F,
    F: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let home = &config.home;
    home.create()?;
    let lock = home.lock()?;
    if let Err(reason) = logging::init(&config.log, config.log_format) {
        tracing::warn!(%reason, "logging goes on as it was");
    }
    files::settle_reserve(home.path());
    raise_file_limit();
    let failed = |action| move |error| DaemonError::Io { action, error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(failed("start"))?.block_on(turning::watched("driver", async {
        let socket = home.bind_control(&lock)?;
        let listener = socket.listener().map_err(failed("listen"))?;
        listener.set_nonblocking(true).map_err(failed("listen"))?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(failed("listen"))?;
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let server = tokio::spawn(serve(listener, sender));
        let (trigger, shutdown) = Shutdown::channel();
        let signals = Signals::new().map_err(failed("hear signals"))?;
        let watcher = tokio::spawn(signals.watch(trigger));
        let path = home.path().display();
        tracing::info!(home = %path, socket = %socket.path().display(), pid = std::process::id(), "daemon started");
        let ended = tokio::select! {
            ended = until_grace_is_over(driver(Seat { requests, shutdown: shutdown.clone() }), shutdown) => ended,
            () = loss_of(&lock) => Err(DaemonError::HomeLost(home.path().to_owned())),
        };
        watcher.abort();
        server.abort();
        drop(socket);
        ended
    }));
    tracing::info!(reason = ended.as_ref().err().map(ToString::to_string), "daemon ended");
    drop(lock);
    ended
}

/// Takes as many open files as the system lets this process have
///
/// The usual soft limit of 1,024 is for programs that still use `select`; a supernode may have four times as many links.
pub fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(reason) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(event = "file_limit_not_raised", limit = limit.current, %reason);
    }
}

/// Returns when the home is there no more: whatever is written into it from then on is lost with its files
async fn loss_of(lock: &Lock) {
    while lock.holds() {
        tokio::time::sleep(HOME_CHECK).await;
    }
}

async fn until_grace_is_over<E>(
    driver: impl Future<Output = Result<(), E>>,
    mut shutdown: Shutdown,
) -> Result<(), DaemonError<E>> {
    let deadline = async {
        shutdown.wait().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = driver => ended.map_err(DaemonError::Driver),
        () = deadline => {
            tracing::warn!(reason = "the driver did not end in time", grace = ?GRACE, "ending without it");
            Ok(())
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// The terminal is gone; `None` if whoever started this process wants that to mean nothing, as `nohup` does
    hang_up: Option<Signal>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let hang_up = if is_ignored(SignalKind::hangup()) { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hang_up })
    }

    async fn next(&mut self) -> (&'static str, SignalKind) {
        let hung_up = async {
            match &mut self.hang_up {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
            () = hung_up => ("SIGHUP", SignalKind::hangup()),
        }
    }

    async fn watch(mut self, trigger: watch::Sender<bool>) {
        let (reason, _) = self.next().await;
        tracing::info!(reason, "ending; once more to end at once");
        start::tell_manager(NotifyState::Stopping);
        trigger.send_replace(true);
        let (reason, kind) = self.next().await;
        tracing::warn!(reason, "ending at once");
        std::process::exit(128 + kind.as_raw_value());
    }
}

/// Whether this process was started with the signal ignored
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn driver_that_does_not_end_is_left_behind_after_the_grace() {
        let (trigger, shutdown) = Shutdown::channel();
        let started = tokio::time::Instant::now();
        trigger.send_replace(true);
        until_grace_is_over(std::future::pending::<Result<(), io::Error>>(), shutdown).await.unwrap();
        assert_eq!(started.elapsed().as_secs(), GRACE.as_secs());
    }

    #[test]
    fn daemon_takes_as_many_files_as_it_may() {
        raise_file_limit();
        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[tokio::test]
    async fn drivers_error_is_the_daemons() {
        let (_trigger, shutdown) = Shutdown::channel();
        let ended = until_grace_is_over(async { Err(io::Error::other("the disk is full")) }, shutdown).await;
        assert_eq!(ended.unwrap_err().to_string(), "the disk is full");
    }
}
