//! Mean hops by the number of peers.

use super::Options;
use super::chart::{Axis, BLUE, Chart, GREEN, GREY, Line, ORANGE, PURPLE, Stroke};
use crate::{moore, output, routes};

const DEGREES: [u8; 4] = [8, 12, 16, 24];
/// The smallest ring in the picture
const PEERS_MIN: usize = 100;

pub(super) fn chart(options: &Options) -> Chart {
    let sizes = sizes(options.max_peers);
    let fine = fine(options.max_peers);
    let points = |sizes: &[usize], hops: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
        sizes.iter().map(|peers| (place(*peers), hops(*peers))).collect()
    };
    let chord = points(&sizes, &|peers| (peers as f64).log2() / 2.0);
    let name = Some("Chord: ½ log₂ n".to_owned());
    let mut lines = vec![Line { color: GREY, stroke: Stroke::Plain, points: chord, name }];
    for (degree, color) in DEGREES.into_iter().zip([ORANGE, PURPLE, BLUE, GREEN]) {
        let bound = points(&fine, &|peers| moore::mean_distance(peers as u64, degree));
        let found = points(&sizes, &|peers| measured(options, peers, degree));
        lines.push(Line { color, stroke: Stroke::Dashed, points: bound, name: None });
        lines.push(Line { color, stroke: Stroke::Dots, points: found, name: Some(format!("degree {degree}")) });
    }
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, hops)| *hops).fold(0.0, f64::max);
    let [first, last] = [PEERS_MIN, options.max_peers.max(PEERS_MIN + 1)].map(place);
    let decades = (last - first).floor() as usize + 1;
    Chart {
        title: "Hops that a packet needs, by the number of peers".into(),
        x: Axis {
            title: "peers (logarithmic)".into(),
            range: first..last,
            numbers: decades.max(2),
            write: |place| output::size(10f64.powf(place).round() as usize),
        },
        y: Axis {
            title: "mean hops".into(),
            range: 0.0..(highest + 0.5).ceil(),
            numbers: 12,
            write: |hops| format!("{hops:.0}"),
        },
        lines,
        key: vec![
            (Stroke::Dots, "measured (degree: links that a peer has, about)".into()),
            (Stroke::Dashed, "Moore bound: no graph of that degree has fewer".into()),
        ],
        is_key_low: false,
    }
}

fn measured(options: &Options, peers: usize, degree: u8) -> f64 {
    let Options { pairs, seed, threads, .. } = *options;
    let routes = routes::Options { degree, pairs, seed, threads, ..routes::Options::of_peers(peers) };
    let hops = routes::measure(&routes).0.hops.mean.mean;
    output::note(&format!("{peers} peers, degree {degree}: {hops:.3} hops"));
    hops
}

/// Two a decade, from the smallest to the largest
fn sizes(max: usize) -> Vec<usize> {
    let decades = std::iter::successors(Some(PEERS_MIN), |peers| peers.checked_mul(10));
    let mut sizes: Vec<usize> = decades.flat_map(|peers| [peers, 3 * peers]).take_while(|peers| *peers < max).collect();
    sizes.push(max);
    sizes
}

/// So many that a line through them has its true bends
fn fine(max: usize) -> Vec<usize> {
    const STEPS: i32 = 40;
    let (min, growth) = (PEERS_MIN as f64, max as f64 / PEERS_MIN as f64);
    (0..=STEPS).map(|step| (min * growth.powf(f64::from(step) / f64::from(STEPS))).round() as usize).collect()
}

/// Where a size is on the axis
fn place(peers: usize) -> f64 {
    (peers as f64).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_up_to_the_largest() {
        assert_eq!(sizes(10_000), [100, 300, 1_000, 3_000, 10_000]);
        assert_eq!(sizes(500), [100, 300, 500]);
        let fine = fine(1000);
        assert!(fine.len() == 41 && fine[0] == 100 && fine[40] == 1000 && fine.is_sorted());
    }
}
