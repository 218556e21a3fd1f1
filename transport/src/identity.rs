//! Who is at the other end: raw public keys (RFC 7250) in TLS, which are the peers' own keys.
//!
//! The dialler knows whom it wants, and takes nobody else. The listener takes any Ed25519 key; what the key may do is said
//! by the grant that its holder shows, which is no business of TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kith_common::crypto::Signer;
use kith_common::hex;
use kith_common::id::Key;
use kith_common::time::Instant;
use quinn_proto::TimeSource;
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureAlgorithm, SignatureScheme,
};

use crate::settings::CONNECTIONS_MAX;

/// What both ends must say that they speak over the connection, so that another version is refused in the handshake
const PROTOCOL: &[u8] = b"kith/1";

/// Tickets that a listener keeps, some 300 bytes each: the two that it gives for each connection that there may be. The oldest go
/// first, and whoever comes without one makes a whole handshake.
const TICKETS_GIVEN_MAX: usize = 2 * CONNECTIONS_MAX;

/// Tickets that a dialler keeps. rustls takes room for eight of one listener, and keeps those of as many listeners as that makes;
/// whoever was met first goes first.
const TICKETS_HELD_MAX: usize = 8 * CONNECTIONS_MAX;

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410)
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The certificate's place is taken by the key itself
fn spki_of(key: &Key) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), &key.0].concat()
}

/// The key that a SubjectPublicKeyInfo holds, if it is one of Ed25519
fn key_of(spki: &[u8]) -> Option<Key> {
    spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(Key)
}

/// The key that the other end has proved to hold
pub(crate) fn proved_key(identity: Option<Box<dyn std::any::Any>>) -> Option<Key> {
    let chain = identity?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_of(chain.first()?)
}

/// What TLS calls the peer with this key: it names the tickets that are kept for it, and is never sent
pub(crate) fn server_name(key: &Key) -> String {
    let digits = hex::encode(&key.0);
    let (front, back) = digits.split_at(32);
    format!("{front}.{back}.kith")
}

/// A peer's own key, as TLS wants it
struct Own<S>(Arc<S>);

impl<S> std::fmt::Debug for Own<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

impl<S: Signer + Send + Sync + 'static> SigningKey for Own<S> {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let is_offered = offered.contains(&SignatureScheme::ED25519);
        is_offered.then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn rustls::sign::Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(spki_of(&self.0.key()).into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl<S: Signer + Send + Sync + 'static> rustls::sign::Signer for Own<S> {
    // What TLS has signed begins with 64 spaces (RFC 8446, 4.4.3), and all that Kith signs with a tag: neither can be taken
    // for the other.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).0.to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Takes whoever proves to hold the key that was dialled, or, as a listener, any key
#[derive(Debug)]
struct RawKeys(WebPkiSupportedAlgorithms);

/// Somebody else has answered, or nobody that has a key of ours
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another key than the one that was dialled")]
pub(crate) struct AnotherKey;

fn refused() -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(AnotherKey))))
}

/// The part that rustls asks for in two traits, for the one side and the other
macro_rules! check_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.3 alone is spoken".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            key: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let key = SubjectPublicKeyInfoDer::from(key.as_ref());
            verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ServerCertVerifier for RawKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_wanted = key_of(end_entity).is_some_and(|key| server_name(&key) == name.to_str());
        if is_wanted { Ok(ServerCertVerified::assertion()) } else { Err(refused()) }
    }

    check_signatures!();
}

impl ClientCertVerifier for RawKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if key_of(end_entity).is_some() { Ok(ClientCertVerified::assertion()) } else { Err(refused()) }
    }

    check_signatures!();
}

/// TLS is told the time as everybody here; it compares ages of tickets with it, and nothing else
#[derive(Debug, Default)]
pub(crate) struct Told(AtomicU64);

impl Told {
    pub(crate) fn tell(&self, now: Instant) {
        self.0.store(now.as_micros(), Ordering::Relaxed);
    }
}

