//! The ring of 64-bit places: its members, and the points that each of them owns.
//!
//! Clockwise is increasing, and the ring wraps. Everything here is a function of the members alone.

use std::fmt;
use std::iter::from_fn;

use crate::id::{Address, Point};
use crate::mutant::{self, Mutant};

/// The way from `a` to `b` along the shorter side of the ring
pub const fn distance(a: Point, b: Point) -> u64 {
    let (there, back) = (b.wrapping_sub(a), a.wrapping_sub(b));
    if there < back { there } else { back }
}

/// The points met on going clockwise from `first` to `last`, both included; it may pass the zero
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Where it begins
    pub first: Point,
    /// Where it ends; one less than `first` makes the whole ring
    pub last: Point,
}

impl Interval {
    /// Whether `point` is in it
    pub const fn contains(&self, point: Point) -> bool {
        point.wrapping_sub(self.first) <= self.last.wrapping_sub(self.first)
    }
}

/// A set of places, in their order
///
/// A change costs a search and a move of a few kilobytes at most, with a million members too: members lie in blocks of
/// neighbouring places, so that a question is one search among the blocks and one within flat memory.
#[derive(Clone, Default)]
pub struct Ring {
    /// In their order, none of them empty: the first begins at 0, and each reaches to the next one's beginning
    blocks: Vec<Block>,
    len: usize,
}

/// Members of a stretch of the ring, in their order
#[derive(Clone, Debug)]
struct Block {
    /// Where the stretch begins; a member need not be there
    begin: Point,
    members: Vec<Address>,
}

/// Members of a block at most: moving 2 kB costs no more than finding it. Few in tests, so that they meet many blocks
const BLOCK_MAX: usize = if cfg!(test) { 4 } else { 512 };

impl PartialEq for Ring {
    /// Whether the members are the same, whatever the blocks that they came to lie in
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Ring {}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<Address> for Ring {
    fn from_iter<I: IntoIterator<Item = Address>>(addresses: I) -> Self {
        let mut members: Vec<Address> = addresses.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        // Half full, so that neither an insertion nor a removal changes the blocks at once.
        let block = |members: &[Address]| Block {
            begin: members.first().map_or(0, |first| first.0),
            members: members.to_vec(),
        };
        let mut blocks: Vec<Block> = members.chunks(BLOCK_MAX / 2).map(block).collect();
        if let Some(first) = blocks.first_mut() {
            first.begin = 0;
        }
        Self { blocks, len: members.len() }
    }
}

impl Ring {
    pub const fn new() -> Self {
        Self { blocks: Vec::new(), len: 0 }
    }

    /// Adds a member; `false` if it was one
    pub fn insert(&mut self, address: Address) -> bool {
        if self.blocks.is_empty() {
            self.blocks.push(Block { begin: 0, members: Vec::new() });
        }
        let at = self.block_of(address.0);
        let Some(block) = self.blocks.get_mut(at) else { return false };
        let Err(place) = block.members.binary_search(&address) else { return false };
        block.members.insert(place, address);
        self.len += 1;
        if block.members.len() > BLOCK_MAX {
            // The new block begins at its first member: what is asked for between the two halves belongs to the old
            // one.
            let members = block.members.split_off(BLOCK_MAX / 2);
            let begin = members.first().map_or(block.begin, |first| first.0);
            self.blocks.insert(at + 1, Block { begin, members });
        }
        true
    }

    /// Takes a member away; `false` if it was none
    pub fn remove(&mut self, address: Address) -> bool {
        let at = self.block_of(address.0);
        let Some(block) = self.blocks.get_mut(at) else { return false };
        let Ok(place) = block.members.binary_search(&address) else { return false };
        block.members.remove(place);
        let left = block.members.len();
        self.len -= 1;
        if left == 0 {
            self.blocks.remove(at);
            if let Some(first) = self.blocks.first_mut() {
                first.begin = 0;
            }
        } else if left <= BLOCK_MAX / 4 {
            // Two that are a quarter full make one, so that many leaves don't leave many blocks.
            self.merge(at);
            self.merge(at.saturating_sub(1));
        }
        true
    }

