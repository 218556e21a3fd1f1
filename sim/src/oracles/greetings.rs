//! Every link that a peer accepts is told its table, whatever else is told at that moment.
//!
//! Source: a link counts when both sides have told their tables over it, and one without is closed after 5 s
//! (`kith_common::routing::neighbourhood`). Whoever forgets one costs both sides a handshake.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::Key;
use kith_common::routing::neighbourhood::LinkStatus;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Purpose;

use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// An unknown peer waits 3 s to be in the table; a step and a slow clock come on top. After 5 s the link would be gone
const TOLD: Duration = Duration::from_secs(4);

/// A link that is open
#[derive(Debug)]
struct Open {
    key: Key,
    since: Instant,
    is_told: bool,
}

/// The links between neighbours, of all machines
#[derive(Debug, Default)]
pub(crate) struct Greetings {
    open: BTreeMap<(NodeId, u64), Open>,
}

impl Oracle for Greetings {
    fn name(&self) -> &'static str {
        "greetings"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        // It takes itself for held up, and whoever waits for it has its time anew.
        if let Fault::Jump(node, _) = fault {
            self.open.iter_mut().filter(|((at, _), _)| at == node).for_each(|(_, open)| open.since = now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started | Observation::Killed => self.open.retain(|(at, _), _| *at != node),
            Observation::Opened { opened, .. } if opened.hello.purpose == Purpose::Neighbour => {
                let open = Open { key: opened.key, since: now, is_told: false };
                self.open.insert((node, opened.link.0), open);
            }
            Observation::Closed { link, .. } => drop(self.open.remove(&(node, *link))),
            Observation::Sent { link, frame: Frame::Table(_) | Frame::Bye(_) } => {
                if let Some(open) = self.open.get_mut(&(node, *link)) {
                    open.is_told = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        for ((id, link), open) in self.open.iter_mut().filter(|(_, open)| !open.is_told) {
            let node = world.node(*id);
            if !node.runs() {
                open.since = now;
            }
            if now - open.since <= TOLD {
                continue;
            }
            let neighbours = node.peer().map(|peer| peer.core().neighbourhood().neighbours()).unwrap_or_default();
            let is_here = |state: &LinkStatus| matches!(state, LinkStatus::Up | LinkStatus::Dialling);
            let wanted = neighbours.iter().find(|one| one.key == open.key && one.is_wanted && is_here(&one.state));
            if let Some(neighbour) = wanted {
                let name = &neighbour.name;
                return Err(format!("{} has told no table on link {link}, open with {name} for {TOLD:?}", node.name));
            }
        }
        Ok(())
    }
}
