//! Bodies of the frames by which supernodes agree on one log: Raft's questions and answers, and what is asked of a leader.
//!
//! The log behind the core's port speaks them, and no core reads them. An answer repeats its question's number; a question
//! without an answer in time is asked again, of whoever leads by then. Terms, votes and positions are those of the Raft
//! paper (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014).

use bincode::{Decode, Encode};

use super::bounded::{Bounded, Bytes, Text};
use super::session::{Locations, Reason, SUPERNODES_MAX};
use crate::id::SupernodeId;

/// The longest command in the log, in bytes: a login with the longest name and four of the longest locations has 567
pub const COMMAND_BYTES_MAX: usize = 1024;

/// Commands in one entry of the log at most; few of them are long ones
pub const COMMANDS_PER_ENTRY: usize = 256;

/// Bytes of the commands in one entry at most, so that an entry fits into a frame with some to spare
pub const ENTRY_BYTES_MAX: usize = 48 * 1024;

/// Entries in one [`LogQuestion::Append`] at most; the frame's bound is the other one
pub const ENTRIES_PER_FRAME: usize = 64;

/// Bytes of a snapshot in one [`SnapshotPart`]
pub const SNAPSHOT_PART_BYTES: usize = 48 * 1024;

/// Who leads in a term, or wants to
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ballot {
    pub term: u64,
    pub candidate: SupernodeId,
    /// Whether a majority has voted for it
    pub is_elected: bool,
}

/// A place in Raft's log, which has entries of many commands and of none: not a command's index
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Position {
    /// In which the entry was made
    pub term: u64,
    /// By whom
    pub leader: SupernodeId,
    pub entry: u64,
}

/// An entry of Raft's log
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    pub at: Position,
    pub content: EntryContent,
}

/// What an entry holds
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EntryContent {
    /// Nothing: a new leader's first
    Blank,
    /// Commands, in their order
    Commands(Proposals),
    /// Who the supernodes are from now on
    Configuration(Configuration),
}

/// Commands that become one entry; [`ENTRY_BYTES_MAX`] bounds them together
pub type Proposals = Bounded<Proposed, COMMANDS_PER_ENTRY>;

/// A command, and by whom and under which number it was proposed: by these it is applied once, however often it is in the log
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Proposed {
    pub proposer: SupernodeId,
    /// How often the proposer had started
    pub boot: u64,
    /// The proposer's own, growing within one boot
    pub number: u64,
    /// As the directory writes it
    pub command: Bytes<COMMAND_BYTES_MAX>,
}

/// Supernodes of which a majority decides
pub type Voters = Bounded<SupernodeId, SUPERNODES_MAX>;

/// Who the supernodes are
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Configuration {
    /// Each group's majority must agree: two groups while one takes the other's place
    pub voters: Bounded<Voters, 2>,
    /// All of them, in the order of their ids, each with where it can be dialled
    pub supernodes: Bounded<Configured, SUPERNODES_MAX>,
}

/// A supernode in a [`Configuration`]
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Configured {
    pub id: SupernodeId,
    pub locations: Locations,
}

/// Supernodes that may ever be taken out of a network: one a week for eighty years
pub const GONE_MAX: usize = 4_096;

/// What stands before the directory in a snapshot, after its length as a `u32`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotHead {
    /// The last entry in it
    pub last: Option<Position>,
    /// Where the configuration stands that holds there
    pub configured_at: Option<Position>,
    pub configuration: Configuration,
    /// The incarnation of the directory's epochs
    pub incarnation: u32,
    /// Supernodes that were taken out, in the order of their ids: none of them comes back
    pub gone: Bounded<SupernodeId, GONE_MAX>,
    /// The last number of each supernode's that was applied
    pub proposers: Bounded<LastProposed, SUPERNODES_MAX>,
}

/// The last command of a supernode that was applied: one with the same number, or a smaller one, is a repetition
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LastProposed {
    pub proposer: SupernodeId,
    pub boot: u64,
    pub number: u64,
}

/// A part of a snapshot of the directory, sent in order
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotPart {
    pub ballot: Ballot,
    /// The last entry in it
    pub last: Option<Position>,
    /// Where the configuration in it stands, and which that is
    pub configured_at: Option<Position>,
    pub configuration: Configuration,
    /// Names the snapshot, so that parts of two are not mixed
    pub name: Text<64>,
    /// Where the part begins in it, in bytes
    pub offset: u64,
    pub bytes: Bytes<SNAPSHOT_PART_BYTES>,
    pub is_last: bool,
}

/// What a leader is asked to change
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// Take this supernode in, or note its new locations; the one at the asker's end of the link, or the asker itself
    Add(Configured),
    /// Take it out for good
    Remove {
        id: SupernodeId,
        /// Even if of several that decide one is left, which decides alone
        leaves_one: bool,
    },
}

/// One supernode asks another
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogAsk {
    /// Repeated in the answer
    pub number: u64,
    /// Which log it is about: drawn when that was begun, or put back from a backup; 0: the asker has none yet
    pub lineage: u64,
    pub question: LogQuestion,
}

/// What a supernode asks another one's log
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LogQuestion {
    /// Put these behind `after`; without any, it is the leader's sign of life
    Append {
        ballot: Ballot,
        after: Option<Position>,
        committed: Option<Position>,
        entries: Bounded<Entry, ENTRIES_PER_FRAME>,
    },
    /// Vote for the candidate, whose log ends at `last`
    Vote { ballot: Ballot, last: Option<Position> },
    /// Take over the directory
    Snapshot(SnapshotPart),
    /// Of the leader: put these into the log
    Propose(Proposals),
    /// Of the leader: up to which command must somebody have heard who wants to know all that is acknowledged?
    Read,
    /// Of the leader
    Change(Change),
    /// Whoever would stand for election asks first: as long as somebody hears a leader, nobody disturbs it
    WhoLeads,
    /// Of a follower, by its leader: it has said that this entry is on its disk, and has it no more
    Acknowledged(Position),
}

/// The answer to a [`LogAsk`]
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogAnswer {
    /// Of the question
    pub number: u64,
    pub reply: LogReply,
}

/// What a supernode answers
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LogReply {
    /// All entries are on disk
    Appended,
    /// Those up to here are
    AppendedUpTo(Option<Position>),
    /// The log has another entry at `after`, or none
    Conflict,
    /// A newer candidate or leader is known
    Outvoted(Ballot),
    /// The vote, or why there is none: a newer ballot, a longer log
    Voted { ballot: Ballot, is_granted: bool, last: Option<Position> },
    /// The part was taken, or `ballot` is newer than the sender's
    PartTaken { ballot: Ballot },
    /// Another part was expected: of the snapshot of this name, from this byte on
    PartMisplaced { name: Text<64>, offset: u64 },
    /// What was proposed is committed, and all before it
    Committed,
    /// This command's index
    ReadAt(u64),
    /// The change is committed, and these are the supernodes with it: a newcomer reaches the others by it
    Changed(Configuration),
    /// Who leads, as far as the asked one hears, and not the asked one if a leader was wanted: nothing was done
    Leader(Option<SupernodeId>),
    /// It was not done, or not as far as can be known
    Failed(Reason),
    /// The asker is no supernode of the network, or was taken out: nothing was done
    Stranger,
    /// The asked one's log is another one than the question is about, as one of the two was put back from a backup: nothing
    /// was done
    OtherLog,
    /// It must not be done, which does not change by itself: nothing was done
    Refused(Reason),
}
