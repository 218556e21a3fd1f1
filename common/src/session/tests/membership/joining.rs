//! From the challenge to the grant, and what refusals lead to.

use super::*;

#[test]
fn login_is_signed_over_both_nonces_and_keys() {
    let mut peer = greeted(config());
    feed(&mut peer, Frame::Challenge(challenge(false)));
    let login = Login {
        name: name("alice"),
        signature: ed(PEER).sign(&handshake().login_bytes(&name("alice"))),
        secret_proof: None,
        external: Locations::new(),
        listening: listening(["192.0.2.7:7401".parse().unwrap()]),
        resume: None,
        invite: None,
    };
    assert_eq!(drain(&mut peer), [MembershipOutput::Send { dial: 1, frame: Frame::Login(login) }]);
}

#[test]
fn supernode_that_proves_nothing_gets_no_login() {
    let other_key = Challenge { certificate: certificate_of(NETWORK, PEER), ..challenge(false) };
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
    let pinned = MembershipConfig { network: Some(network_of(OTHER_NETWORK)), ..config() };
    let mut peer = greeted(pinned);
    feed(&mut peer, Frame::Challenge(challenge(false)));
    let outputs = drain(&mut peer);
    let expected = format!(
        "the supernode is of network {}, and this peer of network {}",
        network_of(NETWORK),
        network_of(OTHER_NETWORK)
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
    assert_eq!(peer.network(), Some(network_of(NETWORK)));
    peer.handle_closed(Instant::ZERO, 1, Status::Unavailable, "reset");
    peer.handle_timeout(at(1.0));
    drain(&mut peer);
    open(&mut peer, 2);
    let other = Handshake { network: network_of(OTHER_NETWORK), ..handshake() };
    let other = Challenge {
        certificate: certificate_of(OTHER_NETWORK, SUPERNODE),
        signature: ed(SUPERNODE).sign(&other.challenge_bytes()),
        secret_required: false,
        is_led: true,
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
    let sign = |grant: &Grant| SignedGrant::sign(grant, &ed(SUPERNODE), certificate_of(NETWORK, SUPERNODE)).unwrap();
    let ours = grant(session_id(7), 10);
    let cases = [
        (sign(&Grant { key: ed(9).key(), ..ours.clone() }), "the supernode's grant: it names another key"),
        (sign(&Grant { name: name("bob"), ..ours.clone() }), "the supernode's grant: it names another key"),
        (
            SignedGrant::sign(&ours, &ed(9), certificate_of(NETWORK, SUPERNODE)).unwrap(),
            "the supernode's grant: its signature is wrong",
        ),
        (
            SignedGrant::sign(&ours, &ed(SUPERNODE), certificate_of(OTHER_NETWORK, SUPERNODE)).unwrap(),
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
    let version = DialError::Hello(CloseReason::Protocol(WireError::Version(2)));
    peer.handle_dial_failed(Instant::ZERO, 1, &version);
    let (status, reason, wait) = searching(&peer);
    assert_eq!((status, reason.as_str()), (Status::VersionNotSupported, &*format!("one refuses: {version}")));
    assert!(wait >= Duration::from_secs(8));
    let mut peer = greeted(config());
    feed(&mut peer, Frame::Bye(Bye { status: Status::VersionNotSupported, reason: Reason::truncated("version 2") }));
    assert_eq!(searching(&peer).0, Status::VersionNotSupported);
}
