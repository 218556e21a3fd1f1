//! The peer's half alone: one row per (state, input) → outputs and state.

mod joining;
mod scouting;
mod staying;

use super::*;
use crate::crypto::Handshake;
use crate::link::reason::{CloseReason, DialError, DialStage};
use crate::session::membership::{Membership, MembershipConfig, MembershipOutput, Standing};
use crate::wire::grant::SignedGrant;
use crate::wire::packet::{Header, new_packet};
use crate::wire::session::{Challenge, Found, Granted, Listing, LoggedOut, Login, Logout, Refused, Renew, Renewed};
use crate::wire::{Bye, Frame, PacketBytes, WireError, link};

/// Brings a peer into a state
type Start = fn() -> Membership;

const OWN_NONCE: u8 = 0xa0;
const THEIR_NONCE: u8 = 0xb0;

pub(super) fn config() -> MembershipConfig {
    MembershipConfig {
        name: name("alice"),
        supernodes: vec!["one".to_owned()],
        learned: Vec::new(),
        network: None,
        secret: None,
        invite: None,
        external: Locations::new(),
        listening: listening(["192.0.2.7:7401".parse().unwrap()]),
    }
}

fn drain(peer: &mut Membership) -> Vec<MembershipOutput> {
    std::iter::from_fn(|| peer.poll_output()).collect()
}

fn handshake() -> Handshake {
    handshake_of(NETWORK, [PEER, SUPERNODE], [OWN_NONCE, THEIR_NONCE])
}

fn challenge(secret_required: bool) -> Challenge {
    Challenge {
        certificate: certificate_of(NETWORK, SUPERNODE),
        signature: ed(SUPERNODE).sign(&handshake().challenge_bytes()),
        secret_required,
        is_led: true,
    }
}

fn granted(session: u8, epoch: u64) -> Granted {
    let grant =
        SignedGrant::sign(&grant(session_id(session), epoch), &ed(SUPERNODE), certificate_of(NETWORK, SUPERNODE));
    Granted { grant: grant.unwrap(), lease_ms: LEASE.as_millis() as u32, rewire: Box::new(rewire(epoch)) }
}

fn refused(status: Status, retry_after_ms: u32) -> Frame {
    Frame::Refused(Refused { status, reason: Reason::truncated("because"), retry_after_ms })
}

/// A peer that has dialled (dial 1) at time zero
fn nobody_listens() -> DialError {
    DialError::Connect("refused".into())
}

fn dialling(config: MembershipConfig) -> Membership {
    let mut peer = Membership::new(config, 11, Instant::ZERO);
    assert_eq!(peer.next_timeout(), Some(Instant::ZERO));
    peer.handle_timeout(Instant::ZERO);
    assert_eq!(drain(&mut peer), [MembershipOutput::Dial { dial: 1, locations: vec!["one".to_owned()] }]);
    peer
}

fn open(peer: &mut Membership, dial: u64) {
    let hello = hello(Role::Supernode, Some(network_of(NETWORK)), THEIR_NONCE);
    peer.handle_opened(Instant::ZERO, dial, ed(SUPERNODE).key(), [OWN_NONCE; 32], &hello);
}

fn greeted(config: MembershipConfig) -> Membership {
    let mut peer = dialling(config);
    open(&mut peer, 1);
    assert_eq!(drain(&mut peer), []);
    peer
}

fn asked(config: MembershipConfig) -> Membership {
    let mut peer = greeted(config);
    feed(&mut peer, Frame::Challenge(challenge(false)));
    let outputs = drain(&mut peer);
    assert!(matches!(outputs.as_slice(), [MembershipOutput::Send { dial: 1, frame: Frame::Login(_) }]), "{outputs:?}");
    peer
}

