//! What is read from a pipe is what was written at its other end, from the first byte on and in its order; whoever reads its end
//! has read all; a pipe lasts no longer than its connection, and that lasts as long as nothing befalls the mesh, whoever says
//! nothing.
//!
//! Source: docs/protocol.md, "Pipes". Each pipe of a run carries a pattern of its own, and the program at the other end gives
//! back what it reads, so that both directions are held against it.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::time::Instant;

use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::pipes::pattern;
use crate::mesh::users::machine_of;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// So long a pipe may stand still, whatever befalls the mesh: a connection that hears nothing for a minute is lost, and may have been
/// heard again just before that
const STILL_MAX: Duration = Duration::from_secs(150);

/// What befell the mesh longer ago is over, and all that followed from it
const CALM: Duration = Duration::from_secs(600);

/// What one pipe carries, and how much each end has read
#[derive(Debug)]
struct Pipe {
    bytes: Vec<u8>,
    read: [usize; 2],
    opener: NodeId,
    /// Whose the other end is, if anybody has that name
    to: Option<NodeId>,
    opened: Instant,
    /// When something of it was last read at either end, since its opener has written all that it can
    moved: Option<Instant>,
    is_over: bool,
}

/// All pipes of a run
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pipes: BTreeMap<u64, Pipe>,
    /// When something last befell the mesh
    disturbed: Option<Instant>,
    /// When whose user last wanted its peer to be logged in, or not
    wanted: BTreeMap<NodeId, Instant>,
}

impl Pipes {
    /// Whether nothing befalls the mesh, nor has lately, and neither end has left it
    fn is_undisturbed(&self, now: Instant, pipe: &Pipe) -> bool {
        let has_left = |node: &NodeId| self.wanted.get(node).is_some_and(|at| *at >= pipe.opened);
        self.disturbed.is_none_or(|at| now - at > CALM)
            && !has_left(&pipe.opener)
            && !pipe.to.as_ref().is_some_and(has_left)
    }
}

impl Oracle for Pipes {
    fn name(&self) -> &'static str {
        "pipes"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        let is_nothing = match fault {
            // Everybody has to start once.
            Fault::Start(_) => true,
            Fault::Weather(weather) => weather.loss + weather.duplication + weather.drop + weather.reordering == 0.0,
            _ => false,
        };
        if !is_nothing {
            self.disturbed = Some(now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Opening { number, len, to, .. } => {
                let (bytes, to) = (pattern(*number, *len), machine_of(to));
                self.pipes.insert(
                    *number,
                    Pipe { bytes, read: [0; 2], opener: node, to, opened: now, moved: None, is_over: false },
                );
            }
            Observation::PipeResumed { number } => {
                self.pipes.get_mut(number).into_iter().for_each(|pipe| pipe.moved = Some(now));
            }
            Observation::PipeRead { number, is_opener, bytes } => {
                let Some(pipe) = self.pipes.get_mut(number) else {
                    return Err(format!("bytes of pipe {number}, which nobody has opened"));
                };
                pipe.moved = pipe.moved.map(|_| now);
                let read = &mut pipe.read[usize::from(*is_opener)];
                if pipe.bytes.get(*read..*read + bytes.len()) != Some(*bytes) {
                    return Err(format!("other bytes of pipe {number} than were written, from byte {read} on"));
                }
                *read += bytes.len();
            }
            Observation::PipeAll { number, is_opener } => {
                let Some(pipe) = self.pipes.get(number) else { return Ok(()) };
                let read = pipe.read[usize::from(*is_opener)];
                if read != pipe.bytes.len() {
                    return Err(format!("the end of pipe {number} behind {read} of {} bytes", pipe.bytes.len()));
                }
            }
            Observation::PipeEnded { number, is_opener: true, is_whole } => {
                let Some(pipe) = self.pipes.get_mut(number) else { return Ok(()) };
                pipe.is_over = true;
                if !is_whole && self.pipes.get(number).is_some_and(|pipe| self.is_undisturbed(now, pipe)) {
                    return Err(format!("pipe {number} is broken off, and nothing has happened"));
                }
            }
            Observation::Wants(_) => _ = self.wanted.insert(node, now),
            Observation::Killed => {
                self.pipes.values_mut().filter(|pipe| pipe.opener == node).for_each(|pipe| pipe.is_over = true);
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        for node in world.peers() {
            let Some(peer) = node.peer().filter(|_| node.backlog.is_none()) else { continue };
            let (core, programs) = (peer.stack.pipes(), peer.programs.at_pipes());
            if core != programs {
                return Err(format!("peer {} has {programs} programs at {core} pipes", node.id.0));
            }
        }
        for (number, pipe) in &mut self.pipes {
            if pipe.is_over || pipe.moved.is_none() {
                continue;
            }
            if world.node(pipe.opener).backlog.is_some() {
                pipe.moved = Some(now);
            }
            if pipe.moved.is_some_and(|at| now - at > STILL_MAX) {
                return Err(format!("pipe {number} stands still, and its connection is not lost"));
            }
        }
        Ok(())
    }
}
