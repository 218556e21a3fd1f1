//! What waits to be written to one link: three classes, each bounded in bytes, the lower one first.
//!
//! Frames are appended to chunks of [`CHUNK_BYTES`], and the writer takes a whole chunk at a time, so that a frame is
//! copied once on its way through, nothing looks for its end, and control waits for one chunk at most.

use std::collections::VecDeque;

use crate::mutant::{self, Mutant};
use crate::wire::packet::{self, Edit, PacketRef};
use crate::wire::{FRAME_HEADER_BYTES, Frame, FrameKind, Priority, WireError, finish_frame};

use super::chunks::{CHUNK_BYTES, Chunks};

/// Bytes that each class of a link may hold back
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// Beyond it the link is closed: whoever does not read what keeps the mesh together is gone
    pub control: usize,
    /// Beyond it signals are dropped and counted
    pub signal: usize,
    /// From half of it on packets are marked as having met congestion; beyond it they are dropped and counted
    pub data: usize,
}

impl Default for QueueBounds {
    /// A peer's: 24 links hold 32 MiB if all of them are stuck at once
    fn default() -> Self {
        Self { control: 256 * 1024, signal: 128 * 1024, data: 1024 * 1024 }
    }
}

impl QueueBounds {
    /// A supernode's, whose thousands of links carry control and the odd relayed packet
    pub const fn of_supernode() -> Self {
        Self { control: 256 * 1024, signal: 64 * 1024, data: 128 * 1024 }
    }
}

/// A frame was not queued; the queue is as before
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushError {
    /// The class is at its bound
    Full,
    /// The frame has no bytes
    Wire(WireError),
}

#[derive(Debug, Default)]
struct Class {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    max: usize,
}

/// The frames that wait for one link's writer
#[derive(Debug)]
pub(super) struct Queue {
    control: Class,
    signal: Class,
    data: Class,
    wants_answer: bool,
}

/// What the writer takes at a time
pub(super) struct Batch {
    /// Whole frames
    pub(super) bytes: Vec<u8>,
    /// Whether a frame among those queued since the last batch is one that a living neighbour answers sooner or later
    pub(super) wants_answer: bool,
}

impl Queue {
    /// An empty one
    pub(super) fn new(bounds: QueueBounds) -> Self {
        let class = |max| Class { max, ..Class::default() };
        Self {
            control: class(bounds.control),
            signal: class(bounds.signal),
            data: class(bounds.data),
            wants_answer: false,
        }
    }

    /// Whether data that comes now is to be marked
    pub(super) const fn is_congested(&self) -> bool {
        self.data.bytes > self.data.max / 2
    }

    /// Whether nothing waits
    pub(super) const fn is_empty(&self) -> bool {
        self.control.bytes + self.signal.bytes + self.data.bytes == 0
    }

    /// Appends a frame
    pub(super) fn push(&mut self, frame: &Frame, chunks: &Chunks) -> Result<(), PushError> {
        // Probes keep count of their own answers; if a reply asked for one, two idle nodes would never fall silent.
        let is_probe = matches!(frame.kind(), FrameKind::Probe | FrameKind::ProbeReply);
        let is_probe = is_probe && !(mutant::is(Mutant::ReplyWantsAnswer) && frame.kind() == FrameKind::ProbeReply);
        let class = self.class(frame.priority());
        // Its length is known once it is written; it may go over the bound by one frame, the next may not.
        class.append(0, chunks, |out| frame.encode_into(out))?;
        self.wants_answer |= !is_probe;
        Ok(())
    }

    /// Appends a packet with one hop less and `edit` made to it
    #[inline]
    pub(super) fn push_forwarded(
        &mut self,
        packet: &PacketRef<'_>,
        edit: &Edit,
        chunks: &Chunks,
    ) -> Result<(), PushError> {
        // The most that it can grow by: the dead, and this node as the end of the way.
        let grows = packet::ENTRY_BYTES * (edit.dead.len() + 1);
        let needed = FRAME_HEADER_BYTES + packet.bytes().len() + grows;
        let class = self.class(packet.header().class.priority());
        class.append(needed, chunks, |out| {
            let start = out.len();
            out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
            let written = packet::emit_forwarded(packet, edit, out);
            let written = written.and_then(|()| finish_frame(FrameKind::Packet, start, out));
            if written.is_err() {
                out.truncate(start);
            }
            written
        })?;
        self.wants_answer = true;
        Ok(())
    }

