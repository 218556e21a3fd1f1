//! TLS 1.3 as libp2p speaks it, with our choice of ciphers.
//!
//! libp2p's own configurations put ChaCha20 first, which costs half of a forwarder's throughput on a processor that has
//! AES. Its certificates begin in 1975, so ours are made here; their check is used as it is.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use kith_common::id::Key;
use libp2p::identity::{Keypair, SigningError};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, CommonState, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::verifier::Verifier;

const ALPN: &[u8] = b"libp2p";
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13];

/// The TLS of this process: one certificate, made at its start
#[derive(Clone)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    certificate: Arc<SingleCertAndKey>,
}

/// No certificate could be made; there is no link layer without one
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The node's key did not sign it
    #[error("cannot sign a certificate: {0}")]
    Signature(#[from] SigningError),
    /// rustls cannot use it
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A handshake failed; the connection is to be dropped
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("another node answered")]
    OtherKey,
    #[error("{0}")]
    Failed(String),
}

impl Tls {
    pub(crate) fn new(keypair: &Keypair) -> Result<Self, TlsError> {
        let (certificate, secret) = self_signed(keypair)?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = cipher_suites(has_aes()).to_vec();
        let signing_key = provider.key_provider.load_private_key(secret)?;
        let provider = Arc::new(provider);
        let certified = CertifiedKey::new(vec![certificate], signing_key);
        let certificate = Arc::new(SingleCertAndKey::from(certified));
        Ok(Self { provider, certificate })
    }

