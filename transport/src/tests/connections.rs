//! Whom a connection is with, what it carries, and how it ends.

use super::*;

#[test]
fn both_ends_prove_their_keys() {
    let mut net = Net::of(2, 1);
    let (id, other) = net.connected();
    assert_eq!(net.endpoints[ALICE].key_of(id), Some(key_of(BOB)));
    assert_eq!(net.endpoints[BOB].key_of(other), Some(key_of(ALICE)));
    assert!(net.now <= Instant::from_micros(25_000), "two round trips: {:?}", net.now);
}

#[test]
fn somebody_else_at_the_address_is_not_taken_for_whom_was_dialled() {
    let mut net = Net::of(3, 1);
    let id = net.endpoints[ALICE].connect(net.now, key_of(2), address_of(BOB)).unwrap();
    net.run(Duration::from_secs(5));
    assert_eq!((net.is_connected(ALICE, id), net.end_of(ALICE, id)), (false, Some(End::AnotherKey)));
    assert_eq!(net.find(BOB, theirs), None);
}

#[test]
fn all_bytes_arrive_once_and_in_order_over_a_mesh_that_loses_doubles_and_reorders() {
    for seed in 0..10 {
        let mut net = Net::of(2, seed);
        net.weather = Weather { jitter: Duration::from_millis(15), lost: 50, doubled: 50, ..FAIR };
        let ids = net.connected();
        let bytes = some_bytes(3_000_000);
        let read = net.transfer(ids, &bytes, Duration::from_secs(120));
        assert!(read == bytes, "seed {seed}: {} of {} bytes, or others", read.len(), bytes.len());
    }
}

#[test]
fn same_seed_gives_the_same_packets_and_another_one_others() {
    let run = |seed| {
        let mut net = Net::of(2, seed);
        net.record = Some(Vec::new());
        net.weather = Weather { jitter: Duration::from_millis(15), lost: 50, doubled: 50, ..FAIR };
        let ids = net.connected();
        net.transfer(ids, &some_bytes(100_000), Duration::from_secs(60));
        (net.now, net.record.unwrap())
    };
    assert!(run(1) == run(1));
    assert!(run(1) != run(2));
}

#[test]
fn damaged_packets_change_nothing() {
    for seed in 0..5 {
        let mut net = Net::of(2, seed);
        net.weather = Weather { damaged: 200, ..FAIR };
        let ids = net.connected();
        let bytes = some_bytes(500_000);
        let read = net.transfer(ids, &bytes, Duration::from_secs(120));
        assert!(read == bytes, "seed {seed}: {} of {} bytes, or others", read.len(), bytes.len());
        assert_eq!((net.end_of(ALICE, ids.0), net.end_of(BOB, ids.1)), (None, None));
    }
}

#[test]
fn peer_that_has_started_anew_says_so_at_once() {
    let mut net = Net::of(2, 3);
    let (id, _) = net.connected();
    net.run(Duration::from_secs(1));
    net.endpoints[BOB] = endpoint(BOB, 99);
    net.told[BOB].clear();
    let said = net.now;
    net.endpoints[ALICE].say(net.now, id, Bytes::from_static(&[7; 100])).unwrap();
    assert!(net.run_until(Duration::from_secs(5), |net| net.end_of(ALICE, id).is_some()));
    assert_eq!(net.end_of(ALICE, id), Some(End::Forgotten));
    assert!(net.now - said < Duration::from_millis(50), "{:?}", net.now - said);
}

