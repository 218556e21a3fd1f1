//! What committed entries become: commands with their indices, each once, for the core that applies them.
//!
//! The directory itself is the core's. The machine knows up to where the log was handed on, and which proposals it has
//! seen: a command that is in the log twice, as its proposer did not hear the answer to the first, has one index.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use kith_common::directory::{Command, CommandError, Directory, RestoreError};
use kith_common::id::SupernodeId;
use kith_common::supernode::LogEvent;
use kith_common::wire::agreement::{LastProposed, Proposed, SnapshotHead};
use kith_common::wire::bounded::Bounded;
use kith_common::wire::{self, WireError};
use kith_runtime::sync::{self, Mistake, Mutex};
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{AnyError, CommittedLeaderId, EntryPayload, OptionalSend, SnapshotMeta, StorageIOError};
use tokio::sync::{mpsc, oneshot, watch};

use super::entries::{Book, decoded};
use super::proposing::Outstanding;
use super::{Entry, Located, LogId, Membership, StorageError, StoredMembership, Types, Vote, configured, words};
use crate::log::News;
use crate::log::disk::Disk;
use crate::log::store::{Store, StoreError, Word, Write};

/// Up to where the log was handed on, and what of it must be remembered
#[derive(Clone, Debug, Default)]
pub(in crate::log) struct State {
    last: Option<LogId>,
    configured: StoredMembership,
    /// The index of the last command
    index: u64,
    /// Of the directory's epochs
    incarnation: u32,
    /// Supernodes that were taken out, for good
    gone: BTreeSet<u64>,
    /// The last number of each supernode's, with the boot that it belongs to
    proposers: BTreeMap<u64, (u64, u64)>,
}

/// A command's place: after which entry of Raft's log, and which command it is
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct AppliedTo {
    /// The last entry's number in Raft's log
    pub(super) entry: Option<u64>,
    /// The last command's index
    pub(super) index: u64,
    /// Supernodes that were taken out by then
    pub(super) gone: Arc<BTreeSet<u64>>,
}

