//! How links begin, and how they do not.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

#[tokio::test]
async fn hellos_are_exchanged_and_both_sides_know_each_other() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    b.command(LinkCommand::SetHello(HelloTemplate { boot: 7, ..template() })).await;
    let (near, far) = link(&mut a, &mut b).await;
    assert_eq!((near.direction, far.direction), (Direction::Outgoing, Direction::Incoming));
    assert_eq!((near.key, far.key), (b.identity.key(), a.identity.key()));
    assert_eq!((near.hello.boot, far.hello.boot), (7, 1));
    assert_eq!((near.hello.nonce, far.hello.nonce), (far.own_nonce, near.own_nonce));
    assert_eq!((near.hello.purpose, far.hello.purpose), (Purpose::Neighbour, Purpose::Neighbour));
    assert_eq!(near.location, Some(b.location.clone()));
    assert_eq!((far.dial, far.remote_ip), (None, Some(IpAddr::V4(Ipv4Addr::LOCALHOST))));
}

#[tokio::test]
async fn frames_arrive_in_their_order() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let (near, far) = link(&mut a, &mut b).await;
    for query in 0..500 {
        a.send(near.link, look_up(query)).await;
        b.send(far.link, look_up(query)).await;
    }
    for query in 0..500 {
        assert_eq!(b.frame(far.link).await, look_up(query));
        assert_eq!(a.frame(near.link).await, look_up(query));
    }
}

#[tokio::test]
async fn another_key_than_the_wanted_one_is_refused() {
    let (mut a, b) = (Node::start(1).await, Node::start(2).await);
    let stranger = Identity::from_seed([9; 32]).key();
    let dial = a.dial(Some(stranger), vec![b.location.clone()]).await;
    assert_eq!(a.dial_failed(dial).await, DialError::OtherKey);
    b.counted(|counts| counts.failed_handshakes == 1).await;
    assert_eq!(b.counts().opened, 0);
}

#[tokio::test]
async fn anybody_may_answer_a_dial_without_a_key_but_this_node_itself() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.dial(None, vec![b.location.clone()]).await;
    assert_eq!(a.opened().await.key, b.identity.key());
    b.opened().await;
    let dial = a.dial(None, vec![a.location.clone()]).await;
    assert_eq!(a.dial_failed(dial).await, DialError::OwnKey);
}

#[tokio::test]
async fn location_where_nobody_listens_gives_way_to_the_next() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let nobody = Location::truncated("/ip4/127.0.0.1/tcp/1");
    let dial = a.dial(None, vec![nobody.clone()]).await;
    assert!(matches!(a.dial_failed(dial).await, DialError::Connect(_)));
    let dial = a.dial(None, Vec::new()).await;
    assert_eq!(a.dial_failed(dial).await, DialError::NoLocation);
    let dial = a.dial(None, vec![Location::truncated("nonsense")]).await;
    assert!(matches!(a.dial_failed(dial).await, DialError::Connect(_)));
    a.dial(None, vec![nobody, b.location.clone()]).await;
    assert_eq!(a.opened().await.location, Some(b.location.clone()));
    b.opened().await;
}

#[tokio::test]
async fn listener_that_says_nothing_fails_the_dial_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = Location::truncated(&format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port()));
    let short = Duration::from_millis(200);
    let mut a = Node::start_with(1, |config| config.deadlines.handshake = short).await;
    let dial = a.dial(None, vec![location]).await;
    assert_eq!(a.dial_failed(dial).await, DialError::TimedOut { stage: DialStage::Handshake, after: short });
}

#[tokio::test]
async fn listener_of_another_version_fails_the_dial_with_its_version() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = Location::truncated(&format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port()));
    let mut a = Node::start(1).await;
    let dial = a.dial(None, vec![location]).await;
    let tls = Tls::new(&Identity::from_seed([2; 32]).keypair()).unwrap();
    let (stream, _) = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
    let mut raw = Raw { stream };
    let Some(hello @ Frame::Hello(_)) = raw.receive().await else { panic!("no hello") };
    let mut bytes = hello.to_bytes().unwrap();
    bytes[8] = 2;
    raw.write(&bytes).await;
    assert_eq!(raw.receive_bye().await, Some(Status::VersionNotSupported));
    drop(raw);
    let version = CloseReason::Protocol(kith_common::wire::WireError::Version(2));
    assert_eq!(a.dial_failed(dial).await, DialError::Hello(version));
}

#[tokio::test]
async fn links_over_the_limit_are_refused_with_a_reason() {
    let mut a = Node::start_with(1, |config| (config.limits.links_max, config.limits.outgoing_reserved) = (3, 1)).await;
    let (mut b, mut c, mut d) = (Node::start(2).await, Node::start(3).await, Node::start(4).await);
    link(&mut b, &mut a).await;
    link(&mut c, &mut a).await;
    let dial = d.dial(None, vec![a.location.clone()]).await;
    let refused = d.wait(|event| match event {
        LinkEvent::DialFailed { dial: of, reason: DialError::Hello(reason) } if *of == dial => Some(reason.clone()),
        _ => None,
    });
    assert!(matches!(refused.await, CloseReason::Bye { status: Status::SlowDown, .. }));
    link(&mut a, &mut d).await;
    let dial = a.dial(None, vec![b.location.clone()]).await;
    assert_eq!(a.dial_failed(dial).await, DialError::TooManyLinks(3));
}

#[tokio::test]
async fn supernode_whose_links_are_all_taken_by_peers_is_reached_by_others() {
    let few = Limits { links_max: 3, backbone_reserved: 1, ..Limits::of_supernode() };
    let mut a = Node::start_with(1, |config| config.limits = few).await;
    let (mut b, mut c, mut d) = (Node::start(2).await, Node::start(3).await, Node::start(4).await);
    link(&mut b, &mut a).await;
    link(&mut c, &mut a).await;
    let dial = d.dial(None, vec![a.location.clone()]).await;
    assert!(matches!(d.dial_failed(dial).await, DialError::Hello(CloseReason::Bye { status: Status::SlowDown, .. })));
    let dial = d.dial_for(Purpose::Backbone, None, vec![a.location.clone()]).await;
    let opened = d.wait(|event| matches!(event, LinkEvent::Opened(opened) if opened.dial == Some(dial)).then_some(()));
    opened.await;
}

#[tokio::test]
async fn address_that_is_taken_is_told_at_the_start() {
    let a = Node::start(1).await;
    let mut config = LinkConfig::of_peer(template(), Clock::start(), 1);
    config.listen = vec![a.location.parse().unwrap()];
    let error = spawn(config, &Identity::generate()).unwrap_err();
    assert!(matches!(&error, SpawnError::Listen { .. }), "{error}");
    assert!(error.to_string().contains(&*a.location), "{error}");
}
