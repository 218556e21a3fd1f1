//! `kith-lab bench scale`: as many peers as this machine bears, each a process of its own, and what becomes of them when
//! a third of them stands still, and when the supernode that leads is killed.

use std::time::{Duration, Instant};

use kith_runtime::control::peer::State as Login;
use kith_runtime::control::supernode;
use kith_runtime::host::raise_file_limit;
use rustix::process::Signal;
use serde::Serialize;

use super::idle::{self, QUIET_AFTER};
use crate::draw::Draw;
use crate::error::LabError;
use crate::graph;
use crate::mesh::Lab;
use crate::names;
use crate::node::{LOOK_LIMIT, Node};
use crate::options::{Options, Progress};
use crate::output;
use crate::role::Role;
use crate::state::Process;

/// From the first start until all are up: each peer is a program to start, a login and four links to open
const UP_GOAL: Duration = Duration::from_secs(120);
/// From the end of a disturbance until all is whole again: two leases
const WHOLE_GOAL: Duration = Duration::from_secs(60);
/// A mesh that misses its goal is watched on for as many times as long: late is not never
const WATCHED: u32 = 3;
/// How long a third of the peers stands still
const STILL: Duration = Duration::from_secs(10);
/// How long all must be whole before it counts: what swings is whole for a moment now and then
const SETTLED: Duration = Duration::from_secs(5);
/// From one look at all peers to the next: what asks a thousand processes is in their way
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// With so many peers that lack something a look is over: nobody needs to know of the others
const LACKING_MAX: usize = 10;
/// The product's lease; a lab's own is shorter
const LEASE: Duration = Duration::from_secs(30);

/// How the bench is run
#[derive(Clone, Debug)]
pub(crate) struct ScaleOptions {
    pub lab: Options,
    /// How often a third is stopped and the leading supernode is killed
    pub rounds: u16,
    /// How long the mesh at rest is measured
    pub measured: Duration,
    /// Whether the report is for programs
    pub json: bool,
}

/// What came of it
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    pub peers: usize,
    pub degree: u8,
    /// The mean of the peers at rest: resident memory in KiB
    pub rss_kib: f64,
    /// … processor time in milliseconds per second
    pub cpu_ms_per_s: f64,
    /// … bytes of frames per second and link, in both directions
    pub bytes_per_s_per_link: f64,
    pub steps: Vec<Step>,
}

/// Something that the mesh went through
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Step {
    pub what: String,
    /// Seconds until all was whole; `None` if it was not while it was watched
    pub whole_after_s: Option<f64>,
    pub goal_s: f64,
}

impl Step {
    fn new(what: &str, whole_after: Option<Duration>, goal: Duration) -> Self {
        let whole_after_s = whole_after.map(|after| after.as_secs_f64());
        Self { what: what.to_owned(), whole_after_s, goal_s: goal.as_secs_f64() }
    }

    fn held(&self) -> bool {
        self.whole_after_s.is_some_and(|after| after <= self.goal_s)
    }

    fn text(&self) -> String {
        let Self { what, whole_after_s, goal_s } = self;
        let after = whole_after_s.map_or("not whole while it was watched".into(), |s| format!("whole after {s:.1} s"));
        format!("{what}: {after} (goal {goal_s:.0} s{})", if self.held() { "" } else { ", MISSED" })
    }
}

impl Report {
    /// Whether every goal was reached
    pub(crate) fn held(&self) -> bool {
        self.steps.iter().all(Step::held)
    }

    fn text(&self) -> String {
        let Self { peers, degree, rss_kib, cpu_ms_per_s, bytes_per_s_per_link, steps } = self;
        let steps: String = steps.iter().map(|step| format!("{}\n", step.text())).collect();
        format!(
            "{steps}{peers} peers of degree {degree} at rest, each: {:.1} MiB, {cpu_ms_per_s:.2} ms of processor a second, {bytes_per_s_per_link:.1} bytes of frames a second and link",
            rss_kib / 1024.0
        )
    }
}

/// Starts the peers all at once, measures them at rest, disturbs them, ends them, and prints the report
///
/// # Errors
/// A process did not start or could not be asked. All of them have ended then.
pub(crate) fn run(options: &ScaleOptions) -> Result<Report, LabError> {
    // Each peer is tied to this process by a pipe.
    raise_file_limit();
    let lab = Lab::empty(Options { lease: LEASE, ..options.lab.clone() }, Progress::Lines)?;
    let begun = Instant::now();
    for index in 0..options.lab.peers {
        lab.add_peer(&names::peer(index))?;
    }
    lab.progress().say(&format!("{} peers are started", options.lab.peers));
    let mut mesh = Mesh::of(&lab)?;
    let mut steps = vec![mesh.step("all start at once", begun, UP_GOAL)];
    std::thread::sleep(QUIET_AFTER);
    let rests = idle::measure(&lab, &mesh.peers, options.measured)?;
    let mean = |of: fn(&idle::Rest) -> f64| rests.iter().map(of).sum::<f64>() / rests.len().max(1) as f64;
    for _ in 0..options.rounds {
        mesh.stop_a_third()?;
        steps.push(mesh.step("a third stood still for 10 s", Instant::now(), WHOLE_GOAL));
        let leader = lab.leader()?.name;
        lab.kill(&leader)?;
        let killed = Instant::now();
        lab.start_and_wait(&leader)?;
        let what = if options.lab.supernodes > 1 { "the leading supernode" } else { "the supernode" };
        steps.push(mesh.step(&format!("{what} was killed and started again"), killed, WHOLE_GOAL));
    }
    let report = Report {
        peers: options.lab.peers,
        degree: options.lab.degree,
        rss_kib: mean(|rest| rest.rss_kib as f64),
        cpu_ms_per_s: mean(|rest| rest.cpu_ms_per_s),
        bytes_per_s_per_link: mean(|rest| rest.bytes_per_s_per_link),
        steps,
    };
    // A thousand that are asked to end do so one behind the other; nothing of theirs is wanted any more.
    lab.kill_all();
    if options.json {
        output::line(&serde_json::to_string(&report).unwrap_or_default());
    } else {
        output::line(&report.text());
    }
    Ok(report)
}

