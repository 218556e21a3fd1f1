//! One run, from an empty world to the oracles' last word.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use kith_common::directory::Pair;
use kith_common::routing::forward::Count;
use kith_common::session::membership::Standing;
use kith_common::status::Status;
use kith_common::supernode::PAIR_TERM_MAX;
use kith_common::time::Instant;

use super::acting::FATE_WAIT;
use super::config::MeshConfig;
use super::faults::{Effect, Plan};
use super::node::{Node, NodeId};
use super::oracle::{Operations, Oracle};
use super::users;
use super::watch::{Violation, Watch};
use super::world::World;
use crate::chance::{Chance, Draws};

/// A rewire, a dial of 5 s, a report and another rewire
const TRIAL_WAIT: Duration = Duration::from_secs(10);

/// Outside a healthy core somebody is always tried again
const TRIALS_MAX: u32 = 6;

/// The numbers of cuts that make a shape begin here, beyond those of all others
const SHAPE_CUTS: u64 = 1 << 60;

/// What a run came to
#[derive(Clone, Debug)]
pub struct Report {
    /// What was wrong, if anything
    pub violation: Option<Violation>,
    /// Lines of the story that is told, but for those of faults
    pub told: Option<u64>,
    /// Stands for everything that happened
    pub hash: u64,
    pub events: u64,
    /// Virtual time that passed
    pub simulated: Duration,
    /// What each kind of fault has done
    pub effects: BTreeMap<Effect, u64>,
    /// What senders were told of their messages
    pub fates: BTreeMap<Status, u64>,
    /// How long calls took that were answered, but for those of liars, and at them
    pub call_waits: Vec<Duration>,
    /// Packets that liars have dropped
    pub lies: u64,
    /// What people did with the directory, as far as the oracles have judged it
    pub operations: Operations,
    /// What became of packets
    pub counts: BTreeMap<Count, u64>,
    /// Ways that were cut at the end and stay so
    pub permanent_cuts: usize,
    /// Events that waited at once, at most
    pub queue_longest: usize,
    /// Dials and streams at once, at most
    pub conns_most: usize,
}

/// Runs a world to its end; a core that panics is a violation like others
pub fn run(config: &MeshConfig, oracles: Vec<Box<dyn Oracle>>) -> Report {
    // The world of a run that panics is thrown away, so nobody sees it half changed.
    catch_unwind(AssertUnwindSafe(|| run_world(config, oracles))).unwrap_or_else(|panic| Report::of_panic(&*panic))
}

fn run_world(config: &MeshConfig, oracles: Vec<Box<dyn Oracle>>) -> Report {
    let mut world = World::new(config.clone(), oracles);
    let begin = Instant::ZERO + config.calm;
    let end = begin + config.faults;
    plan(&mut world, begin, end);
    world.run_until(begin);
    send_burst(&mut world);
    world.is_fault_phase = true;
    world.run_until(end);
    if !world.watch.is_over() {
        world.make_whole();
        world.run_until(end + config.bound());
        wait_for_tries(&mut world);
        world.settled = Some(world.now());
        wait_for_trials(&mut world);
        judge(&mut world, Watch::whole);
        say_last_words(&mut world);
        world.run_until(world.now() + FATE_WAIT);
        judge(&mut world, Watch::end);
    }
    Report {
        violation: world.watch.violation().cloned(),
        told: world.watch.told(),
        hash: world.watch.hash(),
        events: world.watch.events(),
        simulated: world.now().since(Instant::ZERO),
        effects: world.net.effects().clone(),
        fates: world.watch.fates().clone(),
        call_waits: std::mem::take(&mut world.call_waits),
        lies: world.lies,
        operations: world.watch.judged(),
        counts: world.watch.counts().clone(),
        permanent_cuts: world.net.permanent_cuts(),
        queue_longest: world.queue.longest(),
        conns_most: world.net.most(),
    }
}

