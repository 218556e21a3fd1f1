//! Packets delivered by the share of peers that died.

use kith_common::lift::DEGREE_DEFAULT;

use super::Options;
use super::chart::{Axis, BLUE, Chart, GREY, Line, ORANGE, Stroke};
use crate::{output, routes};

/// Shares of dead peers, in percent
const DEAD: std::ops::RangeInclusive<u8> = 0..=70;
const DEAD_STEP: usize = 5;

pub(super) fn chart(options: &Options) -> Chart {
    let found: Vec<(f64, routes::Figures)> = DEAD.step_by(DEAD_STEP).map(|dead| measured(options, dead)).collect();
    let line = |color, stroke, name: &str, share: &dyn Fn(&routes::Figures) -> f64| {
        let points = found.iter().map(|(dead, figures)| (*dead, 100.0 * share(figures))).collect();
        Line { color, stroke, points, name: Some(name.into()) }
    };
    let lines = vec![
        line(GREY, Stroke::Dashed, "any way at all", &|found| {
            found.connected.packets as f64 / found.all.packets.max(1) as f64
        }),
        line(BLUE, Stroke::Dots, "in 128 hops", &|found| found.connected.within[2].share),
        line(ORANGE, Stroke::Dots, "in 32 hops", &|found| found.connected.within[0].share),
    ];
    let lowest = lines.iter().flat_map(|line| &line.points).map(|(_, share)| *share).fold(100.0, f64::min);
    Chart {
        title: format!(
            "Packets delivered when some of {} peers are dead and nobody has rewired",
            output::size(options.dead_peers)
        ),
        x: Axis {
            title: "peers dead, %".into(),
            range: f64::from(*DEAD.start())..f64::from(*DEAD.end()),
            numbers: 8,
            write: |dead| format!("{dead:.0}"),
        },
        y: Axis {
            title: "packets delivered, %".into(),
            range: (lowest / 10.0).floor() * 10.0..100.0,
            numbers: 11,
            write: |share| format!("{share:.0}"),
        },
        lines,
        key: vec![
            (Stroke::Dots, format!("delivered, of packets between connected peers (degree {DEGREE_DEFAULT})")),
            (Stroke::Dashed, "pairs of living peers that are connected".into()),
        ],
        is_key_low: true,
    }
}

fn measured(options: &Options, dead: u8) -> (f64, routes::Figures) {
    let Options { dead_peers, pairs, seed, threads, .. } = *options;
    let share = f64::from(dead) / 100.0;
    let routes = routes::Options { dead: share, pairs, seed, threads, ..routes::Options::of_peers(dead_peers) };
    let figures = routes::measure(&routes).0;
    let [in_32, _, in_128] = figures.connected.within.map(|share| 100.0 * share.share);
    output::note(&format!("{dead} % dead: {in_32:.3} % in 32 hops, {in_128:.3} % in 128"));
    (f64::from(dead), figures)
}
