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
use kith_common::wire::session::Purpose;

use super::isolation::NOTICE;
use crate::mesh::net::Side;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

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
}

/// Links, and who closed which as one too many
#[derive(Debug, Default)]
pub struct Crossing {
    links: BTreeMap<(NodeId, u64), (NodeId, Direction, Nonces)>,
    /// By who closed and whom to
    closed: BTreeMap<(NodeId, NodeId), Closed>,
    /// Since when there is more than one link
    doubled: BTreeMap<(NodeId, NodeId), Instant>,
}

impl Oracle for Crossing {
    fn name(&self) -> &'static str {
        "crossing"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started | Observation::Killed => self.links.retain(|(at, _), _| *at != node),
            Observation::Opened { opened, other, .. } => {
                let mut nonces = [opened.own_nonce, opened.hello.nonce];
                if opened.direction == Direction::Incoming {
                    nonces.reverse();
                }
                self.links.insert((node, opened.link.0), (*other, opened.direction, nonces));
            }
            Observation::Closed { link, .. } => {
                self.links.remove(&(node, *link));
            }
            Observation::Peer(PeerOutput::Event(Event::LinkClosed {
                link: link_id,
                reason: CloseReason::Duplicate,
                ..
            })) => {
                let Some((other, direction, closed)) = self.links.get(&(node, link_id.0)).copied() else {
                    return Ok(());
                };
                let others =
                    self.links.iter().filter(|((at, id), link)| *at == node && *id != link_id.0 && link.0 == other);
                let others: Vec<(Direction, Nonces)> = others.map(|(_, link)| (link.1, link.2)).collect();
                // Two dials of one side did not cross: which of them is the newer one each side judges by itself.
                let [(its_direction, kept)] = others[..] else { return Ok(()) };
                if its_direction == direction {
                    return Ok(());
                }
                let its = self.closed.get(&(other, node)).filter(|its| now - its.at <= AT_ONCE);
                if its.is_some_and(|its| its.kept == closed && its.closed == kept) {
                    let other = name_of(other.0);
                    return Err(format!("closed one of two links with {other}, which has just closed the other one"));
                }
                self.closed.insert((node, other), Closed { at: now, closed, kept });
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
