//! Why a lab could not do what it was asked, and what to type next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kith_runtime::control::client::ClientError;
use kith_runtime::home::HomeError;

/// A lab could not do what it was asked
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Nothing was started there, or it was ended. Nothing was changed.
    #[error("there is no lab in {}; start one: kith-lab --dir {} up", .0.display(), .0.display())]
    NoLab(PathBuf),
    /// A lab runs there. Nothing was changed.
    #[error("a lab runs in {0} already; end it: kith-lab --dir {0} down, or choose another --dir")]
    Running(String),
    /// The directory holds files that no lab has made. Nothing was changed.
    #[error("{} holds other files than a lab's; choose another --dir", .0.display())]
    NotALab(PathBuf),
    /// No process of the lab has that name. Nothing was changed.
    #[error("the lab has no {name}; it has {known}")]
    NoSuchName {
        /// What was asked for
        name: String,
        known: String,
    },
    /// Its nodes share one network, in which nobody can be cut off. Nothing was changed.
    #[error("the nodes of this lab share one network, and nobody in it can be cut off; start it so that each has one of its own: kith-lab --dir {} down, and then up --netns", .0.display())]
    NoNetworks(PathBuf),
    /// There is none that could be asked
    #[error("the lab's supernodes: {0}; next: kith-lab status")]
    NoSupernode(String),
    /// No two peers were found whose connection leads over a third
    #[error("no two peers call each other over a third one: start more peers, or with a smaller degree")]
    NoForwarder,
    /// The process is not in the condition that this needs. Nothing was changed.
    #[error("{name} is {is}; {hint}")]
    WrongCondition {
        name: String,
        is: &'static str,
        /// What to type
        hint: String,
    },
    /// The options cannot be had. Nothing was started.
    #[error("{0}")]
    Options(String),
    /// This machine lacks what the faults need that were asked for. Nothing was started.
    #[error("SKIPPED: {0}")]
    Lacking(String),
    /// Something that was waited for did not come. The lab is left as it is.
    #[error("waited {:.1} s for {what}, in vain: {reason}", limit.as_secs_f64())]
    TimedOut {
        /// What was waited for
        what: String,
        limit: Duration,
        /// What was lacking at the last look
        reason: String,
    },
    /// A process ended or did not become ready. The others are left as they are, or ended with a lab that was coming up.
    #[error("{name}: {reason}\nthe end of its log, {log}:\n{tail}\nnext: look at the whole log, or try again with KITH_LOG=debug", log = log.display())]
    NotReady {
        name: String,
        reason: String,
        log: PathBuf,
        /// The log's last lines
        tail: String,
    },
    /// A daemon could not be asked, or says that it could not try; what was asked for may have happened all the same
    #[error("{name}: {error}")]
    Control { name: String, error: ClientError },
    /// A home of the lab cannot be used
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A process of a bench failed. All of its processes have ended.
    #[error("{process}, a process of the bench: {reason}")]
    Bench {
        /// The chain, and the place in it
        process: String,
        reason: String,
    },
    /// The operating system refused. What was done until then is left.
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
}

/// Names what was tried in an error of the operating system
pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
    let what = what.into();
    move |error| LabError::Io { what, error }
}
