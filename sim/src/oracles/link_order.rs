//! What a link writes is in its order: the lower class first, the good-bye last, and nothing queued is left out before it.
//!
//! Source: the classes of frames, and a link's last words ("behind everything else").

use std::collections::BTreeMap;

use kith_common::time::Instant;
use kith_common::wire::packet::PacketRef;
use kith_common::wire::{FRAME_HEADER_BYTES, FrameKind, Priority, next_frame};

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// What is known of one link's writing
#[derive(Debug, Default)]
struct Writing {
    /// Frames of the process's own that are queued and not written; packets are left out, as queues drop them
    queued: usize,
    has_said_bye: bool,
}

/// What each link has still to write
#[derive(Debug, Default)]
pub(crate) struct LinkOrder {
    links: BTreeMap<(NodeId, u64), Writing>,
}

impl Oracle for LinkOrder {
    fn name(&self) -> &'static str {
        "link order"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Killed => self.links.retain(|(at, _), _| *at != node),
            Observation::Sent { link, frame } if !is_packet(frame.kind()) && frame.kind() != FrameKind::Probe => {
                self.links.entry((node, *link)).or_default().queued += 1;
            }
            Observation::Written { link, frames, .. } => {
                return self.links.entry((node, *link)).or_default().write(frames);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Writing {
    fn write(&mut self, mut frames: &[u8]) -> Result<(), String> {
        let mut before = Priority::Control;
        while let Some((kind, body)) = next_frame(frames).map_err(|error| error.to_string())? {
            frames = frames.get(FRAME_HEADER_BYTES + body.len()..).unwrap_or_default();
            if self.has_said_bye {
                return Err(format!("a {kind:?} after the good-bye"));
            }
            match kind {
                FrameKind::Bye => {
                    self.has_said_bye = true;
                    if self.queued > 0 {
                        return Err(format!("good-bye before {} frames that were queued", self.queued));
                    }
                    continue;
                }
                FrameKind::Probe | FrameKind::ProbeReply => {}
                kind if is_packet(kind) => {}
                _ => self.queued = self.queued.saturating_sub(1),
            }
            let class = class_of(kind, body);
            if class < before {
                return Err(format!("a {kind:?} of class {class:?} behind one of class {before:?}"));
            }
            before = class;
        }
        Ok(())
    }
}

const fn is_packet(kind: FrameKind) -> bool {
    matches!(kind, FrameKind::Packet | FrameKind::Relay)
}

fn class_of(kind: FrameKind, body: &[u8]) -> Priority {
    let packet = if is_packet(kind) { PacketRef::parse(body).ok() } else { None };
    packet.map_or(Priority::Control, |packet| packet.header().class.priority())
}

#[cfg(test)]
mod tests {
    use kith_common::status::Status;
    use kith_common::wire::link::Delta;
    use kith_common::wire::session::Reason;
    use kith_common::wire::{Bye, Frame};

    use super::*;

    #[test]
    fn good_bye_comes_last_and_behind_all_that_was_queued() {
        let bye = Frame::Bye(Bye { status: Status::Gone, reason: Reason::truncated("") });
        let delta = Frame::Delta(Delta { changes: Default::default() });
        let [bye, delta_bytes] = [&bye, &delta].map(|frame| frame.to_bytes().unwrap());
        let write = |batches: &[&[u8]]| {
            let mut oracle = LinkOrder::default();
            oracle.see(Instant::ZERO, NodeId(1), &Observation::Sent { link: 1, frame: &delta }).unwrap();
            batches.iter().try_for_each(|frames| {
                let seen = Observation::Written { link: 1, frames, is_taken: true };
                oracle.see(Instant::ZERO, NodeId(1), &seen)
            })
        };
        assert_eq!(write(&[&delta_bytes, &bye]), Ok(()));
        assert!(write(&[&bye]).unwrap_err().contains("before 1 frames"));
        assert!(write(&[&delta_bytes, &bye, &delta_bytes]).unwrap_err().contains("after"));
    }
}
