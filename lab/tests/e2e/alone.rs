//! A mesh whose supernodes are all gone, and a network that goes on from a backup.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kith_lab::draw::Draw;
use kith_lab::role::Role;
use kith_lab::{Lab, Options, graph, log};
use kith_runtime::control::peer::State;

use super::supernodes::{assert_delivered, flow, sessions};
use super::{BINARY, PATIENCE, TestLab};

/// From when supernodes run again until directory and ring agree, as the network promises
const AGREED_LIMIT: Duration = Duration::from_secs(30);

fn mesh_of(peers: usize, seed: u64) -> TestLab {
    super::mesh(seed, |options| Options { supernodes: 3, peers, ..options })
}

fn names_of(lab: &Lab, role: Role) -> Vec<String> {
    lab.running(role).expect("the lab").into_iter().map(|node| node.name).collect()
}

fn kill_supernodes(lab: &Lab) -> Vec<String> {
    let supernodes = names_of(lab, Role::Supernode);
    supernodes.iter().for_each(|name| lab.kill(name).expect("killed"));
    supernodes
}

/// Every message of each pair arrives
fn delivered(lab: &Lab, names: &[String]) -> Result<(), String> {
    graph::pairs(names).iter().try_for_each(|(from, to)| {
        let answer = lab.send(from, to, "without a supernode").map_err(|error| error.to_string())?;
        let said = || Err(format!("{from} → {to}: {} {}", answer.status, answer.reason));
        if answer.is_delivered() { Ok(()) } else { said() }
    })
}

/// Every link that is wanted of those that run is up, and none leads to anybody else
fn linked(lab: &Lab) -> Result<(), String> {
    let graph = lab.graph().map_err(|error| error.to_string())?;
    let names = names_of(lab, Role::Peer);
    for (name, links) in &graph {
        if links.is_empty() {
            return Err(format!("{name} has no link"));
        }
        if let Some(gone) = links.iter().find(|to| !names.contains(to)) {
            return Err(format!("{name} has a link to {gone}, who is gone"));
        }
        if let Some(other) = links.iter().find(|to| !graph.get(*to).is_some_and(|back| back.contains(name))) {
            return Err(format!("{other} does not know of its link with {name}"));
        }
    }
    Ok(())
}

#[test]
fn mesh_without_supernodes_heals_and_takes_back_who_was_there_and_all_agree_again_within_half_a_minute() {
    let seed = super::seed();
    let lab = mesh_of(7, seed);
    let mut peers = super::peers(&lab);
    Draw::new(seed, "victims").shuffle(&mut peers);
    let (gone, returning, others) = (&peers[0], &peers[1], &peers[2..]);
    let flows: Vec<_> = {
        let pairs = [(0, 1), (2, 3)];
        pairs.map(|(from, to)| {
            let from = lab.node(&others[from]).expect("sender");
            kith_lab::flow::Flow::start(from, others[to].clone(), Duration::from_millis(50))
        })
    }
    .into();
    let supernodes = kill_supernodes(&lab);
    lab.kill(gone).expect("killed");
    lab.kill(returning).expect("killed");
    lab.wait_until("the survivors to heal among themselves", PATIENCE, || linked(&lab))
        .unwrap_or_else(|error| panic!("{error}"));
    delivered(&lab, others).unwrap_or_else(|error| panic!("{error}"));

    lab.start(returning).expect("started");
    let guest = lab.node(returning).expect("it");
    let is_back = || {
        let status = guest.status().map_err(|error| error.to_string())?.answer;
        let reason = status.reason.unwrap_or_default();
        let is_guest = status.state != State::LoggedIn && reason.contains("by its last grant") && status.links_up > 0;
        if is_guest { Ok(()) } else { Err(format!("it is {}: {reason}", status.state)) }
    };
    lab.wait_until("a guest to be in the mesh by its last grant", PATIENCE, is_back)
        .unwrap_or_else(|error| panic!("{error}"));
    let present: Vec<String> = others.iter().chain([returning]).cloned().collect();
    lab.wait_until("messages to and from the guest to arrive", PATIENCE, || delivered(&lab, &present))
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(log::tail(&guest.log(), usize::MAX).contains("returned_as_guest"));

    supernodes.iter().for_each(|name| lab.start(name).expect("started"));
    let agree = || {
        lab.settled()?;
        let known = sessions(&lab)?;
        let in_ring: Vec<&String> =
            known.iter().filter(|(_, (address, _))| address.is_some()).map(|(name, _)| name).collect();
        let mut expected: Vec<&String> = present.iter().collect();
        expected.sort();
        if in_ring == expected { Ok(()) } else { Err(format!("{in_ring:?} are in the ring, not {expected:?}")) }
    };
    lab.wait_until("directory and ring to agree", AGREED_LIMIT, agree).unwrap_or_else(|error| panic!("{error}"));
    flows.into_iter().for_each(assert_delivered);
}

