//! The members of the network, and what each can sign.

use crate::crypto::Signer;
use crate::id::{Address, Epoch, NetworkId, SessionId};
pub(super) use crate::testing::{Ed, ed, peer_name as name};
use crate::testing::{certificate_of, network_of};
use crate::wire::bounded::Bounded;
use crate::wire::content::{Message, Payload, SignedMessage};
use crate::wire::grant::{Grant, SignedCertificate, SignedGrant};
use crate::wire::packet::{self, Class, Header};
use crate::wire::session::{Location, Record};
use crate::wire::{self, PacketBytes};

pub(super) const A: u8 = 1;
pub(super) const B: u8 = 2;
pub(super) const C: u8 = 3;
pub(super) const SUPERNODE: u8 = 100;
const NETWORK: u8 = 101;

pub(super) fn address(n: u8) -> Address {
    Address(u64::from(n) << 60)
}

pub(super) fn network() -> NetworkId {
    network_of(NETWORK)
}

pub(super) fn certificate() -> SignedCertificate {
    certificate_of(NETWORK, SUPERNODE)
}

pub(super) fn signed_grant(n: u8) -> SignedGrant {
    let session = SessionId([n; 16]);
    let (name, key, address) = (name(n), ed(n).key(), address(n));
    let grant = Grant { network: network(), name, key, address, session, epoch: Epoch::new(0, 1) };
    SignedGrant::sign(&grant, &ed(SUPERNODE), certificate()).unwrap()
}

pub(super) fn record(n: u8) -> Record {
    let locations = Bounded::truncated([Location::truncated(&format!("/peer/{n}"))]);
    Record { name: name(n), key: ed(n).key(), address: address(n), epoch: Epoch::new(0, 1), locations }
}

/// The header of a packet of `source`'s, whichever peer sends it on
pub(super) fn header(source: u8, destination: u8, class: Class) -> Header {
    let (source, destination) = (address(source), address(destination));
    Header { class, ..Header::new(source, destination, 77) }
}

pub(super) fn packet(header: &Header, payload: &Payload) -> PacketBytes {
    PacketBytes::new(packet::new_packet(header, &wire::encode(payload).unwrap()).unwrap()).unwrap()
}

/// A message signed by `from`, in a packet with this header
pub(super) fn message_packet(from: u8, header: &Header, message: &Message) -> PacketBytes {
    packet(header, &Payload::Message(Box::new(SignedMessage::sign(message, signed_grant(from), &ed(from)).unwrap())))
}
