//! `kith-sim routes`: packets through a whole overlay, decided by the product's own code at every hop.
//!
//! Peers join by the rules of the directory, their tables are [`kith_common::lift`]'s, and each packet goes from one
//! random living peer to another through [`kith_common::routing::Routes::decide`], its bytes edited as forwarders do.
//! Everybody knows what it would know at rest: its own table, its neighbours' tables, and the links in them that are
//! down. Nobody has rewired round the dead, and n̂ is that of before they died.

mod report;
mod timing;

use std::process::ExitCode;

use clap::Args;
use kith_common::id::Name;
use kith_common::lift::DEGREE_DEFAULT;
use kith_common::wire::content::Cause;
use kith_common::wire::packet::{TTL_DEFAULT, TTL_MAX};
use serde::Serialize;

use crate::chance::{Chance, Draws};
use crate::members::{History, Ids, Members};
use crate::overlay::{self, Overlay, Peer};
use crate::parallel::{map_chunks, threads_default};
use crate::stats::{Histogram, Mean, Share};
use crate::walk::{End, Trip, Walk, Walker};
use crate::{arguments, moore, output};

pub(crate) use timing::Timing;

/// Hops after which deliveries are counted
pub(crate) const HOPS: [usize; 3] = [32, 64, 128];

/// Packets that one thread walks in a row
const CHUNK: usize = 256;
/// Peers from which shortest ways are measured, and peers whose memory is; for each seed
const SAMPLES: usize = 16;
/// Every peer forwards at least so many packets, or chance alone would make its load
const LOAD_MIN: f64 = 50.0;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// How many: 500, 10k, 1M
    #[arg(long, value_name = "N", default_value = "10k", value_parser = arguments::peers)]
    pub peers: usize,
    /// Links that a peer has, about
    #[arg(long, value_name = "D", default_value_t = DEGREE_DEFAULT, value_parser = arguments::degree)]
    pub degree: u8,
    /// The share of peers that die at once, such as 30%; then packets get the largest TTL
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = arguments::share)]
    pub dead: f64,
    /// How peers get their addresses
    #[arg(long, value_enum, default_value_t = Ids::Given)]
    pub ids: Ids,
    /// What the ring has been through
    #[arg(long = "ring", value_enum, default_value_t = History::Joins)]
    pub history: History,
    /// Packets for each seed
    #[arg(long, value_name = "K", default_value = "40k", value_parser = arguments::some)]
    pub pairs: usize,
    /// The first seed
    #[arg(long, value_name = "S", default_value = "1", value_parser = arguments::seed)]
    pub seed: u64,
    /// How many seeds, one after the other, each with its own members and packets
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Threads; what is found does not depend on them [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// One object for programs; all of it but `timing` is the same for the same options
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// This many peers, and else the defaults
    pub(crate) fn of_peers(peers: usize) -> Self {
        Self {
            peers,
            degree: DEGREE_DEFAULT,
            dead: 0.0,
            ids: Ids::Given,
            history: History::Joins,
            pairs: 40_000,
            seed: 1,
            seeds: 1,
            threads: None,
            json: false,
        }
    }

    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(threads_default)
    }

    fn ttl(&self) -> u8 {
        if self.dead > 0.0 { TTL_MAX } else { TTL_DEFAULT }
    }
}

/// What was found: the same for the same options on every machine
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub peers: usize,
    pub degree: u8,
    /// The share that was dead
    pub dead: f64,
    /// How they got their addresses
    pub ids: Ids,
    /// What the ring had been through
    pub ring: History,
    pub seed: u64,
    pub seeds: u64,
    /// Packets, over all seeds
    pub packets: u64,
    /// The hops of packets that arrived
    pub hops: Hops,
    /// The least possible mean distance in any graph of this size and degree
    pub moore: f64,
    /// Mean hops in multiples of it
    pub moore_ratio: f64,
    /// The mean distance of the living on shortest ways, from a sample
    pub shortest: f64,
    /// All packets: sources and destinations live
    pub all: Delivered,
    /// Those packets only for which there was any way
    pub connected: Delivered,
    /// Lost without a word: a fault of the product if it is not 0
    pub lost: u64,
    /// Packets forwarded for others; `None` where there were too few packets to tell
    pub load: Option<Load>,
    /// Links of one peer
    pub links: Links,
    /// What a peer's forwarding state takes, in bytes (mean)
    pub memory_bytes: f64,
}

