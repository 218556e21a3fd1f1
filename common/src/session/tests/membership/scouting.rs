//! What a peer does whose home is cut off from the other supernodes.

use super::*;

/// Another supernode's key
const OTHER: u8 = 5;

/// A peer that is at home at one of so many supernodes, all configured
fn at_home(supernodes: &[&str]) -> Membership {
    let supernodes = supernodes.iter().map(|&supernode| supernode.to_owned()).collect();
    let mut peer = Membership::new(MembershipConfig { supernodes, ..config() }, 11, Instant::ZERO);
    peer.handle_timeout(Instant::ZERO);
    open(&mut peer, 1);
    feed(&mut peer, Frame::Challenge(challenge(false)));
    feed(&mut peer, Frame::Granted(granted(7, 10)));
    drain(&mut peer);
    assert_eq!(word(&peer), "in");
    peer
}

/// Its home says with the next renewal whether it is cut off; when that was, and what the peer does then
fn renew(peer: &mut Membership, is_cut_off: bool) -> (Instant, Vec<MembershipOutput>) {
    let due = peer.next_timeout().unwrap();
    peer.handle_timeout(due);
    let outputs = drain(peer);
    assert!(matches!(&outputs[..], [MembershipOutput::Send { frame: Frame::Renew(_), .. }]), "{outputs:?}");
    feed_at(peer, due, Frame::Renewed(Renewed { session: session_id(7), epoch: Epoch::new(0, 10), is_cut_off }));
    (due, drain(peer))
}

fn dialled(outputs: &[MembershipOutput]) -> Vec<(u64, &str)> {
    let mut dials = Vec::new();
    for output in outputs {
        if let MembershipOutput::Dial { dial, locations } = output {
            dials.push((*dial, locations[0].as_str()));
        }
    }
    dials
}

/// The other supernode answers the scout's dial, and says whether it hears somebody lead
fn challenge_scout(peer: &mut Membership, now: Instant, dial: u64, is_led: bool) -> Vec<MembershipOutput> {
    let hello = hello(Role::Supernode, Some(network_of(NETWORK)), THEIR_NONCE);
    peer.handle_opened(now, dial, ed(OTHER).key(), [OWN_NONCE; 32], &hello);
    assert_eq!(drain(peer), []);
    let handshake = handshake_of(NETWORK, [PEER, OTHER], [OWN_NONCE, THEIR_NONCE]);
    let challenge = Challenge {
        certificate: certificate_with(NETWORK, OTHER, 2),
        signature: ed(OTHER).sign(&handshake.challenge_bytes()),
        secret_required: false,
        is_led,
    };
    peer.handle_frame(now, dial, Frame::Challenge(challenge), &ed(PEER));
    drain(peer)
}

#[test]
fn peer_whose_home_is_well_or_that_knows_no_other_asks_nobody() {
    assert_eq!(renew(&mut at_home(&["one", "two"]), false).1, []);
    assert_eq!(renew(&mut at_home(&["one"]), true).1, []);
}

#[test]
fn peer_whose_home_is_cut_off_moves_to_one_that_hears_who_leads_with_its_session() {
    let mut peer = at_home(&["one", "two"]);
    let (now, outputs) = renew(&mut peer, true);
    assert_eq!(outputs.iter().map(kind).collect::<Vec<_>>(), ["dial"]);
    assert_eq!((word(&peer), peer.home()), ("in", Some(1)), "home stays meanwhile");
    let outputs = challenge_scout(&mut peer, now, 2, true);
    let resumes = |login: &Login| login.resume == Some(session_id(7));
    assert!(
        matches!(&outputs[..], [MembershipOutput::Send { dial: 2, frame: Frame::Login(login) }] if resumes(login)),
        "{outputs:?}"
    );
    assert_eq!((word(&peer), peer.home()), ("in", Some(1)), "that one may be busy");
    let moved = SignedGrant::sign(&grant(session_id(7), 10), &ed(OTHER), certificate_with(NETWORK, OTHER, 2)).unwrap();
    peer.handle_frame(now, 2, Frame::Granted(Granted { grant: moved, ..granted(7, 10) }), &ed(PEER));
    let outputs = drain(&mut peer);
    assert_eq!(outputs.iter().map(kind).collect::<Vec<_>>(), ["close", "lost", "logged in"]);
    assert!(matches!(&outputs[0], MembershipOutput::Close { dial: 1, status: Status::Unavailable, .. }));
    assert_eq!((word(&peer), peer.home()), ("in", Some(2)));
}

