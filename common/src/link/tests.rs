//! An open link and its opening, step by step.

use std::time::Duration;

use super::HelloTemplate;
use super::chunks::Chunks;
use super::limits::Deadlines;
use super::open::{DECODE_ERRORS_MAX, HOME_SILENCE, Link, Received, Rules, SendError};
use super::queue::QueueBounds;
use super::reason::{CloseReason, DialError, Slow};
use crate::id::{Address, Key};
use crate::link::opening::{Opening, check_key};
use crate::status::Status;
use crate::testing::at_ms;
use crate::time::Instant;
use crate::wire::link::{Probe, ProbeReply};
use crate::wire::packet::{Class, Edit, Header, new_packet};
use crate::wire::session::{Purpose, Reason, Role};
use crate::wire::{
    Bye, FRAME_HEADER_BYTES, Frame, FrameKind, PacketBytes, Priority, WireError, next_frame, parse_frame_header,
};

/// A link that opened at zero, with what it borrows
struct Side {
    link: Link,
    chunks: Chunks,
}

impl Side {
    fn with(rules: &Rules) -> Self {
        Self { link: Link::new(rules, Purpose::Neighbour, Instant::ZERO, 7), chunks: Chunks::default() }
    }

    fn peer() -> Self {
        Self::with(&Rules::of_peer())
    }

    fn receive(&mut self, now: Instant, frame: &Frame) -> Received<'static> {
        let bytes = frame.to_bytes().unwrap();
        self.link.on_received(now);
        match self.link.handle_frame(now, frame.kind(), &bytes[FRAME_HEADER_BYTES..], &self.chunks) {
            Received::Packet(_) => panic!("asked for by kind in the test that wants one"),
            Received::Frame(frame) => Received::Frame(frame),
            Received::Nothing => Received::Nothing,
            Received::Undecodable { error, errors } => Received::Undecodable { error, errors },
        }
    }

    fn send(&mut self, frame: &Frame) -> Result<(), SendError> {
        self.link.send(frame, &self.chunks)
    }

    fn timeout(&mut self, now: Instant) {
        self.link.handle_timeout(now, &self.chunks);
    }

    /// Writes all that waits, and tells what it was
    fn write(&mut self, now: Instant) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(batch) = self.link.take_batch(now, &self.chunks) {
            self.link.on_written(now, false);
            let mut rest = batch.as_slice();
            while let Some((kind, body)) = next_frame(rest).unwrap() {
                frames.push(Frame::decode(kind, body).unwrap());
                rest = &rest[FRAME_HEADER_BYTES + body.len()..];
            }
            assert!(rest.is_empty(), "whole frames");
        }
        frames
    }
}

fn packet(len: usize) -> PacketBytes {
    let (destination, source) = (Address(1), Address(2));
    let header = Header { destination, source, id: 3, ttl: 9, class: Class::Data, congested: false, traced: false };
    PacketBytes::new(new_packet(&header, &vec![7; len]).unwrap()).unwrap()
}

fn template() -> HelloTemplate {
    HelloTemplate { role: Role::Peer, boot: 1, network: None, grant: None }
}

fn hello(purpose: Purpose) -> Frame {
    Frame::Hello(template().hello(purpose, [5; 32]))
}

fn probe(sequence: u32) -> Frame {
    Frame::Probe(Probe { sequence })
}

fn bye(reason: &str) -> Frame {
    Frame::Bye(Bye { status: Status::NotAllowed, reason: Reason::truncated(reason) })
}

fn local(reason: &str) -> CloseReason {
    CloseReason::Local { status: Status::NotAllowed, reason: Reason::truncated(reason) }
}

#[test]
fn probe_is_answered_at_once_and_wants_no_answer_itself() {
    let mut side = Side::peer();
    let idle = side.link.next_timeout();
    assert!(matches!(side.receive(at_ms(0), &probe(41)), Received::Nothing));
    assert_eq!(side.write(at_ms(0)), [Frame::ProbeReply(ProbeReply { sequence: 41 })]);
    assert!(side.link.next_timeout() > Some(at_ms(2_000)), "{idle:?}: a reply is followed by no probe");
}

