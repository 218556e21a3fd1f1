//! Packets on their way: real routes, real links.

use kith_common::routing::{NeighbourView, Routes};
use kith_common::wire::content::{Cause, Choice, Payload, PayloadKind};
use kith_common::wire::packet::{Class, Header, Mark, PAYLOAD_BYTES_MAX, PacketRef, new_packet};
use kith_common::wire::{PacketBytes, decode};

use super::*;

const A: Address = Address(0x1000_0000_0000_0000);
const B: Address = Address(0x2000_0000_0000_0000);
const C: Address = Address(0x3000_0000_0000_0000);
const NOBODY: Address = Address(0x4000_0000_0000_0000);

fn name(address: Address) -> Name {
    format!("peer-{address}").parse().unwrap()
}

fn next_generation() -> u64 {
    static GENERATION: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    GENERATION.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Routes of `own` with these neighbours and their tables
async fn set_routes(node: &Node, own: Address, neighbours: &[(Address, LinkId, &[Address])]) {
    let view = |(address, _, table): &(Address, LinkId, &[Address])| NeighbourView {
        address: *address,
        up: true,
        held: false,
        name: name(*address),
        table: table.iter().map(|entry| (*entry, true)).collect(),
        unseen: Default::default(),
    };
    let routes = Arc::new(Routes::new(own, 4, 3, next_generation(), neighbours.iter().map(view).collect()));
    let links = neighbours.iter().map(|(address, link, _)| (*address, *link)).collect();
    let routes = NewRoutes { routes, links, name: name(own) };
    node.command(LinkCommand::Routes(Some(Box::new(routes)))).await;
}

/// Three nodes in a row
struct Chain {
    a: Node,
    b: Node,
    c: Node,
    /// From a to b, and b's end of it
    ab: (LinkId, LinkId),
    /// From b to c, and c's end of it
    bc: (LinkId, LinkId),
}

impl Chain {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change_b: impl FnOnce(&mut LinkConfig)) -> Self {
        let (mut a, mut b, mut c) = (Node::start(1).await, Node::start_with(2, change_b).await, Node::start(3).await);
        let (near, far) = link(&mut a, &mut b).await;
        let ab = (near.link, far.link);
        let (near, far) = link(&mut b, &mut c).await;
        let bc = (near.link, far.link);
        set_routes(&a, A, &[(B, ab.0, &[A, C])]).await;
        set_routes(&b, B, &[(A, ab.1, &[B]), (C, bc.0, &[B])]).await;
        set_routes(&c, C, &[(B, bc.1, &[A, C])]).await;
        let mut chain = Self { a, b, c, ab, bc };
        chain.settle().await;
        chain
    }

    /// Until every node has carried out its commands
    async fn settle(&mut self) {
        for node in [&mut self.a, &mut self.b, &mut self.c] {
            node.originate(Packets::default()).await;
        }
    }
}

fn header(destination: Address, id: u64, class: Class) -> Header {
    Header { destination, source: A, id, ttl: 64, class, congested: false, traced: false }
}

/// The payload of a message, as far as anybody here looks into it
fn message(bytes: &[u8]) -> Vec<u8> {
    [&[PayloadKind::Message as u8, 0, 0, 0], bytes].concat()
}

fn packet(header: &Header, payload: &[u8]) -> Frame {
    Frame::Packet(PacketBytes::new(new_packet(header, payload).unwrap()).unwrap())
}

/// The packets that a node was given, until there are so many
async fn delivered(node: &mut Node, count: usize) -> Vec<PacketBytes> {
    let mut packets = Vec::new();
    while packets.len() < count {
        let delivery = node.wait(|event| match event {
            LinkEvent::Deliver(delivery) => Some(delivery.clone()),
            _ => None,
        });
        packets.extend(delivery.await.packets.iter().map(|packet| PacketBytes::new(packet.bytes().to_vec()).unwrap()));
    }
    packets
}

fn payload(packet: &PacketBytes) -> Payload {
    decode(packet.as_ref().payload()).unwrap()
}

