use std::collections::{BTreeMap, BTreeSet};

use kith_common::id::Address;
use kith_common::lift::{self, Maps};
use kith_common::ring::Ring;
use kith_common::routing::NeighbourView;
use kith_common::wire::packet::{TTL_DEFAULT, TTL_MAX};

use super::*;
use crate::chance::{Chance, Draws};
use crate::members::{History, Ids, Members};

/// Peers by their addresses: all that they know is made anew for every decision, and nothing is remembered
struct Naive {
    degree: u8,
    graph: BTreeMap<Address, BTreeSet<Address>>,
    dead: BTreeSet<Address>,
}

impl Naive {
    fn new(ring: &Ring, degree: u8, overlay: &Overlay) -> Self {
        let graph = lift::graph(ring, &Maps::of_degree(degree), &());
        let dead = ring.iter().zip(0..).filter(|(_, peer)| !overlay.is_alive(*peer)).map(|(address, _)| address);
        Self { degree, graph, dead: dead.collect() }
    }

    fn routes(&self, own: Address) -> Routes {
        let lives = |who: &Address| !self.dead.contains(who);
        let view = |who: &Address| NeighbourView {
            address: *who,
            up: lives(who),
            held: false,
            name: "somebody".parse().unwrap(),
            table: self.graph[who].iter().map(|to| (*to, lives(to) || !lives(who))).collect(),
            unseen: Default::default(),
        };
        Routes::new(own, self.degree, self.graph.len() as u64, 0, self.graph[&own].iter().map(view).collect())
    }

    fn walk(&self, source: Address, destination: Address, id: u64, ttl: u8) -> (End, Vec<Address>) {
        let header = Header { ttl, ..Header::new(source, destination, id) };
        let (mut seen, mut bytes) = (vec![source], new_packet(&header, &[]).unwrap());
        loop {
            let (here, from) = (seen[seen.len() - 1], seen.len().checked_sub(2).map(|at| seen[at]));
            let packet = PacketRef::parse(&bytes).unwrap();
            match self.routes(here).decide(&mut RouteCache::new(), &packet, from, Instant::ZERO) {
                Decision::Forward { to, edit, .. } | Decision::Back { to, edit } => {
                    let mut next = Vec::new();
                    emit_forwarded(&packet, &edit, &mut next).unwrap();
                    bytes = next;
                    seen.push(to);
                }
                Decision::Deliver => return (End::Delivered, seen),
                Decision::Undeliverable { cause } => return (End::CameBack(cause), seen),
                Decision::Drop(reason) => panic!("{reason:?}"),
            }
        }
    }
}

fn assert_equal_to_naive_walks(peers: usize, degree: u8, dead: f64) {
    let members = Members::new(peers, Ids::Given, History::Joins, 7);
    let mut overlay = Overlay::new(members.ring(), degree, &"somebody".parse().unwrap(), 1);
    let mut chance = Chance::new(7, Draws::Packets);
    overlay.kill(dead, &mut chance);
    let (naive, mut walker) = (Naive::new(members.ring(), degree, &overlay), Walker::new(&overlay));
    let ttl = if dead > 0.0 { TTL_MAX } else { TTL_DEFAULT };
    let (mut walks, mut came_back) = (0, 0);
    while walks < 300 {
        let [from, to] = [(); 2].map(|()| chance.index(peers) as Peer);
        if from == to || !overlay.is_alive(from) || !overlay.is_alive(to) {
            continue;
        }
        let (id, mut forwards) = (chance.number(), Vec::new());
        let walk = walker.walk(Trip { from, to, id }, ttl, |peer| forwards.push(overlay.address(peer)));
        let (end, seen) = naive.walk(overlay.address(from), overlay.address(to), id, ttl);
        assert_eq!((walk.end, usize::from(walk.hops)), (end, seen.len() - 1), "{seen:?}");
        let senders = &seen[..seen.len() - 1];
        assert_eq!(forwards, senders.iter().copied().filter(|x| *x != seen[0]).collect::<Vec<_>>());
        (walks, came_back) = (walks + 1, came_back + usize::from(end != End::Delivered));
    }
    assert!(dead > 0.0 || came_back == 0);
}

#[test]
fn walks_through_a_whole_overlay_are_those_of_naive_walks() {
    assert_equal_to_naive_walks(300, 16, 0.0);
    assert_equal_to_naive_walks(60, 4, 0.0);
}

#[test]
fn walks_among_the_dead_are_those_of_naive_walks() {
    assert_equal_to_naive_walks(300, 8, 0.3);
    assert_equal_to_naive_walks(200, 6, 0.55);
}