#[test]
fn reply_is_the_links_own_at_a_peer_and_also_the_nodes_at_a_supernode() {
    let reply = Frame::ProbeReply(ProbeReply { sequence: 1 });
    for (rules, is_told) in [(Rules::of_peer(), false), (Rules::of_supernode(HOME_SILENCE), true)] {
        let mut side = Side::with(&rules);
        side.send(&Frame::Packet(packet(1))).unwrap();
        side.write(at_ms(0));
        side.timeout(at_ms(400));
        assert_eq!(side.write(at_ms(400)), [probe(1)]);
        let received = side.receive(at_ms(430), &reply);
        assert_eq!(matches!(received, Received::Frame(Frame::ProbeReply(_))), is_told, "{received:?}");
        assert_eq!(side.link.rtt(), Some(Duration::from_millis(30)));
    }
}

#[test]
fn packet_is_decided_at_a_peer_and_a_frame_like_others_at_a_supernode() {
    let (packet, chunks) = (packet(3), Chunks::default());
    let bytes = Frame::Packet(packet.clone()).to_bytes().unwrap();
    let body = &bytes[FRAME_HEADER_BYTES..];
    let mut peer = Link::new(&Rules::of_peer(), Purpose::Neighbour, Instant::ZERO, 1);
    let received = peer.handle_frame(at_ms(0), FrameKind::Packet, body, &chunks);
    assert!(matches!(received, Received::Packet(came) if came.bytes() == packet.as_ref().bytes()));
    let mut supernode = Link::new(&Rules::of_supernode(HOME_SILENCE), Purpose::Home, Instant::ZERO, 1);
    let received = supernode.handle_frame(at_ms(0), FrameKind::Packet, body, &chunks);
    assert!(matches!(received, Received::Frame(Frame::Packet(came)) if came == packet));
}

#[test]
fn second_hello_ends_the_link_and_is_told_so() {
    let mut side = Side::peer();
    assert!(matches!(side.receive(at_ms(1), &hello(Purpose::Neighbour)), Received::Nothing));
    assert_eq!(side.link.ending(), Some(&CloseReason::Unexpected(FrameKind::Hello)));
    assert!(side.link.begin_farewell(at_ms(1)).is_some());
    assert!(matches!(side.write(at_ms(1))[..], [Frame::Bye(Bye { status: Status::Malformed, .. })]));
}

#[test]
fn third_frame_that_does_not_decode_ends_the_link() {
    let mut side = Side::peer();
    for expected in 1..=DECODE_ERRORS_MAX {
        assert!(!side.link.is_ending());
        let received = side.link.handle_frame(at_ms(1), FrameKind::Table, &[1, 2, 3], &side.chunks);
        assert!(matches!(received, Received::Undecodable { errors, .. } if errors == expected), "{received:?}");
    }
    assert_eq!(side.link.ending(), Some(&CloseReason::Protocol(WireError::Malformed)));
}

#[test]
fn byes_words_are_the_reason_and_are_not_answered() {
    let mut side = Side::peer();
    side.receive(at_ms(1), &bye("rewired"));
    let reason = CloseReason::Bye { status: Status::NotAllowed, reason: Reason::truncated("rewired") };
    assert_eq!(side.link.ending(), Some(&reason));
    assert_eq!(side.link.begin_farewell(at_ms(1)), None);
}

#[test]
fn first_reason_counts_and_nothing_is_queued_after_it() {
    let mut side = Side::peer();
    side.link.close(local("first"));
    side.link.close(local("second"));
    assert_eq!(side.link.ending(), Some(&local("first")));
    assert_eq!(side.send(&probe(1)), Err(SendError::Ending));
    let packet = packet(1);
    let forwarded = side.link.forward(&packet.as_ref(), &mut Edit::default(), &side.chunks);
    assert_eq!(forwarded, Err(SendError::Ending));
    assert!(!side.link.has_frames());
}

#[test]
fn last_words_come_behind_everything_that_waits() {
    let mut side = Side::peer();
    side.send(&Frame::Packet(packet(9))).unwrap();
    side.send(&probe(3)).unwrap();
    side.link.close(local("done"));
    assert_eq!(side.link.begin_farewell(at_ms(10)), Some(at_ms(510)));
    assert!(!side.link.is_finished());
    assert_eq!(side.write(at_ms(10)), [probe(3), Frame::Packet(packet(9)), bye("done")]);
    assert!(side.link.is_finished());
}

