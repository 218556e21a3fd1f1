//! A link that comes and goes is held back, and no link for longer than it has earned.
//!
//! Source: the rule for links that come and go (docs/protocol.md, "A link between neighbours"): one that was lost twice in
//! a row, each time soon after it was up, is held back for 1 s, then for 2 s, 4 s … up to a minute; one that lasts for 20 s
//! and for four times as long as it was held back begins anew. Losses are counted here at each end from what both ends can
//! see; where that leaves a doubt there is a least and a most.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::Key;
use kith_common::link::reason::CloseReason;
use kith_common::peer::PeerOutput;
use kith_common::routing::neighbourhood::{Event, LinkStatus, NeighbourStatus};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Purpose;

use super::per_node::PerNode;
use super::truth::is_logged_in;
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

const HELD_MIN: Duration = Duration::from_secs(1);
const HELD_MAX: Duration = Duration::from_secs(60);
const LASTS: Duration = Duration::from_secs(20);
const LASTS_HELD: u32 = 4;

/// Clocks run at a wrong rate by 2 %, and somewhat more is a bound that none of them reaches
const RATE: f64 = 0.05;
/// From what is seen here to what the peer makes of it: a step of its own
const SPARE: Duration = Duration::from_millis(1_500);
/// Losses from which on a link is surely held back for so long that a step sees it
const SURE: u32 = 3;

/// One link at one end
#[derive(Clone, Copy, Debug)]
struct Life {
    key: Key,
    boot: u64,
    opened: Instant,
    /// When both sides had told their tables
    up: Option<Instant>,
    has_sent: bool,
    has_received: bool,
    /// It was said to be a neighbour's that is up: others do not count
    is_sure: bool,
    /// It took the place of one that the other side closed, and took over whether that was held back
    is_heir: bool,
}

/// Losses in a row of the links with one start of a peer
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    boot: u64,
    least: u32,
    most: u32,
}

/// What one process has seen
#[derive(Debug, Default)]
struct Seen {
    links: BTreeMap<u64, Life>,
    losses: BTreeMap<Key, Losses>,
    /// Its clock jumped, or it stood still: what it makes of times nobody else can say
    is_unsure: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Flaps {
    nodes: PerNode<Seen>,
}

fn held(losses: u32) -> Duration {
    let doublings = losses.checked_sub(2);
    doublings.map_or(Duration::ZERO, |n| HELD_MIN.saturating_mul(2_u32.saturating_pow(n)).min(HELD_MAX))
}

/// How long a link must last to begin anew
fn lasting(losses: u32) -> Duration {
    LASTS.max(held(losses) * LASTS_HELD)
}

impl Seen {
    fn losses_of(&self, life: &Life) -> Losses {
        let losses = self.losses.get(&life.key).filter(|losses| losses.boot == life.boot).copied();
        losses.unwrap_or(Losses { boot: life.boot, ..Losses::default() })
    }

    fn on_closed(&mut self, now: Instant, link: u64, reason: &CloseReason) {
        let Some(life) = self.links.remove(&link) else { return };
        let is_replaced = matches!(reason, CloseReason::Local { status: Status::Conflict, .. });
        if matches!(reason, CloseReason::Bye { status: Status::Conflict, .. }) {
            self.links.values_mut().filter(|heir| heir.key == life.key).for_each(|heir| heir.is_heir = true);
        }
        let is_lost = !matches!(reason, CloseReason::Local { .. } | CloseReason::Bye { .. });
        let mut losses = self.losses_of(&life);
        let longest = now - life.opened;
        let shortest = life.up.map_or(Duration::ZERO, |up| now - up);
        if life.is_sure && shortest > lasting(losses.most).mul_f64(1.0 + RATE) {
            losses.most = 1;
        } else {
            losses.most += u32::from(is_replaced || is_lost);
        }
        if longest > lasting(losses.least).mul_f64(1.0 - RATE) {
            losses.least = 0;
        } else {
            losses.least += u32::from(is_lost && life.is_sure);
        }
        self.losses.insert(life.key, losses);
    }

    fn judge(&self, now: Instant, node: &Node, neighbours: &[NeighbourStatus]) -> Result<(), String> {
        let up = || neighbours.iter().filter(|it| it.is_wanted && it.state == LinkStatus::Up);
        for neighbour in up() {
            let Some(life) = neighbour.link.and_then(|link| self.links.get(&link.0)) else { continue };
            let (Losses { least, most, .. }, since) = (self.losses_of(life), life.up.unwrap_or(life.opened));
            let (name, other, age) = (&node.name, &neighbour.name, now - since);
            if neighbour.held_until.is_some() && age > held(most).mul_f64(1.0 + RATE) + SPARE {
                return Err(format!("{name} holds its link to {other} back after {age:?}, of which {most} were lost"));
            }
            // It may have been up, and held back, as a guest's before it was a neighbour's.
            let is_young = now - life.opened + SPARE < held(least).mul_f64(1.0 - RATE);
            if neighbour.held_until.is_none() && life.is_sure && !life.is_heir && least >= SURE && is_young {
                return Err(format!("{name} uses its link to {other} after {age:?}, of which {least} were lost"));
            }
        }
        Ok(())
    }
}

impl Oracle for Flaps {
    fn name(&self) -> &'static str {
        "flaps"
    }

    fn fault(&mut self, _: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) | Fault::Pause(node, _) = fault {
            self.nodes.of(*node).is_unsure = true;
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        let of = self.nodes.of(node);
        match seen {
            Observation::Started | Observation::Killed => *of = Seen::default(),
            Observation::Opened { opened, .. } if opened.hello.purpose == Purpose::Neighbour => {
                let (key, boot) = (opened.key, opened.hello.boot);
                let [has_sent, has_received, is_sure, is_heir] = [false; 4];
                let life = Life { key, boot, opened: now, up: None, has_sent, has_received, is_sure, is_heir };
                of.links.insert(opened.link.0, life);
            }
            Observation::Sent { link, frame: Frame::Table(_) }
            | Observation::Received { link, frame: Frame::Table(_) } => {
                if let Some(life) = of.links.get_mut(link) {
                    let is_sent = matches!(seen, Observation::Sent { .. });
                    life.has_sent |= is_sent;
                    life.has_received |= !is_sent;
                    if life.has_sent && life.has_received {
                        life.up.get_or_insert(now);
                    }
                }
            }
            // A link may be up before its peer is a neighbour.
            Observation::Peer(PeerOutput::Event(Event::LinkUp { link, .. } | Event::HeldBack { link, .. })) => {
                if let Some(life) = of.links.get_mut(&link.0).filter(|life| !life.is_sure) {
                    (life.up, life.is_sure) = (Some(now), true);
                }
            }
            Observation::Closed { link, reason } => of.on_closed(now, *link, reason),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for node in world.peers().filter(|node| is_logged_in(node)) {
            let Some(peer) = node.peer() else { continue };
            let seen = self.nodes.of(node.id);
            if !seen.is_unsure {
                seen.judge(world.now(), node, &peer.core().neighbourhood().neighbours())?;
            }
        }
        Ok(())
    }
}
