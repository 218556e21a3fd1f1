//! Messages of one sender to one receiver are kept in the order in which they were sent.
//!
//! Source: a sender's messages are kept in its order (docs/protocol.md, "Messages and their fates"). One that has had its
//! fate is not waited for any more; and a lost disk takes along what was to be kept.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::id::{MessageId, Name};
use kith_common::time::Instant;

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;

/// Messages that are in no in-box and have no fate, by the order in which they were sent
#[derive(Debug, Default)]
pub(crate) struct Order {
    sent: u64,
    waiting: BTreeMap<(NodeId, Name), BTreeSet<u64>>,
    messages: BTreeMap<MessageId, (NodeId, Name, u64)>,
    stored: BTreeSet<MessageId>,
}

impl Order {
    fn forget(&mut self, id: &MessageId) {
        self.stored.remove(id);
        if let Some((from, to, number)) = self.messages.remove(id) {
            self.waiting.entry((from, to)).or_default().remove(&number);
        }
    }

    /// Of a machine's messages only those that are stored are left, or none
    fn lose(&mut self, node: NodeId, has_disk: bool) {
        let is_lost = |id: &MessageId| !(has_disk && self.stored.contains(id));
        let lost = self.messages.iter().filter(|(id, (from, ..))| *from == node && is_lost(id));
        for id in lost.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.forget(&id);
        }
    }
}

impl Oracle for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Sending { id, to, .. } => {
                self.sent += 1;
                self.waiting.entry((node, (*to).clone())).or_default().insert(self.sent);
                self.messages.insert(*id, (node, (*to).clone(), self.sent));
            }
            Observation::Stored { id, is_stored: true } if self.messages.contains_key(id) => {
                self.stored.insert(*id);
            }
            Observation::Kept { id, is_new: true, .. } => {
                let Some((from, to, number)) = self.messages.get(id).cloned() else { return Ok(()) };
                let first = self.waiting.get(&(from, to)).and_then(BTreeSet::first).copied();
                self.forget(id);
                if first.is_some_and(|first| first < number) {
                    let from = name_of(from.0);
                    return Err(format!("keeps a message of {from} before another that {from} has sent before it"));
                }
            }
            Observation::Ended(fate) => self.forget(&fate.id),
            Observation::Killed => self.lose(node, true),
            Observation::DiskLost => self.lose(node, false),
            _ => {}
        }
        Ok(())
    }
}
