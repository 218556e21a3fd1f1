//! `kith-lab rolling`: every supernode restarted, and then replaced, one at a time, while messages flow and others log
//! in.
//!
//! What an operator does to a network that is in use: each step waits until all agree again. Nobody may notice it but by
//! being told to come again a little later.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::draw::Draw;
use crate::error::{LabError, io_error};
use crate::flow::{Flow, Summary};
use crate::goals::{self, Figure};
use crate::mesh::Lab;
use crate::options::{Options, Progress};
use crate::role::Role;
use crate::{graph, names, output};

/// From one message of the flow to the next
const SEND_EVERY: Duration = Duration::from_millis(20);
/// So long a login may take, in seconds, with the start of the process and all that was refused with a word when to come
/// again: a supernode tries a group of proposals for 8 s, which outlasts an election, and whoever is told to come again waits
/// a few seconds at most
const LOGIN_MAX: f64 = 15.0;
/// So long a supernode may take to end, in seconds: it has five to settle what was proposed, and one that needs them all is
/// cut off without a goodbye
const END_MAX: f64 = 4.0;
/// What a peer writes down when it has no session yet
const NO_SESSION: &str = "no session, trying again";
/// What a supernode refuses a login with that will not do better a little later; the end of a supernode that goes is 410
const FOR_GOOD: [u16; 5] = [401, 403, 409, 413, 426];
/// So long a visitor stays before it logs out and in again: its links are there by then
const STAY: Duration = Duration::from_millis(500);
/// So long messages and logins go on before the first supernode goes, and after the last one has come
const AROUND: Duration = Duration::from_secs(2);

/// How it is run
#[derive(Clone, Debug)]
pub(crate) struct RollingOptions {
    pub(crate) lab: Options,
    /// How many peers log out and in all the time
    pub(crate) visitors: usize,
    /// How often each supernode is restarted, and then replaced
    pub(crate) rounds: usize,
    /// One object for programs
    pub(crate) json: bool,
}

/// Logins of peers that come and go all the time
#[derive(Debug, Default)]
struct Visits {
    /// How long each took that succeeded, in seconds, with the start of the process
    took_s: Vec<f64>,
    /// Why some did not
    failed: Vec<String>,
}

/// Has a peer log out and in again until it is over
fn visit(lab: &Lab, name: &str, is_over: &AtomicBool) -> Visits {
    let mut visits = Visits::default();
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(STAY);
        match lab.stop(name).and_then(|()| lab.start_and_wait(name)) {
            Ok(took) => visits.took_s.push(took.as_secs_f64()),
            Err(error) => {
                visits.failed.push(error.to_string());
                return visits;
            }
        }
    }
    visits
}

/// What supernodes said to a peer that it cannot try again, by its log: when it may, they say with 429 and 503
fn refused_for_good(lab: &Lab, name: &str) -> Result<Vec<String>, LabError> {
    let path = lab.node(name)?.log();
    let log = std::fs::read_to_string(&path).map_err(io_error(format!("read {}", path.display())))?;
    Ok(log.lines().filter(|line| is_refusal_for_good(line)).map(str::to_owned).collect())
}

fn is_refusal_for_good(line: &str) -> bool {
    let status = line.contains(NO_SESSION).then(|| line.split_once("status=")).flatten();
    let status = status.and_then(|(_, status)| status.get(..3)?.parse().ok());
    status.is_some_and(|status: u16| FOR_GOOD.contains(&status))
}

/// What each session has for as long as it lasts, by name: its place, and the epoch at which it began
type Sessions = BTreeMap<String, (Option<String>, Option<u64>)>;

fn sessions(lab: &Lab) -> Result<Sessions, LabError> {
    let peers = lab.directory()?.node.peers()?;
    Ok(peers.into_iter().map(|peer| (peer.name.to_string(), (peer.address, peer.since_epoch))).collect())
}

