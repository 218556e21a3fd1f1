//! The in-box and the out-box: messages on disk until they are read, or have their fates, and what else a peer must not forget.
//!
//! One redb file, owned by one thread that may block. Everything that a call changes is one transaction, durable before
//! the call returns: only then may the shell send receipts, and say that a message will be delivered. Give
//! [`InboxFile::write_mail`] all the messages that have come and are to go meanwhile, so that they share one wait for the disk.
//! That a message was delivered is not waited for: whoever forgets it sends the message again, which its receiver knows.
//!
//! | table | key | value |
//! |---|---|---|
//! | `messages` | sequence | id, sender's name and key, its address, whether that is confirmed, time received, bytes |
//! | `seen` | sequence | fingerprint of a message that was kept, read or not |
//! | `names` | name | time saved, the directory's record |
//! | `pins` | name | the key that it must have |
//! | `meta` | text | bytes; `format` is this table's version |
//!
//! A sequence is given once: it counts every message ever kept here. The out-box's tables are in `outbox`.

mod error;
pub(crate) mod outbox;
mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod worker;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kith_common::id::{Key, MessageId, Name};
use kith_common::mail::{self, Arrival, Kept, Totals};
use kith_common::names::RECORDS_MAX;
use kith_common::status::Status;
use kith_common::wire;
use kith_common::wire::session::Record;
use kith_runtime::files;
use kith_transport::stack::Restored;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};
use tokio::sync::watch;

pub(crate) use self::error::InboxError;

use self::error::Fault;
use self::outbox::{Letter, PastFate};
use self::tables::{
    Durable, MESSAGES, META, NAMES, PINS, load, micros, open_file, prepare, remove, store, stored, write,
};

/// The in-box's size unless it is configured: a peer that nobody reads must not fill the disk
pub(crate) const BYTES_MAX_DEFAULT: u64 = 64 * 1024 * 1024;
/// The out-box's size unless it is configured: as large as the in-box
pub(crate) const OUTBOX_BYTES_MAX_DEFAULT: u64 = BYTES_MAX_DEFAULT;
/// Messages that one [`InboxFile::list`] returns at most
pub(crate) const LIST_MAX: usize = 1_000;
/// Bytes of messages after which a [`InboxFile::list`] ends, but for the last one, which may be longer than that
pub(crate) const LIST_BYTES_MAX: usize = 1024 * 1024;
/// Transactions that are not waited for, one after another: redb gives their pages back only when one is
const UNDURABLE_MAX: u32 = 1_000;
/// A file that is larger than that, and four times as large as what is in it, is made smaller when messages were read
const COMPACT_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// The longest value of the `meta` table, in bytes: that of the longest frame
pub(crate) const META_BYTES_MAX: usize = wire::LARGE_BYTES_MAX;

/// A verified message on its way into the in-box
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// The message, with its sender
    pub message: Arrival,
    pub received: SystemTime,
}

/// A message in the in-box
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its number; later messages have larger ones
    pub sequence: u64,
    /// Its time is to the microsecond
    pub incoming: Incoming,
}

/// What is to change among the messages on disk
#[derive(Clone, Debug, Default)]
pub(crate) struct MailChanges {
    /// For the in-box, in their order
    pub keep: Vec<Incoming>,
    /// For the out-box
    pub store: Vec<Letter>,
    /// Fates, each with the sequence of what is in the out-box for it
    pub end: Vec<(u64, PastFate)>,
    /// Whether one of these fates is all that is ever written of its message: whoever forgets it knows nothing of the message
    pub is_all: bool,
}

/// What is to change among the names on disk
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameChange {
    /// There and replaced, or new and left out past [`RECORDS_MAX`]
    Save(Box<Record>),
    Erase(Name),
    /// It must have this key from now on
    Pin(Name, Key),
    Unpin(Name),
}

/// Which messages to list
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    pub from: Option<Name>,
    /// Only those with a larger sequence
    pub after: u64,
    /// How many to list, never more than [`LIST_MAX`]
    pub limit: Option<usize>,
}

/// Opens the database; whether its integrity is to be checked
type Opener = Box<dyn Fn(bool) -> Result<Database, Fault> + Send>;

