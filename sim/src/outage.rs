//! `kith-sim outage`: two outages that a network of this kind has had, played again, with what must come of each.
//!
//! `2007`: everything restarts at once, as machines do after an update, and everybody logs in. What made an outage of it
//! was that nobody could be let in while all asked.
//!
//! `2010`: a crowd that comes and goes asks for twice the logins that the supernodes' processors can serve. Three in ten
//! supernodes are of a build that crashes on a late reply, and each does so when it gives one. The rest gets their load on
//! top, and must neither fall like dominoes nor put anybody out: those that were there before keep their sessions and their
//! places, and every supernode that is left goes on to answer them.
//!
//! Each supernode has a processor of its own, as [`crate::mesh::processor`] has it; peers have as much as they need.

mod seen;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kith_common::time::Instant;
use serde::Serialize;

use self::seen::{Counter, Seen};
use crate::arguments::{self, Mistake};
use crate::crowd::{Crowd, is_in, places};
use crate::mesh::config::MeshConfig;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::processor::{Cores, Share};
use crate::mesh::users::{Deed, name_of};
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
/// Dials for each login at most, on average: the one that a login needs, and one and a half more, which is the share of
/// retries that a storm of logins may have. As everything restarts the first two of three supernodes that a peer tries may
/// not be up again.
const TRIES_MAX: f64 = 2.5;

/// Supernodes of 2007
const FEW: u32 = 3;
/// Supernodes of 2010, of which the first five vote
const MANY: u32 = 10;
/// Those of the poisoned build: the one that leads at first, another that votes, and one that learns. Three of five are left
/// to agree.
const POISONED: [NodeId; 3] = [NodeId(0), NodeId(3), NodeId(7)];
/// A login that is answered so long after it was dialled is answered late: its reply is the poisoned one. Longer than when
/// the log loses a command, which it does at times under any load.
const LATE: Duration = Duration::from_secs(2);
/// How often is looked whether one has given such a reply
const CRASH_LOOK: Duration = Duration::from_millis(10);
/// Within this the crowd has begun to come: all at once would be an overload of its own
const RAMP: Duration = Duration::from_secs(10);
/// How long the crowd comes and goes
const LOAD: Duration = Duration::from_secs(40);
/// How long one of the crowd stays in before it leaves, and how long it is away
const IN: Duration = Duration::from_millis(500);
const AWAY: Duration = Duration::from_millis(250);
/// What a logout and the next login take besides, with nobody before them, and until somebody looks
const DONE: Duration = Duration::from_millis(500);
/// Processor time that a login takes at the supernodes, all in all, as measured of this crowd: its side of a handshake,
/// signatures, its logout, and commands and tables at each of them
const LOGIN_COST: Duration = Duration::from_millis(4);
/// How often one of those that were there before asks for a name
const ASKS_EVERY: Duration = Duration::from_secs(2);
/// A supernode whose answer to one of these takes longer has fallen, whether or not its process runs: its peers give it up
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Year {
    /// Everything restarts at once
    #[value(name = "2007")]
    #[serde(rename = "2007")]
    Restart,
    /// Three in ten supernodes crash on a late reply under double load
    #[value(name = "2010")]
    #[serde(rename = "2010")]
    Crash,
}

#[derive(Args, Clone, Debug)]
pub struct Options {
    pub year: Year,
    /// How many peers; of 2010 at least 200, as processors are as slow as the crowd is small, down to where one handshake is
    /// late
    #[arg(long, default_value = "300", value_parser = arguments::peers)]
    pub peers: usize,
    /// How many times as many logins a crowd asks for, in 2010, as the supernodes have processor for
    #[arg(long, default_value_t = 2.0, value_parser = arguments::times)]
    pub load: f64,
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
    /// Seconds until 99 % were logged in, and until all were; of 2010 from the end of the load
    pub most_after_s: Option<f64>,
    pub all_after_s: Option<f64>,
    /// Dials to supernodes for each login
    pub tries: f64,
    /// Supernodes that crashed, and of how many that must have
    pub crashed: usize,
    poisoned: usize,
    /// Supernodes of the others that have ended, or did not answer in time, which must be none
    pub fallen: usize,
    /// Seconds that one of the others took for an answer at most
    pub answer_s: f64,
    /// What logins the crowd asks for, over what there is processor for
    pub load: f64,
    pub busy: Busy,
    /// Peers that lost their sessions though their process ran on: none may
    pub put_out: usize,
    /// What an oracle objected to
    pub violation: Option<String>,
    pub is_good: bool,
}

/// How busy supernodes were under double load
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Busy {
    /// Of the processor of those that have stayed, the share that was used
    pub share: f64,
    /// Milliseconds of work for each login that was granted, with all that was done besides
    pub cost_ms: f64,
}

