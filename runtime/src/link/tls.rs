//! TLS 1.3 as libp2p speaks it, with our choice of ciphers.
//!
//! libp2p's own configurations put ChaCha20 first, which costs half of a forwarder's throughput on a processor that has
//! AES. Its certificates begin in 1975, so ours are made here; their check is used as it is.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use kith_common::id::Key;
use libp2p::identity::{Keypair, SigningError};
use libp2p::tls::certificate;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, ServerConfig,
    SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::identity::key_of;

const ALPN: &[u8] = b"libp2p";
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13];

/// The TLS of this process: one certificate, made at its start
#[derive(Clone)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    certificate: Arc<SingleCertAndKey>,
    server: Arc<ServerConfig>,
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

        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(VERSIONS)?;
        let verifier = Arc::new(Verifier { wanted: None });
        let mut server = builder.with_client_cert_verifier(verifier).with_cert_resolver(certificate.clone());
        server.alpn_protocols = vec![ALPN.to_vec()];
        // No resumption: links last, and a ticket would bring back a peer without its certificate.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { provider, certificate, server: Arc::new(server) })
    }

    /// The listener's half of a handshake; it takes anybody, and tells who it is
    pub(crate) async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, Key), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = TlsAcceptor::from(Arc::clone(&self.server)).accept(stream).await;
        let stream = TlsStream::from(accepted.map_err(|e| HandshakeError::of(&e))?);
        let key = key_of_other_side(stream.get_ref().1)?;
        Ok((stream, key))
    }

    /// The dialler's half of a handshake; with `wanted`, nobody else will do
    pub(crate) async fn connect<S>(&self, stream: S, wanted: Option<Key>) -> Result<(TlsStream<S>, Key), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.client_config(wanted).map_err(|e| HandshakeError::Failed(e.to_string()))?;
        // libp2p sends no server name, and an IP address is never sent as one.
        let nobody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let connected = TlsConnector::from(Arc::new(config)).connect(nobody, stream).await;
        let stream = TlsStream::from(connected.map_err(|e| HandshakeError::of(&e))?);
        let key = key_of_other_side(stream.get_ref().1)?;
        Ok((stream, key))
    }

    fn client_config(&self, wanted: Option<Key>) -> Result<ClientConfig, rustls::Error> {
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(VERSIONS)?;
        let verifier = Arc::new(Verifier { wanted });
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
fn self_signed(identity: &Keypair) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TlsError> {
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
fn key_of_other_side(state: &CommonState) -> Result<Key, HandshakeError> {
    if state.alpn_protocol() != Some(ALPN) {
        return Err(HandshakeError::Failed("the other side does not speak libp2p's TLS".into()));
    }
    let Some([certificate]) = state.peer_certificates() else {
        return Err(HandshakeError::Failed("the other side has not exactly one certificate".into()));
    };
    key_in(certificate).map_err(|e| HandshakeError::Failed(e.to_string()))
}

/// The key in a certificate that signs itself and that the key signed
fn key_in(certificate: &CertificateDer<'_>) -> Result<Key, rustls::Error> {
    let parsed = certificate::parse(certificate);
    let parsed = parsed.map_err(|e| rustls::Error::General(format!("not a libp2p certificate: {e}")))?;
    key_of(&parsed.peer_id()).ok_or_else(|| rustls::Error::General("the identity is not an Ed25519 key".into()))
}

/// Checks certificates as libp2p's specification says: exactly one, which signs itself and carries an identity
#[derive(Debug)]
struct Verifier {
    wanted: Option<Key>,
}

impl Verifier {
    // Neither names nor chains nor revocation: the certificate is a wrapper around the key that signed it.
    fn check(&self, certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        if !others.is_empty() {
            return Err(rustls::Error::General("more than one certificate".into()));
        }
        let key = key_in(certificate)?;
        match self.wanted {
            Some(wanted) if wanted != key => {
                Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            _ => Ok(()),
        }
    }

    fn check_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let parsed = certificate::parse(certificate);
        let parsed = parsed.map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let checked = parsed.verify_signature(signed.scheme, message, signed.signature());
        checked.map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadSignature))?;
        Ok(HandshakeSignatureValid::assertion())
    }

    /// What libp2p's certificates may be signed with; ours and those of libp2p itself are P-256
    fn schemes() -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}

/// The part that rustls asks for in two traits, for the one side and the other
macro_rules! check_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Self::check_signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            Self::schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    check_signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    check_signatures!();
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
        let verifier = Arc::new(Verifier { wanted: None });
        let mut anonymous = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        anonymous.alpn_protocols = vec![ALPN.to_vec()];
        let nobody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let dial = TlsConnector::from(Arc::new(anonymous)).connect(nobody, near);
        let (_, accepted) = tokio::join!(dial, listen.accept(far));
        assert!(accepted.is_err());
    }

    #[test]
    fn certificate_is_good_whatever_the_wall_clock_says() {
        let alice = Identity::from_seed([1; 32]);
        let (certificate, _) = self_signed(&alice.keypair()).unwrap();
        assert_eq!(key_in(&certificate).unwrap(), alice.key());
        let says = |date: &[u8]| certificate.windows(date.len()).any(|bytes| bytes == date);
        assert!(says(b"500101000000Z") && says(b"99991231000000Z"));
    }

    #[test]
    fn exactly_two_suites_the_quick_one_first() {
        assert_eq!(cipher_suites(true), [TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256]);
        assert_eq!(cipher_suites(false), [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256]);
    }
}
