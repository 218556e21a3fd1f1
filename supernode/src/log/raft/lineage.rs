//! Which log this is, so that two are never mixed.
//!
//! A log that was put back from a backup, and supernodes that still have the one from before, have the same network, the
//! same serials, and entries that contradict each other. Raft cannot tell them apart, and would lose what is committed. So a
//! log has a number, which is drawn when it is begun or put back; a newcomer takes over that of whoever first sends it entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kith_common::wire;
use kith_common::wire::agreement::LogQuestion;

use crate::log::disk::Disk;
use crate::log::store::Word;

/// The number of this supernode's log; clones are the same one
#[derive(Clone, Debug)]
pub(super) struct Lineage(Arc<AtomicU64>);

/// Why a question is not answered
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// It is about another log
    OtherLog,
    /// The number cannot be kept
    Unwritable(String),
}

impl Lineage {
    pub(super) fn new(number: u64) -> Self {
        Self(Arc::new(AtomicU64::new(number)))
    }

    /// 0: there is no log yet
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The log is this one from now on, and after every start
    ///
    /// # Errors
    /// In words, if the disk has failed.
    pub(super) async fn set(&self, number: u64, disk: &Disk) -> Result<(), String> {
        disk.say(Word::Lineage, wire::encode(&number)).await?;
        self.0.store(number, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a question is about this log, which a newcomer's becomes with the first entries that it is sent
    ///
    /// # Errors
    /// [`Mismatch`]: the question must not be looked at.
    pub(super) async fn check(&self, asked: u64, question: &LogQuestion, disk: &Disk) -> Result<(), Mismatch> {
        let own = self.get();
        let is_leaders = matches!(question, LogQuestion::Append { .. } | LogQuestion::Snapshot(_));
        match (own, asked) {
            (0, 0) => Ok(()),
            (0, _) if is_leaders => self.set(asked, disk).await.map_err(Mismatch::Unwritable),
            // A newcomer knows none, and asks to be let in.
            (0, _) | (_, 0) => Ok(()),
            _ if own == asked => Ok(()),
            _ => Err(Mismatch::OtherLog),
        }
    }
}
