//! The peer's half alone: one row per (state, input) → outputs and state.

use super::*;
use crate::crypto::Handshake;
use crate::session::membership::{Membership, MembershipConfig, MembershipOutput, SUPERNODES_MAX, Standing};
use crate::wire::grant::SignedGrant;
use crate::wire::packet::{Class, Header, new_packet};
use crate::wire::session::{Challenge, Found, Granted, LoggedOut, Login, Logout, Refused, Renew, Renewed};
use crate::wire::{Bye, Frame, PacketBytes, VERSION, link};

/// Brings a peer into a state
type Start = fn() -> Membership;

const OWN_NONCE: u8 = 0xa0;
const THEIR_NONCE: u8 = 0xb0;

pub(super) fn config() -> MembershipConfig {
    MembershipConfig {
        name: name("alice"),
        supernodes: vec!["one".to_owned()],
        network: None,
        secret: None,
        external: Locations::new(),
        listen_port: 7401,
    }
}

fn drain(peer: &mut Membership) -> Vec<MembershipOutput> {
    std::iter::from_fn(|| peer.poll_output()).collect()
}

fn handshake() -> Handshake {
    Handshake {
        peer_nonce: [OWN_NONCE; 32],
        supernode_nonce: [THEIR_NONCE; 32],
        peer: ed(PEER).key(),
        supernode: ed(SUPERNODE).key(),
        network: network(NETWORK),
        version: VERSION,
    }
}

fn challenge(secret_required: bool) -> Challenge {
    Challenge {
        certificate: certificate(NETWORK, SUPERNODE),
        signature: ed(SUPERNODE).sign(&handshake().challenge_bytes()),
        secret_required,
    }
}

fn granted(session: u8, epoch: u64) -> Granted {
    let grant = SignedGrant::sign(&grant(session_id(session), epoch), &ed(SUPERNODE), certificate(NETWORK, SUPERNODE));
    Granted { grant: grant.unwrap(), lease_ms: LEASE.as_millis() as u32, rewire: rewire(epoch) }
}

fn refused(status: Status, retry_after_ms: u32) -> Frame {
    Frame::Refused(Refused { status, reason: Reason::truncated("because"), retry_after_ms })
}

/// A peer that has dialled (attempt 1) at time zero
fn dialling(config: MembershipConfig) -> Membership {
    let mut peer = Membership::new(config, 11, Instant::ZERO);
    assert_eq!(peer.next_timeout(), Some(Instant::ZERO));
    peer.handle_timeout(Instant::ZERO);
    assert_eq!(drain(&mut peer), [MembershipOutput::Dial { attempt: 1, supernode: "one".to_owned() }]);
    peer
}

