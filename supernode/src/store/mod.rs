//! The directory's log on disk: nothing is acknowledged before it is here.
//!
//! One redb file in the supernode's home, with three tables:
//!
//! | table | key | value |
//! |---|---|---|
//! | `log` | index | check (8 bytes), then [`Command::to_bytes`] |
//! | `snapshot` | index of the last command in it | check (8 bytes), then [`Directory::snapshot`] |
//! | `meta` | `"format"` | [`FORMAT`] |
//!
//! A check is the first 8 bytes of SHA-256(index, little endian ‖ value). There is one snapshot at most, and the log
//! goes on where it ends. Every call blocks until the disk has answered: it belongs in a thread of its own.
//!
//! After an error nobody knows whether the last batch is on the disk. A full disk is waited for: the next call opens the
//! file anew, and [`Store::reopen`] says what of that batch is there after all. After any other error every later call
//! fails, too, and the supernode must end; the next start finds all that was acknowledged, and perhaps that batch.

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use kith_common::crypto;
use kith_common::directory::{Command, CommandError, Directory, RestoreError};
use kith_common::wire::WireError;
use kith_runtime::files;
use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

/// The file in the supernode's home
pub(crate) const FILE_NAME: &str = "directory.redb";

/// The form of the tables; another one is refused
pub(crate) const FORMAT: u64 = 3;

/// Commands after which a snapshot is taken: a second's work of a login storm, and read again in milliseconds
pub(crate) const SNAPSHOT_EVERY: u64 = 4096;

/// The usual size of a command. The log may grow to the size of the snapshot before it is cut, so that with a million
/// names the 100 MB of a snapshot are not written for every few kilobytes of log.
const COMMAND_BYTES_USUAL: u64 = 128;

const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
const SNAPSHOT: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("snapshot");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

/// What went wrong with which file, and what to do; the store answers nothing any more
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub(crate) struct StoreError {
    path: PathBuf,
    fault: Fault,
}

impl StoreError {
    /// Whether the store may be of use again
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self.fault, Fault::Full)
    }
}

/// What went wrong with the log
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Another process holds the file; nothing was changed
    #[error("another supernode is using it; stop that one, or give this one a home of its own with --home")]
    Locked,
    /// No space is left; the last batch may or may not be in the log, and was not acknowledged
    #[error("the disk is full; make room, nothing acknowledged is lost")]
    Full,
    /// Somebody, or a power cut, took all of it
    #[error(
        "it has no bytes, so the owners of all names are lost; put back a copy of it, or move it away to begin without any names"
    )]
    Emptied,
    /// The bytes are not what was written
    #[error("it is damaged ({0}); put back a copy of it, or move it away to begin without any names")]
    Damaged(String),
    /// Another version of the program wrote it; nothing was changed
    #[error(
        "another version of kith-supernode wrote it ({0}); start that version, or move the file away to begin without any names"
    )]
    Version(String),
    /// The disk or the system refused; the last batch may or may not be in the log, and was not acknowledged
    #[error("{0}; the supernode cannot go on without its log")]
    Io(Box<redb::Error>),
    /// A value without bytes, which no command is; nothing was changed
    #[error("a command cannot be written: {0}")]
    Unwritable(#[from] WireError),
    /// An earlier call failed; nothing was changed
    #[error("the log failed before; start the supernode again")]
    Stopped,
}

/// Opens the database; whether its integrity is to be checked
type Opener = Box<dyn Fn(bool) -> Result<Database, Fault> + Send>;

pub(crate) struct Store {
    opener: Opener,
    /// `None` after the disk was full: redb wants to be opened anew after every failed write
    db: Option<Database>,
    path: PathBuf,
    last: u64,
    snapshot_at: u64,
    snapshot_bytes: u64,
    stopped: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the log in `home`, or makes it, and reads the directory from it
    ///
    /// Its epochs are of this `incarnation`, which must be drawn anew: whether this is the log that was open last, or an
    /// older copy of it, nothing on the disk can tell.
    ///
    /// While it is open no other process can open it. The whole file is checked, which takes a second for each gigabyte.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong with the file and what to do; a damaged one is left as it is.
    pub(crate) fn open(home: &Path, incarnation: u32) -> Result<(Self, Directory), StoreError> {
        let path = home.join(FILE_NAME);
        let file = path.clone();
        let opener = move |check| open_file(&file, check);
        Self::open_with(path.clone(), Box::new(opener), incarnation).map_err(|fault| StoreError { path, fault })
    }

