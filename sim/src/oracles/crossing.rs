//! Two peers need one link: of two that crossed both close the same one, and two do not both stay.
//!
//! Source: the rule for dials that cross. Both sides come to the same answer without asking each other; if each kept its
//! own, both links would be closed, and the pair would begin anew.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::link::Direction;
use kith_common::peer::PeerOutput;
use kith_common::routing::neighbourhood::{CloseReason, Event};
use kith_common::time::Instant;
use kith_common::wire::grant::SignedGrant;
use kith_common::wire::session::Purpose;

use super::isolation::NOTICE;
use crate::mesh::faults::Fault;
use crate::mesh::net::Side;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Dials that opened within this of each other crossed, by what each side sees and by its own clock: where a hello had to
/// be sent again, or a clock jumped, one side may see that they did and the other that they did not. Then both may be
/// closed, and the pair begins anew
const SIMULTANEOUS: Duration = Duration::from_secs(2);
/// Of which a clock that is fast or slow by 2 % makes more or less
const DRIFT: Duration = Duration::from_millis(100);

/// Two closes so close together are about two links that were there at once: the longest way and back
const AT_ONCE: Duration = Duration::from_millis(200);

/// What both ends of a link have in common: the dialler's nonce, then the listener's
type Nonces = [[u8; 32]; 2];

/// One link of several was closed
#[derive(Debug)]
struct Closed {
    at: Instant,
    closed: Nonces,
    /// The only other one with the same peer, whose dial had crossed the first one's
    kept: Nonces,
    /// Whether whoever closed it saw them cross, if that is certain
    have_crossed: Option<bool>,
}

/// A link at one end
#[derive(Clone, Debug)]
struct Held {
    other: NodeId,
    direction: Direction,
    nonces: Nonces,
    opened: Instant,
    /// What the other side said of itself: whose right is older makes room, and after a login each side may hold the
    /// other's older one on the link that it keeps
    right: (u64, Option<SignedGrant>),
}

/// Links, and who closed which as one too many
#[derive(Debug, Default)]
pub(crate) struct Crossing {
    links: BTreeMap<(NodeId, u64), Held>,
    /// By who closed and whom to
    closed: BTreeMap<(NodeId, NodeId), Closed>,
    /// When each machine's clock jumped last
    jumped: BTreeMap<NodeId, Instant>,
    /// Since when there is more than one link
    doubled: BTreeMap<(NodeId, NodeId), Instant>,
}

impl Oracle for Crossing {
    fn name(&self) -> &'static str {
        "crossing"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) = fault {
            self.jumped.insert(*node, now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started | Observation::Killed => self.links.retain(|(at, _), _| *at != node),
            Observation::Opened { opened, other, .. } => {
                let mut nonces = [opened.own_nonce, opened.hello.nonce];
                if opened.direction == Direction::Incoming {
                    nonces.reverse();
                }
                let right = (opened.hello.boot, opened.hello.grant.clone());
                let held = Held { other: *other, direction: opened.direction, nonces, opened: now, right };
                self.links.insert((node, opened.link.0), held);
            }
            Observation::Closed { link, .. } => {
                self.links.remove(&(node, *link));
            }
            Observation::Peer(PeerOutput::Event(Event::LinkClosed {
                link: link_id,
                reason: CloseReason::Duplicate,
                ..
            })) => {
                let Some(closed) = self.links.get(&(node, link_id.0)).cloned() else { return Ok(()) };
                let others = self.links.iter().filter(|((at, id), _)| *at == node && *id != link_id.0);
                let others: Vec<&Held> =
                    others.map(|(_, held)| held).filter(|held| held.other == closed.other).collect();
                // Two dials of one side did not cross: which of them is the newer one each side judges by itself.
                let [kept] = others[..] else { return Ok(()) };
                if kept.direction == closed.direction {
                    return Ok(());
                }
                let other = closed.other;
                let its = self.closed.get(&(other, node)).filter(|its| now - its.at <= AT_ONCE);
                let has_jumped = self.jumped.get(&node).is_some_and(|at| *at >= closed.opened.min(kept.opened));
                let apart = closed.opened.since(kept.opened).max(kept.opened.since(closed.opened));
                let is_certain = kept.right == closed.right && !has_jumped && apart.abs_diff(SIMULTANEOUS) > DRIFT;
                let have_crossed = is_certain.then_some(apart < SIMULTANEOUS);
                let is_other = |its: &Closed| its.kept == closed.nonces && its.closed == kept.nonces;
                let agree = |its: &Closed| have_crossed.is_some() && its.have_crossed == have_crossed;
                if its.is_some_and(|its| is_other(its) && agree(its)) {
                    let other = name_of(other.0);
                    return Err(format!("closed one of two links with {other}, which has just closed the other one"));
                }
                self.closed
                    .insert((node, other), Closed { at: now, closed: closed.nonces, kept: kept.nonces, have_crossed });
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let links = world.net.open().filter(|(_, conn)| conn.purpose == Purpose::Neighbour);
        let ends = links.map(|(_, conn)| [Side::Dialler, Side::Listener].map(|side| conn.end(side).node));
        let ends = ends.filter(|ends| ends.iter().all(|node| world.node(*node).runs()));
        let mut pairs: Vec<(NodeId, NodeId)> = ends.map(|[a, b]| (a.min(b), a.max(b))).collect();
        pairs.sort_unstable();
        let before = std::mem::take(&mut self.doubled);
        for pair in pairs.chunk_by(PartialEq::eq).filter(|links| links.len() > 1).map(|links| links[0]) {
            let since = *before.get(&pair).unwrap_or(&world.now());
            if world.now() - since > NOTICE {
                let [a, b] = [pair.0, pair.1].map(|node| name_of(node.0));
                return Err(format!("{a} and {b} have had more than one link for {NOTICE:?}"));
            }
            self.doubled.insert(pair, since);
        }
        Ok(())
    }
}