fn open(peer: &mut Membership, attempt: u64) {
    let hello = hello(Role::Supernode, Some(network(NETWORK)), THEIR_NONCE);
    peer.handle_opened(Instant::ZERO, attempt, ed(SUPERNODE).key(), [OWN_NONCE; 32], &hello);
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
    assert!(
        matches!(outputs.as_slice(), [MembershipOutput::Send { attempt: 1, frame: Frame::Login(_) }]),
        "{outputs:?}"
    );
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
    assert_eq!(drain(&mut peer), [MembershipOutput::Send { attempt: 1, frame }]);
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
    let header = Header {
        destination: Address(1),
        source: Address(2),
        id: 3,
        ttl: 4,
        class: Class::Data,
        congested: false,
        traced: false,
    };
    let packet = PacketBytes::new(new_packet(&header, b"").unwrap()).unwrap();
    vec![
        Frame::Hello(hello(Role::Supernode, None, 1)),
        Frame::Bye(Bye { status: Status::Unavailable, reason: Reason::truncated("closing") }),
        Frame::Challenge(challenge(false)),
        Frame::Granted(granted(7, 10)),
        refused(Status::Conflict, 0),
        Frame::Renewed(Renewed { session: session_id(7), epoch: Epoch(10) }),
        Frame::Rewire(rewire(11)),
        Frame::LoggedOut(LoggedOut { session: session_id(7) }),
        Frame::Found(Found { query: 1, status: Status::NotFound, record: None }),
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
            peer.handle_dial_failed(Instant::ZERO, 1, Status::Unavailable, "refused");
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
         Refused:  searching | Renewed:  searching | Rewire:  searching | LoggedOut:  searching | Found:  searching | \
         Packet:  searching | Relay:  searching | Logout:  searching | Probe:  searching",
        "dialling | Hello: close refused! searching | Bye: close refused searching | \
         Challenge: close refused! searching | Granted: close refused! searching | Refused: close refused searching | \
         Renewed: close refused! searching | Rewire: close refused! searching | LoggedOut: close refused! searching | \
         Found: close refused! searching | Packet: close refused! searching | Relay: close refused! searching | \
         Logout: close refused! searching | Probe:  joining",
        "greeted | Hello: close refused! searching | Bye: close refused searching | Challenge: send joining | \
         Granted: close refused! searching | Refused: close refused searching | Renewed: close refused! searching | \
         Rewire: close refused! searching | LoggedOut: close refused! searching | Found: close refused! searching | \
         Packet: close refused! searching | Relay: close refused! searching | Logout: close refused! searching | \
         Probe:  joining",
        "asked | Hello: close refused! searching | Bye: close refused searching | \
         Challenge: close refused! searching | Granted: pin logged in in | Refused: close refused searching | \
         Renewed: close refused! searching | Rewire: close refused! searching | LoggedOut: close refused! searching | \
         Found: close refused! searching | Packet: close refused! searching | Relay: close refused! searching | \
         Logout: close refused! searching | Probe:  joining",
        "logged in | Hello: close lost! searching | Bye: close lost searching | Challenge: close lost! searching | \
         Granted: close lost! searching | Refused: close lost searching | Renewed: close lost! searching | \
         Rewire: rewired in | LoggedOut: close lost! searching | Found: found in | Packet: close lost! searching | \
         Relay: close lost! searching | Logout: close lost! searching | Probe:  in",
        "logging out | Hello: close logged out! out | Bye: close logged out out | Challenge: close logged out! out | \
         Granted: close logged out! out | Refused: close logged out out | Renewed:  leaving | Rewire:  leaving | \
         LoggedOut: close logged out out | Found:  leaving | Packet: close logged out! out | Relay: close logged out! out | \
         Logout: close logged out! out | Probe:  leaving",
    ];
    assert_eq!(table.len(), expected.len());
    for (row, expected) in table.iter().zip(expected) {
        assert_eq!(row, expected);
    }
}

#[test]
fn login_is_signed_over_both_nonces_and_keys() {
    let mut peer = greeted(config());
    feed(&mut peer, Frame::Challenge(challenge(false)));
    let login = Login {
        name: name("alice"),
        signature: ed(PEER).sign(&handshake().login_bytes(&name("alice"))),
        secret_proof: None,
        external: Locations::new(),
        listen_port: 7401,
        resume: None,
    };
    assert_eq!(drain(&mut peer), [MembershipOutput::Send { attempt: 1, frame: Frame::Login(login) }]);
}

#[test]
fn port_that_the_system_chose_late_is_in_the_next_login() {
    let mut peer = greeted(config());
    peer.handle_listening(7999);
    feed(&mut peer, Frame::Challenge(challenge(false)));
    let outputs = drain(&mut peer);
    let [MembershipOutput::Send { frame: Frame::Login(login), .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(login.listen_port, 7999);
}

#[test]
fn supernode_that_proves_nothing_gets_no_login() {
    let other_key = Challenge { certificate: certificate(NETWORK, PEER), ..challenge(false) };
    let forged = Challenge { signature: Signature([7; 64]), ..challenge(false) };
    let stale = Handshake { peer_nonce: [0; 32], ..handshake() };
    let stale = Challenge { signature: ed(SUPERNODE).sign(&stale.challenge_bytes()), ..challenge(false) };
    let cases = [
        (other_key, "the supernode's certificate: it names another key"),
        (forged, "the supernode's signature under its challenge is wrong"),
        (stale, "the supernode's signature under its challenge is wrong"),
    ];
    for (challenge, expected) in cases {
        let mut peer = greeted(config());
        feed(&mut peer, Frame::Challenge(challenge));
        assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "refused"]);
        let (status, reason, _) = searching(&peer);
        assert_eq!((status, reason.as_str()), (Status::NotAllowed, expected));
    }
}

