//! LIFT: the links between members, as a pure function of the ring.
//!
//! The ring has a few public *maps* of its points onto each other, the same for everybody and for ever. Two members are
//! linked if they are neighbours on the ring, or if one owns the image of the other under some map. So every supernode
//! computes the same tables, and a member that joins or leaves changes the tables of its neighbours and of nobody else
//! (its two ring neighbours are among them while there are links to it at all).
//!
//! [`neighbours`] costs O(d (log n + 256/n)); [`graph`] is the definition word by word, for tests to hold it against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::crypto;
use crate::id::{Address, Key, Point};
use crate::mutant::{self, Mutant};
use crate::ring::{Interval, Ring};

/// The smallest degree: the ring and one map
pub const DEGREE_MIN: u8 = 4;
/// The largest degree: tables vary around it, and at 48 two of a thousand are over the 64 neighbours of a table
pub const DEGREE_MAX: u8 = 40;
/// The degree of a network where nothing else is said
pub const DEGREE_DEFAULT: u8 = 16;

/// Addresses drawn for a login, of which the loneliest is given
pub const CANDIDATES: u8 = 32;

const MAPS_MAX: usize = (DEGREE_MAX as usize - 2) / 2;

/// Bits of a point within its block
const BLOCK_BITS: u32 = 56;
const WITHIN_BLOCK: u64 = (1 << BLOCK_BITS) - 1;

/// Whether a network can have this degree: even, from [`DEGREE_MIN`] to [`DEGREE_MAX`]
pub const fn is_degree(degree: u8) -> bool {
    degree.is_multiple_of(2) && DEGREE_MIN <= degree && degree <= DEGREE_MAX
}

/// Where one block of points goes: `base` is its image's first point, `shift` turns the points within
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    base: Point,
    shift: u64,
}

/// One bijection of the ring onto itself: it permutes 256 blocks and turns each in itself
#[derive(Debug)]
pub struct Map {
    forth: [Turn; 256],
    back: [Turn; 256],
}

impl Map {
    /// Map `j` of the protocol
    fn generate(j: u8) -> Self {
        let mut rng = ChaCha20Rng::from_seed(crypto::sha256(&[b"kith/lift/1", &[j]]));
        let mut blocks: [u8; 256] = std::array::from_fn(|block| block as u8);
        // Fisher and Yates's shuffle. The remainder favours small numbers by less than 2⁻⁵⁵, and is part of the
        // protocol.
        for i in (1..256).rev() {
            let other = rng.next_u64() % (i as u64 + 1);
            blocks.swap(i, other as usize);
        }
        let (mut forth, mut back) = ([Turn::default(); 256], [Turn::default(); 256]);
        for (block, (turn, image)) in forth.iter_mut().zip(blocks).enumerate() {
            let shift = rng.next_u64() & WITHIN_BLOCK;
            *turn = Turn { base: u64::from(image) << BLOCK_BITS, shift };
            if let Some(turn) = back.get_mut(usize::from(image)) {
                *turn = Turn { base: (block as u64) << BLOCK_BITS, shift: shift.wrapping_neg() & WITHIN_BLOCK };
            }
        }
        Self { forth, back }
    }

    #[inline]
    pub fn apply(&self, point: Point) -> Point {
        turn(&self.forth, point)
    }

    /// The point whose image is `point`
    #[inline]
    pub(crate) fn invert(&self, point: Point) -> Point {
        turn(&self.back, point)
    }

    /// Calls `found` with intervals that together are the inverse image of `interval`: at most four a block
    fn invert_interval(&self, interval: Interval, mut found: impl FnMut(Interval)) {
        let mut first = interval.first;
        loop {
            // What is left of the interval, less one, and how much of it is in this block.
            let left = interval.last.wrapping_sub(first);
            let here = left.min(WITHIN_BLOCK - (first & WITHIN_BLOCK));
            // Turned back, the piece may run over the end of its block, where it goes on at the block's beginning.
            let start = self.invert(first);
            let head = here.min(WITHIN_BLOCK - (start & WITHIN_BLOCK));
            found(Interval { first: start, last: start + head });
            if head < here && !mutant::is(Mutant::SplitForgotten) {
                let start = start & !WITHIN_BLOCK;
                found(Interval { first: start, last: start + (here - head - 1) });
            }
            if here == left {
                return;
            }
            first = first.wrapping_add(here + 1);
        }
    }
}

#[inline]
fn turn(turns: &[Turn; 256], point: Point) -> Point {
    let turn = turns.get((point >> BLOCK_BITS) as usize).copied().unwrap_or_default();
    turn.base | (point.wrapping_add(turn.shift) & WITHIN_BLOCK)
}

static MAPS: LazyLock<Vec<Map>> = LazyLock::new(|| (0..MAPS_MAX as u8).map(Map::generate).collect());

