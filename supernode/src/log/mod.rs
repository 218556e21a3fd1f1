//! The log behind the core's port: agreed on by the supernodes of a network, of which there may be one.
//!
//! A thread of its own carries it, so that a busy driver costs nobody an election; another one waits for the disk:
//!
//! ```text
//! driver ── Job ─► the log's thread (raft) ── writes ─► the disk's thread (store)
//!        ◄─ News ──┘          ◄──────────────── done ──┘
//! ```
//!
//! The driver carries questions and answers between the log and the links. While the disk is full what is proposed is lost,
//! and whoever waits is told to try again: renewals, look-ups and relays need no log, and go on. Any other failure of the
//! disk is an error, after which the supernode must stop.

pub(crate) mod backup;
mod disk;
mod raft;
mod store;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc as blocking;
use std::thread;

use kith_common::directory::Directory;
use kith_common::id::SupernodeId;
use kith_common::supernode::{LogEvent, Proposal};
use kith_common::wire::agreement::{Change, LogAnswer, LogAsk};
use kith_common::wire::session::Locations;
use openraft::RaftMetrics;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{mpsc, oneshot, watch};

use self::disk::Disk;
use self::raft::{Located, Member, MemberParts, Recovered};
use self::store::Store;
pub(crate) use self::store::{FILE_NAME, StoreError};

/// News that wait for the driver: what is behind them waits, too
const NEWS_MAX: usize = 1024;

/// What the log's thread is asked to do
pub(super) enum Job {
    /// Answered by one `Committed` or `Lost` for each
    Propose(Vec<Proposal>),
    /// Answered by [`News::Read`]
    Read,
    /// The directory that `Grown` wants
    Directory(Box<Directory>),
    /// A supernode asks; answered by [`News::Answer`]
    Asked(SupernodeId, Box<LogAsk>),
    /// A supernode has answered
    Answered(SupernodeId, Box<LogAnswer>),
    /// There is no link to a supernode
    Lost(SupernodeId),
    /// The configuration is to be changed
    Change {
        change: Change,
        /// Whom to ask, if this supernode is in no configuration yet
        via: Option<SupernodeId>,
        told: oneshot::Sender<Result<(), String>>,
    },
    /// Whether the disk takes nothing
    Disk(bool),
    /// Somebody wants to know whether a full disk takes anything
    TryDisk,
    /// Somebody wants a copy of all
    Backup(oneshot::Sender<Result<Vec<u8>, String>>),
}

/// What the log tells the driver
#[derive(Debug)]
pub(crate) enum News {
    /// What the core is to be told, in this order
    Events(Vec<LogEvent>),
    /// The whole directory is another one: the core lagged too far behind for single commands
    Replaced(Box<Directory>),
    /// Who the supernodes are: id, locations, whether it votes
    Configured(Vec<(SupernodeId, Locations, bool)>),
    /// Who leads, as far as can be known
    Leader(Option<SupernodeId>),
    /// The index of the last command that is acknowledged anywhere; `None`: it cannot be had
    Read(Option<u64>),
    /// Ask another supernode; without a link to it, [`Log::lose`] is the answer
    Ask { whom: SupernodeId, ask: Box<LogAsk> },
    /// Answer another supernode
    Answer { whom: SupernodeId, answer: Box<LogAnswer> },
    /// This supernode's log is another one than ours, as one of the two asked the other
    OtherLog(SupernodeId),
    /// Why the log cannot be written at present; `None`: it can
    Disk(Option<String>),
    /// The disk has failed, and this supernode must stop
    Failed(StoreError),
    /// The log has ended for this reason, and this supernode must stop
    Ended(String),
}

/// How it stands with the log, for people
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) term: u64,
    /// Entries of Raft's log, and how many of them are applied here
    pub(crate) last_entry: u64,
    pub(crate) applied_entry: u64,
    /// Whether one group of voters takes another one's place, and both must agree
    pub(crate) is_changing: bool,
    /// Entries that each supernode lacks, as only the leader knows
    pub(crate) lags: BTreeMap<SupernodeId, u64>,
}

/// The way to the log's thread
pub(crate) struct Log {
    jobs: mpsc::UnboundedSender<Job>,
    metrics: watch::Receiver<RaftMetrics<u64, Located>>,
}

/// Why there is no log
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no thread to give
    #[error("cannot start the log's thread: {0}")]
    Thread(#[from] io::Error),
    /// The library that agrees on the log refuses
    #[error("the log cannot be taken up: {0}")]
    Refused(String),
}

/// What the log begins with
pub(crate) struct LogParts<'a> {
    pub(crate) home: &'a Path,
    pub(crate) me: SupernodeId,
    /// How often this supernode has started
    pub(crate) boot: u64,
    /// Where others dial it, if it makes a network of its own, unless the log has begun; a newcomer is let in by others
    pub(crate) founder_at: Option<Locations>,
    pub(crate) rng: ChaCha20Rng,
}

