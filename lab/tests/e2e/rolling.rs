//! Every supernode restarted and replaced while messages flow and others log in.

use std::process::{Command, Stdio};

use serde_json::Value;

#[test]
fn every_supernode_is_restarted_and_replaced_and_nobody_notices() {
    let dir = tempfile::tempdir().expect("a directory");
    let seed = super::seed().to_string();
    let mut command = Command::new(super::BINARY);
    command.arg("--dir").arg(dir.path().join("lab")).args(["rolling", "--json", "--peers", "5", "--visitors", "2"]);
    let output = command.args(["--seed", &seed]).stdin(Stdio::null()).output().expect("kith-lab runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(output.status.success(), "{report}\n{said}");
    let figures = report["figures"].as_array().expect("figures");
    let steps = figures.iter().find(|figure| figure["what"] == "supernodes restarted and replaced");
    assert_eq!(steps.expect("steps")["value"], 6.0, "{report}");
}