/// Whoever found nobody who answered for long tries again within a minute only, and has everything to do after that
fn wait_for_tries(world: &mut World) {
    let next_try = |node: &Node| match node.peer().map(|peer| peer.core().standing())? {
        Standing::Searching { next_try, .. } => next_try.map(|at| node.clock.truly(at)),
        _ => None,
    };
    if let Some(last) = world.peers().filter_map(next_try).max() {
        world.run_until(last + world.config.bound());
    }
}

/// Two who were kept apart may just be brought together, which changes tables once more, however whole all is
fn wait_for_trials(world: &mut World) {
    let is_whole = world.config.core() == world.config.machines();
    let waits = if is_whole { PAIR_TERM_MAX.div_duration_f64(TRIAL_WAIT) as u32 } else { TRIALS_MAX };
    for _ in 0..waits {
        let before = pairs(world);
        let until = world.now() + TRIAL_WAIT;
        world.run_until(until);
        if world.watch.is_over() || pairs(world) == before {
            return;
        }
    }
}

fn pairs(world: &World) -> Vec<Pair> {
    world.directory().map(|directory| directory.pairs().collect()).unwrap_or_default()
}

fn plan(world: &mut World, begin: Instant, end: Instant) {
    let config = &world.config;
    let (core, machines) = (config.core(), config.machines());
    // What is due at the very end of the calm is a part of the calm.
    let begin = begin + Duration::from_micros(1);
    let mut chance = Chance::new(config.seed, Draws::Faults);
    let cuts = config.shape.into_iter().flat_map(|shape| shape.cuts(config.supernodes, config.peers));
    for (number, cut) in cuts.enumerate() {
        world.net.cut(SHAPE_CUTS | number as u64, cut);
    }
    let plan = Plan { kinds: config.kinds.clone(), supernodes: config.supernodes, machines, every: config.fault_every };
    if config.shape.is_none() && core < machines {
        plan.permanent(&mut chance, &mut world.queue, begin, core);
    }
    if !config.faults.is_zero() {
        plan.schedule(&mut chance, &mut world.queue, begin, end);
    }
}

/// The first user types faster than anybody can
fn send_burst(world: &mut World) {
    let (from, to) = (NodeId(world.config.supernodes), users::name_of(world.config.machines() - 1));
    for _ in 0..world.config.burst {
        let deed = users::Deed::send(to.clone(), &mut world.user_chance);
        world.handle_deed(from, deed);
    }
}

/// Everybody sends something to the next but some: whatever the oracles say of tables, people want this
fn say_last_words(world: &mut World) {
    if world.watch.is_over() {
        return;
    }
    let (first, core) = (world.config.supernodes, world.config.core());
    let peers = u64::from(core - first);
    for number in first..core {
        let to = first + ((u64::from(number - first) + 1 + world.user_chance.below(peers.max(2) - 1)) % peers) as u32;
        let deed = users::Deed::send(users::name_of(to), &mut world.user_chance);
        world.handle_deed(NodeId(number), deed);
        // Among liars each way is to be tried, elsewhere one.
        let all = (first..core).filter(|other| *other != number);
        let called: Vec<u32> = if world.config.liars > 0 { all.collect() } else { vec![to] };
        for other in called {
            world.handle_deed(NodeId(number), users::Deed::Call(users::name_of(other)));
        }
        world.handle_deed(NodeId(number), users::Deed::Pings(users::name_of(to)));
    }
}

fn judge(world: &mut World, ask: fn(&mut Watch, &World)) {
    if !world.watch.is_over() {
        let mut watch = std::mem::take(&mut world.watch);
        ask(&mut watch, world);
        world.watch = watch;
    }
}

impl Report {
    /// Of a run of which nothing is left but what was said last
    fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words");
        let violation = Violation { at: Instant::ZERO, oracle: "panic", what: text.to_owned() };
        Self {
            violation: Some(violation),
            told: None,
            hash: 0,
            events: 0,
            simulated: Duration::ZERO,
            effects: BTreeMap::new(),
            fates: BTreeMap::new(),
            call_waits: Vec::new(),
            lies: 0,
            operations: Operations::default(),
            counts: BTreeMap::new(),
            permanent_cuts: 0,
            queue_longest: 0,
            conns_most: 0,
        }
    }
}
