//! Who was away gives others their time before it says that they cannot be reached.
//!
//! Source: a dial that failed while the dialler had no home says nothing about the pair, and patience is 5 s.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Report;

use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// The patience of 5 s, by a clock that may run a fiftieth fast
const PATIENCE: Duration = Duration::from_millis(4_900);

/// Whose clock jumped, or stood still, may have waited for less than it seems to it: until this long after
const EXCUSED: Duration = Duration::from_secs(20);

/// When each peer's home was last back, and when its time last went wrong
#[derive(Debug, Default)]
pub(crate) struct Blame {
    granted: BTreeMap<NodeId, Instant>,
    upset: BTreeMap<NodeId, Instant>,
}

impl Oracle for Blame {
    fn name(&self) -> &'static str {
        "blame"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) | Fault::Pause(node, _) | Fault::Resume(node) = fault {
            self.upset.insert(*node, now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Received { frame: Frame::Granted(_), .. } => drop(self.granted.insert(node, now)),
            Observation::Sent { frame: Frame::Report(Report::Unreachable(whom)), .. } => {
                let is_excused = self.upset.get(&node).is_some_and(|at| now - *at < EXCUSED);
                let since = self.granted.get(&node).map(|at| now - *at).filter(|since| *since < PATIENCE);
                if let Some(since) = since.filter(|_| !is_excused) {
                    return Err(format!("{node:?} is back for {since:?}, and says that {whom} cannot be reached"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
