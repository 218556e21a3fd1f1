//! The in-box: messages on disk until they are read, and what else a peer must not forget.
//!
//! One redb file, owned by one thread that may block. Everything that a call changes is one transaction, durable before
//! the call returns: only then may the shell send receipts. Give [`Inbox::keep`] all the messages that have come
//! meanwhile, so that they share one wait for the disk.
//!
//! | table | key | value |
//! |---|---|---|
//! | `messages` | sequence | id, sender's name and key, its address, time received, bytes |
//! | `seen` | sequence | fingerprint of a message that was kept, read or not |
//! | `names` | name | time saved, the directory's record |
//! | `meta` | text | bytes; `format` is this table's version |
//!
//! A sequence is given once: it counts every message ever kept here.

pub(crate) mod worker;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kith_common::id::{Address, Key, MessageId, Name};
use kith_common::mail::seen::{Check, Fingerprint, SEEN_MAX, Seen};
use kith_common::names::RECORDS_MAX;
use kith_common::status::Status;
use kith_common::wire;
use kith_common::wire::bounded::Bytes;
use kith_common::wire::content::DATA_BYTES_MAX;
use kith_common::wire::session::Record;
use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use redb::{ReadTransaction, TableError, WriteTransaction};
use tokio::sync::watch;

/// The in-box's size unless it is configured: a peer that nobody reads must not fill the disk
pub const BYTES_MAX_DEFAULT: u64 = 64 * 1024 * 1024;
/// What a message is counted as beyond its bytes: ids, name, time and its share of the index
pub const OVERHEAD_BYTES: u64 = 256;
/// Messages that one [`Inbox::list`] returns at most
pub const LIST_MAX: usize = 1_000;
/// Bytes of messages after which a [`Inbox::list`] ends: eighteen of the largest
pub const LIST_BYTES_MAX: usize = 1024 * 1024;
/// The longest value of the `meta` table, in bytes
pub const META_BYTES_MAX: usize = 4_096;

/// What redb may hold in memory: an idle peer is small, and old messages are rarely read
const CACHE_BYTES: usize = 4 * 1024 * 1024;
const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";

/// id, sender's name, sender's key, sender's address, microseconds since 1970, bytes
type Row = (&'static [u8; 16], &'static str, &'static [u8; 32], u64, u64, &'static [u8]);
const MESSAGES: TableDefinition<'_, u64, Row> = TableDefinition::new("messages");
const SEEN: TableDefinition<'_, u64, &[u8; 16]> = TableDefinition::new("seen");
/// microseconds since 1970, a [`Record`] as on the wire
const NAMES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("names");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// A verified message on its way into the in-box
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The sender's id for it
    pub id: MessageId,
    /// The sender's name
    pub from: Name,
    /// The sender's key
    pub key: Key,
    /// The sender's place at that time
    pub address: Address,
    /// When it came
    pub received: SystemTime,
    /// What it says
    pub bytes: Bytes<DATA_BYTES_MAX>,
}

impl Incoming {
    fn cost(&self) -> u64 {
        self.bytes.len() as u64 + OVERHEAD_BYTES
    }
}

/// A message in the in-box
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number; later messages have larger ones
    pub sequence: u64,
    /// The message; its time to the microsecond
    pub message: Incoming,
}

/// What became of a message that was offered
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on disk
    New {
        /// Its number
        sequence: u64,
    },
    /// It was kept before; receipt it again
    Duplicate,
    /// There is no room until others are read; send it again later
    Full,
    /// It would not even fit into an empty in-box
    TooLarge,
}

impl Kept {
    /// The status of the receipt
    pub const fn status(self) -> Status {
        match self {
            Self::New { .. } | Self::Duplicate => Status::Delivered,
            Self::Full => Status::SlowDown,
            Self::TooLarge => Status::TooLarge,
        }
    }
}

/// How full the in-box is; changes are the sign to [`Inbox::list`] again
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Messages not yet read
    pub messages: u64,
    /// What they are counted as, in bytes, [`OVERHEAD_BYTES`] each included
    pub bytes: u64,
    /// The largest sequence given so far; 0: none
    pub last: u64,
}

/// Which messages to list
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selection {
    /// Only this sender's
    pub from: Option<Name>,
    /// Only those with a larger sequence
    pub after: u64,
    /// At most so many; never more than [`LIST_MAX`]
    pub limit: Option<usize>,
}

