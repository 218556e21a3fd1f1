//! The links between peers, as compact arrays, and which peers are dead.

use std::collections::VecDeque;

use kith_common::id::{Address, Name};
use kith_common::lift::{self, Maps};
use kith_common::ring::Ring;
use kith_common::routing::{NeighbourView, Routes};

use crate::chance::Chance;
use crate::parallel::map_chunks;

/// A peer: its index in the order of addresses
pub(crate) type Peer = u32;

/// Peers whose tables one thread computes in a row
const CHUNK: usize = 4096;
/// The distance of a peer that no way leads to
const UNREACHED: u8 = u8::MAX;

/// An overlay at rest: everybody knows its table, its neighbours' tables, and which of the links in them are down
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    degree: u8,
    addresses: Vec<Address>,
    /// Where each peer's neighbours begin in `links`, and one more for the end
    begins: Vec<u32>,
    links: Vec<Peer>,
    dead: Vec<bool>,
    /// What everybody is called: names matter to memory alone
    name: Name,
}

/// How many of `peers` are left when this share dies
pub(crate) fn living(peers: usize, share: f64) -> usize {
    peers - (share * peers as f64).round() as usize
}

impl Overlay {
    /// The overlay of these members, all of them alive
    pub(crate) fn new(ring: &Ring, degree: u8, name: &Name, threads: usize) -> Self {
        let (maps, addresses) = (Maps::of_degree(degree), ring.iter().collect::<Vec<Address>>());
        let chunks: Vec<&[Address]> = addresses.chunks(CHUNK).collect();
        let index = |address: &Address| addresses.binary_search(address).unwrap_or(usize::MAX) as Peer;
        let tables = |_: &mut (), chunk: usize| {
            let (mut counts, mut links) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK * usize::from(degree)));
            for peer in chunks[chunk] {
                let table = lift::neighbours(ring, &maps, *peer, &());
                counts.push(table.len() as u32);
                links.extend(table.iter().map(index));
            }
            (counts, links)
        };
        let (tables, _) = map_chunks(threads, chunks.len(), || (), tables);
        let (mut begins, mut links) = (Vec::with_capacity(addresses.len() + 1), Vec::new());
        let mut begin = 0;
        begins.push(begin);
        for (counts, chunk) in tables {
            for count in counts {
                begin += count;
                begins.push(begin);
            }
            links.extend(chunk);
        }
        let dead = vec![false; addresses.len()];
        Self { degree, addresses, begins, links, dead, name: name.clone() }
    }

    /// This share of the peers, chosen at random, dies at once; those dead before come to life
    ///
    /// Everybody alive sees its links to the dead go down and has told its neighbours. Nobody has rewired.
    pub(crate) fn kill(&mut self, share: f64, chance: &mut Chance) {
        self.dead.fill(false);
        let count = self.peers() - living(self.peers(), share);
        for peer in chance.choose(count, self.peers()) {
            self.dead[peer as usize] = true;
        }
    }

    /// How many peers, the dead among them
    pub(crate) const fn peers(&self) -> usize {
        self.addresses.len()
    }

    /// Whether the peer lives
    pub(crate) fn is_alive(&self, peer: Peer) -> bool {
        !self.dead[peer as usize]
    }

    /// Where the peer is
    pub(crate) fn address(&self, peer: Peer) -> Address {
        self.addresses[peer as usize]
    }

    /// The peer's neighbours in the order of addresses, the dead among them
    pub(crate) fn neighbours(&self, peer: Peer) -> &[Peer] {
        let [begin, end] = [peer, peer + 1].map(|at| self.begins[at as usize] as usize);
        &self.links[begin..end]
    }

    /// How many neighbours a peer has, mean
    pub(crate) fn links_mean(&self) -> f64 {
        self.links.len() as f64 / self.peers().max(1) as f64
    }

    /// The peer's living neighbour at `address`
    pub(crate) fn living_neighbour(&self, peer: Peer, address: Address) -> Option<Peer> {
        let table = self.neighbours(peer);
        let at = table.binary_search_by_key(&address, |neighbour| self.address(*neighbour)).ok()?;
        Some(table[at]).filter(|neighbour| self.is_alive(*neighbour))
    }

    /// What a living peer knows, by the product's own rules; the snapshot's generation is the peer's index
    ///
    /// Whoever died said last that all its links were up: it had no time to say more.
    pub(crate) fn routes(&self, peer: Peer) -> Routes {
        let views = self.neighbours(peer).iter().map(|neighbour| {
            let up = self.is_alive(*neighbour);
            let entry = |to: &Peer| (self.address(*to), !up || self.is_alive(*to));
            let table = self.neighbours(*neighbour).iter().map(entry).collect();
            let unseen = Default::default();
            NeighbourView { address: self.address(*neighbour), up, held: false, name: self.name.clone(), table, unseen }
        });
        Routes::new(self.address(peer), self.degree, self.peers() as u64, u64::from(peer), views.collect())
    }

    /// How many hops the living are from a living peer, on the shortest way; 255: no way leads there
    pub(crate) fn distances(&self, from: Peer) -> Vec<u8> {
        let mut distances = vec![UNREACHED; self.peers()];
        let mut todo = VecDeque::from([from]);
        distances[from as usize] = 0;
        while let Some(peer) = todo.pop_front() {
            let next = distances[peer as usize].saturating_add(1).min(UNREACHED - 1);
            for neighbour in self.neighbours(peer) {
                if self.is_alive(*neighbour) && distances[*neighbour as usize] == UNREACHED {
                    distances[*neighbour as usize] = next;
                    todo.push_back(*neighbour);
                }
            }
        }
        distances
    }

    /// Sum of the shortest ways from a living peer to all whom it reaches, and how many those are
    pub(crate) fn shortest(&self, from: Peer) -> (u64, u64) {
        let distances = self.distances(from);
        let reached = distances.iter().filter(|distance| **distance != UNREACHED);
        (reached.clone().map(|distance| u64::from(*distance)).sum(), reached.count() as u64 - 1)
    }

    /// For each peer the first of those that it is connected to, itself if dead
    pub(crate) fn parts(&self) -> Vec<Peer> {
        let mut parts: Vec<Peer> = (0..self.peers() as Peer).collect();
        let (mut seen, mut todo) = (vec![false; self.peers()], Vec::new());
        for first in 0..self.peers() as Peer {
            if seen[first as usize] || !self.is_alive(first) {
                continue;
            }
            seen[first as usize] = true;
            todo.push(first);
            while let Some(peer) = todo.pop() {
                parts[peer as usize] = first;
                for neighbour in self.neighbours(peer) {
                    if self.is_alive(*neighbour) && !seen[*neighbour as usize] {
                        seen[*neighbour as usize] = true;
                        todo.push(*neighbour);
                    }
                }
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Draws;
    use crate::members::{History, Ids, Members};

    fn overlay(peers: usize, degree: u8) -> (Ring, Overlay) {
        let members = Members::new(peers, Ids::Given, History::Joins, 1);
        let overlay = Overlay::new(members.ring(), degree, &"somebody".parse().unwrap(), 2);
        (members.ring().clone(), overlay)
    }

    #[test]
    fn tables_are_those_of_the_definition() {
        let (ring, overlay) = overlay(5000, 8);
        let graph = lift::graph(&ring, &Maps::of_degree(8), &());
        assert_eq!(overlay.peers(), graph.len());
        for (peer, (address, table)) in graph.iter().enumerate() {
            let found = overlay.neighbours(peer as Peer).iter().map(|neighbour| overlay.address(*neighbour));
            assert!(overlay.address(peer as Peer) == *address && found.eq(table.iter().copied()));
        }
    }

    #[test]
    fn routes_say_which_links_are_down() {
        let (_, mut overlay) = overlay(300, 16);
        overlay.kill(0.3, &mut Chance::new(1, Draws::Dead));
        assert_eq!((0..300).filter(|peer| !overlay.is_alive(*peer)).count(), 90);
        let peer = (0..300).find(|peer| overlay.is_alive(*peer)).unwrap();
        let routes = overlay.routes(peer);
        assert_eq!(routes.views().len(), overlay.neighbours(peer).len());
        for (view, neighbour) in routes.views().iter().zip(overlay.neighbours(peer)) {
            assert_eq!((view.address, view.up), (overlay.address(*neighbour), overlay.is_alive(*neighbour)));
            let lives = overlay.neighbours(*neighbour).iter().map(|to| !view.up || overlay.is_alive(*to));
            assert!(view.table.iter().map(|(_, up)| *up).eq(lives));
        }
        let living = |view: &&NeighbourView| overlay.living_neighbour(peer, view.address).is_some();
        assert!(routes.views().iter().all(|view| view.up == living(&view)));
    }

    #[test]
    fn parts_are_what_shortest_ways_reach() {
        let (_, mut overlay) = overlay(200, 4);
        overlay.kill(0.6, &mut Chance::new(1, Draws::Dead));
        let parts = overlay.parts();
        assert!(parts.iter().enumerate().any(|(peer, part)| overlay.is_alive(peer as Peer) && *part != parts[0]));
        for peer in (0..200).filter(|peer| overlay.is_alive(*peer)) {
            let distances = overlay.distances(peer);
            let same = |other: &Peer| parts[*other as usize] == parts[peer as usize];
            assert!((0..200).all(|other| same(&other) == (distances[other as usize] != UNREACHED)));
        }
    }
}
