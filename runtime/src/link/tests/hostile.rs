//! What strangers and broken neighbours may send: it is counted, closed with a reason, and disturbs nobody else.

use kith_common::wire::packet::{Class, Header, new_packet};
use kith_common::wire::{FrameKind, PacketBytes, SMALL_BYTES_MAX, WireError};

use super::*;

#[tokio::test]
async fn hello_of_another_version_is_answered_with_426() {
    let a = Node::start(1).await;
    let mut raw = Raw::connect(2, &a).await;
    // Kind 1, six bytes of body: the magic and version 2. What follows in that version is its own affair.
    raw.write(&[1, 6, 0, 0, b'K', b'I', b'T', b'H', 2, 0]).await;
    assert_eq!(raw.receive_bye().await, Some(Status::VersionNotSupported));
    drop(raw);
    a.counted(|counts| counts.failed_handshakes == 1).await;
    assert_eq!(a.counts().opened, 0);
}

#[tokio::test]
async fn first_frame_that_is_no_hello_is_refused() {
    let a = Node::start(1).await;
    for bytes in [&probe(1).to_bytes().unwrap()[..], &[99, 0, 0, 0], &[1, 0, 0, 0], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut raw = Raw::connect(2, &a).await;
        raw.write(bytes).await;
        let bye = raw.receive_bye().await;
        assert!(matches!(bye, Some(Status::Malformed | Status::TooLarge)), "{bye:?} to {bytes:?}");
    }
    a.counted(|counts| counts.failed_handshakes == 4).await;
}

#[tokio::test]
async fn oversized_frame_ends_the_link_at_its_header() {
    let mut a = Node::start(1).await;
    let (mut raw, link) = Raw::open(2, &mut a).await;
    let [low, high, top, _] = (SMALL_BYTES_MAX as u32 + 1).to_le_bytes();
    raw.write(&[FrameKind::Probe as u8, low, high, top]).await;
    assert_eq!(raw.receive_bye().await, Some(Status::TooLarge));
    assert_eq!(a.closed(link).await, CloseReason::Protocol(WireError::TooLong));
}

#[tokio::test]
async fn rubbish_ends_the_link_and_no_other() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let (near, far) = link(&mut a, &mut b).await;
    let (mut raw, link) = Raw::open(3, &mut a).await;
    raw.write(&[0xab; 10_000]).await;
    assert_eq!(raw.receive_bye().await, Some(Status::Malformed));
    assert_eq!(a.closed(link).await, CloseReason::Protocol(WireError::Kind(0xab)));
    b.send(far.link, look_up(1)).await;
    assert_eq!(a.frame(near.link).await, look_up(1));
}

#[tokio::test]
async fn third_frame_that_cannot_be_decoded_ends_the_link() {
    let mut a = Node::start(1).await;
    let (mut raw, link) = Raw::open(2, &mut a).await;
    let malformed_probe = [FrameKind::Probe as u8, 1, 0, 0, 0];
    let malformed_packet = [FrameKind::Packet as u8, 2, 0, 0, 0, 0];
    raw.write(&malformed_probe).await;
    raw.write(&malformed_packet).await;
    raw.send(probe(5)).await;
    assert_eq!(raw.receive().await, Some(probe_reply(5)), "two are forgiven");
    raw.write(&malformed_probe).await;
    assert_eq!(raw.receive_bye().await, Some(Status::Malformed));
    assert_eq!(a.closed(link).await, CloseReason::Protocol(WireError::Malformed));
    assert_eq!(a.counts().decode_errors, 3);
}

#[tokio::test]
async fn second_hello_ends_the_link() {
    let mut a = Node::start(1).await;
    let (mut raw, link) = Raw::open(2, &mut a).await;
    let greeting = raw.greet().await;
    assert!(matches!(greeting, Err(CloseReason::Bye { status: Status::Malformed, .. })));
    assert_eq!(a.closed(link).await, CloseReason::Unexpected(FrameKind::Hello));
}

