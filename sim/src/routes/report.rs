//! What was found, for people and for programs.

use serde::Serialize;

use super::{CameBack, Delivered, Figures, HOPS, Timing};
use crate::output::{line, row};
use crate::stats::Share;

/// One object for programs
#[derive(Serialize)]
pub(super) struct Report<'a> {
    #[serde(flatten)]
    pub(super) figures: &'a Figures,
    pub(super) timing: &'a Timing,
}

pub(super) fn print(figures: &Figures, timing: &Timing) {
    let Figures { peers, degree, hops, links, .. } = figures;
    line(&format!("{peers} peers, degree {degree}, {} dead, packets: {}", percent(figures.dead), figures.packets));
    row("mean hops", &format!("{:.3} ± {:.3}", hops.mean.mean, hops.mean.bound95));
    row("p50, p95, p99, max", &format!("{}, {}, {}, {}", hops.p50, hops.p95, hops.p99, hops.max));
    row("Moore bound, ratio", &format!("{:.3}, {:.3}", figures.moore, figures.moore_ratio));
    row("shortest ways, mean", &format!("{:.3}", figures.shortest));
    print_delivered("delivered", &figures.all);
    if figures.connected.packets < figures.all.packets {
        print_delivered("connected", &figures.connected);
    }
    if figures.lost > 0 {
        row("LOST", &format!("{} packets: a fault of the product", figures.lost));
    }
    if let Some(load) = &figures.load {
        row("load, p99 and max", &format!("{:.2} and {:.2} times the mean of {:.0}", load.p99, load.max, load.mean));
    }
    row("links of a peer", &format!("mean {:.2}, p99 {}, max {}", links.mean, links.p99, links.max));
    row("forwarding state", &format!("{:.1} kB a peer", figures.memory_bytes / 1000.0));
    row("decision", &format!("cold {:.1} µs, warm {:.0} ns (median)", timing.cold_micros, timing.warm_nanos));
}

fn print_delivered(who: &str, delivered: &Delivered) {
    let each = |shares: &[Share; 3]| shares.map(|share| percent(share.share)).join(", ");
    let [a, b, c] = HOPS;
    row(&format!("{who} in {a}, {b}, {c} hops"), &format!("{} of {}", each(&delivered.within), delivered.packets));
    row("  came back undelivered (503)", &each(&delivered.came_back_before));
    let CameBack { destination_down, no_candidate, ttl_spent } = delivered.came_back;
    if destination_down + no_candidate + ttl_spent > 0 {
        let why = format!("{destination_down} destination missed, {no_candidate} nobody left, {ttl_spent} TTL spent");
        row("  why they came back", &why);
    }
}

fn percent(share: f64) -> String {
    let text = format!("{:.3}", 100.0 * share);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}