/// The maps of a network: the first (d − 2) / 2 of the protocol's
#[derive(Clone, Copy, Debug)]
pub struct Maps(&'static [Map]);

impl Maps {
    /// The maps of networks of this degree; what is no degree counts as the nearest one below, or as [`DEGREE_MIN`]
    pub fn of_degree(degree: u8) -> Self {
        let count = (usize::from(degree.clamp(DEGREE_MIN, DEGREE_MAX)) - 2) / 2;
        Self(MAPS.get(..count).unwrap_or_default())
    }

    /// Each of them, in their order
    pub fn iter(&self) -> std::slice::Iter<'static, Map> {
        self.0.iter()
    }

    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: every degree has a map
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The pairs of members that cannot connect: each is absent to the other when links are sought. Symmetric.
pub trait Absent {
    /// Whether the two cannot connect
    fn is_absent(&self, a: Address, b: Address) -> bool;

    /// All members that are absent to `address`
    fn absent_to(&self, address: Address) -> impl Iterator<Item = Address>;
}

/// Nobody is absent to anybody.
impl Absent for () {
    fn is_absent(&self, _: Address, _: Address) -> bool {
        false
    }

    fn absent_to(&self, _: Address) -> impl Iterator<Item = Address> {
        std::iter::empty()
    }
}

/// The pairs in both orders: `(a, b)` counts only if `(b, a)` is there too.
impl Absent for BTreeSet<(Address, Address)> {
    fn is_absent(&self, a: Address, b: Address) -> bool {
        self.contains(&(a, b)) && self.contains(&(b, a))
    }

    fn absent_to(&self, address: Address) -> impl Iterator<Item = Address> {
        let pairs = self.range((address, Address(0))..=(address, Address(u64::MAX)));
        pairs.map(|(_, other)| *other).filter(move |other| self.contains(&(*other, address)))
    }
}

/// The neighbours of `x`, in the order of addresses; none if it is no member
///
/// Costs O(d (log n + 256/n)), and a little for every pair in which `x` or one of its ring neighbours is.
pub fn neighbours(ring: &Ring, maps: &Maps, x: Address, absent: &impl Absent) -> Vec<Address> {
    let Some(cell) = ring.cell(x) else { return Vec::new() };
    let mut found: Vec<Address> = chosen(ring, maps, x, absent).collect();
    let beside = [ring.predecessor(x), ring.successor(x)];
    found.extend(beside.into_iter().flatten());
    // Who chooses x is found backwards: whatever maps into x's cell has x as the owner of its image.
    for map in maps.iter() {
        map.invert_interval(cell, |interval| found.extend(ring.within(interval)));
    }
    // The cells know nearest owners only. A member that chooses x for want of a nearer one cannot connect to one of the
    // two beside x: no other member lies between x and the point, or next to it.
    for member in beside.into_iter().flatten() {
        let patched =
            absent.absent_to(member).filter(|y| ring.contains(*y) && !mutant::is(Mutant::SecondNearestForgotten));
        found.extend(patched.filter(|y| chosen(ring, maps, *y, absent).any(|chosen| chosen == x)));
    }
    let forgotten = ring.predecessor(x).filter(|_| mutant::is(Mutant::PredecessorForgotten));
    found.retain(|y| *y != x && !absent.is_absent(x, *y) && Some(*y) != forgotten);
    found.sort_unstable();
    found.dedup();
    found
}

/// The neighbours that `x` wants: those beside it, and the owners of its images; may repeat, and name `x` itself
fn chosen<'a>(ring: &'a Ring, maps: &Maps, x: Address, absent: &'a impl Absent) -> impl Iterator<Item = Address> + 'a {
    let eligible = move |y: Address| !absent.is_absent(x, y);
    let beside_eligible = move |y: &Address| *y != x && eligible(*y);
    let after = ring.clockwise(x.0).find(beside_eligible);
    let before = ring.counterclockwise(x.0).find(beside_eligible);
    let owners = maps.iter().filter_map(move |map| ring.owner_among(map.apply(x.0), eligible));
    after.into_iter().chain(before).chain(owners)
}

/// Every member's neighbours, computed as the definition says: for tests, and where all tables are wanted at once
pub fn graph(ring: &Ring, maps: &Maps, absent: &impl Absent) -> BTreeMap<Address, BTreeSet<Address>> {
    let mut graph: BTreeMap<Address, BTreeSet<Address>> = ring.iter().map(|x| (x, BTreeSet::new())).collect();
    for x in ring.iter() {
        for y in chosen(ring, maps, x, absent).filter(|y| *y != x) {
            graph.entry(x).or_default().insert(y);
            graph.entry(y).or_default().insert(x);
        }
    }
    graph
}

/// The address for a login with `key`: of 32 candidates the one whose nearest member is farthest (tie: the first)
///
/// `ring` has all that hold an address, suspects too. The salt is chosen after the key was seen, so that nobody
/// can grind a place, and goes into the log, so that every replica computes the same.
pub fn choose_address(key: &Key, salt: &[u8; 16], ring: &Ring) -> Address {
    let room = |candidate: Address| ring.owner(candidate.0).map(|owner| crate::ring::distance(owner.0, candidate.0));
    let first = crypto::candidate_address(key, salt, 0);
    let candidates = (1..CANDIDATES).map(|i| crypto::candidate_address(key, salt, i));
    let (_, best) = candidates.fold((room(first), first), |best, candidate| {
        let room = room(candidate);
        if room > best.0 { (room, candidate) } else { best }
    });
    best
}

#[cfg(test)]
mod tests;
