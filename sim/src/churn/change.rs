//! What joins and leaves change: whose tables, and which links.
//!
//! A join or a leave concerns the peer's neighbours, its two ring neighbours among them, and nobody else; so their tables
//! before and after tell all. The test below holds that against the whole graph.

use std::collections::BTreeMap;

use kith_common::id::Address;
use kith_common::lift::{self, Maps};
use kith_common::ring::Ring;

use crate::members::Members;

/// What is counted of a change, however many joins and leaves it consists of
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    /// Links that are there now and were not before
    pub opened: usize,
    /// Links that were there and are no more, those of whoever left among them
    pub closed: usize,
    /// Peers there before and now whose table is another
    pub touched: usize,
}

/// A change of the ring, from its beginning on
#[derive(Clone, Debug)]
pub(crate) struct Change {
    maps: Maps,
    /// The tables of everybody concerned as they were in the beginning; of those who were not there, none
    before: BTreeMap<Address, Vec<Address>>,
}

impl Change {
    /// Nothing has changed yet
    pub(crate) fn new(degree: u8) -> Self {
        Self { maps: Maps::of_degree(degree), before: BTreeMap::new() }
    }

    /// A new peer logs in, with the last index; where it is
    pub(crate) fn join(&mut self, members: &mut Members) -> Address {
        let address = members.join();
        // The members that it concerns are known while it is there; their tables without it, while it is not.
        let concerned = lift::neighbours(members.ring(), &self.maps, address, &());
        members.leave_at(members.ring().len() - 1);
        self.keep(members.ring(), concerned.into_iter().chain([address]));
        members.join_at(address);
        address
    }

    /// The member at this index leaves; where it was
    pub(crate) fn leave_at(&mut self, members: &mut Members, at: usize) -> Option<Address> {
        let address = members.at(at)?;
        let concerned = lift::neighbours(members.ring(), &self.maps, address, &());
        self.keep(members.ring(), concerned.into_iter().chain([address]));
        members.leave_at(at)
    }

    /// Keeps these peers' tables if they are still as they were in the beginning
    fn keep(&mut self, ring: &Ring, peers: impl Iterator<Item = Address>) {
        for peer in peers {
            self.before.entry(peer).or_insert_with(|| lift::neighbours(ring, &self.maps, peer, &()));
        }
    }

    /// What has changed by now
    pub(crate) fn cost(&self, ring: &Ring) -> Cost {
        let mut ends = Cost::default();
        for (peer, before) in &self.before {
            let after = lift::neighbours(ring, &self.maps, *peer, &());
            ends.opened += count_missing(&after, before);
            ends.closed += count_missing(before, &after);
            ends.touched += usize::from(!before.is_empty() && ring.contains(*peer) && *before != after);
        }
        // Both ends of a link are concerned.
        Cost { opened: ends.opened / 2, closed: ends.closed / 2, ..ends }
    }
}

/// How many of these `others` lack, which are in their order
fn count_missing(peers: &[Address], others: &[Address]) -> usize {
    peers.iter().filter(|peer| others.binary_search(peer).is_err()).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chance::{Chance, Draws};
    use crate::members::{History, Ids};

    type Graph = BTreeMap<Address, BTreeSet<Address>>;

    fn graph(members: &Members, degree: u8) -> Graph {
        lift::graph(members.ring(), &Maps::of_degree(degree), &())
    }

    /// The same from all tables, by the definition
    fn cost_of_graphs(before: &Graph, after: &Graph) -> Cost {
        let links = |graph: &Graph| -> BTreeSet<(Address, Address)> {
            let ends = |(x, table): (&Address, &BTreeSet<Address>)| table.iter().map(|y| (*x, *y)).collect::<Vec<_>>();
            graph.iter().flat_map(ends).filter(|(x, y)| x < y).collect()
        };
        let (was, is) = (links(before), links(after));
        let touched = before.iter().filter(|(peer, table)| after.get(peer).is_some_and(|now| now != *table)).count();
        Cost { opened: is.difference(&was).count(), closed: was.difference(&is).count(), touched }
    }

    #[test]
    fn joins_and_leaves_cost_what_the_whole_graphs_differ_by() {
        for (peers, degree) in [(3, 4), (40, 4), (150, 8), (150, 16)] {
            let mut members = Members::new(peers, Ids::Given, History::Churned, 3);
            let mut chance = Chance::new(3, Draws::Changes);
            for _ in 0..15 {
                let (before, mut change) = (graph(&members, degree), Change::new(degree));
                let address = change.join(&mut members);
                assert!(members.ring().contains(address) && members.ring().len() == peers + 1);
                let cost = change.cost(members.ring());
                assert_eq!(cost, cost_of_graphs(&before, &graph(&members, degree)), "join, {peers} peers");
                assert!(cost.opened > 0);
                let (before, mut change) = (graph(&members, degree), Change::new(degree));
                let at = chance.index(peers + 1);
                assert_eq!(members.at(at), change.leave_at(&mut members, at));
                let cost = change.cost(members.ring());
                assert_eq!(cost, cost_of_graphs(&before, &graph(&members, degree)), "leave, {peers} peers");
                assert!(cost.closed > 0);
            }
        }
    }

    #[test]
    fn many_at_once_cost_what_the_whole_graphs_differ_by() {
        let mut members = Members::new(120, Ids::Given, History::Joins, 4);
        let (before, mut change, mut chance) = (graph(&members, 8), Change::new(8), Chance::new(4, Draws::Changes));
        for _ in 0..20 {
            let at = chance.index(members.ring().len());
            change.leave_at(&mut members, at);
        }
        for _ in 0..25 {
            change.join(&mut members);
        }
        assert_eq!(change.cost(members.ring()), cost_of_graphs(&before, &graph(&members, 8)));
    }

    #[test]
    fn who_comes_and_goes_at_once_costs_nothing() {
        let mut members = Members::new(60, Ids::Given, History::Joins, 5);
        let mut change = Change::new(8);
        change.join(&mut members);
        change.leave_at(&mut members, 60);
        assert_eq!(change.cost(members.ring()), Cost::default());
    }
}
