//! Histories: each kind of faults bites, and both judges believe what clients were told meanwhile.

use std::process::{Command, Stdio};

use serde_json::Value;

/// What the program says where this machine cannot have such faults
const SKIPPED: i32 = 77;

/// Makes a history with so many faults of a kind, all of which must bite and be undone; none where they cannot be had
fn assert_held(faults: &str, rounds: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let seed = super::seed().to_string();
    let mut command = Command::new(super::BINARY);
    command.arg("--dir").arg(dir.path().join("lab")).args(["histories", "--json", "--clients", "8", "--for", "120"]);
    command.args(["--faults", faults, "--rounds", &rounds.to_string(), "--seed", &seed]).stdin(Stdio::null());
    let output = command.output().expect("kith-lab runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(SKIPPED) {
        assert!(said.contains("SKIPPED") && said.contains("cannot be had here"), "{said}");
        return eprintln!("{said}");
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(output.status.success(), "{report}\n{said}");
    let sum = |what: &str| -> u64 {
        report["counts"].as_array().expect("counts").iter().filter_map(|count| count[what].as_u64()).sum()
    };
    assert_eq!((sum("faults"), sum("bit"), sum("failed")), (rounds as u64, rounds as u64, 0), "{report}");
    assert!(report["by_index"].is_null() && report["by_search"].is_null(), "{report}");
    assert_eq!(report["unknown"], false);
    assert!(report["operations"].as_u64().is_some_and(|operations| operations > 100), "{report}");
}

#[test]
fn supernodes_are_parted_and_nobody_is_told_what_contradicts_itself() {
    assert_held("partition", 2);
}

#[test]
fn disk_is_full_for_a_while_and_no_answer_is_lost() {
    assert_held("full-disk", 1);
}

#[test]
fn clock_that_jumps_by_an_hour_changes_no_answer() {
    assert_held("clock", 2);
}

#[test]
fn every_supernode_is_replaced_while_clients_ask() {
    assert_held("members", 3);
}

#[test]
fn leader_is_killed_twice_and_both_judges_decide() {
    assert_held("kill-leader", 2);
}

#[test]
fn history_that_contradicts_itself_is_not_believed_when_it_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("history");
    let line = |answer: &str, from: u32, index: u32| {
        let until = from + 1;
        format!(r#"{{"name":0,"what":"LookUp","answer":{answer},"from":{from},"until":{until},"index":{index}}}"#)
    };
    let judged = |lines: &[String]| {
        std::fs::write(&file, lines.join("\n")).expect("written");
        let mut command = Command::new(super::BINARY);
        command.args(["histories", "--judge"]).arg(&file).stdin(Stdio::null());
        let output = command.output().expect("kith-lab runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let nobody = r#""Nobody""#;
    assert!(judged(&[line(nobody, 1, 5), line(nobody, 3, 5)]).0);
    let (is_believed, said) = judged(&[line(nobody, 1, 5), line(nobody, 3, 4)]);
    assert!(!is_believed && said.contains("by the log's order: NOT BELIEVED"), "{said}");
    let (is_believed, said) = judged(&[line(nobody, 1, 5), line(r#""Away""#, 3, 5)]);
    assert!(!is_believed && said.contains("by search: NOT BELIEVED"), "{said}");
}