#[test]
fn certificate_of_another_network_is_refused_with_both_names() {
    let pinned = MembershipConfig { network: Some(network(OTHER_NETWORK)), ..config() };
    let mut peer = greeted(pinned);
    feed(&mut peer, Frame::Challenge(challenge(false)));
    let outputs = drain(&mut peer);
    let expected = format!(
        "the supernode is of network {}, and this peer of network {}",
        network(NETWORK),
        network(OTHER_NETWORK)
    );
    let [MembershipOutput::Close { status: Status::NotAllowed, .. }, MembershipOutput::Refused { status, reason, .. }] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!((*status, &**reason), (Status::NotAllowed, expected.as_str()));
}

#[test]
fn network_of_the_first_login_is_pinned_for_all_later_ones() {
    let mut peer = logged_in();
    assert_eq!(peer.network(), Some(network(NETWORK)));
    peer.handle_closed(Instant::ZERO, 1, Status::Unavailable, "reset");
    peer.handle_timeout(at(1.0));
    drain(&mut peer);
    open(&mut peer, 2);
    let other = Handshake { network: network(OTHER_NETWORK), ..handshake() };
    let other = Challenge {
        certificate: certificate(OTHER_NETWORK, SUPERNODE),
        signature: ed(SUPERNODE).sign(&other.challenge_bytes()),
        secret_required: false,
    };
    peer.handle_frame(Instant::ZERO, 2, Frame::Challenge(other), &ed(PEER));
    assert!(searching(&peer).1.starts_with("the supernode is of network"));
}

#[test]
fn a_failed_login_pins_nothing() {
    let mut peer = asked(config());
    feed(&mut peer, refused(Status::Conflict, 0));
    assert_eq!(peer.network(), None);
}

#[test]
fn peer_is_no_supernode() {
    let mut peer = dialling(config());
    let hello = hello(Role::Peer, None, THEIR_NONCE);
    peer.handle_opened(Instant::ZERO, 1, ed(SUPERNODE).key(), [OWN_NONCE; 32], &hello);
    assert_eq!(searching(&peer).1, "one is not a supernode");
}

#[test]
fn secret_is_proved_only_to_a_network_that_wants_it() {
    let with_secret = || MembershipConfig { secret: Some(Secret::new(SECRET.to_vec())), ..config() };
    for (required, expected) in [(true, Some(handshake().secret_proof(SECRET))), (false, None)] {
        let mut peer = greeted(with_secret());
        feed(&mut peer, Frame::Challenge(challenge(required)));
        let outputs = drain(&mut peer);
        let [MembershipOutput::Send { frame: Frame::Login(login), .. }] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(login.secret_proof, expected);
    }
    let mut peer = greeted(config());
    feed(&mut peer, Frame::Challenge(challenge(true)));
    let (status, reason, wait) = searching(&peer);
    assert_eq!(status, Status::NotAllowed);
    assert_eq!(reason, "the network wants its secret proved, and none is configured");
    assert!(wait >= Duration::from_secs(8));
}

#[test]
fn grant_for_somebody_else_is_refused() {
    let sign = |grant: &Grant| SignedGrant::sign(grant, &ed(SUPERNODE), certificate(NETWORK, SUPERNODE)).unwrap();
    let ours = grant(session_id(7), 10);
    let cases = [
        (sign(&Grant { key: ed(9).key(), ..ours.clone() }), "the supernode's grant: it names another key"),
        (sign(&Grant { name: name("bob"), ..ours.clone() }), "the supernode's grant: it names another key"),
        (
            SignedGrant::sign(&ours, &ed(9), certificate(NETWORK, SUPERNODE)).unwrap(),
            "the supernode's grant: its signature is wrong",
        ),
        (
            SignedGrant::sign(&ours, &ed(SUPERNODE), certificate(OTHER_NETWORK, SUPERNODE)).unwrap(),
            "the supernode's grant: it belongs to another network",
        ),
    ];
    for (signed, expected) in cases {
        let mut peer = asked(config());
        feed(&mut peer, Frame::Granted(Granted { grant: signed, ..granted(7, 10) }));
        assert_eq!(searching(&peer).1, expected);
        assert_eq!(peer.network(), None);
    }
}

