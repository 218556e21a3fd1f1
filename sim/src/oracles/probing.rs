//! Links are probed when they are silent and only then, probes are answered, and nobody is given up unasked.
//!
//! Source: the liveness rules. A probe leaves 400 ms after a frame that nothing answered, or on a link that has been idle
//! for 8 s at least; it is answered at once; a link is down 2 s after the first frame that nothing answered, probed since:
//! a home link after a third of the lease, and not before.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::link::reason::CloseReason;
use kith_common::session::home_silence;
use kith_common::time::Instant;
use kith_common::wire::session::Purpose;
use kith_common::wire::{FRAME_HEADER_BYTES, Frame, FrameKind, next_frame};

use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// The shortest idle time before a probe, 8 s, by the fastest clock
const IDLE_MIN: Duration = Duration::from_secs(7);
/// The longest silence before a neighbour's link is down, 2 s …
const SILENCE: Duration = Duration::from_secs(2);
/// … by a timer that is late but not too late
const LATE: Duration = Duration::from_secs(1);
/// Probes that a silent link has had before it is down: four, or fewer if timers were late
const PROBES_MIN: u32 = 2;
/// A clock that jumps makes links look idle, though a paused process learns of it only when it goes on
const JUMP: Duration = Duration::from_secs(20);
/// A reply leaves at once, and is looked for once a step
const REPLY: Duration = Duration::from_secs(1);

/// One end of a link
#[derive(Debug)]
struct Talk {
    purpose: Purpose,
    heard: Instant,
    /// Whether frames that want an answer left since
    has_asked: bool,
    /// Probes that left since
    probes: u32,
    /// Whether the last batch does not get through
    is_stuck: bool,
    /// Probes that are the process's own: a supernode asks when others have doubts about a peer
    own_probes: u32,
    /// Probes that came, and whose replies have not left
    owed: Vec<(u32, Instant)>,
}

/// What was said on each link last
#[derive(Debug)]
pub(crate) struct Probing {
    /// How long a home link may be silent
    home_silence: Duration,
    links: BTreeMap<(NodeId, u64), Talk>,
    jumped: BTreeMap<NodeId, Instant>,
}

impl Oracle for Probing {
    fn name(&self) -> &'static str {
        "probing"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if let Fault::Jump(node, _) = fault {
            self.jumped.insert(*node, now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Killed => self.links.retain(|(at, _), _| *at != node),
            Observation::Opened { opened, .. } => {
                let purpose = opened.hello.purpose;
                let (has_asked, probes, is_stuck, own_probes, owed) = Default::default();
                let talk = Talk { purpose, heard: now, has_asked, probes, is_stuck, own_probes, owed };
                self.links.insert((node, opened.link.0), talk);
            }
            Observation::Closed { link, reason } => {
                let talk = self.links.remove(&(node, *link));
                if let (Some(talk), CloseReason::Silent { unanswered }) = (talk, reason) {
                    return talk.judge_end(*unanswered, self.home_silence);
                }
            }
            Observation::Sent { link, frame: Frame::Probe(_) } => {
                if let Some(talk) = self.links.get_mut(&(node, *link)) {
                    talk.own_probes += 1;
                }
            }
            Observation::Undecodable { link, .. } => self.hear(now, node, *link),
            Observation::Received { link, frame } => {
                self.hear(now, node, *link);
                if let (Some(talk), Frame::Probe(probe)) = (self.links.get_mut(&(node, *link)), frame) {
                    talk.owed.push((probe.sequence, now));
                }
            }
            Observation::Written { link, frames, is_taken } => {
                let has_jumped = self.jumped.get(&node).is_some_and(|at| now - *at <= JUMP);
                if let Some(talk) = self.links.get_mut(&(node, *link)) {
                    // What did not get through, and now does, is asked after whatever it was.
                    talk.has_asked |= talk.is_stuck;
                    talk.is_stuck = !is_taken;
                    return talk.write(now, frames, has_jumped);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for ((node, link), talk) in &self.links {
            let is_stuck = world.node(*node).ends.get(link).is_none_or(|end| end.is_stuck);
            let late = talk.owed.iter().find(|(_, at)| world.now() - *at >= REPLY);
            if let (Some((sequence, _)), false, true) = (late, is_stuck, world.node(*node).runs()) {
                let name = &world.node(*node).name;
                return Err(format!("{name} has not answered probe {sequence} on its link {link}"));
            }
        }
        Ok(())
    }
}

impl Probing {
    /// Nobody has said anything
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let home_silence = home_silence(config.lease);
        Self { home_silence, links: BTreeMap::new(), jumped: BTreeMap::new() }
    }

    fn hear(&mut self, now: Instant, node: NodeId, link: u64) {
        // Of frames that come together the first may be answered before the second is looked at.
        if let Some(talk) = self.links.get_mut(&(node, link)).filter(|talk| talk.heard < now) {
            // What does not get through yet will ask once it does.
            (talk.heard, talk.has_asked, talk.probes) = (now, talk.is_stuck, 0);
        }
    }
}

impl Talk {
    fn write(&mut self, now: Instant, mut frames: &[u8], has_jumped: bool) -> Result<(), String> {
        let idle = now - self.heard;
        while let Some((kind, body)) = next_frame(frames).map_err(|error| error.to_string())? {
            frames = frames.get(FRAME_HEADER_BYTES + body.len()..).unwrap_or_default();
            // Most frames are neither, and not worth a look inside.
            if !matches!(kind, FrameKind::Probe | FrameKind::ProbeReply) {
                self.has_asked |= kind != FrameKind::Bye;
                continue;
            }
            match Frame::decode(kind, body) {
                Ok(Frame::Probe(_)) if self.own_probes > 0 => self.own_probes -= 1,
                Ok(Frame::Probe(_)) => {
                    if !self.has_asked && self.probes == 0 && idle < IDLE_MIN && !has_jumped {
                        return Err(format!("a probe on a link that has been idle for {idle:?}"));
                    }
                    self.probes += 1;
                }
                Ok(Frame::ProbeReply(reply)) => self.owed.retain(|(sequence, _)| *sequence != reply.sequence),
                other => return Err(format!("a {kind:?} that is none: {other:?}")),
            }
        }
        Ok(())
    }

    fn judge_end(&self, unanswered: Duration, home_silence: Duration) -> Result<(), String> {
        let silence = if self.purpose == Purpose::Home { home_silence } else { SILENCE };
        if unanswered > silence + LATE {
            return Err(format!("a link is given up only after {unanswered:?} of silence"));
        }
        if unanswered < silence {
            return Err(format!("a link is given up after {unanswered:?} of silence already"));
        }
        // Probes that wait behind what does not get through have not left.
        if self.probes < PROBES_MIN && !self.is_stuck {
            return Err(format!("a link is given up after {} probes", self.probes));
        }
        Ok(())
    }
}
