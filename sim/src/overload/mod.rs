//! `kith-sim overload`: for minutes more peers want to be let in than a slow log can take.
//!
//! Some peers are there and stay. All others come at once, and whoever is let in leaves soon and comes again, so that there
//! are always several times as many as can be served. Meanwhile some of those that stay start anew, one after the other, an
//! operator asks for something now and then, and somebody looks a name up. Once the log stands still for longer than a peer
//! waits. Then the crowd stays, and all must be let in.
//!
//! What made outages of such days elsewhere is that work was done for those who had given up, that all came back at once,
//! and that who was in was put out. Each of it is a figure here, beside what it may be.

mod seen;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use kith_common::time::Instant;
use serde::Serialize;

use self::seen::{Counter, Seen};
use crate::arguments::{self, Mistake};
use crate::crowd::{Crowd, is_in, places};
use crate::goals::Goal;
use crate::mesh::config::MeshConfig;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::{Operations, Oracle};
use crate::mesh::slow_log::SlowLog;
use crate::mesh::users::{Deed, name_of};
use crate::mesh::world::World;
use crate::oracles::acknowledged::Acknowledged;
use crate::oracles::reads::Reads;
use crate::output::{self, line};

/// How often is looked
const LOOK: Duration = Duration::from_millis(250);
/// Of how many peers one is there before, and stays
const STAYING: u32 = 5;
/// How long one of the crowd stays in before it leaves, and how long it is away
const IN: Duration = Duration::from_secs(2);
const AWAY: Duration = Duration::from_millis(500);
/// How often one of those that stay starts anew, and asks for a name, and how often an operator wants something
const DISTURBED_EVERY: Duration = Duration::from_secs(5);
/// How long the crowd has had to itself before that begins, and before it is counted who is served
const BEGUN: Duration = Duration::from_secs(10);
/// How long the log stands still once, and how long nothing else disturbs
const STALL: Duration = Duration::from_secs(12);
const STALLED: Duration = Duration::from_secs(20);
/// How long is watched for all to be let in, when the load has ended
const WATCHED: Duration = Duration::from_secs(180);

/// One write takes 50 to 200 ms and holds four commands: 32 a second
const SLOW: SlowLog = SlowLog {
    least: Duration::from_millis(50),
    most: Duration::from_millis(200),
    commands: 4,
    stall: Duration::ZERO,
    busy_until: Instant::ZERO,
    logins: 0,
    others: 0,
};

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How many peers; a fifth of them is there before and stays
    #[arg(long, default_value = "400", value_parser = arguments::peers)]
    pub peers: usize,
    /// How many supernodes there are, with one slow log
    #[arg(long, default_value_t = 1, value_parser = arguments::supernodes)]
    pub supernodes: u32,
    /// How many minutes more want to be let in than can be
    #[arg(long, default_value = "3", value_parser = arguments::minutes)]
    minutes: f64,
    /// The same seed gives the same run
    #[arg(long, default_value = "1", value_parser = arguments::seed)]
    pub seed: u64,
    #[command(flatten)]
    mistake: Mistake,
    /// Print an object instead of a text
    #[arg(long)]
    json: bool,
}

impl Options {
    /// How long more want to be let in than can be
    pub(crate) fn load(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

/// One figure, and what it may be
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub what: &'static str,
    pub measured: f64,
    goal: Goal,
    pub is_met: bool,
}

/// What came of it
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub seed: u64,
    pub supernodes: u32,
    pub staying: usize,
    pub crowd: usize,
    /// Grants in the time that is counted, and logins that were put off
    pub granted: u64,
    pub put_off: u64,
    /// Commands that the log was given then, and could have taken
    pub commands: u64,
    pub capacity: f64,
    pub figures: Vec<Line>,
    /// What people did with the directory, and the oracles have judged
    pub operations: Operations,
    /// What an oracle objected to
    pub violation: Option<String>,
}

impl Outcome {
    /// What is not as it should be, in words
    pub fn missed(&self) -> impl Iterator<Item = String> + '_ {
        let figures = self.figures.iter().filter(|figure| !figure.is_met);
        let figures = figures.map(|figure| format!("{}: {:.2}; goal: {}", figure.what, figure.measured, figure.goal));
        self.violation.clone().into_iter().chain(figures)
    }

    /// Whether all is as it should be
    pub fn is_good(&self) -> bool {
        self.missed().next().is_none()
    }
}

