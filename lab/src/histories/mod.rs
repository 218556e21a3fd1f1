//! `kith-lab histories`: clients of a directory on several supernodes write down what they are told while those are killed,
//! parted, replaced and more, and two judges look whether one directory could have said all of it.

mod apart;
mod by_index;
mod client;
#[cfg(test)]
mod corruption;
mod history;
mod nemesis;
mod report;
mod search;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
use tokio::task::JoinSet;

use self::apart::Needs;
use self::client::{Client, Shared};
use self::history::{Answer, KeyNumber, Op, What};
use self::nemesis::Breaker;
pub(crate) use self::nemesis::Faults;
pub(crate) use self::report::Goals;
use self::report::Report;
use crate::draw::{self, Draw};
use crate::error::{LabError, io_error};
use crate::mesh::{Lab, clock_library};
use crate::options::{Options, Progress};
use crate::role::Role;
use crate::{node, output};

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
    /// What happens to supernodes meanwhile
    pub(crate) faults: Vec<Faults>,
    /// What it must reach; it is over after as many faults as are wanted, if not before
    pub(crate) goals: Goals,
    /// Where the history is written, one operation a line
    pub(crate) out: Option<PathBuf>,
    /// Whether the report is for programs
    pub(crate) json: bool,
    /// Whether this process is in the namespaces that the faults need
    pub(crate) is_apart: bool,
}

/// What this machine can do of what is wanted
///
/// # Errors
/// [`LabError::Lacking`] for what was asked for by its name, and cannot be had; [`LabError::Options`] for too few
/// supernodes.
fn able(options: &HistoryOptions) -> Result<Vec<Faults>, LabError> {
    let mut nemeses = Faults::nemeses(&options.faults);
    if options.lab.supernodes == 1 {
        let needs_others = |nemesis: &&Faults| matches!(nemesis, Faults::KillLeader | Faults::Partition);
        if let Some(nemesis) = nemeses.iter().find(needs_others) {
            return Err(LabError::Options(format!("{nemesis:?} takes two supernodes or more; give --supernodes")));
        }
    }
    let lacks: Vec<(Faults, String)> =
        nemeses.iter().filter_map(|nemesis| apart::lack(*nemesis).map(|lack| (*nemesis, lack))).collect();
    for (nemesis, lack) in lacks {
        if options.faults.contains(&nemesis) {
            return Err(LabError::Lacking(format!("{nemesis:?} cannot be had here, as {lack}")));
        }
        output::note(&format!("SKIPPED: {nemesis:?}, as {lack}"));
        nemeses.retain(|able| *able != nemesis);
    }
    Ok(nemeses)
}

/// Makes a history on a lab of its own, and judges it
///
/// # Errors
/// The lab cannot be started, or the system refuses something.
pub(crate) fn run(options: HistoryOptions) -> Result<Report, LabError> {
    raise_file_limit();
    // What is not there outside is not there inside either.
    let nemeses = able(&options)?;
    let needs = Needs::of(&nemeses);
    if needs.any() && !options.is_apart {
        match apart::enter(needs)? {}
    }
    let with = |nemesis| nemeses.contains(&nemesis);
    let lab = Lab::empty(
        Options {
            peers: 0,
            netns: needs.network(),
            inside: needs.network(),
            disk_bytes: with(Faults::FullDisk).then_some(nemesis::DISK_BYTES),
            clock: clock_library().filter(|_| with(Faults::Clock)),
            ..options.lab.clone()
        },
        Progress::Lines,
    )?;
    let seed = lab.state()?.seed;
    let names: Result<Vec<Name>, LabError> = (0..options.names).map(|at| node::name(&format!("name-{at}"))).collect();
    let names = names?;
    let identity =
        |client: usize, name: usize| Identity::from_seed(draw::key(seed, &format!("client-{client}-{name}")));
    let places = || (0..options.clients).flat_map(|client| (0..options.names).map(move |name| (client, name)));
    let shared = Arc::new(Shared {
        began: Instant::now(),
        clock: Clock::start(),
        supernodes: Mutex::new(lab.listening()?),
        keys: places().map(|(client, name)| identity(client, name).key()).collect(),
        names,
        ops: Mutex::new(Vec::new()),
        refused_for_good: AtomicUsize::new(0),
        over: AtomicU64::new(0),
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
        let breaker = Breaker::new(&lab, Arc::clone(&shared), options.lab.supernodes, seed);
        let faults = scope.spawn(|| breaker.run(&nemeses, options.goals.rounds.unwrap_or(usize::MAX)));
        scope.spawn(|| release(&lab, &shared, seed));
        runtime.block_on(async {
            let mut living = JoinSet::new();
            for client in clients {
                living.spawn(client.live());
            }
            let until = Instant::now() + options.limit;
            while Instant::now() < until && !shared.is_over() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            shared.end();
            while living.join_next().await.is_some() {}
        });
        faults.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    lab.down()?;
    // What is left is thinking, and takes as long as it takes.
    drop(lab);
    let mut ops = std::mem::take(&mut *shared.ops.lock().unwrap_or_else(PoisonError::into_inner));
    ops.sort_by_key(|op| op.from);
    if let Some(out) = &options.out {
        let lines: Vec<String> = ops.iter().filter_map(|op| serde_json::to_string(op).ok()).collect();
        fs::write(out, lines.join("\n")).map_err(io_error(format!("write {}", out.display())))?;
    }
    let mut report =
        Report::of(&ops, faults, shared.over.load(Ordering::Relaxed), options.goals.sure(nemeses.is_empty()));
    let refused = shared.refused_for_good.load(Ordering::Relaxed);
    if refused > 0 {
        report.missed.push(format!("{refused} logins were put off without a word when to come again"));
    }
    report.print(options.json);
    Ok(report)
}

/// Judges a history that was written
///
/// # Errors
/// The file cannot be read, or holds something else.
pub(crate) fn judge(file: &Path, json: bool) -> Result<Report, LabError> {
    let text = fs::read_to_string(file).map_err(io_error(format!("read {}", file.display())))?;
    let ops: Result<Vec<Op>, serde_json::Error> = text.lines().map(serde_json::from_str).collect();
    let mut ops = ops.map_err(|error| LabError::Options(format!("{} is no history: {error}", file.display())))?;
    ops.sort_by_key(|op| op.from);
    let last = ops.last().map_or(0, |op| op.from);
    let report = Report::of(&ops, Vec::new(), last, Goals::default());
    report.print(json);
    Ok(report)
}

/// An operator gives names free now and then
fn release(lab: &Lab, shared: &Shared, seed: u64) {
    let mut draw = Draw::of(seed, "releases");
    while !shared.wait(RELEASE_EVERY) {
        let name = draw.below(shared.names.len());
        let Some(whom) = shared.names.get(name).cloned() else { return };
        let Ok(nodes) = lab.running(Role::Supernode) else { continue };
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