#[test]
fn replayed_packets_have_no_effect() {
    let mut net = Net::of(2, 5);
    net.record = Some(Vec::new());
    let ids = net.connected();
    let bytes = some_bytes(50_000);
    assert!(net.transfer(ids, &bytes, Duration::from_secs(9)) == bytes);
    net.run(Duration::from_secs(1));
    let record = net.record.take().unwrap();
    let before = net.told.clone();
    for _ in 0..3 {
        let mut order: Vec<usize> = (0..record.len()).collect();
        (1..order.len()).rev().for_each(|at| order.swap(at, net.rng.next_u32() as usize % (at + 1)));
        for at in order {
            let (to, arrival, bytes) = &record[at];
            net.endpoints[*to].handle_datagram(net.now, arrival, bytes);
        }
        net.run(Duration::from_millis(200));
    }
    net.endpoints[ALICE].say(net.now, ids.0, Bytes::from_static(b"still here")).unwrap();
    net.run(Duration::from_secs(1));
    assert_eq!(net.endpoints[BOB].take_said(ids.1), Some(Bytes::from_static(b"still here")));
    let news: Vec<_> = net.told.iter().zip(&before).flat_map(|(now, before)| &now[before.len()..]).collect();
    // A first packet that comes again begins a handshake, which nobody ends.
    let is_effect =
        |(_, output): &&(Instant, Output)| !matches!(output, Output::WayChanged { .. } | Output::Heard { .. });
    let effects: Vec<_> = news.iter().copied().filter(is_effect).collect();
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn stream_that_is_given_up_by_either_end_says_why() {
    let mut net = Net::of(2, 4);
    let (id, other) = net.connected();
    let open = |net: &mut Net| {
        let stream = net.endpoints[ALICE].open(id, Direction::Both).unwrap().unwrap();
        net.endpoints[ALICE].write(net.now, id, stream, b"question").unwrap();
        net.run(Duration::from_millis(50));
        assert_eq!(
            net.endpoints[BOB].read(net.now, other, stream, 99),
            Ok(Read::Bytes(Bytes::from_static(b"question")))
        );
        stream
    };
    let stream = open(&mut net);
    net.endpoints[BOB].reset(net.now, other, stream, 408).unwrap();
    net.run(Duration::from_millis(50));
    assert_eq!(net.endpoints[ALICE].read(net.now, id, stream, 9), Err(StreamError::GivenUp(408)));
    let stream = open(&mut net);
    net.endpoints[BOB].stop(net.now, other, stream, 413).unwrap();
    net.run(Duration::from_millis(50));
    assert_eq!(net.endpoints[ALICE].write(net.now, id, stream, b"more"), Err(StreamError::GivenUp(413)));
    net.endpoints[BOB].close(net.now, other, 410);
    net.run(Duration::from_millis(50));
    assert_eq!(net.end_of(ALICE, id), Some(End::Closed { code: 410 }));
    assert!(net.endpoints[ALICE].open(id, Direction::One).is_err());
}

#[test]
fn one_more_connection_than_there_may_be_takes_the_place_of_the_idlest() {
    let mut net = Net::of(2, 2);
    let mut endpoint = endpoint(3, 2);
    let first = endpoint.connect(net.now, key_of(BOB), address_of(BOB)).unwrap();
    for number in 1..=CONNECTIONS_MAX as u64 {
        net.now = net.now + Duration::from_micros(number);
        endpoint.connect(net.now, key_of(BOB), address_of(BOB)).unwrap();
    }
    assert_eq!(endpoint.len(), CONNECTIONS_MAX);
    let ended: Vec<_> = std::iter::from_fn(|| next_output(&mut endpoint, net.now))
        .filter_map(
            |output| if let Output::Ended { connection, end } = output { Some((connection, end)) } else { None },
        )
        .collect();
    assert_eq!(ended, [(first, End::ClosedHere { code: CODE_ROOM })]);
}

#[test]
fn idle_connection_ends_and_leaves_nothing_behind() {
    let mut net = Net::of(2, 6);
    let (id, other) = net.connected();
    net.run(3 * crate::settings::IDLE);
    assert_eq!((net.end_of(ALICE, id), net.end_of(BOB, other)), (Some(End::Silent), Some(End::Silent)));
    assert!(net.endpoints.iter().all(|endpoint| endpoint.is_empty() && endpoint.next_timeout().is_none()));
}
