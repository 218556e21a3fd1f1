//! How many pings of each peer have no fate yet.

use kith_common::peer::PeerOutput;

use super::per_node::PerNode;
use crate::mesh::node::NodeId;
use crate::mesh::watch::Observation;

/// As it was seen; a process that dies takes its pings with it
#[derive(Debug, Default)]
pub(super) struct UnderWay(PerNode<usize>);

impl UnderWay {
    pub(super) fn see(&mut self, node: NodeId, seen: &Observation<'_>) {
        let sends = self.0.of(node);
        match seen {
            Observation::Started | Observation::Killed => *sends = 0,
            Observation::Asked { .. } => *sends += 1,
            Observation::Peer(PeerOutput::Done(_)) => *sends = sends.saturating_sub(1),
            _ => {}
        }
    }

    /// Those of this peer
    pub(super) fn of(&mut self, node: NodeId) -> usize {
        *self.0.of(node)
    }
}