    fn open_with(path: PathBuf, opener: Opener, incarnation: u32) -> Result<(Self, Directory), Fault> {
        let db = opener(true)?;
        prepare(&db)?;
        let (mut directory, snapshot_bytes) = read_snapshot(&db, incarnation)?;
        let snapshot_at = directory.applied();
        read_log(&db, &mut directory)?;
        let last = directory.applied();
        tracing::info!(
            path = %path.display(), snapshot_at, last, names = directory.accounts().len(),
            sessions = directory.sessions().len(), reason = "start", "directory read"
        );
        Ok((Self { opener, db: Some(db), path, last, snapshot_at, snapshot_bytes, stopped: false }, directory))
    }

    /// Makes `commands` durable, all or none, with one wait for the disk; returns their indices, which it gives: the next
    /// ones after the last
    ///
    /// # Errors
    /// [`StoreError`]: they may or may not be in the log, and must not be acknowledged or applied. Unless
    /// [`StoreError::is_passing`] the supernode must end.
    pub(crate) fn append<'a>(
        &mut self,
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> Result<Range<u64>, StoreError> {
        self.guard(|store| store.try_append(commands))
    }

    /// Whether [`Store::snapshot`] should be called: after [`SNAPSHOT_EVERY`] commands, or more if the last one was large
    pub(crate) fn is_snapshot_due(&self) -> bool {
        self.last - self.snapshot_at >= SNAPSHOT_EVERY.max(self.snapshot_bytes / COMMAND_BYTES_USUAL)
    }

    /// Keeps `directory` and cuts the commands that are in it from the log
    ///
    /// # Errors
    /// [`StoreError`]: the log is as before or cut, and tells the same either way; unless [`StoreError::is_passing`] the
    /// supernode must end.
    pub(crate) fn snapshot(&mut self, directory: &Directory) -> Result<(), StoreError> {
        self.guard(|store| store.try_snapshot(directory))
    }

    /// After a full disk: the file is opened anew, and what of the last batch is in it after all is told, with its indices
    ///
    /// # Errors
    /// [`StoreError`] as for [`Self::append`]; nothing was changed.
    pub(crate) fn reopen(&mut self) -> Result<Vec<(u64, Command)>, StoreError> {
        self.guard(|store| {
            if store.db.is_some() {
                return Ok(Vec::new());
            }
            let db = (store.opener)(false)?;
            let mut found = Vec::new();
            for entry in db.begin_read()?.open_table(LOG)?.range(store.last + 1..)? {
                let (index, value) = entry?;
                found.push((index.value(), read_entry(index.value(), value.value())?));
            }
            store.last += found.len() as u64;
            store.db = Some(db);
            Ok(found)
        })
    }

    /// Writes what is there already, to see whether the disk takes anything
    ///
    /// # Errors
    /// [`StoreError`] as for [`Self::append`]; the log is as it was.
    pub(crate) fn touch(&mut self) -> Result<(), StoreError> {
        self.guard(|store| {
            let transaction = write(store.db()?)?;
            transaction.open_table(META)?.insert("format", FORMAT)?;
            Ok(transaction.commit()?)
        })
    }

    fn db(&self) -> Result<&Database, Fault> {
        self.db.as_ref().ok_or(Fault::Full)
    }

    fn guard<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, StoreError> {
        let result = if self.stopped { Err(Fault::Stopped) } else { call(self) };
        match &result {
            Err(Fault::Full) => self.db = None,
            result => self.stopped |= result.is_err(),
        }
        result.map_err(|fault| StoreError { path: self.path.clone(), fault })
    }

    fn try_append<'a>(&mut self, commands: impl IntoIterator<Item = &'a Command>) -> Result<Range<u64>, Fault> {
        let first = self.last + 1;
        let mut commands = commands.into_iter().peekable();
        if commands.peek().is_none() {
            return Ok(first..first);
        }
        let transaction = write(self.db()?)?;
        let mut end = first;
        {
            let mut log = transaction.open_table(LOG)?;
            for command in commands {
                log.insert(end, checked(end, &command.to_bytes()?).as_slice())?;
                end += 1;
            }
        }
        transaction.commit()?;
        self.last = end - 1;
        Ok(first..end)
    }

    fn try_snapshot(&mut self, directory: &Directory) -> Result<(), Fault> {
        let index = directory.applied();
        let bytes = directory.snapshot()?;
        let transaction = write(self.db()?)?;
        {
            let mut snapshots = transaction.open_table(SNAPSHOT)?;
            snapshots.retain(|_, _| false)?;
            snapshots.insert(index, checked(index, &bytes).as_slice())?;
            transaction.open_table(LOG)?.retain_in(..=index, |_, _| false)?;
        }
        transaction.commit()?;
        self.snapshot_at = index;
        self.snapshot_bytes = bytes.len() as u64;
        tracing::info!(index, bytes = bytes.len(), reason = "the log had grown", "snapshot taken, log cut");
        Ok(())
    }
}