/// QUIC's tokens, which nobody is given, would be dated by it
#[expect(clippy::disallowed_types, reason = "quinn-proto's own type for a date, which it is told")]
impl TimeSource for Told {
    fn now(&self) -> std::time::SystemTime {
        std::time::SystemTime::UNIX_EPOCH + Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl TimeProvider for Told {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_micros(self.0.load(Ordering::Relaxed))))
    }
}

/// The library that agrees on keys lacks what a connection needs
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// TLS 1.3 is not there, or refuses the key
    #[error("TLS: {0}")]
    Tls(#[from] Error),
    /// QUIC's first packets are sealed with a suite that is not there
    #[error("AES-128-GCM is not among the suites")]
    Suite(#[from] NoInitialCipherSuite),
}

/// Both sides of TLS for one peer
pub(crate) struct Identity {
    pub(crate) dialler: Arc<QuicClientConfig>,
    pub(crate) listener: Arc<QuicServerConfig>,
    tickets: Arc<ClientSessionMemoryCache>,
}

impl Identity {
    /// That of whoever signs with `signer`
    ///
    /// # Errors
    /// [`IdentityError`], by the provider's fault alone.
    pub(crate) fn new<S: Signer + Send + Sync + 'static>(
        signer: &Arc<S>,
        provider: &Arc<CryptoProvider>,
        clock: &Arc<Told>,
    ) -> Result<Self, IdentityError> {
        let own: Arc<dyn SigningKey> = Arc::new(Own(Arc::clone(signer)));
        let key = Arc::new(CertifiedKey::new(vec![spki_of(&signer.key()).into()], own));
        let verifier = Arc::new(RawKeys(provider.signature_verification_algorithms));
        let versions = &[&rustls::version::TLS13];
        let clock = || -> Arc<dyn TimeProvider> { Arc::<Told>::clone(clock) };

        let builder = rustls::ClientConfig::builder_with_details(Arc::clone(provider), clock());
        let builder = builder.with_protocol_versions(versions)?.dangerous();
        let builder = builder.with_custom_certificate_verifier(Arc::<RawKeys>::clone(&verifier));
        let mut dialler =
            builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&key))));
        dialler.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Forwarders read the first packets: they need not know whom they are for.
        dialler.enable_sni = false;
        let tickets = Arc::new(ClientSessionMemoryCache::new(TICKETS_HELD_MAX));
        dialler.resumption = Resumption::store(Arc::<ClientSessionMemoryCache>::clone(&tickets));
        dialler.enable_early_data = true;

        let builder = rustls::ServerConfig::builder_with_details(Arc::clone(provider), clock());
        let builder = builder.with_protocol_versions(versions)?.with_client_cert_verifier(verifier);
        let mut listener = builder.with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
        listener.alpn_protocols = vec![PROTOCOL.to_vec()];
        // In memory, from which each is taken once: what a forwarder plays again finds none.
        listener.session_storage = ServerSessionMemoryCache::new(TICKETS_GIVEN_MAX);
        // QUIC knows this or nothing (RFC 9001, 4.6.1): its windows bound what is said early.
        listener.max_early_data_size = u32::MAX;
        Ok(Self { dialler: Arc::new(dialler.try_into()?), listener: Arc::new(listener.try_into()?), tickets })
    }

    /// Whoever holds this key has not taken one of its tickets: most likely it has started anew, and takes none of the others
    pub(crate) fn forget_tickets(&self, key: &Key) {
        if let Ok(name) = ServerName::try_from(server_name(key)) {
            while self.tickets.take_tls13_ticket(&name).is_some() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_the_one_that_was_written_and_nothing_else_is_one() {
        let key = Key([7; 32]);
        let spki = spki_of(&key);
        assert_eq!(key_of(&spki), Some(key));
        for wrong in [&spki[1..], &spki[..43], &[spki.as_slice(), &[0]].concat(), &[]] {
            assert_eq!(key_of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn name_of_a_key_is_one_that_tls_takes_and_no_two_keys_share_it() {
        let (one, other) = (server_name(&Key([0; 32])), server_name(&Key([255; 32])));
        assert_ne!(one, other);
        for name in [one, other] {
            assert_eq!(ServerName::try_from(name.clone()).unwrap().to_str(), name);
        }
    }
}
