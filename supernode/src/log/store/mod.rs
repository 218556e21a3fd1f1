//! The log's file: entries by their numbers, one snapshot, and a few words, all checked.
//!
//! One redb file in the supernode's home, with four tables:
//!
//! | table | key | value |
//! |---|---|---|
//! | `entries` | number | check (8 bytes), then the entry's bytes |
//! | `snapshot` | number of the last entry in it | check (8 bytes), then the snapshot's bytes |
//! | `words` | what it is about | check (8 bytes), then the word's bytes |
//! | `meta` | `"format"` | [`FORMAT`] |
//!
//! A check is the first 8 bytes of SHA-256(number, little endian ‖ value); a word's number is 0. What the bytes mean is
//! Raft's business. Entries are one after the other, there is one snapshot at most, and every call blocks until the disk
//! has answered: it belongs in a thread of its own.
//!
//! After an error nobody knows whether the last write is on the disk. After a full disk the next call opens the file anew,
//! as redb wants it, and the write may be done again: each call leaves the same behind, however often it is made. After
//! any other error every later call fails, too, and the supernode must end.

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use kith_common::crypto;
use kith_runtime::files;
use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

/// The file in the supernode's home
pub(crate) const FILE_NAME: &str = "directory.redb";

/// The form of the tables; another one is refused
pub(crate) const FORMAT: u64 = 4;

const ENTRIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("entries");
const SNAPSHOT: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("snapshot");
const WORDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("words");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

/// Something small that the log must not forget
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// For whom this supernode has voted
    Vote,
    /// Up to where all is committed, as far as that was noted: a lost one costs nothing but time
    Committed,
    /// The last entry that was cut off
    Purged,
    /// Which log this is
    Lineage,
    /// The entry that this supernode has acknowledged and was found to be without
    WentBack,
    /// This supernode is none any more; its serial
    TakenOut,
}

impl Word {
    const fn key(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Committed => "committed",
            Self::Purged => "purged",
            Self::Lineage => "lineage",
            Self::WentBack => "went back",
            Self::TakenOut => "taken out",
        }
    }
}

/// One change of the file; many can share a wait for the disk
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// Entries one after the other, the first of which has this number; those that have their numbers already make way
    Append(u64, Vec<Vec<u8>>),
    /// Entries from this number on go
    Truncate(u64),
    /// Entries up to this number go, which the word says
    Purge(u64, Vec<u8>),
    /// A word takes the place of the one before
    Say(Word, Vec<u8>),
    /// A snapshot up to this entry takes the place of the one before
    Snapshot(u64, Vec<u8>),
}

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

