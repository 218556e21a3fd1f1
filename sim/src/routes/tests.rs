use super::*;

fn options(peers: usize, pairs: usize, threads: usize) -> Options {
    Options { pairs, threads: Some(threads), ..Options::of_peers(peers) }
}

#[test]
fn figures_are_the_same_for_the_same_seed_whatever_the_threads() {
    let of = |threads, seed| {
        let (figures, _) = measure(&Options { dead: 0.3, seed, seeds: 2, ..options(300, 700, threads) });
        serde_json::to_string(&figures).unwrap()
    };
    assert_eq!(of(1, 1), of(3, 1));
    assert_ne!(of(1, 1), of(1, 2));
}

#[test]
fn thousand_peers_are_as_near_as_published() {
    let (figures, timing) = measure(&options(1000, 5000, 2));
    assert!((2.8..=2.88).contains(&figures.hops.mean.mean), "{figures:#?}");
    assert!((2.7..=2.85).contains(&figures.shortest) && figures.shortest <= figures.hops.mean.mean);
    assert_eq!(figures.hops.seed_maxes, [figures.hops.max]);
    assert!(figures.hops.max <= 9 && figures.lost == 0 && figures.all.within.iter().all(|share| share.share == 1.0));
    assert!(figures.links.max <= 36 && figures.memory_bytes > 2000.0);
    assert!(timing.cold_micros > 0.0 && timing.warm_nanos > 0.0);
    assert!(figures.load.is_none(), "five packets a peer are too few to tell");
}

#[test]
fn packets_among_the_dead_are_delivered_or_come_back() {
    let (figures, _) = measure(&Options { dead: 0.3, degree: 4, ..options(400, 2000, 2) });
    assert!(figures.connected.packets < figures.all.packets && figures.lost == 0);
    for delivered in [&figures.all, &figures.connected] {
        let [within, before] = [delivered.within[2], delivered.came_back_before[2]];
        assert!(within.share < 1.0 && within.share + before.share <= 1.0);
        assert!(delivered.within.is_sorted_by_key(|share| share.share));
    }
    assert!(figures.connected.within[2].share > 0.98 && figures.all.within[2].share < 0.98);
}

#[test]
fn load_of_many_packets_is_told() {
    let (figures, _) = measure(&options(100, 8000, 2));
    let load = figures.load.unwrap();
    assert!(load.mean > 50.0 && 1.0 < load.p99 && load.p99 <= load.max && load.max < 4.0, "{load:?}");
}
