//! A supernode gathers what changes in a peer's table: a peer is not sent a table for each of many changes.
//!
//! Source: changes within 50 ms make one rewire, so that three end within any tenth of a second; beside them a renewal, and
//! a report of being alone, may each ask for one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kith_common::time::Instant;
use kith_common::wire::Frame;

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// Tables over one link within [`WINDOW`]
const REWIRES_MAX: usize = 5;
const WINDOW: Duration = Duration::from_millis(100);

/// When the last tables went over each link of a supernode
#[derive(Debug, Default)]
pub(crate) struct Rewires {
    sent: BTreeMap<(NodeId, u64), VecDeque<Instant>>,
}

impl Oracle for Rewires {
    fn name(&self) -> &'static str {
        "rewires"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Sent { link, frame: Frame::Rewire(_) } => {
                let sent = self.sent.entry((node, *link)).or_default();
                sent.retain(|before| now - *before <= WINDOW);
                sent.push_back(now);
                if sent.len() > REWIRES_MAX {
                    return Err(format!("sends {} tables over link {link} within {WINDOW:?}", sent.len()));
                }
            }
            Observation::Closed { link, .. } => drop(self.sent.remove(&(node, *link))),
            Observation::Killed => self.sent.retain(|(of, _), _| *of != node),
            _ => {}
        }
        Ok(())
    }
}
