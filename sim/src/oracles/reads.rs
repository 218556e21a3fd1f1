//! A look-up's answer that is not marked is not older than what anybody was told before it was asked.
//!
//! Source: look-ups are linearizable: a supernode waits until it has heard what was committed when it was asked
//! (docs/protocol.md, "LookUp"), or says that its answer may be old. Whoever was granted a session, or was logged out, knows
//! of the log up to what its supernode had heard then; and whoever has a sure answer knows of it up to that answer's entry.

use std::collections::BTreeMap;

use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::per_node::PerNode;
use crate::mesh::config::MeshConfig;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::{Operations, Oracle};
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
    judged: u64,
}

impl Reads {
    /// Nobody has asked anything
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let (supernodes, heard) = (config.supernodes, PerNode::default());
        Self { supernodes, heard, acknowledged: 0, asked: BTreeMap::new(), judged: 0 }
    }
}

impl Oracle for Reads {
    fn name(&self) -> &'static str {
        "reads"
    }

    fn judged(&self) -> Operations {
        Operations { looked_up: self.judged, ..Operations::default() }
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
                // Neighbours are asked the same, and a question has one answer that is sure.
                let Some(known) = self.asked.remove(&(node, found.query)).filter(|_| !found.is_stale) else {
                    return Ok(());
                };
                let index = found.index;
                if index < known {
                    return Err(format!("was told what was so at entry {index}, and somebody knew of entry {known}"));
                }
                self.acknowledged = self.acknowledged.max(index);
                self.judged += 1;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kith_common::status::Status;
    use kith_common::wire::session::{Found, LookUp, Subject};

    use super::*;
    use crate::mesh::users::name_of;

    fn ask(reads: &mut Reads, node: u32, query: u64) {
        let subject = Subject::Name(name_of(9));
        let frame = Frame::LookUp(LookUp { query, ttl: 0, subject, may_be_stale: false });
        reads.see(Instant::ZERO, NodeId(node), &Observation::Sent { link: 1, frame: &frame }).unwrap();
    }

    fn answer(reads: &mut Reads, node: u32, query: u64, index: u64) -> Result<(), String> {
        let found = Found { query, status: Status::NotFound, record: None, index, is_stale: false };
        let frame = Frame::Found(found);
        reads.see(Instant::ZERO, NodeId(node), &Observation::Received { link: 1, frame: &frame })
    }

    #[test]
    fn who_asks_after_another_has_an_answer_is_told_nothing_older() {
        let mut reads = Reads::new(&MeshConfig { supernodes: 3, ..MeshConfig::new(1, 4) });
        // Two ask at once: whichever answer is older says nothing of the other.
        ask(&mut reads, 3, 1);
        ask(&mut reads, 4, 2);
        assert_eq!(answer(&mut reads, 3, 1, 8), Ok(()));
        assert_eq!(answer(&mut reads, 4, 2, 7), Ok(()));
        ask(&mut reads, 4, 3);
        assert!(answer(&mut reads, 4, 3, 7).unwrap_err().contains("somebody knew of entry 8"));
        assert_eq!(reads.judged().looked_up, 2);
    }
}