/// What an operator reads whose supernode is none any more, when it ends and at each start after that
pub(crate) const TAKEN_OUT: &str = "this supernode was taken out of its network for good, and nothing is lost with it: stop \
     starting it, and throw its home away. To have another one in its place: kith-supernode run --join ADDRESS, with an empty \
     home";

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
    /// It is an older copy of itself; nothing was changed
    #[error(
        "it is older than what this supernode has told the others that it has (entry {0}), so it must not vote with it: was a \
         copy put back? Start another one in an empty home, with --join; when `kith-supernode members` shows it without a \
         lag, say there kith-supernode remove --supernode SERIAL, with this one's"
    )]
    WentBack(u64),
    /// Its supernode is none any more; nothing was changed
    #[error("{TAKEN_OUT}")]
    TakenOut,
    /// The disk or the system refused; the last batch may or may not be in the log, and was not acknowledged
    #[error("{0}; the supernode cannot go on without its log")]
    Io(Box<redb::Error>),
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
    stopped: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the log in `home`, or makes it
    ///
    /// While it is open no other process can open it. The whole file is checked, which takes a second for each gigabyte.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong with the file and what to do; a damaged one is left as it is.
    pub(crate) fn open(home: &Path) -> Result<Self, StoreError> {
        let path = home.join(FILE_NAME);
        let file = path.clone();
        let opener = move |check| open_file(&file, check);
        Self::open_with(path.clone(), Box::new(opener)).map_err(|fault| StoreError { path, fault })
    }

    fn open_with(path: PathBuf, opener: Opener) -> Result<Self, Fault> {
        let db = opener(true)?;
        prepare(&db)?;
        Ok(Self { opener, db: Some(db), path, stopped: false })
    }

    /// Makes all of `writes` durable, or none, with one wait for the disk
    ///
    /// # Errors
    /// [`StoreError`]: they may or may not be on the disk, and must not be acknowledged. Unless
    /// [`StoreError::is_passing`] the supernode must end; else they may be written again.
    pub(crate) fn write(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.guard(|db| {
            let transaction = begin(db)?;
            for write in writes {
                carry_out(&transaction, write)?;
            }
            Ok(transaction.commit()?)
        })
    }

    /// Writes what is there already, to see whether the disk takes anything
    ///
    /// # Errors
    /// [`StoreError`] as for [`Self::write`]; the log is as it was.
    pub(crate) fn touch(&mut self) -> Result<(), StoreError> {
        self.guard(|db| {
            let transaction = begin(db)?;
            transaction.open_table(META)?.insert("format", FORMAT)?;
            Ok(transaction.commit()?)
        })
    }

    /// The entries of these numbers, as far as they are there, one after the other
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed.
    pub(crate) fn entries(&mut self, range: Range<u64>) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.guard(|db| {
            let table = db.begin_read()?.open_table(ENTRIES)?;
            let mut entries: Vec<(u64, Vec<u8>)> = Vec::new();
            for entry in table.range(range)? {
                let (number, value) = entry?;
                let number = number.value();
                if let Some((before, _)) = entries.last()
                    && number != before + 1
                {
                    return Err(damaged(format!("entry {number} follows on {before}")));
                }
                let bytes = unchecked(number, value.value());
                let bytes = bytes.ok_or_else(|| damaged(format!("the check of entry {number} is wrong")))?;
                entries.push((number, bytes.to_vec()));
            }
            Ok(entries)
        })
    }

    /// The number of the last entry
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub(crate) fn last(&mut self) -> Result<Option<u64>, StoreError> {
        self.guard(|db| {
            let table = db.begin_read()?.open_table(ENTRIES)?;
            let last = table.last()?.map(|(number, _)| number.value());
            Ok(last)
        })
    }

    /// What was said last
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub(crate) fn word(&mut self, word: Word) -> Result<Option<Vec<u8>>, StoreError> {
        self.guard(|db| {
            let table = db.begin_read()?.open_table(WORDS)?;
            let Some(value) = table.get(word.key())? else { return Ok(None) };
            let bytes = unchecked(0, value.value());
            let bytes = bytes.ok_or_else(|| damaged(format!("the check of the word {:?} is wrong", word.key())))?;
            Ok(Some(bytes.to_vec()))
        })
    }

    /// The snapshot, and the number of the last entry in it
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub(crate) fn snapshot(&mut self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.guard(|db| {
            let table = db.begin_read()?.open_table(SNAPSHOT)?;
            let Some((number, value)) = table.last()? else { return Ok(None) };
            let bytes = unchecked(number.value(), value.value());
            let bytes = bytes.ok_or_else(|| damaged("the snapshot's check is wrong"))?;
            Ok(Some((number.value(), bytes.to_vec())))
        })
    }

    /// What a file is refused with whose bytes are good and mean nothing
    pub(crate) fn meaningless(&self, what: impl Into<String>) -> StoreError {
        StoreError { path: self.path.clone(), fault: damaged(what) }
    }

    /// What a file is refused with that another version of the program wrote
    pub(crate) fn of_another_version(&self, what: impl Into<String>) -> StoreError {
        StoreError { path: self.path.clone(), fault: Fault::Version(what.into()) }
    }

    /// What a file is refused with that lacks an entry which was said to be in it
    pub(crate) fn went_back(&self, entry: u64) -> StoreError {
        StoreError { path: self.path.clone(), fault: Fault::WentBack(entry) }
    }

    /// What the file of a supernode is refused with that was taken out of its network
    pub(crate) fn taken_out(&self) -> StoreError {
        StoreError { path: self.path.clone(), fault: Fault::TakenOut }
    }

    fn guard<T>(&mut self, call: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, StoreError> {
        let result = if self.stopped { Err(Fault::Stopped) } else { self.reopened().and_then(call) };
        match &result {
            Err(Fault::Full) => self.db = None,
            result => self.stopped |= result.is_err(),
        }
        result.map_err(|fault| StoreError { path: self.path.clone(), fault })
    }

    fn reopened(&mut self) -> Result<&Database, Fault> {
        let db = match self.db.take() {
            Some(db) => db,
            None => (self.opener)(false)?,
        };
        Ok(self.db.insert(db))
    }
}

fn carry_out(transaction: &WriteTransaction, write: &Write) -> Result<(), Fault> {
    match write {
        Write::Append(first, entries) => {
            let mut table = transaction.open_table(ENTRIES)?;
            for (number, entry) in (*first..).zip(entries) {
                table.insert(number, checked(number, entry).as_slice())?;
            }
        }
        Write::Truncate(from) => transaction.open_table(ENTRIES)?.retain_in(*from.., |_, _| false)?,
        Write::Purge(until, word) => {
            transaction.open_table(ENTRIES)?.retain_in(..=*until, |_, _| false)?;
            say(transaction, Word::Purged, word)?;
        }
        Write::Say(word, bytes) => say(transaction, *word, bytes)?,
        Write::Snapshot(number, bytes) => {
            let mut table = transaction.open_table(SNAPSHOT)?;
            table.retain(|_, _| false)?;
            table.insert(number, checked(*number, bytes).as_slice())?;
        }
    }
    Ok(())
}

fn say(transaction: &WriteTransaction, word: Word, bytes: &[u8]) -> Result<(), Fault> {
    transaction.open_table(WORDS)?.insert(word.key(), checked(0, bytes).as_slice())?;
    Ok(())
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
    let transaction = begin(db)?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(SNAPSHOT)?;
    transaction.open_table(WORDS)?;
    Ok(transaction.commit()?)
}

fn begin(db: &Database) -> Result<WriteTransaction, Fault> {
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