/// Bytes that mean nothing to this version of the program
#[derive(Debug, thiserror::Error)]
pub(in crate::log) enum Meaningless {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Directory(#[from] RestoreError),
    #[error("the snapshot is damaged: {0}")]
    Head(#[from] WireError),
}

impl State {
    /// The commands of the next entry that are to be applied, each with its index and its proposal
    fn take(&mut self, entry: &Entry) -> Result<Vec<(u64, Proposed, Command)>, CommandError> {
        self.last = Some(entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => Ok(Vec::new()),
            EntryPayload::Membership(membership) => {
                let before = self.configured.membership().nodes().map(|(id, _)| *id);
                let gone: Vec<u64> = before.filter(|id| membership.get_node(id).is_none()).collect();
                self.gone.extend(gone);
                self.configured = StoredMembership::new(Some(entry.log_id), membership.clone());
                // Whoever is no supernode any more proposes nothing that counts.
                self.proposers.retain(|proposer, _| membership.get_node(proposer).is_some());
                Ok(Vec::new())
            }
            EntryPayload::Normal(commands) => {
                let mut taken = Vec::new();
                for proposed in commands.0.iter() {
                    if self.is_new(proposed) {
                        let command = Command::from_bytes(&proposed.command)?;
                        self.index += 1;
                        if let Command::Incarnate { incarnation } = command {
                            self.incarnation = incarnation;
                        }
                        taken.push((self.index, proposed.clone(), command));
                    }
                }
                Ok(taken)
            }
        }
    }

    /// Whether a supernode's command is not one that was applied before, or came after a later one
    fn is_new(&mut self, proposed: &Proposed) -> bool {
        let Proposed { proposer: SupernodeId(proposer), boot, number, .. } = *proposed;
        if self.configured.membership().get_node(&proposer).is_none() {
            return false;
        }
        let last = self.proposers.get(&proposer);
        let is_new = last.is_none_or(|last| (boot, number) > *last);
        if is_new {
            self.proposers.insert(proposer, (boot, number));
        }
        is_new
    }

    fn head(&self) -> Result<SnapshotHead, WireError> {
        let proposers = self.proposers.iter().map(|(proposer, (boot, number))| LastProposed {
            proposer: SupernodeId(*proposer),
            boot: *boot,
            number: *number,
        });
        let gone: Vec<SupernodeId> = self.gone.iter().copied().map(SupernodeId).collect();
        Ok(SnapshotHead {
            last: self.last.as_ref().map(words::position),
            configured_at: self.configured.log_id().as_ref().map(words::position),
            configuration: words::configuration(self.configured.membership())?,
            incarnation: self.incarnation,
            gone: Bounded::try_from(gone).map_err(|_| WireError::TooLong)?,
            proposers: Bounded::truncated(proposers),
        })
    }

    fn of_head(head: &SnapshotHead, index: u64) -> Self {
        let proposers = head.proposers.iter().map(|last| (last.proposer.0, (last.boot, last.number)));
        Self {
            last: head.last.as_ref().map(words::log_id),
            configured: words::stored(head.configured_at.as_ref(), &head.configuration),
            index,
            incarnation: head.incarnation,
            gone: head.gone.iter().map(|id| id.0).collect(),
            proposers: proposers.collect(),
        }
    }

    /// The snapshot of this state, with the directory as it is there
    ///
    /// # Errors
    /// None: its parts are bounded.
    fn snapshot(&self, directory: &Directory) -> Result<Vec<u8>, WireError> {
        let head = wire::encode(&self.head()?)?;
        let len = u32::try_from(head.len()).map_err(|_| WireError::TooLong)?;
        Ok([len.to_le_bytes().as_slice(), &head, &directory.snapshot()?].concat())
    }

    fn meta(&self) -> SnapshotMeta<u64, Located> {
        let name = self.last.map_or_else(|| "empty".into(), |last| format!("{}-{}", last.leader_id.term, last.index));
        SnapshotMeta { last_log_id: self.last, last_membership: self.configured.clone(), snapshot_id: name }
    }

    pub(in crate::log) const fn configured(&self) -> &StoredMembership {
        &self.configured
    }

    pub(super) fn applied_to(&self) -> AppliedTo {
        AppliedTo { entry: self.last.map(|last| last.index), index: self.index, gone: Arc::new(self.gone.clone()) }
    }
}

/// A snapshot's head, and the bytes of its directory
fn split_snapshot(bytes: &[u8]) -> Result<(SnapshotHead, &[u8]), WireError> {
    let (len, rest) = bytes.split_first_chunk().ok_or(WireError::Malformed)?;
    let len = u32::from_le_bytes(*len) as usize;
    let (head, directory) = rest.split_at_checked(len).ok_or(WireError::Malformed)?;
    Ok((wire::decode(head)?, directory))
}

/// The state and the directory that a snapshot is of
fn read_snapshot(bytes: &[u8]) -> Result<(State, Directory), Meaningless> {
    let (head, directory) = split_snapshot(bytes)?;
    let directory = Directory::restore(head.incarnation, directory)?;
    Ok((State::of_head(&head, directory.applied()), directory))
}

/// What a start finds on the disk
pub(in crate::log) struct Recovered {
    pub(in crate::log) directory: Directory,
    pub(in crate::log) state: State,
    pub(in crate::log) book: Book,
    /// The last command in the snapshot that is there, and its bytes
    pub(in crate::log) snapshot: (u64, u64),
}

impl Recovered {
    /// Whether `me` is the whole network, as far as the disk says, so that nobody could say that the disk is an old copy
    pub(in crate::log) fn is_alone(&self, me: SupernodeId) -> bool {
        decides_alone(&self.state, me) && self.state.configured.membership().nodes().count() == 1
    }

    /// Reads the snapshot and the entries after it, as far as they are known to be committed
    ///
    /// Where `me` alone decides, all are.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong with the file.
    pub(in crate::log) fn read(store: &mut Store, me: SupernodeId) -> Result<Self, StoreError> {
        if let Some(bytes) = store.word(Word::WentBack)? {
            let entry = wire::decode(&bytes).map_err(|_| store.meaningless("the entry that it lacks has no number"))?;
            return Err(store.went_back(entry));
        }
        if store.word(Word::TakenOut)?.is_some() {
            return Err(store.taken_out());
        }
        let book = Book::read(store, me)?;
        let (mut state, mut directory, bytes) = match store.snapshot()? {
            None => (State::default(), Directory::new(0), 0),
            Some((number, bytes)) => {
                let (state, directory) = read_snapshot(&bytes).map_err(|fault| refused(store, &fault))?;
                if state.last.is_none_or(|last| last.index != number) {
                    return Err(store.meaningless("the snapshot is of another entry"));
                }
                (state, directory, bytes.len() as u64)
            }
        };
        let snapshot = (state.index, bytes);
        let mut next = state.last.map_or(0, |last| last.index + 1);
        loop {
            let entries = store.entries(next..next + PAGE)?;
            if entries.first().is_some_and(|(number, _)| *number > next) {
                return Err(store.meaningless(format!("entry {next} is missing")));
            }
            for (number, bytes) in &entries {
                let entry = decoded(*number, bytes).map_err(|fault| store.meaningless(fault))?;
                let is_committed = book.committed().is_some_and(|committed| entry.log_id <= committed);
                if !(is_committed || decides_alone(&state, me) && is_of_one(&entry, me)) {
                    return Ok(Self { directory, state, book, snapshot });
                }
                let taken = state.take(&entry).map_err(|fault| refused(store, &fault.into()))?;
                for (index, _, command) in &taken {
                    directory.apply(*index, command);
                }
            }
            if entries.is_empty() {
                return Ok(Self { directory, state, book, snapshot });
            }
            next += entries.len() as u64;
        }
    }
}

/// What a backup becomes on the disk
pub(in crate::log) struct Restored {
    /// The number of the last entry
    pub(in crate::log) last: u64,
    pub(in crate::log) snapshot: Vec<u8>,
    /// For whom this supernode has voted: in the last term of the backup, so that the next one is larger
    pub(in crate::log) vote: Vec<u8>,
    pub(in crate::log) purged: Vec<u8>,
    /// How many names there are
    pub(in crate::log) names: u64,
    /// Whether this supernode had been taken out by then, so that it is none for good
    pub(in crate::log) is_gone: bool,
}

/// How far indices and entries go on behind those of a backup: nobody has seen as many since it was made
const JUMP: u64 = 1 << 32;

/// The log that goes on from a snapshot, with `me` alone and another incarnation
///
/// # Errors
/// In words, if the bytes are no snapshot.
pub(in crate::log) fn restore(snapshot: &[u8], me: SupernodeId, incarnation: u32) -> Result<Restored, String> {
    let (mut state, mut directory) = read_snapshot(snapshot).map_err(|fault| fault.to_string())?;
    let is_gone = state.gone.contains(&me.0);
    let before = state.last.unwrap_or_default();
    let term = before.leader_id.term + 1;
    let last = LogId::new(CommittedLeaderId::new(term, me.0), before.index + JUMP);
    directory.apply(directory.applied() + JUMP, &Command::Incarnate { incarnation });
    let alone = Membership::new(vec![BTreeSet::from([me.0])], BTreeMap::from([(me.0, Located::default())]));
    state = State {
        last: Some(last),
        configured: StoredMembership::new(Some(last), alone),
        index: directory.applied(),
        incarnation,
        // All others join anew, under other serials.
        gone: state
            .configured
            .membership()
            .nodes()
            .map(|(id, _)| *id)
            .filter(|id| *id != me.0)
            .chain(state.gone)
            .collect(),
        proposers: BTreeMap::new(),
    };
    let encoded = |fault: WireError| fault.to_string();
    Ok(Restored {
        last: last.index,
        snapshot: state.snapshot(&directory).map_err(encoded)?,
        vote: wire::encode(&words::ballot(&Vote::new(term, me.0))).map_err(encoded)?,
        purged: wire::encode(&words::position(&last)).map_err(encoded)?,
        names: directory.accounts().len() as u64,
        is_gone,
    })
}

/// Entries that are read in one go at a start
const PAGE: u64 = 1024;

fn decides_alone(state: &State, me: SupernodeId) -> bool {
    let groups = state.configured.membership().get_joint_config();
    groups.len() == 1 && groups.iter().all(|group| group.len() == 1 && group.contains(&me.0))
}

/// Whether an entry leaves the decision with `me` alone
fn is_of_one(entry: &Entry, me: SupernodeId) -> bool {
    let EntryPayload::Membership(membership) = &entry.payload else { return true };
    let groups = membership.get_joint_config();
    groups.len() == 1 && groups.iter().all(|group| group.len() == 1 && group.contains(&me.0))
}

fn refused(store: &Store, fault: &Meaningless) -> StoreError {
    match fault {
        Meaningless::Command(CommandError::Version(_)) | Meaningless::Directory(RestoreError::Version(_)) => {
            store.of_another_version(fault.to_string())
        }
        _ => store.meaningless(fault.to_string()),
    }
}

/// How large the last snapshot is
pub(super) type SnapshotBytes = Arc<AtomicU64>;

/// Whoever waits for the core's directory, to make a snapshot of it
pub(super) type Wanted = Arc<Mutex<Option<oneshot::Sender<Box<Directory>>>>>;

/// openraft's state machine
pub(super) struct Machine {
    pub(super) me: SupernodeId,
    pub(super) boot: u64,
    pub(super) state: State,
    pub(super) disk: Disk,
    pub(super) news: mpsc::Sender<News>,
    pub(super) outstanding: Outstanding,
    pub(super) applied: watch::Sender<AppliedTo>,
    pub(super) wanted: Wanted,
    pub(super) snapshot_bytes: SnapshotBytes,
}

/// Makes one snapshot
pub(super) struct Builder {
    state: State,
    directory: oneshot::Receiver<Box<Directory>>,
    disk: Disk,
    snapshot_bytes: SnapshotBytes,
}

fn unreadable(fault: impl ToString) -> StorageError {
    StorageIOError::read_state_machine(AnyError::error(fault.to_string())).into()
}

fn unwritable(fault: impl ToString) -> StorageError {
    StorageIOError::write_state_machine(AnyError::error(fault.to_string())).into()
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let directory = (&mut self.directory).await.map_err(|_| unreadable("the driver has ended"))?;
        if directory.applied() != self.state.index {
            return Err(unreadable(format!("the directory is at {}, not {}", directory.applied(), self.state.index)));
        }
        let bytes = self.state.snapshot(&directory).map_err(unreadable)?;
        drop(directory);
        let number = self.state.last.map_or(0, |last| last.index);
        tracing::info!(
            event = "snapshot_taken",
            index = self.state.index,
            bytes = bytes.len(),
            reason = "the log had grown"
        );
        self.disk.written(Write::Snapshot(number, bytes.clone())).await.map_err(unwritable)?;
        self.snapshot_bytes.store(bytes.len() as u64, Ordering::Relaxed);
        Ok(Snapshot { meta: self.state.meta(), snapshot: Box::new(Cursor::new(bytes)) })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.state.last, self.state.configured.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut events, mut results, before) = (Vec::new(), Vec::new(), self.state.configured.clone());
        for entry in entries {
            for (index, proposed, command) in self.state.take(&entry).map_err(unreadable)? {
                let is_own = (proposed.proposer, proposed.boot) == (self.me, self.boot);
                let number = Some(proposed.number).filter(|number| is_own && self.outstanding.settle(*number));
                events.push(LogEvent::Committed { index, command, number });
            }
            results.push(());
        }
        if !events.is_empty() {
            self.tell(News::Events(events)).await?;
        }
        if self.state.configured != before {
            self.tell(News::Configured(configured(&self.state.configured))).await?;
        }
        self.applied.send_replace(self.state.applied_to());
        Ok(results)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let (wanted, directory) = oneshot::channel();
        if sync::makes(Mistake::AsksBeforeItWaits) {
            let _ = self.news.send(News::Events(vec![LogEvent::Grown])).await;
        }
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
        if !sync::makes(Mistake::AsksBeforeItWaits) {
            // Behind all that was applied. If the driver is gone, the builder hears so.
            let _ = self.news.send(News::Events(vec![LogEvent::Grown])).await;
        }
        let (disk, snapshot_bytes) = (self.disk.clone(), self.snapshot_bytes.clone());
        Builder { state: self.state.clone(), directory, disk, snapshot_bytes }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    /// Refuses a snapshot that would take back what was applied, which means that two networks' logs were mixed
    /// (openraft's issue 1892)
    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, Located>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let (state, directory) = read_snapshot(&bytes).map_err(unreadable)?;
        if state.last != meta.last_log_id || state.configured != meta.last_membership {
            return Err(unreadable("the snapshot is another one than its name says"));
        }
        let before = (self.state.last.map(|last| last.index), self.state.index);
        if (state.last.map(|last| last.index), state.index) < before {
            return Err(unreadable("the snapshot contradicts what is committed"));
        }
        let number = state.last.map_or(0, |last| last.index);
        tracing::info!(
            event = "snapshot_installed",
            index = state.index,
            bytes = bytes.len(),
            reason = "this supernode was behind"
        );
        self.disk.written(Write::Snapshot(number, bytes)).await.map_err(unwritable)?;
        self.state = state;
        self.tell(News::Replaced(Box::new(directory))).await?;
        self.tell(News::Configured(configured(&self.state.configured))).await?;
        self.applied.send_replace(self.state.applied_to());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let Some((_, bytes)) = self.disk.snapshot().await.map_err(unreadable)? else { return Ok(None) };
        let (head, _) = split_snapshot(&bytes).map_err(unreadable)?;
        let state = State::of_head(&head, 0);
        Ok(Some(Snapshot { meta: state.meta(), snapshot: Box::new(Cursor::new(bytes)) }))
    }
}

impl Machine {
    async fn tell(&self, news: News) -> Result<(), StorageError> {
        self.news.send(news).await.map_err(|_| unwritable("the driver has ended"))
    }
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules;