/// The in-box of one peer on disk; what is kept is decided by [`mail::Inbox`]
pub(crate) struct InboxFile {
    path: PathBuf,
    opener: Opener,
    /// `None` after the disk was full: redb wants to be opened anew after every failed write
    db: Option<Database>,
    policy: mail::Inbox,
    bytes_max: u64,
    /// Transactions since the last that was waited for
    undurable: u32,
    /// What the messages in the out-box say, in bytes
    outbox_bytes: u64,
    /// What the policy counts, for whoever follows it; changes are the sign to [`InboxFile::list`] again
    totals: watch::Sender<Totals>,
}

impl std::fmt::Debug for InboxFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InboxFile").field("path", &self.path).field("totals", &*self.totals.borrow()).finish()
    }
}

impl InboxFile {
    /// Opens the in-box at `path`, or makes an empty one that only its owner may read; checks all of it
    ///
    /// `bytes_max` bounds the messages' bytes and overheads; the file may grow to three times that (messages of 33 KiB are
    /// its worst: each takes a 64 KiB page, and redb needs room to copy).
    ///
    /// # Errors
    /// [`InboxError`]; the file is as it was.
    pub(crate) fn open(path: &Path, bytes_max: u64) -> Result<Self, InboxError> {
        let file = path.to_owned();
        let opener = move |check| open_file(&file, check);
        Self::open_with(path, bytes_max, Box::new(opener))
    }

    fn open_with(path: &Path, bytes_max: u64, opener: Opener) -> Result<Self, InboxError> {
        let path = path.to_owned();
        let policy = mail::Inbox::new(bytes_max);
        let totals = watch::Sender::default();
        let mut inbox = Self { path, opener, db: None, policy, bytes_max, undurable: 0, outbox_bytes: 0, totals };
        inbox.connect(true)?;
        Ok(inbox)
    }

    /// Tells when the in-box changes
    pub(crate) fn watch(&self) -> watch::Receiver<Totals> {
        self.totals.subscribe()
    }

    /// Keeps messages, stores others, and remembers fates, in one transaction: with `Ok`, all that are `New` are on disk, and
    /// all that were to be stored
    ///
    /// # Errors
    /// [`InboxError`]: nothing has changed, and none must be receipted with 200.
    pub(crate) fn write_mail(&mut self, changes: &MailChanges) -> Result<Vec<Kept>, InboxError> {
        self.db()?;
        let MailChanges { keep, store: letters, end, is_all } = changes;
        let plan = self.policy.plan(keep.iter().map(|incoming| incoming.message.offer()));
        let durable = match () {
            () if !plan.is_empty() || !letters.is_empty() || *is_all || self.undurable >= UNDURABLE_MAX => Durable::Now,
            () if end.iter().any(|(_, fate)| fate.status != Status::Delivered) => Durable::Now,
            () if end.is_empty() => return Ok(self.policy.handle_stored(plan)),
            () => Durable::Later,
        };
        let forgotten = self.policy.forgotten().to_vec();
        let taken_out = self.write_as(durable, |transaction| {
            if !plan.is_empty() {
                store(transaction, keep, &plan, &forgotten)?;
            }
            outbox::store(transaction, letters)?;
            if end.is_empty() { Ok(0) } else { outbox::end(transaction, end) }
        })?;
        let stored: u64 = letters.iter().map(|letter| letter.body.len() as u64).sum();
        self.outbox_bytes = (self.outbox_bytes + stored).saturating_sub(taken_out);
        if taken_out > 0 && self.outbox_bytes == 0 {
            self.give_back_space();
        }
        let is_changed = !plan.is_empty();
        let kept = self.policy.handle_stored(plan);
        if is_changed {
            self.totals.send_replace(self.policy.totals());
        }
        Ok(kept)
    }

    /// What a message in the out-box says, if it is there
    ///
    /// # Errors
    /// [`InboxError`]
    pub(crate) fn letter(&mut self, sequence: u64) -> Result<Option<Vec<u8>>, InboxError> {
        self.read(|transaction| outbox::body(transaction, sequence))
    }

