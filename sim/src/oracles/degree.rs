//! Tables are bounded, and their mean is what the degree says.
//!
//! Source: each of n peers asks for the links to its successor and to one owner a map, (d − 2) / 2 of them; so there are
//! at most n · d / 2 links, two ends each, and a table has at most 64 places.

use super::truth::is_logged_in;
use crate::mesh::oracle::Oracle;
use crate::mesh::world::World;
use kith_common::wire::session::NEIGHBOURS_MAX;

#[derive(Debug, Default)]
pub(crate) struct Degree;

impl Oracle for Degree {
    fn name(&self) -> &'static str {
        "degree"
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for node in world.peers().filter(|node| is_logged_in(node)) {
            let Some(peer) = node.peer() else { continue };
            let table = peer.core().neighbourhood().wanted();
            if table > NEIGHBOURS_MAX {
                return Err(format!("{} has {table} neighbours", node.name));
            }
        }
        Ok(())
    }

    fn whole(&mut self, world: &World) -> Result<(), String> {
        let Some(directory) = world.directory() else { return Ok(()) };
        let tables = directory.ring().filter_map(|address| directory.neighbourhood(address));
        let (peers, links) = tables.fold((0, 0), |(peers, links), rewire| (peers + 1, links + rewire.neighbours.len()));
        // Each unreachable pair may make two peers look for another neighbour.
        let spare = 4 * directory.pairs().count();
        let most = peers * usize::from(directory.degree()) + spare;
        if links > most { Err(format!("{peers} peers have {links} ends of links, more than {most}")) } else { Ok(()) }
    }
}
