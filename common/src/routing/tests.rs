//! Packets walk through whole meshes, decided and emitted peer by peer as forwarders do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::id::{Address, Key, ShortId};
use crate::lift::{self, Maps};
use crate::ring::Ring;
use crate::time::Instant;
use crate::wire::content::{Cause, Choice};
use crate::wire::packet::{Class, Edit, Header, Mark, PacketRef, TTL_DEFAULT, TTL_MAX, emit_forwarded, new_packet};

/// A mesh at rest: everybody knows its own table and its neighbours', and who of them is dead
struct Mesh {
    members: Vec<Address>,
    graph: BTreeMap<Address, BTreeSet<Address>>,
    dead: BTreeSet<Address>,
    cut: BTreeSet<(Address, Address)>,
    routes: BTreeMap<Address, Routes>,
    caches: BTreeMap<Address, RouteCache>,
    rng: ChaCha20Rng,
}

#[derive(Debug, PartialEq, Eq)]
struct Walk {
    end: Decision,
    hops: usize,
    /// Who had it, in order
    seen: Vec<Address>,
    /// What the packet says of its way
    way: Vec<ShortId>,
}

impl Mesh {
    /// `n` members with the addresses that logins give
    fn new(n: usize, degree: u8, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut ring = Ring::new();
        while ring.len() < n {
            let (mut key, mut salt) = (Key([0; 32]), [0; 16]);
            rng.fill_bytes(&mut key.0);
            rng.fill_bytes(&mut salt);
            ring.insert(lift::choose_address(&key, &salt, &ring));
        }
        let graph = lift::graph(&ring, &Maps::of_degree(degree), &());
        let members: Vec<Address> = ring.iter().collect();
        let dead = BTreeSet::new();
        let mut mesh =
            Self { members, graph, dead, cut: BTreeSet::new(), routes: BTreeMap::new(), caches: BTreeMap::new(), rng };
        mesh.learn(degree);
        mesh
    }

    /// Everybody learns what its neighbours know
    fn learn(&mut self, degree: u8) {
        let is_up = |a: &Address, b: &Address| {
            !self.dead.contains(a) && !self.dead.contains(b) && !self.cut.contains(&(*a.min(b), *a.max(b)))
        };
        let view = |x: &Address, y: &Address| NeighbourView {
            address: *y,
            up: is_up(x, y),
            name: "somebody".parse().unwrap(),
            table: self.graph[y].iter().map(|z| (*z, is_up(y, z))).collect(),
        };
        let generation = self.routes.values().next().map_or(0, |routes| routes.generation() + 1);
        let n = self.graph.len() as u64;
        let routes =
            |x: &Address| Routes::new(*x, degree, n, generation, self.graph[x].iter().map(|y| view(x, y)).collect());
        self.routes = self.members.iter().map(|x| (*x, routes(x))).collect();
    }

    fn kill(&mut self, dead: impl IntoIterator<Item = Address>) {
        self.dead.extend(dead);
        self.learn(self.routes[&self.members[0]].degree());
    }

    fn random_member(&mut self) -> Address {
        loop {
            let member = self.members[(self.rng.next_u64() % self.members.len() as u64) as usize];
            if !self.dead.contains(&member) {
                return member;
            }
        }
    }

    /// Members that `x` could reach
    fn reachable(&self, x: Address) -> BTreeSet<Address> {
        let (mut reached, mut todo) = (BTreeSet::from([x]), vec![x]);
        while let Some(x) = todo.pop() {
            todo.extend(self.graph[&x].iter().filter(|y| !self.dead.contains(y) && reached.insert(**y)));
        }
        reached
    }

    fn walk(&mut self, source: Address, destination: Address, ttl: u8) -> Walk {
        let header = header(source, destination, self.rng.next_u64(), ttl);
        let (mut here, mut from, mut bytes) = (source, None, new_packet(&header, b"walks").unwrap());
        let mut seen = vec![source];
        loop {
            let packet = PacketRef::parse(&bytes).unwrap();
            let cache = self.caches.entry(here).or_default();
            let decision = self.routes[&here].decide(cache, &packet, from, Instant::ZERO);
            let (to, edit) = match &decision {
                Decision::Forward { to, edit, .. } => {
                    assert!(!seen.contains(to), "forward to somebody who had it");
                    (*to, edit)
                }
                Decision::Back { to, edit } => (*to, edit),
                _ => {
                    let way = packet.way().map(|(_, who)| who).collect();
                    return Walk { end: decision, hops: seen.len() - 1, seen, way };
                }
            };
            assert!(self.graph[&here].contains(&to) && !self.dead.contains(&to), "{here:?} has no link to {to:?}");
            let mut next = Vec::new();
            emit_forwarded(&packet, edit, &mut next).unwrap();
            (from, here, bytes) = (Some(here), to, next);
            seen.push(to);
        }
    }

