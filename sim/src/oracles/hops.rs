//! In a whole mesh packets go nearly as short a way as there is.
//!
//! Source: the routing's figures: at a thousand peers of degree 16 the mean way is 1.05 times the least possible, and by
//! what is known of neighbours' tables alone it is 3 % over the shortest way in the same graph. Small meshes are noisier.

use std::collections::{BTreeMap, VecDeque};

use kith_common::id::Address;

use super::delivery::{peers, walk};
use crate::mesh::oracle::Oracle;
use crate::mesh::world::World;

/// In smaller ones everybody is two hops away, whatever is chosen
const PEERS_MIN: usize = 200;
/// With fewer links a peer knows too little of a ring for ways that are nearly the shortest: at degree 4 they are 1.2 to
/// 1.3 times as long, as `kith-sim routes` shows too
const DEGREE_MIN: u8 = 6;
/// Packets that are walked
const WALKS: usize = 4_000;
/// Peers that send them, at most: for each of them the shortest ways to all are looked for
const SOURCES_MAX: usize = 64;
/// The mean way may be so much longer than the shortest
const STRETCH_MAX: f64 = 1.12;

#[derive(Debug, Default)]
pub(crate) struct Hops;

impl Oracle for Hops {
    fn name(&self) -> &'static str {
        "hops"
    }

    fn whole(&mut self, world: &World) -> Result<(), String> {
        let peers = peers(world);
        if peers.len() < PEERS_MIN || world.config.degree < DEGREE_MIN || world.config.core() < world.config.machines()
        {
            return Ok(());
        }
        let places: Vec<Address> = peers.keys().copied().collect();
        let links = |place: Address| {
            let routes = peers.get(&place).and_then(|(peer, _)| peer.routes());
            let views = routes.into_iter().flat_map(|routes| routes.views());
            views.filter(|view| view.up).map(|view| view.address)
        };
        let (mut caches, mut walked, mut shortest) = (BTreeMap::new(), 0, 0);
        let sources = places.iter().step_by(8.max(places.len().div_ceil(SOURCES_MAX)));
        let each = WALKS / sources.len();
        for (number, from) in sources.enumerate() {
            let mut distances = BTreeMap::from([(*from, 0)]);
            let mut next = VecDeque::from([*from]);
            while let Some(place) = next.pop_front() {
                let distance = distances.get(&place).copied().unwrap_or(0) + 1;
                for other in links(place) {
                    distances.entry(other).or_insert_with(|| {
                        next.push_back(other);
                        distance
                    });
                }
            }
            let step = (places.len() / each.max(1)).max(1);
            for to in places.iter().skip(number % step).step_by(step).filter(|to| *to != from) {
                let id = u64::from(to.short().0 ^ from.short().0);
                walked += walk(world, &peers, &mut caches, id, *from, *to)?;
                shortest += distances.get(to).copied().unwrap_or(0);
            }
        }
        let stretch = walked as f64 / f64::from(shortest.max(1));
        if stretch > STRETCH_MAX {
            return Err(format!("packets go {stretch:.2} times as far as they need to, more than {STRETCH_MAX}"));
        }
        Ok(())
    }
}