/// Hops of the packets that were delivered
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Hops {
    #[serde(flatten)]
    pub mean: Mean,
    /// The mean of each seed
    pub seed_means: Vec<f64>,
    /// Half took at most so many
    pub p50: usize,
    pub p95: usize,
    pub p99: usize,
    pub max: usize,
    /// The longest of each seed: the more packets, the longer it is
    pub seed_maxes: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Delivered {
    /// How many were sent
    pub packets: u64,
    /// Delivered within 32, 64 and 128 hops
    pub within: [Share; 3],
    /// Given up by the product, with status 503, before 32, 64 and 128 hops
    pub came_back_before: [Share; 3],
    pub came_back: CameBack,
}

/// Packets that came back, by the reason that they came back with
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub(crate) struct CameBack {
    /// Two peers missed the destination: none of them was right, as destinations live
    pub destination_down: u64,
    /// Nobody was left to try
    pub no_candidate: u64,
    /// Their TTL, or their room for those tried, was spent
    pub ttl_spent: u64,
}

/// Packets that a living peer forwards for others, in multiples of the mean; of the worst seed
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Load {
    /// Packets forwarded by a peer, mean
    pub mean: f64,
    /// 99 % of the peers forward at most so many times the mean
    pub p99: f64,
    /// The busiest
    pub max: f64,
}

/// Links of one peer
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Links {
    pub mean: f64,
    /// 99 % of the peers have at most so many
    pub p99: usize,
    pub max: usize,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    if overlay::living(options.peers, options.dead) < 2 {
        output::note("kith-sim: fewer than two peers would live, and packets go from one to another: say more --peers");
        return ExitCode::from(2);
    }
    let (figures, timing) = measure(options);
    if options.json {
        output::json(&report::Report { figures: &figures, timing: &timing });
    } else {
        report::print(&figures, &timing);
    }
    ExitCode::from(u8::from(figures.lost > 0))
}

/// Everything that can be found by simulation, and what the clock says of the last seed's overlay
pub(crate) fn measure(options: &Options) -> (Figures, Timing) {
    let mut tally = Tally::default();
    let mut timing = None;
    for seed in options.seed..options.seed + options.seeds {
        let mut overlay = overlay_of_seed(options, seed);
        tally.add_links(&overlay);
        if options.dead > 0.0 {
            overlay.kill(options.dead, &mut Chance::new(seed, Draws::Dead));
        }
        tally.add_walks(options, &overlay, seed);
        timing = Some(timing::measure(&overlay, seed));
    }
    (tally.figures(options), timing.unwrap_or_default())
}

/// The whole overlay of one seed
pub(crate) fn overlay_of_seed(options: &Options, seed: u64) -> Overlay {
    let members = Members::new(options.peers, options.ids, options.history, seed);
    overlay_of(&members, options.degree, options.threads)
}

/// The whole overlay of these members
pub(crate) fn overlay_of(members: &Members, degree: u8, threads: Option<usize>) -> Overlay {
    Overlay::new(members.ring(), degree, &typical_name(), threads.unwrap_or_else(threads_default))
}

/// Eight letters
fn typical_name() -> Name {
    "somebody".parse().unwrap_or_else(|_| unreachable!("it is a name"))
}

/// Sums over seeds
#[derive(Default)]
struct Tally {
    links: Histogram,
    hops: Histogram,
    seed_means: Vec<f64>,
    seed_maxes: Vec<usize>,
    all: Fates,
    connected: Fates,
    lost: u64,
    /// Sum and count of shortest ways
    shortest: (u64, u64),
    memory: (u64, u64),
    load: Option<Load>,
    is_load_thin: bool,
}

/// Hops of the packets that arrived and of those that came back
#[derive(Default)]
struct Fates {
    packets: u64,
    delivered: Histogram,
    came_back: Histogram,
    causes: CameBack,
}

impl Fates {
    fn add(&mut self, walk: Walk) {
        self.packets += 1;
        match walk.end {
            End::Delivered => self.delivered.add(usize::from(walk.hops)),
            End::CameBack(cause) => {
                self.came_back.add(usize::from(walk.hops));
                match cause {
                    Cause::DestinationDown => self.causes.destination_down += 1,
                    Cause::TtlSpent => self.causes.ttl_spent += 1,
                    Cause::NoCandidate | Cause::NoSession | Cause::Congested => self.causes.no_candidate += 1,
                }
            }
            End::Lost => {}
        }
    }

    fn delivered(&self) -> Delivered {
        Delivered {
            packets: self.packets,
            within: HOPS.map(|hops| Share::of(self.delivered.count_to(hops), self.packets)),
            came_back_before: HOPS.map(|hops| Share::of(self.came_back.count_to(hops - 1), self.packets)),
            came_back: self.causes,
        }
    }
}

impl Tally {
    fn add_links(&mut self, overlay: &Overlay) {
        (0..overlay.peers() as Peer).for_each(|peer| self.links.add(overlay.neighbours(peer).len()));
    }

    fn add_walks(&mut self, options: &Options, overlay: &Overlay, seed: u64) {
        let mut chance = Chance::new(seed, Draws::Packets);
        let living: Vec<Peer> = (0..overlay.peers() as Peer).filter(|peer| overlay.is_alive(*peer)).collect();
        if living.len() < 2 {
            return;
        }
        for _ in 0..SAMPLES {
            let peer = living[chance.index(living.len())];
            let (sum, count) = overlay.shortest(peer);
            self.shortest = (self.shortest.0 + sum, self.shortest.1 + count);
            self.memory = (self.memory.0 + overlay.routes(peer).memory_bytes() as u64, self.memory.1 + 1);
        }
        let trips: Vec<Trip> = (0..options.pairs).map(|_| trip(&living, &mut chance)).collect();
        let (walks, forwards) = walk_all(options, overlay, &trips);
        let parts = overlay.parts();
        let mut hops = Histogram::default();
        for (trip, walk) in trips.iter().zip(walks) {
            self.all.add(walk);
            if parts[trip.from as usize] == parts[trip.to as usize] {
                self.connected.add(walk);
            }
            self.lost += u64::from(walk.end == End::Lost);
            if walk.end == End::Delivered {
                hops.add(usize::from(walk.hops));
                self.hops.add(usize::from(walk.hops));
            }
        }
        self.seed_means.push(hops.mean().mean);
        self.seed_maxes.push(hops.max());
        self.add_load(living.iter().map(|peer| forwards[*peer as usize] as usize));
    }

    fn add_load(&mut self, forwards: impl Iterator<Item = usize>) {
        let mut histogram = Histogram::default();
        forwards.for_each(|count| histogram.add(count));
        let mean = histogram.mean().mean;
        self.is_load_thin |= mean < LOAD_MIN;
        let [p99, max] = [histogram.quantile(0.99), histogram.max()].map(|count| count as f64 / mean);
        let worst = self.load.unwrap_or(Load { mean, p99, max });
        self.load = Some(Load { mean, p99: p99.max(worst.p99), max: max.max(worst.max) });
    }

    fn figures(self, options: &Options) -> Figures {
        let ratio = |(sum, count): (u64, u64)| if count == 0 { 0.0 } else { sum as f64 / count as f64 };
        let (mean, moore) = (self.hops.mean(), moore::mean_distance(options.peers as u64, options.degree));
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| self.hops.quantile(share));
        let (seed_means, seed_maxes) = (self.seed_means, self.seed_maxes);
        Figures {
            peers: options.peers,
            degree: options.degree,
            dead: options.dead,
            ids: options.ids,
            ring: options.history,
            seed: options.seed,
            seeds: options.seeds,
            packets: self.all.packets,
            hops: Hops { mean, seed_means, p50, p95, p99, max: self.hops.max(), seed_maxes },
            moore,
            moore_ratio: mean.mean / moore,
            shortest: ratio(self.shortest),
            all: self.all.delivered(),
            connected: self.connected.delivered(),
            lost: self.lost,
            load: self.load.filter(|_| !self.is_load_thin),
            links: Links { mean: self.links.mean().mean, p99: self.links.quantile(0.99), max: self.links.max() },
            memory_bytes: ratio(self.memory),
        }
    }
}

