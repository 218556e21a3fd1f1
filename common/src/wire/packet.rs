//! A packet as bytes: what a forwarder reads and patches without decoding the payload.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | destination, an address |
//! | 8 | 8 | source, an address |
//! | 16 | 8 | id, chosen by the source; its lower half is the flow that breaks ties |
//! | 24 | 1 | TTL: hops left |
//! | 25 | 1 | class: 1 signal, 2 data |
//! | 26 | 1 | flags: 1 congestion met, 2 traced |
//! | 27 | 1 | entries in the trailer, at most [`ENTRIES_MAX`] |
//! | 28 | 2 | payload's length, at most [`PAYLOAD_BYTES_MAX`]; the trailer starts at 32 plus it |
//! | 30 | 2 | zero |
//! | 32 | | payload |
//! | | 5 each | trailer: one byte what ([`Mark`]), four bytes who (a short id) |
//!
//! The trailer is the packet's memory. A forwarder appends itself to the way; it never moves the payload.

use super::WireError;
use crate::id::{Address, ShortId};

/// Bytes before the payload
pub const HEADER_BYTES: usize = 32;
/// Bytes of one trailer entry
pub const ENTRY_BYTES: usize = 5;
/// Payload bytes at most: what is left of a 64 KiB frame, with room to spare for the trailer
pub const PAYLOAD_BYTES_MAX: usize = 60 * 1024;
/// Hops that a packet may be given at most: each adds an entry
pub const TTL_MAX: u8 = 128;
/// Hops that a packet is given where nothing else is said: ten times the longest route of a whole mesh
pub const TTL_DEFAULT: u8 = 64;
/// Dead peers that a packet notes at most
pub const DEAD_MAX: usize = 16;
/// Trailer entries at most: one a hop, the dead, and one relay
pub const ENTRIES_MAX: usize = TTL_MAX as usize + DEAD_MAX + 1;

const _: () = assert!(ENTRIES_MAX <= u8::MAX as usize);
const _: () = assert!(HEADER_BYTES + PAYLOAD_BYTES_MAX + ENTRIES_MAX * ENTRY_BYTES <= super::LARGE_BYTES_MAX);

/// Which queue a packet waits in
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Receipts, statuses, pings: before data
    Signal = 1,
    /// Everything else
    Data = 2,
}

/// What the trailer says of a peer
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mark {
    /// It had the packet and gave it back
    Tried = 0,
    /// It is on the present way
    Way = 1,
    /// It would have been chosen, but the link to it is down
    Dead = 2,
    /// A supernode that relayed; on the present way
    Relay = 3,
}

impl Mark {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Tried),
            1 => Some(Self::Way),
            2 => Some(Self::Dead),
            3 => Some(Self::Relay),
            _ => None,
        }
    }
}

/// The fixed part of a packet
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where it goes
    pub destination: Address,
    /// Where it comes from
    pub source: Address,
    /// Chosen by the source, new for every attempt
    pub id: u64,
    /// Hops left
    pub ttl: u8,
    /// Which queue it waits in
    pub class: Class,
    /// Whether a queue on the way was more than half full
    pub congested: bool,
    /// Whether forwarders report
    pub traced: bool,
}

impl Header {
    /// What breaks ties: the lower half of the id
    pub const fn flow(&self) -> u32 {
        self.id as u32
    }
}

/// A checked packet in a buffer
///
/// `parse` has checked every length and mark, so that reading it later cannot fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PacketRef<'a> {
    header: Header,
    bytes: &'a [u8],
    payload_end: usize,
}

impl std::fmt::Debug for PacketRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packet")
            .field("header", &self.header)
            .field("payload_bytes", &self.payload().len())
            .field("entries", &self.entries().collect::<Vec<_>>())
            .finish()
    }
}