#[test]
fn full_control_queue_ends_the_link_and_full_data_does_not() {
    let rules = Rules { queues: QueueBounds { control: 80, signal: 80, data: 200 }, ..Rules::of_peer() };
    let mut side = Side::with(&rules);
    let large = Frame::Packet(packet(200));
    side.send(&large).unwrap();
    assert_eq!(side.send(&large), Err(SendError::Full(Priority::Data)));
    assert!(!side.link.is_ending());
    while side.send(&probe(1)).is_ok() {}
    assert_eq!(side.link.ending(), Some(&CloseReason::Slow(Slow::ControlQueue)));
    assert_eq!(side.link.begin_farewell(at_ms(0)), None, "it reads nothing, so it is told nothing");
}

#[test]
fn forwarded_packet_is_marked_from_a_half_full_queue_on() {
    let rules = Rules { queues: QueueBounds { data: 2_000, ..QueueBounds::default() }, ..Rules::of_peer() };
    let (mut side, packet) = (Side::with(&rules), packet(460));
    let marks: Vec<bool> = std::iter::from_fn(|| {
        let mut edit = Edit::default();
        side.link.forward(&packet.as_ref(), &mut edit, &side.chunks).ok().map(|()| edit.congested)
    })
    .collect();
    assert_eq!(marks, [false, false, false, true]);
}

#[test]
fn begun_frame_has_a_deadline_which_another_frame_begins_anew() {
    let mut side = Side::peer();
    side.link.on_rest(at_ms(100), true, true);
    side.link.on_rest(at_ms(5_000), true, false);
    for due in [8_000, 10_000] {
        side.link.on_received(at_ms(due));
    }
    assert_eq!(side.link.next_timeout(), Some(at_ms(10_100)));
    side.timeout(at_ms(10_100));
    assert_eq!(side.link.ending(), Some(&CloseReason::Slow(Slow::Frame)));

    let mut side = Side::peer();
    side.link.on_rest(at_ms(100), true, true);
    side.link.on_rest(at_ms(5_000), true, true);
    side.link.on_received(at_ms(10_100));
    side.timeout(at_ms(10_100));
    side.link.on_rest(at_ms(10_200), false, true);
    assert_eq!(side.link.ending(), None);
    assert!(side.link.next_timeout() > Some(at_ms(15_000)));
}

#[test]
fn silence_and_slow_frames_are_excused_while_this_node_takes_nothing() {
    let mut side = Side::peer();
    side.send(&Frame::Packet(packet(1))).unwrap();
    side.write(at_ms(0));
    side.link.on_rest(at_ms(0), true, true);
    side.link.set_stalled(true);
    for now in (400..20_000).step_by(400) {
        side.timeout(at_ms(now));
    }
    assert_eq!(side.link.ending(), None);
    side.link.set_stalled(false);
    // Since the reader's stop was this node's own, the frame has its whole time from here on.
    for now in (20_000..30_000).step_by(400) {
        side.timeout(at_ms(now));
        side.link.on_received(at_ms(now));
        assert_eq!(side.link.ending(), None);
    }
    side.timeout(at_ms(30_000));
    assert_eq!(side.link.ending(), Some(&CloseReason::Slow(Slow::Frame)));
}

#[test]
fn node_that_was_held_up_blames_neither_frames_nor_writes_that_were_under_way() {
    let mut side = Side::peer();
    side.send(&probe(1)).unwrap();
    side.link.take_batch(at_ms(0), &side.chunks).unwrap();
    side.link.on_rest(at_ms(0), true, true);
    side.timeout(at_ms(60_000));
    assert_eq!(side.link.ending(), None);
    side.link.on_received(at_ms(70_000));
    side.timeout(at_ms(70_000));
    assert_eq!(side.link.ending(), Some(&CloseReason::Slow(Slow::Frame)));
}

#[test]
fn write_that_is_not_taken_ends_the_link_and_one_that_makes_way_is_life() {
    let mut side = Side::peer();
    side.send(&probe(1)).unwrap();
    side.link.take_batch(at_ms(0), &side.chunks).unwrap();
    side.link.on_received(at_ms(9_000));
    side.timeout(at_ms(10_000));
    assert_eq!(side.link.ending(), Some(&CloseReason::Slow(Slow::Write)));

    let mut side = Side::peer();
    for now in (0..20_000).step_by(1_500) {
        side.send(&Frame::Packet(packet(1))).unwrap();
        side.link.take_batch(at_ms(now), &side.chunks).unwrap();
        side.link.on_written(at_ms(now + 1_000), true);
        side.timeout(at_ms(now + 1_499));
        side.link.has_frames();
    }
    assert_eq!(side.link.ending(), None);
}

