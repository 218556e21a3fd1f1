//! Whoever has relied on a name hears nobody else under it, until its user has said so.
//!
//! Source: a name that was relied on with one key is refused with another (docs/protocol.md, "Keys that changed"). A peer says
//! whose key it pins; from then on, whatever comes under that name, and whatever is answered to it, is of that key. Where nothing
//! is wrong, whoever was answered has a pin.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::crypto::Signer;
use kith_common::id::{Key, MessageId, Name};
use kith_common::status::Status;
use kith_common::time::Instant;

use super::per_node::PerNode;
use crate::mesh::faults::Fault;
use crate::mesh::node::{Disk, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Who must have which key, for whom, and who has heard what
#[derive(Debug, Default)]
pub(crate) struct Pins {
    pinned: PerNode<BTreeMap<Name, Key>>,
    /// Each machine's own
    keys: PerNode<Option<Key>>,
    /// The keys of those that have evaluated a call, or have kept a message
    heard: BTreeMap<MessageId, BTreeSet<Key>>,
    /// Whether everything is whole
    is_whole: bool,
    /// Those that have answered since then
    relied: PerNode<BTreeSet<Name>>,
}

impl Pins {
    fn hears(&mut self, node: NodeId, name: &Name, key: Key) -> Result<(), String> {
        match self.pinned.of(node).get(name) {
            Some(pinned) if *pinned != key => Err(format!("hears {name} with key {key}, and must hear {pinned} alone")),
            _ => Ok(()),
        }
    }

    fn is_answered(&mut self, node: NodeId, name: &Name, id: MessageId) -> Result<(), String> {
        if self.is_whole && *name != name_of(node.0) {
            self.relied.of(node).insert(name.clone());
        }
        let heard = self.heard.get(&id);
        match self.pinned.of(node).get(name) {
            Some(pinned)
                if *name != name_of(node.0) && heard.is_some_and(|keys| !keys.is_empty() && !keys.contains(pinned)) =>
            {
                Err(format!("believes that {name} has answered {id}: it was {heard:?}, and must be {pinned}"))
            }
            _ => Ok(()),
        }
    }
}

impl Oracle for Pins {
    fn name(&self) -> &'static str {
        "pins"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::DiskLost => {
                self.pinned.of(node).clear();
                self.relied.of(node).clear();
            }
            Observation::Trusts { name, key } => _ = self.pinned.of(node).insert((*name).clone(), *key),
            Observation::Evaluating { id, from, .. } => {
                let own = *self.keys.of(node);
                self.heard.entry(*id).or_default().extend(own);
                if let Some(grant) = from {
                    return self.hears(node, &grant.name, grant.key);
                }
            }
            Observation::Keeping(message) => {
                let own = *self.keys.of(node);
                self.heard.entry(message.id).or_default().extend(own);
                return self.hears(node, &message.from, message.key);
            }
            Observation::Called(called) if called.is_answered() => {
                return self.is_answered(node, &called.to, called.id);
            }
            Observation::Ended(fate) if fate.status == Status::Delivered => {
                return self.is_answered(node, &fate.to, fate.id);
            }
            _ => {}
        }
        Ok(())
    }

    fn fault(&mut self, _: Instant, _: &Fault) {
        self.is_whole = false;
        self.relied.clear();
    }

    fn whole(&mut self, _: &World) -> Result<(), String> {
        self.is_whole = true;
        Ok(())
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        let relied: Vec<_> = self.relied.iter().map(|(node, names)| (node, names.clone())).collect();
        for (node, names) in relied {
            if let Some(name) = names.iter().find(|name| !self.pinned.of(node).contains_key(*name)) {
                return Err(format!("{} was answered by {name}, and has pinned no key to it", name_of(node.0)));
            }
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        // A lost disk takes the key with it, and the name is given free only seconds later.
        for node in world.peers() {
            if let Disk::Peer(disk) = &node.disk {
                *self.keys.of(node.id) = Some(disk.identity.key());
            }
        }
        Ok(())
    }
}
