//! The out-box's tables: messages of this peer's own until they have their fates, and the fates of those that had them last.
//!
//! | table | key | value |
//! |---|---|---|
//! | `outbox` | sequence | id, receiver's name, time begun, time that it is over, bytes |
//! | `fates` | order | id, receiver's name, status, why, attempts, microseconds that it took, time |
//! | `fate_of` | id | its order in `fates` |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_transport::stack::Restored;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::error::Fault;
use super::tables::micros;

/// Fates that are remembered: of some hours, where a message goes every second. At the bound the oldest is forgotten
pub(crate) const FATES_MAX: u64 = 10_000;

/// id, receiver's name, when it began and when its time is over in microseconds since 1970, bytes
type Row = (&'static [u8; 16], &'static str, u64, u64, &'static [u8]);
pub(super) const OUTBOX: TableDefinition<'_, u64, Row> = TableDefinition::new("outbox");
/// id, receiver's name, status, why, attempts, microseconds from its beginning, microseconds since 1970
type FateRow = (&'static [u8; 16], &'static str, u16, &'static str, u32, u64, u64);
pub(super) const FATES: TableDefinition<'_, u64, FateRow> = TableDefinition::new("fates");
pub(super) const FATE_OF: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("fate_of");

/// A message on its way into the out-box
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    /// Its number; it is given once
    pub(crate) sequence: u64,
    pub(crate) id: MessageId,
    pub(crate) to: Name,
    pub(crate) begun: SystemTime,
    /// When its time is over
    pub(crate) until: SystemTime,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Letter({}: {} to {}, {} bytes)", self.sequence, self.id, self.to, self.body.len())
    }
}

/// What became of a message, as it is remembered
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastFate {
    pub(crate) id: MessageId,
    pub(crate) to: Name,
    pub(crate) status: Status,
    /// For people; empty if it was delivered
    pub(crate) why: String,
    pub(crate) attempts: u32,
    pub(crate) elapsed: Duration,
    pub(crate) at: SystemTime,
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(OUTBOX)?;
    transaction.open_table(FATES)?;
    transaction.open_table(FATE_OF)?;
    Ok(())
}

pub(super) fn store(transaction: &WriteTransaction, letters: &[Letter]) -> Result<(), Fault> {
    let mut table = transaction.open_table(OUTBOX)?;
    for Letter { sequence, id, to, begun, until, body } in letters {
        table.insert(sequence, (&id.0, to.as_str(), micros(*begun), micros(*until), body.as_slice()))?;
    }
    Ok(())
}

/// Takes messages out that have their fates, and remembers these; how many bytes were taken out
pub(super) fn end(transaction: &WriteTransaction, ended: &[(u64, PastFate)]) -> Result<u64, Fault> {
    let mut outbox = transaction.open_table(OUTBOX)?;
    let (mut fates, mut fate_of) = (transaction.open_table(FATES)?, transaction.open_table(FATE_OF)?);
    let mut last = fates.last()?.map_or(0, |(order, _)| order.value());
    let mut bytes = 0;
    for (sequence, fate) in ended {
        bytes += outbox.remove(sequence)?.map_or(0, |row| row.value().4.len() as u64);
        last += 1;
        let PastFate { id, to, status, why, attempts, elapsed, at } = fate;
        let elapsed = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        fates.insert(last, (&id.0, to.as_str(), status.code(), why.as_str(), *attempts, elapsed, micros(*at)))?;
        fate_of.insert(&id.0, last)?;
        while fates.len()? > FATES_MAX {
            let Some((order, id)) = fates.pop_first()?.map(|(order, row)| (order.value(), *row.value().0)) else {
                break;
            };
            // A fate that was told again after a restart is remembered under its later order.
            if fate_of.get(&id)?.is_some_and(|at| at.value() == order) {
                fate_of.remove(&id)?;
            }
        }
    }
    Ok(bytes)
}

/// What a message says, if it is there
pub(super) fn body(transaction: &ReadTransaction, sequence: u64) -> Result<Option<Vec<u8>>, Fault> {
    Ok(transaction.open_table(OUTBOX)?.get(sequence)?.map(|row| row.value().4.to_vec()))
}

/// What became of a message, if that is remembered
pub(super) fn fate(transaction: &ReadTransaction, id: &MessageId) -> Result<Option<PastFate>, Fault> {
    let Some(order) = transaction.open_table(FATE_OF)?.get(&id.0)?.map(|order| order.value()) else { return Ok(None) };
    let fates = transaction.open_table(FATES)?;
    let Some(row) = fates.get(order)? else { return Ok(None) };
    let (id, to, status, why, attempts, elapsed, at) = row.value();
    let damaged = |what: &str| Fault::Damaged(format!("fate {order}: {what}"));
    Ok(Some(PastFate {
        id: MessageId(*id),
        to: to.parse().map_err(|_| damaged("its receiver's name"))?,
        status: Status::from_code(status).ok_or_else(|| damaged("its status"))?,
        why: why.to_owned(),
        attempts,
        elapsed: Duration::from_micros(elapsed),
        at: UNIX_EPOCH + Duration::from_micros(at),
    }))
}

/// Everything that waits, the oldest first
pub(super) fn waiting(transaction: &ReadTransaction, now: SystemTime) -> Result<Vec<Restored>, Fault> {
    let (now, mut waiting) = (micros(now), Vec::new());
    for row in transaction.open_table(OUTBOX)?.iter()? {
        let (sequence, row) = row?;
        let (id, to, begun, until, body) = row.value();
        let sequence = sequence.value();
        waiting.push(Restored {
            sequence,
            id: MessageId(*id),
            to: to.parse().map_err(|error| Fault::Damaged(format!("message {sequence} of the out-box: {error}")))?,
            bytes: body.len() as u64,
            // A clock that was put back makes it young, and gives it no more time than it had.
            age: Duration::from_micros(now.saturating_sub(begun)),
            left: Duration::from_micros(until.saturating_sub(now.max(begun))),
        });
    }
    Ok(waiting)
}