/// Why the in-box cannot do what it should; nothing has been kept, removed or changed
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// Another process has the file; this one has not touched it
    #[error("{0} is in use: another kith runs with this home; stop it, or choose another with --home")]
    Locked(PathBuf),
    /// The disk or its quota is full. The next call tries again by itself
    #[error("the disk is full: free some space; what is in the in-box can still be read")]
    DiskFull,
    /// The disk fails. Every further call fails so until the daemon starts anew
    #[error("the in-box cannot be read or written: {0}; see to the disk, then start kith again")]
    Io(String),
    /// The file is not what was written
    #[error("the in-box is damaged: {0}; move {path} away and start kith again", path = .1.display())]
    Corrupted(String, PathBuf),
    /// A later version wrote the file
    #[error("the in-box has format {0}, this kith knows {FORMAT}: use the later version")]
    Format(u64),
    /// A value of the `meta` table is over [`META_BYTES_MAX`]
    #[error("{0} bytes are more than the {META_BYTES_MAX} that fit")]
    MetaTooLarge(usize),
}

impl InboxError {
    /// The status of a receipt for a message that could not be kept for this reason
    pub const fn status(&self) -> Status {
        Status::Failed
    }
}

/// Opens the database; whether its integrity is to be checked
type Opener = Box<dyn Fn(bool) -> Result<Database, redb::DatabaseError> + Send>;

/// The in-box of one peer
pub struct Inbox {
    path: PathBuf,
    opener: Opener,
    /// `None` after the disk was full: redb wants to be opened anew after every failed write
    db: Option<Database>,
    seen: Seen,
    bytes_max: u64,
    totals: watch::Sender<Totals>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("path", &self.path).field("totals", &*self.totals.borrow()).finish()
    }
}

impl Inbox {
    /// Opens the in-box at `path`, or makes an empty one that only its owner may read; checks all of it
    ///
    /// `bytes_max` bounds the messages' bytes and overheads; the file may grow to three times that (messages of 33 KiB are
    /// its worst: each takes a 64 KiB page, and redb needs room to copy).
    ///
    /// # Errors
    /// [`InboxError`]; the file is as it was.
    pub fn open(path: &Path, bytes_max: u64) -> Result<Self, InboxError> {
        let file = path.to_owned();
        let opener = move |check| open_file(&file, check);
        Self::open_with(path, bytes_max, Box::new(opener))
    }

    fn open_with(path: &Path, bytes_max: u64, opener: Opener) -> Result<Self, InboxError> {
        let path = path.to_owned();
        let (db, seen, totals) = (None, Seen::new(), watch::Sender::new(Totals::default()));
        let mut inbox = Self { path, opener, db, seen, bytes_max, totals };
        inbox.connect(true)?;
        Ok(inbox)
    }

    /// Tells when the in-box changes
    pub fn watch(&self) -> watch::Receiver<Totals> {
        self.totals.subscribe()
    }

    /// How full it is
    pub fn totals(&self) -> Totals {
        *self.totals.borrow()
    }

    /// Keeps messages, in their order, in one transaction: with `Ok`, all that are `New` are on disk
    ///
    /// # Errors
    /// [`InboxError`]: none was kept, and none must be receipted with 200.
    pub fn keep(&mut self, batch: &[Incoming]) -> Result<Vec<Kept>, InboxError> {
        self.db()?;
        let plan = self.plan(batch);
        if !plan.kept.iter().any(|kept| matches!(kept, Kept::New { .. })) {
            return Ok(plan.kept);
        }
        self.write(|transaction| store(transaction, batch, &plan))?;
        for fingerprint in plan.fingerprints {
            self.seen.insert(fingerprint);
        }
        self.totals.send_replace(plan.totals);
        Ok(plan.kept)
    }

