//! The log that openraft writes and reads: on the disk, and its newest entries in memory, too.
//!
//! openraft reads entries that it has appended before they are on the disk, and waits for the disk before it goes on.
//! Appends, votes and cuts reach the disk in the order in which they were wanted, and are said to be there in the same
//! order: openraft loses its way otherwise (its issue 1960).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, PoisonError};

use kith_common::id::SupernodeId;
use kith_common::wire::agreement::{Ballot, ENTRIES_PER_FRAME, Position};
use kith_common::wire::{self, WireError};
use kith_runtime::sync::{self, Mistake, Mutex, MutexGuard};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader, StorageIOError};

use super::{Entry, LogId, StorageError, Types, Vote, words};
use crate::log::disk::Disk;
use crate::log::store::{Store, StoreError, Word, Write};

/// Entries kept in memory: what followers are sent, unless they lag
const RECENT_MAX: usize = 512;

/// Bytes of entries that are sent together, which leaves room for a question's other parts in a frame
const BYTES_PER_FRAME: usize = 60 * 1024;

/// The log of one supernode; clones are the same one
#[derive(Clone)]
pub(in crate::log) struct Entries {
    disk: Disk,
    book: Arc<Mutex<Book>>,
}

/// What is known of the log without asking the disk
#[derive(Debug, Default)]
pub(in crate::log) struct Book {
    recent: BTreeMap<u64, Entry>,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    lineage: u64,
    /// Whether `committed` is on its way to the disk
    is_committed_noted: bool,
}

impl Book {
    /// What the store says
    ///
    /// # Errors
    /// [`StoreError`] if its words or its last entry mean nothing.
    pub(in crate::log) fn read(store: &mut Store, me: SupernodeId) -> Result<Self, StoreError> {
        let ballot = word(store, Word::Vote, wire::decode::<Ballot>)?;
        let purged = word(store, Word::Purged, wire::decode::<Position>)?;
        let committed = word(store, Word::Committed, wire::decode::<Position>)?;
        let lineage = word(store, Word::Lineage, wire::decode::<u64>)?.unwrap_or_default();
        let last = match store.last()? {
            Some(last) => store.entries(last..last + 1)?.pop(),
            None => None,
        };
        let last = last.map(|(number, bytes)| decoded(number, &bytes).map_err(|fault| store.meaningless(fault)));
        let last = last.transpose()?.map(|entry| entry.log_id);
        let purged = purged.as_ref().map(words::log_id);
        Ok(Self {
            recent: BTreeMap::new(),
            last: last.or(purged),
            purged,
            vote: ballot.map(|ballot| words::vote(&as_candidate(ballot, me))),
            committed: committed.as_ref().map(words::log_id),
            lineage,
            is_committed_noted: true,
        })
    }

    /// Which log it is; 0: none yet
    pub(in crate::log) const fn lineage(&self) -> u64 {
        self.lineage
    }

    /// Up to where all was committed when that was noted last
    pub(in crate::log) const fn committed(&self) -> Option<LogId> {
        self.committed
    }
}

/// Whoever led when it ended is a candidate when it starts: with an older copy of its log it would lead the same term on, and
/// write other entries in the place of those that the others have. So it must be elected anew, by those who see its log.
fn as_candidate(ballot: Ballot, me: SupernodeId) -> Ballot {
    Ballot { is_elected: ballot.is_elected && ballot.candidate != me, ..ballot }
}

fn word<T>(
    store: &mut Store,
    which: Word,
    decode: impl Fn(&[u8]) -> Result<T, WireError>,
) -> Result<Option<T>, StoreError> {
    let Some(bytes) = store.word(which)? else { return Ok(None) };
    let word = decode(&bytes).map_err(|error| store.meaningless(format!("the word {which:?}: {error}")))?;
    Ok(Some(word))
}

/// The entry of this number
///
/// # Errors
/// In words, if the bytes are of none, or of another one.
pub(in crate::log) fn decoded(number: u64, bytes: &[u8]) -> Result<Entry, String> {
    let entry = words::entry_of(bytes).map_err(|error| format!("entry {number} is none: {error}"))?;
    if entry.log_id.index == number { Ok(entry) } else { Err(format!("entry {number} says that it is another one")) }
}

impl Entries {
    pub(in crate::log) fn new(disk: Disk, book: Book) -> Self {
        Self { disk, book: Arc::new(Mutex::new(book)) }
    }

    /// Held within one call, never across an await
    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing that holds it can panic halfway through a change.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes up to where all is committed, without waiting: a start finds it sooner then
    pub(super) fn note_committed(&self) {
        let mut book = self.book();
        if let Some(write) = take_committed(&mut book) {
            self.disk.write(write, drop);
        }
    }

