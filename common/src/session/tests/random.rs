//! Random inputs in random states: no panic, no flood of outputs, no grant without proof.

use proptest::prelude::*;

use super::membership::config;
use super::*;
use crate::session::admission::{Admission, AdmissionOutput, Refusal};
use crate::session::membership::{Membership, MembershipOutput, OUTPUTS_PER_INPUT_MAX};
use crate::wire::grant::SignedGrant;
use crate::wire::removed::AskRemoved;
use crate::wire::session::{
    Challenge, Found, Granted, List, Listing, LoggedOut, Login, Logout, LookUp, Refused, Renew, Renewed, Report,
    Subject, Which,
};
use crate::wire::{Bye, Frame, link};

/// One byte a choice: small numbers meet each other, so that sessions and epochs sometimes match
fn frame() -> impl Strategy<Value = Frame> {
    (0u8..23, 0u8..4, 0u64..4, 0u32..5_000).prop_map(|(kind, byte, number, ms)| {
        let session = session_id(byte);
        let status = Status::ALL[usize::from(byte) * 3];
        let signed = SignedGrant::sign(&grant(session, number), &ed(SUPERNODE), certificate_of(NETWORK, SUPERNODE));
        match kind {
            0 => Frame::Hello(hello(Role::Supernode, None, byte)),
            1 => Frame::Bye(Bye { status, reason: Reason::truncated("random") }),
            2 => Frame::Challenge(challenge(byte)),
            3 => Frame::Login(login(byte)),
            4 => Frame::Granted(Granted { grant: signed.unwrap(), lease_ms: ms, rewire: Box::new(rewire(number)) }),
            5 => Frame::Refused(Refused { status, reason: Reason::truncated("random"), retry_after_ms: ms }),
            6 => Frame::Renew(Renew { session, epoch: Epoch::new(0, number) }),
            7 => Frame::Renewed(Renewed { session, epoch: Epoch::new(0, number), is_cut_off: byte % 2 == 1 }),
            8 => Frame::Logout(Logout { session }),
            9 => Frame::LoggedOut(LoggedOut { session }),
            10 => Frame::LookUp(LookUp {
                query: number,
                ttl: byte,
                subject: Subject::Name(name("bob")),
                may_be_stale: false,
            }),
            11 => Frame::Found(Found { query: number, status, record: None, index: 0, is_stale: false }),
            12 => Frame::Rewire(rewire(number)),
            13 => Frame::Report(Report::LinkDown(Address(number))),
            14 => Frame::Table(link::Table {
                epoch: Epoch::new(0, number),
                entries: Default::default(),
                unseen: Default::default(),
            }),
            15 => Frame::Delta(link::Delta { changes: Default::default() }),
            16 => Frame::Probe(link::Probe { sequence: ms }),
            17 => Frame::List(List { query: number, which: Which::After(None) }),
            18 => Frame::Listing(Listing::refused(number, status)),
            19 => Frame::AskRemoved(AskRemoved::default()),
            20 => Frame::Removed(removed()),
            21 => Frame::Supernodes(list(&[(number, "one", ms as u16), (number + u64::from(byte), "two", 0)])),
            _ => Frame::ProbeReply(link::ProbeReply { sequence: ms }),
        }
    })
}

const NONCE: u8 = 0;

fn handshake() -> crypto::Handshake {
    handshake_of(NETWORK, [PEER, SUPERNODE], [NONCE, NONCE])
}

/// Good for byte 0, wrong in a part for others
fn challenge(byte: u8) -> Challenge {
    Challenge {
        certificate: certificate_of(if byte == 1 { OTHER_NETWORK } else { NETWORK }, SUPERNODE),
        signature: ed(if byte == 2 { PEER } else { SUPERNODE }).sign(&handshake().challenge_bytes()),
        secret_required: byte == 3,
        is_led: byte != 4,
    }
}

fn login(byte: u8) -> Login {
    Login {
        name: name("alice"),
        signature: ed(if byte == 2 { SUPERNODE } else { PEER }).sign(&handshake().login_bytes(&name("alice"))),
        secret_proof: (byte != 1).then(|| handshake().secret_proof(SECRET)),
        external: Locations::new(),
        listening: Default::default(),
        resume: Some(session_id(byte)),
        invite: None,
    }
}

#[derive(Clone, Debug)]
enum Input {
    Frame(Box<Frame>),
    Opened,
    Closed(u8),
    Login,
    Logout,
    Sleep(u64),
    Granted(u8),
    Refused,
    Ended,
    Done,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => frame().prop_map(|frame| Input::Frame(Box::new(frame))),
        3 => Just(Input::Opened),
        1 => (0u8..3).prop_map(Input::Closed),
        1 => Just(Input::Login),
        1 => Just(Input::Logout),
        3 => (0u64..20_000).prop_map(Input::Sleep),
        2 => (0u8..4).prop_map(Input::Granted),
        1 => Just(Input::Refused),
        1 => Just(Input::Ended),
        1 => Just(Input::Done),
    ]
}

