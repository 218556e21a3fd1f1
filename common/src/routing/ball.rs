//! The ball of a destination: the points that a few maps or inverse maps lead to from it.
//!
//! The owner of a point of the ball has a link one hop nearer to the destination, so a peer's expected hops are those
//! of the nearest point and a little for the way to it along the ring.

use crate::id::{Address, Point};
use crate::lift::{Map, Maps};
use crate::mutant::{self, Mutant};

/// Maps in a row at most
const DEPTH_MAX: u8 = 6;
/// Points of a ball at most: 33,000 at degree 16 and a million members; more would make a cold decision slow
const POINTS_MAX: u64 = 1 << 16;
/// What one hop costs
const HOP: u64 = 1 << 32;
/// What a mean gap of the ring costs in a shallow ball: 0.8 hops, found by simulation
const GAP: u64 = HOP / 10 * 8;
/// What it costs in a ball of [`DOUBTFUL_DEPTH`] or more: 0.9 hops
const GAP_DOUBTED: u64 = HOP / 10 * 9;
/// From this depth on points are doubted the more the deeper they are: below it hops would grow by a hundredth
const DOUBTFUL_DEPTH: u8 = 3;
/// How far away, at [`GAP_DOUBTED`] each, a point is believed to be besides what is seen: 0.4 · √r mean gaps, r maps out
///
/// Each map adds an error of its own: its image's owner stands for the image. Without this a packet believes a point
/// many maps away that the links promised there exist, finds none, and tries another peer beside the same point.
const DOUBT: [u64; DEPTH_MAX as usize + 1] = {
    const fn of(ten_thousandths: u64) -> u64 {
        GAP_DOUBTED / 10_000 * ten_thousandths
    }
    [of(0), of(4_000), of(5_657), of(6_928), of(8_000), of(8_944), of(9_798)]
};
/// Members count up to here: more would not fit the arithmetic
const MEMBERS_MAX: u64 = 1 << 31;

/// Expected hops, in 1/4096 of a hop; whole numbers, so that every machine decides alike
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost(u32);

impl Cost {
    /// More than any other
    pub(super) const MAX: Self = Self(u32::MAX);
    /// Through a neighbour that has a link to the destination: less than through any other
    pub(super) const KNOWN: Self = Self(3 << 11);
    /// Through a neighbour that should have one and misses it: to be asked before anybody searches on
    pub(super) const MISSED: Self = Self(7 << 10);

    /// The cost of a packet that is two hops before a peer with `cost` in [`HOP`]s
    fn two_hops_before(cost: u64) -> Self {
        Self(u32::try_from((cost + 2 * HOP) >> 20).unwrap_or(u32::MAX))
    }

    /// The cost in hundredths of a hop, for people
    pub(super) fn hundredths(self) -> u32 {
        ((u64::from(self.0) * 100) >> 12) as u32
    }
}

/// How many maps in a row: the least depth at which the ball's outermost shell and two tables see every member
pub(super) fn depth(degree: u8, members: u64) -> u8 {
    let moves = 2 * Maps::of_degree(degree).len() as u64;
    let (mut shell, mut points, mut depth) = (moves, 1 + moves, 1);
    // A peer's own table and its neighbours' reach about d² members, so a shell with one point for each d² of them is
    // met.
    while shell * u64::from(degree).pow(2) < members && depth < DEPTH_MAX {
        shell *= moves - 1;
        points += shell;
        if points > POINTS_MAX {
            break;
        }
        depth += 1;
    }
    depth
}

/// Expected hops to the ball's centre by way of each of `seconds`, which are in their order, two hops from here
pub(super) fn costs(seconds: &[Address], maps: Maps, centre: Point, depth: u8, members: u64) -> Vec<Cost> {
    let is_doubted = depth >= DOUBTFUL_DEPTH;
    let mut field = Field::new(seconds, members, if is_doubted { GAP_DOUBTED } else { GAP });
    visit(maps, (centre, None), 0, depth, &mut |point, hops| {
        let doubt = DOUBT.get(usize::from(hops)).copied().filter(|_| is_doubted).unwrap_or_default();
        field.lower(point, u64::from(hops) * HOP, doubt);
    });
    field.settle();
    field.costs.into_iter().map(Cost::two_hops_before).collect()
}

