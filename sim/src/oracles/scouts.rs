//! Nobody gives up a home for a supernode that is no better.
//!
//! Source: docs/protocol.md, "A session with a supernode": a peer whose home is cut off moves to one that hears somebody
//! lead, and while nobody leads everybody stays where it is: else all would run to and fro between supernodes of which none
//! can do anything for them.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::time::Instant;
use kith_common::wire::Frame;

use super::per_node::PerNode;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// What one peer was told on its links with supernodes
#[derive(Debug, Default)]
struct Told {
    /// On which links it was granted its session
    granted: BTreeSet<u64>,
    /// Whether whoever is at the other end hears somebody lead
    led: BTreeMap<u64, bool>,
    /// When it was last granted its session on a link whose other end hears nobody lead
    unled: Option<Instant>,
}

/// What each peer was told
#[derive(Debug, Default)]
pub(crate) struct Scouts {
    peers: PerNode<Told>,
}

impl Oracle for Scouts {
    fn name(&self) -> &'static str {
        "scouts"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        let peer = self.peers.of(node);
        match seen {
            Observation::Started => *peer = Told::default(),
            Observation::Received { link, frame: Frame::Challenge(challenge) } => {
                peer.led.insert(*link, challenge.is_led);
            }
            Observation::Received { link, frame: Frame::Granted(_) } => {
                if peer.led.get(link) == Some(&false) {
                    peer.unled = Some(now);
                }
                peer.granted.insert(*link);
            }
            Observation::Closed { link, reason } => {
                peer.led.remove(link);
                // That is said by whoever has another home already.
                let is_left = reason.to_string().contains("is cut off from the others");
                if peer.granted.remove(link) && is_left && peer.unled == Some(now) {
                    return Err("leaves its home for a supernode that hears nobody lead either".to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "mutants")]
mod tests {
    use std::time::Duration;

    use kith_common::mutant::Mutant;

    use super::*;
    use crate::mesh::config::MeshConfig;
    use crate::mesh::faults::Effect;
    use crate::oracles;

    /// What this oracle alone says of a run in which supernodes are cut off from each other
    fn judged(mutant: Option<Mutant>) -> Option<String> {
        let kinds = [Effect::SupernodeCut].into();
        let (faults, fault_every) = (Duration::from_secs(300), Duration::from_secs(5));
        let config = MeshConfig { supernodes: 3, degree: 4, faults, fault_every, kinds, ..MeshConfig::new(1, 12) };
        oracles::judged(&config, Scouts::default(), mutant)
    }

    #[test]
    fn peers_that_run_from_one_to_another_that_is_not_led_are_seen() {
        assert!(judged(Some(Mutant::ScoutsMoveAnyway)).is_some_and(|what| what.contains("leaves its home")));
        assert_eq!(judged(None), None);
    }
}
