//! Bodies of the frames between neighbours, packets aside.

use bincode::{Decode, Encode};

use super::bounded::Bounded;
use super::session::{NEIGHBOURS_MAX, Record};
use crate::id::{Address, Epoch, Name};

/// A neighbour's whole table; sent when a link opens and whenever its members change
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Table {
    /// The epoch of the rewire that made it
    pub epoch: Epoch,
    /// Sorted by address
    pub entries: Bounded<TableEntry, NEIGHBOURS_MAX>,
    /// Of whom the sender cannot say whether they are there, in the order of addresses: it is parted from them, or they
    /// are in its table and there was no link with them yet
    pub unseen: Bounded<Address, UNSEEN_MAX>,
}

/// Peers at most of whom a table says nothing: as many as may be parted from one, and all of its table besides
pub const UNSEEN_MAX: usize = 2 * NEIGHBOURS_MAX;

/// One link of a neighbour's
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TableEntry {
    /// The other end of the link
    pub address: Address,
    /// Whether the link is up
    pub up: bool,
    /// That peer's name, so that a path can be printed
    pub name: Name,
}

/// Links that went up or down: what goes down is told to all neighbours at once, what comes up a moment later
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Delta {
    /// Each a link of the sender's and whether it is up now
    pub changes: Bounded<LinkState, NEIGHBOURS_MAX>,
}

/// One liveness bit
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LinkState {
    /// The other end of the link
    pub address: Address,
    /// Whether the link is up
    pub up: bool,
}

/// Are you there? Answered by a [`ProbeReply`] with the same number
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Probe {
    /// Counts up on each link
    pub sequence: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProbeReply {
    pub sequence: u32,
}

/// Places in one [`AskRecords`] at most: a table of the usual degree
pub const RECORDS_MAX: usize = 16;

/// Who is at these places, and where can they be dialled? From a peer that has no supernode to ask
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AskRecords {
    pub places: Bounded<Address, RECORDS_MAX>,
}

/// The answer to an [`AskRecords`]: of the places that were asked for those that are known, and nobody else
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Records {
    pub records: Bounded<Record, RECORDS_MAX>,
}