/// Runs the verb; 1 if a goal was missed
pub fn verb(options: &Options) -> ExitCode {
    options.mistake.make();
    let outcome = run(options.year, options.peers as u32, options.load, options.seed);
    if options.json {
        output::json(&outcome)
    } else {
        print(&outcome)
    }
    if outcome.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One outage, with so many peers, and (of 2010) so many times the load that the supernodes have processor for
pub fn run(year: Year, peers: u32, load: f64, seed: u64) -> Outcome {
    let mut stage = Stage::new(year, peers, load, seed);
    match year {
        Year::Restart => stage.restart(),
        Year::Crash => stage.overload(),
    }
}

/// The run
struct Stage {
    year: Year,
    load: f64,
    world: World,
    seen: Rc<RefCell<Seen>>,
    seed: u64,
    /// Those that are there from the beginning, and those that come
    early: Vec<NodeId>,
    crowd: Crowd,
    /// Processor that each supernode has, in cores
    each: f64,
    crashed: BTreeSet<NodeId>,
    /// Whose turn it is to ask for a name
    asking: usize,
}

impl Stage {
    fn new(year: Year, peers: u32, load: f64, seed: u64) -> Self {
        let supernodes = if year == Year::Restart { FEW } else { MANY };
        // Nobody sends anything: who is let in, and who is put out, is what is asked.
        let deed_every = Duration::from_secs(86_400);
        let config = MeshConfig { supernodes, deed_every, ..MeshConfig::new(seed, peers) };
        let calm = Instant::ZERO + config.calm + Duration::from_secs(u64::from(peers) / 100);
        let seen = Rc::new(RefCell::new(Seen::new(supernodes)));
        let counter = Counter(Rc::clone(&seen));
        let judgement = judgement::Judgement::new(&config);
        let oracles: Vec<Box<dyn Oracle>> =
            vec![Box::new(counter), Box::new(judgement), Box::new(moves::Moves::default())];
        let mut world = World::new(config, oracles);
        let all: Vec<NodeId> = (supernodes..supernodes + peers).map(NodeId).collect();
        let (early, late) = all.split_at(if year == Year::Restart { all.len() } else { all.len() / 2 });
        late.iter().for_each(|node| _ = world.kill(*node, false));
        world.run_until(calm);
        let each = match year {
            Year::Restart => 1.0,
            // What the crowd asks for, had it all that it wants, is so many times what this serves.
            Year::Crash => late.len() as f64 * LOGIN_COST.div_duration_f64(IN + AWAY + DONE) / load / f64::from(MANY),
        };
        world.limit(Cores { peers: 64.0, supernodes: Share::Each(each) });
        world.run_until(calm + Duration::from_secs(10));
        let (early, crowd, crashed) = (early.to_vec(), Crowd::new(late.to_vec(), IN, AWAY), BTreeSet::new());
        Self { year, load, world, seen, seed, early, crowd, each, crashed, asking: 0 }
    }

    fn restart(&mut self) -> Outcome {
        self.seen.borrow_mut().begin();
        let begin = self.world.now();
        let machines: Vec<NodeId> = self.world.config.supernodes().chain(self.early.iter().copied()).collect();
        machines.iter().for_each(|node| _ = self.world.kill(*node, false));
        self.world.run_until(begin + Duration::from_secs(2));
        machines.iter().for_each(|node| self.world.start(*node));
        let [most, all] = self.let_all_in(begin);
        let tries = self.seen.borrow().dials as f64 / self.early.len() as f64;
        self.outcome([most, all], tries, 0, Busy::default())
    }

    fn overload(&mut self) -> Outcome {
        let (before, spent) = (places(&self.world, &self.early), self.spent());
        self.seen.borrow_mut().begin();
        let begin = self.world.now();
        let (mut asked_at, mut look_at, mut come_at) = (begin, begin, begin);
        let mut to_come = self.crowd.peers.clone().into_iter();
        while self.world.now() < begin + LOAD && !self.world.watch.is_over() {
            let next = self.world.now() + CRASH_LOOK;
            self.world.run_until(next);
            self.crash();
            while come_at <= next
                && let Some(node) = to_come.next()
            {
                come_at = come_at + RAMP / self.crowd.peers.len() as u32;
                self.world.start(node);
            }
            if next >= look_at {
                look_at = next + LOOK;
                self.crowd.come_and_go(&mut self.world);
            }
            while asked_at <= next {
                asked_at = asked_at + ASKS_EVERY / self.early.len() as u32;
                self.ask();
            }
        }
        let (dials, granted) = (self.seen.borrow().dials, self.seen.borrow().granted);
        let busy = self.busy(&spent, granted);
        let end = self.world.now();
        let times = self.let_all_in(end);
        let after = places(&self.world, &self.early);
        let put_out = before.iter().filter(|(node, place)| after.get(*node) != Some(*place)).count();
        self.outcome(times, dials as f64 / granted.max(1) as f64, put_out, busy)
    }

    /// Work done so far by each supernode
    fn spent(&self) -> Vec<Duration> {
        self.world.config.supernodes().map(|node| self.world.processors.spent(node)).collect()
    }

    /// How busy those supernodes were under the load that have stayed
    fn busy(&self, before: &[Duration], granted: u64) -> Busy {
        let work: Vec<Duration> = self.spent().iter().zip(before).map(|(after, before)| *after - *before).collect();
        let of_left = work.iter().zip(self.world.config.supernodes()).filter(|(_, node)| !self.crashed.contains(node));
        let (sum, count) = of_left.fold((Duration::ZERO, 0), |(sum, count), (work, _)| (sum + *work, count + 1));
        let had = LOAD.as_secs_f64() * self.each * f64::from(count.max(1));
        let cost_ms = work.iter().sum::<Duration>().as_secs_f64() * 1e3 / granted.max(1) as f64;
        Busy { share: sum.as_secs_f64() / had, cost_ms }
    }

    /// Those of the poisoned build that have given a late reply are gone
    fn crash(&mut self) {
        if self.year == Year::Restart {
            return;
        }
        let late = std::mem::take(&mut self.seen.borrow_mut().late);
        for node in late.into_iter().filter(|node| POISONED.contains(node)) {
            if self.world.kill(node, false) {
                self.crashed.insert(node);
            }
        }
    }

    /// One of those that were there before asks for another
    fn ask(&mut self) {
        let (who, whom) = (self.early[self.asking], self.early[(self.asking + 1) % self.early.len()]);
        self.asking = (self.asking + 1) % self.early.len();
        self.world.handle_deed(who, Deed::LookUp(name_of(whom.0)));
    }

    /// How long it is from `begin` until nearly all are in, and until all are and it lasts
    fn let_all_in(&mut self, begin: Instant) -> [Option<Duration>; 2] {
        let all: Vec<NodeId> = self.early.iter().chain(&self.crowd.peers).copied().collect();
        let (mut most, mut whole) = (None, None);
        while self.world.now() < begin + WATCHED && !self.world.watch.is_over() {
            let next = self.world.now() + LOOK;
            self.world.run_until(next);
            self.crash();
            let passed = self.world.now() - begin;
            let logged_in = all.iter().filter(|node| is_in(&self.world, **node)).count();
            if logged_in * 100 >= all.len() * 99 {
                most.get_or_insert(passed);
            }
            whole = if logged_in == all.len() { whole.or(Some(passed)) } else { None };
            // Long enough for the sessions of a home that is gone to end, if any should.
            if whole.is_some_and(|at| passed - at > self.world.config.lease * 2) {
                break;
            }
        }
        [most, whole]
    }

    fn outcome(&self, times: [Option<Duration>; 2], tries: f64, put_out: usize, busy: Busy) -> Outcome {
        let ([most, all], year) = (times, self.year);
        let seen = self.seen.borrow();
        let is_left = |node: &NodeId| !self.crashed.contains(node);
        let answer = |node: &NodeId| seen.longest_answer(self.world.now(), *node);
        let has_fallen = |node: &NodeId| !self.world.node(*node).runs() || answer(node) > ANSWERED_WITHIN;
        let left = || self.world.config.supernodes().filter(is_left);
        let is_crash = year == Year::Crash;
        // As everything restarts nobody is asked anything that the start itself does not put off.
        let fallen = left().filter(|node| if is_crash { has_fallen(node) } else { !self.world.node(*node).runs() });
        let (fallen, answer) = (fallen.count(), left().map(|node| answer(&node)).max().unwrap_or_default());
        let poisoned = if is_crash { POISONED.len() } else { 0 };
        let violation = self.world.watch.violation().map(ToString::to_string);
        let is_in_time = most.is_some_and(|at| at <= MOST_WITHIN) && all.is_some_and(|at| at <= ALL_WITHIN);
        let has_played = self.crashed.len() == poisoned;
        let has_stayed = fallen == 0 && put_out == 0 && violation.is_none();
        Outcome {
            year,
            seed: self.seed,
            peers: self.early.len() + self.crowd.peers.len(),
            supernodes: self.world.config.supernodes,
            most_after_s: most.map(|at| at.as_secs_f64()),
            all_after_s: all.map(|at| at.as_secs_f64()),
            tries,
            crashed: self.crashed.len(),
            poisoned,
            fallen,
            answer_s: answer.as_secs_f64(),
            load: if is_crash { self.load } else { 0.0 },
            busy,
            put_out,
            is_good: is_in_time && tries <= TRIES_MAX && has_played && has_stayed,
            violation,
        }
    }
}

fn print(outcome: &Outcome) {
    let Outcome { year, seed, peers, supernodes, tries, crashed, poisoned, fallen, put_out, .. } = outcome;
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
    if *year == Year::Crash {
        let (answer, within) = (outcome.answer_s, ANSWERED_WITHIN.as_secs());
        let Busy { share, cost_ms } = outcome.busy;
        line(&format!(
            "the crowd asks for {:.1} times what there is processor for; {:.0} % of it was used, {cost_ms:.1} ms a login",
            outcome.load,
            share * 100.0
        ));
        line(&format!("{crashed} of {poisoned} poisoned supernodes crashed, which all must"));
        line(&format!("an answer of the others took {answer:.2} s at most; goal: {within} s"));
    }
    line(&format!("{fallen} of the others have ended or did not answer in time; goal: none"));
    line(&format!("{put_out} peers were put out; goal: none"));
    if let Some(violation) = &outcome.violation {
        line(&format!("an oracle objects: {violation}"));
    }
    line(if outcome.is_good { "good" } else { "a goal was MISSED" });
}
