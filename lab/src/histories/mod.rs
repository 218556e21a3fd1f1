//! `kith-lab histories`: clients of a directory on several supernodes write down what they are told while those are killed,
//! stopped and started, and two judges look whether one directory could have said all of it.

mod by_index;
mod client;
mod history;
mod search;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use kith_common::crypto::Signer;
use kith_common::id::Name;
use kith_common::status::Status;
use kith_runtime::clock::Clock;
use kith_runtime::control::supernode::{ReleaseAnswer, Request};
use kith_runtime::host::raise_file_limit;
use kith_runtime::identity::Identity;
use libp2p::tls::Config;
use serde::Serialize;
use tokio::task::JoinSet;

use self::client::{Client, Shared};
use self::history::{Answer, KeyNumber, Micros, Op, What};
use self::search::Verdict;
use crate::draw::{self, Draw};
use crate::error::{LabError, io_error};
use crate::mesh::Lab;
use crate::options::{Options, Progress};
use crate::{node, output};

/// From one fault to the next, once the last one is mended
const CALM: Duration = Duration::from_secs(2);
/// By then the others have another leader
const ELECTED: Duration = Duration::from_secs(30);
/// From one name that is given free to the next
const RELEASE_EVERY: Duration = Duration::from_secs(2);
/// So long an operator waits for an answer
const OPERATOR_WAIT: Duration = Duration::from_secs(10);

/// What happens to supernodes while a history is made
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Faults {
    /// Nothing
    None,
    /// Any of them, the leader as often as not, is killed, stopped or paused for half a second to six
    Any,
    /// The leader is killed, and started once the others have another one
    KillLeader,
}

/// One fault
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Broken {
    pub(crate) what: String,
    /// When, since the history began
    pub(crate) at_s: f64,
    /// The longest time without a write that was acknowledged, from then until the next fault
    pub(crate) without_write_s: f64,
    #[serde(skip)]
    at: Micros,
}

/// How histories are made
#[derive(Clone, Debug)]
pub(crate) struct HistoryOptions {
    pub(crate) lab: Options,
    pub(crate) clients: usize,
    pub(crate) names: usize,
    /// How long the clients go on
    pub(crate) limit: Duration,
    /// What happens to supernodes meanwhile
    pub(crate) faults: Faults,
    /// It is over after so many faults, if not before
    pub(crate) rounds: usize,
    /// Where the history is written, one operation a line
    pub(crate) out: Option<PathBuf>,
    /// Whether the report is for programs
    pub(crate) json: bool,
}

/// What came of it
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) operations: usize,
    /// Operations that nobody has answered
    pub(crate) unanswered: usize,
    /// How many there are of each kind
    pub(crate) kinds: BTreeMap<&'static str, usize>,
    pub(crate) faults: Vec<Broken>,
    /// The longest time without a write that was acknowledged
    pub(crate) without_write_s: f64,
    /// Of the faults, by each: the median, 99 of a hundred, and the worst
    pub(crate) after_faults_s: [f64; 3],
    /// What contradicts the order of the log
    pub(crate) by_index: Option<String>,
    /// What no order explains
    pub(crate) by_search: Option<String>,
    /// Whether the search gave up
    pub(crate) unknown: bool,
}

impl Report {
    /// Whether both judges believe it
    pub(crate) const fn held(&self) -> bool {
        self.by_index.is_none() && self.by_search.is_none() && !self.unknown
    }

    fn of(ops: &[Op], mut faults: Vec<Broken>) -> Self {
        let mut kinds = BTreeMap::new();
        for op in ops {
            *kinds.entry(kind(op)).or_default() += 1;
        }
        let mut writes: Vec<Micros> = ops.iter().filter(|op| is_write(op)).filter_map(|op| op.until).collect();
        writes.sort_unstable();
        let ends: Vec<Micros> = faults.iter().skip(1).map(|next| next.at).chain([Micros::MAX]).collect();
        for (fault, end) in faults.iter_mut().zip(ends) {
            fault.without_write_s = longest(&writes, fault.at, end);
        }
        let mut after: Vec<f64> = faults.iter().map(|fault| fault.without_write_s).collect();
        after.sort_by(f64::total_cmp);
        let rank = |share: f64| after.get(((after.len() as f64 * share).ceil() as usize).saturating_sub(1));
        let after_faults_s = [0.5, 0.99, 1.0].map(|share| rank(share).copied().unwrap_or_default());
        let by_search = search::check(ops);
        Self {
            operations: ops.len(),
            unanswered: ops.iter().filter(|op| op.until.is_none()).count(),
            kinds,
            faults,
            without_write_s: longest(&writes, 0, Micros::MAX),
            after_faults_s,
            by_index: by_index::check(ops).err().map(|anomaly| anomaly.0),
            unknown: by_search == Verdict::Unknown,
            by_search: match by_search {
                Verdict::Impossible(anomaly) => Some(anomaly.0),
                Verdict::Possible | Verdict::Unknown => None,
            },
        }
    }

