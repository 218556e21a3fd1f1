//! `kith-lab soak --messages N`: processes are killed one after the other while messages flow, and each that was accepted is
//! delivered once, in its order, and has one true fate.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::books::Books;
use super::run::{self, Load};
use crate::draw::Draw;
use crate::error::LabError;
use crate::goals::{self, Figure};
use crate::mesh::Lab;
use crate::options::{Options, Progress};
use crate::output;
use crate::role::Role;

/// A process that was killed stays away for so long at most, but for one of [`FAR`]
const AWAY_MAX_MS: usize = 2_000;
/// One of so many stays away for longer than its lease
const FAR: usize = 10;
/// So much longer
const BEYOND_LEASE: Duration = Duration::from_secs(2);
/// A peer is killed so soon after somebody has asked for a message of its own or to it, at most: what it does with one takes
/// a few milliseconds, and is over for most of the time
const BUSY_MAX_MS: usize = 10;
/// So long it is waited for such a message
const BUSY_LIMIT: Duration = Duration::from_secs(1);
/// How often it is looked whether there is one
const BUSY_LOOK_EVERY: Duration = Duration::from_millis(1);
/// How often it is looked whether enough were accepted
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How it is run
#[derive(Clone, Debug)]
pub(crate) struct MessagesOptions {
    pub(crate) lab: Options,
    pub(crate) load: Load,
    /// How many are to be accepted
    pub(crate) messages: u64,
    /// From one kill to the next, if the one before is back by then
    pub(crate) every: Duration,
    /// One object for programs
    pub(crate) json: bool,
}

/// How often what was killed
#[derive(Debug, Default)]
struct Kills {
    peers: usize,
    supernodes: usize,
    /// How long each took to be back once it was started, in seconds
    back_s: Vec<f64>,
    /// Why some did not come back
    failed: Vec<String>,
}

/// Runs it on a lab of its own, which is ended; whether all held
///
/// # Errors
/// The lab does not come up, or a process cannot be killed or started.
pub(crate) fn run(options: &MessagesOptions) -> Result<bool, LabError> {
    let progress = if options.json { Progress::Quiet } else { Progress::Lines };
    let lab = Lab::up(options.lab.clone(), progress)?;
    let seed = lab.state()?.seed;
    let (kills, ended) = run::under_load(&lab, options.load, |books| kill(&lab, books, options, seed))?;
    kills.failed.iter().for_each(|reason| output::note(&format!("not back: {reason}")));
    let mut figures = vec![
        Figure::told("peers killed", kills.peers as f64, ""),
        Figure::told("supernodes killed", kills.supernodes as f64, ""),
        Figure::told("back after, the longest", goals::rank(&kills.back_s, 100), "s"),
        Figure::at_most("not back within a minute", Some(kills.failed.len() as f64), 0.0, ""),
        Figure::at_least(
            "of the messages that were to be accepted",
            ended.accepted() as f64,
            options.messages as f64,
            "",
        ),
    ];
    figures.extend(ended.figures());
    if options.json {
        output::line(&json!({ "seed": seed, "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

/// Kills one process after the other until enough messages are accepted; each is started again before the next one is killed
fn kill(lab: &Lab, books: &Books, options: &MessagesOptions, seed: u64) -> Result<Kills, LabError> {
    let mut draw = Draw::of(seed, "soak kills");
    let mut kills = Kills::default();
    let is_enough = || books.accepted() >= options.messages;
    let wait = |until: Instant| {
        while Instant::now() < until && !is_enough() {
            thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
    };
    let mut next = Instant::now() + options.every;
    loop {
        wait(next);
        if is_enough() {
            return Ok(kills);
        }
        next = Instant::now() + options.every;
        let mut nodes = lab.running(Role::Peer)?;
        nodes.extend(lab.running(Role::Supernode)?);
        let Some(node) = nodes.get(draw.below(nodes.len())) else { continue };
        let away = match draw.below(FAR) {
            0 => options.lab.lease + BEYOND_LEASE,
            _ => Duration::from_millis(draw.below(AWAY_MAX_MS) as u64),
        };
        wait_busy(books, &node.name, &mut draw);
        let (at, time) = (books.began.elapsed().as_secs_f64(), run::time_of_day());
        let (name, away_ms) = (&node.name, away.as_millis());
        lab.kill(name)?;
        lab.progress().say(&format!("{at:.3} s ({time}): kill -9 of {name}, away for {away_ms} ms"));
        match node.role {
            Role::Peer => kills.peers += 1,
            Role::Supernode => kills.supernodes += 1,
        }
        wait(Instant::now() + away);
        match lab.start_and_wait(name) {
            Ok(took) => kills.back_s.push(took.as_secs_f64()),
            Err(error) => kills.failed.push(error.to_string()),
        }
    }
}

/// Waits until a peer has just been given something to do, and a little longer, so that kills find it at every point of it;
/// whoever has no part in any message, as no supernode has, is not waited for
fn wait_busy(books: &Books, name: &str, draw: &mut Draw) {
    let (before, until) = (books.asked_of(name), Instant::now() + BUSY_LIMIT);
    let after = Duration::from_millis(draw.below(BUSY_MAX_MS) as u64);
    while before > 0 && books.asked_of(name) == before && Instant::now() < until {
        thread::sleep(BUSY_LOOK_EVERY);
    }
    thread::sleep(after);
}
