//! Packets walk through whole meshes, decided and emitted peer by peer as forwarders do.

mod rules;
mod shapes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::id::{Address, Key, ShortId};
use crate::lift::{self, Maps};
use crate::ring::Ring;
use crate::time::Instant;
use crate::wire::content::Cause;
use crate::wire::packet::{
    ENTRIES_MAX, Edit, Header, Mark, PacketRef, TTL_DEFAULT, TTL_MAX, emit_forwarded, new_packet,
};

const DESTINATION_DOWN: Decision = Decision::Undeliverable { cause: Cause::DestinationDown };

/// A mesh at rest: everybody knows its own table and its neighbours', and who of them is dead
struct Mesh {
    degree: u8,
    members: Vec<Address>,
    graph: BTreeMap<Address, BTreeSet<Address>>,
    /// Of each, whom it is parted from
    apart: BTreeMap<Address, BTreeSet<Address>>,
    dead: BTreeSet<Address>,
    routes: BTreeMap<Address, Routes>,
    caches: BTreeMap<Address, RouteCache>,
    rng: ChaCha20Rng,
}

#[derive(Debug)]
struct Walk {
    end: Decision,
    /// The members that had it, in order
    seen: Vec<Address>,
    /// What the packet says of its way
    way: Vec<ShortId>,
}

impl Walk {
    fn hops(&self) -> usize {
        self.seen.len() - 1
    }
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
        let (members, dead) = (ring.iter().collect::<Vec<Address>>(), BTreeSet::new());
        let apart = members.iter().map(|member| (*member, BTreeSet::new())).collect();
        let (routes, caches) = (BTreeMap::new(), BTreeMap::new());
        let mut mesh = Self { degree, members, graph, apart, dead, routes, caches, rng };
        mesh.learn();
        mesh
    }

    /// Everybody learns what its neighbours know
    fn learn(&mut self) {
        let is_up = |a: &Address, b: &Address| !self.dead.contains(a) && !self.dead.contains(b);
        let view = |x: &Address, y: &Address| NeighbourView {
            address: *y,
            up: is_up(x, y),
            held: false,
            name: "somebody".parse().unwrap(),
            // Whoever died had no time to say that its links are down.
            table: self.graph[y].iter().map(|z| (*z, self.dead.contains(y) || is_up(y, z))).collect(),
            unseen: self.apart[y].iter().copied().collect(),
        };
        let generation = self.routes.values().next().map_or(0, |routes| routes.generation() + 1);
        let routes = |x: &Address| {
            let views = self.graph[x].iter().map(|y| view(x, y)).collect();
            let routes = Routes::new(*x, self.degree, self.graph.len() as u64, generation, views);
            (*x, routes.with_unseen(self.apart[x].iter().copied().collect()))
        };
        self.routes = self.members.iter().map(routes).collect();
    }

    /// Everybody sees its links to the `dead` go down; nobody has rewired yet
    fn kill(&mut self, dead: impl IntoIterator<Item = Address>) {
        self.dead.extend(dead);
        self.learn();
    }

    fn revive_all(&mut self) {
        self.dead.clear();
        self.learn();
    }

    fn random_member(&mut self) -> Address {
        loop {
            let member = self.members[(self.rng.next_u64() % self.members.len() as u64) as usize];
            if !self.dead.contains(&member) {
                return member;
            }
        }
    }

    /// The living to whom there is any way from `x`
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
                    assert!(!seen.contains(to) && *to != source, "forward to somebody who had it");
                    (*to, edit)
                }
                Decision::Back { to, edit } => (*to, edit),
                _ => {
                    let way = packet.way().map(|(_, who)| who).collect();
                    return Walk { end: decision, seen, way };
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
    Header { ttl, ..Header::new(source, destination, id) }
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
                assert!(walk.hops() <= 5, "{walk:?}");
            }
        }
    }
}

#[test]
fn survivors_of_any_two_of_eight_reach_everybody_to_whom_there_is_a_way() {
    let mut mesh = Mesh::new(8, 4, 7);
    for (i, a) in mesh.members.clone().into_iter().enumerate() {
        for b in mesh.members.clone().into_iter().skip(i + 1) {
            mesh.revive_all();
            mesh.kill([a, b]);
            for source in mesh.members.clone().into_iter().filter(|x| *x != a && *x != b) {
                for destination in mesh.reachable(source).into_iter().filter(|x| *x != source) {
                    let walk = mesh.walk(source, destination, TTL_DEFAULT);
                    mesh.assert_delivered(&walk);
                }
            }
        }
    }
}