#[test]
fn one_that_is_led_and_busy_is_left_alone_for_as_long_as_it_asks() {
    let mut peer = at_home(&["one", "two"]);
    let (now, _) = renew(&mut peer, true);
    challenge_scout(&mut peer, now, 2, true);
    peer.handle_frame(now, 2, refused(Status::SlowDown, 12_000), &ed(PEER));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
    assert_eq!((word(&peer), peer.home()), ("in", Some(1)));
    assert_eq!(renew(&mut peer, true).1, [], "it has asked for twelve seconds");
    assert_eq!(dialled(&renew(&mut peer, true).1).len(), 1);
}

#[test]
fn scout_whose_login_is_sent_waits_for_the_answer_though_home_is_well_again() {
    let mut peer = at_home(&["one", "two"]);
    let (now, _) = renew(&mut peer, true);
    challenge_scout(&mut peer, now, 2, true);
    assert_eq!(renew(&mut peer, false).1, []);
    let moved = SignedGrant::sign(&grant(session_id(7), 10), &ed(OTHER), certificate_with(NETWORK, OTHER, 2)).unwrap();
    peer.handle_frame(now, 2, Frame::Granted(Granted { grant: moved, ..granted(7, 10) }), &ed(PEER));
    assert_eq!(peer.home(), Some(2));
}

#[test]
fn scout_that_has_come_to_its_own_home_goes_on() {
    let mut peer = at_home(&["one", "alias"]);
    let (now, _) = renew(&mut peer, true);
    open(&mut peer, 2);
    peer.handle_frame(now, 2, Frame::Challenge(challenge(false)), &ed(PEER));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
    assert_eq!((word(&peer), peer.home()), ("in", Some(1)));
}

#[test]
fn peer_stays_while_nobody_leads_and_asks_all_others_once_in_two_renewals() {
    let mut peer = at_home(&["one", "two", "three"]);
    for turn in 0..3 {
        let (now, outputs) = renew(&mut peer, true);
        let first = 2 + 2 * turn;
        let [(dial, one)] = dialled(&outputs)[..] else { panic!("{outputs:?}") };
        assert_eq!(dial, first);
        let one = one.to_owned();
        let outputs = challenge_scout(&mut peer, now, dial, false);
        assert_eq!(outputs.iter().map(kind).collect::<Vec<_>>(), ["close", "dial"]);
        let [(dial, two)] = dialled(&outputs)[..] else { panic!("{outputs:?}") };
        assert!(dial == first + 1 && two != one, "{one}, {two}");
        let outputs = challenge_scout(&mut peer, now, dial, false);
        assert_eq!(outputs.iter().map(kind).collect::<Vec<_>>(), ["close"]);
        assert_eq!((word(&peer), peer.home()), ("in", Some(1)));
        assert_eq!(renew(&mut peer, true).1, [], "all have answered, and nobody leads");
    }
}

/// A peer whose scout has sent its login
fn asked_elsewhere() -> (Membership, Instant) {
    let mut peer = at_home(&["one", "two", "three"]);
    let (now, _) = renew(&mut peer, true);
    let outputs = challenge_scout(&mut peer, now, 2, true);
    assert!(matches!(&outputs[..], [MembershipOutput::Send { dial: 2, frame: Frame::Login(_) }]), "{outputs:?}");
    (peer, now)
}

fn grant_elsewhere(peer: &mut Membership, now: Instant) {
    let moved = SignedGrant::sign(&grant(session_id(7), 10), &ed(OTHER), certificate_with(NETWORK, OTHER, 2)).unwrap();
    peer.handle_frame(now, 2, Frame::Granted(Granted { grant: moved, ..granted(7, 10) }), &ed(PEER));
}

#[test]
fn scout_that_is_refused_asks_nobody_else_once_home_is_well() {
    let (mut peer, now) = asked_elsewhere();
    assert_eq!(renew(&mut peer, false).1, []);
    peer.handle_frame(now, 2, refused(Status::SlowDown, 1_000), &ed(PEER));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
    assert_eq!((word(&peer), peer.home()), ("in", Some(1)));
}