impl<'a> PacketRef<'a> {
    /// The packet that `bytes` (a frame's body) are
    ///
    /// # Errors
    /// [`WireError::Malformed`] if a length, a mark, the class or a reserved byte is wrong.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(WireError::Malformed)?;
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let class = match head[25] {
            1 => Class::Signal,
            2 => Class::Data,
            _ => return Err(WireError::Malformed),
        };
        let (ttl, flags, entries) = (head[24], head[26], usize::from(head[27]));
        let payload_len = usize::from(u16::from_le_bytes([head[28], head[29]]));
        let well_formed = ttl <= TTL_MAX
            && flags & !(FLAG_CONGESTED | FLAG_TRACED) == 0
            && entries <= ENTRIES_MAX
            && payload_len <= PAYLOAD_BYTES_MAX
            && [head[30], head[31]] == [0, 0]
            && rest.len() == payload_len + entries * ENTRY_BYTES
            && rest[payload_len..].chunks_exact(ENTRY_BYTES).all(|entry| entry[0] <= Mark::Relay as u8);
        if !well_formed {
            return Err(WireError::Malformed);
        }
        let header = Header {
            destination: Address(u64_at(0)),
            source: Address(u64_at(8)),
            id: u64_at(16),
            ttl,
            class,
            congested: flags & FLAG_CONGESTED != 0,
            traced: flags & FLAG_TRACED != 0,
        };
        Ok(Self { header, bytes, payload_end: HEADER_BYTES + payload_len })
    }

    /// The packet in bytes that were checked before
    pub(super) fn of_checked(bytes: &'a [u8]) -> Self {
        const EMPTY: Header = Header {
            destination: Address(0),
            source: Address(0),
            id: 0,
            ttl: 0,
            class: Class::Data,
            congested: false,
            traced: false,
        };
        Self::parse(bytes).unwrap_or(Self { header: EMPTY, bytes: &[], payload_end: 0 })
    }

    /// The fixed part
    #[inline]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// All of it
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What it carries
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..self.payload_end).unwrap_or_default()
    }

    /// The trailer, oldest entry first
    #[inline]
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (Mark, ShortId)> + ExactSizeIterator + Clone + use<'a> {
        let trailer = self.bytes.get(self.payload_end..).unwrap_or_default();
        trailer.chunks_exact(ENTRY_BYTES).map(|entry| match *entry {
            [mark, a, b, c, d] => {
                (Mark::from_byte(mark).unwrap_or(Mark::Tried), ShortId(u32::from_le_bytes([a, b, c, d])))
            }
            _ => (Mark::Tried, ShortId(0)),
        })
    }

    /// The present way: forwarders in their order, both ends left out
    pub fn way(&self) -> impl DoubleEndedIterator<Item = (Mark, ShortId)> + Clone + use<'a> {
        self.entries().filter(|(mark, _)| matches!(mark, Mark::Way | Mark::Relay))
    }
}

const FLAG_CONGESTED: u8 = 1;
const FLAG_TRACED: u8 = 2;

/// What one forwarder changes in a packet
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Edit {
    /// A peer that goes from the way to the tried: whoever gives the packet back
    pub give_back: Option<ShortId>,
    /// Dead peers to note
    pub dead: Vec<ShortId>,
    /// A new end of the way
    pub way: Option<(Mark, ShortId)>,
    /// Whether congestion was met
    pub congested: bool,
}

/// Appends `packet` with one hop less and `edit` made to `out`: the body of the frame that goes on
///
/// # Errors
/// [`WireError::TooLong`] if the trailer is full, [`WireError::Malformed`] if no hop was left; `out` is unchanged.
#[inline]
pub fn emit_forwarded(packet: &PacketRef<'_>, edit: &Edit, out: &mut Vec<u8>) -> Result<(), WireError> {
    let entries = packet.entries().len() + edit.dead.len() + usize::from(edit.way.is_some());
    if entries > ENTRIES_MAX {
        return Err(WireError::TooLong);
    }
    let ttl = packet.header.ttl.checked_sub(1).ok_or(WireError::Malformed)?;
    let start = out.len();
    out.extend_from_slice(packet.bytes);
    if let Some(head) = out.get_mut(start..).and_then(|body| body.first_chunk_mut::<HEADER_BYTES>()) {
        head[24] = ttl;
        if edit.congested {
            head[26] |= FLAG_CONGESTED;
        }
        head[27] = entries as u8;
    }
    if let Some(who) = edit.give_back {
        let trailer = out.get_mut(start + packet.payload_end..).unwrap_or_default();
        let who = who.0.to_le_bytes();
        let last = trailer.chunks_exact_mut(ENTRY_BYTES).rev().find(|e| e[0] == Mark::Way as u8 && e[1..] == who);
        if let Some(entry) = last {
            entry[0] = Mark::Tried as u8;
        }
    }
    for dead in &edit.dead {
        push_entry(out, Mark::Dead, *dead);
    }
    if let Some((mark, who)) = edit.way {
        push_entry(out, mark, who);
    }
    Ok(())
}

#[inline]
fn push_entry(out: &mut Vec<u8>, mark: Mark, who: ShortId) {
    let [a, b, c, d] = who.0.to_le_bytes();
    out.extend_from_slice(&[mark as u8, a, b, c, d]);
}

/// The body of a new packet, with an empty trailer
///
/// # Errors
/// [`WireError::TooLong`] if the payload is over [`PAYLOAD_BYTES_MAX`] or the TTL over [`TTL_MAX`].
pub fn new_packet(header: &Header, payload: &[u8]) -> Result<Vec<u8>, WireError> {
    if payload.len() > PAYLOAD_BYTES_MAX || header.ttl > TTL_MAX {
        return Err(WireError::TooLong);
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len() + 8 * ENTRY_BYTES);
    out.extend_from_slice(&header.destination.0.to_le_bytes());
    out.extend_from_slice(&header.source.0.to_le_bytes());
    out.extend_from_slice(&header.id.to_le_bytes());
    let flags = u8::from(header.congested) * FLAG_CONGESTED + u8::from(header.traced) * FLAG_TRACED;
    out.extend_from_slice(&[header.ttl, header.class as u8, flags, 0]);
    out.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(payload);
    Ok(out)
}
