//! What the figures should be, by size; for other sizes and degrees nobody has said.

use crate::goals::Goal::{self, AtLeast, AtMost};

/// Links of 99 % of the peers
pub(super) const LINKS_P99: Goal = AtMost(23.0);
/// The most links of any
pub(super) const LINKS_MAX: Goal = AtMost(36.0);

/// The goals of one size at the default degree, for a ring of joins and a churned one alike
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Goals {
    pub(super) hops: Option<Goal>,
    /// Mean hops over the Moore bound
    pub(super) ratio: Option<Goal>,
    /// Hops of 99 % of the packets
    pub(super) p99: Option<Goal>,
    /// Hops of the longest of 40,000 packets
    pub(super) max: Option<Goal>,
    /// Delivered in 32 and in 64 hops, of all packets while 30 % are dead
    pub(super) dead_30: [Option<Goal>; 2],
    /// Delivered in 32 and in 128 hops, of those between connected peers while half are dead
    pub(super) dead_50: [Option<Goal>; 2],
}

pub(super) fn of_peers(peers: usize) -> Goals {
    let goals = |[hops, ratio, p99, max]: [f64; 4], dead_30: [Option<f64>; 2], dead_50: [Option<f64>; 2]| Goals {
        hops: Some(AtMost(hops)),
        ratio: Some(AtMost(ratio)),
        p99: Some(AtMost(p99)),
        max: Some(AtMost(max)),
        dead_30: dead_30.map(|share| share.map(AtLeast)),
        dead_50: dead_50.map(|share| share.map(AtLeast)),
    };
    match peers {
        1_000 => goals([2.88, 1.06, 5.0, 9.0], [Some(0.9999), None], [Some(0.999), None]),
        10_000 => goals([3.86, 1.08, 5.0, 10.0], [Some(0.9999), None], [Some(0.995), None]),
        100_000 => goals([4.85, 1.11, 7.0, 12.0], [Some(0.998), Some(0.9999)], [Some(0.97), Some(0.999)]),
        1_000_000 => goals([5.82, 1.15, 8.0, 14.0], [Some(0.985), Some(0.999)], [Some(0.87), Some(0.995)]),
        _ => Goals::default(),
    }
}

/// Mean hops at another degree
pub(super) const fn hops_of_degree(peers: usize, degree: u8) -> Option<Goal> {
    match (peers, degree) {
        (1_000_000, 8) => Some(AtMost(8.55)),
        (1_000_000, 12) => Some(AtMost(6.65)),
        (1_000_000, 24) => Some(AtMost(5.06)),
        _ => None,
    }
}
