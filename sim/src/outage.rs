//! `kith-sim outage`: two outages that a network of this kind has had, played again, with what must come of each.
//!
//! `2007`: everything restarts at once, as machines do after an update, and everybody logs in. What made an outage of it
//! was that nobody could be let in while all asked. `2010`: under double load some of the supernodes crash, all by the same
//! late reply; the rest gets their peers on top, and must neither fall like dominoes nor put anybody out.
//!
//! Supernodes have a processor between them, as [`crate::mesh::processor`] has it; peers have as much as they need.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kith_common::peer::PeerOutput;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Purpose;
use serde::Serialize;

use crate::arguments::{self, Mistake};
use crate::mesh::config::MeshConfig;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::processor::Cores;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;
use crate::oracles::{judgement, moves};
use crate::output::{self, line};

/// How often is looked
const LOOK: Duration = Duration::from_millis(250);
/// How long it is watched at most
const WATCHED: Duration = Duration::from_secs(180);
/// What nearly all may take until they are logged in, and what all may
const MOST_WITHIN: Duration = Duration::from_secs(20);
const ALL_WITHIN: Duration = Duration::from_secs(60);
/// Tries for each login at most, on average
const TRIES_MAX: f64 = 2.5;
/// A reply that is so late is the poisoned one
const LATE: Duration = Duration::from_millis(400);
/// If none is late by then, something else makes them crash
const POISONED_BY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Year {
    /// Everything restarts at once
    #[value(name = "2007")]
    #[serde(rename = "2007")]
    Restart,
    /// Three in ten supernodes crash on one late reply under double load
    #[value(name = "2010")]
    #[serde(rename = "2010")]
    Crash,
}

#[derive(Args, Clone, Debug)]
pub struct Options {
    pub year: Year,
    /// How many peers
    #[arg(long, default_value = "300", value_parser = arguments::peers)]
    pub peers: usize,
    /// The same seed gives the same run
    #[arg(long, default_value = "1", value_parser = arguments::seed)]
    pub seed: u64,
    #[command(flatten)]
    mistake: Mistake,
    /// Print an object instead of a text
    #[arg(long)]
    json: bool,
}

/// What came of it
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub year: Year,
    pub seed: u64,
    pub peers: usize,
    pub supernodes: u32,
    /// Seconds until 99 % were logged in, and until all were
    pub most_after_s: Option<f64>,
    pub all_after_s: Option<f64>,
    /// Dials to supernodes for each peer that had to log in
    pub tries: f64,
    /// Supernodes that crashed, and those of the others that ended, which must be none
    pub crashed: usize,
    pub fallen: usize,
    /// Peers that lost their sessions though their process ran on: none may
    pub put_out: usize,
    /// What an oracle objected to
    pub violation: Option<String>,
    pub is_good: bool,
}

/// Runs the verb; 1 if a goal was missed
pub fn verb(options: &Options) -> ExitCode {
    options.mistake.make();
    let outcome = run(options.year, options.peers as u32, options.seed);
    if options.json {
        output::json(&outcome)
    } else {
        print(&outcome)
    }
    if outcome.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What peers did to be let in, and whether a reply was late
#[derive(Debug, Default)]
struct Seen {
    dials: u64,
    /// When each asked for something that is not answered
    asked: BTreeMap<NodeId, Instant>,
    is_late: bool,
}

/// Counts; it objects to nothing
#[derive(Debug, Default)]
struct Counter(Rc<RefCell<Seen>>);

impl Oracle for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        let mut counted = self.0.borrow_mut();
        match seen {
            Observation::Peer(PeerOutput::Dial(dial)) if dial.purpose == Purpose::Home => counted.dials += 1,
            Observation::Sent { frame: Frame::Renew(_) | Frame::Login(_), .. } => drop(counted.asked.insert(node, now)),
            Observation::Received { frame: Frame::Renewed(_) | Frame::Granted(_), .. } => {
                if let Some(at) = counted.asked.remove(&node) {
                    counted.is_late |= now - at > LATE;
                }
            }
            Observation::Killed => drop(counted.asked.remove(&node)),
            _ => {}
        }
        Ok(())
    }
}

