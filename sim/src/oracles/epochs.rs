//! Epochs only grow, within one incarnation of the log; a log that went back has another one.
//!
//! Source: an epoch has the index of the log entry that last changed the ring, so larger is newer everywhere; a peer that
//! took an older table for a newer one would undo a repair. Of a log that is put back only what a login brings counts.

use std::collections::BTreeMap;

use kith_common::id::Epoch;
use kith_common::peer::PeerOutput;
use kith_common::routing::neighbourhood::Event;
use kith_common::time::Instant;

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// The largest epochs seen
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    tables: BTreeMap<NodeId, Epoch>,
    directory: Epoch,
    applied: u64,
    has_logged_in: BTreeMap<NodeId, bool>,
}

impl Oracle for Epochs {
    fn name(&self) -> &'static str {
        "epochs"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            // What is on its disk may be older than what the process before has heard.
            Observation::Started => {
                self.tables.remove(&node);
                self.has_logged_in.insert(node, true);
                Ok(())
            }
            Observation::Received { frame: kith_common::wire::Frame::Granted(_), .. } => {
                self.has_logged_in.insert(node, true);
                Ok(())
            }
            Observation::Peer(PeerOutput::Event(Event::Rewired { epoch, .. })) => {
                let before = self.tables.insert(node, *epoch).unwrap_or_default();
                // A login repeats the table of the epoch that it found; a rewire must bring a newer one.
                let may_repeat = self.has_logged_in.insert(node, false).unwrap_or_default();
                let is_new = *epoch > before || (may_repeat && *epoch == before) || is_other(*epoch, before);
                let is_by_login = !is_other(*epoch, before) || may_repeat;
                if !is_new || !is_by_login {
                    return Err(format!("took the table of epoch {epoch} after that of {before}"));
                }
                Ok(())
            }
            Observation::Agreed(directory) => {
                let (epoch, applied) = (directory.epoch(), directory.applied());
                let went_back = epoch < self.directory || (!is_other(epoch, self.directory) && applied < self.applied);
                if went_back || epoch.index > applied {
                    let (before, then) = (self.directory, self.applied);
                    return Err(format!("directory at {applied}, epoch {epoch}, after {then}, epoch {before}"));
                }
                (self.directory, self.applied) = (epoch, applied);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for node in world.peers() {
            let Some(epoch) = node.peer().and_then(|peer| peer.core().neighbourhood().epoch()) else { continue };
            if is_other(epoch, self.directory) {
                continue;
            }
            if epoch > self.directory {
                return Err(format!("{} has epoch {epoch}, and the directory {}", node.name, self.directory));
            }
        }
        Ok(())
    }
}

/// Whether the two stand in different incarnations of the log, so that neither is newer
const fn is_other(epoch: Epoch, than: Epoch) -> bool {
    epoch.incarnation != than.incarnation
}