fn feed_peer(peer: &mut Membership, now: Instant, dial: u64, input: Input) {
    match input {
        Input::Frame(frame) => peer.handle_frame(now, dial, *frame, &ed(PEER)),
        Input::Opened => {
            let hello = hello(Role::Supernode, None, NONCE);
            peer.handle_opened(now, dial, ed(SUPERNODE).key(), [NONCE; 32], &hello);
        }
        Input::Closed(late) => {
            peer.handle_closed(now, dial.saturating_sub(late.into()), Status::Unavailable, "random");
        }
        Input::Login => peer.handle_login(now),
        Input::Logout => peer.handle_logout(now),
        _ => peer.handle_timeout(now),
    }
}

fn feed_supernode(admission: &mut Admission, now: Instant, input: Input) {
    let refusal = Refusal::new(Status::Conflict, "random", Duration::ZERO);
    match input {
        Input::Frame(frame) => admission.handle_frame(now, *frame, &Ed25519),
        Input::Opened => {
            let hello = hello(Role::Peer, None, NONCE);
            admission.handle_opened(now, ed(PEER).key(), [NONCE; 32], &hello, &ed(SUPERNODE), true);
        }
        Input::Closed(_) => admission.handle_closed("random"),
        Input::Granted(byte) => {
            admission.handle_granted(&grant(session_id(byte), 1), rewire(1), &ed(SUPERNODE));
        }
        Input::Refused => admission.handle_refused(now, refusal),
        Input::Ended => admission.handle_ended(&refusal),
        Input::Done => {
            admission.handle_renewed(Epoch::new(0, 1), false);
            admission.handle_logged_out();
        }
        _ => admission.handle_timeout(now),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_inputs_never_break_a_peer(inputs in prop::collection::vec(input(), 1..40), seed in 0u64..8) {
        let mut peer = Membership::new(config(), seed, Instant::ZERO);
        let (mut now, mut dial, mut proved) = (Instant::ZERO, 0, false);
        for input in inputs {
            if let Input::Sleep(ms) = input {
                now = now + Duration::from_millis(ms);
            }
            let is_good = matches!(&input, Input::Frame(frame) if matches!(&**frame, Frame::Challenge(_)));
            feed_peer(&mut peer, now, dial, input);
            let outputs: Vec<MembershipOutput> = std::iter::from_fn(|| peer.poll_output()).collect();
            prop_assert!(outputs.len() <= OUTPUTS_PER_INPUT_MAX);
            for output in outputs {
                match output {
                    MembershipOutput::Dial { dial: new, .. } => (dial, proved) = (new, false),
                    MembershipOutput::Send { frame: Frame::Login(_), .. } => {
                        prop_assert!(is_good);
                        proved = true;
                    }
                    MembershipOutput::LoggedIn { .. } => prop_assert!(proved, "a login without a challenge"),
                    MembershipOutput::PinNetwork(id) => prop_assert_eq!(id, network_of(NETWORK)),
                    _ => {}
                }
            }
            prop_assert!(peer.home().is_none() || proved);
        }
    }

    #[test]
    fn random_inputs_never_break_an_admission(inputs in prop::collection::vec(input(), 1..40)) {
        let mut admission = Admission::new(admission_config(Some(SECRET)), None);
        let (mut now, mut proposed, mut closed) = (Instant::ZERO, false, false);
        for input in inputs {
            if let Input::Sleep(ms) = input {
                now = now + Duration::from_millis(ms);
            }
            let is_good = matches!(&input, Input::Frame(frame) if **frame == Frame::Login(login(0))
                || **frame == Frame::Login(login(3)));
            let by_transport = matches!(input, Input::Closed(_));
            feed_supernode(&mut admission, now, input);
            let outputs: Vec<AdmissionOutput> = std::iter::from_fn(|| admission.poll_output()).collect();
            prop_assert!(outputs.len() <= OUTPUTS_PER_INPUT_MAX);
            for output in outputs {
                prop_assert!(!closed || matches!(output, AdmissionOutput::Lost { .. }), "{:?} after the end", output);
                match output {
                    AdmissionOutput::Propose(_) => {
                        prop_assert!(is_good, "proposed without a good login");
                        proposed = true;
                    }
                    AdmissionOutput::Send(Frame::Granted(_)) => prop_assert!(proposed),
                    AdmissionOutput::Close { .. } => closed = true,
                    _ => {}
                }
            }
            closed |= by_transport;
            prop_assert!(!(closed && admission.session().is_some()));
        }
    }
}
