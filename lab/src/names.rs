//! What the processes of a lab are called.

/// The first peers' names, in order; people remember a path of names better than one of numbers
const NAMES: [&str; 26] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kim", "liam", "mallory",
    "nina", "olivia", "peggy", "quentin", "rupert", "sybil", "trent", "ursula", "victor", "walter", "xena", "yuri",
    "zoe",
];

/// The name of the peer at `index`, from 0: `alice` … `zoe`, then `peer-27` and so on
pub(crate) fn peer(index: usize) -> String {
    NAMES.get(index).map_or_else(|| format!("peer-{}", index + 1), |name| (*name).to_owned())
}

/// The name of the supernode at `index`, from 0
pub(crate) fn supernode(index: usize) -> String {
    format!("supernode-{}", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named_from_alice_to_zoe_and_then_numbered() {
        let names: Vec<String> = [0, 7, 8, 9, 25, 26].into_iter().map(peer).collect();
        assert_eq!(names, ["alice", "heidi", "ivan", "judy", "zoe", "peer-27"]);
    }

    #[test]
    fn every_name_is_one_that_the_directory_accepts() {
        for name in (0..100).map(peer).chain((0..3).map(supernode)) {
            assert!(name.parse::<kith_common::id::Name>().is_ok(), "{name}");
        }
    }
}
