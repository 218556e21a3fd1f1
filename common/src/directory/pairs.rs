//! Pairs of peers that cannot connect.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::Address;
use crate::lift::Absent;
use crate::mutant::{self, Mutant};

/// Pairs of the whole network: 10 % of the links of 8,000 peers
pub const PAIRS_MAX: usize = 65_536;

/// Pairs of one peer: as many as it may have links
pub const PAIRS_PER_PEER_MAX: usize = crate::wire::session::NEIGHBOURS_MAX;

/// Two peers that cannot connect, the smaller address first
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The smaller address
    pub low: Address,
    /// The larger address
    pub high: Address,
}

impl Pair {
    /// The pair of these two, in either order
    pub fn of(a: Address, b: Address) -> Self {
        Self { low: a.min(b), high: a.max(b) }
    }

    pub const fn ends(self) -> [Address; 2] {
        [self.low, self.high]
    }
}

/// The unreachable pairs with their age
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pairs {
    /// Both directions, so that one peer's partners stand together
    absent: BTreeSet<(Address, Address)>,
    index_of: BTreeMap<Pair, u64>,
    by_index: BTreeMap<u64, Pair>,
    max: usize,
}

impl Absent for Pairs {
    fn is_absent(&self, a: Address, b: Address) -> bool {
        self.absent.contains(&(a, b)) && !mutant::is(Mutant::AbsentPairsIgnored)
    }

    fn absent_to(&self, address: Address) -> impl Iterator<Item = Address> {
        self.of(address)
    }
}

impl Pairs {
    pub(super) const fn new(max: usize) -> Self {
        Self { absent: BTreeSet::new(), index_of: BTreeMap::new(), by_index: BTreeMap::new(), max }
    }

    pub(super) fn len(&self) -> usize {
        self.index_of.len()
    }

    pub(super) fn contains(&self, pair: Pair) -> bool {
        self.index_of.contains_key(&pair)
    }

    /// The index of the command that made it
    pub(super) fn index_of(&self, pair: Pair) -> Option<u64> {
        self.index_of.get(&pair).copied()
    }

    pub(super) fn has(&self, address: Address) -> bool {
        self.of(address).next().is_some()
    }

    /// The members that are absent to `address`
    pub(super) fn of(&self, address: Address) -> impl Iterator<Item = Address> + '_ {
        self.absent.range((address, Address(0))..=(address, Address(u64::MAX))).map(|(_, other)| *other)
    }

    /// Oldest first, each with the index of the command that made it
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Pair)> + '_ {
        self.by_index.iter().map(|(index, pair)| (*index, *pair))
    }

    /// The pairs that must go before `pair` can be added: a peer's oldest if it has too many, else the very oldest
    pub(super) fn in_the_way_of(&self, pair: Pair) -> BTreeSet<Pair> {
        let crowded = pair.ends().into_iter().filter(|end| self.of(*end).count() >= PAIRS_PER_PEER_MAX);
        let mut gone: BTreeSet<Pair> = crowded.filter_map(|end| self.oldest_of(end, self.of(end))).collect();
        if gone.is_empty() && self.len() >= self.max {
            gone.extend(self.by_index.values().next().copied());
        }
        gone
    }

    /// Of the pairs of `address` with these others the one that is oldest
    pub(super) fn oldest_of(&self, address: Address, others: impl Iterator<Item = Address>) -> Option<Pair> {
        others.map(|other| Pair::of(address, other)).min_by_key(|pair| self.index_of.get(pair))
    }

    /// Adds `pair`; one command adds one pair at most, so the index is its age and its own
    pub(super) fn insert(&mut self, index: u64, pair: Pair) {
        self.absent.extend([(pair.low, pair.high), (pair.high, pair.low)]);
        self.index_of.insert(pair, index);
        self.by_index.insert(index, pair);
    }

    pub(super) fn remove(&mut self, pair: Pair) {
        if let Some(index) = self.index_of.remove(&pair) {
            self.by_index.remove(&index);
            self.absent.remove(&(pair.low, pair.high));
            self.absent.remove(&(pair.high, pair.low));
        }
    }
}
