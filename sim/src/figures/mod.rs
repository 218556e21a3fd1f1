//! `kith-sim figures`: everything that there are goals for, measured by one command, as a table.
//!
//! Each size is a column. What `kith-sim routes` and `kith-sim churn` find is taken from them; this adds the goals, and
//! how near the truth the figures are.

mod goals;
mod report;

use std::process::ExitCode;

use clap::Args;
use kith_common::lift::DEGREE_DEFAULT;
use serde::Serialize;

use crate::churn::{self, Costs};
use crate::goals::{Figure, Goal};
use crate::members::History;
use crate::stats::{self, Mean};
use crate::{arguments, output, routes};

/// In a ring where nobody is dead everything arrives
const DELIVERED: Goal = Goal::AtLeast(1.0);
/// A packet that cannot be delivered comes back and says why
const LOST: Goal = Goal::AtMost(0.0);
/// The size at which forwarding load is measured, with enough packets for each peer
const LOAD_PEERS: usize = 10_000;
/// The busiest of a hundred peers, in multiples of the mean
const LOAD_P99_MAX: Goal = Goal::AtMost(1.8);
/// The busiest of all
const LOAD_MAX: Goal = Goal::AtMost(2.5);

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Sizes, one a column
    #[arg(long, value_name = "N,N…", value_delimiter = ',', default_value = "1k,10k,100k,1M", value_parser = arguments::peers)]
    pub peers: Vec<usize>,
    /// Other degrees, measured at the largest size
    #[arg(long, value_name = "D,D…", value_delimiter = ',', default_value = "8,12,24", value_parser = arguments::degree)]
    pub degrees: Vec<u8>,
    /// Packets for each figure, over all seeds
    #[arg(long, value_name = "K", default_value = "100k", value_parser = arguments::some)]
    pub pairs: usize,
    /// Packets from which the load of 10k peers is taken
    #[arg(long, value_name = "K", default_value = "1M", value_parser = arguments::some)]
    pub load_pairs: usize,
    /// The largest size at which a day of sessions passes: a million peers take minutes for it
    #[arg(long, value_name = "N", default_value = "100k", value_parser = arguments::peers)]
    pub day_peers: usize,
    #[arg(long, value_name = "S", default_value = "1", value_parser = arguments::seed)]
    pub seed: u64,
    /// How many seeds, one after the other, each with its own members and packets
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Threads; what is found does not depend on them [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// One object for programs
    #[arg(long)]
    pub json: bool,
}

/// All figures: the same for the same options on every machine
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Table {
    /// Sizes, one a column
    pub peers: Vec<usize>,
    /// What was measured at each size
    pub rows: Vec<Row>,
    /// Mean hops by degree at the largest size, that of the columns among them
    pub degrees: Vec<(u8, Figure)>,
    /// Packets for each figure
    pub packets: usize,
    pub seed: u64,
    pub seeds: u64,
}

/// One kind of figure at every size
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub name: &'static str,
    /// How it is written
    pub unit: Unit,
    /// For each size one figure or more, or none where it is not measured
    pub cells: Vec<Vec<Figure>>,
}

/// How a figure is written
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    /// With three decimals
    Mean,
    /// With two decimals
    Ratio,
    /// As it is
    Whole,
    /// A share, as percent
    Share,
}

