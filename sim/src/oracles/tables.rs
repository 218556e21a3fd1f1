//! At the end the ring holds who wants to be in it, everybody's table is what the definition says, and every link is up.
//!
//! Source: neighbourhoods are a pure function of members, suspects and unreachable pairs. The definition is
//! [`lift::graph`], which computes all tables word by word, unlike the supernodes' function for one peer.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::id::{Address, Name};
use kith_common::lift::{self, Maps};
use kith_common::ring::Ring;
use kith_common::routing::neighbourhood::LinkStatus;

use super::truth::{is_alive, is_logged_in};
use crate::mesh::oracle::Oracle;
use crate::mesh::world::World;

#[derive(Debug, Default)]
pub(crate) struct Tables;

impl Oracle for Tables {
    fn name(&self) -> &'static str {
        "tables"
    }

    fn whole(&mut self, world: &World) -> Result<(), String> {
        let Some(directory) = world.directory() else { return Err("no supernode leads".into()) };
        let wanted = world.peers().filter(|node| node.wants_session && node.id.0 < world.config.core());
        let wanted: BTreeMap<&Name, _> = wanted.map(|node| (&node.name, node)).collect();
        let ring: Ring = directory.ring().collect();
        for (name, node) in &wanted {
            if !is_logged_in(node) {
                let standing = node.peer().map(|peer| peer.core().standing());
                return Err(format!("{name} is not logged in: {standing:?}"));
            }
            let place = node.peer().and_then(|peer| peer.core().own()).map_or(Address(0), |own| own.address);
            if !ring.contains(place) {
                let session = directory.by_address(place);
                return Err(format!(
                    "{name} takes itself for logged in at {place}, and is not in the ring: {session:?}"
                ));
            }
        }
        // Outside a healthy core tables are never finished: some pairs are just being found out.
        if world.config.core() < world.config.machines() {
            return Ok(());
        }
        if ring.len() != wanted.len() {
            return Err(format!("{} peers are in the ring, and {} want to be", ring.len(), wanted.len()));
        }
        let pairs: BTreeSet<(Address, Address)> = directory
            .pairs()
            .flat_map(|pair| {
                let [a, b] = pair.ends();
                [(a, b), (b, a)]
            })
            .collect();
        let graph = lift::graph(&ring, &Maps::of_degree(directory.degree()), &pairs);
        for (name, node) in wanted {
            let Some(peer) = node.peer() else { continue };
            let own = peer.core().own().map_or(Address(0), |own| own.address);
            let neighbours = peer.core().neighbourhood().neighbours();
            let table: BTreeSet<Address> = neighbours.iter().filter(|n| n.is_wanted).map(|n| n.address).collect();
            let defined = graph.get(&own).cloned().unwrap_or_default();
            if table != defined {
                let (missing, extra) = (defined.difference(&table).count(), table.difference(&defined).count());
                return Err(format!(
                    "{name}'s table lacks {missing} and has {extra} that it should not, of {}",
                    defined.len()
                ));
            }
            for neighbour in neighbours.iter().filter(|n| n.is_wanted) {
                let end = neighbour.link.and_then(|link| node.ends.get(&link.0));
                if neighbour.state != LinkStatus::Up || !end.is_some_and(|end| is_alive(world, end)) {
                    return Err(format!("{name}'s link to {} is {:?}", neighbour.name, neighbour.state));
                }
            }
            let views = peer.core().neighbourhood().views();
            for view in &views {
                let says: BTreeSet<Address> = view.table.iter().filter(|(_, up)| *up).map(|(a, _)| *a).collect();
                if graph.get(&view.address).is_some_and(|defined| *defined != says) {
                    return Err(format!("{name} has an old table of its neighbour {}", view.name));
                }
            }
        }
        Ok(())
    }
}