/// Status, retry-after in ms → the bounds of the wait in ms
#[test]
fn refusals_decide_when_the_peer_comes_again() {
    let cases = [
        (Status::Conflict, 0, 8_000..=12_000),
        (Status::NotAllowed, 0, 8_000..=12_000),
        (Status::NotFound, 0, 8_000..=12_000),
        (Status::VersionNotSupported, 0, 8_000..=12_000),
        (Status::Conflict, 3_000, 3_000..=4_500),
        (Status::SlowDown, 2_000, 2_000..=3_000),
        (Status::Unavailable, 800, 800..=1_300),
        (Status::Unavailable, 0, 500..=1_500),
        (Status::SlowDown, u32::MAX, 60_000..=90_000),
    ];
    for (status, retry_after_ms, bounds) in cases {
        let mut peer = asked(config());
        feed(&mut peer, refused(status, retry_after_ms));
        let (seen, reason, wait) = searching(&peer);
        assert_eq!((seen, reason.as_str()), (status, "because"));
        assert!(bounds.contains(&wait.as_millis()), "{status}: {wait:?} not in {bounds:?}");
        let outputs = drain(&mut peer);
        assert!(
            matches!(outputs[..], [MembershipOutput::Close { .. }, MembershipOutput::Refused { retry, .. }] if retry == wait)
        );
    }
}

#[test]
fn peers_that_are_refused_together_come_back_apart() {
    let waits = (0..200).map(|seed| {
        let mut peer = Membership::new(config(), seed, Instant::ZERO);
        peer.handle_timeout(Instant::ZERO);
        open(&mut peer, 1);
        feed(&mut peer, refused(Status::Unavailable, 4_000));
        searching(&peer).2.as_millis() / 200
    });
    let slots: std::collections::BTreeSet<u128> = waits.collect();
    assert_eq!(slots.len(), 10, "all fifths of a second from 4 s to 6 s are used");
}

#[test]
fn good_bye_of_another_version_is_shown_as_426() {
    let mut peer = dialling(config());
    peer.handle_dial_failed(Instant::ZERO, 1, Status::VersionNotSupported, "version 2 of the protocol");
    let (status, reason, wait) = searching(&peer);
    assert_eq!((status, reason.as_str()), (Status::VersionNotSupported, "one refuses: version 2 of the protocol"));
    assert!(wait >= Duration::from_secs(8));
    let mut peer = greeted(config());
    feed(&mut peer, Frame::Bye(bye_for(WireError::Version(2))));
    assert_eq!(searching(&peer).0, Status::VersionNotSupported);
}

#[test]
fn renewals_go_out_every_third_of_the_lease_with_the_epoch_of_the_table() {
    let mut peer = logged_in();
    feed(&mut peer, Frame::Rewire(rewire(12)));
    drain(&mut peer);
    let mut sent = Instant::ZERO;
    for _ in 0..20 {
        let due = peer.next_timeout().unwrap();
        assert!((9.0..=10.0).contains(&(due - sent).as_secs_f64()), "{sent:?} → {due:?}");
        peer.handle_timeout(due);
        let frame = Frame::Renew(Renew { session: session_id(7), epoch: Epoch(12) });
        assert_eq!(drain(&mut peer), [MembershipOutput::Send { attempt: 1, frame }]);
        feed_at(&mut peer, due, Frame::Renewed(Renewed { session: session_id(7), epoch: Epoch(12) }));
        assert_eq!(drain(&mut peer), []);
        sent = due;
    }
}

#[test]
fn unanswered_renewal_loses_the_link_after_a_third_of_the_lease() {
    let mut peer = logged_in();
    let due = peer.next_timeout().unwrap();
    peer.handle_timeout(due);
    let until = peer.next_timeout().unwrap();
    assert_eq!(until - due, LEASE / 3);
    drain(&mut peer);
    peer.handle_timeout(until);
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "lost"]);
    assert_eq!(searching(&peer).1, "one did not answer a renewal for 10.0 s");
    assert!(peer.next_timeout().unwrap() - until <= Duration::from_millis(500));
}

#[test]
fn paused_peer_asks_once_more_before_it_gives_its_link_up() {
    let mut peer = logged_in();
    peer.handle_timeout(at(10.0));
    drain(&mut peer);
    peer.handle_timeout(at(300.0));
    let outputs = drain(&mut peer);
    assert!(matches!(outputs[..], [MembershipOutput::Send { frame: Frame::Renew(_), .. }]), "{outputs:?}");
    peer.handle_timeout(at(900.0));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "lost"]);
}