/// A peer that logged in at time zero: session 7, epoch 10
fn logged_in() -> Membership {
    let mut peer = asked(config());
    feed(&mut peer, Frame::Granted(granted(7, 10)));
    let outputs = drain(&mut peer);
    let expected = matches!(outputs.as_slice(), [MembershipOutput::PinNetwork(_), MembershipOutput::LoggedIn { .. }]);
    assert!(expected, "{outputs:?}");
    peer
}

fn logging_out() -> Membership {
    let mut peer = logged_in();
    peer.handle_logout(Instant::ZERO);
    let frame = Frame::Logout(Logout { session: session_id(7) });
    assert_eq!(drain(&mut peer), [MembershipOutput::Send { dial: 1, frame }]);
    peer
}

fn feed(peer: &mut Membership, frame: Frame) {
    feed_at(peer, Instant::ZERO, frame);
}

fn feed_at(peer: &mut Membership, now: Instant, frame: Frame) {
    peer.handle_frame(now, 1, frame, &ed(PEER));
}

/// The state in one word
fn word(peer: &Membership) -> &'static str {
    match peer.standing() {
        Standing::LoggedOut { .. } => "out",
        Standing::Searching { .. } => "searching",
        Standing::Joining { .. } => "joining",
        Standing::LoggedIn { .. } => "in",
        Standing::LoggingOut { .. } => "leaving",
    }
}

/// What an output is, in one word
fn kind(output: &MembershipOutput) -> &'static str {
    match output {
        MembershipOutput::Dial { .. } => "dial",
        MembershipOutput::Send { .. } => "send",
        MembershipOutput::Close { .. } => "close",
        MembershipOutput::PinNetwork(_) => "pin",
        MembershipOutput::LoggedIn { .. } => "logged in",
        MembershipOutput::Rewired(_) => "rewired",
        MembershipOutput::Found(_) => "found",
        MembershipOutput::Listing(_) => "listing",
        MembershipOutput::Removed(_) => "removed",
        MembershipOutput::Supernodes(_) => "supernodes",
        MembershipOutput::Lost { .. } => "lost",
        MembershipOutput::Refused { .. } => "refused",
        MembershipOutput::LoggedOut { .. } => "logged out",
    }
}

/// The setback that people see, and the wait until the next try
fn searching(peer: &Membership) -> (Status, String, Duration) {
    match peer.standing() {
        Standing::Searching { status, reason, next_try: Some(at), .. } => {
            (status, reason.to_string(), at - Instant::ZERO)
        }
        other => panic!("{other:?}"),
    }
}

fn samples() -> Vec<Frame> {
    let header = Header { ttl: 4, ..Header::new(Address(2), Address(1), 3) };
    let packet = PacketBytes::new(new_packet(&header, b"").unwrap()).unwrap();
    vec![
        Frame::Hello(hello(Role::Supernode, None, 1)),
        Frame::Bye(Bye { status: Status::Unavailable, reason: Reason::truncated("closing") }),
        Frame::Challenge(challenge(false)),
        Frame::Granted(granted(7, 10)),
        refused(Status::Conflict, 0),
        Frame::Renewed(Renewed { session: session_id(7), epoch: Epoch::new(0, 10), is_cut_off: false }),
        Frame::Rewire(rewire(11)),
        Frame::LoggedOut(LoggedOut { session: session_id(7) }),
        Frame::Found(Found { query: 1, status: Status::NotFound, record: None, index: 0, is_stale: false }),
        Frame::Listing(Listing::refused(1, Status::SlowDown)),
        Frame::Removed(removed()),
        Frame::Supernodes(list(&[(9, "nine", 0)])),
        Frame::Packet(packet.clone()),
        Frame::Relay(packet),
        Frame::Logout(Logout { session: session_id(7) }),
        Frame::Probe(link::Probe { sequence: 1 }),
    ]
}