/// Opens the file, or makes one with its tables in it, so that a file without bytes is none that a start was killed at
fn open_file(path: &Path, check: bool) -> Result<Database, Fault> {
    let open = |file, check| Ok::<_, Fault>(builder(check).create_with_backend(FileBackend::new(file)?)?);
    let fill = |file| {
        let db = open(file, false)?;
        prepare(&db)?;
        Ok(db)
    };
    files::open_or_create(path, |file| open(file, check), fill, || Fault::Emptied)
}

fn builder(check: bool) -> redb::Builder {
    let mut builder = Database::builder();
    // Without it a file that was damaged after a good end would be trusted, and could end in a panic.
    builder.set_check_integrity_on_open(check);
    builder
}

/// Makes the tables of a new file, and refuses those of another format
fn prepare(db: &Database) -> Result<(), Fault> {
    match db.begin_read()?.open_table(META) {
        Ok(meta) => return check_format(meta.get("format")?.map(|format| format.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let transaction = write(db)?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    transaction.open_table(LOG)?;
    transaction.open_table(SNAPSHOT)?;
    Ok(transaction.commit()?)
}

fn write(db: &Database) -> Result<WriteTransaction, Fault> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

fn check_format(format: Option<u64>) -> Result<(), Fault> {
    match format {
        Some(FORMAT) => Ok(()),
        Some(other) => Err(Fault::Version(format!("format {other}, this is format {FORMAT}"))),
        None => Err(damaged("its format has no number")),
    }
}

/// The directory at the snapshot, and the snapshot's size
fn read_snapshot(db: &Database, incarnation: u32) -> Result<(Directory, u64), Fault> {
    let table = db.begin_read()?.open_table(SNAPSHOT)?;
    let Some((index, value)) = table.last()? else { return Ok((Directory::new(incarnation), 0)) };
    let bytes = unchecked(index.value(), value.value()).ok_or_else(|| damaged("the snapshot's check is wrong"))?;
    let directory = Directory::restore(incarnation, bytes)?;
    if directory.applied() != index.value() {
        return Err(damaged("the snapshot is of another index"));
    }
    Ok((directory, bytes.len() as u64))
}

fn read_log(db: &Database, directory: &mut Directory) -> Result<(), Fault> {
    let table = db.begin_read()?.open_table(LOG)?;
    for entry in table.iter()? {
        let (index, value) = entry?;
        let index = index.value();
        if index != directory.applied() + 1 {
            return Err(damaged(format!("entry {index} follows on {}", directory.applied())));
        }
        directory.apply(index, &read_entry(index, value.value())?);
    }
    Ok(())
}

fn read_entry(index: u64, value: &[u8]) -> Result<Command, Fault> {
    let bytes = unchecked(index, value).ok_or_else(|| damaged(format!("the check of entry {index} is wrong")))?;
    Ok(Command::from_bytes(bytes)?)
}

fn check(index: u64, bytes: &[u8]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = crypto::sha256(&[&index.to_le_bytes(), bytes]);
    [a, b, c, d, e, f, g, h]
}

fn checked(index: u64, bytes: &[u8]) -> Vec<u8> {
    [&check(index, bytes), bytes].concat()
}

fn unchecked(index: u64, value: &[u8]) -> Option<&[u8]> {
    let (stored, bytes) = value.split_first_chunk::<8>()?;
    (*stored == check(index, bytes)).then_some(bytes)
}

fn damaged(what: impl Into<String>) -> Fault {
    Fault::Damaged(what.into())
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            redb::Error::PreviousIo => Self::Stopped,
            redb::Error::Corrupted(what) => Self::Damaged(what),
            redb::Error::UpgradeRequired(version) => Self::Version(format!("redb's file format {version}")),
            redb::Error::Io(error) if files::is_full(&error) => Self::Full,
            redb::Error::Io(error) if matches!(error.kind(), InvalidData | UnexpectedEof) => damaged(error.to_string()),
            other => Self::Io(Box::new(other)),
        }
    }
}

macro_rules! redb_faults {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

redb_faults!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        redb::Error::Io(error).into()
    }
}

impl From<CommandError> for Fault {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Version(_) => Self::Version(error.to_string()),
            CommandError::Bytes(_) => Self::Damaged(error.to_string()),
        }
    }
}

impl From<RestoreError> for Fault {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Version(_) => Self::Version(error.to_string()),
            RestoreError::Bytes(_) | RestoreError::Inconsistent(_) => Self::Damaged(error.to_string()),
        }
    }
}
