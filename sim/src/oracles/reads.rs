//! A look-up's answer that is not marked is not older than what anybody was told before it was asked.
//!
//! Source: look-ups are linearizable: a supernode waits until it has heard what was committed when it was asked
//! (docs/protocol.md, "LookUp"), or says that its answer may be old. Whoever was granted a session, or was logged out, knows
//! of the log up to what its supernode had heard then.

use std::collections::BTreeMap;

use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::per_node::PerNode;
use crate::mesh::config::MeshConfig;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// Questions that are remembered; at the bound all are forgotten
const ASKED_MAX: usize = 4_096;

/// What anybody has been told of, and what was so when each question was asked
#[derive(Debug)]
pub(crate) struct Reads {
    supernodes: u32,
    heard: PerNode<u64>,
    acknowledged: u64,
    asked: BTreeMap<(NodeId, u64), u64>,
}

impl Reads {
    /// Nobody has asked anything
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let (supernodes, heard) = (config.supernodes, PerNode::default());
        Self { supernodes, heard, acknowledged: 0, asked: BTreeMap::new() }
    }
}

impl Oracle for Reads {
    fn name(&self) -> &'static str {
        "reads"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Applied(directory) => *self.heard.of(node) = directory.applied(),
            // An older log counts from an older index.
            Observation::LogWentBack => (self.acknowledged, self.asked) = (0, BTreeMap::new()),
            Observation::Sent { frame: Frame::Granted(_) | Frame::LoggedOut(_), .. } => {
                self.acknowledged = self.acknowledged.max(*self.heard.of(node));
            }
            Observation::Sent { frame: Frame::LookUp(look_up), .. } => {
                if self.asked.len() >= ASKED_MAX {
                    self.asked.clear();
                }
                self.asked.insert((node, look_up.query), self.acknowledged);
            }
            Observation::Received { frame: Frame::Found(found), .. } if node.0 >= self.supernodes => {
                let Some(known) = self.asked.remove(&(node, found.query)) else { return Ok(()) };
                if !found.is_stale && found.index < known {
                    let index = found.index;
                    return Err(format!("was told what was so at entry {index}, and somebody knew of entry {known}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