#[test]
fn older_rewires_are_ignored() {
    let mut peer = logged_in();
    for (epoch, expected) in [(10, 0), (9, 0), (11, 1), (11, 0), (10, 0), (12, 1)] {
        feed(&mut peer, Frame::Rewire(rewire(epoch)));
        assert_eq!(drain(&mut peer).len(), expected, "epoch {epoch}");
    }
}

#[test]
fn ended_session_is_not_resumed() {
    let mut peer = logged_in();
    feed(&mut peer, refused(Status::NotLoggedIn, 0));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "lost"]);
    let again = searching(&peer).2;
    assert!(again <= Duration::from_millis(500));
    peer.handle_timeout(Instant::ZERO + again);
    open(&mut peer, 2);
    peer.handle_frame(Instant::ZERO, 2, Frame::Challenge(challenge(false)), &ed(PEER));
    let outputs = drain(&mut peer);
    assert!(
        matches!(&outputs[..], [.., MembershipOutput::Send { frame: Frame::Login(login), .. }] if login.resume.is_none()),
        "{outputs:?}"
    );
}

#[test]
fn session_of_the_newest_login_is_renewed() {
    let mut peer = logged_in();
    peer.handle_closed(Instant::ZERO, 1, Status::Unavailable, "reset");
    let again = Instant::ZERO + searching(&peer).2;
    peer.handle_timeout(again);
    open(&mut peer, 2);
    peer.handle_frame(again, 2, Frame::Challenge(challenge(false)), &ed(PEER));
    peer.handle_frame(again, 2, Frame::Granted(granted(8, 20)), &ed(PEER));
    drain(&mut peer);
    peer.handle_timeout(peer.next_timeout().unwrap());
    let frame = Frame::Renew(Renew { session: session_id(8), epoch: Epoch(20) });
    assert_eq!(drain(&mut peer), [MembershipOutput::Send { attempt: 2, frame }]);
}

#[test]
fn absurd_leases_are_brought_into_bounds() {
    for (lease_ms, expected) in [(0, LEASE_MIN), (u32::MAX, LEASE_MAX), (10_000, Duration::from_secs(10))] {
        let mut peer = asked(config());
        feed(&mut peer, Frame::Granted(Granted { lease_ms, ..granted(7, 10) }));
        assert!(
            drain(&mut peer)
                .iter()
                .any(|o| matches!(o, MembershipOutput::LoggedIn { lease, .. } if *lease == expected))
        );
    }
}

#[test]
fn unconfirmed_logout_is_over_after_two_seconds() {
    let mut peer = logging_out();
    assert_eq!(peer.next_timeout(), Some(at(2.0)));
    peer.handle_timeout(at(1.9));
    assert_eq!(drain(&mut peer), []);
    peer.handle_timeout(at(2.0));
    let reason = Reason::truncated("logged out; the supernode did not confirm it within 2 s");
    assert_eq!(drain(&mut peer)[1], MembershipOutput::LoggedOut { reason });
    assert_eq!(peer.next_timeout(), None);
}

#[test]
fn logout_is_over_at_once_in_every_other_state() {
    let states: [(Start, &[&str]); 3] = [
        (|| Membership::new(config(), 1, Instant::ZERO), &["logged out"]),
        (|| dialling(config()), &["close", "logged out"]),
        (|| greeted(config()), &["close", "logged out"]),
    ];
    for (start, expected) in states {
        let mut peer = start();
        peer.handle_logout(Instant::ZERO);
        assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), expected);
        assert_eq!((word(&peer), peer.next_timeout()), ("out", None));
        peer.handle_logout(Instant::ZERO);
        assert_eq!(drain(&mut peer), []);
        peer.handle_login(at(5.0));
        assert_eq!(peer.next_timeout(), Some(at(5.0)));
    }
}

#[test]
fn logout_during_a_login_ends_the_session_that_the_grant_names() {
    let mut peer = asked(config());
    peer.handle_logout(Instant::ZERO);
    assert_eq!(drain(&mut peer), []);
    feed(&mut peer, Frame::Granted(granted(9, 10)));
    let frame = Frame::Logout(Logout { session: session_id(9) });
    assert_eq!(drain(&mut peer), [MembershipOutput::Send { attempt: 1, frame }]);
    feed(&mut peer, Frame::LoggedOut(LoggedOut { session: session_id(9) }));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "logged out"]);
}

