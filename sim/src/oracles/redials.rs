//! A neighbour that cannot be reached is dialled again and again.
//!
//! Source: the neighbourhood's rule for dials: one that failed is made anew after a wait that doubles up to a bound, for
//! as long as the table names that neighbour.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::Key;
use kith_common::peer::PeerOutput;
use kith_common::routing::neighbourhood::{LinkStatus, NeighbourhoodConfig};
use kith_common::time::Instant;

use super::truth::{is_logged_in, is_settled};
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// A dial takes 5 s; the rest is for slow clocks and steps
const SPARE: Duration = Duration::from_secs(8);

/// For so long a neighbour may be down without a plan to dial it: none but steps
const UNPLANNED: Duration = Duration::from_secs(2);

/// The last dial of each neighbour, and the neighbours that are down without one
#[derive(Debug, Default)]
pub(crate) struct Redials {
    dialled: BTreeMap<(NodeId, Key), Instant>,
    down: BTreeMap<(NodeId, Key), Instant>,
    /// Since when a neighbour is down and no dial is planned
    unplanned: BTreeMap<(NodeId, Key), Instant>,
}

impl Oracle for Redials {
    fn name(&self) -> &'static str {
        "redials"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if let Observation::Peer(PeerOutput::Dial(dial)) = seen
            && let Some(key) = dial.key
        {
            self.dialled.insert((node, key), now);
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let (now, longest) = (world.now(), NeighbourhoodConfig::default().redial_max_silent + SPARE);
        let before = std::mem::take(&mut self.down);
        let unplanned = std::mem::take(&mut self.unplanned);
        for node in world.peers().filter(|node| is_logged_in(node) && !is_settled(node)) {
            let neighbours = node.peer().map(|peer| peer.core().neighbourhood().neighbours()).unwrap_or_default();
            let is_down = |state: &LinkStatus| matches!(state, LinkStatus::Down { .. });
            for neighbour in neighbours.iter().filter(|neighbour| neighbour.is_wanted && is_down(&neighbour.state)) {
                let key = (node.id, neighbour.key);
                let since = *before.get(&key).unwrap_or(&now);
                let last = self.dialled.get(&key).copied().unwrap_or_default().max(since);
                if now - last > longest {
                    return Err(format!("{} has not dialled {} for {:?}", node.name, neighbour.name, now - last));
                }
                self.down.insert(key, since);
                if let LinkStatus::Down { redial_at: None, .. } = neighbour.state {
                    let since = *unplanned.get(&key).unwrap_or(&now);
                    if now - since > UNPLANNED {
                        return Err(format!("{} has no plan to dial {}", node.name, neighbour.name));
                    }
                    self.unplanned.insert(key, since);
                }
            }
        }
        Ok(())
    }
}