/// A log that was started
pub(crate) struct Started {
    pub(crate) log: Log,
    pub(crate) news: mpsc::Receiver<News>,
    /// As far as it is known to be committed
    pub(crate) directory: Directory,
    /// Whether nobody else has a copy of the log, so that nobody can say whether this is an old one
    pub(crate) is_alone: bool,
}

impl Log {
    /// Reads the log, and starts its threads; the directory is as far as it is known to be committed
    ///
    /// # Errors
    /// [`LogError`] says what is wrong, and what to do.
    pub(crate) fn start(parts: LogParts<'_>) -> Result<Started, LogError> {
        let mut store = Store::open(parts.home)?;
        let recovered = Recovered::read(&mut store, parts.me)?;
        let (teller, news) = mpsc::channel(NEWS_MAX);
        let disk = Disk::start(store, teller.clone())?;
        let is_alone = recovered.is_alone(parts.me)
            || parts.founder_at.is_some() && recovered.state.configured().log_id().is_none();
        let (log, directory) = Self::run(parts, recovered, disk, teller)?;
        Ok(Started { log, news, directory, is_alone })
    }

    fn run(
        parts: LogParts<'_>,
        recovered: Recovered,
        disk: Disk,
        news: mpsc::Sender<News>,
    ) -> Result<(Self, Directory), LogError> {
        let LogParts { me, boot, founder_at, rng, .. } = parts;
        let Recovered { directory, state, book, snapshot } = recovered;
        tracing::info!(
            event = "log_read",
            index = directory.applied(),
            names = directory.accounts().len(),
            sessions = directory.sessions().len(),
            reason = "start"
        );
        let configured = raft::configured(state.configured());
        let parts = MemberParts { me, boot, state, book, snapshot, disk, news: news.clone(), rng };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (jobs, inbox) = mpsc::unbounded_channel();
        let (started, has_started) = blocking::sync_channel(1);
        thread::Builder::new().name("log".into()).spawn(move || {
            runtime.block_on(async move {
                let mut member = match Member::start(parts).await {
                    Ok(member) => member,
                    Err(reason) => return drop(started.send(Err(reason))),
                };
                if !configured.is_empty() {
                    // The channel is empty, and nobody reads it yet.
                    let _ = news.send(News::Configured(configured)).await;
                }
                let founded = match founder_at {
                    Some(locations) => member.found(locations).await,
                    None => Ok(()),
                };
                if let Err(reason) = founded {
                    return drop(started.send(Err(reason)));
                }
                // Whoever started it waits for this, and is there.
                let _ = started.send(Ok(member.metrics()));
                member.run(inbox).await;
            });
        })?;
        let metrics = has_started.recv().map_err(|_| LogError::Refused("its thread has ended".into()))?;
        Ok((Self { jobs, metrics: metrics.map_err(LogError::Refused)? }, directory))
    }

    /// The thread ends only after it has said why; the driver stops then
    fn send(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    /// Proposes a group, which is answered over the channel of [`Log::start`]; there is one at a time
    pub(crate) fn propose(&self, group: Vec<Proposal>) {
        self.send(Job::Propose(group));
    }

    /// Asks for the index of the last command that is acknowledged anywhere
    pub(crate) fn read(&self) {
        self.send(Job::Read);
    }

    /// The directory as it was when `Grown` was told
    pub(crate) fn snapshot(&self, directory: Box<Directory>) {
        self.send(Job::Directory(directory));
    }

    /// Another supernode asks
    pub(crate) fn ask(&self, from: SupernodeId, ask: LogAsk) {
        self.send(Job::Asked(from, Box::new(ask)));
    }

    /// Another supernode has answered
    pub(crate) fn answer(&self, from: SupernodeId, answer: LogAnswer) {
        self.send(Job::Answered(from, Box::new(answer)));
    }

    /// There is no link to a supernode: what it was asked is not answered
    pub(crate) fn lose(&self, whom: SupernodeId) {
        self.send(Job::Lost(whom));
    }

    /// Changes who the supernodes are; answered once that is committed, or with why it is not
    ///
    /// A newcomer asks `via` a supernode to which it has a link.
    pub(crate) fn change(&self, change: Change, via: Option<SupernodeId>) -> oneshot::Receiver<Result<(), String>> {
        let (told, answer) = oneshot::channel();
        self.send(Job::Change { change, via, told });
        answer
    }

    /// [`News::Disk`] said so
    pub(crate) fn set_full(&self, is_full: bool) {
        self.send(Job::Disk(is_full));
    }

    /// Finds out whether a full disk takes anything again
    pub(crate) fn try_disk(&self) {
        self.send(Job::TryDisk);
    }

    /// A snapshot of the log as it is by now, for [`backup::write`]; or why it cannot be had
    pub(crate) fn backup(&self) -> oneshot::Receiver<Result<Vec<u8>, String>> {
        let (told, answer) = oneshot::channel();
        self.send(Job::Backup(told));
        answer
    }

    /// How it stands
    pub(crate) fn standing(&self) -> Standing {
        raft::standing(&self.metrics.borrow())
    }
}
