//! The Moore bound: how near everybody could be if a graph of this degree were perfect.

/// The least possible mean distance between two of `peers` peers with `degree` links each
///
/// No graph has more than d peers one hop away, d (d − 1) two hops away, d (d − 1)² three hops away …
pub(crate) fn mean_distance(peers: u64, degree: u8) -> f64 {
    let others = peers.saturating_sub(1);
    let (mut left, mut shell, mut hops, mut sum) = (others, u64::from(degree), 1u64, 0u128);
    while left > 0 && shell > 0 {
        let here = left.min(shell);
        sum += u128::from(here) * u128::from(hops);
        left -= here;
        shell = shell.saturating_mul(u64::from(degree) - 1);
        hops += 1;
    }
    if others == 0 { 0.0 } else { sum as f64 / others as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_distance_is_as_published() {
        let published = [(1_000, 2.73), (10_000, 3.59), (100_000, 4.38), (1_000_000, 5.07)];
        for (peers, mean) in published {
            let found = mean_distance(peers, 16);
            assert!((found - mean).abs() < 0.005, "{found} for {peers}");
        }
    }

    #[test]
    fn small_graphs_have_exact_bounds() {
        assert_eq!([0, 1, 2].map(|peers| mean_distance(peers, 4)), [0.0, 0.0, 1.0]);
        // The Petersen graph reaches it: three at one hop, six at two.
        assert_eq!(mean_distance(10, 3), 15.0 / 9.0);
    }
}