    fn text(&self) -> String {
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let judge = |anomaly: &Option<String>| {
            anomaly.clone().map_or_else(|| "believed".to_owned(), |text| format!("NOT BELIEVED: {text}"))
        };
        let [median, most, worst] = self.after_faults_s;
        let search = if self.unknown { "too many orders to say".to_owned() } else { judge(&self.by_search) };
        format!(
            "{} operations ({}), {} without an answer; at most {:.2} s without a write\n{} faults, \
             after each without a write for {:.2} s (median), {:.2} s (99 of a hundred), {:.2} s (worst)\nby the log's order: {}\nby search: {search}",
            self.operations,
            kinds.join(", "),
            self.unanswered,
            self.without_write_s,
            self.faults.len(),
            median,
            most,
            worst,
            judge(&self.by_index),
        )
    }
}

/// Whether the log has a new command by it, and says so
fn is_write(op: &Op) -> bool {
    match op.what {
        What::LogIn(_) => matches!(op.answer, Answer::In(_)),
        What::LogOut(..) | What::Release => op.answer == Answer::Done,
        What::LookUp | What::Lose(..) => false,
    }
}

/// The longest time between two of these, in seconds, the first of which is the last before `from`
fn longest(writes: &[Micros], from: Micros, end: Micros) -> f64 {
    let first = writes.partition_point(|at| *at < from).saturating_sub(1);
    let within = writes.iter().skip(first).take_while(|at| **at < end);
    let gaps = within.clone().zip(within.skip(1)).map(|(one, next)| next - one);
    gaps.max().unwrap_or_default() as f64 / 1e6
}

fn kind(op: &Op) -> &'static str {
    match (op.what, op.answer) {
        (_, Answer::Unknown) if matches!(op.what, What::Lose(..)) => "sessions left",
        (_, Answer::Unknown) => "unknown",
        (What::LogIn(_), Answer::In(_)) => "logins",
        (What::LogIn(_), _) => "names taken",
        (What::LookUp, Answer::Found(..)) => "look-ups that found",
        (What::LookUp, _) => "look-ups that did not",
        (What::LogOut(..) | What::Lose(..), _) => "logouts",
        (What::Release, _) => "releases",
    }
}

