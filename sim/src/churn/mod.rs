//! `kith-sim churn`: what joins and leaves cost, and what a day of them does to the hops.
//!
//! Single joins and leaves are counted into a ring of joins alone and into a churned one, each undone before the next;
//! then 1 % leave and as many join at once. Tables are [`kith_common::lift`]'s, of those concerned only. Last, packets go
//! through a ring that a day of [`crate::sessions`] has passed over, as `kith-sim routes` sends them, and through a fresh
//! one of the same size.

mod change;
mod report;

use std::process::ExitCode;

use clap::Args;
use kith_common::lift::DEGREE_DEFAULT;
use serde::Serialize;

use crate::chance::{Chance, Draws};
use crate::goals::{Figure, Goal};
use crate::members::{History, Ids, Members};
use crate::stats::{Histogram, Mean};
use crate::{arguments, output, routes};

pub(crate) use change::{Change, Cost};

/// Single joins, and single leaves, where nothing else is said
pub(crate) const SAMPLES: usize = 2000;
/// Of so many peers one leaves and one joins when many do at once
const AT_ONCE: usize = 100;

/// Links closed when many leave and join at once, in multiples of those that whoever leaves had
const AT_ONCE_MAX: f64 = 1.6;
/// Mean hops after a day, in multiples of those of a fresh ring
const DAY_MAX: f64 = 1.02;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// How many: 500, 10k, 1M
    #[arg(long, value_name = "N", default_value = "10k", value_parser = arguments::peers)]
    pub peers: usize,
    /// Links that a peer has, about
    #[arg(long, value_name = "D", default_value_t = DEGREE_DEFAULT, value_parser = arguments::degree)]
    pub degree: u8,
    /// Single joins, and single leaves, for each seed and ring
    #[arg(long, value_name = "K", default_value_t = SAMPLES, value_parser = arguments::some)]
    pub samples: usize,
    /// Packets for each seed, through the fresh ring and through that after a day
    #[arg(long, value_name = "K", default_value = "40k", value_parser = arguments::some)]
    pub pairs: usize,
    /// The first seed
    #[arg(long, value_name = "S", default_value = "1", value_parser = arguments::seed)]
    pub seed: u64,
    /// How many seeds, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Threads; what is found does not depend on them [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// One object for programs
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// This many peers, and else the defaults
    pub(crate) fn of_peers(peers: usize) -> Self {
        let (degree, samples, pairs) = (DEGREE_DEFAULT, SAMPLES, 40_000);
        Self { peers, degree, samples, pairs, seed: 1, seeds: 1, threads: None, json: false }
    }
}

/// What was found: the same for the same options on every machine
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub peers: usize,
    pub degree: u8,
    pub seed: u64,
    pub seeds: u64,
    /// Into a ring of joins alone, and into a churned one
    pub rings: [RingFigures; 2],
    /// Hops after a day of sessions
    pub day: DayFigures,
}

/// What joins and leaves of a ring cost
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RingFigures {
    /// What the ring had been through
    pub ring: History,
    /// One joins
    pub join: Costs,
    /// One leaves
    pub leave: Costs,
    /// 1 % leave and as many join at once: links closed, in multiples of the share of all links that whoever leaves had
    pub at_once: Figure,
}

/// What one join or leave costs, mean and most
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Costs {
    pub opened: Counted,
    pub closed: Counted,
    /// Other peers whose table changed
    pub touched: Counted,
}

/// A number that differs from time to time
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Counted {
    pub mean: Figure,
    pub max: usize,
}

/// Hops after a day of sessions
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct DayFigures {
    /// Mean hops through a fresh ring
    pub fresh: Figure,
    /// Mean hops after the day
    pub after: Figure,
    /// Those in multiples of these
    pub ratio: Figure,
}

