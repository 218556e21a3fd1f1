//! What is asked, answered and told.

use crate::id::{Address, Key, Name};
use crate::status::Status;
use crate::wire::session::{Found, LookUp, Record, Subject};

/// Something to do or to tell, in this order
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamesOutput {
    /// The answer for everybody who asked for `subject`; those who asked for a fresh one wait on unless `fresh`
    Resolved {
        /// What was asked for
        subject: Subject,
        /// Whether memory alone did not do
        fresh: bool,
        /// 404, 410, 429 or 503 if there is none
        answer: Result<Answer, Status>,
    },
    /// The answer to all users who look `name` up
    LookedUp {
        /// What was asked for
        name: Name,
        /// 404, 410, 429 or 503 if there is none
        answer: Result<Answer, Status>,
    },
    /// Ask the supernode
    Ask(LookUp),
    /// Ask every neighbour but `except`
    Flood {
        /// Where the question came from
        except: Option<Address>,
        look_up: LookUp,
    },
    /// Answer this neighbour's question
    Answer { to: Address, found: Found },
    /// Write it to disk, with the time of day, under its name
    Save(Record),
    /// Erase the record of this name from the disk
    Erase(Name),
}

/// Where an answer comes from
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Supernode,
    /// The own table, or a neighbour's
    Tables,
    /// A flood; nobody vouches for it
    Neighbours,
    /// An earlier answer of the directory's
    Memory,
}

/// What is known of a peer
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub name: Name,
    pub address: Address,
    /// All that the directory knows; a neighbour's table holds only the two above
    pub record: Option<Record>,
    pub source: Source,
    /// Whether it may be out of date: no supernode could be asked
    pub stale: bool,
}

impl Answer {
    /// Its key, if somebody vouches for it; what a flood says is hearsay
    pub fn key(&self) -> Option<Key> {
        let record = self.record.as_ref().filter(|_| self.source != Source::Neighbours);
        record.map(|record| record.key)
    }

    /// Whether the directory says so, and of now: what others say may be remembered, or a lie
    pub fn is_sure(&self) -> bool {
        self.source == Source::Supernode && !self.stale
    }

    pub(super) fn of_record(record: Record, source: Source, stale: bool) -> Self {
        Self { name: record.name.clone(), address: record.address, record: Some(record), source, stale }
    }
}

/// What the asker's own tables say
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    pub name: Name,
    pub address: Address,
    /// What the rewire said of it, if it is a neighbour
    pub record: Option<Record>,
}

/// Where an answer comes from
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    Supernode,
    /// The neighbour at this address
    Neighbour(Address),
}

/// A question or an answer of others that changes nothing, and why
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// No question waits for it: it came too late, twice, or unasked
    #[error("no question waits for it")]
    Unknown,
    /// It was here before, over another way
    #[error("it was here before")]
    Duplicate,
    /// It answers something that was not asked, or nothing
    #[error("it does not answer what was asked")]
    OtherSubject,
    /// Its neighbour asks more than once a second
    #[error("its neighbour asks too often")]
    TooOften,
    /// Too many questions pass here
    #[error("too many questions pass here")]
    Overloaded,
    /// Nobody knows here, and it may go no farther
    #[error("it may go no farther")]
    TtlSpent,
}
