//! The ring of 64-bit places: who is where, and who owns which points.
//!
//! Clockwise is increasing, and the ring wraps. Everything here is a function of the members alone.

use crate::id::{Address, Point};

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
/// A change costs a move of the addresses behind it: 8 MB for a million members, well under a millisecond, and every
/// question costs one search in flat memory.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ring(Vec<Address>);

impl FromIterator<Address> for Ring {
    fn from_iter<I: IntoIterator<Item = Address>>(addresses: I) -> Self {
        let mut members: Vec<Address> = addresses.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        Self(members)
    }
}

impl Ring {
    /// Nobody
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a member; `false` if it was one
    pub fn insert(&mut self, address: Address) -> bool {
        match self.0.binary_search(&address) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, address);
                true
            }
        }
    }

    /// Takes a member away; `false` if it was none
    pub fn remove(&mut self, address: Address) -> bool {
        match self.0.binary_search(&address) {
            Ok(at) => {
                self.0.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// How many members
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no member
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `address` is a member
    pub fn contains(&self, address: Address) -> bool {
        self.0.binary_search(&address).is_ok()
    }

    /// The members in the order of their addresses
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Address> + ExactSizeIterator + Clone {
        self.0.iter().copied()
    }

    /// The member nearest to `point`; of two as near, the clockwise one
    pub fn owner(&self, point: Point) -> Option<Address> {
        self.owner_among(point, |_| true)
    }

    /// The member nearest to `point` among those that `eligible` accepts; of two as near, the clockwise one
    ///
    /// It costs a search and one step for every member refused.
    pub fn owner_among(&self, point: Point, eligible: impl Fn(Address) -> bool) -> Option<Address> {
        let ahead = self.clockwise(point).find(|member| eligible(*member))?;
        let behind = self.counterclockwise(point).find(|member| eligible(*member))?;
        let nearer_ahead = ahead.0.wrapping_sub(point) <= point.wrapping_sub(behind.0);
        Some(if nearer_ahead { ahead } else { behind })
    }

    /// The next member clockwise from `address`, which need not be one; `None` if there is no other
    pub fn successor(&self, address: Address) -> Option<Address> {
        self.clockwise(address.0).find(|member| *member != address)
    }

    /// The next member counterclockwise from `address`, which need not be one; `None` if there is no other
    pub fn predecessor(&self, address: Address) -> Option<Address> {
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
        let first = before.0.wrapping_add(gap_before.div_ceil(2));
        let last = own.wrapping_add(gap_after.div_ceil(2)).wrapping_sub(1);
        Some(Interval { first, last })
    }

    /// The members in `interval`, clockwise
    pub fn within(&self, interval: Interval) -> impl Iterator<Item = Address> {
        self.clockwise(interval.first).take_while(move |member| interval.contains(member.0))
    }

    /// Every member once, clockwise, from `point` on
    pub fn clockwise(&self, point: Point) -> impl Iterator<Item = Address> {
        let (before, from) = self.0.split_at(self.0.partition_point(|member| member.0 < point));
        from.iter().chain(before).copied()
    }

    /// Every member once, counterclockwise, from just before `point` on
    pub fn counterclockwise(&self, point: Point) -> impl Iterator<Item = Address> {
        let (before, from) = self.0.split_at(self.0.partition_point(|member| member.0 < point));
        before.iter().rev().chain(from.iter().rev()).copied()
    }
}

#[cfg(test)]
mod tests {
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

    proptest! {
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