/// From one of the living to another, each as likely as the others
fn trip(living: &[Peer], chance: &mut Chance) -> Trip {
    let from = chance.index(living.len());
    let to = (from + 1 + chance.index(living.len() - 1)) % living.len();
    Trip { from: living[from], to: living[to], id: chance.number() }
}

/// What became of each, in their order, and how many packets each peer forwarded
fn walk_all(options: &Options, overlay: &Overlay, trips: &[Trip]) -> (Vec<Walk>, Vec<u32>) {
    let chunks: Vec<&[Trip]> = trips.chunks(CHUNK).collect();
    let state = || (Walker::new(overlay), vec![0u32; overlay.peers()]);
    let work = |(walker, forwards): &mut (Walker<'_>, Vec<u32>), chunk: usize| {
        let walk = |trip: &Trip| walker.walk(*trip, options.ttl(), |peer| forwards[peer as usize] += 1);
        chunks[chunk].iter().map(walk).collect::<Vec<Walk>>()
    };
    let (walks, states) = map_chunks(options.threads(), chunks.len(), state, work);
    let mut forwards = vec![0; overlay.peers()];
    for (_, counted) in states {
        forwards.iter_mut().zip(counted).for_each(|(sum, count): (&mut u32, u32)| *sum += count);
    }
    (walks.into_iter().flatten().collect(), forwards)
}

#[cfg(test)]
mod tests;