    /// Appends the last frame of the link behind everything else, bounds or not
    pub(super) fn push_last(&mut self, frame: &Frame) -> Result<(), WireError> {
        let bytes = frame.to_bytes()?;
        if mutant::is(Mutant::FarewellDropsRest) {
            for class in [&mut self.control, &mut self.signal, &mut self.data] {
                (class.chunks, class.bytes) = (VecDeque::new(), 0);
            }
        }
        if mutant::is(Mutant::FarewellOvertakes) {
            self.control.bytes += bytes.len();
            self.control.chunks.push_front(bytes);
            return Ok(());
        }
        self.data.bytes += bytes.len();
        self.data.chunks.push_back(bytes);
        Ok(())
    }

    /// The next bytes to write: the first chunk of the first class that has one, with as many whole chunks of the
    /// classes after it as fit into one write
    pub(super) fn take_batch(&mut self, chunks: &Chunks) -> Option<Batch> {
        let mut bytes: Option<Vec<u8>> = None;
        let mut classes = [&mut self.control, &mut self.signal, &mut self.data];
        if mutant::is(Mutant::ClassOutOfOrder) {
            classes.reverse();
        }
        for class in classes {
            // Small frames of all classes share a write, as each costs a call to the system and a record of TLS.
            let room = CHUNK_BYTES.saturating_sub(bytes.as_ref().map_or(0, Vec::len));
            match (class.take_chunk(room, bytes.is_none()), &mut bytes) {
                (Some(chunk), Some(bytes)) => {
                    bytes.extend_from_slice(&chunk);
                    chunks.put(chunk);
                }
                (Some(chunk), none) => *none = Some(chunk),
                (None, _) => {}
            }
        }
        bytes.map(|bytes| Batch { bytes, wants_answer: std::mem::take(&mut self.wants_answer) })
    }

    const fn class(&mut self, priority: Priority) -> &mut Class {
        match priority {
            Priority::Control => &mut self.control,
            Priority::Signal => &mut self.signal,
            Priority::Data => &mut self.data,
        }
    }
}