    /// The walk's packet arrived, and what it says of its way is true
    fn assert_delivered(&self, walk: &Walk) {
        assert_eq!(walk.end, Decision::Deliver, "{walk:?}");
        let by_short = |short: &ShortId| *self.members.iter().find(|member| member.short() == *short).unwrap();
        let mut path = vec![walk.seen[0]];
        path.extend(walk.way.iter().map(by_short));
        path.extend(walk.seen.last());
        assert!(path.windows(2).all(|pair| self.graph[&pair[0]].contains(&pair[1])), "{path:?}");
    }
}

fn header(source: Address, destination: Address, id: u64, ttl: u8) -> Header {
    Header { destination, source, id, ttl, class: Class::Data, congested: false, traced: false }
}

fn mean(values: &[usize]) -> f64 {
    values.iter().sum::<usize>() as f64 / values.len() as f64
}

#[test]
fn all_pairs_of_a_small_mesh_deliver_within_five_hops() {
    for seed in 0..20 {
        let mut mesh = Mesh::new(8, 4, seed);
        for source in mesh.members.clone() {
            for destination in mesh.members.clone().into_iter().filter(|member| *member != source) {
                let walk = mesh.walk(source, destination, TTL_DEFAULT);
                mesh.assert_delivered(&walk);
                assert!(walk.hops <= 5, "{walk:?}");
            }
        }
    }
}

#[test]
fn routes_of_a_thousand_are_as_short_as_published() {
    let mut mesh = Mesh::new(1000, 16, 1);
    let mut hops = Vec::new();
    while hops.len() < 4000 {
        let (source, destination) = (mesh.random_member(), mesh.random_member());
        if source != destination {
            let walk = mesh.walk(source, destination, TTL_DEFAULT);
            mesh.assert_delivered(&walk);
            hops.push(walk.hops);
        }
    }
    hops.sort();
    println!("mean {} p99 {} max {}", mean(&hops), hops[3960], hops[3999]);
    assert!(mean(&hops) <= 2.88 && hops[3960] <= 5 && hops[3999] <= 9, "{} {:?}", mean(&hops), hops.last());
}

#[test]
fn experiment_cut() {
    for (n, degree, percent) in [(8, 4, 10), (40, 4, 10), (40, 8, 10), (1000, 16, 10), (1000, 16, 20)] {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let mut hops = Vec::new();
        for seed in 0..if n > 100 { 1 } else { 20 } {
            let mut mesh = Mesh::new(n, degree, seed);
            for x in mesh.members.clone() {
                for y in mesh.graph[&x].clone() {
                    if x < y && mesh.rng.next_u64() % 100 < percent {
                        mesh.cut.insert((x, y));
                    }
                }
            }
            mesh.learn(degree);
            for _ in 0..if n > 100 { 4000 } else { 200 } {
                let (source, destination) = (mesh.random_member(), mesh.random_member());
                let walk = mesh.walk(source, destination, TTL_DEFAULT);
                *kinds.entry(format!("{:?}", walk.end)).or_default() += 1;
                hops.push(walk.hops);
            }
        }
        println!("cut {n} {degree} {percent}: {kinds:?} mean {}", mean(&hops));
    }
}
#[test]
fn experiment_dead() {
    for (n, degree) in [(8, 4), (40, 4), (40, 8), (1000, 16)] {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let mut hops = Vec::new();
        for seed in 0..20 {
            let mut mesh = Mesh::new(n, degree, seed);
            let victim = mesh.random_member();
            mesh.kill([victim]);
            for _ in 0..20 {
                let source = mesh.random_member();
                let walk = mesh.walk(source, victim, TTL_DEFAULT);
                *kinds.entry(format!("{:?}", walk.end)).or_default() += 1;
                hops.push(walk.hops);
            }
        }
        hops.sort();
        println!("dead {n} {degree}: {kinds:?} mean {} max {:?}", mean(&hops), &hops[395..]);
        kinds.clear();
        hops.clear();
        for seed in 0..20 {
            let mut mesh = Mesh::new(n, degree, seed);
            for _ in 0..20 {
                let source = mesh.random_member();
                let nobody = Address(mesh.rng.next_u64());
                let walk = mesh.walk(source, nobody, TTL_DEFAULT);
                *kinds.entry(format!("{:?}", walk.end)).or_default() += 1;
                hops.push(walk.hops);
            }
        }
        hops.sort();
        println!("nobody {n} {degree}: {kinds:?} mean {} max {:?}", mean(&hops), &hops[395..]);
    }
}
