//! Datagrams in the overlay's packets: the lower half of a packet's id is the label of its way.

use kith_common::id::Address;
use kith_common::wire::content::{Payload, PayloadKind};
use kith_common::wire::packet::{Header, PacketRef, new_packet};
use kith_common::wire::{self, PacketBytes, WireError};

use crate::output::Datagram;

/// What stands before a datagram's bytes in a payload: which kind it is, and how many bytes
const BEFORE: usize = 4 + 2;

impl Datagram {
    /// The packet that leaves `source` with it; `chance` tells it from others of its way
    ///
    /// # Errors
    /// [`WireError::TooLong`], for more than an endpoint ever makes.
    pub fn packet(&self, source: Address, chance: u32) -> Result<PacketBytes, WireError> {
        let id = u64::from(chance) << 32 | u64::from(self.label);
        let bytes = self.bytes.clone().try_into().map_err(|_| WireError::TooLong)?;
        let payload = wire::encode(&Payload::Datagram(bytes))?;
        PacketBytes::new(new_packet(&Header::new(source, self.to, id), &payload)?)
    }
}

/// The way's label of the packet with this id
pub const fn label_of(id: u64) -> u32 {
    id as u32
}

/// The datagram that `packet` carries, if it carries one
pub fn datagram_of<'a>(packet: &PacketRef<'a>) -> Option<&'a [u8]> {
    if PayloadKind::of(packet) != Some(PayloadKind::Datagram) {
        return None;
    }
    let (before, bytes) = packet.payload().split_at_checked(BEFORE)?;
    let [.., low, high] = *before else { return None };
    (usize::from(u16::from_le_bytes([low, high])) == bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagram_comes_out_of_its_packet_as_it_went_in() {
        let (source, to, bytes) = (Address(1), Address(2), vec![7; 6_000]);
        let datagram = Datagram { connection: None, to, label: 9, avoid: Vec::new(), is_relayed: false, bytes };
        let packet = datagram.packet(source, 5).unwrap();
        let header = *packet.as_ref().header();
        assert_eq!((header.source, header.destination, header.id), (source, to, 5 << 32 | 9));
        assert_eq!((label_of(header.id), header.flow()), (9, 9), "equal ways are told apart by it");
        assert_eq!(datagram_of(&packet.as_ref()), Some(datagram.bytes.as_slice()));
    }

    #[test]
    fn packet_with_something_else_or_another_count_has_no_datagram() {
        let header = Header::new(Address(1), Address(2), 3);
        for payload in [&[][..], &[3, 0, 0], &[3, 0, 0, 0, 1, 0], &[3, 0, 0, 0, 1, 0, 7, 7], &[0, 0, 0, 0, 1, 0, 7]] {
            let packet = PacketBytes::new(new_packet(&header, payload).unwrap()).unwrap();
            assert_eq!(datagram_of(&packet.as_ref()), None, "{payload:?}");
        }
    }
}
