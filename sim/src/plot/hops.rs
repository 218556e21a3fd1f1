//! Mean hops by the number of peers.

use super::Options;
use super::chart::{Axis, BLUE, Chart, GREEN, GREY, Line, ORANGE, PURPLE, Stroke};
use crate::{moore, output, routes};

const DEGREES: [u8; 4] = [8, 12, 16, 24];
/// The smallest ring in the picture
const PEERS_MIN: usize = 100;

pub(super) fn chart(options: &Options) -> Chart {
    let sizes = sizes(options.max_peers);
    let mut lines = Vec::new();
    let mut add = |color, stroke, name: Option<String>, hops: &mut dyn FnMut(usize) -> f64| {
        let points = sizes.iter().map(|peers| (place(*peers), hops(*peers))).collect();
        lines.push(Line { color, stroke, points, name });
    };
    add(GREY, Stroke::Plain, Some("Chord: ½ log₂ n".into()), &mut |peers| (peers as f64).log2() / 2.0);
    for (degree, color) in DEGREES.into_iter().zip([ORANGE, PURPLE, BLUE, GREEN]) {
        add(color, Stroke::Dashed, None, &mut |peers| moore::mean_distance(peers as u64, degree));
        let name = Some(format!("degree {degree}"));
        add(color, Stroke::Dots, name, &mut |peers| measured(options, peers, degree));
    }
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, hops)| *hops).fold(0.0, f64::max);
    let [first, last] = [PEERS_MIN, options.max_peers.max(PEERS_MIN + 1)].map(place);
    let decades = (last - first).floor() as usize + 1;
    Chart {
        title: "Hops of a packet, mean".into(),
        x: Axis {
            title: "peers (logarithmic)".into(),
            range: first..last,
            numbers: decades.max(2),
            write: |x| peers(x),
        },
        y: Axis {
            title: "mean hops".into(),
            range: 0.0..(highest + 0.5).ceil(),
            numbers: 12,
            write: |hops| format!("{hops:.0}"),
        },
        lines,
        key: vec![
            (Stroke::Dots, "measured, by a peer's links (degree)".into()),
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

/// Where a size is on the axis
fn place(peers: usize) -> f64 {
    (peers as f64).log10()
}

/// What stands at a place of the axis
fn peers(place: f64) -> String {
    let peers = 10f64.powf(place).round();
    if peers >= 1e6 {
        format!("{}M", peers / 1e6)
    } else if peers >= 1e3 {
        format!("{}k", peers / 1e3)
    } else {
        peers.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_up_to_the_largest() {
        assert_eq!(sizes(10_000), [100, 300, 1_000, 3_000, 10_000]);
        assert_eq!(sizes(500), [100, 300, 500]);
        assert_eq!([2.0, 4.0, 6.0].map(peers), ["100", "10k", "1M"]);
    }
}
