use proptest::prelude::*;

use super::*;

fn random_ring(n: usize, seed: u64) -> Ring {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (0..n).map(|_| Address(rng.next_u64())).collect()
}

/// A ring as logins make it
fn given_ring(n: usize, seed: u64) -> Ring {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut ring = Ring::new();
    for _ in 0..n {
        let (mut key, mut salt) = (Key([0; 32]), [0; 16]);
        rng.fill_bytes(&mut key.0);
        rng.fill_bytes(&mut salt);
        ring.insert(choose_address(&key, &salt, &ring));
    }
    ring
}

/// Every table, by the local form
fn tables(ring: &Ring, maps: &Maps, absent: &impl Absent) -> BTreeMap<Address, BTreeSet<Address>> {
    ring.iter().map(|x| (x, neighbours(ring, maps, x, absent).into_iter().collect())).collect()
}

fn random_pairs(ring: &Ring, count: usize, seed: u64) -> BTreeSet<(Address, Address)> {
    let members: Vec<Address> = ring.iter().collect();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut member = || members[(rng.next_u64() % members.len() as u64) as usize];
    (0..count).map(|_| (member(), member())).flat_map(|(a, b)| [(a, b), (b, a)]).filter(|(a, b)| a != b).collect()
}

fn is_connected(graph: &BTreeMap<Address, BTreeSet<Address>>) -> bool {
    let Some(start) = graph.keys().next() else { return true };
    let (mut reached, mut todo) = (BTreeSet::from([*start]), vec![*start]);
    while let Some(x) = todo.pop() {
        todo.extend(graph[&x].iter().filter(|y| reached.insert(**y)));
    }
    reached.len() == graph.len()
}

#[test]
fn maps_are_as_published() {
    let maps = Maps::of_degree(16);
    let (first, last) = (&maps.0[0], &maps.0[6]);
    let blocks = |map: &Map| map.forth[..4].iter().map(|turn| turn.base >> BLOCK_BITS).collect::<Vec<_>>();
    assert_eq!(blocks(first), [168, 181, 191, 204]);
    assert_eq!((first.forth[0].shift, first.forth[255].shift), (0x8b_69e0_84ef_f6a2, 0x59_ec0e_dd54_ba3d));
    assert_eq!(blocks(last), [228, 121, 232, 176]);
    assert_eq!((last.forth[0].shift, last.forth[255].shift), (0xbd_86c9_dd08_71b5, 0x10_44e0_72b1_5c93));
    let points = |map: &Map| [map.apply(0), map.apply(0x0123_4567_89ab_cdef), map.invert(0xfedc_ba98_7654_3210)];
    assert_eq!(points(first), [0xa88b_69e0_84ef_f6a2, 0xb50c_c7db_5ce6_7062, 0x732c_75df_8861_4ca3]);
    assert_eq!(points(last), [0xe4bd_86c9_dd08_71b5, 0x791e_4dac_ed9d_f359, 0x46d3_ddc9_0e2b_72d0]);
}

#[test]
fn degrees_are_even_and_bounded() {
    let degrees: Vec<u8> = (0..=u8::MAX).filter(|degree| is_degree(*degree)).collect();
    assert_eq!(degrees, (4..=40).step_by(2).collect::<Vec<u8>>());
    assert_eq!([0, 4, 5, 6, 16, 40, 255].map(|degree| Maps::of_degree(degree).len()), [1, 1, 1, 2, 7, 19, 19]);
}

#[test]
fn lone_member_and_stranger_have_no_neighbours() {
    let (ring, maps) = (Ring::from_iter([Address(7)]), Maps::of_degree(16));
    assert_eq!(neighbours(&ring, &maps, Address(7), &()), []);
    assert_eq!(neighbours(&ring, &maps, Address(8), &()), []);
    let pair = Ring::from_iter([Address(7), Address(8)]);
    assert_eq!(neighbours(&pair, &maps, Address(7), &()), [Address(8)]);
}

#[test]
fn links_of_eight_evenly_spaced_members_are_pinned() {
    let ring: Ring = (0..8u64).map(|i| Address(i << 61 | 0x0123_4567_89ab_cdef)).collect();
    let table = |x: u64| {
        let x = Address(x << 61 | 0x0123_4567_89ab_cdef);
        neighbours(&ring, &Maps::of_degree(4), x, &()).iter().map(|y| y.0 >> 61).collect::<Vec<_>>()
    };
    let tables: Vec<Vec<u64>> = (0..8).map(table).collect();
    let pinned: [&[u64]; 8] =
        [&[1, 3, 6, 7], &[0, 2, 6], &[1, 3, 7], &[0, 2, 4, 5], &[3, 5, 7], &[3, 4, 6], &[0, 1, 5, 7], &[0, 2, 4, 6]];
    assert_eq!(tables, pinned);
}

#[test]
fn degree_of_a_given_ring_stays_in_its_bounds() {
    let ring = given_ring(1000, 1);
    let mut degrees: Vec<usize> = tables(&ring, &Maps::of_degree(16), &()).values().map(BTreeSet::len).collect();
    degrees.sort();
    let mean = degrees.iter().sum::<usize>() as f64 / 1000.0;
    assert!((15.0..=16.0).contains(&mean), "mean {mean}");
    assert!(
        degrees[0] >= 9 && degrees[990] <= 23 && degrees[999] <= 36,
        "{} {} {}",
        degrees[0],
        degrees[990],
        degrees[999]
    );
}

