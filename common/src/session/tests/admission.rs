//! The supernode's half alone: one row per (state, input) → outputs and state.

use super::*;
use crate::crypto::Handshake;
use crate::session::admission::Entitlement;
use crate::session::admission::{
    Admission, AdmissionOutput, LIST_INTERVAL, LISTS_BURST, LOGIN_INTERVAL_MIN, LOGIN_WAIT, LOGINS_MAX, LoginRequest,
    PROPOSAL_WAIT, RELAY_INTERVAL, RELAYS_BURST, REPORT_INTERVAL, REPORTS_BURST, REQUEST_INTERVAL, REQUESTS_BURST,
    Refusal,
};
use crate::wire::grant::SignedGrant;
use crate::wire::packet::{Header, new_packet};
use crate::wire::removed::AskRemoved;
use crate::wire::session::{
    Found, Granted, List, Listing, LoggedOut, Login, Logout, LookUp, Refused, Renew, Renewed, Report, Subject, Which,
};
use crate::wire::{Bye, Frame, PacketBytes, VERSION, link};

/// Brings an admission into a state
type Start = fn() -> Admission;

const PEER_NONCE: u8 = 0xa0;
const OWN_NONCE: u8 = 0xb0;

fn drain(admission: &mut Admission) -> Vec<AdmissionOutput> {
    std::iter::from_fn(|| admission.poll_output()).collect()
}

fn handshake() -> Handshake {
    handshake_of(NETWORK, [PEER, SUPERNODE], [PEER_NONCE, OWN_NONCE])
}

fn login() -> Login {
    Login {
        name: name("alice"),
        signature: ed(PEER).sign(&handshake().login_bytes(&name("alice"))),
        secret_proof: None,
        external: Locations::new(),
        listening: listening(["192.0.2.7:7401".parse().unwrap()]),
        resume: None,
        invite: None,
    }
}

fn fresh(secret: Option<&[u8]>) -> Admission {
    Admission::new(admission_config(secret), "192.0.2.7".parse().ok())
}

fn challenged(secret: Option<&[u8]>) -> Admission {
    let mut admission = fresh(secret);
    let hello = hello(Role::Peer, None, PEER_NONCE);
    admission.handle_opened(Instant::ZERO, ed(PEER).key(), [OWN_NONCE; 32], &hello, &ed(SUPERNODE), true);
    let outputs = drain(&mut admission);
    let [AdmissionOutput::Send(Frame::Challenge(challenge))] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(challenge.secret_required, secret.is_some());
    assert!(crypto::verify(&ed(SUPERNODE).key(), &handshake().challenge_bytes(), &challenge.signature));
    admission
}

fn proposed() -> Admission {
    let mut admission = challenged(None);
    admission.handle_frame(Instant::ZERO, Frame::Login(login()), &Ed25519);
    let request = LoginRequest {
        name: name("alice"),
        key: ed(PEER).key(),
        boot: 5,
        locations: texts(["/ip4/192.0.2.7/tcp/7401"]),
        resume: None,
        from: "192.0.2.7".parse().ok(),
        until: Instant::ZERO + LOGIN_WAIT,
        entitlement: Entitlement::Anybody,
    };
    assert_eq!(drain(&mut admission), [AdmissionOutput::Propose(request)]);
    admission
}

/// An admission whose peer logged in at time zero: session 7, epoch 10
fn logged_in() -> Admission {
    let mut admission = proposed();
    let grant = grant(session_id(7), 10);
    admission.handle_granted(&grant, rewire(10), &ed(SUPERNODE));
    let signed = SignedGrant::sign(&grant, &ed(SUPERNODE), certificate_of(NETWORK, SUPERNODE)).unwrap();
    let granted = Granted { grant: signed, lease_ms: 30_000, rewire: Box::new(rewire(10)) };
    assert_eq!(drain(&mut admission), [AdmissionOutput::Send(Frame::Granted(granted))]);
    assert_eq!(admission.session(), Some(session_id(7)));
    admission
}

fn logging_out() -> Admission {
    let mut admission = logged_in();
    admission.handle_frame(Instant::ZERO, Frame::Logout(Logout { session: session_id(7) }), &Ed25519);
    assert_eq!(drain(&mut admission), [AdmissionOutput::LogOut { session: session_id(7) }]);
    assert_eq!(admission.session(), None);
    admission
}