    /// What became of a message, if that is remembered
    ///
    /// # Errors
    /// [`InboxError`]
    pub(crate) fn fate(&mut self, id: &MessageId) -> Result<Option<PastFate>, InboxError> {
        self.read(|transaction| outbox::fate(transaction, id))
    }

    /// What waits in the out-box, the oldest first
    ///
    /// # Errors
    /// [`InboxError`]
    pub(crate) fn waiting(&mut self, now: SystemTime) -> Result<Vec<Restored>, InboxError> {
        let waiting = self.read(|transaction| outbox::waiting(transaction, now))?;
        self.outbox_bytes = waiting.iter().map(|waiting| waiting.bytes).sum();
        Ok(waiting)
    }

    /// Messages that are not read yet, the oldest first, up to [`LIST_MAX`] and [`LIST_BYTES_MAX`]
    ///
    /// The last one's sequence as `after` continues a list that is not complete.
    ///
    /// # Errors
    /// [`InboxError`]
    pub(crate) fn list(&mut self, selection: &Selection) -> Result<Vec<Stored>, InboxError> {
        let Some(first) = selection.after.checked_add(1) else { return Ok(Vec::new()) };
        let limit = selection.limit.unwrap_or(LIST_MAX).min(LIST_MAX);
        self.read(|transaction| {
            let (mut listed, mut bytes) = (Vec::new(), 0);
            for row in transaction.open_table(MESSAGES)?.range(first..)? {
                if listed.len() >= limit || bytes >= LIST_BYTES_MAX {
                    break;
                }
                let (sequence, row) = row?;
                let row = row.value();
                if selection.from.as_ref().is_some_and(|from| from.as_str() != row.1) {
                    continue;
                }
                bytes += row.6.len();
                listed.push(stored(sequence.value(), row)?);
            }
            Ok(listed)
        })
    }

    /// Removes messages that were read, and returns how many of them were there
    ///
    /// Remove what was listed only once its reader has it: a message that is printed twice is better than one that is
    /// lost.
    ///
    /// # Errors
    /// [`InboxError`]: all of them are still there.
    pub(crate) fn remove(&mut self, sequences: &[u64]) -> Result<u64, InboxError> {
        let removed = match self.write(|transaction| remove(transaction, sequences)) {
            // Even a removal takes room before it makes some, and is the way out of a disk that the messages have filled.
            Err(InboxError::DiskFull) => {
                self.path.parent().into_iter().for_each(files::release_reserve);
                self.write(|transaction| remove(transaction, sequences))
            }
            removed => removed,
        }?;
        let messages = removed.len() as u64;
        self.policy.handle_removed(removed);
        self.totals.send_replace(self.policy.totals());
        self.give_back_space();
        Ok(messages)
    }

    /// Makes the file smaller where it is mostly empty
    fn give_back_space(&mut self) {
        let len = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if len < COMPACT_BYTES_MIN || len / 4 < self.policy.totals().bytes + self.outbox_bytes {
            return;
        }
        let Some(db) = &mut self.db else { return };
        match db.compact() {
            Ok(_) => {
                let now = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
                tracing::info!(event = "inbox_compacted", bytes_before = len, bytes = now);
            }
            Err(reason) => tracing::warn!(event = "inbox_not_compacted", %reason),
        }
    }

