//! Peers that look alive and do not forward what they should: everybody else reaches everybody all the same, and soon.
#![allow(clippy::panic, reason = "that is how a test fails")]

use std::time::Duration;

use kith_sim::mesh::config::MeshConfig;
use kith_sim::mesh::lies::Lie;
use kith_sim::sweep::run;

/// How long calls between eight honest peers took, each with each other at once and for the first time, among so many liars
fn waits(liars: u32, lie: Lie) -> Vec<Duration> {
    let (mut waits, mut lies) = (Vec::new(), 0);
    for seed in 1..=5 {
        let usual = MeshConfig::new(seed, 8 + liars);
        let config =
            MeshConfig { degree: 4, kinds: Default::default(), faults: Duration::from_secs(30), liars, lie, ..usual };
        let report = run(&config);
        // Whoever was called without an answer is a violation.
        if let Some(violation) = report.violation {
            panic!("{liars} liars, {lie}, seed {seed}: {violation}");
        }
        lies += report.lies;
        waits.extend(report.call_waits);
    }
    // Between two of them a run's few ways may all go by others.
    assert!(lies > 0, "{liars} liars, {lie}: they had nothing to drop");
    waits.sort_unstable();
    waits
}

fn of_hundred(waits: &[Duration], hundredths: usize) -> Duration {
    let at = (waits.len() * hundredths).div_ceil(100).saturating_sub(1);
    waits.get(at).copied().unwrap_or(Duration::MAX)
}

#[test]
fn peers_among_liars_that_forward_nothing_answer_each_other_within_two_seconds() {
    for liars in [2, 4, 16] {
        let waits = waits(liars, Lie::All);
        assert!(waits.len() >= 5 * 56, "{liars} liars: {} calls", waits.len());
        let most = of_hundred(&waits, 99);
        assert!(most <= Duration::from_secs(2), "{liars} liars: 99 of a hundred after {most:?}");
    }
}

#[test]
fn peers_among_liars_that_forward_some_packets_answer_each_other() {
    for lie in [Lie::Half, Lie::Large] {
        for liars in [2, 4] {
            assert!(waits(liars, lie).len() >= 5 * 56, "{liars} liars, {lie}");
        }
    }
}
