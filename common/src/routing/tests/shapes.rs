//! Meshes in which not every pair can connect: whoever has a way is to be found by it.

use super::*;

/// Whether the two of these numbers can connect
type Shape = fn(usize, usize) -> bool;

const LINE: Shape = |a, b| a.abs_diff(b) == 1;
const STAR: Shape = |a, b| a.min(b) == 0;
const TREE: Shape = |a, b| (a.max(b) - 1) / 2 == a.min(b);
/// The even and the odd, and one that belongs to both
const CLIQUES: Shape = |a, b| a.min(b) == 0 || a % 2 == b % 2;
const RING_OF_FIVE: Shape = |a, b| [1, 4].contains(&a.abs_diff(b));

impl Mesh {
    /// As [`Self::new`], once everybody has found out whom it cannot connect to
    fn shaped(n: usize, degree: u8, seed: u64, shape: Shape) -> Self {
        let mut mesh = Self::new(n, degree, seed);
        // Numbers are drawn: places next to each other on the ring are not next to each other in the shape.
        let mut order = mesh.members.clone();
        (1..n).for_each(|i| order.swap(i, (mesh.rng.next_u64() % (i as u64 + 1)) as usize));
        let number: BTreeMap<Address, usize> = order.iter().enumerate().map(|(number, who)| (*who, number)).collect();
        let ring: Ring = mesh.members.iter().copied().collect();
        let mut absent = BTreeSet::new();
        loop {
            let apart = |(a, b): &(Address, Address)| !shape(number[a], number[b]);
            let edges = mesh.graph.iter().flat_map(|(x, links)| links.iter().map(|y| (*x, *y)));
            let found: Vec<(Address, Address)> = edges.filter(apart).collect();
            if found.is_empty() {
                break;
            }
            absent.extend(found);
            mesh.graph = lift::graph(&ring, &Maps::of_degree(degree), &absent);
        }
        for (x, y) in absent {
            mesh.apart.entry(x).or_default().insert(y);
        }
        // In the order of the shape, for who wants to know who stands where.
        mesh.members = order;
        mesh.learn();
        mesh
    }

    /// Everybody sends to everybody to whom there is a way
    fn assert_all_ways_are_found(&mut self) {
        for source in self.members.clone().into_iter().filter(|member| !self.dead.contains(member)).collect::<Vec<_>>()
        {
            for destination in self.reachable(source).into_iter().filter(|member| *member != source) {
                let walk = self.walk(source, destination, TTL_DEFAULT);
                self.assert_delivered(&walk);
            }
        }
    }
}

#[test]
fn every_pair_that_has_a_way_uses_it_in_every_shape() {
    for (n, degree, shape) in
        [(5, 16, LINE), (9, 4, LINE), (9, 4, STAR), (12, 16, TREE), (13, 4, CLIQUES), (5, 4, RING_OF_FIVE)]
    {
        for seed in 0..10 {
            let mut mesh = Mesh::shaped(n, degree, seed, shape);
            let first = mesh.members[0];
            assert_eq!(mesh.reachable(first).len(), n, "the links that there are hold it together");
            mesh.assert_all_ways_are_found();
        }
    }
}

#[test]
fn ring_of_five_goes_the_other_way_round_after_each_death() {
    for seed in 0..10 {
        for dead in 0..5 {
            let mut mesh = Mesh::shaped(5, 4, seed, RING_OF_FIVE);
            mesh.kill([mesh.members[dead]]);
            mesh.assert_all_ways_are_found();
        }
    }
}

#[test]
fn packet_to_the_dead_ends_soon_in_every_shape() {
    for (n, degree, shape) in [(5, 16, LINE), (9, 4, STAR), (12, 16, TREE), (13, 4, CLIQUES), (5, 4, RING_OF_FIVE)] {
        let mut hops = Vec::new();
        for seed in 0..10 {
            let mut mesh = Mesh::shaped(n, degree, seed, shape);
            let dead = mesh.members[n - 1];
            mesh.kill([dead]);
            for source in mesh.members.clone().into_iter().filter(|member| *member != dead) {
                let walk = mesh.walk(source, dead, TTL_DEFAULT);
                assert!(matches!(walk.end, Decision::Undeliverable { .. }), "{walk:?}");
                hops.push(walk.hops());
            }
        }
        assert!(mean(&hops) <= 5.0 && hops.iter().all(|hops| *hops <= 2 * n), "{n}: {} {hops:?}", mean(&hops));
    }
}