    /// Saves records, erases others, and pins keys, in the order given, in one transaction
    ///
    /// # Errors
    /// [`InboxError`]: nothing has changed.
    pub(crate) fn write_names(&mut self, changes: &[NameChange], now: SystemTime) -> Result<(), InboxError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(NAMES)?;
            let mut pins = transaction.open_table(PINS)?;
            for change in changes {
                let record = match change {
                    NameChange::Save(record) => record,
                    NameChange::Erase(name) => {
                        table.remove(name.as_str())?;
                        continue;
                    }
                    NameChange::Pin(name, key) => {
                        pins.insert(name.as_str(), &key.0)?;
                        continue;
                    }
                    NameChange::Unpin(name) => {
                        pins.remove(name.as_str())?;
                        continue;
                    }
                };
                let bytes = wire::encode(record).map_err(|error| Fault::Damaged(error.to_string()))?;
                let known = table.get(record.name.as_str())?.is_some();
                if known || table.len()? < RECORDS_MAX as u64 {
                    table.insert(record.name.as_str(), (micros(now), bytes.as_slice()))?;
                }
            }
            Ok(())
        })
    }

    /// Every saved record with its age; one saved in the future, by a clock that was wrong, is as old as can be
    ///
    /// # Errors
    /// [`InboxError`]
    pub(crate) fn names(&mut self, now: SystemTime) -> Result<Vec<(Record, Duration)>, InboxError> {
        self.read(|transaction| {
            let mut names = Vec::new();
            for row in transaction.open_table(NAMES)?.iter()? {
                let (_, row) = row?;
                let (saved, bytes) = row.value();
                let age = micros(now).checked_sub(saved).map_or(Duration::MAX, Duration::from_micros);
                names.push((wire::decode(bytes).map_err(|error| Fault::Damaged(error.to_string()))?, age));
            }
            Ok(names)
        })
    }

    /// The keys that names must have
    ///
    /// # Errors
    /// [`InboxError`]
    pub(crate) fn pins(&mut self) -> Result<Vec<(Name, Key)>, InboxError> {
        self.read(|transaction| {
            let mut pins = Vec::new();
            for row in transaction.open_table(PINS)?.iter()? {
                let (name, key) = row?;
                let name = name.value().parse().map_err(|error| Fault::Damaged(format!("a pin: {error}")))?;
                pins.push((name, Key(*key.value())));
            }
            Ok(pins)
        })
    }

    /// A value that was set
    ///
    /// # Errors
    /// [`InboxError`]
    pub(crate) fn meta(&mut self, key: &'static str) -> Result<Option<Vec<u8>>, InboxError> {
        self.read(|transaction| Ok(transaction.open_table(META)?.get(key)?.map(|value| value.value().to_vec())))
    }

    /// Sets a value; keys are the program's own, so there are few
    ///
    /// # Errors
    /// [`InboxError`], [`InboxError::MetaTooLarge`] among them
    pub(crate) fn set_meta(&mut self, key: &'static str, value: &[u8]) -> Result<(), InboxError> {
        if value.len() > META_BYTES_MAX {
            return Err(InboxError::MetaTooLarge(value.len()));
        }
        self.write(|transaction| {
            transaction.open_table(META)?.insert(key, value)?;
            Ok(())
        })
    }

    fn db(&mut self) -> Result<&Database, InboxError> {
        if self.db.is_none() {
            self.connect(false)?;
        }
        self.db.as_ref().ok_or(InboxError::DiskFull)
    }

    /// Opens the file and takes over what is in it
    fn connect(&mut self, check: bool) -> Result<(), InboxError> {
        let db = (self.opener)(check).map_err(|fault| fault.at(&self.path))?;
        let loaded = prepare(&db).and_then(|()| load(&db.begin_read()?, self.bytes_max));
        self.policy = loaded.map_err(|fault| self.failed(fault))?;
        self.db = Some(db);
        self.totals.send_replace(self.policy.totals());
        Ok(())
    }

    fn read<T>(&mut self, run: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, InboxError> {
        let db = self.db()?;
        let done = db.begin_read().map_err(Fault::from).and_then(|transaction| run(&transaction));
        done.map_err(|fault| self.failed(fault))
    }

    fn write<T>(&mut self, run: impl FnOnce(&WriteTransaction) -> Result<T, Fault>) -> Result<T, InboxError> {
        self.write_as(Durable::Now, run)
    }

    fn write_as<T>(
        &mut self,
        durable: Durable,
        run: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, InboxError> {
        let db = self.db()?;
        let written = write(db, durable, run).map_err(|fault| self.failed(fault))?;
        self.undurable = if durable == Durable::Now { 0 } else { self.undurable + 1 };
        Ok(written)
    }

    /// The error for `fault`; after a full disk the database is closed, so that the next call opens it anew
    fn failed(&mut self, fault: Fault) -> InboxError {
        let error = fault.at(&self.path);
        tracing::error!(path = %self.path.display(), reason = %error, "in-box failed");
        if error == InboxError::DiskFull {
            self.db = None;
        }
        error
    }
}