    /// Messages that are not read yet, the oldest first, up to [`LIST_MAX`] and [`LIST_BYTES_MAX`]
    ///
    /// The last one's sequence as `after` continues a list that is not complete.
    ///
    /// # Errors
    /// [`InboxError`]
    pub fn list(&mut self, selection: &Selection) -> Result<Vec<Stored>, InboxError> {
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
                bytes += row.5.len();
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
    pub fn remove(&mut self, sequences: &[u64]) -> Result<u64, InboxError> {
        let (messages, bytes) = self.write(|transaction| {
            let mut table = transaction.open_table(MESSAGES)?;
            let (mut messages, mut bytes) = (0, 0);
            for sequence in sequences {
                if let Some(row) = table.remove(sequence)? {
                    messages += 1;
                    bytes += row.value().5.len() as u64 + OVERHEAD_BYTES;
                }
            }
            Ok((messages, bytes))
        })?;
        self.totals.send_modify(|totals| {
            totals.messages -= messages;
            totals.bytes -= bytes;
        });
        Ok(messages)
    }

    /// Saves records and erases others, in one transaction; past [`RECORDS_MAX`] a new one is left out
    ///
    /// # Errors
    /// [`InboxError`]
    pub fn write_names(&mut self, save: &[Record], erase: &[Name], now: SystemTime) -> Result<(), InboxError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(NAMES)?;
            for name in erase {
                table.remove(name.as_str())?;
            }
            for record in save {
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
    pub fn names(&mut self, now: SystemTime) -> Result<Vec<(Record, Duration)>, InboxError> {
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

    /// A value that was set
    ///
    /// # Errors
    /// [`InboxError`]
    pub fn meta(&mut self, key: &'static str) -> Result<Option<Vec<u8>>, InboxError> {
        self.read(|transaction| Ok(transaction.open_table(META)?.get(key)?.map(|value| value.value().to_vec())))
    }

    /// Sets a value; keys are the program's own, so there are few
    ///
    /// # Errors
    /// [`InboxError`], [`InboxError::MetaTooLarge`] among them
    pub fn set_meta(&mut self, key: &'static str, value: &[u8]) -> Result<(), InboxError> {
        if value.len() > META_BYTES_MAX {
            return Err(InboxError::MetaTooLarge(value.len()));
        }
        self.write(|transaction| {
            transaction.open_table(META)?.insert(key, value)?;
            Ok(())
        })
    }

    /// Decides on each message, as if those before it were kept already
    fn plan(&self, batch: &[Incoming]) -> Plan {
        let mut plan = Plan { kept: Vec::with_capacity(batch.len()), fingerprints: Vec::new(), totals: self.totals() };
        for message in batch {
            let kept = self.plan_one(message, &mut plan);
            if matches!(kept, Kept::Full | Kept::TooLarge) {
                let reason = if kept == Kept::Full { "the in-box is full" } else { "it is larger than the in-box" };
                tracing::warn!(id = %message.id, from = %message.from, status = %kept.status(), reason, "not kept");
            }
            plan.kept.push(kept);
        }
        plan
    }

    fn plan_one(&self, message: &Incoming, plan: &mut Plan) -> Kept {
        let fingerprint = Fingerprint::of(&message.key, &message.id);
        if self.seen.check(&fingerprint) == Check::Duplicate || plan.fingerprints.contains(&fingerprint) {
            return Kept::Duplicate;
        }
        if message.cost() > self.bytes_max {
            return Kept::TooLarge;
        }
        if plan.totals.bytes + message.cost() > self.bytes_max {
            return Kept::Full;
        }
        plan.fingerprints.push(fingerprint);
        plan.totals.messages += 1;
        plan.totals.bytes += message.cost();
        plan.totals.last += 1;
        Kept::New { sequence: plan.totals.last }
    }

    fn db(&mut self) -> Result<&Database, InboxError> {
        if self.db.is_none() {
            self.connect(false)?;
        }
        self.db.as_ref().ok_or(InboxError::DiskFull)
    }

    /// Opens the file and takes over what is in it
    fn connect(&mut self, check: bool) -> Result<(), InboxError> {
        let db = (self.opener)(check).map_err(|error| self.error(error.into()))?;
        let loaded = prepare(&db).and_then(|()| load(&db.begin_read()?));
        let (seen, totals) = loaded.map_err(|fault| self.failed(fault))?;
        (self.db, self.seen) = (Some(db), seen);
        self.totals.send_replace(totals);
        Ok(())
    }

    fn read<T>(&mut self, run: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, InboxError> {
        let db = self.db()?;
        let done = db.begin_read().map_err(Fault::from).and_then(|transaction| run(&transaction));
        done.map_err(|fault| self.failed(fault))
    }

    fn write<T>(&mut self, run: impl FnOnce(&WriteTransaction) -> Result<T, Fault>) -> Result<T, InboxError> {
        let db = self.db()?;
        write(db, run).map_err(|fault| self.failed(fault))
    }

    /// The error for `fault`; after a full disk the database is closed, so that the next call opens it anew
    fn failed(&mut self, fault: Fault) -> InboxError {
        let error = match fault {
            Fault::Redb(error) => self.error(*error),
            Fault::Damaged(text) => InboxError::Corrupted(text, self.path.clone()),
            Fault::Format(format) => InboxError::Format(format),
        };
        tracing::error!(path = %self.path.display(), reason = %error, "in-box failed");
        if error == InboxError::DiskFull {
            self.db = None;
        }
        error
    }

    fn error(&self, error: redb::Error) -> InboxError {
        use std::io::ErrorKind::{FileTooLarge, InvalidData, QuotaExceeded, StorageFull, UnexpectedEof};
        let damaged = |text: String| InboxError::Corrupted(text, self.path.clone());
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                InboxError::Locked(self.path.clone())
            }
            redb::Error::Io(error) => match error.kind() {
                StorageFull | QuotaExceeded | FileTooLarge => InboxError::DiskFull,
                InvalidData | UnexpectedEof => damaged(error.to_string()),
                _ => InboxError::Io(error.to_string()),
            },
            redb::Error::Corrupted(text) => damaged(text),
            error @ (redb::Error::UpgradeRequired(_)
            | redb::Error::RepairAborted
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)) => damaged(error.to_string()),
            error => InboxError::Io(error.to_string()),
        }
    }
}

/// What [`Inbox::keep`] is going to do
struct Plan {
    kept: Vec<Kept>,
    fingerprints: Vec<Fingerprint>,
    totals: Totals,
}

/// What goes wrong inside a transaction
enum Fault {
    Redb(Box<redb::Error>),
    Damaged(String),
    Format(u64),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

fn open_file(path: &Path, check: bool) -> Result<Database, redb::DatabaseError> {
    // redb would make it readable for everybody.
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    builder(check).create(path)
}

fn builder(check: bool) -> Builder {
    let mut builder = Database::builder();
    // Without the check redb may panic later over what somebody else has done to the file.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
    builder
}

fn write<T>(db: &Database, run: impl FnOnce(&WriteTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let done = run(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// Makes the tables of a new file, and refuses those of another format
fn prepare(db: &Database) -> Result<(), Fault> {
    match db.begin_read()?.open_table(META) {
        Ok(meta) => {
            let format = meta.get(FORMAT_KEY)?;
            return check_format(format.as_ref().map(|format| format.value()).unwrap_or_default());
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    write(db, |transaction| {
        transaction.open_table(MESSAGES)?;
        transaction.open_table(SEEN)?;
        transaction.open_table(NAMES)?;
        transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
        Ok(())
    })
}

fn check_format(bytes: &[u8]) -> Result<(), Fault> {
    match bytes.try_into().map(u64::from_le_bytes) {
        Ok(FORMAT) => Ok(()),
        Ok(other) => Err(Fault::Format(other)),
        Err(_) => Err(Fault::Damaged("its format has no number".to_owned())),
    }
}

fn load(transaction: &ReadTransaction) -> Result<(Seen, Totals), Fault> {
    let (mut seen, mut totals) = (Seen::new(), Totals::default());
    for row in transaction.open_table(SEEN)?.iter()? {
        let (sequence, fingerprint) = row?;
        seen.insert(Fingerprint(*fingerprint.value()));
        totals.last = sequence.value();
    }
    for row in transaction.open_table(MESSAGES)?.iter()? {
        totals.messages += 1;
        totals.bytes += row?.1.value().5.len() as u64 + OVERHEAD_BYTES;
    }
    Ok((seen, totals))
}

fn store(transaction: &WriteTransaction, batch: &[Incoming], plan: &Plan) -> Result<(), Fault> {
    let mut messages = transaction.open_table(MESSAGES)?;
    let mut seen = transaction.open_table(SEEN)?;
    for (message, kept) in batch.iter().zip(&plan.kept) {
        let Kept::New { sequence } = kept else { continue };
        let (id, from, key) = (&message.id.0, message.from.as_str(), &message.key.0);
        let row = (id, from, key, message.address.0, micros(message.received), &*message.bytes);
        messages.insert(sequence, row)?;
        seen.insert(sequence, &Fingerprint::of(&message.key, &message.id).0)?;
        if seen.len()? > SEEN_MAX as u64 {
            seen.pop_first()?;
        }
    }
    Ok(())
}

fn stored(sequence: u64, row: (&[u8; 16], &str, &[u8; 32], u64, u64, &[u8])) -> Result<Stored, Fault> {
    let (id, from, key, address, received, bytes) = row;
    let message = Incoming {
        id: MessageId(*id),
        from: from.parse().map_err(|error| Fault::Damaged(format!("message {sequence}: {error}")))?,
        key: Key(*key),
        address: Address(address),
        received: UNIX_EPOCH + Duration::from_micros(received),
        bytes: bytes.to_vec().try_into().map_err(|error| Fault::Damaged(format!("message {sequence}: {error}")))?,
    };
    Ok(Stored { sequence, message })
}

/// Microseconds since 1970; a moment before that is taken for it
fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
