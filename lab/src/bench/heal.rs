//! `kith-lab bench heal`: a forwarder on the way of a running connection falls silent, stands still, is deaf one way, or is
//! killed, again and again: how long nothing comes back over the connection.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::json;

use crate::bench::tunnel::Exchanges;
use crate::draw::Draw;
use crate::error::LabError;
use crate::flow::{Flow, Sent, Summary};
use crate::goals::{self, Figure, rank};
use crate::mesh::Lab;
use crate::node::Node;
use crate::options::{Options, Progress};
use crate::output;
use crate::role::Role;

/// From one call to the next
const EVERY: Duration = Duration::from_millis(50);
/// So long calls flow before the fault: what gaps there are then are the machine's own
const BEFORE: Duration = Duration::from_secs(2);
/// … and after it: longer than the mesh takes to heal without connections
const AFTER: Duration = Duration::from_secs(6);
/// Until all is as before, from one round to the next
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
/// Of a forwarder on the way of a flow: it has forwarded at least so many packets while that ran, a quarter of what it must
const FORWARDED_MIN: u64 = 20;
/// How often another pair is tried whose way has no forwarder
const PAIRS_MAX: usize = 50;

/// The longest time without an answer, less the time between two calls, in seconds
const HALF_GOAL: f64 = 0.3;
/// … in 99 of a hundred rounds
const MOST_GOAL: f64 = 1.0;
/// … where the forwarder is killed, and its neighbours are told so by the system
const KILLED_GOAL: f64 = 0.1;

/// What befalls the forwarder
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    /// Nothing that it sends arrives anywhere, nor anything that it is sent
    Silent,
    /// It stands still (SIGSTOP)
    Stopped,
    /// Nothing that it sends arrives anywhere
    OneWay,
    /// It ends at once (SIGKILL)
    Killed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "silent",
            Self::Stopped => "stopped",
            Self::OneWay => "deaf one way",
            Self::Killed => "killed",
        })
    }
}

/// What runs meanwhile
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Over {
    /// Calls, each a stream of one connection
    Calls,
    /// Numbers that go there and back on one connection over a tunnel
    Tunnel,
}

/// How the bench is run
#[derive(Clone, Debug)]
pub(crate) struct HealOptions {
    pub(crate) lab: Options,
    pub(crate) over: Over,
    pub(crate) faults: Vec<Fault>,
    /// Of each fault
    pub(crate) rounds: usize,
    pub(crate) json: bool,
}

/// What came of the rounds with one fault, in seconds
#[derive(Clone, Debug, Default)]
struct Book {
    gaps: Vec<f64>,
    calm_gaps: Vec<f64>,
    calls: usize,
    failed: usize,
}