#[test]
fn routes_of_a_thousand_are_as_short_as_published_with_a_third_dead_too() {
    let mut mesh = Mesh::new(1000, 16, 1);
    let walks = |mesh: &mut Mesh, ttl: u8| {
        let start = mesh.random_member();
        let (connected, mut hops) = (mesh.reachable(start), Vec::new());
        assert!(connected.len() >= mesh.members.len() - mesh.dead.len() - 1);
        while hops.len() < 2000 {
            let (source, destination) = (mesh.random_member(), mesh.random_member());
            if source != destination && connected.contains(&source) && connected.contains(&destination) {
                let walk = mesh.walk(source, destination, ttl);
                mesh.assert_delivered(&walk);
                hops.push(walk.hops());
            }
        }
        hops.sort();
        hops
    };
    let hops = walks(&mut mesh, TTL_DEFAULT);
    assert!(mean(&hops) <= 2.88 && hops[1980] <= 5 && hops[1999] <= 9, "{} {:?}", mean(&hops), hops.last());
    while mesh.dead.len() < 300 {
        let dead = mesh.random_member();
        mesh.dead.insert(dead);
    }
    mesh.learn();
    let hops = walks(&mut mesh, 32);
    assert!(mean(&hops) <= 3.3, "{}", mean(&hops));
}

/// Walks of packets to a peer that died a moment ago, or to an address that nobody has
fn walks_to_nobody(n: usize, degree: u8, dead: bool) -> Vec<usize> {
    let mut hops = Vec::new();
    for seed in 0..10 {
        let mut mesh = Mesh::new(n, degree, seed);
        let mut nobody = Address(mesh.rng.next_u64());
        if dead {
            nobody = mesh.random_member();
            mesh.kill([nobody]);
        }
        for _ in 0..20 {
            let source = mesh.random_member();
            let walk = mesh.walk(source, nobody, TTL_DEFAULT);
            assert_eq!(walk.end, DESTINATION_DOWN, "{walk:?}");
            hops.push(walk.hops());
        }
    }
    hops
}

#[test]
fn packet_to_a_dead_peer_comes_back_from_its_neighbourhood_and_does_not_wander() {
    for (n, degree) in [(8, 4), (40, 4), (200, 16)] {
        let hops = walks_to_nobody(n, degree, true);
        assert!(mean(&hops) <= 4.0 && hops.iter().all(|hops| *hops <= 12), "{n}: {} {hops:?}", mean(&hops));
    }
}

#[test]
fn packet_to_a_place_where_nobody_is_comes_back_from_beside_it() {
    for (n, degree) in [(1, 4), (2, 4), (8, 4), (40, 4), (200, 16)] {
        let hops = if n == 1 { vec![0] } else { walks_to_nobody(n, degree, false) };
        assert!(mean(&hops) <= 4.0 && hops.iter().all(|hops| *hops <= 12), "{n}: {} {hops:?}", mean(&hops));
    }
}

fn any_entry() -> impl Strategy<Value = (u8, prop::sample::Index)> {
    (0u8..4, any::<prop::sample::Index>())
}

#[test]
fn junk_in_a_trailer_neither_panics_nor_loops() {
    let mut meshes = [Mesh::new(12, 4, 3), Mesh::new(12, 4, 4)];
    let dead = meshes[1].members[5];
    meshes[1].kill([dead]);
    proptest!(|(
        entries in prop::collection::vec(any_entry(), 0..=ENTRIES_MAX), ttl in 0..=TTL_MAX, mesh in 0usize..2,
        ends in any::<[prop::sample::Index; 4]>(), is_own in any::<bool>(),
    )| {
        let mesh = &meshes[mesh];
        let [source, destination, mut here, from] = ends.map(|end| *end.get(&mesh.members));
        let mut bytes = new_packet(&header(source, destination, 1, ttl), b"junk").unwrap();
        bytes[27] = entries.len() as u8;
        for (mark, who) in &entries {
            bytes.push(*mark);
            bytes.extend_from_slice(&who.get(&mesh.members).short().0.to_le_bytes());
        }
        let mut from = (!is_own).then_some(from);
        for hops in 0..=u32::from(ttl) + 1 {
            let packet = PacketRef::parse(&bytes).unwrap();
            let decision = mesh.routes[&here].decide(&mut RouteCache::new(), &packet, from, Instant::ZERO);
            let (Decision::Forward { to, edit, .. } | Decision::Back { to, edit }) = decision else { return Ok(()) };
            prop_assert!(to != here && hops < u32::from(ttl));
            let mut next = Vec::new();
            prop_assert_eq!(emit_forwarded(&packet, &edit, &mut next), Ok(()));
            (from, here, bytes) = (Some(here), to, next);
        }
        prop_assert!(false, "it ends when its hops are spent");
    });
}