#[tokio::test]
async fn batch_of_packets_is_forwarded_in_order_with_its_way() {
    let mut chain = Chain::start().await;
    let (count, per_batch) = (20_000, 500);
    let ids: Vec<u64> = (0..count).collect();
    for ids in ids.chunks(per_batch) {
        let mut packets = Packets::default();
        for id in ids {
            packets.push(&new_packet(&header(C, *id, Class::Data), &message(&id.to_le_bytes())).unwrap()).unwrap();
        }
        let first_hop = Some(FirstHop { to: B, choice: Choice::KnowsDestination, is_full: false });
        let runs = vec![Run { packets: ids.len(), first_hop }];
        assert_eq!(chain.a.originate(packets.clone()).await, Originated { packets, runs }, "one answer to all");
        // No faster than they arrive: the middle drops what does not fit into its queue.
        for (id, packet) in ids.iter().zip(delivered(&mut chain.c, ids.len()).await) {
            let packet = packet.as_ref();
            assert_eq!((packet.header().id, packet.payload()), (*id, &message(&id.to_le_bytes())[..]));
            assert_eq!(packet.header().ttl, 62);
            assert_eq!(packet.way().collect::<Vec<_>>(), [(Mark::Way, B.short())]);
        }
    }
    let counts = chain.b.counts();
    assert_eq!((counts.forwarded, counts.dropped_data_queue), (count, 0));
    assert!(counts.writes < count / 10, "writes are batches: {counts:?}");
    chain.c.counted(|counts| counts.delivered == count).await;
    assert_eq!(chain.a.counts().originated, count);
}

/// A packet that ends at its first forwarder
fn spent(id: u64, class: Class) -> Header {
    Header { ttl: 0, ..header(NOBODY, id, class) }
}

#[tokio::test]
async fn packets_longer_than_a_batch_pass_among_small_ones() {
    let mut chain = Chain::start().await;
    const MAX: usize = PAYLOAD_BYTES_MAX - 4;
    let lens = [0, MAX, 1, MAX, MAX, 64, 30_000, MAX];
    for (id, len) in (0..).zip(lens) {
        chain.a.send(chain.ab.0, packet(&header(C, id, Class::Data), &message(&vec![id as u8; len]))).await;
    }
    for (id, (len, packet)) in (0..).zip(lens.into_iter().zip(delivered(&mut chain.c, lens.len()).await)) {
        assert_eq!(packet.as_ref().header().id, id);
        assert!(packet.as_ref().payload() == message(&vec![id as u8; len]), "{id}");
    }
}

#[tokio::test]
async fn packet_for_nobody_comes_back_to_its_source() {
    let mut chain = Chain::start().await;
    chain.a.send(chain.ab.0, packet(&header(NOBODY, 9, Class::Data), b"lost")).await;
    let undeliverable = chain.a.undeliverable().await;
    assert_eq!((undeliverable.packet, undeliverable.destination), (9, NOBODY));
    assert_eq!(undeliverable.status, Status::Unavailable);
}

#[tokio::test]
async fn packet_with_spent_ttl_is_reported_to_its_source() {
    let mut chain = Chain::start().await;
    chain.a.send(chain.ab.0, packet(&spent(9, Class::Data), b"lost")).await;
    let [report] = &delivered(&mut chain.a, 1).await[..] else { panic!("one report") };
    assert_eq!((report.as_ref().header().source, report.as_ref().header().class), (B, Class::Signal));
    let Payload::Undeliverable(undeliverable) = payload(report) else { panic!("{report:?}") };
    assert_eq!((undeliverable.packet, undeliverable.destination), (9, NOBODY));
    assert_eq!((undeliverable.status, undeliverable.cause), (Status::Unavailable, Cause::TtlSpent));
    let path: Vec<_> = undeliverable.path.iter().map(|hop| hop.short).collect();
    assert_eq!(path, [B.short()]);
}

#[tokio::test]
async fn report_that_cannot_be_delivered_is_not_reported() {
    let chain = Chain::start().await;
    let report = kith_common::wire::content::Undeliverable {
        packet: 1,
        destination: C,
        status: Status::Unavailable,
        cause: Cause::NoCandidate,
        path: Default::default(),
    };
    let report = kith_common::wire::encode(&Payload::Undeliverable(report)).unwrap();
    chain.a.send(chain.ab.0, packet(&spent(9, Class::Signal), &report)).await;
    chain.b.counted(|counts| counts.dropped_reports == 1).await;
    assert_eq!(chain.a.counts().delivered, 0);
}

#[tokio::test]
async fn reports_are_limited_for_each_neighbour() {
    let chain = Chain::start().await;
    for id in 0..400 {
        chain.a.send(chain.ab.0, packet(&spent(id, Class::Data), b"lost")).await;
    }
    chain.b.counted(|counts| counts.undeliverable == 400).await;
    assert!(chain.b.counts().dropped_reports >= 100, "{:?}", chain.b.counts());
}