impl Class {
    #[inline]
    fn append(
        &mut self,
        needed: usize,
        chunks: &Chunks,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), WireError>,
    ) -> Result<(), PushError> {
        // A frame whose length is not known before it is written asks with 0, and is refused at the bound itself.
        if self.bytes + needed > self.max || self.bytes == self.max {
            return Err(PushError::Full);
        }
        // A frame is never cut: the writer may put another class between two chunks.
        let fits = |chunk: &&mut Vec<u8>| chunk.len() + needed <= CHUNK_BYTES;
        let (before, written) = match self.chunks.back_mut().filter(fits) {
            Some(chunk) => {
                let before = chunk.len();
                write(chunk).map_err(PushError::Wire)?;
                (before, chunk.len())
            }
            None => {
                // It joins the queue only with the frame in it, so that no empty chunk is ever written.
                let mut chunk = chunks.take();
                write(&mut chunk).map_err(PushError::Wire)?;
                let written = chunk.len();
                self.chunks.push_back(chunk);
                (0, written)
            }
        };
        self.bytes += written - before;
        Ok(())
    }

    fn take_chunk(&mut self, room: usize, is_first: bool) -> Option<Vec<u8>> {
        let fits = self.chunks.front().is_some_and(|chunk| is_first || chunk.len() <= room);
        let chunk = if fits { self.chunks.pop_front() } else { None };
        self.bytes -= chunk.as_ref().map_or(0, Vec::len);
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Address;
    use crate::wire::PacketBytes;
    use crate::wire::link::{Delta, Probe};
    use crate::wire::packet::{Class as PacketClass, Header, new_packet};
    use crate::wire::parse_frame_header;

    fn packet(class: PacketClass, len: usize) -> PacketBytes {
        let (destination, source) = (Address(1), Address(2));
        let header = Header { destination, source, id: 3, ttl: 9, class, congested: false, traced: false };
        PacketBytes::new(new_packet(&header, &vec![7; len]).unwrap()).unwrap()
    }

    fn kinds(mut bytes: &[u8]) -> Vec<FrameKind> {
        let mut kinds = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk() {
            let (kind, len) = parse_frame_header(*head).unwrap();
            kinds.push(kind);
            bytes = &rest[len..];
        }
        kinds
    }

    fn probe(sequence: u32) -> Frame {
        Frame::Probe(Probe { sequence })
    }

    #[test]
    fn control_goes_first_and_waits_for_one_chunk_at_most() {
        let chunks = Chunks::default();
        let mut queue = Queue::new(QueueBounds::default());
        for _ in 0..20 {
            queue.push(&Frame::Packet(packet(PacketClass::Data, 10_000)), &chunks).unwrap();
        }
        let first = queue.take_batch(&chunks).unwrap();
        assert!(first.bytes.len() <= CHUNK_BYTES + 10_100);
        queue.push(&Frame::Packet(packet(PacketClass::Signal, 10)), &chunks).unwrap();
        queue.push(&probe(1), &chunks).unwrap();
        let second = kinds(&queue.take_batch(&chunks).unwrap().bytes);
        assert_eq!(second[..2], [FrameKind::Probe, FrameKind::Packet]);
        let mut frames = kinds(&first.bytes).len() + second.len();
        while let Some(batch) = queue.take_batch(&chunks) {
            frames += kinds(&batch.bytes).len();
        }
        assert_eq!(frames, 22);
        assert!(queue.is_empty());
    }

    #[test]
    fn small_frames_of_all_classes_share_one_write() {
        let chunks = Chunks::default();
        let mut queue = Queue::new(QueueBounds::default());
        queue.push(&Frame::Packet(packet(PacketClass::Data, 10)), &chunks).unwrap();
        queue.push(&probe(1), &chunks).unwrap();
        queue.push(&probe(2), &chunks).unwrap();
        let batch = queue.take_batch(&chunks).unwrap();
        assert_eq!(kinds(&batch.bytes), [FrameKind::Probe, FrameKind::Probe, FrameKind::Packet]);
        assert!(queue.take_batch(&chunks).is_none());
    }

    #[test]
    fn data_is_marked_from_half_full_and_refused_when_full() {
        let chunks = Chunks::default();
        let mut queue = Queue::new(QueueBounds { data: 2000, ..QueueBounds::default() });
        let packet = packet(PacketClass::Data, 460);
        let mut pushed = 0;
        while queue.push_forwarded(&packet.as_ref(), &Edit::default(), &chunks).is_ok() {
            pushed += 1;
            assert_eq!(queue.is_congested(), pushed >= 3, "{pushed}");
        }
        assert_eq!(pushed, 4);
        queue.push(&probe(1), &chunks).unwrap();
        queue.take_batch(&chunks);
        assert!(!queue.is_congested());
    }

    #[test]
    fn control_queue_is_bounded() {
        let chunks = Chunks::default();
        let mut queue = Queue::new(QueueBounds { control: 80, ..QueueBounds::default() });
        let pushed = (0..100).take_while(|i| queue.push(&probe(*i), &chunks).is_ok()).count();
        assert_eq!(pushed, 10);
    }

    #[test]
    fn probes_and_their_replies_want_no_answer() {
        let chunks = Chunks::default();
        let mut queue = Queue::new(QueueBounds::default());
        queue.push(&probe(1), &chunks).unwrap();
        assert!(!queue.take_batch(&chunks).unwrap().wants_answer);
        queue.push(&Frame::Delta(Delta { changes: Default::default() }), &chunks).unwrap();
        assert!(queue.take_batch(&chunks).unwrap().wants_answer);
        queue.push(&probe(2), &chunks).unwrap();
        assert!(!queue.take_batch(&chunks).unwrap().wants_answer);
    }

    #[test]
    fn frame_without_bytes_changes_nothing() {
        let chunks = Chunks::default();
        let mut queue = Queue::new(QueueBounds::default());
        let spent = new_packet(&Header { ttl: 0, ..*packet(PacketClass::Data, 0).as_ref().header() }, &[]);
        let spent = PacketBytes::new(spent.unwrap()).unwrap();
        let error = queue.push_forwarded(&spent.as_ref(), &Edit::default(), &chunks).unwrap_err();
        assert_eq!(error, PushError::Wire(WireError::Malformed));
        assert!(queue.is_empty() && queue.take_batch(&chunks).is_none());
        queue.push(&Frame::Packet(packet(PacketClass::Data, 5)), &chunks).unwrap();
        queue.push_forwarded(&spent.as_ref(), &Edit::default(), &chunks).unwrap_err();
        assert_eq!(kinds(&queue.take_batch(&chunks).unwrap().bytes), [FrameKind::Packet], "no half frame is left");
    }
}