#[test]
fn degree_is_at_most_the_table_bound_at_the_largest_degree() {
    let ring = given_ring(1000, 2);
    let largest = ring.iter().map(|x| neighbours(&ring, &Maps::of_degree(DEGREE_MAX), x, &()).len()).max();
    assert!(largest <= Some(crate::wire::session::NEIGHBOURS_MAX), "{largest:?}");
}

#[test]
fn chosen_address_is_the_loneliest_candidate() {
    let (key, salt) = (Key([7; 32]), [9; 16]);
    assert_eq!(choose_address(&key, &salt, &Ring::new()), crypto::candidate_address(&key, &salt, 0));
    let ring = random_ring(50, 3);
    let room = |x: Address| ring.iter().map(|y| crate::ring::distance(x.0, y.0)).min();
    let candidates: Vec<Address> = (0..32).map(|i| crypto::candidate_address(&key, &salt, i)).collect();
    let best = choose_address(&key, &salt, &ring);
    assert!(candidates.contains(&best));
    assert_eq!(candidates.iter().map(|x| room(*x)).max(), Some(room(best)));
}

#[test]
fn choice_between_equal_candidates_is_the_first() {
    let (key, salt) = (Key([7; 32]), [9; 16]);
    let candidates: Ring = (0..32).map(|i| crypto::candidate_address(&key, &salt, i)).collect();
    assert_eq!(choose_address(&key, &salt, &candidates), crypto::candidate_address(&key, &salt, 0));
}

proptest! {
    #[test]
    fn map_and_inverse_are_inverse(j in 0usize..19, point in any::<u64>()) {
        let map = &Maps::of_degree(DEGREE_MAX).0[j];
        prop_assert_eq!(map.invert(map.apply(point)), point);
        prop_assert_eq!(map.apply(map.invert(point)), point);
    }

    #[test]
    fn inverse_of_an_interval_has_the_points_whose_images_are_in_it(
        first in any::<u64>(), bits in 0u32..64, noise in any::<u64>(), points in prop::collection::vec(any::<u64>(), 8),
    ) {
        let map = &Maps::of_degree(4).0[0];
        let interval = Interval { first, last: first.wrapping_add(noise >> bits) };
        let mut pieces = Vec::new();
        map.invert_interval(interval, |piece| pieces.push(piece));
        let edges = [first.wrapping_sub(1), first, interval.last, interval.last.wrapping_add(1)].map(|p| map.invert(p));
        for point in points.into_iter().chain(edges) {
            let holding = pieces.iter().filter(|piece| piece.contains(point)).count();
            prop_assert_eq!(holding, usize::from(interval.contains(map.apply(point))));
        }
    }

    #[test]
    fn local_form_equals_the_whole_graphs(n in 1usize..40, degree in 2u8..13, seed in any::<u64>()) {
        let (ring, maps) = (random_ring(n, seed), Maps::of_degree(2 * degree));
        prop_assert_eq!(tables(&ring, &maps, &()), graph(&ring, &maps, &()));
    }

    #[test]
    fn local_form_equals_the_whole_graphs_when_pairs_are_absent(
        n in 1usize..40, degree in 2u8..9, seed in any::<u64>(), pairs in 0usize..60,
    ) {
        let (ring, maps) = (random_ring(n, seed), Maps::of_degree(2 * degree));
        let absent = random_pairs(&ring, pairs, seed ^ 1);
        let tables = tables(&ring, &maps, &absent);
        prop_assert!(absent.iter().all(|(a, b)| !tables[a].contains(b)));
        prop_assert_eq!(tables, graph(&ring, &maps, &absent));
    }

    #[test]
    fn links_are_symmetric_and_connect_everybody(n in 1usize..200, degree in 2u8..9, seed in any::<u64>()) {
        let (ring, maps) = (random_ring(n, seed), Maps::of_degree(2 * degree));
        let tables = tables(&ring, &maps, &());
        prop_assert!(tables.iter().all(|(x, table)| !table.contains(x) && table.iter().all(|y| tables[y].contains(x))));
        prop_assert!(is_connected(&tables));
    }

    #[test]
    fn join_or_leave_changes_only_the_tables_of_its_neighbours_and_ring_neighbours(
        n in 1usize..120, degree in 2u8..9, seed in any::<u64>(), x in any::<u64>(),
    ) {
        let (mut ring, maps, x) = (random_ring(n, seed), Maps::of_degree(2 * degree), Address(x));
        let before = tables(&ring, &maps, &());
        prop_assume!(ring.insert(x));
        let after = tables(&ring, &maps, &());
        let mut touched = after[&x].clone();
        touched.extend(ring.predecessor(x));
        touched.extend(ring.successor(x));
        let unchanged = |y: &Address| *y == x || touched.contains(y) || before[y] == after[y];
        prop_assert!(after.keys().all(unchanged));
    }
}