fn look_up(query: u64) -> Frame {
    Frame::LookUp(LookUp { query, ttl: 0, subject: Subject::Name(name("bob")), may_be_stale: false })
}

fn kind(output: &AdmissionOutput) -> String {
    match output {
        AdmissionOutput::Send(frame) => format!("send {:?}", frame.kind()),
        AdmissionOutput::Close { status, .. } => format!("close {}", status.code()),
        AdmissionOutput::Propose(_) => "propose".to_owned(),
        AdmissionOutput::Renew { .. } => "renew".to_owned(),
        AdmissionOutput::LogOut { .. } => "log out".to_owned(),
        AdmissionOutput::LookUp(_) => "look up".to_owned(),
        AdmissionOutput::List(_) => "list".to_owned(),
        AdmissionOutput::AskRemoved(_) => "removed".to_owned(),
        AdmissionOutput::Report(_) => "report".to_owned(),
        AdmissionOutput::Relay(_) => "relay".to_owned(),
        AdmissionOutput::RelayRefused(_) => "relay refused".to_owned(),
        AdmissionOutput::Lost { .. } => "lost".to_owned(),
    }
}

fn kinds(admission: &mut Admission) -> Vec<String> {
    drain(admission).iter().map(kind).collect()
}

/// One row a state, one column a frame: the outputs, `!` where the frame counts as a violation
#[test]
fn admission_transitions() {
    let states: [(&str, Start); 6] = [
        ("fresh", || fresh(None)),
        ("challenged", || challenged(None)),
        ("proposed", proposed),
        ("logged in", logged_in),
        ("logging out", logging_out),
        ("closed", || {
            let mut admission = logging_out();
            admission.handle_closed("reset");
            admission
        }),
    ];
    let frames = [
        ("login", Frame::Login(login())),
        ("renew", Frame::Renew(Renew { session: session_id(7), epoch: Epoch::new(0, 10) })),
        ("logout", Frame::Logout(Logout { session: session_id(7) })),
        ("look-up", look_up(1)),
        ("removed", Frame::AskRemoved(AskRemoved::default())),
        ("report", Frame::Report(Report::Isolated)),
        ("granted", Frame::Rewire(rewire(1))),
        ("bye", Frame::Bye(Bye { status: Status::Gone, reason: Reason::truncated("leaving") })),
        ("probe", Frame::Probe(link::Probe { sequence: 1 })),
    ];
    let table: Vec<String> = states
        .iter()
        .map(|(state, start)| {
            let row: Vec<String> = frames
                .iter()
                .map(|(of, frame)| {
                    let mut admission = start();
                    admission.handle_frame(Instant::ZERO, frame.clone(), &Ed25519);
                    let outputs = kinds(&mut admission).join(", ");
                    format!("{of}: {outputs}{}", if admission.violations() > 0 { "!" } else { "" })
                })
                .collect();
            format!("{state} | {}", row.join(" | "))
        })
        .collect();
    let expected = [
        "fresh | login: close 400! | renew: close 400! | logout: close 400! | look-up: close 400! | removed: close 400! | \
         report: close 400! | granted: close 400! | bye: close 410 | probe: ",
        "challenged | login: propose | renew: close 400! | logout: close 400! | look-up: close 400! | removed: close 400! | \
         report: close 400! | granted: close 400! | bye: close 410 | probe: ",
        "proposed | login: close 400! | renew: close 400! | logout: close 400! | look-up: close 400! | removed: close 400! | \
         report: close 400! | granted: close 400! | bye: close 410 | probe: ",
        "logged in | login: lost, close 400! | renew: renew | logout: log out | look-up: look up | removed: removed | \
         report: report | granted: lost, close 400! | bye: lost, close 410 | probe: ",
        "logging out | login: close 400! | renew:  | logout: close 400! | look-up:  | removed:  | report:  | \
         granted: close 400! | bye: close 410 | probe: ",
        "closed | login:  | renew:  | logout:  | look-up:  | removed:  | report:  | granted:  | bye:  | probe: ",
    ];
    assert_eq!(table.len(), expected.len());
    for (row, expected) in table.iter().zip(expected) {
        assert_eq!(row, expected);
    }
}