/// Lets forwarders fail for so many rounds, and says what came of it; whether every goal was reached
///
/// # Errors
/// The lab did not come up, or was not whole again after a fault. All processes have ended then.
pub(crate) fn run(options: &HealOptions) -> Result<bool, LabError> {
    let lab = Lab::up(options.lab.clone(), Progress::Lines)?;
    let mut draw = Draw::new(lab.state()?.seed, "forwarders");
    let mut books: BTreeMap<Fault, Book> = BTreeMap::new();
    for number in 1..=options.rounds {
        for fault in &options.faults {
            let gap = round(&lab, (*fault, options.over), &mut draw, books.entry(*fault).or_default())?;
            lab.progress().say(&format!("{number:>3} of {}: {gap}", options.rounds));
        }
    }
    lab.down()?;
    let figures: Vec<Figure> = books.iter().flat_map(|(fault, book)| book.figures(*fault, options.over)).collect();
    if options.json {
        output::line(&json!({ "rounds": options.rounds, "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

/// What goes from one peer to another, and comes back
enum Running {
    Calls(Flow),
    Exchanges(Exchanges),
}

impl Running {
    fn start(lab: &Lab, over: Over, from: &Node, to: &Node) -> Result<Self, LabError> {
        match over {
            Over::Calls => Ok(Self::Calls(Flow::of_calls(from.clone(), to.name.clone(), EVERY))),
            Over::Tunnel => Exchanges::start(from, to, lab.dir(), EVERY).map(Self::Exchanges),
        }
    }

    fn stop(self) -> Result<Vec<Sent>, LabError> {
        match self {
            Self::Calls(flow) => Ok(flow.stop()),
            Self::Exchanges(exchanges) => exchanges.stop(),
        }
    }
}

/// Two peers talk to each other over a forwarder, which fails; in a few words what came of it
fn round(lab: &Lab, (fault, over): (Fault, Over), draw: &mut Draw, book: &mut Book) -> Result<String, LabError> {
    for _ in 0..PAIRS_MAX {
        let mut peers = lab.running(Role::Peer)?;
        draw.shuffle(&mut peers);
        let [from, to, others @ ..] = &peers[..] else { return Err(LabError::NoForwarder) };
        let before = forwarded(others)?;
        let running = Running::start(lab, over, from, to)?;
        thread::sleep(BEFORE);
        let after = forwarded(others)?;
        let most = others.iter().max_by_key(|node| gained(&before, &after, &node.name));
        let Some(forwarder) = most.filter(|node| gained(&before, &after, &node.name) >= FORWARDED_MIN) else {
            // They are neighbours.
            running.stop()?;
            continue;
        };
        let struck = Instant::now();
        strike(lab, fault, &forwarder.name)?;
        thread::sleep(AFTER);
        let sent = running.stop()?;
        mend(lab, fault, &forwarder.name)?;
        lab.settle("everybody to hold their links", SETTLE_LIMIT)?;
        let (calm, after): (Vec<_>, Vec<_>) = sent.into_iter().partition(|call| call.done < struck);
        let gap = book.note(&Summary::of(&calm, EVERY), &Summary::of(&after, EVERY));
        let (from, to, forwarder) = (&from.name, &to.name, &forwarder.name);
        return Ok(format!("{from} to {to} by {forwarder}, {fault}: {gap:.2} s without an answer"));
    }
    Err(LabError::NoForwarder)
}

fn strike(lab: &Lab, fault: Fault, victim: &str) -> Result<(), LabError> {
    let victims = [victim.to_owned()];
    let others = || -> Result<Vec<String>, LabError> {
        Ok(lab.state()?.processes.into_iter().map(|process| process.name).filter(|name| name != victim).collect())
    };
    match fault {
        Fault::Silent => lab.cut(&victims, &others()?, false),
        Fault::OneWay => lab.cut(&victims, &others()?, true),
        Fault::Stopped => lab.pause(victim),
        Fault::Killed => lab.kill(victim),
    }
}

fn mend(lab: &Lab, fault: Fault, victim: &str) -> Result<(), LabError> {
    match fault {
        Fault::Silent | Fault::OneWay => lab.heal(),
        Fault::Stopped => lab.resume(victim),
        Fault::Killed => lab.start_and_wait(victim).map(drop),
    }
}

/// How many packets each of these has forwarded so far, as it says itself
fn forwarded(nodes: &[Node]) -> Result<BTreeMap<String, u64>, LabError> {
    nodes.iter().map(|node| Ok((node.name.clone(), node.packets_forwarded()?))).collect()
}

fn gained(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>, name: &str) -> u64 {
    let of = |counts: &BTreeMap<String, u64>| counts.get(name).copied().unwrap_or_default();
    of(after).saturating_sub(of(before))
}

impl Book {
    fn note(&mut self, calm: &Summary, after: &Summary) -> f64 {
        let gap = after.outage.as_secs_f64();
        self.calm_gaps.push(calm.outage.as_secs_f64());
        self.gaps.push(gap);
        self.calls += after.messages;
        self.failed += after.failed + after.unknown;
        gap
    }

    fn figures(&self, fault: Fault, over: Over) -> Vec<Figure> {
        let (half, most) = (rank(&self.gaps, 50), rank(&self.gaps, 99));
        let is_killed = fault == Fault::Killed;
        let goals = match over {
            // What a person at a terminal takes for a hiccup.
            Over::Tunnel => (MOST_GOAL, MOST_GOAL),
            Over::Calls if is_killed => (KILLED_GOAL, KILLED_GOAL),
            Over::Calls => (HALF_GOAL, MOST_GOAL),
        };
        let what = match over {
            Over::Calls => "calls",
            Over::Tunnel => "exchanges over a tunnel",
        };
        vec![
            Figure::told(format!("{fault}: {what}"), self.calls as f64, ""),
            Figure::at_most("… that were not answered", Some(self.failed as f64), 0.0, ""),
            Figure::at_most("… longest time without an answer, half of the rounds", Some(half), goals.0, "s"),
            Figure::at_most("… 99 of a hundred", Some(most), goals.1, "s"),
            Figure::told("… before the fault, the worst", self.calm_gaps.iter().copied().fold(0.0, f64::max), "s"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_killed_has_another_goal_than_what_is_silent() {
        let book = Book { gaps: vec![0.2; 10], calm_gaps: vec![0.01], calls: 9, failed: 0 };
        let missed = |fault| book.figures(fault, Over::Calls).iter().filter(|figure| !figure.held).count();
        assert_eq!((missed(Fault::Silent), missed(Fault::Killed)), (0, 2));
        let lost = Book { failed: 1, ..book };
        assert_eq!(lost.figures(Fault::Stopped, Over::Tunnel).iter().filter(|figure| !figure.held).count(), 1);
    }
}
