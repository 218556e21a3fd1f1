//! A link whose other end is gone is noticed in time.
//!
//! Source: the liveness rules (an idle link is probed after 10 s ± 20 %, and is down after 2 s without an answer, a
//! home link after a third of the lease). A write that had to wait and was taken counts as a sign of life: the system's
//! buffers said so, and the product believes them (`kith_common::link::open::Link::on_written`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::link::LinkId;
use kith_common::link::open::HOME_SILENCE;
use kith_common::session::home_silence;
use kith_common::time::Instant;

use super::isolation::{NOTICE, notice};
use super::truth::{is_heard, is_other_paused};
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Since when each end of a link has nobody at the other end, and nothing came that had been under way
#[derive(Debug, Default)]
pub(crate) struct StaleLinks {
    since: BTreeMap<(NodeId, u64), Instant>,
    /// Ends whose last write waited for room at the last step
    stuck: BTreeSet<(NodeId, u64)>,
    /// Ends that are home links, or were until their peers logged out: what is silent there is given more time
    homes: BTreeSet<(NodeId, u64)>,
}

/// Whether this is a home link, of its peer or at its supernode
fn is_home(node: &Node, link: u64) -> bool {
    node.peer().is_none_or(|peer| peer.core().home_link() == Some(LinkId(link)))
}

impl Oracle for StaleLinks {
    fn name(&self) -> &'static str {
        "stale links"
    }

    fn fault(&mut self, _: Instant, fault: &Fault) {
        // Whoever finds that it is late asks anew.
        if let Fault::Jump(node, _) = fault {
            self.since.retain(|(at, _), _| at != node);
        }
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        if let Observation::Received { link, .. } = seen {
            self.since.remove(&(node, *link));
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let (mut stale, mut stuck, mut homes) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for node in world.nodes.iter().filter(|node| node.runs()) {
            for (link, end) in &node.ends {
                let key = (node.id, *link);
                let is_home = is_home(node, *link) || self.homes.contains(&key);
                if is_home {
                    homes.insert(key);
                }
                if is_heard(world, end) || is_other_paused(world, end) {
                    continue;
                }
                if end.is_stuck {
                    stuck.insert(key);
                } else if self.stuck.contains(&key) {
                    self.since.remove(&key);
                }
                let since = *self.since.get(&key).unwrap_or(&world.now());
                let silence = if is_home { home_silence(world.config.lease).max(HOME_SILENCE) } else { Duration::ZERO };
                let most = NOTICE.max(notice(silence));
                if world.now() - since > most {
                    return Err(format!("{}'s link {link} has been dead for {most:?}, unnoticed", node.name));
                }
                stale.insert(key, since);
            }
        }
        (self.since, self.stuck, self.homes) = (stale, stuck, homes);
        Ok(())
    }
}
