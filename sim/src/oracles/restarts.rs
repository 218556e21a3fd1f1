//! A supernode that starts knows what it knew.
//!
//! Source: the directory is a state machine fed by a log; what was applied was durable before. So at the same entry of
//! the log it is the same, whether it was made by commands as they came, or read back from snapshot and log.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use kith_common::time::Instant;

use super::per_node::PerNode;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// Entries of the log that are remembered
const ENTRIES_MAX: usize = 64;

/// What the directory was at each of the last entries of the log, at whichever supernode
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    known: BTreeMap<u64, u64>,
    /// The last entry that each supernode was at
    last: PerNode<u64>,
}

impl Oracle for Restarts {
    fn name(&self) -> &'static str {
        "restarts"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        let directory = match seen {
            Observation::Applied(directory) => directory,
            // What was known belongs to a log that is not there any more: the new one goes on from an older entry.
            Observation::LogWentBack => {
                *self = Self::default();
                return Ok(());
            }
            _ => return Ok(()),
        };
        let bytes = directory.snapshot().map_err(|error| format!("no snapshot: {error}"))?;
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let (applied, is) = (directory.applied(), hasher.finish());
        let last = std::mem::replace(self.last.of(node), applied);
        if last > applied {
            return Err(format!("the directory has come back at entry {applied}, and was at {last}"));
        }
        if self.known.insert(applied, is).is_some_and(|was| was != is) {
            return Err(format!("the directory has come back as another one at entry {applied}"));
        }
        while self.known.len() > ENTRIES_MAX {
            self.known.pop_first();
        }
        Ok(())
    }
}
