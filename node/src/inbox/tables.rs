//! The tables in the in-box's file, and what is written to them and read.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kith_common::id::{Address, Key, MessageId};
use kith_common::mail::{Arrival, Fingerprint, Inbox, Kept, Place, Plan, SenderTag};
use kith_runtime::files;
use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable};
use redb::{TableDefinition, TableError, WriteTransaction};

use super::error::{FORMAT, FORMAT_BEFORE_OUTBOX, FORMAT_BEFORE_PINS, Fault};
use super::{Incoming, Stored, outbox};

/// What redb may hold in memory: an idle peer is small, and old messages are rarely read
const CACHE_BYTES: usize = 4 * 1024 * 1024;
pub(super) const FORMAT_KEY: &str = "format";

/// id, sender's name, sender's key, sender's address, whether the directory has confirmed them, microseconds since 1970, bytes
pub(super) type Row = (&'static [u8; 16], &'static str, &'static [u8; 32], u64, bool, u64, &'static [u8]);
pub(super) const MESSAGES: TableDefinition<'_, u64, Row> = TableDefinition::new("messages");
pub(super) const SEEN: TableDefinition<'_, u64, &[u8; 16]> = TableDefinition::new("seen");
/// microseconds since 1970, a [`Record`] as on the wire
pub(super) const NAMES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("names");
/// the key that a name must have
pub(super) const PINS: TableDefinition<'_, &str, &[u8; 32]> = TableDefinition::new("pins");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Opens the file, or makes one with its tables in it, so that a file without bytes is none that a start was killed at
pub(super) fn open_file(path: &Path, check: bool) -> Result<Database, Fault> {
    let open = |file, check| Ok::<_, Fault>(builder(check).create_with_backend(FileBackend::new(file)?)?);
    let fill = |file| {
        let db = open(file, false)?;
        prepare(&db)?;
        Ok(db)
    };
    files::open_or_create(
        path,
        |file| open(file, check),
        fill,
        || Fault::Damaged("it has no bytes: what was in it is lost".to_owned()),
    )
}

pub(super) fn builder(check: bool) -> Builder {
    let mut builder = Database::builder();
    // Without the check redb may panic later over what somebody else has done to the file.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
    builder
}

/// Whether what is written must be on the disk before anybody is told
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    Now,
    /// With what is written next
    Later,
}

pub(super) fn write<T>(
    db: &Database,
    durable: Durable,
    run: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(match durable {
        Durable::Now => Durability::Immediate,
        Durable::Later => Durability::None,
    })?;
    let done = run(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// Makes the tables of a new file and those that an older one lacks, and refuses a file of another format
pub(super) fn prepare(db: &Database) -> Result<(), Fault> {
    let format = match db.begin_read()?.open_table(META) {
        Ok(meta) => format_of(meta.get(FORMAT_KEY)?.map(|format| format.value().to_vec()).unwrap_or_default())?,
        Err(TableError::TableDoesNotExist(_)) => FORMAT_BEFORE_OUTBOX,
        Err(error) => return Err(error.into()),
    };
    match format {
        FORMAT => return Ok(()),
        FORMAT_BEFORE_OUTBOX | FORMAT_BEFORE_PINS => {}
        other => return Err(Fault::Format(other)),
    }
    write(db, Durable::Now, |transaction| {
        transaction.open_table(MESSAGES)?;
        transaction.open_table(SEEN)?;
        transaction.open_table(NAMES)?;
        transaction.open_table(PINS)?;
        outbox::create(transaction)?;
        transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
        Ok(())
    })
}

fn format_of(bytes: Vec<u8>) -> Result<u64, Fault> {
    let bytes = bytes.try_into().map_err(|_| Fault::Damaged("its format has no number".to_owned()))?;
    Ok(u64::from_le_bytes(bytes))
}

pub(super) fn load(transaction: &ReadTransaction, bytes_max: u64) -> Result<Inbox, Fault> {
    let (mut seen, mut held) = (Vec::new(), Vec::new());
    for row in transaction.open_table(SEEN)?.iter()? {
        let (sequence, fingerprint) = row?;
        seen.push((sequence.value(), Fingerprint(*fingerprint.value())));
    }
    for row in transaction.open_table(MESSAGES)?.iter()? {
        let (_, row) = row?;
        let (_, _, key, _, _, _, bytes) = row.value();
        held.push((SenderTag::of(&Key(*key)), bytes.len() as u64));
    }
    Ok(Inbox::restore(bytes_max, seen, held))
}

/// Stores what is new in a plan, and erases those of the window that are `forgotten`
pub(super) fn store(
    transaction: &WriteTransaction,
    batch: &[Incoming],
    plan: &Plan,
    forgotten: &[u64],
) -> Result<(), Fault> {
    let mut messages = transaction.open_table(MESSAGES)?;
    let mut seen = transaction.open_table(SEEN)?;
    for sequence in forgotten {
        seen.remove(sequence)?;
    }
    for (Incoming { message, received }, kept) in batch.iter().zip(plan.kept()) {
        let Kept::New { sequence } = kept else { continue };
        let (id, from, key) = (&message.id.0, message.from.as_str(), &message.key.0);
        let row = (id, from, key, message.address.0, message.confirmed, micros(*received), &*message.bytes);
        messages.insert(sequence, row)?;
        seen.insert(sequence, &message.offer().fingerprint.0)?;
    }
    Ok(())
}

/// Removes messages; of each that was there, whose it was and how long
pub(super) fn remove(transaction: &WriteTransaction, sequences: &[u64]) -> Result<Vec<(SenderTag, u64)>, Fault> {
    let mut table = transaction.open_table(MESSAGES)?;
    let mut removed = Vec::new();
    for sequence in sequences {
        if let Some(row) = table.remove(sequence)? {
            let (_, _, key, _, _, _, bytes) = row.value();
            removed.push((SenderTag::of(&Key(*key)), bytes.len() as u64));
        }
    }
    Ok(removed)
}

pub(super) fn stored(sequence: u64, row: (&[u8; 16], &str, &[u8; 32], u64, bool, u64, &[u8])) -> Result<Stored, Fault> {
    let (id, from, key, address, confirmed, received, bytes) = row;
    let message = Arrival {
        id: MessageId(*id),
        from: from.parse().map_err(|error| Fault::Damaged(format!("message {sequence}: {error}")))?,
        key: Key(*key),
        address: Address(address),
        confirmed,
        place: Place::default(),
        bytes: bytes.to_vec(),
    };
    let received = UNIX_EPOCH + Duration::from_micros(received);
    Ok(Stored { sequence, incoming: Incoming { message, received } })
}

/// Microseconds since 1970; a moment before that is taken for it
pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
