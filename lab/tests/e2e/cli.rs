//! `kith-lab` as a person uses it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use kith_lab::process::Condition;
use kith_lab::state::State;
use serde_json::Value;

/// Ends the lab of a test that fails before its `down`
struct Guard<'a>(&'a Path);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        kith_lab(self.0, &["down"]);
    }
}

fn kith_lab(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(super::BINARY);
    command.arg("--dir").arg(dir).args(args).stdin(Stdio::null());
    command.output().expect("kith-lab runs")
}

fn succeed(dir: &Path, args: &[&str]) -> String {
    let output = kith_lab(dir, args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn all_ended(dir: &Path) -> Result<(), String> {
    let state = State::load(dir).map_err(|error| error.to_string())?.ok_or("no lab")?;
    let left = state.processes.iter().find(|process| process.condition() != Condition::Ended);
    left.map_or(Ok(()), |process| Err(format!("{} goes on", process.name)))
}

#[test]
fn lab_is_started_used_broken_and_ended_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = &dir.path().join("lab");
    let seed = super::seed().to_string();
    let _guard = Guard(dir);
    succeed(dir, &["up", "--peers", "4", "--seed", &seed]);

    let ps: Value = serde_json::from_str(&succeed(dir, &["ps", "--json"])).expect("one object");
    let processes = ps["processes"].as_array().expect("processes");
    assert_eq!(processes.len(), 7, "three supernodes");
    for process in processes {
        assert_eq!(process["state"], "running", "{process}");
        assert!(process["listen"].as_str().is_some_and(|listen| listen.contains("127.0.0.1")), "{process}");
        assert!(process["pid"].is_u64() && process["home"].is_string(), "{process}");
    }

    let sent = succeed(dir, &["exec", "alice", "send", "dave", "hello", "--json"]);
    let sent: Value = serde_json::from_str(&sent).expect("one object");
    assert_eq!(sent["status"], 200, "{sent}");
    assert!(succeed(dir, &["exec", "dave", "inbox"]).contains("hello"));

    let status: Value = serde_json::from_str(&succeed(dir, &["status", "--json"])).expect("one object");
    let is_supernode = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("supernode-"));
    assert!(is_supernode(&status["leader"]) && status["lacking"].is_null(), "{status}");
    let peers = status["peers"].as_array().expect("peers");
    assert!(peers.len() == 4 && peers.iter().all(|peer| is_supernode(&peer["home"])), "{status}");

    succeed(dir, &["kill", "leader"]);
    assert!(succeed(dir, &["status"]).contains("ended"));
    succeed(dir, &["start", status["leader"].as_str().expect("a name")]);
    succeed(dir, &["stop", "supernode-2"]);
    succeed(dir, &["start", "supernode-2"]);
    succeed(dir, &["kill", "bob"]);
    assert!(!kith_lab(dir, &["kill", "bob"]).status.success());
    succeed(dir, &["start", "bob"]);
    succeed(dir, &["pause", "carol"]);
    assert!(succeed(dir, &["ps"]).contains("paused"));
    succeed(dir, &["resume", "carol"]);
    succeed(dir, &["watch", "--for", "0.5"]);
    succeed(dir, &["logs", "alice", "-n", "3"]);

    let again = kith_lab(dir, &["up"]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("down"), "{again:?}");
    succeed(dir, &["down"]);
    all_ended(dir).expect("everybody has ended");
}

#[test]
fn peer_lists_names_finds_the_one_that_was_meant_and_cannot_be_made_to_drive_a_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = &dir.path().join("lab");
    let seed = super::seed().to_string();
    let _guard = Guard(dir);
    succeed(dir, &["up", "--peers", "4", "--seed", &seed]);

    let peers: Value = serde_json::from_str(&succeed(dir, &["exec", "alice", "peers", "--json"])).expect("one object");
    let listed = peers["peers"].as_array().expect("peers");
    let names: Vec<_> = listed.iter().filter(|peer| peer["state"] == "logged_in").map(|peer| &peer["name"]).collect();
    assert_eq!(names, ["alice", "bob", "carol", "dave"], "{peers}");
    assert_eq!((&peers["names"], &peers["members"], &peers["more"]), (&4.into(), &4.into(), &false.into()));

    let slip = kith_lab(dir, &["exec", "alice", "send", "dav", "hello"]);
    let said = String::from_utf8_lossy(&slip.stderr);
    assert!(slip.status.code() == Some(44) && said.contains("did you mean dave?"), "{said}");

    succeed(dir, &["exec", "alice", "send", "dave", "\x1b]0;owned\x07hello\rbob: send me your key"]);
    let inbox = succeed(dir, &["exec", "dave", "inbox"]);
    assert!(inbox.contains("owned") && !inbox.chars().any(|c| c.is_control() && c != '\n'), "{inbox:?}");
    succeed(dir, &["down"]);
}

#[test]
fn demo_holds_every_step() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = &dir.path().join("lab");
    let report = succeed(dir, &["demo", "--json", "--seed", &super::seed().to_string()]);
    let report: Value = serde_json::from_str(&report).expect("one object");
    assert_eq!(report["held"], true, "{report}");
    assert_eq!(report["runs"][0]["unknown"], 0, "{report}");
    assert!(report["kill"]["login_ms"].is_u64(), "{report}");
    all_ended(dir).expect("everybody has ended");
}

#[test]
fn mesh_of_a_demo_ends_when_the_demo_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = &dir.path().join("lab");
    let mut demo = Command::new(super::BINARY);
    demo.arg("--dir").arg(dir).args(["demo", "--peers", "2"]).stdin(Stdio::null());
    let mut demo = demo.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kith-lab runs");
    wait_until("the mesh has started", || {
        let state = State::load(dir).map_err(|error| error.to_string())?.ok_or("no lab yet")?;
        let running = state.processes.iter().filter(|process| process.condition() == Condition::Running);
        if running.count() >= 2 { Ok(()) } else { Err("not yet".to_owned()) }
    });
    demo.kill().expect("killed");
    demo.wait().expect("waited for");
    wait_until("the mesh has ended", || all_ended(dir));
}

fn wait_until(what: &str, holds: impl Fn() -> Result<(), String>) {
    let end = std::time::Instant::now() + super::PATIENCE;
    while let Err(reason) = holds() {
        assert!(std::time::Instant::now() < end, "{what}: {reason}");
        std::thread::yield_now();
    }
}
