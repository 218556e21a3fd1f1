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

use smallvec::SmallVec;

use super::WireError;
use crate::id::{Address, ShortId};
use crate::mutant::{self, Mutant};

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

/// The queue that a packet waits in
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Pings, replies, what forwarders report: before data
    Signal = 1,
    /// What passes on connections
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
    #[inline]
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
    pub destination: Address,
    pub source: Address,
    /// Chosen by the source, new for every transmission
    pub id: u64,
    /// Hops left
    pub ttl: u8,
    /// The queue that it waits in
    pub class: Class,
    /// Whether a queue on the way was more than half full
    pub congested: bool,
    /// Whether forwarders report
    pub traced: bool,
}

impl Header {
    /// The header of a data packet that leaves its source: all hops left, not congested, not traced
    pub const fn new(source: Address, destination: Address, id: u64) -> Self {
        Self { destination, source, id, ttl: TTL_DEFAULT, class: Class::Data, congested: false, traced: false }
    }

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
        let class = match head[25] {
            1 => Class::Signal,
            2 => Class::Data,
            _ => return Err(WireError::Malformed),
        };
        let (ttl, flags, entries) = (head[24], head[26], usize::from(head[27]));
        let payload_len = usize::from(u16::from_le_bytes([head[28], head[29]]));
        let (_, trailer) = rest.split_at_checked(payload_len).ok_or(WireError::Malformed)?;
        // Half an entry at the end is as malformed as a wrong count, so what is left over counts too.
        let (trailer, left_over) = trailer.as_chunks::<ENTRY_BYTES>();
        let well_formed = ttl <= TTL_MAX
            && flags & !(FLAG_CONGESTED | FLAG_TRACED) == 0
            && entries <= ENTRIES_MAX
            && payload_len <= PAYLOAD_BYTES_MAX
            && [head[30], head[31]] == [0, 0]
            && trailer.len() == entries
            && left_over.is_empty()
            && trailer.iter().all(|[mark, ..]| *mark <= Mark::Relay as u8);
        if !well_formed {
            return Err(WireError::Malformed);
        }
        let header = Header {
            destination: Address(u64_at::<0>(head)),
            source: Address(u64_at::<8>(head)),
            id: u64_at::<16>(head),
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
        // It parsed before; a packet for nobody stands where a panic would be.
        Self::parse(bytes).unwrap_or(Self { header: EMPTY, bytes: &[], payload_end: 0 })
    }

    #[inline]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..self.payload_end).unwrap_or_default()
    }

    /// The trailer, oldest entry first
    #[inline]
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (Mark, ShortId)> + ExactSizeIterator + Clone + use<'a> {
        self.trailer().iter().map(entry_of_bytes)
    }

    /// The trailer as bytes, oldest entry first
    #[inline]
    pub(crate) fn trailer(&self) -> &'a [[u8; ENTRY_BYTES]] {
        self.bytes.get(self.payload_end..).unwrap_or_default().as_chunks().0
    }

    /// The present way: forwarders in their order, both ends left out
    pub fn way(&self) -> impl DoubleEndedIterator<Item = (Mark, ShortId)> + Clone + use<'a> {
        self.entries().filter(|(mark, _)| matches!(mark, Mark::Way | Mark::Relay))
    }
}

const FLAG_CONGESTED: u8 = 1;
const FLAG_TRACED: u8 = 2;

/// Peers to note on a packet: of most there is none or one, which costs no allocation, and four take no more room than a
/// list elsewhere would
pub type Noted = SmallVec<[ShortId; 4]>;

/// What one forwarder changes in a packet
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Edit {
    /// A peer that goes from the way to the tried: whoever gives the packet back and was on it
    pub give_back: Option<ShortId>,
    /// Dead peers to note
    pub dead: Noted,
    /// What the forwarder says of itself: a new end of the way, or tried if it gives the packet back at once
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
    let spent = if mutant::is(Mutant::TtlNotDecremented) { 0 } else { 1 };
    let ttl = packet.header.ttl.checked_sub(spent).ok_or(WireError::Malformed)?;
    let start = out.len();
    // Copied as it came and patched where it lies: to take it apart would cost a second copy of the payload.
    out.extend_from_slice(packet.bytes);
    if let Some(head) = out.get_mut(start..).and_then(|body| body.first_chunk_mut::<HEADER_BYTES>()) {
        head[24] = ttl;
        if edit.congested {
            head[26] |= FLAG_CONGESTED;
        }
        head[27] = entries as u8;
    }
    if let Some(who) = edit.give_back {
        let (trailer, _) = out.get_mut(start + packet.payload_end..).unwrap_or_default().as_chunks_mut();
        let on_the_way = entry_bytes(Mark::Way, who);
        // From the end, since it is the last turn of a peer that gives the packet back.
        if let Some(entry) = trailer.iter_mut().rev().find(|entry| **entry == on_the_way) {
            *entry = entry_bytes(Mark::Tried, who);
        }
    }
    for dead in &edit.dead {
        out.extend_from_slice(&entry_bytes(Mark::Dead, *dead));
    }
    if let Some((mark, who)) = edit.way {
        out.extend_from_slice(&entry_bytes(mark, who));
    }
    Ok(())
}