#[test]
fn login_signed_for_another_link_or_name_is_refused_with_403() {
    let sign = |handshake: &Handshake, by: u8, name: &Name| ed(by).sign(&handshake.login_bytes(name));
    let ours = handshake();
    let (alice, bob) = (name("alice"), name("bob"));
    let cases = [
        sign(&Handshake { supernode_nonce: [0; 32], ..ours.clone() }, PEER, &alice),
        sign(&Handshake { peer_nonce: [0; 32], ..ours.clone() }, PEER, &alice),
        sign(&Handshake { supernode: ed(9).key(), ..ours.clone() }, PEER, &alice),
        sign(&Handshake { network: network_of(OTHER_NETWORK), ..ours.clone() }, PEER, &alice),
        sign(&Handshake { version: VERSION + 1, ..ours.clone() }, PEER, &alice),
        sign(&ours, 9, &alice),
        sign(&ours, PEER, &bob),
    ];
    for signature in cases {
        let mut admission = challenged(None);
        admission.handle_frame(Instant::ZERO, Frame::Login(Login { signature, ..login() }), &Ed25519);
        assert_eq!(kinds(&mut admission), ["send Refused", "close 403"]);
    }
}

#[test]
fn missing_or_wrong_secret_is_refused_with_403_and_nothing_is_proposed() {
    let cases = [
        (None, Some("the network's secret is missing")),
        (Some(handshake().secret_proof(b"open barley")), Some("the network's secret is wrong")),
        (Some(handshake().secret_proof(SECRET)), None),
    ];
    for (secret_proof, refusal) in cases {
        let mut admission = challenged(Some(SECRET));
        admission.handle_frame(Instant::ZERO, Frame::Login(Login { secret_proof, ..login() }), &Ed25519);
        let outputs = drain(&mut admission);
        match refusal {
            None => assert!(matches!(outputs[..], [AdmissionOutput::Propose(_)])),
            Some(reason) => {
                let status = Status::NotAllowed;
                let refused = Refused { status, reason: Reason::truncated(reason), retry_after_ms: 0 };
                assert_eq!(outputs[0], AdmissionOutput::Send(Frame::Refused(refused)));
                assert!(matches!(outputs[1], AdmissionOutput::Close { status: Status::NotAllowed, .. }));
            }
        }
    }
}

#[test]
fn hello_of_another_network_or_role_is_closed_before_the_challenge() {
    let neighbour = Hello { purpose: Purpose::Neighbour, ..hello(Role::Peer, None, PEER_NONCE) };
    let cases = [
        (hello(Role::Peer, Some(network_of(OTHER_NETWORK)), PEER_NONCE), "close 403"),
        (hello(Role::Supernode, None, PEER_NONCE), "close 400"),
        (neighbour, "close 400"),
    ];
    for (hello, expected) in cases {
        let mut admission = fresh(None);
        admission.handle_opened(Instant::ZERO, ed(PEER).key(), [OWN_NONCE; 32], &hello, &ed(SUPERNODE), true);
        assert_eq!(kinds(&mut admission), [expected]);
    }
}

#[test]
fn connection_without_a_login_is_closed_after_five_seconds() {
    let mut admission = challenged(None);
    admission.handle_timeout(at(4.9));
    assert_eq!(drain(&mut admission), []);
    admission.handle_timeout(at(5.0));
    assert_eq!(kinds(&mut admission), ["close 408"]);
    assert_eq!(admission.next_timeout(), None);
}

#[test]
fn logins_that_follow_each_other_too_fast_are_refused_with_429_and_a_wait() {
    let mut admission = proposed();
    let conflict = Refusal::new(Status::Conflict, "the name is another's", Duration::ZERO);
    admission.handle_refused(Instant::ZERO, conflict.clone());
    assert_eq!(kinds(&mut admission), ["send Refused"]);
    admission.handle_frame(Instant::ZERO, Frame::Login(login()), &Ed25519);
    let outputs = drain(&mut admission);
    let [AdmissionOutput::Send(Frame::Refused(refused))] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((refused.status, refused.retry_after_ms), (Status::SlowDown, LOGIN_INTERVAL_MIN.as_millis() as u32));
    assert_eq!(admission.dropped(), 1);
    let mut now = Instant::ZERO;
    for _ in 2..LOGINS_MAX {
        now = now + LOGIN_INTERVAL_MIN;
        admission.handle_frame(now, Frame::Login(login()), &Ed25519);
        assert_eq!(kinds(&mut admission), ["propose"]);
        admission.handle_refused(now, conflict.clone());
        drain(&mut admission);
    }
    admission.handle_frame(now + LOGIN_INTERVAL_MIN, Frame::Login(login()), &Ed25519);
    assert_eq!(kinds(&mut admission), ["close 429"]);
}

