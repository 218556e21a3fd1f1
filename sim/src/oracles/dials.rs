//! Peers that have lost their supernode do not hammer it.
//!
//! Source: waits between tries grow up to 4 s in the first minute and to 10 s later, and each is drawn anew between
//! 500 ms and three times the one before. Without growth a supernode that comes back meets all its peers every second;
//! without chance it meets them in the same instant.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::peer::PeerOutput;
use kith_common::time::Instant;
use kith_common::wire::session::{Location, Purpose};

use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;

/// Tries in vain after which waits have grown
const GROWN: u32 = 3;
/// So many waits tell their mean within a fifth of a second
const WAITS_MIN: u32 = 100;
/// The mean of waits that have begun to grow is over 1.5 s; of waits that do not grow it is 1 s
const MEAN_MIN: Duration = Duration::from_millis(1_200);
/// A dial that nobody answers takes this long, and the wait begins after it
const UNANSWERED: Duration = Duration::from_millis(4_900);

/// Each peer's tries of each supernode since one last answered, and what all waited
#[derive(Debug)]
pub(crate) struct Dials {
    supernodes: u32,
    tries: BTreeMap<(NodeId, Option<Location>), (u32, Instant)>,
    waits: u32,
    waited: Duration,
}

impl Dials {
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self { supernodes: config.supernodes, tries: BTreeMap::new(), waits: 0, waited: Duration::ZERO }
    }

    /// It has found a supernode, or does not want one any more
    fn forget(&mut self, node: NodeId) {
        self.tries.retain(|(of, _), _| *of != node);
    }
}

impl Oracle for Dials {
    fn name(&self) -> &'static str {
        "dials"
    }

    fn fault(&mut self, _: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) | Fault::Resume(node) = fault {
            self.forget(*node);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started | Observation::Killed => {
                self.forget(node);
            }
            Observation::Opened { other, .. } if other.0 < self.supernodes => {
                self.forget(node);
            }
            Observation::Peer(PeerOutput::LoggedOut { .. }) => {
                self.forget(node);
            }
            Observation::Peer(PeerOutput::Dial(dial)) if dial.purpose == Purpose::Home => {
                let key = (node, dial.locations.first().cloned());
                let (tries, last) = self.tries.get(&key).copied().unwrap_or((0, now));
                self.tries.insert(key, (tries + 1, now));
                if tries < GROWN {
                    return Ok(());
                }
                let wait = now - last;
                self.waits += 1;
                self.waited += if wait > UNANSWERED { wait - UNANSWERED } else { wait };
                let mean = self.waited / self.waits;
                if self.waits >= WAITS_MIN && mean < MEAN_MIN {
                    return Err(format!(
                        "{} is the {}th to try a supernode again that does not answer, after {mean:?} on average",
                        name_of(node.0),
                        self.waits
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
