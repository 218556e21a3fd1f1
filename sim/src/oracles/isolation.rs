//! Every peer that is logged in has a live neighbour, or knows that it has none.
//!
//! Source: `kith_common::routing::neighbourhood`: a peer whose links are all down tells its home, which gives it a new
//! table. A peer that believes in links of which none is alive would forward into nothing and never ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::peer::PeerOutput;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::{Purpose, Report};

use super::truth::{is_heard, is_logged_in, is_other_paused, live_links};
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// An idle link is probed after 12 s at most …
const IDLE_MAX: Duration = Duration::from_secs(12);
/// … and given up 2 s later; the rest is for slow clocks and steps
pub(super) const NOTICE: Duration = notice(Duration::from_secs(2));

/// When a dead link is noticed that may be silent for so long
pub(super) const fn notice(silence: Duration) -> Duration {
    IDLE_MAX.saturating_add(silence).saturating_add(Duration::from_secs(3))
}

/// A peer that has just lost its last link tells its supernode at once; what else follows takes some steps
const TELL: Duration = Duration::from_secs(1);

/// Since when each peer is cut off without knowing it, or without telling
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    since: BTreeMap<NodeId, Instant>,
    silent: BTreeMap<NodeId, Instant>,
    /// The peers that have had a link since their last login, and so miss it
    linked: BTreeSet<NodeId>,
    told: BTreeMap<NodeId, Instant>,
    /// The link of each peer with its home, which is no neighbour
    homes: BTreeMap<NodeId, u64>,
}

impl Isolation {
    fn tells(&mut self, world: &World, node: &Node) -> Result<(), String> {
        let (id, now) = (node.id, world.now());
        let neighbourhood = node.peer().map(|peer| peer.core().neighbourhood());
        let has_link = neighbourhood.is_some_and(|neighbourhood| neighbourhood.live_links().next().is_some());
        let is_alone = neighbourhood.is_some_and(|neighbourhood| neighbourhood.wanted() == 0);
        if !is_logged_in(node) || has_link || is_alone || !self.linked.contains(&id) {
            self.silent.remove(&id);
            if has_link && is_logged_in(node) {
                self.linked.insert(id);
            } else if !is_logged_in(node) {
                self.linked.remove(&id);
            }
            return Ok(());
        }
        let since = *self.silent.entry(id).or_insert(now);
        let is_told = self.told.get(&id).is_some_and(|at| *at + TELL >= since);
        if now - since >= TELL && !is_told {
            return Err(format!("{} has lost all its links, and has not told its home", node.name));
        }
        Ok(())
    }
}

impl Oracle for Isolation {
    fn name(&self) -> &'static str {
        "isolation"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Sent { frame: Frame::Report(Report::Isolated), .. } => drop(self.told.insert(node, now)),
            // Between two steps somebody may be killed or leave, and log in anew.
            Observation::Started | Observation::Peer(PeerOutput::LoggedOut { .. }) => {
                self.linked.remove(&node);
                self.silent.remove(&node);
            }
            Observation::Opened { opened, .. } => {
                if opened.hello.purpose == Purpose::Home {
                    self.homes.insert(node, opened.link.0);
                }
                self.since.remove(&node);
            }
            // Its other end has just said something, and may be cut off again before the next step.
            Observation::Received { link, .. } if self.homes.get(&node) != Some(link) => drop(self.since.remove(&node)),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for node in world.peers() {
            self.tells(world, node)?;
            let mut believed = live_links(world, node).peekable();
            let deluded = is_logged_in(node)
                && believed.peek().is_some()
                && believed.all(|(_, end, _)| !is_heard(world, end) && !is_other_paused(world, end));
            if !deluded {
                self.since.remove(&node.id);
                continue;
            }
            let since = *self.since.entry(node.id).or_insert(world.now());
            if world.now() - since > NOTICE {
                return Err(format!("{} has had no live neighbour for {NOTICE:?}, and does not know", node.name));
            }
        }
        Ok(())
    }
}