#[test]
fn overloaded_supernode_refuses_before_the_login() {
    let overload = Refusal::new(Status::Unavailable, "too many logins, try again", Duration::from_millis(1500));
    let mut admission = fresh(None);
    admission.handle_refused(Instant::ZERO, overload.clone());
    assert_eq!(kinds(&mut admission), ["send Refused", "close 503"]);
    let mut admission = challenged(None);
    admission.handle_refused(Instant::ZERO, overload);
    assert_eq!(kinds(&mut admission), ["send Refused"]);
}

#[test]
fn grant_for_a_connection_that_went_away_is_reported_as_lost() {
    let leave: [fn(&mut Admission); 3] = [
        |admission| admission.handle_closed("reset"),
        |admission| admission.handle_frame(Instant::ZERO, look_up(1), &Ed25519),
        |admission| admission.handle_timeout(Instant::ZERO + PROPOSAL_WAIT),
    ];
    for leave in leave {
        let mut admission = proposed();
        leave(&mut admission);
        drain(&mut admission);
        admission.handle_closed("reset");
        admission.handle_granted(&grant(session_id(7), 10), rewire(10), &ed(SUPERNODE));
        let reason = Reason::truncated("the connection closed before the grant");
        assert_eq!(drain(&mut admission), [AdmissionOutput::Lost { session: session_id(7), reason }]);
        admission.handle_granted(&grant(session_id(7), 10), rewire(10), &ed(SUPERNODE));
        assert_eq!(drain(&mut admission), []);
    }
}

#[test]
fn closed_connection_loses_its_session_once() {
    let mut admission = logged_in();
    admission.handle_closed("reset by peer");
    admission.handle_closed("twice");
    let reason = Reason::truncated("reset by peer");
    assert_eq!(drain(&mut admission), [AdmissionOutput::Lost { session: session_id(7), reason }]);
}

#[test]
fn renewal_is_answered_with_the_epoch_that_concerns_the_peer() {
    let mut admission = logged_in();
    admission.handle_frame(at(9.0), Frame::Renew(Renew { session: session_id(7), epoch: Epoch::new(0, 10) }), &Ed25519);
    assert_eq!(drain(&mut admission), [AdmissionOutput::Renew { session: session_id(7), epoch: Epoch::new(0, 10) }]);
    admission.handle_renewed(Epoch::new(0, 12), false);
    admission.handle_rewire(rewire(12));
    let renewed = Renewed { session: session_id(7), epoch: Epoch::new(0, 12), is_cut_off: false };
    let expected = [AdmissionOutput::Send(Frame::Renewed(renewed)), AdmissionOutput::Send(Frame::Rewire(rewire(12)))];
    assert_eq!(drain(&mut admission), expected);
}

#[test]
fn session_of_another_connection_is_neither_renewed_nor_ended() {
    let strange = session_id(8);
    let frames =
        [Frame::Renew(Renew { session: strange, epoch: Epoch::new(0, 1) }), Frame::Logout(Logout { session: strange })];
    for frame in frames {
        let mut admission = logged_in();
        admission.handle_frame(Instant::ZERO, frame, &Ed25519);
        assert_eq!(kinds(&mut admission), ["send Refused", "lost", "close 400"]);
        assert_eq!(admission.violations(), 1);
    }
}

#[test]
fn ended_session_is_told_and_closed() {
    let mut admission = logged_in();
    admission.handle_ended(&Refusal::new(Status::NotLoggedIn, "the lease ended", Duration::ZERO));
    assert_eq!(kinds(&mut admission), ["send Refused", "close 401"]);
}

#[test]
fn durable_logout_is_confirmed_and_closed() {
    let mut admission = logging_out();
    admission.handle_logged_out();
    let outputs = drain(&mut admission);
    assert_eq!(outputs[0], AdmissionOutput::Send(Frame::LoggedOut(LoggedOut { session: session_id(7) })));
    assert_eq!(outputs.iter().map(kind).collect::<Vec<_>>(), ["send LoggedOut", "close 200"]);
    admission.handle_closed("done");
    assert_eq!(drain(&mut admission), []);
}

