//! `kith-sim collapse`: a mesh that is short of processor is disturbed, and must be whole again by itself.
//!
//! Each story is a spiral that could go on for ever: late answers end links, and links cost handshakes, which make more
//! answers late. Nothing is wrong with a machine but its speed. What is asked is whether all peers are logged in, with all
//! links that their tables want, within a few leases and by few commands; a supernode that stood still must have ended no
//! session either, and no handshake may be computed for a dialler that has left.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kith_common::link::reason::CloseReason;
use kith_common::routing::neighbourhood::LinkStatus;
use kith_common::session::membership::Standing;
use kith_common::time::Instant;
use kith_common::wire::session::Purpose;
use serde::Serialize;

use crate::arguments::{self, Mistake};
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::{Node, NodeId};
use crate::mesh::oracle::Oracle;
use crate::mesh::processor::{Cores, Share};
use crate::mesh::watch::Observation;
use crate::mesh::world::World;
use crate::output::{self, line};

/// How often is looked whether all is whole
const LOOK: Duration = Duration::from_millis(500);
/// How long all must be whole before it counts: what swings is whole for a moment now and then
const SETTLED: Duration = Duration::from_secs(5);
/// How long a mesh that is not whole in time is watched on, for whoever wants to know if it ever would be
const WATCHED: Duration = Duration::from_secs(120);
/// How long a mesh that was whole lives with its cores before it is disturbed
const CALM: Duration = Duration::from_secs(10);
/// Peers of which a third stands still do so for this time: longer than any silence that a link bears
const STILL: Duration = Duration::from_secs(8);

/// A way to disturb a mesh that is short of processor
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Story {
    /// A third of 60 peers, which together have a tenth of a core, stands still for 8 s
    Peers,
    /// The supernode of 60 peers, which together have a tenth of a core, stands still for longer than a lease
    Supernode,
    /// 1,000 peers and their supernode start at once on two cores
    Start,
    /// A third of 1,000 peers, which share two cores with their supernode, stands still for 8 s
    Thousand,
}

impl Story {
    fn config(self, seed: u64) -> MeshConfig {
        let (peers, degree, lease) = match self {
            Self::Peers | Self::Supernode => (60, 16, 10),
            Self::Start | Self::Thousand => (1_000, 8, 30),
        };
        // Nobody sends anything: what falls here falls by itself.
        let deed_every = Duration::from_secs(86_400);
        MeshConfig { degree, lease: Duration::from_secs(lease), deed_every, ..MeshConfig::new(seed, peers) }
    }

    const fn cores(self) -> Cores {
        match self {
            Self::Peers | Self::Supernode => Cores { peers: 0.1, supernodes: Share::Together(1.0) },
            Self::Start | Self::Thousand => Cores { peers: 2.0, supernodes: Share::OfPeers },
        }
    }

    /// Leases that it may take: sixty links for each of which a tenth of a core has 44 ms to do take longer than the
    /// supernode's patience
    const fn leases_max(self) -> u32 {
        if matches!(self, Self::Peers) { 6 } else { 2 }
    }

    /// Commands that it may cost: a supernode that stood still has lost nobody by that; of peers each of those that did is
    /// suspected, loses its session, and logs in again, and few others are suspected for their slowness
    const fn commands_max(self) -> u64 {
        match self {
            Self::Supernode => 0,
            Self::Peers => 120,
            Self::Start | Self::Thousand => u64::MAX,
        }
    }

