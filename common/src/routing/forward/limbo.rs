//! Packets whose next hop's link ended a moment ago: this node knows, and its next routes will lead elsewhere.

use std::fmt;
use std::time::Duration;

use crate::id::Address;
use crate::time::Instant;
use crate::wire::packet::PacketRef;

/// Bytes of packets that wait for new routes at most; one more is dropped and counted
pub const LIMBO_BYTES_MAX: usize = 256 * 1024;
/// Beyond this they are too late for whoever waits for them: the sender has sent them again
pub const LIMBO_AGE_MAX: Duration = Duration::from_secs(1);

/// Packets that wait for new routes; one for all links, at most [`LIMBO_BYTES_MAX`] in it
#[derive(Default)]
pub(super) struct Limbo {
    waiting: Vec<Waiting>,
    bytes: usize,
}

/// A packet in limbo
pub(super) struct Waiting {
    pub(super) since: Instant,
    /// The neighbour that it came from
    pub(super) from: Address,
    pub(super) bytes: Vec<u8>,
}

impl Limbo {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Keeps a packet; false if there is no room
    #[cold]
    pub(super) fn keep(&mut self, since: Instant, from: Address, packet: &PacketRef<'_>) -> bool {
        let bytes = packet.bytes();
        let fits = self.bytes + bytes.len() <= LIMBO_BYTES_MAX;
        if fits {
            self.bytes += bytes.len();
            self.waiting.push(Waiting { since, from, bytes: bytes.to_vec() });
        }
        fits
    }

    /// All that wait, in the order that they came
    pub(super) fn take(&mut self) -> Vec<Waiting> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

impl fmt::Debug for Limbo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limbo").field("packets", &self.waiting.len()).field("bytes", &self.bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::{Class, Header, TTL_DEFAULT, new_packet};

    #[test]
    fn limbo_is_bounded() {
        let header = Header {
            destination: Address(1),
            source: Address(2),
            id: 3,
            ttl: TTL_DEFAULT,
            class: Class::Data,
            congested: false,
            traced: false,
        };
        let bytes = new_packet(&header, &[0; 50_000]).unwrap();
        let packet = PacketRef::parse(&bytes).unwrap();
        let mut limbo = Limbo::new();
        let kept = (0..10).filter(|_| limbo.keep(Instant::ZERO, Address(2), &packet)).count();
        assert_eq!(kept, 5);
        assert_eq!(limbo.take().len(), 5);
        assert!(limbo.waiting.is_empty());
        assert!(limbo.keep(Instant::ZERO, Address(2), &packet), "taking makes room");
    }
}
