//! What waits to be written: classes, bounds, and who waits for whom.

use kith_common::wire::PacketBytes;
use kith_common::wire::packet::{Class, Header, new_packet};

use super::*;

fn packet(id: u64, len: usize) -> Frame {
    let (destination, source) = (Address(1), Address(2));
    let class = Class::Data;
    let header = Header { destination, source, id, ttl: 9, class, congested: false, traced: false };
    Frame::Packet(PacketBytes::new(new_packet(&header, &vec![7; len]).unwrap()).unwrap())
}

/// Sends data to a neighbour that does not read, until the system's buffers and then the queue are full
async fn clog(a: &Node, link: LinkId) -> u64 {
    let (mut sent, mut written, mut stuck_for) = (0, 0, 0);
    while stuck_for < 50 && a.counts().closed == 0 {
        for _ in 0..20 {
            a.send(link, packet(sent, 30_000)).await;
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let counts = a.counts();
        let is_stuck = counts.dropped_data_queue > 0 && counts.bytes_out == written;
        (written, stuck_for) = (counts.bytes_out, if is_stuck { stuck_for + 1 } else { 0 });
    }
    sent
}

#[tokio::test]
async fn full_data_queue_drops_with_a_count_and_control_still_goes_first() {
    let mut a = Node::start_with(1, |config| {
        config.liveness.down_after = DEADLINE;
        config.queues.data = 512 * 1024;
    })
    .await;
    let (mut raw, link) = Raw::open(2, &mut a).await;
    let sent = clog(&a, link).await;
    a.send(link, look_up(1)).await;
    // A command for another link: once it has been carried out, so have those before it.
    let dial = a.dial(None, Vec::new()).await;
    a.dial_failed(dial).await;
    let expected = sent - a.counts().dropped_data_queue;
    let (mut data, mut data_before_control) = (0, None);
    while data < expected || data_before_control.is_none() {
        match raw.receive().await.expect("the link holds") {
            Frame::Packet(_) => data += 1,
            Frame::LookUp(_) => data_before_control = Some(data),
            Frame::Probe(probe) => raw.send(probe_reply(probe.sequence)).await,
            other => panic!("{other:?}"),
        }
    }
    // What was queued by then, less the batch under way, came after it.
    assert!(data_before_control.unwrap() + 10 <= expected, "{data_before_control:?} of {expected}");
}

#[tokio::test]
async fn neighbour_that_does_not_read_its_control_frames_is_closed() {
    let mut a = Node::start_with(1, |config| {
        config.liveness.down_after = DEADLINE;
        config.queues.control = 2000;
    })
    .await;
    let (_raw, link) = Raw::open(2, &mut a).await;
    clog(&a, link).await;
    for query in 0..200 {
        a.send(link, look_up(query)).await;
    }
    assert_eq!(a.closed(link).await, CloseReason::Slow(Slow::ControlQueue));
}

#[tokio::test]
async fn write_that_is_not_taken_ends_the_link() {
    let mut a = Node::start_with(1, |config| {
        config.liveness.down_after = DEADLINE;
        config.deadlines.write = Duration::from_millis(300);
    })
    .await;
    let (_raw, link) = Raw::open(2, &mut a).await;
    clog(&a, link).await;
    assert_eq!(a.closed(link).await, CloseReason::Slow(Slow::Write));
}

#[tokio::test]
async fn driver_that_takes_no_events_can_still_give_commands() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let (near, far) = link(&mut a, &mut b).await;
    let flood = EVENTS_MAX as u64 + 1000;
    for query in 0..flood {
        a.send(near.link, look_up(query)).await;
    }
    while b.events.len() < EVENTS_MAX {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for query in 0..2 * COMMANDS_MAX as u64 {
        b.send(far.link, look_up(query)).await;
    }
    for query in 0..2 * COMMANDS_MAX as u64 {
        assert_eq!(a.frame(near.link).await, look_up(query));
    }
    for query in 0..flood {
        assert_eq!(b.frame(far.link).await, look_up(query), "nothing was lost meanwhile");
    }
}