    /// Who stands still, and for how long
    fn still(self, config: &MeshConfig) -> (Vec<NodeId>, Duration) {
        let first = config.supernodes;
        match self {
            Self::Peers | Self::Thousand => ((first..first + config.peers / 3).map(NodeId).collect(), STILL),
            Self::Supernode => (config.supernodes().collect(), config.lease + Duration::from_secs(2)),
            Self::Start => (Vec::new(), Duration::ZERO),
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct Options {
    pub story: Story,
    /// The same seed gives the same run
    #[arg(long, default_value = "1", value_parser = arguments::seed)]
    pub seed: u64,
    #[command(flatten)]
    mistake: Mistake,
    /// Print an object instead of a text
    #[arg(long)]
    json: bool,
}

/// How the mesh is at a moment
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct State {
    /// Seconds since the disturbance ended
    pub at_s: f64,
    /// Peers with a home link, as the supernode knows
    pub homes: usize,
    pub suspects: usize,
    pub sessions: usize,
    /// Peers that are logged in, with all links that their tables want
    pub whole: usize,
    /// Commands in the log
    pub log: u64,
    /// Sides of handshakes that were computed so far
    pub handshakes: u64,
    /// … for diallers that had left
    pub in_vain: u64,
    /// Sides that were not computed, as their diallers had left
    pub dropped: u64,
    /// Seconds of processor that the peers have spent so far
    pub spent_s: f64,
}

/// What came of it
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub story: Story,
    pub seed: u64,
    /// Whether the mesh was whole in time, at no cost that nobody needed
    pub is_good: bool,
    /// Seconds until it was whole for good, if it was at all while it was watched
    pub whole_after_s: Option<f64>,
    /// Seconds that it may take
    pub bound_s: f64,
    /// Commands that it cost
    pub commands: u64,
    /// Sides of handshakes that were computed for diallers that had left: none may be
    pub in_vain: u64,
    /// Every five seconds, before and after
    pub states: Vec<State>,
    /// Ends of links since the disturbance began, by the link's purpose and the reason
    pub ends: BTreeMap<String, u64>,
}

/// Runs the verb; 1 if the mesh was not whole in time
pub fn verb(options: &Options) -> ExitCode {
    options.mistake.make();
    let outcome = run(options.story, options.seed);
    if options.json {
        output::json(&outcome)
    } else {
        print(&outcome)
    }
    if outcome.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One story, from a mesh that is whole to one that is whole again, or not
pub fn run(story: Story, seed: u64) -> Outcome {
    let config = story.config(seed);
    let (calm, bound) = (Instant::ZERO + config.calm, story.leases_max() * config.lease);
    let (still, pause) = story.still(&config);
    let ends = Ends::default();
    let counted = Rc::clone(&ends.counted);
    let mut world = World::new(config, vec![Box::new(ends)]);
    let mut states = Vec::new();
    if story != Story::Start {
        world.run_until(calm);
    }
    world.limit(story.cores());
    if !still.is_empty() {
        world.run_until(calm + CALM);
        states.push(state(&world, -pause.as_secs_f64()));
        world.is_fault_phase = true;
        counted.borrow_mut().clear();
        still.into_iter().for_each(|node| world.handle_fault(Fault::Pause(node, pause)));
        world.run_until(calm + CALM + pause);
    }
    let before = states.first().map_or(0, |state| state.log);
    let whole_after = watch(&mut world, bound, &mut states);
    let commands = state(&world, 0.0).log - before;
    let in_vain = world.processors.handshakes().in_vain;
    Outcome {
        story,
        seed,
        is_good: whole_after.is_some_and(|after| after <= bound) && commands <= story.commands_max() && in_vain == 0,
        commands,
        in_vain,
        whole_after_s: whole_after.map(|after| after.as_secs_f64()),
        bound_s: bound.as_secs_f64(),
        states,
        ends: counted.take(),
    }
}

/// Counts why links end; it objects to nothing
#[derive(Default)]
struct Ends {
    homes: BTreeSet<(NodeId, u64)>,
    counted: Rc<RefCell<BTreeMap<String, u64>>>,
}

impl Oracle for Ends {
    fn name(&self) -> &'static str {
        "ends"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Opened { opened, .. } if opened.hello.purpose == Purpose::Home => {
                self.homes.insert((node, opened.link.0));
            }
            Observation::Closed { link, reason } => {
                let purpose = if self.homes.remove(&(node, *link)) { "home" } else { "neighbour" };
                let why = match reason {
                    CloseReason::Local { status, .. } => format!("local {}", status.code()),
                    reason => reason.word().to_owned(),
                };
                *self.counted.borrow_mut().entry(format!("{purpose} {why}")).or_default() += 1;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Looks until all has been whole for a while, or is given up; since when it has been
fn watch(world: &mut World, bound: Duration, states: &mut Vec<State>) -> Option<Duration> {
    let begin = world.now();
    let (mut since, mut looks) = (None, 0_u32);
    while world.now() < begin + bound.max(WATCHED) + SETTLED {
        let passed = world.now().since(begin);
        let state = state(world, passed.as_secs_f64());
        if looks.is_multiple_of(10) {
            states.push(state);
        }
        looks += 1;
        let peers = world.config.peers as usize;
        let State { homes, suspects, sessions, whole, .. } = state;
        let is_whole = suspects == 0 && [homes, sessions, whole] == [peers; 3];
        since = if is_whole { since.or(Some(passed)) } else { None };
        if since.is_some_and(|since| passed - since >= SETTLED) {
            break;
        }
        let next = world.now() + LOOK;
        world.run_until(next);
    }
    since
}

fn state(world: &World, at_s: f64) -> State {
    let supernode = world.supernodes().next().and_then(Node::supernode);
    let processors = &world.processors;
    let whole = world.peers().filter(|node| is_whole(node)).count();
    let handshakes = processors.handshakes();
    let spent_s = processors.spent(NodeId(world.config.supernodes)).as_secs_f64();
    let state = State {
        at_s,
        whole,
        handshakes: handshakes.all,
        in_vain: handshakes.in_vain,
        dropped: handshakes.dropped,
        spent_s,
        ..State::default()
    };
    supernode.map_or(state, |supernode| {
        let directory = supernode.core.directory();
        let (suspects, sessions) = (directory.suspects().count(), directory.sessions().len());
        State { homes: supernode.core.homes(), suspects, sessions, log: directory.applied(), ..state }
    })
}

fn is_whole(node: &Node) -> bool {
    let Some(peer) = node.peer().filter(|_| node.runs()) else { return false };
    let is_up = || {
        let neighbours = peer.core().neighbourhood().neighbours();
        neighbours.iter().filter(|neighbour| neighbour.is_wanted).all(|neighbour| neighbour.state == LinkStatus::Up)
    };
    matches!(peer.core().standing(), Standing::LoggedIn { .. }) && is_up()
}

fn print(outcome: &Outcome) {
    let Outcome { seed, is_good, whole_after_s, bound_s, commands, in_vain, states, ends, .. } = outcome;
    line("  after  homes  suspects  sessions  whole     log  handshakes  in vain  dropped  processor");
    for state in states {
        let State { at_s, homes, suspects, sessions, whole, log, handshakes, in_vain, dropped, spent_s } = state;
        line(&format!(
            "{at_s:>5.0} s  {homes:>5}  {suspects:>8}  {sessions:>8}  {whole:>5}  {log:>6}  {handshakes:>10}  {in_vain:>7}  {dropped:>7}  {spent_s:>7.1} s"
        ));
    }
    let ends = ends.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>();
    line(&format!("ends of links: {}", ends.join(", ")));
    let when =
        whole_after_s.map_or("not whole while it was watched".into(), |after| format!("whole after {after:.1} s"));
    let verdict = if *is_good { "good" } else { "COLLAPSED" };
    line(&format!(
        "{verdict}: {when}, by {commands} commands, {in_vain} handshakes in vain; it may take {bound_s:.0} s (seed {seed})"
    ));
}