/// Restarts and replaces every supernode of a lab of its own; whether nobody has noticed it
///
/// # Errors
/// The lab cannot be started, or a supernode does not start or come into its network.
pub(crate) fn run(options: &RollingOptions) -> Result<bool, LabError> {
    let progress = if options.json { Progress::Quiet } else { Progress::Lines };
    let lab = Lab::up(options.lab.clone(), progress)?;
    let figures = roll(&lab, options)?;
    lab.down()?;
    if options.json {
        output::line(&json!({ "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

fn roll(lab: &Lab, options: &RollingOptions) -> Result<Vec<Figure>, LabError> {
    let seed = lab.state()?.seed;
    let stayers: Vec<String> = lab.running(Role::Peer)?.into_iter().map(|peer| peer.name).collect();
    let before = sessions(lab)?;
    let mut pairs = graph::pairs(&stayers);
    Draw::of(seed, "flow").shuffle(&mut pairs);
    let Some((from, to)) = pairs.into_iter().next() else {
        return Err(LabError::Options("messages flow between two peers; give --peers".into()));
    };
    let visitors: Vec<String> = (0..options.visitors).map(|at| format!("visitor-{at}")).collect();
    for name in &visitors {
        lab.add_peer(name)?;
        lab.wait_logged_in(name)?;
    }
    let flow = Flow::start(lab.node(&from)?, to, SEND_EVERY);
    let is_over = AtomicBool::new(false);
    let (visits, rolled) = thread::scope(|scope| {
        let visiting: Vec<_> = visitors.iter().map(|name| scope.spawn(|| visit(lab, name, &is_over))).collect();
        thread::sleep(AROUND);
        let rolled = restart_and_replace(lab, options.rounds);
        thread::sleep(AROUND);
        is_over.store(true, Ordering::Relaxed);
        let visits = visiting.into_iter().map(|visit| visit.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (visits.collect::<Vec<Visits>>(), rolled)
    });
    let flow = Summary::of(&flow.stop(), SEND_EVERY);
    let Rolled { steps, ended_s } = rolled?;
    let after = sessions(lab)?;
    let changed = stayers.iter().filter(|name| before.get(*name) != after.get(*name)).count();
    let gone = visitors.iter().filter(|name| !after.contains_key(*name)).count();
    let refused: Vec<Vec<String>> =
        visitors.iter().map(|name| refused_for_good(lab, name)).collect::<Result<_, _>>()?;
    let (refused, failed): (Vec<&String>, Vec<&String>) =
        (refused.iter().flatten().collect(), visits.iter().flat_map(|visits| &visits.failed).collect());
    for text in failed.iter().chain(&refused) {
        output::note(&format!("a login: {text}"));
    }
    let took_s: Vec<f64> = visits.iter().flat_map(|visits| visits.took_s.iter().copied()).collect();
    let none = |what: &str, count: usize| Figure::at_most(what, Some(count as f64), 0.0, "");
    Ok(vec![
        Figure::told("supernodes restarted and replaced", steps as f64, ""),
        Figure::at_most("the slowest end of one that was stopped", Some(ended_s), END_MAX, "s"),
        Figure::at_least("logins", took_s.len() as f64, 1.0, ""),
        Figure::told("a login, 99 of a hundred", goals::rank(&took_s, 99), "s"),
        Figure::at_most("the slowest login", Some(goals::rank(&took_s, 100)), LOGIN_MAX, "s"),
        none("logins that did not succeed", failed.len()),
        none("logins refused without a word when to come again", refused.len()),
        Figure::at_least("messages", flow.messages as f64, 1.0, ""),
        none("messages lost", flow.failed + flow.unknown),
        none("sessions of peers that are other ones", changed),
        none("names that nobody has any more", gone),
    ])
}

/// What was done
struct Rolled {
    /// How many supernodes were restarted or replaced
    steps: usize,
    /// The longest time that one took to end when it was stopped, in seconds
    ended_s: f64,
}

/// One supernode after the other
fn restart_and_replace(lab: &Lab, rounds: usize) -> Result<Rolled, LabError> {
    let mut here: Vec<String> = lab.running(Role::Supernode)?.into_iter().map(|node| node.name).collect();
    let (mut count, mut steps, mut ended_s) = (here.len(), 0, 0.0);
    for _ in 0..rounds {
        for name in &here {
            let stopped = Instant::now();
            lab.stop(name)?;
            ended_s = stopped.elapsed().as_secs_f64().max(ended_s);
            let back = lab.start_and_wait(name)?;
            let agreed = lab.wait_agreed()?;
            steps += 1;
            lab.progress().say(&format!("{name} is restarted, and all agree after {} ms", (back + agreed).as_millis()));
        }
        for old in here.clone() {
            let new = names::supernode(count);
            count += 1;
            lab.add_supernode(&new)?;
            here.push(new.clone());
            lab.wait_agreed()?;
            lab.remove_supernode(&old)?;
            here.retain(|name| *name != old);
            lab.wait_replaced(&old, &new)?;
            steps += 1;
            lab.progress().say(&format!("{new} has taken the place of {old}"));
        }
    }
    Ok(Rolled { steps, ended_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_for_good_is_told_from_one_for_now_and_from_other_lines() {
        let line = |status: u16| format!("INFO search: {NO_SESSION} status={status} reason=\"it says so\" tries=1");
        assert!([401, 403, 409].map(line).iter().all(|line| is_refusal_for_good(line)));
        assert!(![410, 429, 503].map(line).iter().any(|line| is_refusal_for_good(line)));
        assert!(!is_refusal_for_good("INFO status=409 of something else"));
    }
}