/// One outage, with so many peers
pub fn run(year: Year, peers: u32, seed: u64) -> Outcome {
    let supernodes = if year == Year::Restart { 3 } else { 5 };
    // Nobody sends anything: who is let in, and who is put out, is what is asked.
    let deed_every = Duration::from_secs(86_400);
    let config = MeshConfig { supernodes, deed_every, ..MeshConfig::new(seed, peers) };
    let calm = Instant::ZERO + config.calm + Duration::from_secs(u64::from(peers) / 100);
    let seen = Rc::new(RefCell::new(Seen::default()));
    let counter = Counter(Rc::clone(&seen));
    let judgement = judgement::Judgement::new(&config);
    let oracles: Vec<Box<dyn Oracle>> = vec![Box::new(counter), Box::new(judgement), Box::new(moves::Moves::default())];
    let mut world = World::new(config, oracles);
    let all: Vec<NodeId> = (supernodes..supernodes + peers).map(NodeId).collect();
    let (early, late) = all.split_at(if year == Year::Restart { all.len() } else { all.len() / 2 });
    late.iter().for_each(|node| _ = world.kill(*node, false));
    world.run_until(calm);
    world.limit(Cores { peers: 64.0, supernodes: Some(f64::from(supernodes)) });
    world.run_until(calm + Duration::from_secs(10));
    let before = sessions(&world, early);
    seen.borrow_mut().dials = 0;
    let begin = world.now();
    match year {
        Year::Restart => {
            let machines: Vec<NodeId> = world.config.supernodes().chain(all.iter().copied()).collect();
            machines.iter().for_each(|node| _ = world.kill(*node, false));
            world.run_until(begin + Duration::from_secs(2));
            machines.iter().for_each(|node| world.start(*node));
        }
        Year::Crash => late.iter().for_each(|node| world.start(*node)),
    }
    let (mut most, mut whole, mut crashed) = (None, None, Vec::new());
    while world.now() < begin + WATCHED && !world.watch.is_over() {
        let next = world.now() + LOOK;
        world.run_until(next);
        let passed = world.now() - begin;
        if year == Year::Crash && crashed.is_empty() && (seen.borrow().is_late || passed >= POISONED_BY) {
            // Whoever leads need not be among them: any may be of the build that has the fault.
            crashed = world.config.supernodes().take((supernodes as usize * 3).div_ceil(10)).collect();
            crashed.iter().for_each(|node| _ = world.kill(*node, false));
        }
        let logged_in = all.iter().filter(|node| is_in(&world, **node)).count();
        if logged_in * 100 >= all.len() * 99 {
            most.get_or_insert(passed);
        }
        let is_settled = year == Year::Restart || !crashed.is_empty();
        whole = if logged_in == all.len() && is_settled { whole.or(Some(passed)) } else { None };
        // Long enough for the sessions of a home that is gone to end, if any should.
        if whole.is_some_and(|at| passed - at > world.config.lease * 2) {
            break;
        }
    }
    let after = sessions(&world, early);
    let put_out = before.iter().filter(|(node, session)| after.get(*node) != Some(*session)).count();
    let put_out = if year == Year::Restart { 0 } else { put_out };
    let fallen = world.supernodes().filter(|node| !node.runs() && !crashed.contains(&node.id)).count();
    let newcomers = if year == Year::Restart { all.len() } else { late.len() + early.len() * crashed.len() / 5 };
    let tries = seen.borrow().dials as f64 / newcomers.max(1) as f64;
    let violation = world.watch.violation().map(ToString::to_string);
    let is_in_time = most.is_some_and(|at| at <= MOST_WITHIN) && whole.is_some_and(|at| at <= ALL_WITHIN);
    Outcome {
        year,
        seed,
        peers: all.len(),
        supernodes,
        most_after_s: most.map(|at| at.as_secs_f64()),
        all_after_s: whole.map(|at| at.as_secs_f64()),
        tries,
        crashed: crashed.len(),
        fallen,
        put_out,
        is_good: is_in_time && tries <= TRIES_MAX && fallen == 0 && put_out == 0 && violation.is_none(),
        violation,
    }
}

fn is_in(world: &World, node: NodeId) -> bool {
    let own = own(world.node(node)).filter(|_| world.node(node).runs());
    own.is_some() && world.node(node).peer().is_some_and(|peer| peer.core.home_link().is_some())
}

fn own(node: &Node) -> Option<kith_common::id::Address> {
    node.peer().and_then(|peer| peer.core.own()).map(|own| own.address)
}

/// Where each of these is, by its session
fn sessions(world: &World, of: &[NodeId]) -> BTreeMap<NodeId, kith_common::id::Address> {
    of.iter().filter_map(|node| Some((*node, own(world.node(*node))?))).collect()
}

fn print(outcome: &Outcome) {
    let Outcome { year, seed, peers, supernodes, tries, crashed, fallen, put_out, .. } = outcome;
    let story = match year {
        Year::Restart => "everything restarts at once",
        Year::Crash => "three in ten supernodes crash on a late reply under double load",
    };
    line(&format!("{peers} peers and {supernodes} supernodes: {story} (seed {seed})"));
    let (most_max, all_max) = (MOST_WITHIN.as_secs(), ALL_WITHIN.as_secs());
    let said = |after: Option<f64>| after.map_or("never".to_owned(), |after| format!("after {after:.1} s"));
    line(&format!("99 % logged in {}; goal: {most_max} s", said(outcome.most_after_s)));
    line(&format!("all logged in {}; goal: {all_max} s", said(outcome.all_after_s)));
    line(&format!("{tries:.2} dials for each login; goal: {TRIES_MAX}"));
    line(&format!("{crashed} supernodes crashed, and {fallen} of the others ended; goal: none"));
    line(&format!("{put_out} peers were put out; goal: none"));
    if let Some(violation) = &outcome.violation {
        line(&format!("an oracle objects: {violation}"));
    }
    line(if outcome.is_good { "good" } else { "a goal was MISSED" });
}