/// Calls `found` with each point of the ball and how many maps it is away
fn visit(maps: Maps, from: (Point, Option<Move>), hops: u8, depth: u8, found: &mut impl FnMut(Point, u8)) {
    let (point, came) = from;
    found(point, hops);
    if hops == depth || mutant::is(Mutant::BallOfCentreOnly) {
        return;
    }
    for (j, map) in maps.iter().enumerate() {
        for forth in [true, false] {
            // A move that undoes the one before would lead back into the ball.
            if came != Some((j, !forth)) {
                visit(maps, (step(map, forth, point), Some((j, forth))), hops + 1, depth, found);
            }
        }
    }
}

/// A map and whether it was applied (else inverted)
type Move = (usize, bool);

fn step(map: &Map, forth: bool, point: Point) -> Point {
    if forth { map.apply(point) } else { map.invert(point) }
}

const BUCKET_BITS: u32 = 9;

/// The cost of places on the ring, found from the points of a ball one after the other
///
/// A point lowers the cost of the two places beside it; in the end each place passes its cost on to the next ones. That
/// needs no list of the points, and is exact where costs grow with the distance alone. Of a doubted point they grow a
/// little less near by, so that a place beyond another may count up to its doubt too much: that is where the other one
/// is the better choice.
struct Field<'a> {
    places: &'a [Address],
    costs: Vec<u64>,
    /// Where the places of each 512th of the ring begin: a search for every point would take most of the time
    buckets: [u16; 1 << BUCKET_BITS],
    weight: u128,
}

impl<'a> Field<'a> {
    fn new(places: &'a [Address], members: u64, gap: u64) -> Self {
        let mut buckets = [0; 1 << BUCKET_BITS];
        let mut begin = 0;
        for (bucket, at) in buckets.iter_mut().enumerate() {
            let ahead = places.get(begin..).unwrap_or_default();
            begin += ahead.iter().take_while(|place| bucket_of(place.0) < bucket).count();
            *at = begin as u16;
        }
        let weight = u128::from(members.clamp(1, MEMBERS_MAX) * gap);
        Self { places, costs: vec![u64::MAX / 2; places.len()], buckets, weight }
    }

    /// What the way from `a` clockwise to `b` costs
    fn way(&self, a: Point, b: Point) -> u64 {
        ((u128::from(b.wrapping_sub(a)) * self.weight) >> 64) as u64
    }

    fn lower(&mut self, point: Point, cost: u64, doubt: u64) {
        let begin = usize::from(self.buckets.get(bucket_of(point)).copied().unwrap_or_default());
        let rest = self.places.get(begin..).unwrap_or_default();
        let ahead = begin + rest.iter().take_while(|place| place.0 < point).count();
        // The ring has no ends: before the first place is the last one, and after the last the first.
        let behind = ahead.checked_sub(1).unwrap_or(self.places.len().saturating_sub(1));
        let ahead = if ahead == self.places.len() { 0 } else { ahead };
        if let Some(place) = self.places.get(ahead) {
            self.lower_at(ahead, cost + length(self.way(point, place.0), doubt));
        }
        if let Some(place) = self.places.get(behind) {
            self.lower_at(behind, cost + length(self.way(place.0, point), doubt));
        }
    }

    fn lower_at(&mut self, at: usize, cost: u64) {
        if let Some(known) = self.costs.get_mut(at) {
            *known = cost.min(*known);
        }
    }

    /// Passes costs on clockwise and counterclockwise, twice round, as the ring has no beginning
    fn settle(&mut self) {
        let count = self.places.len();
        let pairs = (0..2 * count).map(|i| (i % count, (i + 1) % count));
        for (a, b) in pairs.clone() {
            self.pass_on(a, b, self.gap(a, b));
        }
        for (a, b) in pairs.rev() {
            self.pass_on(b, a, self.gap(a, b));
        }
    }

    fn gap(&self, a: usize, b: usize) -> u64 {
        match (self.places.get(a), self.places.get(b)) {
            (Some(a), Some(b)) => self.way(a.0, b.0),
            _ => 0,
        }
    }

    fn pass_on(&mut self, from: usize, to: usize, way: u64) {
        let cost = self.costs.get(from).copied().unwrap_or(u64::MAX / 2);
        self.lower_at(to, cost + way);
    }
}