#[tokio::test]
async fn connection_that_says_nothing_is_dropped_in_time() {
    let short = Duration::from_millis(200);
    let a = Node::start_with(1, |config| (config.deadlines.handshake, config.deadlines.hello) = (short, short)).await;
    let mut silent = tcp(&a).await;
    assert_eq!(tokio::time::timeout(DEADLINE, silent.read(&mut [0; 100])).await.unwrap().unwrap(), 0);
    let mut no_hello = Raw::connect(2, &a).await;
    assert_eq!(no_hello.receive_bye().await, Some(Status::TimedOut));
    drop(no_hello);
    a.counted(|counts| counts.failed_handshakes == 2).await;
}

#[tokio::test]
async fn silent_connection_makes_room_for_whoever_comes() {
    let mut a =
        Node::start_with(1, |config| (config.limits.pending_max, config.limits.pending_reserved) = (2, 0)).await;
    let (mut first, _second) = (tcp(&a).await, tcp(&a).await);
    let (_raw, _) = Raw::open(2, &mut a).await;
    let read = tokio::time::timeout(DEADLINE, first.read(&mut [0; 100])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
    assert_eq!(a.counts().refused_connections, 1);
}

#[tokio::test]
async fn connection_that_has_sent_something_keeps_its_place_and_others_are_refused() {
    let a = Node::start_with(1, |config| (config.limits.pending_max, config.limits.pending_reserved) = (1, 0)).await;
    let speaks = Raw::connect(2, &a).await;
    let mut refused = tcp(&a).await;
    let read = tokio::time::timeout(DEADLINE, refused.read(&mut [0; 100])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
    drop(speaks);
}

#[tokio::test]
async fn frame_that_is_never_finished_ends_the_link() {
    let mut a = Node::start_with(1, |config| config.deadlines.frame = Duration::from_millis(200)).await;
    let (mut raw, link) = Raw::open(2, &mut a).await;
    raw.write(&[FrameKind::Table as u8, 100, 0, 0, 1]).await;
    assert_eq!(a.closed(link).await, CloseReason::Slow(Slow::Frame));
}

#[tokio::test]
async fn frame_in_small_pieces_arrives_whole() {
    let mut a = Node::start(1).await;
    let (mut raw, link) = Raw::open(2, &mut a).await;
    for byte in look_up(3).to_bytes().unwrap() {
        raw.write(&[byte]).await;
    }
    assert_eq!(a.frame(link).await, look_up(3));
}

#[tokio::test]
async fn packet_over_a_link_that_is_no_neighbours_is_dropped() {
    let mut a = Node::start(1).await;
    let (mut raw, _) = Raw::open(2, &mut a).await;
    let (destination, source) = (Address(1), Address(2));
    let class = Class::Data;
    let header = Header { destination, source, id: 3, ttl: 9, class, congested: false, traced: false };
    raw.send(Frame::Packet(PacketBytes::new(new_packet(&header, b"hello").unwrap()).unwrap())).await;
    a.counted(|counts| counts.dropped_not_neighbour == 1).await;
}

#[tokio::test]
async fn mutated_frames_never_end_the_thread() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let (near, far) = link(&mut a, &mut b).await;
    let good = look_up(1).to_bytes().unwrap();
    let mut random = 1_u32;
    for _ in 0..60 {
        let (mut raw, _) = Raw::open(3, &mut a).await;
        let mut bytes = Vec::new();
        for _ in 0..20 {
            let start = bytes.len();
            bytes.extend_from_slice(&good);
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = start + (random >> 8) as usize % good.len();
            bytes[at] = (random >> 24) as u8;
        }
        raw.write(&bytes).await;
        drop(raw);
    }
    a.counted(|counts| counts.closed == 60).await;
    b.send(far.link, look_up(77)).await;
    let is_77 = |event: &LinkEvent| matches!(event, LinkEvent::Frame { link, .. } if *link == near.link).then_some(());
    a.wait(is_77).await;
}
