//! The port to the log: one order of commands, which all supernodes of a network share.
//!
//! ```text
//! core ─► Propose(group of proposals, by the core's own numbers) │ Read ─────────────────────────► log
//! core ◄─ Committed at an index │ Lost │ Replaced │ Readable │ LeaderChanged │ Supernodes │ Grown ◄── log
//! ```
//!
//! The log numbers commands: its index is the only one there is, and it is the same at every supernode. A core's own
//! numbers begin anew with each life of it, so the log gives them back to that life alone; whatever it was told before
//! its end, other supernodes' commands among it, comes without a number. Behind the port stands one file of a single
//! supernode, and in simulations an ideal log of several.
//!
//! The log also knows who the supernodes are, as its members are they: what it says of them is the one book of that.

use crate::directory::{Command, Directory};
use crate::id::SupernodeId;
use crate::wire::session::Locations;

/// A command that has no place in the log yet
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The proposer's own number for it, never used twice in one life
    pub number: u64,
    /// What is to be committed
    pub command: Command,
}

/// A supernode, as the log has it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupernodeEntry {
    /// The serial of its certificate
    pub id: SupernodeId,
    /// Where it can be dialled
    pub locations: Locations,
    /// Whether it has a vote when a leader is elected; the others learn, and serve peers all the same
    pub is_voter: bool,
}

/// What the log tells a core
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// A command has its place and stays there: it is on as many disks as must have it
    ///
    /// Indices only grow, and may leave some out.
    Committed {
        /// The command's place in the order
        index: u64,
        /// What is to be applied
        command: Command,
        /// The core's own number, if this life of it proposed the command
        number: Option<u64>,
    },
    /// As far as the log can know this proposal will not be committed, as nobody leads or a leader changed; should it be
    /// committed all the same, it comes without its number
    Lost {
        /// The core's own number
        number: u64,
    },
    /// This supernode was so far behind that it has been given the whole directory in place of the commands that it lacks
    ///
    /// Indices go on behind [`Directory::applied`] of it. Proposals under way are still to be answered, each.
    Replaced(Box<Directory>),
    /// Another supernode leads the log from now on, or nobody does
    LeaderChanged(Option<SupernodeId>),
    /// All supernodes of the network, this one among them: at a start, and whenever somebody comes or goes
    Supernodes(Vec<SupernodeEntry>),
    /// The answer to the read under way: whoever has applied the log up to this index knows whatever had been committed
    /// when the read was asked for
    Readable(u64),
    /// The answer to the read under way: the log cannot say, as nobody leads or too few supernodes answer
    Unreadable,
    /// The log has grown so long that a directory should stand for a part of it: answered by
    /// [`SupernodeOutput::Snapshot`](super::SupernodeOutput::Snapshot)
    Grown,
}