impl Table {
    /// How many goals there are, and how many of them were missed
    pub(crate) fn goals(&self) -> (usize, usize) {
        let cells = self.rows.iter().flat_map(|row| row.cells.iter().flatten());
        let figures = || cells.clone().chain(self.degrees.iter().map(|(_, figure)| figure));
        (figures().filter(|figure| figure.goal.is_some()).count(), figures().filter(|figure| figure.missed).count())
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let table = measure(options);
    if options.json {
        output::json(&table);
    } else {
        report::markdown(&table).iter().for_each(|line| output::line(line));
    }
    ExitCode::from(u8::from(table.goals().1 > 0))
}

/// Measures everything; each figure goes to standard error as it comes
pub(crate) fn measure(options: &Options) -> Table {
    let mut rows: Vec<Row> = Vec::new();
    let mut degrees = Vec::new();
    for peers in &options.peers {
        let mut column = Column { options, peers: *peers, cells: Vec::new() };
        let hops = column.measure();
        if options.peers.iter().max() == Some(peers) && degrees.is_empty() {
            degrees.push((DEGREE_DEFAULT, hops));
        }
        if rows.is_empty() {
            let row =
                |(name, unit, _): &(&'static str, Unit, Vec<Figure>)| Row { name, unit: *unit, cells: Vec::new() };
            rows = column.cells.iter().map(row).collect();
        }
        rows.iter_mut().zip(column.cells).for_each(|(row, (.., figures))| row.cells.push(figures));
    }
    let largest = options.peers.iter().copied().max().unwrap_or_default();
    for degree in &options.degrees {
        let routes = routes::Options { degree: *degree, ..of_routes(options, largest) };
        let mean = routes::measure(&routes).0.hops.mean;
        let figure = Figure::from(mean).aim(goals::hops_of_degree(largest, *degree));
        note(largest, &format!("mean hops at degree {degree}"), Unit::Mean, &[figure]);
        degrees.push((*degree, figure));
    }
    degrees.sort_by_key(|(degree, _)| *degree);
    let Options { peers, pairs, seed, seeds, .. } = options;
    Table { peers: peers.clone(), rows, degrees, packets: *pairs, seed: *seed, seeds: *seeds }
}

/// As `kith-sim routes` would be told
fn of_routes(options: &Options, peers: usize) -> routes::Options {
    let pairs = options.pairs.div_ceil(options.seeds as usize);
    let Options { seed, seeds, threads, .. } = *options;
    routes::Options { pairs, seed, seeds, threads, ..routes::Options::of_peers(peers) }
}

/// What is measured at one size, each figure in its row
struct Column<'a> {
    options: &'a Options,
    peers: usize,
    cells: Vec<(&'static str, Unit, Vec<Figure>)>,
}

impl Column<'_> {
    /// Measures all of it; mean hops of a ring of joins
    fn measure(&mut self) -> Figure {
        let joins = self.healthy(
            ["mean hops", "ratio to the Moore bound", "hops: p99 / longest of a seed, median / longest of all"],
            History::Joins,
        );
        let rows = [
            "mean hops, churned ring",
            "ratio, churned ring",
            "hops, churned ring: p99 / longest of a seed, median / longest of all",
        ];
        let churned = self.healthy(rows, History::Churned);
        let lost = joins.lost + churned.lost + self.dead();
        let [delivered, lost] = arrivals([&joins, &churned], lost);
        self.add("nobody dead: delivered (ring of joins / churned)", Unit::Share, &delivered);
        self.add("packets lost without a word, of all above", Unit::Whole, &lost);
        self.churn(joins.hops.mean);
        let links = [joins.links, churned.links];
        let p99 = links.iter().map(|links| links.p99).max().unwrap_or_default();
        let max = links.iter().map(|links| links.max).max().unwrap_or_default();
        let figures = [(p99, goals::LINKS_P99), (max, goals::LINKS_MAX)];
        let figures = figures.map(|(links, goal)| Figure::new(links as f64).aim(Some(goal)));
        self.add("links of a peer, p99 / max (of both rings)", Unit::Whole, &figures);
        self.load();
        Figure::from(joins.hops.mean).aim(goals::of_peers(self.peers).hops)
    }

    fn add(&mut self, name: &'static str, unit: Unit, figures: &[Figure]) {
        note(self.peers, name, unit, figures);
        self.cells.push((name, unit, figures.to_vec()));
    }

    fn healthy(&mut self, [mean, ratio, longest]: [&'static str; 3], history: History) -> routes::Figures {
        let (found, _) = routes::measure(&routes::Options { history, ..of_routes(self.options, self.peers) });
        let goals = goals::of_peers(self.peers);
        let hops = Figure::from(found.hops.mean);
        self.add(mean, Unit::Mean, &[hops.aim(goals.hops)]);
        self.add(ratio, Unit::Mean, &[hops.times(1.0 / found.moore).aim(goals.ratio)]);
        // The goal is of 40,000 packets, about as many as a seed has; of more packets the longest is longer.
        let mut maxes: Vec<f64> = found.hops.seed_maxes.iter().map(|hops| *hops as f64).collect();
        let [p99, max] = [found.hops.p99, found.hops.max].map(|hops| Figure::new(hops as f64));
        let typical = Figure::new(stats::median(&mut maxes)).aim(goals.max);
        self.add(longest, Unit::Whole, &[p99.aim(goals.p99), typical, max]);
        found
    }

    /// Measures rings of which a part died at once; how many packets were lost without a word
    fn dead(&mut self) -> u64 {
        let goals = goals::of_peers(self.peers);
        let healthy = of_routes(self.options, self.peers);
        let found = |dead| routes::measure(&routes::Options { dead, ..healthy.clone() }).0;
        let (third, half) = (found(0.3), found(0.5));
        let [in_32, in_64, _] = third.all.within.map(Figure::from);
        self.add("30 % dead: delivered in 32 hops", Unit::Share, &[in_32.aim(goals.dead_30[0])]);
        self.add("30 % dead: delivered in 64 hops", Unit::Share, &[in_64.aim(goals.dead_30[1])]);
        let [in_32, _, in_128] = half.connected.within.map(Figure::from);
        self.add("50 % dead: connected pairs, in 32 hops", Unit::Share, &[in_32.aim(goals.dead_50[0])]);
        self.add("50 % dead: connected pairs, in 128 hops", Unit::Share, &[in_128.aim(goals.dead_50[1])]);
        third.lost + half.lost
    }

    fn churn(&mut self, fresh: Mean) {
        let Options { pairs, seed, seeds, threads, .. } = *self.options;
        let (samples, pairs) = (churn::SAMPLES, pairs.div_ceil(seeds as usize));
        let options = churn::Options { samples, pairs, seed, seeds, threads, ..churn::Options::of_peers(self.peers) };
        let names = [
            ["join: links opened, mean / max", "join: links closed, mean / max", "join: peers touched, mean / max"],
            [
                "join, churned ring: links opened, mean / max",
                "join, churned ring: links closed, mean / max",
                "join, churned ring: peers touched, mean / max",
            ],
        ];
        let mut at_once = Vec::new();
        for (history, names) in [History::Joins, History::Churned].into_iter().zip(names) {
            let ring = churn::ring_figures(&options, history);
            let Costs { opened, closed, touched } = ring.join;
            for (name, counted) in names.into_iter().zip([opened, closed, touched]) {
                self.add(name, Unit::Ratio, &[counted.mean, Figure::new(counted.max as f64)]);
            }
            at_once.push(ring.at_once);
        }
        let name = "1 % leave and 1 % join: links closed over 2 % (ring of joins / churned)";
        self.add(name, Unit::Ratio, &at_once);
        let is_measured = self.peers <= self.options.day_peers;
        let day: Vec<Figure> =
            is_measured.then(|| churn::day_figures(&options, Some(fresh)).ratio).into_iter().collect();
        self.add("mean hops after a day of churn over a fresh ring's", Unit::Mean, &day);
    }

    fn load(&mut self) {
        let name = "forwarding load, p99 / max over the mean";
        if self.peers != LOAD_PEERS {
            return self.add(name, Unit::Ratio, &[]);
        }
        let options =
            routes::Options { pairs: self.options.load_pairs, seeds: 1, ..of_routes(self.options, self.peers) };
        let load = routes::measure(&options).0.load;
        let figures =
            load.map(|load| [Figure::new(load.p99).aim(Some(LOAD_P99_MAX)), Figure::new(load.max).aim(Some(LOAD_MAX))]);
        self.add(name, Unit::Ratio, figures.as_ref().map_or(&[], |figures| figures));
    }
}

/// What arrived in whole rings, and what was lost in any
///
/// What does not arrive has no hops: without these a product that loses packets would have the better figures.
fn arrivals(whole: [&routes::Figures; 2], lost: u64) -> [Vec<Figure>; 2] {
    let delivered = whole.map(|found| Figure::from(found.all.within[routes::HOPS.len() - 1]).aim(Some(DELIVERED)));
    [delivered.to_vec(), vec![Figure::new(lost as f64).aim(Some(LOST))]]
}

/// Says on standard error what was found just now
fn note(peers: usize, name: &str, unit: Unit, figures: &[Figure]) {
    if !figures.is_empty() {
        output::note(&format!("{} peers: {name}: {}", output::size(peers), report::cell(unit, figures)));
    }
}

#[cfg(test)]
mod tests;
