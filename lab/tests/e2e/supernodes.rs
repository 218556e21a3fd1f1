//! Several supernodes that share one directory: killed, paused, replaced, and all gone.

use std::collections::BTreeMap;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kith_lab::draw::Draw;
use kith_lab::flow::{Flow, Summary};
use kith_lab::graph::{self, Graph};
use kith_lab::process::Condition;
use kith_lab::role::Role;
use kith_lab::{Lab, Options, Progress};
use kith_runtime::control::peer::State;
use serde_json::Value;

use super::{BINARY, PATIENCE, TestLab};

const SEND_EVERY: Duration = Duration::from_millis(20);
/// Short, so that a test can outlast it
const LEASE: Duration = Duration::from_secs(4);

/// Three supernodes and so many peers of degree 4, everybody with their links
fn mesh_of(peers: usize, seed: u64) -> TestLab {
    super::mesh(seed, |options| Options { supernodes: 3, peers, ..options })
}

/// What each session has for as long as it lasts, by name: its place, and the epoch at which it began
pub(crate) type Sessions = BTreeMap<String, (Option<String>, Option<u64>)>;

pub(crate) fn sessions(lab: &Lab) -> Result<Sessions, String> {
    let peers = lab.directory().and_then(|directory| directory.node.peers()).map_err(|error| error.to_string())?;
    Ok(peers.into_iter().map(|peer| (peer.name.to_string(), (peer.address, peer.since_epoch))).collect())
}

/// Which supernode is whose home, by the peers' own words
fn homes(lab: &Lab) -> Result<BTreeMap<String, u64>, String> {
    let peers = lab.running(Role::Peer).map_err(|error| error.to_string())?;
    let home = |peer: &kith_lab::Node| {
        let status = peer.status().map_err(|error| error.to_string())?.answer;
        let serial = status.home.and_then(|home| home.serial).filter(|_| status.state == State::LoggedIn);
        serial.map(|serial| (peer.name.clone(), serial)).ok_or_else(|| format!("{} has no home", peer.name))
    };
    peers.iter().map(home).collect()
}

pub(crate) fn serial(lab: &Lab, name: &str) -> u64 {
    let standings = lab.supernodes().expect("standings");
    standings.into_iter().find(|standing| standing.node.name == name).expect("it runs").status.serial
}

fn leader(lab: &Lab) -> String {
    lab.leader().expect("a leader").name
}

/// One of those that do not lead
fn follower(lab: &Lab, seed: u64) -> String {
    let leader = leader(lab);
    let mut followers: Vec<String> =
        lab.running(Role::Supernode).expect("supernodes").into_iter().map(|node| node.name).collect();
    followers.retain(|name| *name != leader);
    followers[Draw::new(seed, "follower").below(followers.len())].clone()
}

/// Waits until everybody is at home at a supernode that runs
pub(crate) fn wait_homes_without(lab: &Lab, gone: u64) {
    let moved = || {
        let homes = homes(lab)?;
        let left = homes.iter().find(|(_, home)| **home == gone);
        left.map_or(Ok(()), |(name, _)| Err(format!("{name} is still at home there")))
    };
    lab.wait_until("the peers to have other homes", PATIENCE, moved).unwrap_or_else(|error| panic!("{error}"));
}

/// Everybody has the session, the place and the links that they had
fn assert_unchanged(lab: &Lab, before: &Sessions, links: &Graph) {
    let same = || {
        let now = sessions(lab)?;
        if now != *before {
            return Err(format!("{now:?} instead of {before:?}"));
        }
        lab.settled()?;
        let now = lab.graph().map_err(|error| error.to_string())?;
        if now == *links { Ok(()) } else { Err(format!("{now:?} instead of {links:?}")) }
    };
    lab.wait_until("sessions and links to be as they were", PATIENCE, same).unwrap_or_else(|error| panic!("{error}"));
}

