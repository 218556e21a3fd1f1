//! Messages that have arrived and wait for the disk, until the sender can be told.

use std::collections::BTreeMap;

use super::Origin;
use crate::id::MessageId;
use crate::wire::content::PathHop;
use crate::wire::grant::Grant;

/// Messages that wait for the disk at most; more are answered with 429. At the largest size they hold 14 MiB
pub const STORING_MAX: usize = 256;

/// A verified message that arrived, and how
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) from: Grant,
    pub(super) id: MessageId,
    /// The way that it took, with the names that are known here
    pub(super) path: Vec<PathHop>,
    pub(super) origin: Origin,
}

impl Arrived {
    /// Whether this is the same message of the same sender, however it came
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.from.key == other.from.key
    }
}

/// Those that wait, each with the ticket that its answer will bear
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    storing: BTreeMap<u64, Arrived>,
    last_ticket: u64,
}

impl Arrivals {
    /// A message for the disk; it is given back if [`STORING_MAX`] wait
    pub(super) fn store(&mut self, arrived: Arrived) -> Result<u64, Box<Arrived>> {
        if self.storing.len() >= STORING_MAX {
            return Err(Box::new(arrived));
        }
        self.last_ticket += 1;
        self.storing.insert(self.last_ticket, arrived);
        Ok(self.last_ticket)
    }

    /// The disk is done with it; a ticket is good once
    pub(super) fn take_stored(&mut self, ticket: u64) -> Option<Arrived> {
        self.storing.remove(&ticket)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.storing.is_empty()
    }
}