#[test]
fn silent_link_is_probed_and_then_down() {
    let mut side = Side::peer();
    side.send(&Frame::Packet(packet(1))).unwrap();
    side.write(at_ms(0));
    let mut probes = 0;
    while !side.link.is_ending() {
        let now = side.link.next_timeout().unwrap();
        side.timeout(now);
        probes += side.write(now).len();
    }
    assert_eq!(probes, 4);
    assert_eq!(side.link.ending(), Some(&CloseReason::Silent { unanswered: Duration::from_secs(2) }));
    assert_eq!(side.link.begin_farewell(at_ms(2_000)), None);
}

#[test]
fn both_sides_of_an_opening_know_each_others_hello() {
    let deadlines = Deadlines::default();
    let (dialler, first) = Opening::dial(at_ms(0), template(), Purpose::Home, [1; 32], &deadlines);
    let listener = Opening::listen(at_ms(0), template(), [2; 32], &deadlines);
    let body = |frame: &Frame| frame.to_bytes().unwrap()[FRAME_HEADER_BYTES..].to_vec();
    let (at_listener, answer) = listener.handle_frame(FrameKind::Hello, &body(&first)).unwrap();
    let answer = answer.unwrap();
    let (at_dialler, nothing) = dialler.handle_frame(FrameKind::Hello, &body(&answer)).unwrap();
    assert_eq!(nothing, None);
    assert_eq!((at_listener.own_nonce, at_listener.theirs.nonce), ([2; 32], [1; 32]));
    assert_eq!((at_dialler.own_nonce, at_dialler.theirs.nonce), ([1; 32], [2; 32]));
    assert_eq!(at_listener.theirs.purpose, Purpose::Home);
}

#[test]
fn only_a_hello_for_the_same_purpose_opens_a_link() {
    let answers = [
        (hello(Purpose::Neighbour), CloseReason::Protocol(WireError::Malformed)),
        (probe(1), CloseReason::Unexpected(FrameKind::Probe)),
        (bye("full"), CloseReason::Bye { status: Status::NotAllowed, reason: Reason::truncated("full") }),
    ];
    for (answer, expected) in answers {
        let (dialler, _) = Opening::dial(at_ms(0), template(), Purpose::Home, [1; 32], &Deadlines::default());
        let bytes = answer.to_bytes().unwrap();
        let refused = dialler.handle_frame(answer.kind(), &bytes[FRAME_HEADER_BYTES..]).unwrap_err();
        assert_eq!(refused, expected);
    }
}

#[test]
fn hello_is_waited_for_until_its_deadline() {
    let opening = Opening::listen(at_ms(100), template(), [2; 32], &Deadlines::default());
    assert_eq!(opening.next_timeout(), at_ms(5_100));
    assert_eq!(opening.handle_timeout(at_ms(5_099)), Ok(()));
    assert_eq!(opening.handle_timeout(at_ms(5_100)), Err(CloseReason::Slow(Slow::Hello)));
}

#[test]
fn who_answers_a_dial_is_whom_was_wanted_and_not_this_node() {
    let [own, other, wanted] = [1, 2, 3].map(|byte| Key([byte; 32]));
    assert_eq!(check_key(&own, Some(&wanted), &wanted), Ok(()));
    assert_eq!(check_key(&own, None, &other), Ok(()));
    assert_eq!(check_key(&own, Some(&wanted), &other), Err(DialError::OtherKey));
    assert_eq!(check_key(&own, None, &own), Err(DialError::OwnKey));
}

#[test]
fn next_frame_waits_for_its_last_byte_and_refuses_what_has_no_end() {
    let bytes = [probe(1), probe(2)].map(|frame| frame.to_bytes().unwrap()).concat();
    let whole = FRAME_HEADER_BYTES + 4;
    for len in 0..whole {
        assert_eq!(next_frame(&bytes[..len]), Ok(None));
    }
    assert_eq!(next_frame(&bytes), Ok(Some((FrameKind::Probe, &bytes[FRAME_HEADER_BYTES..whole]))));
    assert_eq!(next_frame(&[255; 8]), parse_frame_header([255; 4]).map(|_| None));
}