/// Makes a history on a lab of its own, and judges it
///
/// # Errors
/// The lab cannot be started, or the system refuses something.
pub(crate) fn run(options: &HistoryOptions) -> Result<Report, LabError> {
    raise_file_limit();
    let lab = Lab::up(Options { peers: 0, ..options.lab.clone() }, Progress::Quiet)?;
    let seed = lab.state()?.seed;
    let names: Result<Vec<Name>, LabError> = (0..options.names).map(|at| node::name(&format!("name-{at}"))).collect();
    let names = names?;
    let identity =
        |client: usize, name: usize| Identity::from_seed(draw::key(seed, &format!("client-{client}-{name}")));
    let places = || (0..options.clients).flat_map(|client| (0..options.names).map(move |name| (client, name)));
    let shared = Arc::new(Shared {
        began: Instant::now(),
        clock: Clock::start(),
        supernodes: lab.listening()?,
        keys: places().map(|(client, name)| identity(client, name).key()).collect(),
        names,
        ops: Mutex::new(Vec::new()),
        is_over: AtomicBool::new(false),
    });
    let mut clients = Vec::new();
    for client in 0..options.clients {
        let mut identities = Vec::new();
        for name in 0..options.names {
            let identity = identity(client, name);
            let tls = Config::new(&identity.keypair());
            let tls = tls.map_err(|error| LabError::Options(format!("no certificate for a client: {error}")))?;
            identities.push(((client * options.names + name) as KeyNumber, identity, tls));
        }
        let draw = Draw::of(seed, &format!("client-{client}"));
        clients.push(Client { shared: Arc::clone(&shared), identities, draw });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(io_error("start the clients' threads"))?;
    let faults = thread::scope(|scope| {
        let faults = scope.spawn(|| break_supernodes(&lab, options, &shared, seed));
        scope.spawn(|| release(&lab, &shared, seed));
        runtime.block_on(async {
            let mut living = JoinSet::new();
            for client in clients {
                living.spawn(client.live());
            }
            let until = Instant::now() + options.limit;
            while Instant::now() < until && !shared.is_over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            shared.is_over.store(true, Ordering::Relaxed);
            while living.join_next().await.is_some() {}
        });
        faults.join().unwrap_or_default()
    });
    lab.down()?;
    let mut ops = std::mem::take(&mut *shared.ops.lock().unwrap_or_else(PoisonError::into_inner));
    ops.sort_by_key(|op| op.from);
    if let Some(out) = &options.out {
        let lines: Vec<String> = ops.iter().filter_map(|op| serde_json::to_string(op).ok()).collect();
        fs::write(out, lines.join("\n")).map_err(io_error(format!("write {}", out.display())))?;
    }
    let report = Report::of(&ops, faults);
    if options.json {
        output::line(&serde_json::to_string(&report).unwrap_or_default());
    } else {
        output::line(&report.text());
    }
    Ok(report)
}

/// Breaks supernodes, one after the other, and brings each back; what was done
fn break_supernodes(lab: &Lab, options: &HistoryOptions, shared: &Shared, seed: u64) -> Vec<Broken> {
    let mut faults = Vec::new();
    let mut draw = Draw::of(seed, "faults");
    while options.faults != Faults::None && faults.len() < options.rounds && !wait(shared, CALM) {
        let leader = lab.leader().ok().map(|leader| leader.name);
        let at = shared.now();
        let what = match (options.faults, leader) {
            (Faults::KillLeader, Some(leader)) => kill_leader(lab, shared, &leader),
            (Faults::KillLeader, None) => continue,
            (_, leader) => {
                let any = format!("supernode-{}", 1 + draw.below(options.lab.supernodes));
                let name = leader.filter(|_| draw.below(2) == 0).unwrap_or(any);
                break_one(lab, shared, &name, &mut draw)
            }
        };
        faults.push(Broken { what, at_s: at as f64 / 1e6, without_write_s: 0.0, at });
    }
    if faults.len() >= options.rounds {
        shared.is_over.store(true, Ordering::Relaxed);
    }
    faults
}

fn kill_leader(lab: &Lab, shared: &Shared, leader: &str) -> String {
    let what = format!("kill {leader}, which leads");
    let killed = lab.kill(leader);
    let until = Instant::now() + ELECTED;
    while killed.is_ok() && Instant::now() < until && lab.leader().is_err() {
        wait(shared, Duration::from_millis(50));
    }
    wait(shared, CALM);
    finish(what, killed.and_then(|()| lab.start(leader)).and_then(|()| lab.wait_agreed().map(drop)))
}

fn break_one(lab: &Lab, shared: &Shared, name: &str, draw: &mut Draw) -> String {
    let span = Duration::from_millis(500 + draw.below(6_000) as u64);
    let kind = draw.below(3);
    let (what, broken) = match kind {
        0 => (format!("pause {name} for {span:?}"), lab.pause(name)),
        1 => (format!("stop {name} for {span:?}"), lab.stop(name)),
        _ => (format!("kill {name} for {span:?}"), lab.kill(name)),
    };
    wait(shared, span);
    let mended = broken.and_then(|()| if kind == 0 { lab.resume(name) } else { lab.start(name) });
    // Not to wait is a fault, too: the next one may come while too few agree.
    let waits = draw.below(4) > 0 && !shared.is_over.load(Ordering::Relaxed);
    finish(what, mended.and_then(|()| if waits { lab.wait_agreed().map(drop) } else { Ok(()) }))
}

fn finish(what: String, mended: Result<(), LabError>) -> String {
    mended.map_or_else(|error| format!("{what}: {error}"), |()| what.clone())
}

/// An operator gives names free now and then
fn release(lab: &Lab, shared: &Shared, seed: u64) {
    let mut draw = Draw::of(seed, "releases");
    while !wait(shared, RELEASE_EVERY) {
        let name = draw.below(shared.names.len());
        let Some(whom) = shared.names.get(name).cloned() else { return };
        let Ok(nodes) = lab.running(crate::role::Role::Supernode) else { continue };
        if nodes.is_empty() {
            continue;
        }
        let Some(node) = nodes.get(draw.below(nodes.len())) else { continue };
        let from = shared.now();
        let answer = node.ask::<ReleaseAnswer>(&Request::Release { name: whom }, OPERATOR_WAIT);
        let until = Some(shared.now());
        let name = name as u32;
        let op = match answer {
            Ok(done) if done.status == Status::Delivered => {
                Op { name, what: What::Release, answer: Answer::Done, from, until, index: None }
            }
            Ok(done) if done.status == Status::NotFound => continue,
            _ => Op { name, what: What::Release, answer: Answer::Unknown, from, until: None, index: None },
        };
        shared.note(op);
    }
}

/// Waits; whether it is over
fn wait(shared: &Shared, span: Duration) -> bool {
    let until = Instant::now() + span;
    while Instant::now() < until && !shared.is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
    }
    shared.is_over.load(Ordering::Relaxed)
}
