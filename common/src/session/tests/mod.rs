//! Both halves alone (transition tables), joined in virtual time (scenarios), and under random frames.

mod admission;
mod membership;
mod pair;
mod random;
mod scenarios;

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};

use super::admission::AdmissionConfig;
use super::*;
use crate::crypto::{self, Ed25519, Signature, Signer, Verifier};
use crate::id::{Address, Epoch, Key, Name, NetworkId, SessionId};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::grant::{Certificate, Grant, SignedCertificate};
use crate::wire::session::{Hello, Purpose, Reason, Rewire, Role};

const LEASE: Duration = Duration::from_secs(30);
const SECRET: &[u8] = b"open sesame";

/// A private key made of one repeated byte
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

fn ed(byte: u8) -> Ed {
    Ed(SigningKey::from_bytes(&[byte; 32]))
}

const PEER: u8 = 1;
const SUPERNODE: u8 = 2;
const NETWORK: u8 = 3;
const OTHER_NETWORK: u8 = 4;

fn network(byte: u8) -> NetworkId {
    crypto::network_id(&ed(byte).key())
}

fn certificate(network: u8, supernode: u8) -> SignedCertificate {
    let certificate = Certificate { network_key: ed(network).key(), supernode: ed(supernode).key(), serial: 1 };
    SignedCertificate::sign(&certificate, &ed(network)).unwrap()
}

fn admission_config(secret: Option<&[u8]>) -> Arc<AdmissionConfig> {
    Arc::new(AdmissionConfig {
        network: network(NETWORK),
        certificate: certificate(NETWORK, SUPERNODE),
        secret: secret.map(|secret| Secret::new(secret.to_vec())),
        lease: LEASE,
    })
}

fn hello(role: Role, network: Option<NetworkId>, nonce: u8) -> Hello {
    Hello { role, purpose: Purpose::Home, boot: 5, nonce: [nonce; 32], network, grant: None }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn session_id(byte: u8) -> SessionId {
    SessionId([byte; 16])
}

fn grant(session: SessionId, epoch: u64) -> Grant {
    Grant {
        network: network(NETWORK),
        name: name("alice"),
        key: ed(PEER).key(),
        address: Address(0x1234 << 48),
        session,
        epoch: Epoch(epoch),
    }
}

fn rewire(epoch: u64) -> Rewire {
    Rewire { epoch: Epoch(epoch), members: 1, degree: 4, neighbours: Default::default() }
}

fn at(seconds: f64) -> Instant {
    Instant::ZERO + Duration::from_secs_f64(seconds)
}

fn texts<const N: usize>(texts: [&str; N]) -> Locations {
    Locations::truncated(texts.into_iter().map(Location::truncated))
}

#[test]
fn configured_locations_win_over_the_observed_one() {
    let external = texts(["/dns4/alice.example/tcp/7400", "nonsense"]);
    let observed = "192.0.2.7".parse().ok();
    assert_eq!(locations_of(&external, observed, 7401), texts(["/dns4/alice.example/tcp/7400"]));
    assert_eq!(locations_of(&texts(["nonsense"]), observed, 7401), texts(["/ip4/192.0.2.7/tcp/7401"]));
}

#[test]
fn observed_location_is_the_listening_port_at_the_seen_ip() {
    let infer = |ip: &str, port| locations_of(&Locations::new(), ip.parse().ok(), port);
    assert_eq!(infer("192.0.2.7", 7401), texts(["/ip4/192.0.2.7/tcp/7401"]));
    assert_eq!(infer("2001:db8::1", 7401), texts(["/ip6/2001:db8::1/tcp/7401"]));
    assert_eq!(infer("::ffff:192.0.2.7", 7401), texts(["/ip4/192.0.2.7/tcp/7401"]));
    assert_eq!(infer("192.0.2.7", 0), texts([]));
    assert_eq!(infer("unknown", 7401), texts([]));
}

#[test]
fn secret_is_never_printed() {
    let config = admission_config(Some(SECRET));
    let printed = format!("{config:?}");
    assert!(printed.contains("Secret(11 bytes)") && !printed.contains("sesame") && !printed.contains("111, 112"));
}
