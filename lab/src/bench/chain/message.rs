//! What both chains carry: the same packets, made by the same code at one end and checked by the same at the other.
//!
//! A message is the payload of a packet, as a datagram. It begins with the number of its run and its own within the
//! run, so that the receiver sees if one is missing or out of its order.

use kith_common::id::Address;
use kith_common::wire::bounded::Bytes;
use kith_common::wire::content::Payload;
use kith_common::wire::packet::{Class, HEADER_BYTES, Header, PacketRef, new_packet};
use kith_common::wire::{FRAME_HEADER_BYTES, FrameKind, WireError, encode, finish_frame};

/// What a payload has before its bytes: the variant and the count
const DATAGRAM_HEAD_BYTES: usize = 6;
/// Run and number
pub(super) const STAMP_BYTES: usize = 12;
/// Where a frame has the packet's id
const ID_AT: usize = FRAME_HEADER_BYTES + 16;
/// Where a frame has a message's number, behind its run
const NUMBER_AT: usize = FRAME_HEADER_BYTES + HEADER_BYTES + DATAGRAM_HEAD_BYTES + 4;

/// The sender's run: messages of one size, numbered
pub(super) struct Messages {
    /// A frame whose number is still to be written
    frame: Vec<u8>,
    /// How many there were
    pub(super) sent: u64,
}

impl Messages {
    pub(super) fn new(run: u32, bytes: usize) -> Result<Self, WireError> {
        Ok(Self { frame: message(run, 0, bytes)?, sent: 0 })
    }

    /// Bytes of the frame of each
    pub(super) fn frame_bytes(&self) -> usize {
        self.frame.len()
    }

    /// The next `count` messages, as frames
    pub(super) fn chunk(&mut self, count: usize) -> Vec<u8> {
        let mut frames = self.frame.repeat(count);
        self.number(&mut frames);
        frames
    }

    /// Makes these frames the next messages
    pub(super) fn number(&mut self, frames: &mut [u8]) {
        for frame in frames.chunks_exact_mut(self.frame.len()) {
            for at in [ID_AT, NUMBER_AT] {
                if let Some(number) = frame.get_mut(at..at + 8) {
                    number.copy_from_slice(&self.sent.to_le_bytes());
                }
            }
            self.sent += 1;
        }
    }
}

/// The receiver's run
#[derive(Default)]
pub(super) struct Arrivals {
    run: u32,
    /// Messages of the present run
    pub(super) messages: u64,
    /// Messages out of order, over all runs
    pub(super) out_of_order: u64,
}

impl Arrivals {
    /// Counts a message; its run
    pub(super) fn count(&mut self, packet: &PacketRef<'_>) -> Option<u32> {
        let (run, number) = stamp(packet)?;
        if run != self.run {
            (self.run, self.messages) = (run, 0);
        }
        self.out_of_order += u64::from(number != self.messages);
        self.messages += 1;
        Some(run)
    }
}

/// The frame of one message to the receiver
pub(super) fn message(run: u32, number: u64, bytes: usize) -> Result<Vec<u8>, WireError> {
    frame(0, super::ask::LAST, Class::Data, &payload(run, number, bytes)?)
}

/// The bytes of a datagram with a run, a number, and zeros up to `bytes`
pub(super) fn payload(run: u32, number: u64, bytes: usize) -> Result<Vec<u8>, WireError> {
    let mut content = [run.to_le_bytes().as_slice(), &number.to_le_bytes()].concat();
    content.resize(bytes.max(STAMP_BYTES), 0);
    encode(&Payload::Datagram(Bytes::try_from(content).map_err(|_| WireError::TooLong)?))
}

/// The run and the number of a message
pub(super) fn stamp(packet: &PacketRef<'_>) -> Option<(u32, u64)> {
    let content = packet.payload().get(DATAGRAM_HEAD_BYTES..)?;
    let (run, rest) = content.split_first_chunk()?;
    Some((u32::from_le_bytes(*run), u64::from_le_bytes(*rest.first_chunk()?)))
}

/// A frame from one place to another
pub(super) fn frame(from: usize, to: usize, class: Class, payload: &[u8]) -> Result<Vec<u8>, WireError> {
    let header = Header { class, ..Header::new(address(from), address(to), 0) };
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    frame.extend(new_packet(&header, payload)?);
    finish_frame(FrameKind::Packet, 0, &mut frame)?;
    Ok(frame)
}

/// Places stand on the ring in their order
pub(super) const fn address(place: usize) -> Address {
    Address((2 * place as u64 + 1) << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_chunk_are_numbered_one_after_the_other() {
        let mut messages = Messages::new(7, 64).unwrap();
        let mut arrivals = Arrivals::default();
        for chunk in [messages.chunk(3), messages.chunk(2)] {
            for frame in chunk.chunks(messages.frame_bytes()) {
                let packet = PacketRef::parse(&frame[FRAME_HEADER_BYTES..]).unwrap();
                assert_eq!(packet.payload().len(), DATAGRAM_HEAD_BYTES + 64);
                assert_eq!(packet.header().id, arrivals.messages);
                assert_eq!(arrivals.count(&packet), Some(7));
            }
        }
        assert_eq!((messages.sent, arrivals.messages, arrivals.out_of_order), (5, 5, 0));
    }

    #[test]
    fn missing_message_is_seen_and_a_new_run_begins_anew() {
        let mut arrivals = Arrivals::default();
        let mut count = |run, number| {
            let frame = message(run, number, 64).unwrap();
            arrivals.count(&PacketRef::parse(&frame[FRAME_HEADER_BYTES..]).unwrap()).unwrap();
            (arrivals.messages, arrivals.out_of_order)
        };
        assert_eq!([count(1, 0), count(1, 1)], [(1, 0), (2, 0)]);
        assert_eq!(count(1, 3), (3, 1));
        assert_eq!(count(2, 0), (1, 1));
    }

    #[test]
    fn message_over_a_packets_bound_is_none() {
        assert!(message(1, 0, super::super::MESSAGE_BYTES_MAX).is_ok());
        assert!(message(1, 0, 1 << 16).is_err());
    }
}
