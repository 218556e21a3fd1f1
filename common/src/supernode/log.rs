//! The port to the log: one order of commands, which all supernodes of a network share.
//!
//! ```text
//! core ─► Propose(group of proposals, by the core's own numbers) ─► log
//! core ◄─ Committed at an index │ Lost │ LeaderChanged │ Grown ◄── log
//! ```
//!
//! The log numbers commands: its index is the only one there is, and it is the same at every supernode. A core's own
//! numbers begin anew with each life of it, so the log gives them back to that life alone; whatever it was told before
//! its end, other supernodes' commands among it, comes without a number. Behind the port stands one file of a single
//! supernode, and in simulations an ideal log of several.

use crate::directory::Command;
use crate::id::SupernodeId;

/// A command that has no place in the log yet
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The proposer's own number for it, never used twice in one life
    pub number: u64,
    /// What is to be committed
    pub command: Command,
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
    /// Another supernode leads the log from now on, or nobody does
    LeaderChanged(Option<SupernodeId>),
    /// The log has grown so long that a directory should stand for a part of it: answered by
    /// [`SupernodeOutput::Snapshot`](super::SupernodeOutput::Snapshot)
    Grown,
}