/// Runs the verb; 1 if a goal was missed
pub fn verb(options: &Options) -> ExitCode {
    options.mistake.make();
    let outcome = run(options.supernodes, options.peers as u32, options.load(), options.seed);
    if options.json {
        output::json(&outcome)
    } else {
        print(&outcome)
    }
    if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Those that wait for something, and the longest that somebody has waited
#[derive(Debug, Default)]
struct Waits<K> {
    since: BTreeMap<K, Instant>,
    longest: Duration,
}

impl<K: Ord + Copy> Waits<K> {
    fn begin(&mut self, now: Instant, who: K) {
        self.since.insert(who, now);
    }

    /// Those of whom this is so wait no more; how long who still waits has waited counts, too
    fn look(&mut self, now: Instant, is_over: impl Fn(K) -> bool) {
        let longest = self.since.values().map(|since| now - *since).max().unwrap_or_default();
        self.longest = self.longest.max(longest);
        self.since.retain(|who, _| !is_over(*who));
    }
}

/// The run
struct Stage {
    world: World,
    seen: Rc<RefCell<Seen>>,
    staying: Vec<NodeId>,
    crowd: Crowd,
    /// Those of whom stay that had no session for a moment
    put_out: BTreeSet<NodeId>,
    /// Those of whom stay that have started anew
    returning: Waits<NodeId>,
    /// Invites that an operator has asked for, each by how many there are with it
    operator: Waits<usize>,
    invites: usize,
    disturbed: u32,
}

/// For so long more want to be let in than can be
pub fn run(supernodes: u32, peers: u32, load: Duration, seed: u64) -> Outcome {
    let mut stage = Stage::new(supernodes, peers, seed);
    let before = places(&stage.world, &stage.staying);
    stage.begin();
    stage.play(load.min(BEGUN), false);
    stage.seen.borrow_mut().begin();
    let busy_until = stage.world.slow_log.unwrap_or(SLOW).busy_until;
    stage.world.slow_log = Some(SlowLog { stall: STALL, busy_until, ..SLOW });
    let counted = load.saturating_sub(BEGUN);
    stage.play(counted.min(STALLED), false);
    stage.play(counted.saturating_sub(STALLED), true);
    let (seen, log) = (stage.seen.borrow().clone(), stage.world.slow_log.unwrap_or(SLOW));
    let all_after = stage.let_all_in();
    let after = places(&stage.world, &stage.staying);
    let moved = before.iter().filter(|(node, place)| after.get(*node) != Some(*place)).map(|(node, _)| *node);
    let put_out = moved.chain(stage.put_out.iter().copied()).collect::<BTreeSet<_>>().len();
    let capacity = log.commands_per_second() * counted.saturating_sub(STALL).as_secs_f64();
    let figures = figures(&stage, &seen, log, capacity, put_out, all_after);
    Outcome {
        seed,
        supernodes,
        staying: stage.staying.len(),
        crowd: stage.crowd.peers.len(),
        granted: seen.granted,
        put_off: seen.put_off,
        commands: log.logins + log.others,
        capacity,
        figures,
        operations: stage.world.watch.judged(),
        violation: stage.world.watch.violation().map(ToString::to_string),
    }
}

/// What is asked of it, and what came of that
fn figures(
    stage: &Stage,
    seen: &Seen,
    log: SlowLog,
    capacity: f64,
    put_out: usize,
    all_after: Option<Duration>,
) -> Vec<Line> {
    let share = |part: u64, of: f64| if of <= 0.0 { 0.0 } else { part as f64 / of };
    let figure = |what, measured: f64, goal: Goal| Line { what, measured, goal, is_met: goal.holds(measured) };
    let seconds = |time: Duration| time.as_secs_f64();
    vec![
        figure("of those that were there before, put out", put_out as f64, Goal::AtMost(0.0)),
        figure(
            "logins granted, of what the log can take besides all else",
            share(seen.granted, capacity - log.others as f64),
            Goal::AtLeast(0.8),
        ),
        figure(
            "logins that the log took in vain, of all that it took",
            share(log.logins.saturating_sub(seen.granted), log.logins as f64),
            // Those that the log had when it stood still are among them.
            Goal::AtMost(0.1),
        ),
        figure(
            "of those that were put off, told later than within a second",
            share(seen.told_late, seen.put_off as f64),
            // Those who waited when the log stood still could not know.
            Goal::AtMost(0.25),
        ),
        figure(
            "logins given up without an answer, of all",
            share(seen.given_up, (seen.granted + seen.put_off + seen.given_up) as f64),
            Goal::AtMost(0.05),
        ),
        figure("of those that were put off, back before it was time", seen.too_early as f64, Goal::AtMost(0.0)),
        figure("dials for each login granted", share(seen.dials, seen.granted as f64), Goal::AtMost(4.0)),
        figure(
            "seconds until who starts anew has its session again",
            seconds(stage.returning.longest),
            Goal::AtMost(5.0),
        ),
        figure("seconds until an operator is answered", seconds(stage.operator.longest), Goal::AtMost(5.0)),
        figure("seconds until a renewal or a look-up is answered", seconds(seen.longest_answer), Goal::AtMost(1.0)),
        figure(
            "seconds until all are in when the load has ended",
            all_after.map_or(f64::INFINITY, seconds),
            Goal::AtMost(60.0),
        ),
    ]
}

impl Stage {
    /// Those that stay are in, and nobody of the crowd has started
    fn new(supernodes: u32, peers: u32, seed: u64) -> Self {
        // Nobody sends anything: who is let in is what is asked.
        let deed_every = Duration::from_secs(86_400);
        let config = MeshConfig { supernodes, deed_every, ..MeshConfig::new(seed, peers) };
        let calm = Instant::ZERO + config.calm + Duration::from_secs(10);
        let first = config.supernodes;
        let all: Vec<NodeId> = (first..first + peers).map(NodeId).collect();
        let (staying, crowd) = all.split_at((peers / STAYING).max(1) as usize);
        let seen = Rc::new(RefCell::new(Seen::default()));
        let oracles: Vec<Box<dyn Oracle>> = vec![
            Box::new(Counter { seen: Rc::clone(&seen), supernodes }),
            Box::new(Acknowledged::new(&config)),
            Box::new(Reads::new(&config)),
        ];
        let mut world = World::new(config, oracles);
        crowd.iter().for_each(|node| _ = world.kill(*node, false));
        world.run_until(calm);
        Self {
            world,
            seen,
            staying: staying.to_vec(),
            crowd: Crowd::new(crowd.to_vec(), IN, AWAY),
            put_out: BTreeSet::new(),
            returning: Waits { since: BTreeMap::new(), longest: Duration::ZERO },
            operator: Waits { since: BTreeMap::new(), longest: Duration::ZERO },
            invites: 0,
            disturbed: 0,
        }
    }

    /// The log is slow from now on, and the crowd is there
    fn begin(&mut self) {
        self.world.slow_log = Some(SLOW);
        self.crowd.peers.iter().for_each(|node| self.world.start(*node));
    }

    /// The crowd comes and goes; `is_disturbed`: others want something, too
    fn play(&mut self, time: Duration, is_disturbed: bool) {
        let begin = self.world.now();
        let mut disturb_at = begin + DISTURBED_EVERY;
        while self.world.now() < begin + time && !self.world.watch.is_over() {
            self.step();
            self.crowd.come_and_go(&mut self.world);
            if is_disturbed && self.world.now() >= disturb_at {
                disturb_at = disturb_at + DISTURBED_EVERY;
                self.disturb();
            }
        }
    }

    fn step(&mut self) {
        let next = self.world.now() + LOOK;
        self.world.run_until(next);
        let now = self.world.now();
        self.returning.look(now, |node| is_in(&self.world, node));
        let Some(directory) = self.world.directory() else { return };
        let invites = directory.invites().count();
        self.operator.look(now, |count| count <= invites);
        let has_session = |name| directory.account(name).is_some_and(|account| account.session.is_some());
        let out = self.staying.iter().filter(|node| !has_session(&self.world.node(**node).name));
        self.put_out.extend(out);
    }

    /// One of those that stay starts anew, another looks a name up, and an operator wants an invite
    fn disturb(&mut self) {
        let (now, count) = (self.world.now(), self.staying.len());
        let at = self.disturbed as usize;
        self.disturbed += 1;
        let (restarted, asking) = (self.staying[at % count], self.staying[(at + count / 2) % count]);
        self.world.kill(restarted, false);
        self.world.start(restarted);
        self.returning.begin(now, restarted);
        self.world.handle_deed(asking, Deed::LookUp(name_of(self.staying[0].0)));
        self.invites += 1;
        self.operator.begin(now, self.invites);
        let leader = self.world.leading().unwrap_or(self.world.config.leader());
        if let Some(supernode) = self.world.node_mut(leader).supernode_mut() {
            supernode.core.invite(None, 1, None, u64::from(restarted.0));
        }
        self.world.settle(leader);
    }

    /// The crowd stays; how long it is until all are in
    fn let_all_in(&mut self) -> Option<Duration> {
        let begin = self.world.now();
        let all: Vec<NodeId> = self.staying.iter().chain(&self.crowd.peers).copied().collect();
        while self.world.now() < begin + WATCHED && !self.world.watch.is_over() {
            self.step();
            if all.iter().all(|node| is_in(&self.world, *node)) {
                return Some(self.world.now() - begin);
            }
        }
        None
    }
}

fn print(outcome: &Outcome) {
    let Outcome { seed, supernodes, staying, crowd, granted, put_off, commands, capacity, figures, .. } = outcome;
    line(&format!(
        "{staying} peers stay, {crowd} come and go, with a slow log; supernodes: {supernodes} (seed {seed})"
    ));
    line(&format!(
        "{granted} logins granted and {put_off} put off; the log took {commands} commands and could have taken {capacity:.0}"
    ));
    for Line { what, measured, goal, is_met } in figures {
        let missed = if *is_met { "" } else { "  MISSED" };
        line(&format!("{measured:>8.2}  {what}; goal: {goal}{missed}"));
    }
    line(&outcome.operations.to_string());
    if let Some(violation) = &outcome.violation {
        line(&format!("an oracle objects: {violation}"));
    }
    line(if outcome.is_good() { "good" } else { "a goal was MISSED" });
}