#[tokio::test]
async fn first_forwarder_refuses_a_source_that_is_not_its_neighbours() {
    let chain = Chain::start().await;
    let forged = Header { source: NOBODY, ..header(C, 9, Class::Data) };
    chain.a.send(chain.ab.0, packet(&forged, b"not me")).await;
    chain.b.counted(|counts| counts.dropped_forged == 1).await;
    assert_eq!(chain.b.counts().forwarded, 0);
}

#[tokio::test]
async fn traced_packet_is_reported_by_each_forwarder() {
    let mut chain = Chain::start().await;
    let traced = Header { traced: true, ..header(C, 9, Class::Signal) };
    chain.a.send(chain.ab.0, packet(&traced, &message(b"where"))).await;
    let [report] = &delivered(&mut chain.a, 1).await[..] else { panic!("one report") };
    let Payload::Hop(hop) = payload(report) else { panic!("{report:?}") };
    assert_eq!((hop.packet, hop.index, hop.address, hop.next), (9, 0, B, C));
    assert_eq!((hop.choice, hop.name), (Choice::Destination, name(B)));
    assert_eq!(delivered(&mut chain.c, 1).await[0].as_ref().payload(), message(b"where"));
}

#[tokio::test]
async fn packet_that_comes_back_to_its_source_is_told_to_the_driver() {
    let mut a = Node::start(1).await;
    let (mut raw, link) = Raw::open(2, &mut a).await;
    set_routes(&a, A, &[(B, link, &[A])]).await;
    let own = new_packet(&header(NOBODY, 9, Class::Data), b"lost").unwrap();
    let given_back = {
        let packet = PacketRef::parse(&own).unwrap();
        let mut body = Vec::new();
        let tried = kith_common::wire::packet::Edit { way: Some((Mark::Tried, B.short())), ..Default::default() };
        kith_common::wire::packet::emit_forwarded(&packet, &tried, &mut body).unwrap();
        body
    };
    raw.send(Frame::Packet(PacketBytes::new(given_back).unwrap())).await;
    let undeliverable = a.undeliverable().await;
    assert_eq!((undeliverable.packet, undeliverable.cause), (9, Cause::NoCandidate));
}

#[tokio::test]
async fn packet_whose_next_hop_has_just_gone_takes_the_new_routes() {
    let mut chain = Chain::start().await;
    let (near, far) = link(&mut chain.b, &mut chain.c).await;
    set_routes(&chain.c, C, &[(B, far.link, &[A, C])]).await;
    let (status, reason) = (Status::Conflict, String::new());
    chain.b.command(LinkCommand::Close { link: chain.bc.0, status, reason }).await;
    chain.b.closed(chain.bc.0).await;
    let before = chain.b.counts().frames_in;
    chain.a.send(chain.ab.0, packet(&header(C, 9, Class::Data), &message(b"late"))).await;
    chain.b.counted(|counts| counts.frames_in > before).await;
    set_routes(&chain.b, B, &[(A, chain.ab.1, &[B]), (C, near.link, &[B])]).await;
    assert_eq!(delivered(&mut chain.c, 1).await[0].as_ref().payload(), message(b"late"));
}

#[tokio::test]
async fn congestion_is_marked_then_data_is_dropped_and_the_source_told() {
    let mut b = Node::start_with(2, |config| {
        config.liveness.down_after = DEADLINE;
        config.queues.data = 400 * 1024;
    })
    .await;
    let (mut source, from) = Raw::open(1, &mut b).await;
    let (mut sink, to) = Raw::open(3, &mut b).await;
    set_routes(&b, B, &[(A, from, &[B]), (C, to, &[B])]).await;
    let mut sent = 0;
    while b.counts().dropped_data_queue == 0 {
        source.send(packet(&header(C, sent, Class::Data), &[7; 30_000])).await;
        sent += 1;
    }
    let report = loop {
        if let Some(Frame::Packet(report)) = source.receive().await {
            break report;
        }
    };
    let Payload::Undeliverable(undeliverable) = payload(&report) else { panic!("{report:?}") };
    assert_eq!(undeliverable.cause, Cause::Congested);
    let mut marks = Vec::new();
    while marks.last() != Some(&true) {
        if let Some(Frame::Packet(packet)) = sink.receive().await {
            marks.push(packet.as_ref().header().congested);
        }
    }
    assert!(!marks[0], "the first met an empty queue");
}

