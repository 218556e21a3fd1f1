//! After a rewire an old link stays until each new neighbour is up, or has had 5 s.
//!
//! Source: `kith_common::routing::neighbourhood`: make before break; without it a peer that is rewired twice in a row is
//! cut off between.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::{Address, Key};
use kith_common::peer::Output;
use kith_common::routing::neighbourhood::{CloseReason, Event};
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Rewire;

use super::Oracle;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::watch::Observation;

/// The patience of the product, less what a fast clock may take off
const PATIENCE: Duration = Duration::from_millis(4_850);

/// One peer's new neighbours: since when each is wanted, until it was up or given up
#[derive(Debug, Default)]
pub struct MakeBeforeBreak {
    awaited: BTreeMap<NodeId, BTreeMap<Address, Instant>>,
    known: BTreeMap<NodeId, BTreeMap<Address, Key>>,
    /// From which place and when each former neighbour left the table: only who was wanted by then is waited for. Its link
    /// is an old one even if it comes back to another place
    dropped: BTreeMap<(NodeId, Key), (Address, Instant)>,
    jumped: BTreeMap<NodeId, Instant>,
}

impl MakeBeforeBreak {
    fn want(&mut self, now: Instant, node: NodeId, rewire: &Rewire) {
        let known = self.known.entry(node).or_default();
        let awaited = self.awaited.entry(node).or_default();
        let wanted: BTreeMap<Address, Key> = rewire.neighbours.iter().map(|r| (r.address, r.key)).collect();
        awaited.retain(|address, _| wanted.contains_key(address));
        for address in wanted.keys().filter(|address| !known.contains_key(address)) {
            awaited.insert(*address, now);
        }
        self.dropped.retain(|(of, key), (place, _)| *of != node || wanted.get(place) != Some(key));
        for (place, key) in known.iter().filter(|(_, key)| !wanted.values().any(|wanted| wanted == *key)) {
            self.dropped.entry((node, *key)).or_insert((*place, now));
        }
        *known = wanted;
    }

    fn arrive(&mut self, node: NodeId, address: Address) {
        if let Some(awaited) = self.awaited.get_mut(&node) {
            awaited.remove(&address);
        }
    }
}

impl Oracle for MakeBeforeBreak {
    fn name(&self) -> &'static str {
        "make before break"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) = fault {
            self.jumped.insert(*node, now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started | Observation::Killed => {
                self.awaited.remove(&node);
                self.known.remove(&node);
                self.dropped.retain(|(of, _), _| *of != node);
            }
            Observation::Received { frame: Frame::Granted(granted), .. } => self.want(now, node, &granted.rewire),
            Observation::Received { frame: Frame::Rewire(rewire), .. } => self.want(now, node, rewire),
            Observation::Peer(Output::Event(event)) => match event {
                Event::LinkUp { address, .. } | Event::GaveUp { address, .. } => self.arrive(node, *address),
                Event::LinkClosed { key, reason: CloseReason::Rewired, .. } => {
                    let dropped = self.dropped.remove(&(node, *key)).map(|(_, at)| at).unwrap_or_default();
                    let has_jumped = self.jumped.get(&node).is_some_and(|at| now - *at < Duration::from_secs(6));
                    let awaited = self.awaited.get(&node).into_iter().flatten();
                    let early = awaited.filter(|(_, since)| **since <= dropped && now - **since < PATIENCE).count();
                    if early > 0 && !has_jumped {
                        return Err(format!("closed an old link while {early} new ones were awaited for under 5 s"));
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }
}
