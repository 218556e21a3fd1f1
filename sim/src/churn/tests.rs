use super::*;

fn options(peers: usize, threads: usize) -> Options {
    Options { samples: 300, pairs: 3000, threads: Some(threads), ..Options::of_peers(peers) }
}

#[test]
fn figures_are_the_same_for_the_same_seed_whatever_the_threads() {
    let of = |threads, seed| measure(&Options { seed, seeds: 2, samples: 20, pairs: 600, ..options(150, threads) });
    assert_eq!(of(1, 1), of(3, 1));
    assert_ne!(of(1, 1), of(1, 2));
}

#[test]
fn thousand_peers_change_as_little_as_published() {
    let figures = measure(&options(1000, 2));
    assert!(!figures.is_missed(), "{figures:#?}");
    let [fresh, churned] = &figures.rings;
    assert!(fresh.join.closed.mean.measured < churned.join.closed.mean.measured, "churn makes gaps uneven");
    for ring in [fresh, churned] {
        // A join changes the tables of its new neighbours, and nobody else opens a link.
        assert_eq!(ring.join.opened, ring.join.touched);
        assert!(ring.join.opened.mean.measured > 12.0 && ring.join.opened.max <= 36);
        // What a leave closes are the links of whoever leaves.
        assert!(ring.leave.closed.mean.measured > 14.0 && ring.leave.closed.max <= 36);
        assert!((1.0..1.6).contains(&ring.at_once.measured));
    }
    assert!((0.98..1.02).contains(&figures.day.ratio.measured));
}

#[test]
fn missed_goal_is_told() {
    let mut figures = measure(&Options { samples: 5, pairs: 50, degree: 8, ..options(100, 1) });
    assert!(figures.rings[0].join.opened.mean.goal.is_none(), "goals are of degree 16");
    figures.day.ratio.missed = false;
    assert!(!figures.is_missed());
    figures.rings[1].leave.touched.mean.missed = true;
    assert!(figures.is_missed());
}
