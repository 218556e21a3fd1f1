//! How links end.

use super::*;

#[tokio::test]
async fn close_tells_the_other_side_why_after_what_was_queued() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let (near, far) = link(&mut a, &mut b).await;
    a.send(near.link, look_up(1)).await;
    let (status, words) = (Status::NotAllowed, "not in my table");
    a.command(LinkCommand::Close { link: near.link, status, reason: words.into() }).await;
    assert_eq!(b.frame(far.link).await, look_up(1));
    let reason = kith_common::wire::session::Reason::truncated(words);
    assert_eq!(b.closed(far.link).await, CloseReason::Bye { status, reason: reason.clone() });
    assert_eq!(a.closed(near.link).await, CloseReason::Local { status, reason });
}

#[tokio::test]
async fn commands_for_a_link_that_is_gone_do_nothing() {
    let mut a = Node::start(1).await;
    let (raw, link) = Raw::open(2, &mut a).await;
    drop(raw);
    a.closed(link).await;
    a.send(link, look_up(1)).await;
    a.command(LinkCommand::Close { link, status: Status::Gone, reason: String::new() }).await;
    let (_raw, next) = Raw::open(2, &mut a).await;
    assert_ne!(next, link);
}

#[tokio::test]
async fn killed_neighbour_is_noticed_at_once() {
    let mut a = Node::start(1).await;
    let (raw, link) = Raw::open(2, &mut a).await;
    let began = std::time::Instant::now();
    // No bye, no close_notify: as the system does it for a process that was killed.
    drop(raw);
    assert!(matches!(a.closed(link).await, CloseReason::Reset(_)));
    assert!(began.elapsed() < LivenessConfig::default().down_after, "found by the reset and by no probe");
}

#[tokio::test]
async fn neighbour_that_answers_nothing_is_found_by_probes() {
    let mut a = Node::start_with(1, |config| {
        let ms = Duration::from_millis;
        config.liveness =
            LivenessConfig { probe_every: ms(20), down_after: ms(100), idle_after: ms(50), late_after: ms(10_000) };
    })
    .await;
    let (mut raw, link) = Raw::open(2, &mut a).await;
    assert!(matches!(raw.receive().await, Some(Frame::Probe(_))), "an idle link is probed");
    assert!(matches!(a.closed(link).await, CloseReason::Silent { .. }));
}

#[tokio::test]
async fn neighbour_that_answers_probes_stays_and_its_round_trip_is_known() {
    let mut a = Node::start_with(1, |config| config.liveness.idle_after = Duration::from_millis(20)).await;
    let mut raw = Raw::connect(2, &a).await;
    raw.greet().await.unwrap();
    let opened = a.opened().await;
    assert_eq!(opened.gauges.rtt(), None);
    while opened.gauges.rtt().is_none() {
        let Some(Frame::Probe(probe)) = raw.receive().await else { panic!("the link ended") };
        raw.send(probe_reply(probe.sequence)).await;
    }
    assert!(opened.gauges.bytes_in.get() >= 8 && opened.gauges.bytes_out.get() >= 8);
}

#[tokio::test]
async fn probe_is_answered_without_the_driver() {
    let mut a = Node::start(1).await;
    let (mut raw, _) = Raw::open(2, &mut a).await;
    raw.send(probe(42)).await;
    assert_eq!(raw.receive().await, Some(probe_reply(42)));
    assert!(a.seen.is_empty());
}

#[tokio::test]
async fn shutdown_says_goodbye_and_ends_the_events() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let (near, far) = link(&mut a, &mut b).await;
    a.command(LinkCommand::Shutdown).await;
    assert!(matches!(b.closed(far.link).await, CloseReason::Bye { status: Status::Gone, .. }));
    assert!(matches!(a.closed(near.link).await, CloseReason::Local { .. }));
    let ended = async { while a.events.recv().await.is_some() {} };
    tokio::time::timeout(DEADLINE, ended).await.expect("the events end");
    let command = LinkCommand::SetHello(template());
    assert_eq!(a.links.send(command).await, Err(Stopped));
}

#[tokio::test]
async fn dropped_handle_ends_the_thread_even_if_a_neighbour_takes_no_farewell() {
    let mut a = Node::start_with(1, |config| config.deadlines.bye = Duration::from_millis(100)).await;
    let (_raw, _) = Raw::open(2, &mut a).await;
    let Node { links, mut events, .. } = a;
    drop(links);
    let ended = async { while events.recv().await.is_some() {} };
    tokio::time::timeout(DEADLINE, ended).await.expect("the events end");
}