    /// Makes one block of this and the next, if that is at most half full then
    fn merge(&mut self, at: usize) {
        let members = |at: usize| self.blocks.get(at).map(|block| block.members.len());
        let (Some(own), Some(next)) = (members(at), members(at + 1)) else { return };
        if own + next <= BLOCK_MAX / 2 {
            let next = self.blocks.remove(at + 1);
            if let Some(block) = self.blocks.get_mut(at) {
                block.members.extend(next.members);
            }
        }
    }

    /// The index of the block in whose stretch `point` is
    fn block_of(&self, point: Point) -> usize {
        self.blocks.partition_point(|block| block.begin <= point).saturating_sub(1)
    }

    /// Between the members before `point` and those from there on
    fn cursor(&self, point: Point) -> Cursor<'_> {
        let block = self.block_of(point);
        let members = self.blocks.get(block).map_or([].as_slice(), |block| &block.members);
        let place = members.partition_point(|member| member.0 < point);
        Cursor { ring: self, block, members, place, left: self.len }
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no member
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `address` is a member
    pub fn contains(&self, address: Address) -> bool {
        let block = self.blocks.get(self.block_of(address.0));
        block.is_some_and(|block| block.members.binary_search(&address).is_ok())
    }

    /// The members in the order of their addresses
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Address> + ExactSizeIterator + Clone {
        let inner = self.blocks.iter().flat_map(|block| block.members.iter().copied());
        Counted { left: self.len, inner }
    }

    /// The member nearest to `point`; of two as near, the clockwise one
    pub fn owner(&self, point: Point) -> Option<Address> {
        self.owner_among(point, |_| true)
    }

    /// The member nearest to `point` among those that `eligible` accepts; of two as near, the clockwise one
    ///
    /// It costs a search and one step for every member refused.
    pub(crate) fn owner_among(&self, point: Point, eligible: impl Fn(Address) -> bool) -> Option<Address> {
        let cursor = self.cursor(point);
        let ahead = cursor.clockwise().find(|member| eligible(*member))?;
        let behind = cursor.counterclockwise().find(|member| eligible(*member))?;
        let nearer_ahead = ahead.0.wrapping_sub(point) <= point.wrapping_sub(behind.0);
        Some(if nearer_ahead { ahead } else { behind })
    }

    /// The next member clockwise from `address`, which need not be one; `None` if there is no other
    pub fn successor(&self, address: Address) -> Option<Address> {
        self.clockwise(address.0).find(|member| *member != address)
    }

    /// The next member counterclockwise from `address`, which need not be one; `None` if there is no other
    pub(crate) fn predecessor(&self, address: Address) -> Option<Address> {
        self.counterclockwise(address.0).find(|member| *member != address)
    }

    /// The points that the member `address` owns; `None` if it is no member
    pub fn cell(&self, address: Address) -> Option<Interval> {
        if !self.contains(address) {
            return None;
        }
        let own = address.0;
        let (Some(before), Some(after)) = (self.predecessor(address), self.successor(address)) else {
            return Some(Interval { first: own, last: own.wrapping_sub(1) });
        };
        // A point in the middle belongs to the clockwise one, so a cell has its first middle and lacks its last.
        let (gap_before, gap_after) = (own.wrapping_sub(before.0), after.0.wrapping_sub(own));
        let is_halved = mutant::is(Mutant::CellBeginsAtMember);
        let first = if is_halved { own } else { before.0.wrapping_add(gap_before.div_ceil(2)) };
        let last = own.wrapping_add(gap_after.div_ceil(2)).wrapping_sub(1);
        Some(Interval { first, last })
    }

    /// The members in `interval`, clockwise
    pub fn within(&self, interval: Interval) -> impl Iterator<Item = Address> {
        self.clockwise(interval.first).take_while(move |member| interval.contains(member.0))
    }

    /// Every member once, clockwise, from `point` on
    pub fn clockwise(&self, point: Point) -> impl Iterator<Item = Address> {
        self.cursor(point).clockwise()
    }