#[test]
fn scout_whose_login_is_sent_is_waited_for_as_home_is_lost() {
    let (mut peer, now) = asked_elsewhere();
    peer.handle_closed(now, 1, Status::Unavailable, "reset");
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["lost"]);
    assert_eq!(word(&peer), "joining");
    grant_elsewhere(&mut peer, now);
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["logged in"]);
    assert_eq!(peer.home(), Some(2));
}

#[test]
fn whoever_logs_out_as_a_scout_has_asked_ends_the_session_where_it_is_granted() {
    let (mut peer, now) = asked_elsewhere();
    peer.handle_logout(now);
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
    grant_elsewhere(&mut peer, now);
    let logout = Frame::Logout(Logout { session: session_id(7) });
    assert_eq!(drain(&mut peer), [MembershipOutput::Send { dial: 2, frame: logout }]);
}

#[test]
fn scout_that_is_not_answered_is_given_up_and_home_is_still_renewed() {
    let mut peer = at_home(&["one", "two", "three"]);
    let (now, outputs) = renew(&mut peer, true);
    assert_eq!(dialled(&outputs).len(), 1);
    let late = now + LEASE / 6;
    assert_eq!(peer.next_timeout(), Some(late));
    peer.handle_timeout(late);
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close", "dial"]);
    peer.handle_dial_failed(late, 3, &nobody_listens());
    assert_eq!(drain(&mut peer), []);
    assert_eq!(dialled(&renew(&mut peer, true).1).len(), 1);
}

#[test]
fn whoever_says_that_it_is_led_and_proves_nothing_is_not_believed() {
    let mut peer = at_home(&["one", "two"]);
    let (now, _) = renew(&mut peer, true);
    let hello = hello(Role::Supernode, Some(network_of(NETWORK)), THEIR_NONCE);
    peer.handle_opened(now, 2, ed(OTHER).key(), [OWN_NONCE; 32], &hello);
    peer.handle_frame(now, 2, Frame::Challenge(challenge(false)), &ed(PEER));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"]);
    assert_eq!((word(&peer), peer.home()), ("in", Some(1)));
}

/// The scout of this dial is given up, and what it brings counts for nothing
fn assert_given_up(peer: &mut Membership, dial: u64, outputs: &[MembershipOutput]) {
    let is_end = |output: &&MembershipOutput| matches!(output, MembershipOutput::Close { dial: of, .. } if *of == dial);
    assert_eq!(outputs.iter().filter(is_end).count(), 1, "{outputs:?}");
    open(peer, dial);
    let outputs = drain(peer);
    assert!(matches!(&outputs[..], [MembershipOutput::Close { .. }]), "{outputs:?}");
}

#[test]
fn scout_comes_home_as_home_hears_the_others_again() {
    let mut peer = at_home(&["one", "two", "three"]);
    let (now, _) = renew(&mut peer, true);
    peer.handle_timeout(now + LEASE / 6);
    assert_eq!(dialled(&drain(&mut peer)).len(), 1);
    let (_, outputs) = renew(&mut peer, false);
    assert_given_up(&mut peer, 3, &outputs);
    assert_eq!((word(&peer), peer.home()), ("in", Some(1)));
}

#[test]
fn scout_is_given_up_as_home_is_lost_or_left() {
    let ends: [fn(&mut Membership, Instant); 2] =
        [|peer, now| peer.handle_closed(now, 1, Status::Unavailable, "reset"), Membership::handle_logout];
    for end in ends {
        let mut peer = at_home(&["one", "two"]);
        let (now, _) = renew(&mut peer, true);
        end(&mut peer, now);
        let outputs = drain(&mut peer);
        assert_given_up(&mut peer, 2, &outputs);
    }
}

#[test]
fn peer_that_was_held_up_gives_its_scout_the_whole_time_anew() {
    let mut peer = at_home(&["one", "two"]);
    let (now, _) = renew(&mut peer, true);
    let later = now + Duration::from_secs(300);
    peer.handle_held_up(later);
    peer.handle_timeout(later);
    let given_up = |output: &MembershipOutput| matches!(output, MembershipOutput::Close { dial: 2, .. });
    assert!(!drain(&mut peer).iter().any(given_up));
    peer.handle_opened(later, 2, ed(OTHER).key(), [OWN_NONCE; 32], &hello(Role::Peer, None, THEIR_NONCE));
    assert_eq!(drain(&mut peer).iter().map(kind).collect::<Vec<_>>(), ["close"], "that is no supernode");
}
