//! The way that a receipt names is one that a packet can have taken: each step of it is a link that was there.
//!
//! Source: a receipt's path is that of the packets which brought the message, as its receiver saw it (docs/protocol.md,
//! "Messages and their fates"). Which of several packets that was nobody can say; but between two who had no link there was
//! no step. What a supernode relayed has its own hop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::status::Status;
use kith_common::time::Instant;
use kith_transport::stack::MessageFate;

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::machine_of;
use crate::mesh::watch::Observation;

/// How old a packet's way may be when its receipt is told: the message waited for the disk, its receipt for a lost
/// connection, and its fate for names
const OLD: Duration = Duration::from_secs(120);

/// Two machines, the smaller one first
type Pair = (NodeId, NodeId);

fn pair(one: NodeId, other: NodeId) -> Pair {
    (one.min(other), one.max(other))
}

/// Who has, or had, a link with whom
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    /// By the machine and its number there
    open: BTreeMap<(NodeId, u64), NodeId>,
    /// When a pair's link was last closed at one end
    closed: BTreeMap<Pair, Instant>,
}

impl Receipts {
    fn close(&mut self, now: Instant, node: NodeId, link: u64) {
        if let Some(other) = self.open.remove(&(node, link)) {
            self.closed.insert(pair(node, other), now);
        }
    }

    fn close_all(&mut self, now: Instant, node: NodeId) {
        let links: BTreeSet<u64> = self.open.range((node, 0)..=(node, u64::MAX)).map(|((_, link), _)| *link).collect();
        links.into_iter().for_each(|link| self.close(now, node, link));
    }

    fn were_linked(&self, now: Instant, one: NodeId, other: NodeId) -> bool {
        let has = |at: NodeId, with: NodeId| self.open.range((at, 0)..=(at, u64::MAX)).any(|(_, other)| *other == with);
        let closed = self.closed.get(&pair(one, other));
        has(one, other) || has(other, one) || closed.is_some_and(|at| now - *at <= OLD)
    }

    fn judge(&self, now: Instant, node: NodeId, fate: &MessageFate) -> Result<(), String> {
        let Some(to) = machine_of(&fate.to).filter(|to| *to != node) else { return Ok(()) };
        let between = fate.path.iter().map(|hop| hop.name.as_ref().and_then(machine_of).filter(|_| !hop.relay));
        // Of whoever has no name, or is a supernode, nothing is known here.
        let stops: Vec<Option<NodeId>> = [Some(node)].into_iter().chain(between).chain([Some(to)]).collect();
        let steps = stops.iter().zip(stops.iter().skip(1)).filter_map(|(one, other)| Some(((*one)?, (*other)?)));
        for (one, other) in steps {
            if !self.were_linked(now, one, other) {
                let to = &fate.to;
                return Err(format!("its message to {to} went from {} to {} who had no link", one.0, other.0));
            }
        }
        Ok(())
    }
}

impl Oracle for Receipts {
    fn name(&self) -> &'static str {
        "receipts"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Opened { opened, other, .. } => _ = self.open.insert((node, opened.link.0), *other),
            Observation::Closed { link, .. } => self.close(now, node, *link),
            Observation::Started | Observation::Killed => self.close_all(now, node),
            Observation::Ended(fate) if fate.status == Status::Delivered => return self.judge(now, node, fate),
            _ => {}
        }
        Ok(())
    }
}