    /// Every member once, counterclockwise, from just before `point` on
    pub(crate) fn counterclockwise(&self, point: Point) -> impl Iterator<Item = Address> {
        self.cursor(point).counterclockwise()
    }
}

/// A place between two members, and how many are left to meet from there
#[derive(Clone, Copy)]
struct Cursor<'a> {
    ring: &'a Ring,
    /// The present block, which these are the members of
    block: usize,
    members: &'a [Address],
    /// The index of the next one clockwise; one after the last: it is the next block's first
    place: usize,
    left: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn clockwise(mut self) -> impl Iterator<Item = Address> + use<'a> {
        from_fn(move || {
            // The count ends the walk: the ring itself has no end to come to.
            self.left = self.left.checked_sub(1)?;
            if self.place == self.members.len() {
                self.enter(if self.block + 1 < self.ring.blocks.len() { self.block + 1 } else { 0 });
                self.place = 0;
            }
            self.place += 1;
            self.members.get(self.place - 1).copied()
        })
    }

    #[inline]
    fn counterclockwise(mut self) -> impl Iterator<Item = Address> + use<'a> {
        from_fn(move || {
            self.left = self.left.checked_sub(1)?;
            if self.place == 0 {
                self.enter(self.block.checked_sub(1).unwrap_or(self.ring.blocks.len() - 1));
                self.place = self.members.len();
            }
            self.place -= 1;
            self.members.get(self.place).copied()
        })
    }

    fn enter(&mut self, block: usize) {
        self.block = block;
        self.members = self.ring.blocks.get(block).map_or(&[], |block| &block.members);
    }
}

/// An iterator that knows how many it has left
#[derive(Clone)]
struct Counted<I> {
    left: usize,
    inner: I,
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.left = self.left.saturating_sub(1);
        self.inner.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }

    fn fold<B, F: FnMut(B, I::Item) -> B>(self, init: B, f: F) -> B {
        self.inner.fold(init, f)
    }
}