impl Figures {
    /// Whether a goal was missed
    pub(crate) fn is_missed(&self) -> bool {
        let costs = |costs: &Costs| [&costs.opened, &costs.closed, &costs.touched].map(|counted| counted.mean.missed);
        let ring = |ring: &RingFigures| {
            ring.at_once.missed || [costs(&ring.join), costs(&ring.leave)].concat().contains(&true)
        };
        self.day.ratio.missed || self.rings.iter().any(ring)
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let figures = measure(options);
    if options.json {
        output::json(&figures);
    } else {
        report::print(&figures);
    }
    ExitCode::from(u8::from(figures.is_missed()))
}

/// Everything that can be found
pub(crate) fn measure(options: &Options) -> Figures {
    let Options { peers, degree, seed, seeds, .. } = *options;
    let rings = [History::Joins, History::Churned].map(|history| ring_figures(options, history));
    Figures { peers, degree, seed, seeds, rings, day: day_figures(options, None) }
}

/// What single joins and leaves of such a ring cost, and many at once
pub(crate) fn ring_figures(options: &Options, history: History) -> RingFigures {
    let (mut join, mut leave, mut at_once) = (Tally::default(), Tally::default(), (0.0, 0.0));
    for seed in options.seed..options.seed + options.seeds {
        let mut members = Members::new(options.peers, Ids::Given, history, seed);
        let mut chance = Chance::new(seed, Draws::Changes);
        for _ in 0..options.samples {
            let mut change = Change::new(options.degree);
            change.join(&mut members);
            join.add(change.cost(members.ring()));
            members.leave_at(options.peers);

            let mut change = Change::new(options.degree);
            let left = change.leave_at(&mut members, chance.index(options.peers));
            leave.add(change.cost(members.ring()));
            if let Some(address) = left {
                members.join_at(address);
            }
        }
        let closed = close_at_once(options, &mut members, &mut chance);
        at_once = (at_once.0 + closed.0, at_once.1 + closed.1);
    }
    // Those of other degrees were never said.
    let goals = match (options.degree, history) {
        (DEGREE_DEFAULT, History::Joins) => [15.5, 7.5, 15.5].map(|most| Some(Goal::AtMost(most))),
        (DEGREE_DEFAULT, _) => [16.5, 8.5, 16.5].map(|most| Some(Goal::AtMost(most))),
        _ => [None; 3],
    };
    let at_once_max = (options.degree == DEGREE_DEFAULT).then_some(Goal::AtMost(AT_ONCE_MAX));
    RingFigures {
        ring: history,
        join: join.costs(goals),
        leave: leave.costs([None; 3]),
        at_once: Figure::new(at_once.0 / at_once.1).aim(at_once_max),
    }
}

/// 1 % leave and as many join: links that closed, and those that cannot stay
///
/// These are the links of whoever leaves, of a mean number: 2 % of all.
fn close_at_once(options: &Options, members: &mut Members, chance: &mut Chance) -> (f64, f64) {
    let overlay = routes::overlay_of(members, options.degree, options.threads);
    let count = (options.peers / AT_ONCE).max(1);
    let unavoidable = overlay.links_mean() * count as f64;
    let mut change = Change::new(options.degree);
    for _ in 0..count {
        let at = chance.index(members.ring().len());
        change.leave_at(members, at);
    }
    for _ in 0..count {
        change.join(members);
    }
    (change.cost(members.ring()).closed as f64, unavoidable)
}

/// Hops after a day, beside those of the `fresh` ring if they are known
pub(crate) fn day_figures(options: &Options, fresh: Option<Mean>) -> DayFigures {
    let Options { peers, degree, pairs, seed, seeds, threads, .. } = *options;
    let hops = |history| {
        let routes =
            routes::Options { degree, history, pairs, seed, seeds, threads, ..routes::Options::of_peers(peers) };
        routes::measure(&routes).0.hops.mean
    };
    let (fresh, after) = (fresh.unwrap_or_else(|| hops(History::Joins)), hops(History::Day));
    let ratio = after.mean / fresh.mean;
    let off = ratio * (fresh.bound95 / fresh.mean).hypot(after.bound95 / after.mean);
    let ratio = Figure { bounds95: Some([ratio - off, ratio + off]), ..Figure::new(ratio) };
    DayFigures { fresh: fresh.into(), after: after.into(), ratio: ratio.aim(Some(Goal::AtMost(DAY_MAX))) }
}

#[derive(Default)]
struct Tally {
    opened: Histogram,
    closed: Histogram,
    touched: Histogram,
}

impl Tally {
    fn add(&mut self, cost: Cost) {
        self.opened.add(cost.opened);
        self.closed.add(cost.closed);
        self.touched.add(cost.touched);
    }

    /// With goals for the means of links opened, links closed and peers touched
    fn costs(&self, [opened, closed, touched]: [Option<Goal>; 3]) -> Costs {
        let counted = |histogram: &Histogram, goal| {
            let mean = Figure::from(histogram.mean()).aim(goal);
            Counted { mean, max: histogram.max() }
        };
        Costs {
            opened: counted(&self.opened, opened),
            closed: counted(&self.closed, closed),
            touched: counted(&self.touched, touched),
        }
    }
}

#[cfg(test)]
mod tests;
