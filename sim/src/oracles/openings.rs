//! A link opens with whom was wanted, for what was wanted, by hellos that were never said before, and soon or not at all.
//!
//! Source: the hellos' rules: a fresh nonce for each link, the key that the handshake proves, the purpose repeated, 5 s for the other's hello.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::time::Instant;

use crate::mesh::net::{ConnId, Side};
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// A hello has 5 s; the rest is for slow clocks and steps
const HELLO: Duration = Duration::from_secs(7);

/// Nonces that were said, and who waits for a hello
#[derive(Debug, Default)]
pub(crate) struct Openings {
    nonces: BTreeSet<[u8; 32]>,
    waiting: BTreeMap<(NodeId, ConnId, Side), Instant>,
}

impl Oracle for Openings {
    fn name(&self) -> &'static str {
        "openings"
    }

    fn see(&mut self, _: Instant, _: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        let Observation::Opened { opened, wanted, .. } = seen else { return Ok(()) };
        if let Some((key, purpose)) = wanted {
            if key.is_some_and(|key| key != opened.key) {
                return Err("a link is open with somebody else than whom was wanted".into());
            }
            if *purpose != opened.hello.purpose {
                return Err("a link is open for another purpose than it was dialled for".into());
            }
        }
        if !self.nonces.insert(opened.own_nonce) {
            return Err("a link is open by a hello whose nonce was said before".into());
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let mut waiting = BTreeMap::new();
        for node in world.nodes.iter().filter(|node| node.runs()) {
            for (conn, side) in node.greeters.keys() {
                let key = (node.id, *conn, *side);
                let since = *self.waiting.get(&key).unwrap_or(&world.now());
                if world.now() - since > HELLO {
                    return Err(format!("{} has waited {HELLO:?} for a hello", node.name));
                }
                waiting.insert(key, since);
            }
        }
        self.waiting = waiting;
        Ok(())
    }
}
