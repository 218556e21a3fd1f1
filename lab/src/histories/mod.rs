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
use self::history::{Answer, KeyNumber, Op, What};
use self::search::Verdict;
use crate::draw::{self, Draw};
use crate::error::{LabError, io_error};
use crate::mesh::Lab;
use crate::options::{Options, Progress};
use crate::{node, output};

/// From one fault to the next, once the last one is mended
const CALM: Duration = Duration::from_secs(2);
/// From one name that is given free to the next
const RELEASE_EVERY: Duration = Duration::from_secs(2);
/// So long an operator waits for an answer
const OPERATOR_WAIT: Duration = Duration::from_secs(10);

/// How histories are made
#[derive(Clone, Debug)]
pub(crate) struct HistoryOptions {
    pub(crate) lab: Options,
    pub(crate) clients: usize,
    pub(crate) names: usize,
    /// How long the clients go on
    pub(crate) limit: Duration,
    /// Whether supernodes fail meanwhile
    pub(crate) faults: bool,
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
    pub(crate) faults: Vec<String>,
    /// The longest time without a login that was granted
    pub(crate) longest_without_login_s: f64,
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

    fn of(ops: &[Op], faults: Vec<String>) -> Self {
        let mut kinds = BTreeMap::new();
        for op in ops {
            *kinds.entry(kind(op)).or_default() += 1;
        }
        let granted = |op: &&Op| matches!(op.answer, Answer::In(_));
        let mut logins: Vec<u64> = ops.iter().filter(granted).filter_map(|op| op.until).collect();
        logins.sort_unstable();
        let longest = logins.iter().zip(logins.iter().skip(1)).map(|(one, next)| next - one).max();
        let by_search = search::check(ops);
        Self {
            operations: ops.len(),
            unanswered: ops.iter().filter(|op| op.until.is_none()).count(),
            kinds,
            faults,
            longest_without_login_s: longest.unwrap_or_default() as f64 / 1e6,
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
        let search = if self.unknown { "too many orders to say".to_owned() } else { judge(&self.by_search) };
        format!(
            "{} operations ({}), {} without an answer; {} faults; at most {:.2} s without a login\nby the log's order: {}\nby search: {search}",
            self.operations,
            kinds.join(", "),
            self.unanswered,
            self.faults.len(),
            self.longest_without_login_s,
            judge(&self.by_index),
        )
    }
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
            tokio::time::sleep(options.limit).await;
            shared.is_over.store(true, Ordering::Relaxed);
            while living.join_next().await.is_some() {}
        });
        faults.join().unwrap_or_else(|_| vec!["the thread of faults has panicked".to_owned()])
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

/// Kills and stops supernodes, one after the other, and brings each back; what was done
fn break_supernodes(lab: &Lab, options: &HistoryOptions, shared: &Shared, seed: u64) -> Vec<String> {
    let mut faults = Vec::new();
    let mut draw = Draw::of(seed, "faults");
    while options.faults && !wait(shared, CALM) {
        let name = match draw.below(2) {
            0 => lab.leader().ok().map(|leader| leader.name),
            _ => None,
        };
        let name = name.unwrap_or_else(|| format!("supernode-{}", 1 + draw.below(options.lab.supernodes)));
        let span = Duration::from_millis(500 + draw.below(6_000) as u64);
        let (text, broken) = match draw.below(3) {
            0 => (format!("pause {name} for {span:?}"), lab.pause(&name)),
            1 => (format!("stop {name} for {span:?}"), lab.stop(&name)),
            _ => (format!("kill {name} for {span:?}"), lab.kill(&name)),
        };
        let is_paused = text.starts_with("pause");
        wait(shared, span);
        let mended = broken.and_then(|()| if is_paused { lab.resume(&name) } else { lab.start(&name) });
        faults.push(match mended {
            Ok(()) => text,
            Err(error) => format!("{text}: {error}"),
        });
        // Not to wait for it is a fault, too: the next one may come while too few agree.
        if draw.below(4) > 0 && !shared.is_over.load(Ordering::Relaxed) {
            let _ = lab.wait_agreed();
        }
    }
    faults
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