#[test]
fn outcomes_without_a_question_change_nothing() {
    let mut admission = challenged(None);
    admission.handle_granted(&grant(session_id(7), 10), rewire(10), &ed(SUPERNODE));
    admission.handle_renewed(Epoch::new(0, 3), false);
    admission.handle_rewire(rewire(3));
    admission.handle_logged_out();
    admission.handle_ended(&Refusal::new(Status::NotLoggedIn, "over", Duration::ZERO));
    assert_eq!(drain(&mut admission), []);
    let mut admission = logged_in();
    admission.handle_refused(Instant::ZERO, Refusal::new(Status::Conflict, "late", Duration::ZERO));
    assert_eq!(drain(&mut admission), []);
    assert_eq!(admission.session(), Some(session_id(7)));
}

#[test]
fn look_ups_over_the_rate_are_answered_with_429() {
    let mut admission = logged_in();
    for query in 0..u64::from(REQUESTS_BURST) {
        admission.handle_frame(Instant::ZERO, look_up(query), &Ed25519);
        assert_eq!(kinds(&mut admission), ["look up"]);
    }
    admission.handle_frame(Instant::ZERO, look_up(999), &Ed25519);
    let found = Found::refused(999, Status::SlowDown);
    assert_eq!(drain(&mut admission), [AdmissionOutput::Send(Frame::Found(found))]);
    admission.handle_frame(
        Instant::ZERO,
        Frame::Renew(Renew { session: session_id(7), epoch: Epoch::new(0, 1) }),
        &Ed25519,
    );
    assert_eq!(drain(&mut admission), []);
    assert_eq!(admission.dropped(), 2);
    admission.handle_frame(Instant::ZERO + REQUEST_INTERVAL, look_up(1000), &Ed25519);
    assert_eq!(kinds(&mut admission), ["look up"]);
}

#[test]
fn lists_over_the_rate_are_answered_with_429_and_leave_look_ups_alone() {
    let list = |query| Frame::List(List { query, which: Which::Like(name("bob")) });
    let mut admission = logged_in();
    for query in 0..u64::from(LISTS_BURST) {
        admission.handle_frame(Instant::ZERO, list(query), &Ed25519);
        assert_eq!(kinds(&mut admission), ["list"]);
    }
    admission.handle_frame(Instant::ZERO, list(999), &Ed25519);
    let refused = Listing::refused(999, Status::SlowDown);
    assert_eq!(drain(&mut admission), [AdmissionOutput::Send(Frame::Listing(refused))]);
    admission.handle_frame(Instant::ZERO, look_up(1), &Ed25519);
    assert_eq!(kinds(&mut admission), ["look up"]);
    admission.handle_frame(Instant::ZERO + LIST_INTERVAL, list(1000), &Ed25519);
    assert_eq!(kinds(&mut admission), ["list"]);
}

#[test]
fn reports_over_the_rate_are_dropped_and_counted() {
    let mut admission = logged_in();
    for _ in 0..REPORTS_BURST {
        admission.handle_frame(Instant::ZERO, Frame::Report(Report::Isolated), &Ed25519);
        assert_eq!(kinds(&mut admission), ["report"]);
    }
    admission.handle_frame(Instant::ZERO, Frame::Report(Report::Isolated), &Ed25519);
    assert_eq!((drain(&mut admission), admission.dropped()), (vec![], 1));
    admission.handle_frame(Instant::ZERO + REPORT_INTERVAL, Frame::Report(Report::Isolated), &Ed25519);
    assert_eq!(kinds(&mut admission), ["report"]);
}

#[test]
fn relays_over_the_rate_are_given_back() {
    let header = Header { ttl: 4, ..Header::new(Address(2), Address(1), 3) };
    let packet = || PacketBytes::new(new_packet(&header, b"payload").unwrap()).unwrap();
    let mut admission = logged_in();
    for _ in 0..RELAYS_BURST {
        admission.handle_frame(Instant::ZERO, Frame::Relay(packet()), &Ed25519);
        assert_eq!(kinds(&mut admission), ["relay"]);
    }
    admission.handle_frame(Instant::ZERO, Frame::Relay(packet()), &Ed25519);
    assert_eq!(drain(&mut admission), [AdmissionOutput::RelayRefused(packet())]);
    admission.handle_frame(Instant::ZERO + RELAY_INTERVAL, Frame::Relay(packet()), &Ed25519);
    assert_eq!(kinds(&mut admission), ["relay"]);
}
