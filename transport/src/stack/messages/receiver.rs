//! The messages for one receiver, in their order, and how far it is to be reached.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::{Address, Key, MessageId};
use kith_common::time::Instant;

use super::Trouble;
use crate::output::End;
use crate::stack::doubts::Doubts;

/// Messages of one receiver that are out at once: half of what streams a connection may have, so that calls have the others
pub(super) const WINDOW: usize = 128;
/// … and their bytes, unless it is one alone: a quarter of what a receiver holds of all others' questions
pub(super) const WINDOW_BYTES: u64 = 16 << 20;

/// Where a receiver is, as far as that is known
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// This peer has no session
    Away,
    /// Until its timer nothing is tried
    Resting,
    /// Its name is asked for
    Resolving { fresh: bool },
    /// Whoever holds this key is to show a grant
    Meeting { key: Key, address: Address },
    /// It is sent what there is for it
    Open {
        key: Key,
        address: Address,
        /// Nothing may arrive there, and its name is asked for anew
        is_doubted: bool,
    },
}

/// Whether a message is out
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    No,
    /// It is on its way to the connection
    Asking,
    /// It is a question with this ticket
    Asked(u64),
    /// … that has left, so that the receiver may have it
    Left(u64),
}

/// One message
pub(super) struct Entry {
    pub(super) id: MessageId,
    pub(super) bytes: u64,
    pub(super) begun: Instant,
    /// How old it was when this process began
    pub(super) age: Duration,
    pub(super) until: Instant,
    /// Whether it is in the out-box on disk, or is being put there
    pub(super) is_kept: bool,
    /// `None`: it is on disk alone
    pub(super) body: Option<Vec<u8>>,
    pub(super) is_loading: bool,
    /// The disk has failed it
    pub(super) is_refused_by_disk: bool,
    pub(super) out: Out,
    pub(super) attempts: u32,
    /// It was out, and no answer came: the receiver may have it
    pub(super) was_lost: bool,
}

impl Entry {
    /// It is on no disk, nor out
    pub(super) const fn new(id: MessageId, bytes: u64, begun: Instant, until: Instant) -> Self {
        Self {
            id,
            bytes,
            begun,
            age: Duration::ZERO,
            until,
            is_kept: false,
            body: None,
            is_loading: false,
            is_refused_by_disk: false,
            out: Out::No,
            attempts: 0,
            was_lost: false,
        }
    }

    pub(super) fn is_uncertain(&self) -> bool {
        self.was_lost || matches!(self.out, Out::Left(_))
    }

    /// Nobody waits for an answer any more, and it may have been heard; its ticket, if it had one
    pub(super) fn take_back(&mut self) -> Option<u64> {
        match std::mem::replace(&mut self.out, Out::No) {
            Out::Left(ticket) => {
                self.was_lost = true;
                Some(ticket)
            }
            Out::Asked(ticket) => Some(ticket),
            Out::No | Out::Asking => None,
        }
    }
}

/// What there is for one receiver
pub(super) struct Receiver {
    pub(super) stage: Stage,
    /// By their sequences
    pub(super) queue: BTreeMap<u64, Entry>,
    /// Connections that were lost, and look-ups in vain, since it was heard last
    pub(super) losses: u32,
    /// What it has refused in a row
    pub(super) refusals: u32,
    /// Messages that have come too early there since one was kept
    pub(super) too_early: usize,
    /// The key at whose holder they are out
    pub(super) out_at: Option<Key>,
    pub(super) last_end: Option<End>,
    pub(super) trouble: Option<Trouble>,
    /// When that was so last
    pub(super) troubled_at: Instant,
    pub(super) tried: Instant,
    pub(super) doubts: Doubts,
}

impl Receiver {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            stage: Stage::Away,
            queue: BTreeMap::new(),
            losses: 0,
            refusals: 0,
            too_early: 0,
            out_at: None,
            last_end: None,
            trouble: None,
            troubled_at: now,
            tried: now,
            doubts: Doubts::default(),
        }
    }

    /// The key with which it is met, or sent something
    pub(super) const fn key(&self) -> Option<Key> {
        match self.stage {
            Stage::Meeting { key, .. } | Stage::Open { key, .. } => Some(key),
            Stage::Away | Stage::Resting | Stage::Resolving { .. } => None,
        }
    }

    /// What is next, in order: messages that are to go out, each with the one before it, and those whose bytes are to be read
    /// from the disk
    ///
    /// Only the first ones of the queue are ever out: whatever leaves it lets those behind it move up.
    pub(super) fn next(&mut self) -> Next {
        let mut next = Next::default();
        let (mut bytes, mut after, mut is_behind) = (0, 0, false);
        for (at, (sequence, entry)) in self.queue.iter_mut().take(WINDOW).enumerate() {
            bytes += entry.bytes;
            if at > 0 && bytes > WINDOW_BYTES {
                break;
            }
            match &entry.body {
                _ if entry.out != Out::No => {}
                Some(_) if !is_behind => {
                    entry.out = Out::Asking;
                    entry.attempts += 1;
                    next.ask.push((*sequence, after));
                }
                Some(_) => {}
                // What comes after it waits for it.
                None => {
                    is_behind = true;
                    if !std::mem::replace(&mut entry.is_loading, true) {
                        next.load.push(*sequence);
                    }
                }
            }
            after = *sequence;
        }
        next
    }
}

/// What is next for a receiver
#[derive(Debug, Default)]
pub(super) struct Next {
    /// Sequences, each with that of the message before it
    pub(super) ask: Vec<(u64, u64)>,
    pub(super) load: Vec<u64>,
}