#[tokio::test]
async fn supernode_gets_packets_as_frames() {
    let mut a = Node::start(1).await;
    let mut supernode = Node::start_with(2, |config| config.forwarding = false).await;
    let (near, far) = link(&mut a, &mut supernode).await;
    let sent = packet(&header(C, 1, Class::Data), &message(b"x"));
    let Frame::Packet(bytes) = sent.clone() else { panic!("a packet") };
    a.send(near.link, sent.clone()).await;
    a.send(near.link, Frame::Relay(bytes.clone())).await;
    assert_eq!(supernode.frame(far.link).await, sent);
    assert_eq!(supernode.frame(far.link).await, Frame::Relay(bytes.clone()));
    // Its packets for the peer come over a link that is no neighbour's.
    set_routes(&a, C, &[]).await;
    supernode.send(far.link, Frame::Packet(bytes)).await;
    assert_eq!(delivered(&mut a, 1).await[0].as_ref().payload(), message(b"x"));
}

#[tokio::test]
async fn own_packet_that_finds_no_room_or_no_way_is_answered_in_its_place() {
    let mut b = Node::start_with(2, |config| {
        config.liveness.down_after = DEADLINE;
        config.queues.data = 400 * 1024;
    })
    .await;
    let (_sink, to) = Raw::open(3, &mut b).await;
    set_routes(&b, B, &[(C, to, &[B])]).await;
    let own = |destination, id| {
        let header = Header { source: B, ..header(destination, id, Class::Data) };
        new_packet(&header, &message(&[7; 30_000])).unwrap()
    };
    let (to, choice) = (C, Choice::Destination);
    for id in 0.. {
        let mut packets = Packets::default();
        packets.push(&own(C, id)).unwrap();
        packets.push(&own(NOBODY, id)).unwrap();
        let originated = b.originate(packets).await;
        let fates = |is_full| [(C, Some(FirstHop { to, choice, is_full })), (NOBODY, None)];
        let answered: Vec<_> = originated.iter().map(|(packet, hop)| (packet.header().destination, hop)).collect();
        assert_eq!(originated.unsent(), 1);
        if answered == fates(true) {
            break;
        }
        assert_eq!(answered, fates(false));
    }
    assert_eq!(b.counts().dropped_data_queue, 1);
}

#[tokio::test]
async fn arrival_of_a_kind_that_the_node_does_not_take_is_dropped_and_counted() {
    let mut chain = Chain::start().await;
    chain.a.send(chain.ab.0, packet(&header(C, 1, Class::Data), &[PayloadKind::Datagram as u8, 0, 0, 0])).await;
    chain.a.send(chain.ab.0, packet(&header(C, 2, Class::Data), &message(b"x"))).await;
    assert_eq!(delivered(&mut chain.c, 1).await[0].as_ref().header().id, 2);
    assert_eq!(chain.c.counts().dropped_no_receiver, 1);
}

#[tokio::test]
async fn signal_stays_the_neighbours_that_brought_it_when_the_routes_change_before_the_driver_takes_it() {
    let mut b = Node::start_with(2, |config| config.liveness.down_after = DEADLINE).await;
    let (mut source, from) = Raw::open(1, &mut b).await;
    let (mut other, to) = Raw::open(3, &mut b).await;
    set_routes(&b, B, &[(A, from, &[B])]).await;
    b.originate(Packets::default()).await;
    for query in 0..(EVENTS_MAX - b.events.len()) as u64 {
        source.send(look_up(query)).await;
    }
    while b.events.len() < EVENTS_MAX {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Read at once: the packet is decided, and the frame behind it waits for the driver.
    let before = b.counts().bytes_in;
    let mut bytes = packet(&header(B, 9, Class::Signal), &message(b"kept")).to_bytes().unwrap();
    bytes.extend(look_up(9).to_bytes().unwrap());
    source.write(&bytes).await;
    b.counted(|counts| counts.bytes_in >= before + bytes.len() as u64).await;
    set_routes(&b, B, &[]).await;
    b.send(to, look_up(10)).await;
    while !matches!(other.receive().await.expect("the link holds"), Frame::LookUp(_)) {}
    let delivery = b.wait(|event| match event {
        LinkEvent::Deliver(delivery) => Some(delivery.clone()),
        _ => None,
    });
    assert_eq!(delivery.await.from, Some(A), "as it was when it came");
}