impl<I: DoubleEndedIterator> DoubleEndedIterator for Counted<I> {
    fn next_back(&mut self) -> Option<I::Item> {
        self.left = self.left.saturating_sub(1);
        self.inner.next_back()
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ring(points: &[Point]) -> Ring {
        points.iter().copied().map(Address).collect()
    }

    #[test]
    fn distance_is_along_the_shorter_side() {
        assert_eq!(distance(3, 10), 7);
        assert_eq!(distance(10, 3), 7);
        assert_eq!(distance(u64::MAX, 1), 2);
        assert_eq!(distance(0, 1 << 63), 1 << 63);
    }

    #[test]
    fn owner_of_a_point_in_the_middle_is_the_clockwise_one() {
        let ring = ring(&[10, 20, 31]);
        assert_eq!(ring.owner(15), Some(Address(20)));
        assert_eq!(ring.owner(14), Some(Address(10)));
        assert_eq!(ring.owner(25), Some(Address(20)));
        assert_eq!(ring.owner(26), Some(Address(31)));
        assert_eq!(ring.owner(20), Some(Address(20)));
        assert_eq!(ring.owner(u64::MAX), Some(Address(10)));
        assert_eq!(Ring::new().owner(0), None);
    }

    #[test]
    fn owner_among_the_eligible_is_the_nearest_of_them() {
        let ring = ring(&[10, 20, 31]);
        assert_eq!(ring.owner_among(21, |member| member != Address(20)), Some(Address(31)));
        assert_eq!(ring.owner_among(19, |member| member != Address(20)), Some(Address(10)));
        assert_eq!(ring.owner_among(19, |_| false), None);
    }

    #[test]
    fn neighbours_on_the_ring_wrap_and_leave_out_the_member_itself() {
        let pair = ring(&[10, 20]);
        assert_eq!(
            (pair.successor(Address(20)), pair.predecessor(Address(20))),
            (Some(Address(10)), Some(Address(10)))
        );
        assert_eq!((pair.successor(Address(5)), pair.predecessor(Address(5))), (Some(Address(10)), Some(Address(20))));
        assert_eq!(ring(&[10]).successor(Address(10)), None);
    }

    #[test]
    fn insert_and_remove_say_whether_the_member_was_there() {
        let mut ring = ring(&[20, 10, 20]);
        assert_eq!(ring.len(), 2);
        assert!(ring.insert(Address(15)) && !ring.insert(Address(15)));
        assert!(ring.remove(Address(10)) && !ring.remove(Address(10)));
        assert_eq!(ring.iter().collect::<Vec<_>>(), [Address(15), Address(20)]);
    }

    #[test]
    fn interval_of_a_lone_member_is_the_whole_ring() {
        let cell = ring(&[7]).cell(Address(7)).unwrap();
        assert!([0, 6, 7, 8, u64::MAX].into_iter().all(|point| cell.contains(point)));
        assert_eq!(ring(&[7]).cell(Address(8)), None);
    }

    #[test]
    fn blocks_are_few_after_many_leave() {
        let mut ring: Ring = (0..1000).map(Address).collect();
        (0..1000).filter(|place| place % 100 != 0).for_each(|place| assert!(ring.remove(Address(place))));
        assert!(ring.len() == 10 && ring.blocks.len() <= 10, "{} blocks", ring.blocks.len());
        assert_eq!(format!("{:?}", Ring::from_iter([Address(2), Address(1)])), "{0000000000000001, 0000000000000002}");
    }

    proptest! {
        #[test]
        fn ring_is_the_ordered_set_that_it_models(
            steps in prop::collection::vec((any::<bool>(), 0u64..40), 0..200), start in prop::collection::vec(0u64..40, 0..40),
            point in 0u64..41, ends in prop::collection::vec(any::<bool>(), 0..50),
        ) {
            let (mut ring, mut model) = (ring(&start), start.iter().copied().map(Address).collect::<BTreeSet<_>>());
            for (joins, place) in steps {
                let changed = if joins { ring.insert(Address(place)) } else { ring.remove(Address(place)) };
                let expected = if joins { model.insert(Address(place)) } else { model.remove(&Address(place)) };
                prop_assert_eq!((changed, ring.contains(Address(place)), ring.len()), (expected, joins, model.len()));
            }
            let members: Vec<Address> = model.iter().copied().collect();
            prop_assert_eq!(ring.is_empty(), members.is_empty());
            prop_assert!(ring.iter().eq(members.iter().copied()) && ring.iter().rev().eq(members.iter().rev().copied()));
            prop_assert!(ring == members.iter().copied().collect::<Ring>());
            let (mut found, mut expected) = (ring.iter(), members.iter().copied());
            for back in ends {
                let pair = if back { (found.next_back(), expected.next_back()) } else { (found.next(), expected.next()) };
                prop_assert_eq!(pair.0, pair.1);
                prop_assert_eq!(found.clone().len(), expected.len());
            }
            let (before, from) = members.split_at(members.partition_point(|member| member.0 < point));
            let clockwise: Vec<Address> = from.iter().chain(before).copied().collect();
            prop_assert_eq!(ring.clockwise(point).collect::<Vec<_>>(), clockwise.clone());
            prop_assert!(ring.counterclockwise(point).eq(clockwise.iter().rev().copied()));
            let begins = ring.blocks.iter().map(|block| block.begin);
            prop_assert!(begins.clone().next().is_none_or(|begin| begin == 0) && begins.is_sorted());
            prop_assert!(ring.blocks.iter().all(|block| (1..=BLOCK_MAX).contains(&block.members.len())));
        }

        #[test]
        fn every_point_is_in_the_cell_of_its_owner_alone(
            members in prop::collection::vec(any::<u64>(), 1..12), point in any::<u64>(), near in -2i64..3, at in any::<prop::sample::Index>(),
        ) {
            let ring = ring(&members);
            let edge = ring.cell(Address(*at.get(&members))).unwrap().first.wrapping_add_signed(near);
            for point in [point, edge] {
                let owners: Vec<Address> = ring.iter().filter(|m| ring.cell(*m).unwrap().contains(point)).collect();
                prop_assert_eq!(owners, vec![ring.owner(point).unwrap()]);
                let nearest = ring.iter().map(|member| distance(member.0, point)).min();
                prop_assert_eq!(ring.owner(point).map(|owner| distance(owner.0, point)), nearest);
            }
        }

        #[test]
        fn members_within_an_interval_are_those_that_it_contains(
            members in prop::collection::vec(any::<u64>(), 0..12), first in any::<u64>(), last in any::<u64>(),
        ) {
            let (ring, interval) = (ring(&members), Interval { first, last });
            let mut within: Vec<Address> = ring.within(interval).collect();
            within.sort();
            prop_assert_eq!(within, ring.iter().filter(|m| interval.contains(m.0)).collect::<Vec<_>>());
        }
    }
}
