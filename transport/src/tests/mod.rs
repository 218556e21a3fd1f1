//! Endpoints and a mesh between them that delays, loses, reorders, damages, and has ways that lead nowhere.

mod connections;
mod exchanges;
mod introductions;
mod transport;
mod ways;

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

use crate::output::{Arrival, ConnectionId, Datagram, Direction, End, Output, StreamId};
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

/// What an endpoint does next when all that has come was taken in
fn next_output(endpoint: &mut Endpoint, now: Instant) -> Option<Output> {
    loop {
        let output = endpoint.poll_output();
        if output.is_some() || !endpoint.flush(now) {
            return output;
        }
    }
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
    under_way: BTreeMap<(Instant, u64), (usize, Arrival, Vec<u8>)>,
    sent: u64,
    rng: ChaCha20Rng,
    /// What each has been told
    told: Vec<Vec<(Instant, Output)>>,
    /// All that was ever sent, if it is kept
    record: Option<Vec<(usize, Arrival, Vec<u8>)>>,
    relayed: u64,
    /// The way that each has taken last
    taken: BTreeMap<usize, u32>,
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
            taken: BTreeMap::new(),
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
        self.taken.insert(from, way);
        assert!(bytes.len() <= usize::from(crate::settings::DATAGRAM_BYTES), "{}", bytes.len());
        let to = (0..self.endpoints.len()).find(|number| address_of(*number) == to);
        let Some(to) = to else { return };
        let is_silent = self.silent.contains(&(from, way));
        let source = address_of(from);
        let arrival = Arrival { source, label, is_congested: false, is_relayed: is_relayed && is_silent };
        if let Some(record) = &mut self.record {
            record.push((to, arrival, bytes.clone()));
        }
        self.relayed += u64::from(is_relayed);
        if is_silent && !is_relayed || self.happens(self.weather.lost) {
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
            self.under_way.insert((self.now + self.weather.delay + late, self.sent), (to, arrival, bytes.clone()));
        }
    }

    fn settle(&mut self) {
        for number in 0..self.endpoints.len() {
            while let Some(output) = next_output(&mut self.endpoints[number], self.now) {
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
                let (to, arrival, bytes) = entry.remove();
                self.endpoints[to].handle_datagram(self.now, &arrival, &bytes);
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
