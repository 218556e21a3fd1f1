//! A supernode that dies and comes back.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use kith_common::status::Status;
use kith_lab::graph;
use kith_runtime::control::peer::State;
use rustix::process::{Pid, Signal, kill_process};

/// Peers are back by then, without a restart of their own
const BACK_LIMIT: Duration = Duration::from_secs(5);

/// Name → address, as the supernode has it
fn members(lab: &kith_lab::Lab) -> BTreeMap<String, String> {
    let supernode = lab.node("supernode").expect("supernode");
    let peers = supernode.peers().expect("peers");
    peers.into_iter().map(|peer| (peer.name.to_string(), peer.address.unwrap_or_default())).collect()
}

fn pids(lab: &kith_lab::Lab) -> BTreeMap<String, Option<u32>> {
    let processes = lab.state().expect("state").processes;
    let pid = |process: &kith_lab::state::Process| process.process.map(|process| process.pid);
    processes.iter().filter(|p| p.name != "supernode-1").map(|p| (p.name.clone(), pid(p))).collect()
}

#[test]
fn mesh_works_on_without_its_supernode_which_comes_back_with_every_name() {
    let lab = super::mesh_of(8, super::seed());
    let alice = lab.node("alice").expect("alice");
    let known = alice.lookup("heidi").expect("an answer");
    assert_eq!((known.status, known.answer.stale), (Status::Delivered, false), "{known:?}");
    let (members_before, pids_before) = (members(&lab), pids(&lab));
    assert_eq!(members_before.len(), 8);

    lab.kill("supernode").expect("killed");
    for (from, to) in graph::pairs(&super::peers(&lab)).into_iter().step_by(5) {
        let answer = lab.send(&from, &to, "without a supernode").expect("an answer");
        assert!(answer.is_delivered(), "{from} → {to}: {} {}", answer.status, answer.reason);
    }
    let stale = || {
        let known = alice.lookup("heidi").map_err(|error| error.to_string())?;
        if known.status == Status::Delivered && known.answer.stale { Ok(()) } else { Err(format!("{known:?}")) }
    };
    lab.wait_until("a look-up to be answered from memory", super::PATIENCE, stale).expect("stale");

    lab.start_and_wait("supernode").expect("back");
    let back = || {
        let members_after = members(&lab);
        lab.settled()?;
        if members_after == members_before { Ok(()) } else { Err(format!("{members_after:?}")) }
    };
    lab.wait_until("the peers to be back", BACK_LIMIT, back).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(pids(&lab), pids_before);
}

#[test]
fn name_keeps_its_owner_over_a_restart_of_the_supernode() {
    let lab = super::mesh_of(2, super::seed());
    lab.stop("bob").expect("stopped");
    lab.kill("supernode").expect("killed");
    lab.start_and_wait("supernode").expect("back");
    lab.add_peer_as("impostor", "bob").expect("started");
    super::names::wait_refused(&lab, "impostor");
    lab.start_and_wait("bob").expect("bob has his name");
}

#[test]
fn peer_without_a_supernode_runs_and_says_why_it_waits() {
    let lab = super::supernode_only(super::seed());
    lab.kill("supernode").expect("killed");
    lab.add_peer("alice").expect("started");
    let alice = lab.node("alice").expect("alice");
    let searching = || {
        let status = alice.status().map_err(|error| error.to_string())?;
        if status.answer.state == State::Searching && status.answer.reason.is_some() {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    };
    lab.wait_until("alice to say that she searches", super::PATIENCE, searching).expect("searching");
    assert_eq!(alice.status().expect("status").status, Status::Unavailable);
    lab.start_and_wait("supernode").expect("back");
    lab.wait_logged_in("alice").expect("logged in");
}

#[test]
fn newcomer_after_a_restart_of_a_supernode_with_a_seed_gets_a_session_of_its_own() {
    let lab = super::mesh_of(3, super::seed());
    lab.kill("supernode").expect("killed");
    lab.start_and_wait("supernode").expect("back");
    lab.add_peer("newcomer").expect("started");
    lab.wait_logged_in("newcomer").expect("logged in");
    let log = std::fs::read_to_string(lab.node("newcomer").expect("a node").log()).expect("a log");
    assert!(!log.contains("id is in use"), "{log}");
}

#[test]
fn daemon_tells_whoever_has_started_it_that_it_listens_and_that_it_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let manager = directory.path().join("notify");
    let socket = UnixDatagram::bind(&manager).expect("a socket");
    socket.set_read_timeout(Some(super::PATIENCE)).expect("a time limit");
    let mut command = Command::new(super::BINARY);
    command.args(["role-supernode", "--home"]).arg(directory.path().join("home"));
    command.args(["run", "--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", &manager).stdin(Stdio::null());
    let mut daemon = command.stderr(Stdio::null()).spawn().expect("it runs");
    let told = || {
        let mut word = [0; 64];
        socket.recv(&mut word).map(|bytes| String::from_utf8_lossy(&word[..bytes]).into_owned())
    };
    let listens = told();
    let is_ended = kill_process(Pid::from_child(&daemon), Signal::TERM);
    let ends = told();
    let code = daemon.wait().expect("it ends").code();
    is_ended.expect("it was told to end");
    assert_eq!((listens.expect("a word"), ends.expect("a word")), ("READY=1\n".into(), "STOPPING=1\n".into()));
    assert_eq!(code, Some(0));
}