    /// Adds entries, and says once they are on the disk, or why they will never be
    fn add(
        &self,
        entries: Vec<Entry>,
        done: impl FnOnce(Result<(), String>) + Send + 'static,
    ) -> Result<(), WireError> {
        let encoded: Result<Vec<Vec<u8>>, WireError> = entries.iter().map(words::entry_bytes).collect();
        let encoded = encoded?;
        let Some((first, last)) =
            entries.first().map(|entry| entry.log_id.index).zip(entries.last().map(|entry| entry.log_id))
        else {
            done(Ok(()));
            return Ok(());
        };
        if sync::makes(Mistake::SaysBeforeItShows) {
            self.book().last = Some(last);
        }
        let committed = {
            let mut book = self.book();
            book.last = Some(last);
            book.recent.extend(entries.into_iter().map(|entry| (entry.log_id.index, entry)));
            // Those before are on the disk, as openraft has waited for them.
            while book.recent.len() > RECENT_MAX && book.recent.first_key_value().is_some_and(|(at, _)| *at < first) {
                book.recent.pop_first();
            }
            take_committed(&mut book)
        };
        if let Some(committed) = committed {
            self.disk.write(committed, drop);
        }
        self.disk.write(Write::Append(first, encoded), done);
        Ok(())
    }

    async fn read(&self, from: u64, end: u64) -> Result<Vec<Entry>, String> {
        let (mut entries, missing) = {
            let book = self.book();
            let mut recent: Vec<Entry> = Vec::new();
            // From the newest on, for as long as there is no gap.
            for (number, entry) in book.recent.range(from..end.max(from)).rev() {
                if recent.last().is_some_and(|after| after.log_id.index != number + 1) {
                    break;
                }
                recent.push(entry.clone());
            }
            recent.reverse();
            let until = recent.first().map_or(end, |first| first.log_id.index);
            let last = book.last.map_or(0, |last| last.index + 1);
            let purged = book.purged.map_or(0, |purged| purged.index + 1);
            (recent, from.max(purged)..until.min(last))
        };
        if missing.is_empty() {
            return Ok(entries);
        }
        let older = self.disk.entries(missing).await?;
        let older: Result<Vec<Entry>, String> = older.iter().map(|(number, bytes)| decoded(*number, bytes)).collect();
        let mut older = older?;
        older.append(&mut entries);
        Ok(older)
    }
}

fn take_committed(book: &mut Book) -> Option<Write> {
    let committed = book.committed.filter(|_| !book.is_committed_noted)?;
    book.is_committed_noted = true;
    Some(Write::Say(Word::Committed, wire::encode(&words::position(&committed)).ok()?))
}

fn unreadable(what: String) -> StorageError {
    StorageIOError::read_logs(AnyError::error(what)).into()
}

fn unwritable(what: impl ToString) -> StorageError {
    StorageIOError::write_logs(AnyError::error(what.to_string())).into()
}

impl RaftLogReader<Types> for Entries {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, end).await.map_err(unreadable)
    }

    /// As many as one frame holds, and at least one
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let end = end.min(start.saturating_add(ENTRIES_PER_FRAME as u64));
        let mut entries = self.read(start, end).await.map_err(unreadable)?;
        let mut bytes = 0;
        let mut fitting = 0;
        for entry in &entries {
            bytes += words::entry_bytes(entry).map_err(|error| unreadable(error.to_string()))?.len();
            if fitting > 0 && bytes > BYTES_PER_FRAME {
                break;
            }
            fitting += 1;
        }
        entries.truncate(fitting);
        Ok(entries)
    }
}

impl RaftLogStorage<Types> for Entries {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let book = self.book();
        Ok(LogState { last_purged_log_id: book.purged, last_log_id: book.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.disk.say(Word::Vote, wire::encode(&words::ballot(vote))).await.map_err(unwritable)?;
        self.book().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.book().vote)
    }

    /// Goes to the disk with the next entries
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let mut book = self.book();
        book.committed = committed;
        book.is_committed_noted = false;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.book().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let done = |result: Result<(), String>| callback.log_io_completed(result.map_err(std::io::Error::other));
        self.add(entries.into_iter().collect(), done).map_err(unwritable)
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let before = match from.index.checked_sub(1) {
            Some(before) => self.read(before, from.index).await.map_err(unreadable)?.pop(),
            None => None,
        };
        {
            let mut book = self.book();
            book.recent.split_off(&from.index);
            book.last = before.map(|entry| entry.log_id).or(book.purged);
        }
        self.disk.written(Write::Truncate(from.index)).await.map_err(unwritable)
    }

    async fn purge(&mut self, until: LogId) -> Result<(), StorageError> {
        let bytes = wire::encode(&words::position(&until)).map_err(unwritable)?;
        {
            let mut book = self.book();
            book.recent = book.recent.split_off(&(until.index + 1));
            book.purged = Some(until);
            book.last = book.last.max(Some(until));
        }
        self.disk.written(Write::Purge(until.index, bytes)).await.map_err(unwritable)
    }
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules;