#[test]
fn login_during_a_logout_follows_it() {
    let mut peer = logging_out();
    peer.handle_login(Instant::ZERO);
    feed(&mut peer, Frame::LoggedOut(LoggedOut { session: session_id(7) }));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "logged out"]);
    assert_eq!(peer.next_timeout(), Some(Instant::ZERO));
    let mut peer = logging_out();
    peer.handle_login(Instant::ZERO);
    peer.handle_logout(Instant::ZERO);
    peer.handle_closed(Instant::ZERO, 1, Status::Unavailable, "reset");
    assert_eq!(word(&peer), "out");
}

#[test]
fn link_of_a_dial_that_was_given_up_is_closed() {
    let mut peer = dialling(config());
    peer.handle_timeout(Instant::ZERO + DIAL_WAIT);
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
    open(&mut peer, 1);
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
    assert_eq!(word(&peer), "searching");
}

#[test]
fn events_of_an_old_attempt_change_nothing() {
    let mut peer = dialling(config());
    peer.handle_dial_failed(Instant::ZERO, 1, Status::Unavailable, "refused");
    peer.handle_timeout(at(2.0));
    drain(&mut peer);
    peer.handle_closed(at(2.0), 1, Status::Unavailable, "late");
    peer.handle_dial_failed(at(2.0), 1, Status::Unavailable, "twice");
    peer.handle_frame(at(2.0), 1, Frame::Granted(granted(7, 10)), &ed(PEER));
    assert_eq!(drain(&mut peer), []);
    assert_eq!((word(&peer), peer.violations()), ("joining", 0));
}

#[test]
fn silence_in_any_step_of_a_login_is_given_up_with_its_reason() {
    let steps: [(Start, f64, &str); 3] = [
        (|| dialling(config()), 16.0, "one does not answer the dial"),
        (|| greeted(config()), 5.0, "one sent no challenge within 5 s"),
        (|| asked(config()), 10.0, "one did not answer the login within 10 s"),
    ];
    for (start, seconds, expected) in steps {
        let mut peer = start();
        assert_eq!(peer.next_timeout(), Some(at(seconds)));
        peer.handle_timeout(at(seconds));
        assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
        let (status, reason, _) = searching(&peer);
        assert_eq!((status, reason.as_str()), (Status::Unavailable, expected));
    }
}

#[test]
fn supernodes_are_tried_in_turn() {
    let supernodes = ["a", "b", "c"].map(str::to_owned).to_vec();
    let mut peer = Membership::new(MembershipConfig { supernodes, ..config() }, 3, Instant::ZERO);
    let mut dialled = Vec::new();
    for attempt in 1..=6 {
        let now = peer.next_timeout().unwrap();
        peer.handle_timeout(now);
        let outputs = drain(&mut peer);
        let [MembershipOutput::Dial { supernode, .. }] = &outputs[..] else { panic!("{outputs:?}") };
        dialled.push(supernode.clone());
        peer.handle_dial_failed(now, attempt, Status::Unavailable, "refused");
    }
    assert_eq!(dialled[..3], dialled[3..]);
    dialled.sort();
    assert_eq!(dialled, ["a", "a", "b", "b", "c", "c"]);
}

#[test]
fn supernodes_beyond_the_bound_are_left_out() {
    let supernodes: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    let mut peer = Membership::new(MembershipConfig { supernodes, ..config() }, 3, Instant::ZERO);
    let mut dialled = std::collections::BTreeSet::new();
    for attempt in 1..=100 {
        let now = peer.next_timeout().unwrap();
        peer.handle_timeout(now);
        dialled
            .extend(drain(&mut peer).into_iter().map(|output| format!("{output:?}").replace(&attempt.to_string(), "")));
        peer.handle_dial_failed(now, attempt, Status::Unavailable, "refused");
    }
    assert!(dialled.len() <= 2 * SUPERNODES_MAX);
    assert!(!dialled.iter().any(|output| output.contains("\"39\"")));
}

#[test]
fn peer_without_supernodes_says_so_and_waits() {
    let peer = Membership::new(MembershipConfig { supernodes: Vec::new(), ..config() }, 3, Instant::ZERO);
    assert_eq!(peer.next_timeout(), None);
    let reason = Reason::truncated("no supernode is configured");
    let status = Status::Unavailable;
    assert_eq!(peer.standing(), Standing::Searching { status, reason, attempt: 0, next_try: None });
}