/// A flow between two peers that has begun
pub(crate) fn flow(lab: &Lab, seed: u64) -> Flow {
    let mut pairs = graph::pairs(&super::peers(lab));
    Draw::new(seed, "flow").shuffle(&mut pairs);
    let (from, to) = pairs[0].clone();
    let flow = Flow::start(lab.node(&from).expect("sender"), to, SEND_EVERY);
    let arrived = || flow.latest().map(|_| ()).ok_or_else(|| "nothing has arrived yet".to_owned());
    lab.wait_until("the flow to begin", PATIENCE, arrived).expect("a flow");
    flow
}

/// Every message of the flow was delivered
pub(crate) fn assert_delivered(flow: Flow) {
    let sent = flow.stop();
    let summary = Summary::of(&sent, SEND_EVERY);
    assert_eq!((summary.failed, summary.unknown), (0, 0), "{summary:?}");
}

#[test]
fn leader_is_killed_while_messages_flow_and_a_login_comes() {
    let seed = super::seed();
    let lab = mesh_of(6, seed);
    let (before, killed) = (sessions(&lab).expect("sessions"), leader(&lab));
    let flow = flow(&lab, seed);
    lab.kill("leader").expect("killed");
    lab.add_peer("newcomer").expect("started");
    lab.wait_logged_in("newcomer").unwrap_or_else(|error| panic!("{error}"));
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(leader(&lab), killed);
    assert_delivered(flow);

    lab.start_and_wait(&killed).expect("back");
    super::settle(&lab);
    let mut after = sessions(&lab).expect("sessions");
    assert!(after.remove("newcomer").is_some(), "{after:?}");
    assert_eq!(after, before, "nobody's session is another one");
    let answer = lab.send("newcomer", "alice", "hello").expect("an answer");
    assert!(answer.is_delivered(), "{} {}", answer.status, answer.reason);
}

#[test]
fn home_is_killed_and_its_sessions_go_on_elsewhere_with_the_tables_that_they_had() {
    let seed = super::seed();
    let lab = mesh_of(8, seed);
    let (before, links) = (sessions(&lab).expect("sessions"), lab.graph().expect("graph"));
    let killed = follower(&lab, seed);
    let (gone, flow) = (serial(&lab, &killed), flow(&lab, seed));
    lab.kill(&killed).expect("killed");
    wait_homes_without(&lab, gone);
    assert_delivered(flow);
    assert_unchanged(&lab, &before, &links);
    lab.start_and_wait(&killed).expect("back");
    assert_unchanged(&lab, &before, &links);
}

#[test]
fn without_a_majority_nobody_logs_in_and_without_any_supernode_messages_flow_and_all_come_back() {
    let seed = super::seed();
    let lab = mesh_of(6, seed);
    let (before, links) = (sessions(&lab).expect("sessions"), lab.graph().expect("graph"));
    let mut supernodes: Vec<String> =
        lab.running(Role::Supernode).expect("supernodes").into_iter().map(|node| node.name).collect();
    Draw::new(seed, "order").shuffle(&mut supernodes);
    let flow = flow(&lab, seed);
    lab.kill(&supernodes[0]).expect("killed");
    lab.kill(&supernodes[1]).expect("killed");
    lab.add_peer("newcomer").expect("started");
    let newcomer = lab.node("newcomer").expect("newcomer");
    let waits = || {
        let status = newcomer.status().map_err(|error| error.to_string())?.answer;
        let waits = status.state != State::LoggedIn && status.reason.is_some();
        if waits { Ok(()) } else { Err(format!("it is {}", status.state)) }
    };
    lab.wait_until("the newcomer to say why it waits", PATIENCE, waits).expect("it waits");
    let leaderless = || lab.leader().map_or_else(|_| Ok(()), |leader| Err(format!("{} leads", leader.name)));
    lab.wait_until("nobody to lead", PATIENCE, leaderless).expect("nobody leads");
    lab.kill(&supernodes[2]).expect("killed");
    for (from, to) in graph::pairs(&before.keys().cloned().collect::<Vec<_>>()).into_iter().step_by(5) {
        let answer = lab.send(&from, &to, "without a supernode").expect("an answer");
        assert!(answer.is_delivered(), "{from} → {to}: {} {}", answer.status, answer.reason);
    }
    assert_ne!(newcomer.status().expect("status").answer.state, State::LoggedIn);
    assert_delivered(flow);
    lab.kill("newcomer").expect("killed");

    supernodes.iter().for_each(|name| lab.start(name).expect("started"));
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
    super::settle(&lab);
    assert_eq!(lab.graph().expect("graph"), links, "everybody has the place that they had");
    lab.start_and_wait("newcomer").expect("now it comes in");
}