/// A verb of `kith-supernode` at one of the lab's supernodes
fn verb(lab: &Lab, name: &str, verb: &[&Path]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["role-supernode", "--home"]).arg(lab.dir().join(name)).args(verb).stdin(Stdio::null());
    command.output().expect("the verb runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn network_of_three_goes_on_from_a_backup_and_takes_in_two_new_ones() {
    let seed = super::seed();
    let lab = mesh_of(5, seed);
    let file = lab.dir().join("backup");
    let messages = flow(&lab, seed);
    let output = verb(&lab, "supernode-2", &[Path::new("backup"), &file]);
    assert!(output.status.success(), "while all run: {}", said(&output));
    lab.add_peer("newcomer").expect("started");
    lab.wait_logged_in("newcomer").unwrap_or_else(|error| panic!("{error}"));
    assert_delivered(messages);
    let before = sessions(&lab).expect("sessions");
    kill_supernodes(&lab);

    // The one that has the network's key; what it knows is older than the network remembers, and is put away.
    let output = verb(&lab, "supernode-1", &[Path::new("restore"), &file]);
    assert!(!output.status.success(), "what is there is not replaced: {}", said(&output));
    let directory = lab.dir().join("supernode-1").join("directory.redb");
    std::fs::rename(&directory, directory.with_extension("old")).expect("put away");
    let output = verb(&lab, "supernode-1", &[Path::new("restore"), &file]);
    assert!(output.status.success(), "{}", said(&output));
    lab.start_and_wait("supernode-1").expect("it listens");
    for name in ["supernode-4", "supernode-5"] {
        lab.add_supernode(name).unwrap_or_else(|error| panic!("{error}"));
    }
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
    let known = lab.directory().expect("a supernode").members.supernodes;
    assert_eq!(known.len(), 3, "{known:?}");
    super::settle(&lab);
    let after = sessions(&lab).expect("sessions");
    assert!(before.keys().eq(after.keys()), "every name has its owner again: {after:?}");
    delivered(&lab, &super::peers(&lab)).unwrap_or_else(|error| panic!("{error}"));
    // One of those from before comes with its old log, and agrees with nobody; both sides say so.
    lab.start("supernode-2").expect("started");
    let says = |name: &str, text: &str| {
        let output = verb(&lab, name, &[Path::new("status")]);
        if said(&output).contains(text) { Ok(()) } else { Err(said(&output)) }
    };
    lab.wait_until("the old log to be told", PATIENCE, || says("supernode-2", "supernode 1 has another log"))
        .unwrap_or_else(|error| panic!("{error}"));
    let log = std::fs::read_to_string(lab.node("supernode-1").expect("a node").log()).expect("a log");
    assert!(log.contains("other_log"), "{log}");
    lab.kill("supernode-2").expect("killed");
    // All three have all of it: one of them may go, and somebody else comes.
    lab.kill("leader").expect("killed");
    lab.add_peer("late").expect("started");
    lab.wait_logged_in("late").unwrap_or_else(|error| panic!("{error}"));
}