/// The mesh, as it is asked: the book of the lab is too long to be read for each question
struct Mesh<'a> {
    lab: &'a Lab,
    supernodes: Vec<Node>,
    peers: Vec<Node>,
    processes: Vec<Process>,
    draw: Draw,
}

impl<'a> Mesh<'a> {
    fn of(lab: &'a Lab) -> Result<Self, LabError> {
        let state = lab.state()?;
        let seed = state.seed;
        let processes: Vec<Process> = state.processes.into_iter().filter(|of| of.role == Role::Peer).collect();
        let peers = processes.iter().map(Node::of).collect::<Result<_, _>>()?;
        let supernodes = lab.running(Role::Supernode)?;
        Ok(Self { lab, supernodes, peers, processes, draw: Draw::new(seed, "who stands still") })
    }

    fn stop_a_third(&mut self) -> Result<(), LabError> {
        self.draw.shuffle(&mut self.processes);
        let third = self.processes.iter().take(self.processes.len() / 3);
        let third: Vec<_> = third.filter_map(|process| process.process).collect();
        for (signal, then) in [(Signal::STOP, STILL), (Signal::CONT, Duration::ZERO)] {
            let sent = third.iter().filter(|process| process.signal(signal)).count();
            if sent < third.len() {
                let reason = format!("{} of {} peers have ended", third.len() - sent, third.len());
                return Err(LabError::Bench { process: "a peer".into(), reason });
            }
            std::thread::sleep(then);
        }
        Ok(())
    }

    /// Waits until all is whole, and says how long that took since `begun`
    fn step(&self, what: &str, begun: Instant, goal: Duration) -> Step {
        let step = Step::new(what, self.whole_since(begun, goal * WATCHED), goal);
        self.lab.progress().say(&step.text());
        step
    }

    /// Since when all has been whole, and was so for a while
    fn whole_since(&self, begun: Instant, limit: Duration) -> Option<Duration> {
        let mut unknown: Vec<&Node> = self.peers.iter().collect();
        while begun.elapsed() < limit {
            unknown = lacking(&unknown);
            if unknown.is_empty() && self.is_whole() {
                let since = begun.elapsed();
                std::thread::sleep(SETTLED);
                if self.is_whole() {
                    return Some(since);
                }
            }
            if unknown.is_empty() {
                // Somebody was whole and is not any more.
                unknown = self.peers.iter().collect();
            }
            std::thread::sleep(LOOK_EVERY);
        }
        None
    }

    fn is_whole(&self) -> bool {
        self.supernodes_have_all() && graph::settled(&self.peers, |_| false).is_ok()
    }

    /// Whether all sessions have a link with one of the supernodes, and each of these knows of all of them
    fn supernodes_have_all(&self) -> bool {
        let (peers, mut homes) = (self.peers.len() as u64, 0);
        let knows_all = self.supernodes.iter().all(|supernode| {
            let asked = supernode.ask::<supernode::StatusAnswer>(&supernode::Request::Status, LOOK_LIMIT);
            asked.is_ok_and(|done| {
                homes += done.answer.homes;
                (done.answer.members, done.answer.suspects) == (peers, 0)
            })
        });
        knows_all && homes == peers
    }
}

/// Those of `peers` that lack something, and those that were not asked as enough of them do
fn lacking<'a>(peers: &[&'a Node]) -> Vec<&'a Node> {
    let mut lacking = Vec::new();
    for (at, peer) in peers.iter().enumerate() {
        if lacking.len() == LACKING_MAX {
            lacking.extend(peers.get(at..).unwrap_or_default());
            break;
        }
        let is_whole = peer.status().is_ok_and(|done| {
            let status = done.answer;
            status.state == Login::LoggedIn && status.links_up == status.links && status.links > 0
        });
        if !is_whole {
            lacking.push(*peer);
        }
    }
    lacking
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goal_is_missed_by_whoever_is_late_or_never_whole() {
        let step = |after: Option<u64>| Step::new("all start", after.map(Duration::from_secs), Duration::from_secs(60));
        assert!(step(Some(60)).held() && !step(Some(61)).held() && !step(None).held());
        let report = |steps| Report {
            peers: 1_000,
            degree: 8,
            rss_kib: 10_240.0,
            cpu_ms_per_s: 0.2,
            bytes_per_s_per_link: 32.0,
            steps,
        };
        assert!(report(vec![step(Some(1))]).held() && !report(vec![step(Some(1)), step(None)]).held());
        let text = report(vec![step(Some(61))]).text();
        assert!(text.contains("whole after 61.0 s (goal 60 s, MISSED)") && text.contains("10.0 MiB"), "{text}");
    }
}
