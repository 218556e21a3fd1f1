//! After a rewire an old link stays until each new neighbour is up, or has had 5 s.
//!
//! Source: `kith_common::routing::neighbourhood`: make before break; without it a peer that is rewired twice in a row is
//! cut off between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::{Address, Epoch, Key};
use kith_common::link::LinkId;
use kith_common::peer::PeerOutput;
use kith_common::routing::neighbourhood::{CloseReason, Event};
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Rewire;

use super::per_node::PerNode;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// The patience of the product, less what a fast clock may take off
const PATIENCE: Duration = Duration::from_millis(4_850);

/// What one peer's tables said
#[derive(Debug, Default)]
struct Tables {
    /// New neighbours: since when each is wanted, until it was up or given up
    awaited: BTreeMap<Address, Instant>,
    /// Of the last table that counts
    epoch: Epoch,
    known: BTreeMap<Address, Key>,
    /// Links that are up already, whoever said that they should be: nobody waits for them
    up: BTreeSet<Address>,
    /// When each former neighbour left the table at its place: only who was wanted by then is waited for. Its link is an
    /// old one even if it comes back to another place
    dropped: BTreeMap<(Key, Address), Instant>,
    /// Which place each link led to when it was up
    places: BTreeMap<LinkId, Address>,
    /// To which place a link with this key led that gave way to another one: that other one is up there without a word
    inherited: BTreeMap<Key, Address>,
    /// Links of guests: to where their peers were then, which no table of ours may ever have said
    guests: BTreeSet<LinkId>,
    /// Whoever logs out takes no table any more
    is_leaving: bool,
}

impl Tables {
    /// Whether a table of this epoch is older than the one that there is, and so changes nothing
    fn is_old(&self, epoch: Epoch) -> bool {
        epoch.incarnation == self.epoch.incarnation && epoch < self.epoch
    }

    fn want(&mut self, now: Instant, rewire: &Rewire) {
        // A supernode may be behind another one.
        if self.is_old(rewire.epoch) {
            return;
        }
        self.epoch = rewire.epoch;
        let Self { awaited, known, up, dropped, .. } = self;
        let wanted: BTreeMap<Address, Key> = rewire.neighbours.iter().map(|r| (r.address, r.key)).collect();
        awaited.retain(|address, _| wanted.contains_key(address));
        for address in wanted.keys().filter(|address| !known.contains_key(address) && !up.contains(address)) {
            awaited.insert(*address, now);
        }
        dropped.retain(|(key, place), _| wanted.get(place) != Some(key));
        for (place, key) in known.iter().filter(|(place, key)| wanted.get(place) != Some(key)) {
            dropped.entry((*key, *place)).or_insert(now);
        }
        *known = wanted;
    }

    /// When the other end of this link left the table at the place that the link led to; at the latest it may be that of
    /// the first of its places, if the link was never the one in use
    fn dropped(&mut self, link: LinkId, key: Key) -> Instant {
        let place = self.places.remove(&link).or_else(|| self.inherited.remove(&key));
        let of_key = self.dropped.range((key, Address(0))..=(key, Address(u64::MAX)));
        let at = of_key.filter(|((_, at), _)| place.is_none_or(|place| *at == place)).map(|(_, at)| *at).min();
        at.unwrap_or_default()
    }
}

/// What everybody's tables said
#[derive(Debug, Default)]
pub(crate) struct MakeBeforeBreak {
    tables: PerNode<Tables>,
    jumped: BTreeMap<NodeId, Instant>,
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
                *self.tables.of(node) = Tables::default();
            }
            Observation::Received { frame: Frame::Granted(granted), .. } => {
                self.tables.of(node).is_leaving = false;
                self.tables.of(node).want(now, &granted.rewire);
            }
            Observation::Sent { frame: Frame::Logout(_), .. } => self.tables.of(node).is_leaving = true,
            // The same one again, from a supernode that is behind, says nothing that a peer does not know from its disk.
            Observation::Received { frame: Frame::Rewire(rewire), .. }
                if !self.tables.of(node).is_leaving && rewire.epoch != self.tables.of(node).epoch =>
            {
                self.tables.of(node).want(now, rewire);
            }
            // Nobody waits for whoever was removed.
            Observation::Received { frame: Frame::Removed(told), .. } => {
                let Tables { awaited, known, .. } = self.tables.of(node);
                awaited.retain(|address, _| known.get(address).is_none_or(|key| !told.keys.contains(key)));
            }
            Observation::Peer(PeerOutput::Event(event)) => match event {
                Event::LinkUp { link, address, .. } => {
                    let tables = self.tables.of(node);
                    tables.awaited.remove(address);
                    tables.up.insert(*address);
                    tables.places.insert(*link, *address);
                    tables.inherited.retain(|_, place| place != address);
                }
                // A peer that starts takes the table that it had before, of which a supernode may not have heard yet.
                Event::Rewired { epoch, .. } if !self.tables.of(node).is_old(*epoch) => {
                    self.tables.of(node).epoch = *epoch;
                }
                Event::LinkDown { address, .. } => _ = self.tables.of(node).up.remove(address),
                Event::GaveUp { address, .. } => _ = self.tables.of(node).awaited.remove(address),
                Event::GuestAccepted { link, .. } => drop(self.tables.of(node).guests.insert(*link)),
                Event::LinkClosed { link, key, reason: CloseReason::Duplicate } => {
                    let tables = self.tables.of(node);
                    if let Some(place) = tables.places.remove(link) {
                        tables.inherited.insert(*key, place);
                    }
                }
                Event::LinkClosed { link, key, reason: CloseReason::Rewired } => {
                    let tables = self.tables.of(node);
                    if tables.guests.remove(link) {
                        return Ok(());
                    }
                    let dropped = tables.dropped(*link, *key);
                    let has_jumped = self.jumped.get(&node).is_some_and(|at| now - *at < Duration::from_secs(6));
                    let early =
                        tables.awaited.values().filter(|since| **since <= dropped && now - **since < PATIENCE).count();
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
