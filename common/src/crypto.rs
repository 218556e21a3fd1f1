//! Hashes and signatures: which bytes are signed under which tag, and how they are checked.
//!
//! Everything signed begins with a tag of its own, so that a signature for one purpose serves no other.

use bincode::{Decode, Encode};
use ed25519_dalek::VerifyingKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::id::{Address, Key, Name, NetworkId};

/// Signed by the network key: a supernode's certificate
pub const CERTIFICATE: &str = "kith/certificate/1";
/// Signed by a supernode: a grant
pub const GRANT: &str = "kith/grant/1";
/// Signed by a supernode: how far the list of removed keys goes
pub const REMOVED: &str = "kith/removed/1";
/// Signed by a supernode: both nonces of a login
pub const CHALLENGE: &str = "kith/challenge/1";
/// Signed by a peer: the wish to log in
pub const LOGIN: &str = "kith/login/1";
/// Signed by a peer: a ping, or the reply to one
pub const MESSAGE: &str = "kith/message/1";
/// Keyed with the network secret: the proof of knowing it
pub const SECRET: &str = "kith/secret/1";
/// Keyed with an invite's token: the proof of holding it
pub const INVITE: &str = "kith/invite-proof/1";

/// An Ed25519 signature
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Signature(pub [u8; 64]);

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, ..] = self.0;
        write!(f, "Signature({a:02x}{b:02x}…)")
    }
}

/// Whoever says which signatures are good
pub trait Verifier {
    /// Whether `key` signed `bytes`, as [`verify`] says; a simulation of many signers may know it without computing
    fn verify(&self, key: &Key, bytes: &[u8], signature: &Signature) -> bool {
        verify(key, bytes, signature)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Ed25519;

impl Verifier for Ed25519 {}

/// Whoever holds a private key; the cores only ask for signatures
pub trait Signer: Verifier {
    fn key(&self) -> Key;

    /// Signs `bytes` (already under a tag)
    fn sign(&self, bytes: &[u8]) -> Signature;
}

/// `tag`, then each part after its length: no two lists of parts give the same bytes
pub fn tagged(tag: &str, parts: &[&[u8]]) -> Vec<u8> {
    let len = tag.len() + 1 + parts.iter().map(|part| part.len() + 4).sum::<usize>();
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(tag.as_bytes());
    bytes.push(0);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Whether `key` signed `bytes`; a key or signature that is not well formed signed nothing
pub fn verify(key: &Key, bytes: &[u8], signature: &Signature) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&key.0) else { return false };
    key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
}

/// SHA-256 over the parts, one after the other
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// The id of the network that `network_key` made
pub fn network_id(network_key: &Key) -> NetworkId {
    NetworkId(sha256(&[b"kith/network/1\0", &network_key.0]))
}

/// HMAC-SHA-256 of the tagged parts under the network secret
pub fn secret_proof(secret: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    keyed(SECRET, secret, parts).finalize().into_bytes().into()
}

/// Whether `proof` is [`secret_proof`] of the same, compared in constant time
pub(crate) fn verify_secret_proof(secret: &[u8], parts: &[&[u8]], proof: &[u8; 32]) -> bool {
    keyed(SECRET, secret, parts).verify_slice(proof).is_ok()
}

fn keyed(tag: &str, secret: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // HMAC's key is one block, zeros at its end; hashing the secret first makes every length good.
    let mut block = [0; 64];
    block[..32].copy_from_slice(&sha256(&[secret]));
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(&tagged(tag, parts));
    mac
}

/// Candidate `i` for the address of `key` under `salt`: the first 8 bytes of SHA-256(key ‖ salt ‖ i), big-endian
pub fn candidate_address(key: &Key, salt: &[u8; 16], i: u8) -> Address {
    let [a, b, c, d, e, f, g, h, ..] = sha256(&[&key.0, salt, &[i]]);
    Address(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// The parts of a login that both sides sign over, in this order
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The peer's nonce, from its hello
    pub peer_nonce: [u8; 32],
    /// The supernode's nonce, from its hello
    pub supernode_nonce: [u8; 32],
    /// The peer's key, as the transport proved it
    pub peer: Key,
    /// The supernode's key, as the transport proved it
    pub supernode: Key,
    pub network: NetworkId,
    /// The protocol's version on this link
    pub version: u16,
}

impl Handshake {
    /// What the supernode signs in its challenge
    pub fn challenge_bytes(&self) -> Vec<u8> {
        tagged(CHALLENGE, &self.parts(&self.version.to_le_bytes()))
    }

    /// What the peer signs in its login
    pub fn login_bytes(&self, name: &Name) -> Vec<u8> {
        let version = self.version.to_le_bytes();
        let [a, b, c, d, e, f] = self.parts(&version);
        tagged(LOGIN, &[a, b, c, d, e, f, name.as_str().as_bytes()])
    }

    /// The proof that the peer knows the network secret
    pub fn secret_proof(&self, secret: &[u8]) -> [u8; 32] {
        secret_proof(secret, &self.parts(&self.version.to_le_bytes()))
    }

    /// Whether `proof` shows that the peer knows the network secret
    pub(crate) fn verify_secret_proof(&self, secret: &[u8], proof: &[u8; 32]) -> bool {
        verify_secret_proof(secret, &self.parts(&self.version.to_le_bytes()), proof)
    }

    /// The proof that the peer holds an invite, for this login alone: whoever hears it can do nothing with it
    pub fn invite_proof(&self, token: &[u8; 16]) -> [u8; 32] {
        keyed(INVITE, token, &self.parts(&self.version.to_le_bytes())).finalize().into_bytes().into()
    }

    /// Whether `proof` shows that the peer holds this invite, compared in constant time
    pub fn verify_invite_proof(&self, token: &[u8; 16], proof: &[u8; 32]) -> bool {
        keyed(INVITE, token, &self.parts(&self.version.to_le_bytes())).verify_slice(proof).is_ok()
    }

    fn parts<'a>(&'a self, version: &'a [u8; 2]) -> [&'a [u8]; 6] {
        [&self.peer_nonce, &self.supernode_nonce, &self.peer.0, &self.supernode.0, &self.network.0, version]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidate_addresses_are_as_published() {
        let key = Key(std::array::from_fn(|i| i as u8));
        let salt = std::array::from_fn(|i| i as u8);
        assert_eq!(candidate_address(&key, &salt, 0), Address(0x7737_a3b2_473b_5a2b));
        assert_eq!(candidate_address(&key, &salt, 31), Address(0x6046_eeb9_dd36_f6d8));
    }

    #[test]
    fn tagged_parts_cannot_be_shifted() {
        assert_ne!(tagged(GRANT, &[b"ab", b"c"]), tagged(GRANT, &[b"a", b"bc"]));
    }

    #[test]
    fn proof_of_another_secret_is_refused() {
        let proof = secret_proof(b"open", &[b"nonce"]);
        assert!(verify_secret_proof(b"open", &[b"nonce"], &proof));
        assert!(!verify_secret_proof(b"shut", &[b"nonce"], &proof));
        assert!(!verify_secret_proof(b"open", &[b"other"], &proof));
    }
}
