//! Who is in the network, and what each can sign.

use ed25519_dalek::{Signer as _, SigningKey};

use crate::crypto::{self, Signature, Signer, Verifier};
use crate::id::{Address, Epoch, Key, Name, NetworkId, SessionId};
use crate::wire::bounded::Bounded;
use crate::wire::content::{Message, Payload, SignedMessage};
use crate::wire::grant::{Certificate, Grant, SignedCertificate, SignedGrant};
use crate::wire::packet::{self, Class, Header, TTL_DEFAULT};
use crate::wire::session::{Location, Record};
use crate::wire::{self, PacketBytes};

pub(super) const A: u8 = 1;
pub(super) const B: u8 = 2;
pub(super) const C: u8 = 3;
pub(super) const SUPERNODE: u8 = 100;
const NETWORK: u8 = 101;

/// A private key made of one repeated byte
#[derive(Debug)]
pub(super) struct Ed(SigningKey);

impl Verifier for Ed {}

impl Signer for Ed {
    fn key(&self) -> Key {
        Key(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}

pub(super) fn ed(byte: u8) -> Ed {
    Ed(SigningKey::from_bytes(&[byte; 32]))
}

pub(super) fn address(n: u8) -> Address {
    Address(u64::from(n) << 60)
}

pub(super) fn name(n: u8) -> Name {
    format!("peer-{n}").parse().unwrap()
}

pub(super) fn network() -> NetworkId {
    crypto::network_id(&ed(NETWORK).key())
}

pub(super) fn certificate() -> SignedCertificate {
    let certificate = Certificate { network_key: ed(NETWORK).key(), supernode: ed(SUPERNODE).key(), serial: 1 };
    SignedCertificate::sign(&certificate, &ed(NETWORK)).unwrap()
}

pub(super) fn signed_grant(n: u8) -> SignedGrant {
    let session = SessionId([n; 16]);
    let (name, key, address) = (name(n), ed(n).key(), address(n));
    let grant = Grant { network: network(), name, key, address, session, epoch: Epoch(1) };
    SignedGrant::sign(&grant, &ed(SUPERNODE), certificate()).unwrap()
}

pub(super) fn record(n: u8) -> Record {
    let locations = Bounded::truncated([Location::truncated(&format!("/peer/{n}"))]);
    Record { name: name(n), key: ed(n).key(), address: address(n), epoch: Epoch(1), locations }
}

/// Of a packet of `source`'s, whoever sends it
pub(super) fn header(source: u8, destination: u8, class: Class) -> Header {
    let (source, destination) = (address(source), address(destination));
    Header { destination, source, id: 77, ttl: TTL_DEFAULT, class, congested: false, traced: false }
}

pub(super) fn packet(header: &Header, payload: &Payload) -> PacketBytes {
    PacketBytes::new(packet::new_packet(header, &wire::encode(payload).unwrap()).unwrap()).unwrap()
}

/// A message signed by `from`, in a packet with this header
pub(super) fn message_packet(from: u8, header: &Header, message: &Message) -> PacketBytes {
    packet(header, &Payload::Message(Box::new(SignedMessage::sign(message, signed_grant(from), &ed(from)).unwrap())))
}
