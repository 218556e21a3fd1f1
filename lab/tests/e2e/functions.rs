//! Functions of one's own: programs that a peer runs for those whom it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kith_common::id::MessageId;
use kith_common::status::Status;
use kith_lab::Node;
use kith_runtime::control::Done;
use kith_runtime::control::peer::{CallAnswer, Content, FunctionsResult, Id, Request};

/// For an answer of a daemon that is busy
const ANSWER: Duration = Duration::from_secs(60);

fn node(lab: &super::TestLab, name: &str) -> Node {
    lab.node(name).expect("a peer")
}

fn script(directory: &Path, name: &str, lines: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
    path
}

fn call(from: &Node, function: &str, arguments: &[&str], timeout_ms: u64, id: Option<u8>) -> Done<CallAnswer> {
    let arguments = arguments.iter().map(|argument| Content((*argument).to_owned())).collect();
    let (name, function) = ("bob".parse().expect("a name"), function.to_owned());
    let id = id.map(|number| Id(MessageId([number; 16])));
    let request = Request::Call { name, function, arguments, timeout_ms: Some(timeout_ms), id };
    from.ask(&request, ANSWER).expect("an answer")
}

/// bob with these functions, and alice and carol
fn mesh(functions: &[String]) -> super::TestLab {
    let lab = super::mesh_of(4, super::seed());
    let listed: Vec<String> = functions.iter().map(|function| format!("{function:?}")).collect();
    let config = format!("functions = [{}]\n", listed.join(", "));
    fs::write(node(&lab, "bob").home.file("node.toml"), config).expect("a file");
    lab.stop("bob").expect("stopped");
    lab.start_and_wait("bob").expect("bob is back");
    lab
}

#[test]
fn function_is_evaluated_once_for_whom_it_names_and_for_nobody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let count = directory.path().join("count");
    let add = script(directory.path(), "add", &format!("echo $CALLER >> {}\necho $(($1 + $2))", count.display()));
    let lab = mesh(&[format!("add(whole, whole) for alice: {}", add.display())]);
    let (alice, carol) = (node(&lab, "alice"), node(&lab, "carol"));
    let sum = call(&alice, "add", &["2", "40"], 20_000, Some(1));
    assert_eq!((sum.status, sum.answer.result), (Status::Delivered, Some(Content("42\n".to_owned()))));
    // Once more under its id it is not run once more.
    let again = call(&alice, "add", &["2", "40"], 20_000, Some(1));
    assert_eq!((again.status, again.answer.result), (Status::Delivered, Some(Content("42\n".to_owned()))));
    assert_eq!(call(&carol, "add", &["2", "40"], 20_000, None).status, Status::NotAllowed);
    for arguments in [&["2"][..], &["2", "40; touch /tmp/no"], &["-e", "1"], &["2", "3", "4"]] {
        assert_eq!(call(&alice, "add", arguments, 20_000, None).status, Status::Malformed, "{arguments:?}");
    }
    assert_eq!(fs::read_to_string(&count).expect("it has run"), "alice\n", "once, and for alice");

    let names = |from: &Node| {
        let Content(text) = call(from, "functions", &[], 20_000, None).answer.result.expect("a list");
        let listed: FunctionsResult = serde_json::from_str(&text).expect("a list");
        listed.functions.into_iter().map(|function| function.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&alice), ["echo", "functions", "status", "time", "add"]);
    assert_eq!(names(&carol), ["echo", "functions", "status", "time"]);
}

#[test]
fn program_that_hangs_is_killed_when_nobody_waits_for_it_any_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().join("pid");
    let hang =
        script(directory.path(), "hang", &format!("echo $$ > {0}.new\nmv {0}.new {0}\nexec sleep 1000", at.display()));
    let slow = script(directory.path(), "slow", "sleep 8\necho done");
    let lab = mesh(&[format!("hang() for alice: {}", hang.display()), format!("slow() for alice: {}", slow.display())]);
    let alice = node(&lab, "alice");
    let ended = call(&alice, "hang", &[], 1_000, None);
    assert_eq!(ended.status, Status::TimedOut, "{ended:?}");
    let pid = fs::read_to_string(&at).expect("it runs").trim().to_owned();
    let is_over = || {
        // Its number may be another program's by now.
        let name = fs::read_to_string(Path::new("/proc").join(&pid).join("comm")).unwrap_or_default();
        if name.trim() == "sleep" { Err("it runs".to_owned()) } else { Ok(()) }
    };
    lab.wait_until("the program to be killed", super::PATIENCE, is_over).expect("killed");
    // One that somebody waits for is left alone.
    let slow = call(&alice, "slow", &[], 60_000, None);
    assert_eq!((slow.status, slow.answer.result), (Status::Delivered, Some(Content("done\n".to_owned()))));
}