/// One entry of a trailer that was checked
#[inline]
pub(crate) fn entry_of_bytes(&[mark, a, b, c, d]: &[u8; ENTRY_BYTES]) -> (Mark, ShortId) {
    (Mark::from_byte(mark).unwrap_or(Mark::Tried), ShortId(u32::from_le_bytes([a, b, c, d])))
}

#[inline]
const fn entry_bytes(mark: Mark, who: ShortId) -> [u8; ENTRY_BYTES] {
    let [a, b, c, d] = who.0.to_le_bytes();
    [mark as u8, a, b, c, d]
}

#[inline]
fn u64_at<const AT: usize>(head: &[u8; HEADER_BYTES]) -> u64 {
    let bytes = head.get(AT..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The body of a new packet, with an empty trailer
///
/// # Errors
/// [`WireError::TooLong`] if the payload is over [`PAYLOAD_BYTES_MAX`] or the TTL over [`TTL_MAX`].
pub fn new_packet(header: &Header, payload: &[u8]) -> Result<Vec<u8>, WireError> {
    if payload.len() > PAYLOAD_BYTES_MAX || header.ttl > TTL_MAX {
        return Err(WireError::TooLong);
    }
    // With room for the entries of most ways, so that the packet need not move on its first hops.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: Header = Header {
        destination: Address(0x0123_4567_89ab_cdef),
        source: Address(0xfedc_ba98_7654_3210),
        id: 0x0011_2233_4455_6677,
        ttl: TTL_DEFAULT,
        class: Class::Data,
        congested: false,
        traced: true,
    };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn forwarded(bytes: &[u8], edit: &Edit) -> Vec<u8> {
        let mut out = Vec::new();
        emit_forwarded(&PacketRef::parse(bytes).unwrap(), edit, &mut out).unwrap();
        out
    }

    fn on_the_way(who: u32) -> Edit {
        Edit { way: Some((Mark::Way, ShortId(who))), ..Edit::default() }
    }

    fn entries(bytes: &[u8]) -> Vec<(Mark, u32)> {
        PacketRef::parse(bytes).unwrap().entries().map(|(mark, who)| (mark, who.0)).collect()
    }

    #[test]
    fn packet_bytes_are_as_published() {
        let fresh = new_packet(&HEADER, b"hello").unwrap();
        let head = "efcdab89674523011032547698badcfe7766554433221100";
        assert_eq!(hex(&fresh), format!("{head}40020200050000{}", "0068656c6c6f"));
        let edit = Edit { dead: vec![ShortId(0xdead_beef)].into(), congested: true, ..on_the_way(0x0102_0304) };
        let once = forwarded(&fresh, &edit);
        assert_eq!(hex(&once), format!("{head}3f0203020500000068656c6c6f{}{}", "02efbeadde", "0104030201"));
        let relayed = forwarded(&once, &Edit { way: Some((Mark::Relay, ShortId(5))), ..Edit::default() });
        assert_eq!(
            hex(&relayed),
            format!("{head}3e0203030500000068656c6c6f{}{}{}", "02efbeadde", "0104030201", "0305000000")
        );
        let back = forwarded(&once, &Edit { give_back: Some(ShortId(0x0102_0304)), ..Edit::default() });
        assert_eq!(hex(&back), format!("{head}3e0203020500000068656c6c6f{}{}", "02efbeadde", "0004030201"));
    }

    #[test]
    fn parsed_packet_is_what_was_written() {
        let header = Header { class: Class::Signal, congested: true, traced: false, ..HEADER };
        let bytes = forwarded(&new_packet(&header, b"payload").unwrap(), &on_the_way(9));
        let packet = PacketRef::parse(&bytes).unwrap();
        assert_eq!(*packet.header(), Header { ttl: TTL_DEFAULT - 1, ..header });
        assert_eq!((packet.payload(), packet.bytes()), (b"payload".as_slice(), bytes.as_slice()));
        assert_eq!(packet.header().flow(), 0x4455_6677);
    }

    #[test]
    fn giving_back_takes_the_last_stay_off_the_way_alone() {
        let mut bytes = new_packet(&HEADER, b"").unwrap();
        for who in [1, 2, 1] {
            bytes = forwarded(&bytes, &on_the_way(who));
        }
        let bytes = forwarded(&bytes, &Edit { give_back: Some(ShortId(1)), ..Edit::default() });
        assert_eq!(entries(&bytes), [(Mark::Way, 1), (Mark::Way, 2), (Mark::Tried, 1)]);
        assert_eq!(PacketRef::parse(&bytes).unwrap().way().count(), 2);
        let bytes = forwarded(&bytes, &Edit { give_back: Some(ShortId(7)), ..Edit::default() });
        assert_eq!(entries(&bytes), [(Mark::Way, 1), (Mark::Way, 2), (Mark::Tried, 1)], "7 was not on it");
    }

    #[test]
    fn packet_without_hops_or_room_is_not_forwarded_and_nothing_is_written() {
        let spent = new_packet(&Header { ttl: 0, ..HEADER }, b"").unwrap();
        let mut out = vec![1, 2, 3];
        let refused = emit_forwarded(&PacketRef::parse(&spent).unwrap(), &Edit::default(), &mut out);
        assert_eq!((refused, out.as_slice()), (Err(WireError::Malformed), [1, 2, 3].as_slice()));
        let mut full = new_packet(&Header { ttl: TTL_MAX, ..HEADER }, b"").unwrap();
        full[27] = ENTRIES_MAX as u8;
        full.resize(HEADER_BYTES + ENTRIES_MAX * ENTRY_BYTES, 0);
        let refused = emit_forwarded(&PacketRef::parse(&full).unwrap(), &on_the_way(1), &mut out);
        assert_eq!((refused, out.as_slice()), (Err(WireError::TooLong), [1, 2, 3].as_slice()));
        assert_eq!(entries(&forwarded(&full, &Edit::default())).len(), ENTRIES_MAX);
    }

    #[test]
    fn payload_or_ttl_over_its_bound_makes_no_packet() {
        assert_eq!(new_packet(&HEADER, &[0; PAYLOAD_BYTES_MAX + 1]), Err(WireError::TooLong));
        assert_eq!(new_packet(&Header { ttl: TTL_MAX + 1, ..HEADER }, b""), Err(WireError::TooLong));
        let largest = new_packet(&Header { ttl: TTL_MAX, ..HEADER }, &[0; PAYLOAD_BYTES_MAX]).unwrap();
        assert_eq!(PacketRef::parse(&largest).unwrap().payload().len(), PAYLOAD_BYTES_MAX);
    }

    #[test]
    fn packet_with_a_wrong_byte_is_refused() {
        let good = forwarded(&new_packet(&HEADER, b"hello").unwrap(), &on_the_way(9));
        assert!(PacketRef::parse(&good).is_ok());
        let wrong =
            [(24, TTL_MAX + 1), (25, 0), (25, 3), (26, 4), (27, 0), (27, 2), (28, 4), (29, 255), (30, 1), (31, 1)];
        for (at, byte) in wrong.into_iter().chain([(HEADER_BYTES + 5, 4)]) {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert_eq!(PacketRef::parse(&bytes), Err(WireError::Malformed), "byte {at} = {byte}");
        }
        for len in 0..good.len() {
            assert_eq!(PacketRef::parse(&good[..len]), Err(WireError::Malformed), "cut to {len}");
        }
        assert_eq!(PacketRef::parse(&[good.as_slice(), &[0]].concat()), Err(WireError::Malformed));
    }

    #[test]
    fn debug_of_a_packet_shows_no_payload() {
        let bytes = new_packet(&HEADER, b"canary").unwrap();
        let shown = format!("{:?}", PacketRef::parse(&bytes).unwrap());
        assert!(
            !shown.contains("canary") && !shown.contains("99, 97") && shown.contains("payload_bytes: 6"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn junk_is_refused_or_forwarded_and_never_panics(
            mut junk in prop::collection::vec(any::<u8>(), 0..200), repair in any::<bool>(), who in any::<u32>(),
        ) {
            if repair && junk.len() >= HEADER_BYTES {
                let trailer = junk.len() - HEADER_BYTES;
                (junk[24], junk[25], junk[26]) = (junk[24] % (TTL_MAX + 1), 1 + junk[25] % 2, junk[26] % 4);
                (junk[27], junk[28]) = ((trailer / ENTRY_BYTES) as u8, (trailer % ENTRY_BYTES) as u8);
                (junk[29], junk[30], junk[31]) = (0, 0, 0);
                junk[HEADER_BYTES..].iter_mut().for_each(|byte| *byte %= 4);
            }
            if let Ok(packet) = PacketRef::parse(&junk) {
                let mut out = Vec::new();
                let edit = Edit { give_back: Some(ShortId(who)), dead: vec![ShortId(who)].into(), ..on_the_way(who) };
                if emit_forwarded(&packet, &edit, &mut out).is_ok() {
                    let forwarded = PacketRef::parse(&out).unwrap();
                    prop_assert_eq!(forwarded.entries().len(), packet.entries().len() + 2);
                    prop_assert_eq!(forwarded.payload(), packet.payload());
                }
            }
        }
    }
}
