//! The cores say what the transcripts of a login and of a link say they say.

use std::sync::Arc;
use std::time::Duration;

use kith_common::crypto::Signer;
use kith_common::id::Key;
use kith_common::link::{Direction, LinkId};
use kith_common::routing::neighbourhood::{Neighbourhood, NeighbourhoodConfig, NeighbourhoodOutput, Opened};
use kith_common::session::admission::{Admission, AdmissionConfig, AdmissionOutput};
use kith_common::session::membership::{Membership, MembershipConfig, MembershipOutput};
use kith_common::session::{Secret, listening};
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Hello;

use super::signed::{
    ALICE, BOB, PEER_NONCE, SECRET, SUPERNODE_NONCE, Who, alice_pen, certificate, link_frames, login_frames, network,
    supernode_pen,
};
use super::values::name;

const NOW: Instant = Instant::ZERO;

/// The frame of this number in the transcript
fn said(number: usize) -> Frame {
    let (_, frame) = login_frames().swap_remove(number - 1);
    frame
}

fn hello(number: usize) -> Hello {
    let Frame::Hello(hello) = said(number) else { panic!("frame {number} is no hello") };
    hello
}

#[test]
fn peer_says_what_the_transcript_says() {
    let config = MembershipConfig {
        name: name("alice"),
        supernodes: vec!["/ip4/192.0.2.1/tcp/7400".to_owned()],
        learned: Vec::new(),
        network: None,
        secret: Some(Secret::new(SECRET.to_vec())),
        invite: None,
        external: Default::default(),
        listening: listening(["192.0.2.7:7401".parse().unwrap()]),
    };
    let (pen, mut alice) = (alice_pen(), Membership::new(config, 7, NOW));
    alice.handle_timeout(NOW);
    let Some(MembershipOutput::Dial { dial, .. }) = alice.poll_output() else { panic!("no dial") };
    let sent = |alice: &mut Membership| {
        std::iter::from_fn(|| alice.poll_output()).find_map(|output| match output {
            MembershipOutput::Send { frame, .. } => Some(frame),
            _ => None,
        })
    };
    alice.handle_opened(NOW, dial, supernode_pen().key(), PEER_NONCE, &hello(2));
    alice.handle_frame(NOW, dial, said(3), &pen);
    assert_eq!(sent(&mut alice), Some(said(4)));
    alice.handle_frame(NOW, dial, said(5), &pen);
    assert_eq!(sent(&mut alice), None);
    let due = alice.next_timeout().unwrap();
    alice.handle_timeout(due);
    assert_eq!(sent(&mut alice), Some(said(6)));
    alice.handle_frame(due, dial, said(7), &pen);
    alice.handle_logout(due);
    assert_eq!(sent(&mut alice), Some(said(12)));
    alice.handle_frame(due, dial, said(13), &pen);
    assert_eq!(alice.violations(), 0);
}

#[test]
fn supernode_says_what_the_transcript_says() {
    let config = AdmissionConfig {
        network: network(),
        certificate: certificate(),
        secret: Some(Secret::new(SECRET.to_vec())),
        is_open: true,
        lease: Duration::from_secs(30),
    };
    let (pen, mut admission) = (supernode_pen(), Admission::new(Arc::new(config), None));
    let sent = |admission: &mut Admission| match admission.poll_output() {
        Some(AdmissionOutput::Send(frame)) => Some(frame),
        _ => None,
    };
    let alice: Key = alice_pen().key();
    admission.handle_opened(NOW, alice, SUPERNODE_NONCE, &hello(1), &pen, true);
    assert_eq!(sent(&mut admission), Some(said(3)));
    admission.handle_frame(NOW, said(4), &pen);
    assert!(matches!(admission.poll_output(), Some(AdmissionOutput::Propose(login)) if login.key == alice));
    admission.handle_granted(&ALICE.grant(), BOB.rewire(), &pen);
    assert_eq!(sent(&mut admission), Some(said(5)));
    admission.handle_frame(NOW, said(6), &pen);
    assert!(matches!(admission.poll_output(), Some(AdmissionOutput::Renew { .. })));
    admission.handle_renewed(BOB.rewire().epoch, false);
    assert_eq!(sent(&mut admission), Some(said(7)));
    admission.handle_frame(NOW, said(8), &pen);
    assert!(matches!(admission.poll_output(), Some(AdmissionOutput::LookUp(_))));
    admission.handle_frame(NOW, said(12), &pen);
    assert!(matches!(admission.poll_output(), Some(AdmissionOutput::LogOut { .. })));
    admission.handle_logged_out();
    assert_eq!(sent(&mut admission), Some(said(13)));
    let Frame::Bye(bye) = said(14) else { panic!("the last frame is no good-bye") };
    let closed = admission.poll_output();
    assert_eq!(closed, Some(AdmissionOutput::Close { status: bye.status, reason: bye.reason }));
    assert_eq!(admission.violations(), 0);
}

/// Plays one end of the link in the transcript: a table and a delta are said, and a table and a delta are heard
fn play(own: &Who, other: &Who, direction: Direction, says: [usize; 2], hears: [usize; 2]) {
    let linked = |number: usize| link_frames().swap_remove(number - 1).1;
    let mut links = Neighbourhood::new(own.pen().key(), NeighbourhoodConfig::default(), 7);
    let sent = |links: &mut Neighbourhood| {
        std::iter::from_fn(|| links.poll_output()).find_map(|output| match output {
            NeighbourhoodOutput::Send { frame, .. } => Some(frame),
            _ => None,
        })
    };
    links.handle_login(NOW, &own.grant(), &other.rewire());
    assert_eq!(sent(&mut links), None);
    let (link, key, grant) = (LinkId(1), other.pen().key(), Some(other.grant()));
    links.handle_link_opened(NOW, Opened { link, key, direction, boot: other.boot, grant });
    assert_eq!(sent(&mut links), Some(linked(says[0])), "a table says that the link is accepted");
    links.handle_frame(NOW, link, linked(hears[0]));
    assert_eq!(sent(&mut links), None, "what is gained waits a moment");
    let told = links.next_timeout().unwrap();
    assert_eq!(told - NOW, Duration::from_millis(50));
    links.handle_timeout(told);
    assert_eq!(sent(&mut links), Some(linked(says[1])), "and is told then");
    links.handle_frame(told, link, linked(hears[1]));
    assert_eq!(sent(&mut links), None);
}

#[test]
fn neighbours_say_what_the_transcript_says() {
    play(&BOB, &ALICE, Direction::Outgoing, [3, 5], [4, 6]);
    play(&ALICE, &BOB, Direction::Incoming, [4, 6], [3, 5]);
}
