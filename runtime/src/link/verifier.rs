//! The check of the other side's certificate, which each handshake makes once.
//!
//! rustls asks for a certificate and for the handshake's signature apart, and libp2p's check makes the whole of it each
//! time: two signatures, which cost more than all the rest. So what it has found is kept until its handshake is over.

use std::sync::OnceLock;

use kith_common::id::Key;
use libp2p::tls::certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::identity::key_of;

/// A certificate that signs itself and that an identity signed
#[derive(Debug)]
struct Checked {
    certificate: CertificateDer<'static>,
    /// The identity
    key: Key,
    /// What the handshake is signed with
    signs: SubjectPublicKeyInfoDer<'static>,
}

impl Checked {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let refused = |why: String| rustls::Error::General(format!("not a libp2p certificate: {why}"));
        let parsed = certificate::parse(certificate).map_err(|error| refused(error.to_string()))?;
        let key = key_of(&parsed.peer_id());
        let key = key.ok_or_else(|| rustls::Error::General("the identity is not an Ed25519 key".into()))?;
        // libp2p shows no one this key, so that it is read by the parser that libp2p has just read it with.
        let (_, x509) = X509Certificate::from_der(certificate).map_err(|error| refused(error.to_string()))?;
        let signs = SubjectPublicKeyInfoDer::from(x509.public_key().raw.to_vec());
        Ok(Self { certificate: certificate.clone().into_owned(), key, signs })
    }
}

/// Checks the certificate of one handshake as libp2p's specification says: exactly one, which signs itself and carries
/// an identity
#[derive(Debug)]
pub(super) struct Verifier {
    /// Nobody else will do
    wanted: Option<Key>,
    algorithms: WebPkiSupportedAlgorithms,
    checked: OnceLock<Checked>,
}

impl Verifier {
    pub(super) fn new(wanted: Option<Key>, provider: &CryptoProvider) -> Self {
        Self { wanted, algorithms: provider.signature_verification_algorithms, checked: OnceLock::new() }
    }

    /// Who the handshake proved to be on the other side; `None` if this is not the certificate that it has checked
    pub(super) fn key_in(&self, certificate: &CertificateDer<'_>) -> Option<Key> {
        self.checked(certificate).map(|checked| checked.key)
    }

    fn checked(&self, certificate: &CertificateDer<'_>) -> Option<&Checked> {
        self.checked.get().filter(|checked| checked.certificate == *certificate)
    }

    // Neither names nor chains nor revocation: the certificate is a wrapper around the key that signed it.
    fn check(&self, certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        if !others.is_empty() {
            return Err(rustls::Error::General("more than one certificate".into()));
        }
        let checked = Checked::of(certificate)?;
        if self.wanted.is_some_and(|wanted| wanted != checked.key) {
            return Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        self.checked.set(checked).map_err(|_| rustls::Error::General("a second certificate".into()))
    }

    /// The proof that whoever is on the other side has the secret of its certificate
    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let Some(checked) = self.checked(certificate) else {
            return Err(rustls::Error::General("signed before its certificate was checked".into()));
        };
        verify_tls13_signature_with_raw_key(message, &checked.signs, signed, &self.algorithms)
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
            self.check_signature(message, certificate, signed)
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
    use kith_common::crypto::Signer;
    use rustls::crypto::aws_lc_rs;

    use super::super::tls::self_signed;
    use super::*;
    use crate::identity::Identity;

    fn verifier(wanted: Option<Key>) -> Verifier {
        Verifier::new(wanted, &aws_lc_rs::default_provider())
    }

    #[test]
    fn key_is_known_of_the_checked_certificate_and_of_no_other() {
        let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
        let [ours, other] = [&alice, &bob].map(|identity| self_signed(&identity.keypair()).unwrap().0);
        let verifier = verifier(Some(alice.key()));
        assert_eq!(verifier.key_in(&ours), None, "nothing was checked yet");
        assert!(verifier.check(&other, &[]).is_err());
        assert_eq!(verifier.key_in(&other), None, "it was refused");
        verifier.check(&ours, &[]).unwrap();
        assert_eq!((verifier.key_in(&ours), verifier.key_in(&other)), (Some(alice.key()), None));
        assert!(verifier.check(&ours, &[]).is_err(), "one handshake has one certificate");
    }

    #[test]
    fn certificate_whose_signed_part_was_changed_anywhere_is_refused() {
        let (ours, _) = self_signed(&Identity::from_seed([1; 32]).keypair()).unwrap();
        let (_, x509) = X509Certificate::from_der(&ours).unwrap();
        let signed = x509.tbs_certificate.as_ref();
        let start = ours.windows(signed.len()).position(|bytes| bytes == signed).unwrap();
        for at in start..start + signed.len() {
            let mut changed = ours.to_vec();
            changed[at] ^= 1;
            assert!(verifier(None).check(&changed.into(), &[]).is_err(), "byte {at}");
        }
        let twice = verifier(None).check(&ours, std::slice::from_ref(&ours));
        assert!(twice.is_err(), "one certificate and another one");
    }
}
