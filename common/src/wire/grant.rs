//! Certificates and grants: what a supernode may say, and what it said.

use bincode::{Decode, Encode};

use super::WireError;
use super::bounded::Bytes;
use super::codec;
use crate::crypto::{self, Signature, Signer, Verifier};
use crate::id::{Address, Epoch, Key, Name, NetworkId, SessionId};

/// The network key's word that `supernode` may sign grants
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Certificate {
    /// The network key, which the network's id is the hash of ([`crypto::network_id`])
    pub network_key: Key,
    pub supernode: Key,
    /// Distinct for every certificate of a network; removing a supernode revokes its serial
    pub serial: u64,
}

/// The bytes of a [`Certificate`] and the network key's signature over them
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SignedCertificate {
    body: Bytes<128>,
    signature: Signature,
}

impl SignedCertificate {
    /// Signs `certificate` with the network key
    ///
    /// # Errors
    /// None of a certificate: its size is fixed.
    pub fn sign(certificate: &Certificate, network_key: &impl Signer) -> Result<Self, WireError> {
        let body = codec::encode(certificate)?;
        let signature = network_key.sign(&crypto::tagged(crypto::CERTIFICATE, &[&body]));
        Ok(Self { body: body.try_into().map_err(|_| WireError::TooLong)?, signature })
    }

    /// The certificate, if the network key signed it and, where a network is given, if it is that network's
    ///
    /// # Errors
    /// [`GrantError`] says what is wrong with it.
    pub fn verify(&self, network: Option<&NetworkId>, verifier: &impl Verifier) -> Result<Certificate, GrantError> {
        let certificate: Certificate = codec::decode(&self.body).map_err(|_| GrantError::Malformed)?;
        if network.is_some_and(|id| *id != crypto::network_id(&certificate.network_key)) {
            return Err(GrantError::OtherNetwork);
        }
        let signed = crypto::tagged(crypto::CERTIFICATE, &[&self.body]);
        if !verifier.verify(&certificate.network_key, &signed, &self.signature) {
            return Err(GrantError::Signature);
        }
        Ok(certificate)
    }
}

/// A supernode's word that a key is in the network, under this name and at this address
///
/// It holds no time, so clocks don't matter and renewals don't travel: a larger epoch without it revokes it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    pub network: NetworkId,
    pub name: Name,
    pub key: Key,
    /// The peer's place for this session
    pub address: Address,
    pub session: SessionId,
    /// When the session began, in the directory's order: within one incarnation a larger one replaces a smaller one of the same key
    pub epoch: Epoch,
}

/// The bytes of a [`Grant`], a supernode's signature over them, and that supernode's certificate
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SignedGrant {
    body: Bytes<256>,
    signature: Signature,
    certificate: SignedCertificate,
}

impl SignedGrant {
    /// Signs `grant` with the supernode's key
    ///
    /// # Errors
    /// None of a grant: its parts are bounded below 256 bytes.
    pub fn sign(grant: &Grant, supernode: &impl Signer, certificate: SignedCertificate) -> Result<Self, WireError> {
        let (body, signature) = sign_word(grant, supernode)?;
        Ok(Self { body, signature, certificate })
    }

    /// The grant, if a supernode of `network` signed it (two signatures are checked: about 100 µs)
    ///
    /// # Errors
    /// [`GrantError`] says what is wrong with it.
    pub fn verify(&self, network: &NetworkId, verifier: &impl Verifier) -> Result<Grant, GrantError> {
        self.verify_under(&self.certificate.verify(Some(network), verifier)?, verifier)
    }

    /// The key that is said to be a supernode's, and to have signed it
    pub const fn certificate(&self) -> &SignedCertificate {
        &self.certificate
    }

    /// The grant, if the supernode of this certificate, which was verified, signed it (one signature is checked)
    ///
    /// # Errors
    /// [`GrantError`] says what is wrong with it.
    pub(crate) fn verify_under(
        &self,
        certificate: &Certificate,
        verifier: &impl Verifier,
    ) -> Result<Grant, GrantError> {
        verify_word(&self.body, &self.signature, certificate, verifier)
    }
}

/// What a supernode says of its network and signs under a tag of its own
pub(super) trait Word: Encode + Decode<()> {
    const TAG: &'static str;

    fn network(&self) -> &NetworkId;
}

impl Word for Grant {
    const TAG: &'static str = crypto::GRANT;

    fn network(&self) -> &NetworkId {
        &self.network
    }
}

/// A word's bytes, and the supernode's signature over them
///
/// # Errors
/// [`WireError::TooLong`] if the word has more than `N` bytes.
pub(super) fn sign_word<W: Word, const N: usize>(
    word: &W,
    supernode: &impl Signer,
) -> Result<(Bytes<N>, Signature), WireError> {
    let body = codec::encode(word)?;
    let signature = supernode.sign(&crypto::tagged(W::TAG, &[&body]));
    Ok((body.try_into().map_err(|_| WireError::TooLong)?, signature))
}

/// The word, if the supernode of this certificate, which was verified, signed it (one signature is checked)
///
/// # Errors
/// [`GrantError`] says what is wrong with it.
pub(super) fn verify_word<W: Word>(
    body: &[u8],
    signature: &Signature,
    certificate: &Certificate,
    verifier: &impl Verifier,
) -> Result<W, GrantError> {
    if !verifier.verify(&certificate.supernode, &crypto::tagged(W::TAG, &[body]), signature) {
        return Err(GrantError::Signature);
    }
    let word: W = codec::decode(body).map_err(|_| GrantError::Malformed)?;
    if *word.network() != crypto::network_id(&certificate.network_key) {
        return Err(GrantError::OtherNetwork);
    }
    Ok(word)
}

/// A grant or a certificate that is not believed; the state of whoever checks it is unchanged
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Its bytes are not one
    #[error("it cannot be read")]
    Malformed,
    /// It is good in another network
    #[error("it belongs to another network")]
    OtherNetwork,
    /// The signature is not of the key that is said to have made it
    #[error("its signature is wrong")]
    Signature,
    /// It names another key than the one that showed it
    #[error("it names another key")]
    OtherKey,
}
