//! Messages while one process after the other is killed, and while many are killed at once: both books agree at the end.

use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs such a soak of five peers, and returns what it has measured; everything must have held
fn soaked(args: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("a directory");
    let seed = super::seed().to_string();
    let mut command = Command::new(super::BINARY);
    command
        .arg("--dir")
        .arg(dir.path().join("lab"))
        .args(["soak", "--json", "--peers", "5", "--seed", &seed])
        .args(args);
    let output = command.stdin(Stdio::null()).output().expect("kith-lab runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(output.status.success(), "{report}\n{said}");
    report["figures"].as_array_mut().map(std::mem::take).expect("figures")
}

fn value(figures: &[Value], what: &str) -> f64 {
    let figure = figures.iter().find(|figure| figure["what"] == what);
    figure.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("{what} in {figures:?}"))
}

#[test]
fn messages_arrive_once_in_order_and_with_true_fates_while_one_process_after_the_other_is_killed() {
    let figures = soaked(&["--messages", "300", "--every", "2", "--rate", "30", "--pairs", "6"]);
    assert!(value(&figures, "messages accepted") >= 300.0, "{figures:?}");
    assert!(value(&figures, "peers killed") + value(&figures, "supernodes killed") >= 1.0, "{figures:?}");
}

#[test]
fn survivors_of_a_disaster_hear_each_other_again_and_nothing_that_was_accepted_is_lost() {
    let figures = soaked(&["--disasters", "1", "--rate", "60"]);
    // Two of five peers and one of three supernodes, so that three peers are left.
    assert_eq!(value(&figures, "processes killed"), 3.0, "{figures:?}");
    assert_eq!(value(&figures, "pairs of survivors that were heard again"), 6.0, "{figures:?}");
}
