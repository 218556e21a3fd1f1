//! What peers work out by themselves, against what the directory says.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::healing::table_of;
use crate::ring::Ring;

/// A directory of so many peers, some of whom are suspects, and some of whom cannot connect
fn directory(peers: u32, degree: u8, suspects: &[u32], parted: &[(u32, u32)]) -> Directory {
    let mut directory = Directory::new(0);
    directory.feed(Command::Configure { degree });
    for i in 0..peers {
        directory.enter(LogIn { salt: [i as u8; 16], ..login(i, 0) });
    }
    for (a, b) in parted.iter().map(|(a, b)| (a % peers, b % peers)).filter(|(a, b)| a != b) {
        let (reporter, other) = (address(&directory, a), address(&directory, b));
        directory.feed(Command::UnreachablePair { reporter, other });
    }
    for i in suspects {
        directory.feed(suspect(i % peers));
    }
    directory
}

fn told(directory: &Directory, place: Address) -> Vec<Address> {
    let rewire = directory.neighbourhood(place).unwrap();
    rewire.neighbours.iter().map(|record| record.address).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn table_from_complete_knowledge_is_the_directorys(
        peers in 1u32..60, degree in prop::sample::select(vec![4u8, 6, 8, 16]),
        suspects in prop::collection::vec(any::<u32>(), 0..6),
        parted in prop::collection::vec((any::<u32>(), any::<u32>()), 0..8),
    ) {
        let directory = directory(peers, degree, &suspects, &parted);
        let ring: Ring = directory.ring().collect();
        let pairs: BTreeSet<(Address, Address)> =
            directory.pairs().flat_map(|Pair { low, high }| [(low, high), (high, low)]).collect();
        for place in directory.ring() {
            prop_assert_eq!(table_of(place, &ring, degree, &pairs), told(&directory, place));
        }
    }

    /// While nobody is parted, and all of a table are there, nothing is missing that neighbours' tables do not have.
    #[test]
    fn table_from_the_neighbours_tables_is_the_directorys(
        peers in 1u32..60, degree in prop::sample::select(vec![4u8, 6, 8, 16]),
    ) {
        let directory = directory(peers, degree, &[], &[]);
        for place in directory.ring() {
            let near = told(&directory, place);
            let far = near.iter().flat_map(|neighbour| told(&directory, *neighbour));
            let ring: Ring = far.chain(near.iter().copied()).chain([place]).collect();
            prop_assert_eq!(table_of(place, &ring, degree, &BTreeSet::new()), near);
        }
    }
}