/// √(a² + b²) to 7 %: an exact root of whole numbers would take most of the time of a cold decision
fn length(a: u64, b: u64) -> u64 {
    a.max(b) + a.min(b) / 8 * 3
}

const fn bucket_of(point: Point) -> usize {
    (point >> (u64::BITS - BUCKET_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lift::{DEGREE_MAX, DEGREE_MIN};
    use crate::ring::distance;

    fn points(degree: u8, centre: Point, depth: u8) -> Vec<(Point, u8)> {
        let mut points = Vec::new();
        visit(Maps::of_degree(degree), (centre, None), 0, depth, &mut |point, hops| points.push((point, hops)));
        points
    }

    #[test]
    fn depth_grows_with_the_members_as_published() {
        assert_eq!([1_000, 10_000, 100_000, 1_000_000].map(|members| depth(16, members)), [1, 2, 3, 4]);
        assert_eq!([0, 1, 32, 33, u64::MAX].map(|members| depth(4, members)), [1, 1, 1, 6, 6]);
    }

    #[test]
    fn ball_is_bounded_at_every_degree_and_any_number_of_members() {
        for degree in (DEGREE_MIN..=DEGREE_MAX).step_by(2) {
            let moves = 2 * Maps::of_degree(degree).len() as u64;
            let points = 1 + (0..u32::from(depth(degree, u64::MAX))).map(|r| moves * (moves - 1).pow(r)).sum::<u64>();
            assert!(points <= POINTS_MAX, "{points} at degree {degree}");
        }
    }

    #[test]
    fn ball_has_a_shell_for_every_map_in_a_row() {
        let points = points(16, 12345, 3);
        let shell = |hops| points.iter().filter(|point| point.1 == hops).count();
        assert_eq!([0, 1, 2, 3].map(shell), [1, 14, 14 * 13, 14 * 13 * 13]);
        let first = Maps::of_degree(16).iter().next().unwrap();
        let expected = [(first.apply(12345), 1), (first.invert(12345), 1), (first.apply(first.apply(12345)), 2)];
        assert!(expected.iter().all(|point| points.contains(point)));
    }

    proptest! {
        #[test]
        fn cost_is_that_of_the_cheapest_point(
            places in prop::collection::btree_set(any::<u64>(), 1..40), centre in any::<u64>(), depth in 0u8..3, members in 1u64..1_000_000,
        ) {
            let places: Vec<Address> = places.into_iter().map(Address).collect();
            let found = costs(&places, Maps::of_degree(8), centre, depth, members);
            let points = points(8, centre, depth);
            for (place, cost) in places.iter().zip(found) {
                let gap = 2f64.powi(64) / members as f64;
                let of = |(point, hops): &(Point, u8)| f64::from(*hops) + 0.8 * distance(*point, place.0) as f64 / gap;
                let expected = 2.0 + points.iter().map(of).fold(f64::MAX, f64::min);
                prop_assert!((f64::from(cost.0) / 4096.0 - expected).abs() < 0.001, "{cost:?} for {expected}");
            }
        }

        #[test]
        fn deep_points_are_doubted_and_the_cost_is_never_less_than_that_of_the_cheapest(
            places in prop::collection::btree_set(any::<u64>(), 1..40), centre in any::<u64>(), members in 1u64..1_000_000,
        ) {
            let places: Vec<Address> = places.into_iter().map(Address).collect();
            let found = costs(&places, Maps::of_degree(8), centre, 3, members);
            let points = points(8, centre, 3);
            for (place, cost) in places.iter().zip(found) {
                let gap = 2f64.powi(64) / members as f64;
                let of = |(point, hops): &(Point, u8)| {
                    let (hops, gaps) = (f64::from(*hops), distance(*point, place.0) as f64 / gap);
                    hops + 0.9 * (gaps * gaps + 0.16 * hops).sqrt()
                };
                let (found, least) = (f64::from(cost.0) / 4096.0 - 2.0, points.iter().map(of).fold(f64::MAX, f64::min));
                // The root is up to 7 % too large, and what is passed on by the whole doubt of its point.
                let most = least * 1.07 + 0.9 * 0.4 * 3f64.sqrt();
                prop_assert!(least * 0.97 - 0.001 <= found && found <= most, "{found} for {least}");
            }
        }
    }
}
