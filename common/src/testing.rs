//! Fixtures that the tests of several parts share: keys, names, certificates, moments.
//!
//! It is public for those tests of this crate that stand outside of it; no product uses it. Whatever a test gets wrong
//! here is to fail at once, so everything unwraps.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};

use crate::crypto::{self, Handshake, Signature, Signer, Verifier};
use crate::id::{Key, Name, NetworkId};
use crate::time::Instant;
use crate::wire::VERSION;
use crate::wire::grant::{Certificate, SignedCertificate};

/// A private key that a test chooses
#[derive(Debug)]
pub struct Ed(SigningKey);

impl Ed {
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }
}

impl Verifier for Ed {}

impl Signer for Ed {
    fn key(&self) -> Key {
        Key(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}

/// The private key made of one repeated byte
pub fn ed(byte: u8) -> Ed {
    Ed::from_seed([byte; 32])
}

/// The network whose key is made of one repeated byte
pub fn network_of(network: u8) -> NetworkId {
    crypto::network_id(&ed(network).key())
}

/// What a network's key says of a supernode's, each made of one repeated byte
pub fn certificate_of(network: u8, supernode: u8) -> SignedCertificate {
    certificate_with(network, supernode, 1)
}

/// The same with a serial of its own
pub fn certificate_with(network: u8, supernode: u8, serial: u64) -> SignedCertificate {
    let certificate = Certificate { network_key: ed(network).key(), supernode: ed(supernode).key(), serial };
    SignedCertificate::sign(&certificate, &ed(network)).unwrap()
}

/// What a peer and a supernode sign when they meet; each key, and each nonce, is one repeated byte
pub fn handshake_of(network: u8, [peer, supernode]: [u8; 2], [peer_nonce, supernode_nonce]: [u8; 2]) -> Handshake {
    Handshake {
        peer_nonce: [peer_nonce; 32],
        supernode_nonce: [supernode_nonce; 32],
        peer: ed(peer).key(),
        supernode: ed(supernode).key(),
        network: network_of(network),
        version: VERSION,
    }
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// `peer-7`
pub fn peer_name(number: impl std::fmt::Display) -> Name {
    name(&format!("peer-{number}"))
}

/// So many milliseconds after the origin
pub fn at_ms(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}