#[test]
fn supernode_that_made_the_network_is_replaced_while_peers_stay() {
    let seed = super::seed();
    let lab = mesh_of(5, seed);
    let (before, links) = (sessions(&lab).expect("sessions"), lab.graph().expect("graph"));
    let gone = serial(&lab, "supernode-1");
    let flow = flow(&lab, seed);
    lab.add_supernode("supernode-4").unwrap_or_else(|error| panic!("{error}"));
    lab.remove_supernode("supernode-1").unwrap_or_else(|error| panic!("{error}"));
    // Its peers go elsewhere when it ends, which it does of itself.
    wait_ended(&lab, "supernode-1");
    wait_homes_without(&lab, gone);
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
    let known = lab.directory().expect("a supernode").members.supernodes;
    let serials: Vec<u64> = known.iter().map(|member| member.serial).collect();
    assert!(serials.len() == 3 && !serials.contains(&gone), "{known:?}");
    assert_delivered(flow);
    assert_unchanged(&lab, &before, &links);
    // It is one like the others: one of these may go.
    lab.kill("leader").expect("killed");
    lab.add_peer("newcomer").expect("started");
    lab.wait_logged_in("newcomer").unwrap_or_else(|error| panic!("{error}"));
}

/// Waits until a process has ended, which nobody here has told it to do
fn wait_ended(lab: &Lab, name: &str) {
    let ended = || {
        let state = lab.state().map_err(|error| error.to_string())?;
        let is = state.process(name).map(|process| process.condition());
        if is == Some(Condition::Ended) { Ok(()) } else { Err(format!("it is {is:?}")) }
    };
    lab.wait_until("it to end of itself", PATIENCE, ended).unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn supernode_that_was_taken_out_while_it_was_away_hears_of_it_and_says_so_at_each_start() {
    let lab = mesh_of(2, super::seed());
    // It has the smallest serial of all: the others, whose business it was to dial it, have forgotten it.
    lab.kill("supernode-1").expect("killed");
    lab.add_supernode("supernode-4").unwrap_or_else(|error| panic!("{error}"));
    lab.remove_supernode("supernode-1").unwrap_or_else(|error| panic!("{error}"));
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
    let log = lab.node("supernode-1").expect("a node").log();
    let mut before = 0;
    for _ in 0..2 {
        lab.start("supernode-1").expect("started");
        wait_ended(&lab, "supernode-1");
        let text = std::fs::read_to_string(&log).expect("a log");
        let said = text.matches("taken out of its network for good").count();
        assert!(said > before, "{text}");
        before = said;
    }
}

#[test]
fn leader_that_stood_still_ends_nobodys_session_when_it_goes_on() {
    let seed = super::seed();
    let lab = super::mesh(seed, |options| Options { supernodes: 3, peers: 6, lease: LEASE, ..options });
    let (before, links) = (sessions(&lab).expect("sessions"), lab.graph().expect("graph"));
    let paused = leader(&lab);
    let still = serial(&lab, &paused);
    let flow = flow(&lab, seed);
    let since = Instant::now();
    lab.pause(&paused).expect("paused");
    let other = || lab.leader().map(|_| ()).map_err(|error| error.to_string());
    lab.wait_until("another one to lead", PATIENCE, other).unwrap_or_else(|error| panic!("{error}"));
    wait_homes_without(&lab, still);
    let outlasted = || if since.elapsed() > 2 * LEASE { Ok(()) } else { Err("not yet".to_owned()) };
    lab.wait_until("two leases to pass", PATIENCE, outlasted).expect("they pass");
    lab.resume(&paused).expect("resumed");
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
    assert_unchanged(&lab, &before, &links);
    assert_delivered(flow);
}

/// A storm of so many light peers on a lab, until it is ended
fn storm(lab: &Lab, lights: u64) -> Child {
    let mut storm = Command::new(BINARY);
    storm.arg("--dir").arg(lab.dir()).args(["storm", &lights.to_string(), "--json"]);
    storm.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a storm")
}

/// Ends a storm; what it has said
fn end(storm: Child) -> Output {
    let ended = Command::new("kill").args(["-INT", &storm.id().to_string()]).status().expect("kill runs");
    assert!(ended.success());
    storm.wait_with_output().expect("waited for")
}

#[test]
fn supernodes_whose_places_are_all_taken_by_peers_are_one_network_with_one_that_starts_again() {
    // Of eight links each two are for other supernodes.
    const PLACES: u64 = 6;
    let seed = super::seed();
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { supernodes: 3, peers: 0, links_max: Some(8), ..super::options(dir.path(), seed) };
    let lab = Lab::empty(options, Progress::Quiet).unwrap_or_else(|error| panic!("{error}"));
    let storm = storm(&lab, 4 * PLACES);
    let full = |homes: usize| {
        let standings = lab.supernodes().map_err(|error| error.to_string())?;
        let sessions: Vec<u64> = standings.iter().map(|standing| standing.status.homes).collect();
        let is_full = sessions.len() == homes && sessions.iter().all(|sessions| *sessions == PLACES);
        if is_full { Ok(()) } else { Err(format!("{sessions:?} sessions")) }
    };
    lab.wait_until("all places to be taken", PATIENCE, || full(3)).unwrap_or_else(|error| panic!("{error}"));
    let killed = follower(&lab, seed);
    lab.kill(&killed).expect("killed");
    lab.start_and_wait(&killed).expect("back");
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
    lab.wait_until("all places to be taken again", PATIENCE, || full(3)).unwrap_or_else(|error| panic!("{error}"));
    lab.agreed().unwrap_or_else(|error| panic!("{error}"));
    end(storm);
}

#[test]
fn storm_of_light_peers_is_let_in_and_comes_back_when_the_leader_is_killed() {
    const LIGHTS: u64 = 60;
    let seed = super::seed();
    let lab = super::supernodes_only(3, seed);
    let storm = storm(&lab, LIGHTS);
    let all_in = |homes: usize| {
        let standings = lab.supernodes().map_err(|error| error.to_string())?;
        let sessions: u64 = standings.iter().map(|standing| standing.status.homes).sum();
        let known = standings.iter().all(|standing| (standing.status.members, standing.status.suspects) == (LIGHTS, 0));
        let is_whole = standings.len() == homes && sessions == LIGHTS && known;
        if is_whole { Ok(()) } else { Err(format!("{sessions} sessions have a home")) }
    };
    lab.wait_until("all to be in", PATIENCE, || all_in(3)).unwrap_or_else(|error| panic!("{error}"));
    let before = sessions(&lab).expect("sessions");
    lab.kill("leader").expect("killed");
    lab.wait_until("all to be in again", PATIENCE, || all_in(2)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(sessions(&lab).expect("sessions"), before, "nobody's session is another one");
    let output = end(storm);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert!(output.status.success() && report["present"] == LIGHTS, "{report}");
    let left = || {
        let members = lab.directory().map_err(|error| error.to_string())?.status.members;
        if members == 0 { Ok(()) } else { Err(format!("{members} are still there")) }
    };
    lab.wait_until("all to have logged out", PATIENCE, left).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn light_peers_are_back_soon_after_all_supernodes_were_killed() {
    let lab = super::supernodes_only(3, super::seed());
    let mut storm = Command::new(BINARY);
    let output = storm.arg("--dir").arg(lab.dir()).args(["storm", "40", "--kill", "--json"]).output().expect("a storm");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert!(output.status.success(), "{report}");
    let figures = report["figures"].as_array().expect("figures");
    assert!(figures.iter().any(|figure| figure["what"] == "all back" && figure["value"].is_f64()), "{report}");
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
}
