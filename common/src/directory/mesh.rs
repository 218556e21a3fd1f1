//! The ring as the directory sees it, and the tables that a change of it touches.
//!
//! Without unreachable pairs a join or leave of x changes the tables of x, of N(x) and of x's ring neighbours: an edge
//! between two others goes only if x took an end of it over, and x takes places over from its ring neighbours alone.
//! With pairs it may take one over from a peer farther away, that was only second nearest; but then from somebody that
//! has a pair and becomes x's neighbour. So those, and no more, are compared before and after.

use std::collections::BTreeSet;

use super::pairs::{Pair, Pairs};
use crate::id::{Address, Key};
use crate::lift::{self, Maps};
use crate::mutant::{self, Mutant};
use crate::ring::Ring;

type Touched = BTreeSet<Address>;

/// The links between members
#[derive(Clone, Debug)]
pub(super) struct Mesh {
    degree: u8,
    maps: Maps,
    /// All that have a session: a new address keeps away from suspects, too, as they may come back
    members: Ring,
    /// The members that are no suspects
    ring: Ring,
    pairs: Pairs,
}

impl Mesh {
    pub(super) fn new(degree: u8, pairs_max: usize) -> Self {
        let maps = Maps::of_degree(degree);
        Self { degree, maps, members: Ring::new(), ring: Ring::new(), pairs: Pairs::new(pairs_max) }
    }

    pub(super) fn restored(degree: u8, members: Ring, ring: Ring, pairs: Pairs) -> Self {
        Self { degree, maps: Maps::of_degree(degree), members, ring, pairs }
    }

    pub(super) const fn degree(&self) -> u8 {
        self.degree
    }

    pub(super) const fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(super) const fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    /// All that `x` is linked to, in the order of addresses; none if it is not in the ring
    pub(super) fn neighbours(&self, x: Address) -> Vec<Address> {
        if !self.ring.contains(x) {
            return Vec::new();
        }
        lift::neighbours(&self.ring, &self.maps, x, &self.pairs)
    }

    /// Those of the ring that are absent to `x`, in the order of addresses; who is in the ring no more is nobody's absence
    /// but its own
    pub(super) fn parted_from(&self, x: Address) -> impl Iterator<Item = Address> {
        self.pairs.of(x).filter(|other| self.ring.contains(*other))
    }

    pub(super) fn choose_address(&self, key: &Key, salt: &[u8; 16]) -> Address {
        lift::choose_address(key, salt, &self.members)
    }

    pub(super) fn configure(&mut self, degree: u8) -> Touched {
        self.degree = degree;
        self.maps = Maps::of_degree(degree);
        self.ring.iter().collect()
    }

    /// A new member, in the ring at once
    pub(super) fn join(&mut self, x: Address) -> Touched {
        self.members.insert(x);
        self.enter(x)
    }

    /// No member any more
    pub(super) fn part(&mut self, x: Address) -> Touched {
        let touched = self.leave(x);
        self.members.remove(x);
        // Nobody is at x now, so that forgetting its pairs changes no table.
        self.pairs.of(x).collect::<Vec<_>>().into_iter().for_each(|other| self.pairs.remove(Pair::of(x, other)));
        touched
    }

    /// A member's entry into the ring
    pub(super) fn enter(&mut self, x: Address) -> Touched {
        if !self.ring.insert(x) {
            return Touched::new();
        }
        // Its new neighbours are known only while it is there, so it enters first; if pairs may have changed other
        // tables, it steps out once more for the comparison.
        let mut touched = self.around(x);
        let compared = self.paired_neighbours(x);
        if !compared.is_empty() {
            self.ring.remove(x);
            touched.append(&mut self.change(&compared, |mesh| {
                mesh.ring.insert(x);
            }));
        }
        touched.append(&mut self.accompany(&[x].into()));
        touched
    }

    /// A member's exit from the ring
    pub(super) fn leave(&mut self, x: Address) -> Touched {
        if !self.ring.contains(x) {
            return Touched::new();
        }
        let mut touched = self.around(x);
        let compared = self.paired_neighbours(x);
        touched.append(&mut self.change(&compared, |mesh| {
            mesh.ring.remove(x);
        }));
        touched.append(&mut self.accompany(&compared));
        touched
    }

    /// All that have `x` in their tables, as what tables say of `x` has changed
    pub(super) fn refresh(&self, x: Address) -> Touched {
        self.neighbours(x).into_iter().collect()
    }

