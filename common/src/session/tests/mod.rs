//! Both halves alone (transition tables), joined in virtual time (scenarios), and under random frames.

mod admission;
mod homes;
mod membership;
mod pair;
mod random;
mod scenarios;

use std::sync::Arc;
use std::time::Duration;

use super::admission::AdmissionConfig;
use super::*;
use crate::crypto::{self, Ed25519, Signature, Signer};
use crate::id::{Address, Epoch, Key, Name, NetworkId, SessionId, SupernodeId};
use crate::status::Status;
use crate::testing::{certificate_of, certificate_with, ed, handshake_of, name, network_of};
use crate::time::Instant;
use crate::wire::bounded::Bounded;
use crate::wire::grant::Grant;
use crate::wire::removed::{EndMark, Mark, Removed, SignedMark};
use crate::wire::session::{Hello, Location, Locations, Purpose, Reason, Rewire, Role, SupernodeRecord, Supernodes};

const LEASE: Duration = Duration::from_secs(30);
const SECRET: &[u8] = b"open sesame";

const PEER: u8 = 1;
const SUPERNODE: u8 = 2;
const NETWORK: u8 = 3;
const OTHER_NETWORK: u8 = 4;

fn admission_config(secret: Option<&[u8]>) -> Arc<AdmissionConfig> {
    admission_config_of(1, secret)
}

/// Of the supernode with this serial
fn admission_config_of(serial: u64, secret: Option<&[u8]>) -> Arc<AdmissionConfig> {
    Arc::new(AdmissionConfig {
        network: network_of(NETWORK),
        certificate: certificate_with(NETWORK, SUPERNODE, serial),
        secret: secret.map(|secret| Secret::new(secret.to_vec())),
        is_open: true,
        lease: LEASE,
    })
}

fn hello(role: Role, network: Option<NetworkId>, nonce: u8) -> Hello {
    Hello { role, purpose: Purpose::Home, boot: 5, nonce: [nonce; 32], network, grant: None }
}

fn session_id(byte: u8) -> SessionId {
    SessionId([byte; 16])
}

fn grant(session: SessionId, epoch: u64) -> Grant {
    Grant {
        network: network_of(NETWORK),
        name: name("alice"),
        key: ed(PEER).key(),
        address: Address(0x1234 << 48),
        session,
        epoch: Epoch::new(0, epoch),
    }
}

/// Nobody was removed
fn removed() -> Removed {
    let end = EndMark { network: network_of(NETWORK), mark: Mark::default() };
    let end = SignedMark::sign(&end, &ed(SUPERNODE), certificate_of(NETWORK, SUPERNODE));
    Removed { from: Mark::default(), keys: Default::default(), end: end.unwrap() }
}

fn rewire(epoch: u64) -> Rewire {
    Rewire {
        epoch: Epoch::new(0, epoch),
        members: 1,
        degree: 4,
        neighbours: Default::default(),
        apart: Default::default(),
    }
}

/// All supernodes, each with its serial, where it is and its load; the first of them says so
fn list(supernodes: &[(u64, &str, u16)]) -> Supernodes {
    let record = |(id, location, load): &(u64, &str, u16)| SupernodeRecord {
        id: SupernodeId(*id),
        locations: Locations::truncated([Location::truncated(location)]),
        load: *load,
    };
    let home = SupernodeId(supernodes.first().map_or(0, |(id, ..)| *id));
    Supernodes { home, supernodes: Bounded::truncated(supernodes.iter().map(record)) }
}

fn at(seconds: f64) -> Instant {
    Instant::ZERO + Duration::from_secs_f64(seconds)
}

fn texts<const N: usize>(texts: [&str; N]) -> Locations {
    Locations::truncated(texts.into_iter().map(Location::truncated))
}

#[test]
fn secret_is_never_printed() {
    let config = admission_config(Some(SECRET));
    let printed = format!("{config:?}");
    assert!(printed.contains("Secret(11 bytes)") && !printed.contains("sesame") && !printed.contains("111, 112"));
}