    /// The listener's half of a handshake; it takes anybody, and tells who it is
    pub(crate) async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, Key), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let verifier = Arc::new(Verifier::new(None, &self.provider));
        let config = self.server_config(Arc::clone(&verifier)).map_err(|e| HandshakeError::Failed(e.to_string()))?;
        let accepted = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        let stream = TlsStream::from(accepted.map_err(|e| HandshakeError::of(&e))?);
        let key = key_of_other_side(stream.get_ref().1, &verifier)?;
        Ok((stream, key))
    }

    /// The dialler's half of a handshake; with `wanted`, nobody else will do
    pub(crate) async fn connect<S>(&self, stream: S, wanted: Option<Key>) -> Result<(TlsStream<S>, Key), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let verifier = Arc::new(Verifier::new(wanted, &self.provider));
        let config = self.client_config(Arc::clone(&verifier)).map_err(|e| HandshakeError::Failed(e.to_string()))?;
        // libp2p sends no server name, and an IP address is never sent as one.
        let nobody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let connected = TlsConnector::from(Arc::new(config)).connect(nobody, stream).await;
        let stream = TlsStream::from(connected.map_err(|e| HandshakeError::of(&e))?);
        let key = key_of_other_side(stream.get_ref().1, &verifier)?;
        Ok((stream, key))
    }

    // Both are made for each handshake, as the verifier keeps what it has checked; what is dear is shared.
    fn server_config(&self, verifier: Arc<Verifier>) -> Result<ServerConfig, rustls::Error> {
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(VERSIONS)?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(self.certificate.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        // No resumption: links last, and a ticket would bring back a peer without its certificate.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    fn client_config(&self, verifier: Arc<Verifier>) -> Result<ClientConfig, rustls::Error> {
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(VERSIONS)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = builder.with_client_cert_resolver(self.certificate.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(config)
    }
}

impl HandshakeError {
    fn of(error: &std::io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => Self::OtherKey,
            // The address leads to some other service; rustls has no words for people here.
            Some(rustls::Error::InvalidMessage(_)) => {
                Self::Failed("it does not speak TLS: something else than Kith is at this address".into())
            }
            // rustls says what is wrong with the other side's bytes, the system what is wrong with the connection.
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A certificate as libp2p's specification has it, which is good at any time
///
/// Whoever checks it looks at a wall clock, and nothing else in Kith needs the time of day: a board without a battery
/// wakes in 1970, and must get in all the same.
pub(super) fn self_signed(identity: &Keypair) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TlsError> {
    let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let signature = identity.sign(&[b"libp2p-tls-handshake:", &*own.public_key_der()].concat())?;
    let content = yasna::encode_der(&(identity.public().encode_protobuf(), signature));
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 53594, 1, 1], content);
    extension.set_criticality(true);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.custom_extensions.push(extension);
    // The first and the last day that X.509 can write.
    (params.not_before, params.not_after) = (date_time_ymd(1950, 1, 1), date_time_ymd(9999, 12, 31));
    let certificate = params.self_signed(&own)?.into();
    Ok((certificate, PrivatePkcs8KeyDer::from(own.serialize_der()).into()))
}

/// Exactly these two, the quick one first: AES-128-GCM is twice as quick in hardware and five times slower without
fn cipher_suites(has_aes: bool) -> [SupportedCipherSuite; 2] {
    let (aes, chacha) = (TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256);
    if has_aes { [aes, chacha] } else { [chacha, aes] }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
const fn has_aes() -> bool {
    false
}

/// Who the handshake proved to be on the other side
fn key_of_other_side(state: &CommonState, verifier: &Verifier) -> Result<Key, HandshakeError> {
    if state.alpn_protocol() != Some(ALPN) {
        return Err(HandshakeError::Failed("the other side does not speak libp2p's TLS".into()));
    }
    let Some([certificate]) = state.peer_certificates() else {
        return Err(HandshakeError::Failed("the other side has not exactly one certificate".into()));
    };
    verifier.key_in(certificate).ok_or_else(|| HandshakeError::Failed("its certificate was not checked".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use kith_common::crypto::Signer;
    use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

    async fn handshake(
        dialler: &Identity,
        listener: &Identity,
        wanted: Option<Key>,
    ) -> (Result<(CommonFacts, Key), HandshakeError>, Result<Key, HandshakeError>) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (dial, listen) = (Tls::new(&dialler.keypair()).unwrap(), Tls::new(&listener.keypair()).unwrap());
        let (dialled, accepted) = tokio::join!(dial.connect(near, wanted), listen.accept(far));
        (dialled.map(|(stream, key)| (CommonFacts::of(stream.get_ref().1), key)), accepted.map(|(_, key)| key))
    }

    #[derive(Debug, PartialEq)]
    struct CommonFacts {
        version: Option<ProtocolVersion>,
        suite: Option<CipherSuite>,
        group: Option<NamedGroup>,
    }

    impl CommonFacts {
        fn of(state: &CommonState) -> Self {
            Self {
                version: state.protocol_version(),
                suite: state.negotiated_cipher_suite().map(|suite| suite.suite()),
                group: state.negotiated_key_exchange_group().map(|group| group.name()),
            }
        }
    }

    #[tokio::test]
    async fn both_sides_learn_the_others_key() {
        let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
        let (dialled, accepted) = handshake(&alice, &bob, Some(bob.key())).await;
        let (facts, key) = dialled.unwrap();
        assert_eq!((key, accepted.unwrap()), (bob.key(), alice.key()));
        assert_eq!(facts.version, Some(ProtocolVersion::TLSv1_3));
        let quick =
            if has_aes() { CipherSuite::TLS13_AES_128_GCM_SHA256 } else { CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 };
        assert_eq!(facts.suite, Some(quick));
        assert_eq!(facts.group, Some(NamedGroup::X25519MLKEM768));
    }

    #[tokio::test]
    async fn dialler_refuses_another_key_than_the_wanted_one() {
        let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
        let (dialled, accepted) = handshake(&alice, &bob, Some(alice.key())).await;
        assert!(matches!(dialled, Err(HandshakeError::OtherKey)));
        assert!(accepted.is_err());
    }

    #[tokio::test]
    async fn listener_refuses_a_dialler_without_certificate() {
        let bob = Identity::from_seed([2; 32]);
        let (near, far) = tokio::io::duplex(64 * 1024);
        let listen = Tls::new(&bob.keypair()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&listen.provider));
        let builder = builder.with_protocol_versions(VERSIONS).unwrap();
        let verifier = Arc::new(Verifier::new(None, &listen.provider));
        let mut anonymous = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        anonymous.alpn_protocols = vec![ALPN.to_vec()];
        let nobody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let dial = TlsConnector::from(Arc::new(anonymous)).connect(nobody, near);
        let (_, accepted) = tokio::join!(dial, listen.accept(far));
        assert!(accepted.is_err());
    }

    #[tokio::test]
    async fn certificate_of_somebody_else_proves_nothing() {
        let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (dial, listen) = (with_certificate_of(&alice, &bob), Tls::new(&bob.keypair()).unwrap());
        let (_, accepted) = tokio::join!(dial.connect(near, None), listen.accept(far));
        assert!(accepted.unwrap_err().to_string().contains("BadSignature"));
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (dial, listen) = (Tls::new(&alice.keypair()).unwrap(), with_certificate_of(&bob, &alice));
        let (dialled, _) = tokio::join!(dial.connect(near, Some(alice.key())), listen.accept(far));
        assert!(dialled.unwrap_err().to_string().contains("BadSignature"));
    }

    /// What `thief` can do who has seen the certificate of `owner`, and has not its secret
    fn with_certificate_of(thief: &Identity, owner: &Identity) -> Tls {
        let (_, secret) = self_signed(&thief.keypair()).unwrap();
        let (certificate, _) = self_signed(&owner.keypair()).unwrap();
        let tls = Tls::new(&thief.keypair()).unwrap();
        let signing_key = tls.provider.key_provider.load_private_key(secret).unwrap();
        let certified = CertifiedKey::new(vec![certificate], signing_key);
        Tls { certificate: Arc::new(SingleCertAndKey::from(certified)), ..tls }
    }

    #[test]
    fn certificate_is_good_whatever_the_wall_clock_says() {
        let alice = Identity::from_seed([1; 32]);
        let (certificate, _) = self_signed(&alice.keypair()).unwrap();
        let says = |date: &[u8]| certificate.windows(date.len()).any(|bytes| bytes == date);
        assert!(says(b"500101000000Z") && says(b"99991231000000Z"));
    }

    #[test]
    fn exactly_two_suites_the_quick_one_first() {
        assert_eq!(cipher_suites(true), [TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256]);
        assert_eq!(cipher_suites(false), [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256]);
    }
}