    /// Whether `pair` would leave one of its ends nobody of the ring to be a neighbour of
    pub(super) fn would_leave_alone(&self, pair: Pair) -> bool {
        self.are_in_ring(pair) && pair.ends().iter().any(|end| self.left_for(*end) <= 1)
    }

    /// Brings whoever of `among` is parted from all others together with those that it has been parted from for longest,
    /// until one of them can be its neighbour
    fn accompany(&mut self, among: &Touched) -> Touched {
        let mut touched = Touched::new();
        for x in among {
            while self.is_alone(*x)
                && !mutant::is(Mutant::LastIsNotMadeUp)
                && let Some(oldest) = self.pairs.oldest_of(*x, self.parted_from(*x))
            {
                tracing::info!(low = %oldest.low, high = %oldest.high, reason = "nobody else is left", "pair forgotten");
                touched.append(&mut self.reunite(oldest));
            }
        }
        touched
    }

    fn is_alone(&self, x: Address) -> bool {
        self.ring.contains(x) && self.ring.len() > 1 && self.left_for(x) == 0
    }

    /// How many others of the ring a member of it is not parted from
    fn left_for(&self, x: Address) -> usize {
        self.ring.len().saturating_sub(1 + self.parted_from(x).count())
    }

    /// Adds an unreachable pair at the cost of those that are in its way
    pub(super) fn separate(&mut self, index: u64, pair: Pair) -> (Touched, Vec<Pair>) {
        let dropped = self.pairs.in_the_way_of(pair);
        let ends = dropped.iter().chain([&pair]).flat_map(|pair| pair.ends()).collect();
        let mut touched = self.change(&ends, |mesh| {
            dropped.iter().for_each(|pair| mesh.pairs.remove(*pair));
            mesh.pairs.insert(index, pair);
        });
        touched.extend(dropped.iter().chain([&pair]).flat_map(|pair| self.told_of(*pair)));
        (touched, dropped.into_iter().collect())
    }

    /// Removes an unreachable pair
    pub(super) fn reunite(&mut self, pair: Pair) -> Touched {
        let mut touched = self.change(&pair.ends().into(), |mesh| mesh.pairs.remove(pair));
        touched.extend(self.told_of(pair));
        touched
    }

    /// Removes all pairs of `x`
    pub(super) fn reunite_all(&mut self, x: Address) -> Touched {
        let others: BTreeSet<Address> = self.pairs.of(x).collect();
        let ends = others.iter().copied().chain([x]).collect();
        let mut touched =
            self.change(&ends, |mesh| others.iter().for_each(|other| mesh.pairs.remove(Pair::of(x, *other))));
        touched.extend(others.into_iter().flat_map(|other| self.told_of(Pair::of(x, other))));
        touched
    }

    /// `x`, its neighbours, its ring neighbours (who are its neighbours unless a pair stands between), and whom it is
    /// parted from
    fn around(&self, x: Address) -> Touched {
        let beside = [self.ring.successor(x), self.ring.predecessor(x)];
        let around = self.neighbours(x).into_iter().chain(beside.into_iter().flatten()).chain([x]);
        // They are told that x is in the ring, or that it is not.
        let around = around.chain(self.parted_from(x));
        let forgotten = self.ring.successor(x).filter(|_| mutant::is(Mutant::SuccessorNotTouched));
        around.filter(|y| Some(*y) != forgotten).collect()
    }

    /// The two that are told whether they are parted, whether they would be neighbours or not: if both are in the ring
    fn told_of(&self, pair: Pair) -> impl Iterator<Item = Address> + use<> {
        let are_there = self.are_in_ring(pair);
        pair.ends().into_iter().filter(move |_| are_there)
    }

    fn are_in_ring(&self, pair: Pair) -> bool {
        pair.ends().iter().all(|end| self.ring.contains(*end))
    }

    fn paired_neighbours(&self, x: Address) -> Touched {
        self.neighbours(x).into_iter().filter(|z| self.pairs.has(*z)).collect()
    }

    /// Makes a change whose new and lost edges all end at one of `watched`, and finds the tables that it changed
    fn change(&mut self, watched: &Touched, make: impl FnOnce(&mut Self)) -> Touched {
        let tables = |mesh: &Self| -> Vec<Touched> {
            watched.iter().map(|x| mesh.neighbours(*x).into_iter().collect()).collect()
        };
        let before = tables(self);
        make(self);
        let after = tables(self);
        let mut touched = Touched::new();
        for ((x, before), after) in watched.iter().zip(&before).zip(&after) {
            if before != after {
                touched.insert(*x);
                touched.extend(before.symmetric_difference(after));
            }
        }
        touched
    }
}