/// One row a state, one column a frame: the outputs, the state after it, `!` where it counts as a violation
#[test]
fn membership_transitions() {
    let states: [(&str, Start); 6] = [
        ("searching", || {
            let mut peer = dialling(config());
            peer.handle_dial_failed(Instant::ZERO, 1, &nobody_listens());
            peer
        }),
        ("dialling", || dialling(config())),
        ("greeted", || greeted(config())),
        ("asked", || asked(config())),
        ("logged in", logged_in),
        ("logging out", logging_out),
    ];
    let table: Vec<String> = states
        .iter()
        .map(|(state, start)| {
            let row: Vec<String> = samples()
                .into_iter()
                .map(|frame| {
                    let (mut peer, of) = (start(), format!("{:?}", frame.kind()));
                    feed(&mut peer, frame);
                    let outputs: Vec<&str> = drain(&mut peer).iter().map(kind).collect();
                    let mark = if peer.violations() > 0 { "!" } else { "" };
                    format!("{of}: {}{mark} {}", outputs.join(" "), word(&peer))
                })
                .collect();
            format!("{state} | {}", row.join(" | "))
        })
        .collect();
    let expected = [
        "searching | Hello:  searching | Bye:  searching | Challenge:  searching | Granted:  searching | \
         Refused:  searching | Renewed:  searching | Rewire:  searching | LoggedOut:  searching | Found:  searching | Listing:  searching | Removed:  searching | Supernodes:  searching | \
         Packet:  searching | Relay:  searching | Logout:  searching | Probe:  searching",
        "dialling | Hello: close refused! searching | Bye: close refused searching | \
         Challenge: close refused! searching | Granted: close refused! searching | Refused: close refused searching | \
         Renewed: close refused! searching | Rewire: close refused! searching | LoggedOut: close refused! searching | \
         Found: close refused! searching | Listing: close refused! searching | Removed: close refused! searching | Supernodes: close refused! searching | Packet: close refused! searching | Relay: close refused! searching | \
         Logout: close refused! searching | Probe:  joining",
        "greeted | Hello: close refused! searching | Bye: close refused searching | Challenge: send joining | \
         Granted: close refused! searching | Refused: close refused searching | Renewed: close refused! searching | \
         Rewire: close refused! searching | LoggedOut: close refused! searching | Found: close refused! searching | Listing: close refused! searching | Removed: close refused! searching | Supernodes: close refused! searching | \
         Packet: close refused! searching | Relay: close refused! searching | Logout: close refused! searching | \
         Probe:  joining",
        "asked | Hello: close refused! searching | Bye: close refused searching | \
         Challenge: close refused! searching | Granted: pin logged in in | Refused: close refused searching | \
         Renewed: close refused! searching | Rewire: close refused! searching | LoggedOut: close refused! searching | \
         Found: close refused! searching | Listing: close refused! searching | Removed: close refused! searching | Supernodes: close refused! searching | Packet: close refused! searching | Relay: close refused! searching | \
         Logout: close refused! searching | Probe:  joining",
        "logged in | Hello: close lost! searching | Bye: close lost searching | Challenge: close lost! searching | \
         Granted: close lost! searching | Refused: close lost searching | Renewed: close lost! searching | \
         Rewire: rewired in | LoggedOut: close lost! searching | Found: found in | Listing: listing in | Removed: removed in | Supernodes: supernodes in | Packet: close lost! searching | \
         Relay: close lost! searching | Logout: close lost! searching | Probe:  in",
        "logging out | Hello: close logged out! out | Bye: close logged out out | Challenge: close logged out! out | \
         Granted: close logged out! out | Refused: close logged out out | Renewed:  leaving | Rewire:  leaving | \
         LoggedOut: close logged out out | Found:  leaving | Listing:  leaving | Removed:  leaving | Supernodes:  leaving | Packet: close logged out! out | Relay: close logged out! out | \
         Logout: close logged out! out | Probe:  leaving",
    ];
    assert_eq!(table.len(), expected.len());
    for (row, expected) in table.iter().zip(expected) {
        assert_eq!(row, expected);
    }
}
