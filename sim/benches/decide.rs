//! How long one next-hop decision takes: `cargo bench -p kith-sim --bench decide`.
//!
//! Goals: warm (the destination is in the cache) a median of at most 200 ns at a million peers; cold (it is not) at most
//! 0.3 ms at 100,000 peers and 1.5 ms at a million.
//!
//! Nothing asserts them. Wall time on machines that others use too, as those of CI are, is off by more than a change of
//! the code would make: read the fastest and the median of several runs, beside those of the version before.
//!
//! Only the peer that decides has a snapshot, made of the ring and of its own and its neighbours' tables.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot begin has nothing to say")]

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use divan::{Bencher, black_box};
use kith_common::id::Address;
use kith_common::lift::{self, DEGREE_DEFAULT, Maps};
use kith_common::ring::Ring;
use kith_common::routing::{NeighbourView, RouteCache, Routes};
use kith_common::time::Instant;
use kith_common::wire::packet::{Header, PacketRef, new_packet};
use kith_sim::chance::{Chance, Draws};
use kith_sim::members::{History, Ids, Members};

const SEED: u64 = 1;

fn main() {
    divan::main();
}

/// One peer among many, and to whom it sends
#[derive(Clone)]
struct Peer {
    routes: Routes,
    /// A thousand that are not its neighbours, all different
    destinations: Vec<Address>,
}

/// Those made already: a ring of a million takes seconds
static PEERS: LazyLock<Mutex<BTreeMap<usize, Peer>>> = LazyLock::new(Mutex::default);

impl Peer {
    fn among(peers: usize) -> Self {
        let mut made = PEERS.lock().expect("nobody panics while it is locked");
        made.entry(peers).or_insert_with(|| Self::new(peers)).clone()
    }

    fn new(peers: usize) -> Self {
        let members = Members::new(peers, Ids::Given, History::Joins, SEED);
        let drawn = Chance::new(SEED, Draws::Timing).choose(2000, peers);
        let mut drawn = drawn.into_iter().map(|at| members.at(at as usize).expect("so many are there"));
        let routes = routes(members.ring(), drawn.next().expect("some are drawn"));
        let far = |to: &Address| routes.view(*to).is_none();
        let destinations = drawn.filter(far).take(1000).collect();
        Self { routes, destinations }
    }

    /// A packet of its own to one of them
    fn packet(&self, at: usize) -> Vec<u8> {
        let destination = self.destinations[at % self.destinations.len()];
        let header = Header::new(self.routes.own(), destination, at as u64);
        new_packet(&header, b"hello").expect("so few bytes make a packet")
    }
}

/// What the peer at `own` knows, all links up
fn routes(ring: &Ring, own: Address) -> Routes {
    let maps = Maps::of_degree(DEGREE_DEFAULT);
    let view = |address: Address| NeighbourView {
        address,
        up: true,
        held: false,
        name: "somebody".parse().expect("it is a name"),
        table: lift::neighbours(ring, &maps, address, &()).into_iter().map(|to| (to, true)).collect(),
        unseen: Default::default(),
    };
    let views = lift::neighbours(ring, &maps, own, &()).into_iter().map(view).collect();
    Routes::new(own, DEGREE_DEFAULT, ring.len() as u64, 1, views)
}

/// For a destination that the cache holds
#[divan::bench(args = [10_000, 100_000, 1_000_000])]
fn warm(bencher: Bencher<'_, '_>, peers: usize) {
    let peer = Peer::among(peers);
    let mut cache = RouteCache::new();
    let bytes = peer.packet(0);
    let packet = PacketRef::parse(&bytes).expect("it was just made");
    peer.routes.decide(&mut cache, &packet, None, Instant::ZERO);
    bencher.bench_local(|| peer.routes.decide(&mut cache, black_box(&packet), None, Instant::ZERO));
    assert_eq!(cache.cold_decisions(), 1);
}

/// For a destination that the cache does not hold
#[divan::bench(args = [100_000, 1_000_000], sample_count = 500, sample_size = 1)]
fn cold(bencher: Bencher<'_, '_>, peers: usize) {
    let peer = Peer::among(peers);
    let mut cache = RouteCache::new();
    let mut sent = 0;
    let packet = || {
        sent += 1;
        peer.packet(sent)
    };
    bencher.with_inputs(packet).bench_local_refs(|bytes| {
        let packet = PacketRef::parse(bytes).expect("it was just made");
        peer.routes.decide(&mut cache, &packet, None, Instant::ZERO)
    });
    assert_eq!(cache.cold_decisions(), sent as u64);
}
