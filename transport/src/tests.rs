//! Two endpoints and a mesh between them that delays, loses, reorders, damages, and has ways that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use kith_common::crypto::{Signature, Signer, Verifier};
use kith_common::id::{Address, Key};
use kith_common::time::{Instant, earliest};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::output::{ConnectionId, Datagram, Direction, End, Output, StreamId};
use crate::{CODE_ROOM, CONNECTIONS_MAX, Endpoint, EndpointParts, Read, StreamError, datagram_of, label_of, seeded};

const ALICE: usize = 0;
const BOB: usize = 1;

struct Holder(SigningKey);

impl Verifier for Holder {}

impl Signer for Holder {
    fn key(&self) -> Key {
        Key(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}

fn holder(number: usize) -> Holder {
    Holder(SigningKey::from_bytes(&[number as u8 + 1; 32]))
}

fn key_of(number: usize) -> Key {
    holder(number).key()
}

const fn address_of(number: usize) -> Address {
    Address(1 << 40 | number as u64)
}

fn endpoint(number: usize, seed: u64) -> Endpoint {
    let parts = EndpointParts {
        signer: Arc::new(holder(number)),
        provider: Arc::new(seeded::provider()),
        reset_secret: [number as u8; 32],
        rng: ChaCha20Rng::seed_from_u64(seed << 8 | number as u64),
    };
    Endpoint::new(parts).unwrap()
}

/// What the mesh does with packets
#[derive(Clone, Copy)]
struct Weather {
    delay: Duration,
    jitter: Duration,
    /// In thousandths
    lost: u32,
    doubled: u32,
    /// One bit of so many packets in a thousand is turned round
    damaged: u32,
}

const FAIR: Weather =
    Weather { delay: Duration::from_millis(5), jitter: Duration::ZERO, lost: 0, doubled: 0, damaged: 0 };

/// First hops that each peer has; a label takes one of them, and another one if that is to be avoided
const WAYS: u32 = 4;

fn way_of(label: u32, avoid: &[Address]) -> u32 {
    let ways = (0..WAYS).map(|turn| label.wrapping_add(turn) % WAYS);
    ways.clone().find(|way| !avoid.contains(&hop_of(*way))).unwrap_or(label % WAYS)
}

const fn hop_of(way: u32) -> Address {
    Address(1 << 50 | way as u64)
}

struct Net {
    now: Instant,
    endpoints: Vec<Endpoint>,
    weather: Weather,
    /// Ways that swallow all, by direction
    silent: BTreeSet<(usize, u32)>,
    /// On their way: when they come, to whom, from where
    under_way: BTreeMap<(Instant, u64), (usize, Address, Vec<u8>)>,
    sent: u64,
    rng: ChaCha20Rng,
    /// What each has been told
    told: Vec<Vec<(Instant, Output)>>,
    /// All that was ever sent, if it is kept
    record: Option<Vec<(usize, Address, Vec<u8>)>>,
    relayed: u64,
}

impl Net {
    fn of(count: usize, seed: u64) -> Self {
        seeded::seed(seed);
        Self {
            now: Instant::ZERO,
            endpoints: (0..count).map(|number| endpoint(number, seed)).collect(),
            weather: FAIR,
            silent: BTreeSet::new(),
            under_way: BTreeMap::new(),
            sent: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            told: vec![Vec::new(); count],
            record: None,
            relayed: 0,
        }
    }

    fn happens(&mut self, thousandths: u32) -> bool {
        self.rng.next_u32() % 1000 < thousandths
    }

    fn send(&mut self, from: usize, datagram: Datagram) {
        let packet = datagram.packet(address_of(from), self.rng.next_u32()).unwrap();
        let packet = packet.as_ref();
        let (to, label) = (packet.header().destination, label_of(packet.header().id));
        let (is_relayed, mut bytes) = (datagram.is_relayed, datagram_of(&packet).unwrap().to_vec());
        let way = way_of(label, &datagram.avoid);
        self.endpoints[from].handle_sent(label, hop_of(way));
        assert!(bytes.len() <= usize::from(crate::settings::DATAGRAM_BYTES), "{}", bytes.len());
        let to = (0..self.endpoints.len()).find(|number| address_of(*number) == to);
        let Some(to) = to else { return };
        if let Some(record) = &mut self.record {
            record.push((to, address_of(from), bytes.clone()));
        }
        self.relayed += u64::from(is_relayed);
        if self.silent.contains(&(from, way)) && !is_relayed || self.happens(self.weather.lost) {
            return;
        }
        for _ in 0..1 + usize::from(self.happens(self.weather.doubled)) {
            if self.happens(self.weather.damaged) {
                let bit = self.rng.next_u32() as usize % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let jitter = self.weather.jitter.as_micros() as u64;
            let late = Duration::from_micros(u64::from(self.rng.next_u32()) % (jitter + 1));
            self.sent += 1;
            self.under_way
                .insert((self.now + self.weather.delay + late, self.sent), (to, address_of(from), bytes.clone()));
        }
    }

    fn settle(&mut self) {
        for number in 0..self.endpoints.len() {
            while let Some(output) = self.endpoints[number].poll_output() {
                match output {
                    Output::Send(datagram) => self.send(number, datagram),
                    output => self.told[number].push((self.now, output)),
                }
            }
        }
    }

    /// Goes on until `holds`, and no longer than a limit; whether it did
    fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        self.settle();
        while !holds(self) {
            self.settle();
            let packet = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let timers = self.endpoints.iter().map(Endpoint::next_timeout).fold(None, earliest);
            let Some(at) = earliest(packet, timers).filter(|at| *at <= end) else {
                self.now = end;
                return holds(self);
            };
            self.now = self.now.max(at);
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, from, bytes) = entry.remove();
                self.endpoints[to].handle_datagram(self.now, from, false, &bytes);
            }
            for endpoint in &mut self.endpoints {
                endpoint.handle_timeout(self.now);
            }
            self.settle();
        }
        true
    }

    fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    fn connect(&mut self, from: usize, to: usize) -> ConnectionId {
        self.endpoints[from].connect(self.now, key_of(to), address_of(to)).unwrap()
    }

    fn find<T>(&self, whose: usize, wanted: impl Fn(&Output) -> Option<T>) -> Option<T> {
        self.told[whose].iter().find_map(|(_, output)| wanted(output))
    }

    fn end_of(&self, whose: usize, id: ConnectionId) -> Option<End> {
        self.find(whose, |output| match output {
            Output::Ended { connection, end } if *connection == id => Some(end.clone()),
            _ => None,
        })
    }

    fn is_connected(&self, whose: usize, id: ConnectionId) -> bool {
        self.find(whose, |output| {
            matches!(output, Output::Connected { connection, .. } if *connection == id).then_some(())
        })
        .is_some()
    }

    /// Alice's connection to bob, which stands, and bob's with alice
    fn connected(&mut self) -> (ConnectionId, ConnectionId) {
        let id = self.connect(ALICE, BOB);
        assert!(
            self.run_until(Duration::from_secs(20), |net| net.is_connected(ALICE, id)
                && net.find(BOB, theirs).is_some())
        );
        let other = self.find(BOB, theirs).unwrap();
        (id, other)
    }

    /// Sends `bytes` on a stream of its own from alice to bob, and reads as it comes; what bob has read
    fn transfer(&mut self, ids: (ConnectionId, ConnectionId), bytes: &[u8], limit: Duration) -> Vec<u8> {
        let (id, other) = ids;
        let stream = self.endpoints[ALICE].open(id, Direction::One).unwrap().unwrap();
        let (mut written, mut read) = (0, Vec::new());
        let mut is_finished = false;
        self.run_until(limit, |net| {
            if written < bytes.len() {
                written += net.endpoints[ALICE].write(net.now, id, stream, &bytes[written..]).unwrap();
            } else if !is_finished {
                net.endpoints[ALICE].finish(net.now, id, stream).unwrap();
                is_finished = true;
            }
            loop {
                match net.endpoints[BOB].read(net.now, other, stream, usize::MAX) {
                    Ok(Read::Bytes(more)) => read.extend_from_slice(&more),
                    Ok(Read::End) => return true,
                    Ok(Read::Nothing) | Err(StreamError::Gone(_)) => return false,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        read
    }
}

fn theirs(output: &Output) -> Option<ConnectionId> {
    match output {
        Output::Connected { connection, is_theirs: true, .. } => Some(*connection),
        _ => None,
    }
}

fn some_bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    ChaCha20Rng::seed_from_u64(count as u64).fill_bytes(&mut bytes);
    bytes
}

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

/// What bob hears of what alice says every 50 ms while the ways that she and he have taken swallow everything: the longest
/// time without anything
fn longest_gap(seed: u64, silent: impl Fn(&Net) -> Vec<(usize, u32)>) -> (Duration, u64) {
    let mut net = Net::of(2, seed);
    let (id, other) = net.connected();
    let (mut heard, mut longest) = (net.now, Duration::ZERO);
    for second in 0..60 {
        if second == 20 {
            net.silent = silent(&net).into_iter().collect();
        }
        let stream = net.endpoints[ALICE].open(id, Direction::One).unwrap().unwrap();
        net.endpoints[ALICE].write(net.now, id, stream, b"here").unwrap();
        net.endpoints[ALICE].finish(net.now, id, stream).unwrap();
        let mut streams: Vec<StreamId> = Vec::new();
        let until = net.now + Duration::from_millis(50);
        while net.now < until {
            net.run_until(until - net.now, |net| {
                let opened = net.told[BOB].drain(..).filter_map(|(_, output)| match output {
                    Output::Opened { stream, .. } => Some(stream),
                    _ => None,
                });
                streams.extend(opened);
                !streams.is_empty()
            });
            for stream in streams.drain(..) {
                while !matches!(
                    net.endpoints[BOB].read(net.now, other, stream, 64),
                    Ok(Read::End | Read::Nothing) | Err(_)
                ) {}
                longest = longest.max(net.now - heard);
                heard = net.now;
            }
        }
    }
    assert!(net.now - heard < Duration::from_secs(1), "seed {seed}: nothing came at the end");
    (longest, net.relayed)
}

#[test]
fn way_that_falls_silent_is_left_within_a_few_round_trips() {
    for seed in 0..20 {
        let all_but_one = |open: u32| (0..WAYS).filter(move |way| *way != open);
        let (gap, _) = longest_gap(seed, |_| all_but_one(seed as u32 % WAYS).map(|way| (ALICE, way)).collect());
        assert!(gap < Duration::from_secs(1), "seed {seed}: {gap:?} with one way of four left");
        let (gap, relayed) = longest_gap(seed, |_| (0..WAYS).flat_map(|way| [(ALICE, way), (BOB, way)]).collect());
        assert!(gap < Duration::from_secs(1) && relayed > 0, "seed {seed}: {gap:?}, {relayed} relayed");
    }
}

#[test]
fn what_the_mesh_says_changes_the_way_at_once_and_an_old_ways_end_does_not() {
    let mut net = Net::of(2, 7);
    let (id, _) = net.connected();
    net.run(Duration::from_secs(1));
    let stream = net.endpoints[ALICE].open(id, Direction::One).unwrap().unwrap();
    net.endpoints[ALICE].write(net.now, id, stream, b"hello").unwrap();
    let label_of = |output: &Output| match output {
        Output::Send(datagram) => Some(datagram.label),
        _ => None,
    };
    let label = net.endpoints[ALICE].poll_output().as_ref().and_then(label_of).unwrap();
    net.endpoints[ALICE].handle_undeliverable(net.now, label.wrapping_add(1));
    assert_eq!(net.endpoints[ALICE].poll_output(), None, "that is not its way");
    net.endpoints[ALICE].handle_undeliverable(net.now, label);
    assert_eq!(net.endpoints[ALICE].poll_output(), Some(Output::WayChanged { connection: id, changes: 1 }));
    let again = net.endpoints[ALICE].poll_output().as_ref().and_then(label_of).unwrap();
    assert_ne!(again, label, "what is owed goes by another way");
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
            let (to, from, bytes) = &record[at];
            net.endpoints[*to].handle_datagram(net.now, *from, false, bytes);
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
    let ended: Vec<_> = std::iter::from_fn(|| endpoint.poll_output())
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
