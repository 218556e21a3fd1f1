//! Bodies of the frames by which peers learn who was removed from the network.

use bincode::{Decode, Encode};

use super::WireError;
use super::bounded::{Bounded, Bytes};
use super::grant::{GrantError, SignedCertificate, Word, sign_word, verify_word};
use crate::crypto::{self, Signature, Signer, Verifier};
use crate::id::{Key, NetworkId};

/// Keys in one [`Removed`] at most: 32 KiB, half a large frame, so that no link's queue is filled by it
pub const KEYS_PER_PAGE: usize = 1_024;

/// How far somebody knows the list of removed keys; the default is before the first
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Mark {
    /// How many keys
    pub count: u32,
    /// Over all of them, in their order: the first half of SHA-256 of `"kith/removed-keys/1"`, a NUL byte, the digest before
    /// the last key, and that key; zeros before the first
    pub digest: [u8; 16],
}

/// Peer → supernode, or peer → neighbour: which keys were removed after this mark?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct AskRemoved {
    /// What the asker knows
    pub mark: Mark,
}

/// The answer to an [`AskRemoved`]; a supernode also says it unasked, of each removal
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Removed {
    /// What the keys follow; before the first, if what the asker knows is no part of this list
    pub from: Mark,
    /// In the order of their removals; without any, `from` is the end of the list
    pub keys: Bounded<Key, KEYS_PER_PAGE>,
    /// A supernode's word for the end of the list, which may be behind many more pages
    pub end: SignedMark,
}

/// What a supernode signs: how far its list goes
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EndMark {
    pub network: NetworkId,
    pub mark: Mark,
}

impl Word for EndMark {
    const TAG: &'static str = crypto::REMOVED;

    fn network(&self) -> &NetworkId {
        &self.network
    }
}

/// The bytes of an [`EndMark`], a supernode's signature over them, and that supernode's certificate
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedMark {
    body: Bytes<64>,
    signature: Signature,
    certificate: SignedCertificate,
}

impl SignedMark {
    /// Signs `end` with the supernode's key
    ///
    /// # Errors
    /// None of a mark: its size is fixed.
    pub fn sign(end: &EndMark, supernode: &impl Signer, certificate: SignedCertificate) -> Result<Self, WireError> {
        let (body, signature) = sign_word(end, supernode)?;
        Ok(Self { body, signature, certificate })
    }

    /// The mark, if a supernode of `network` signed it (two signatures are checked: about 100 µs)
    ///
    /// # Errors
    /// [`GrantError`] says what is wrong with it.
    pub fn verify(&self, network: &NetworkId, verifier: &impl Verifier) -> Result<Mark, GrantError> {
        let certificate = self.certificate.verify(Some(network), verifier)?;
        verify_word(&self.body, &self.signature, &certificate, verifier).map(|end: EndMark| end.mark)
    }
}
