//! Packets in one piece of memory, as links carry them.

use kith_common::wire::packet::PacketRef;
use kith_common::wire::{FRAME_HEADER_BYTES, FrameKind, PacketBytes, WireError, finish_frame, parse_frame_header};

/// Packets one after the other, each in its frame
///
/// So thousands of small ones cost one allocation, and those that arrive are copied once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Packets {
    frames: Vec<u8>,
}

impl Packets {
    /// None, with room for so many bytes of frames
    pub fn with_capacity(bytes: usize) -> Self {
        Self { frames: Vec::with_capacity(bytes) }
    }

    /// Whole packet frames; from the first on that is none, they count as not there
    pub const fn of_frames(frames: Vec<u8>) -> Self {
        Self { frames }
    }

    /// Appends a packet's bytes
    ///
    /// # Errors
    /// [`WireError::TooLong`] for one that fits into no frame; nothing has changed.
    #[inline]
    pub fn push(&mut self, packet: &[u8]) -> Result<(), WireError> {
        let start = self.frames.len();
        self.frames.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        self.frames.extend_from_slice(packet);
        let finished = finish_frame(FrameKind::Packet, start, &mut self.frames);
        if finished.is_err() {
            self.frames.truncate(start);
        }
        finished
    }

    /// The memory of these packets, for others
    pub fn into_frames(self) -> Vec<u8> {
        self.frames
    }

    /// Bytes of all frames
    pub const fn frame_bytes(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of frames for which there is room without an allocation
    pub(crate) const fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.frames.reserve_exact(bytes);
    }

    /// Whether there is none
    pub const fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The packets in their order
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = PacketRef<'_>> {
        let mut rest = self.frames.as_slice();
        std::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk::<FRAME_HEADER_BYTES>()?;
            let (_, len) = parse_frame_header(*head).ok().filter(|(kind, _)| *kind == FrameKind::Packet)?;
            let body = after.get(..len)?;
            rest = after.get(len..)?;
            PacketRef::parse(body).ok()
        })
    }
}

impl From<&PacketBytes> for Packets {
    fn from(packet: &PacketBytes) -> Self {
        let bytes = packet.as_ref().bytes();
        let mut packets = Self::with_capacity(FRAME_HEADER_BYTES + bytes.len());
        // What is a packet fits into a frame.
        packets.push(bytes).ok();
        packets
    }
}

impl std::fmt::Debug for Packets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (packets, bytes) = (self.iter().count(), self.frames.len());
        f.debug_struct("Packets").field("packets", &packets).field("bytes", &bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_common::id::Address;
    use kith_common::wire::LARGE_BYTES_MAX;
    use kith_common::wire::packet::{Class, Header, new_packet};

    fn packet(id: u64) -> PacketBytes {
        let (destination, source, class) = (Address(1), Address(2), Class::Data);
        let header = Header { destination, source, id, ttl: 9, class, congested: false, traced: false };
        PacketBytes::new(new_packet(&header, &[7; 100]).unwrap()).unwrap()
    }

    fn ids(packets: &Packets) -> Vec<u64> {
        packets.iter().map(|packet| packet.header().id).collect()
    }

    #[test]
    fn packets_come_out_in_their_order() {
        let mut packets = Packets::from(&packet(1));
        packets.push(packet(2).as_ref().bytes()).unwrap();
        assert_eq!(ids(&packets), [1, 2]);
        assert_eq!(packets.push(&vec![0; LARGE_BYTES_MAX + 1]), Err(WireError::TooLong));
        assert_eq!(ids(&packets), [1, 2]);
        assert_eq!(ids(&Packets::of_frames(packets.frames)), [1, 2]);
    }

    #[test]
    fn what_is_no_packet_ends_them() {
        let mut packets = Packets::from(&packet(1));
        packets.push(b"no packet").unwrap();
        packets.push(packet(2).as_ref().bytes()).unwrap();
        assert_eq!(ids(&packets), [1]);
        let frames = &Packets::from(&packet(1)).frames;
        assert_eq!(ids(&Packets::of_frames(frames[..frames.len() - 1].to_vec())), Vec::<u64>::new());
        assert!(Packets::default().is_empty());
    }
}
