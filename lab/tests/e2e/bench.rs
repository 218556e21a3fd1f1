//! The chains that are measured.

use std::process::Command;

#[test]
fn chains_of_processes_lose_nothing_and_are_compared_at_each_size() {
    let mut bench = Command::new(super::BINARY);
    let bench = bench.args(["bench", "chain", "--seconds", "2", "--rounds", "1", "--sizes", "64,16384", "--json"]);
    let output = bench.output().expect("run");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert!(output.status.success(), "{report}");
    assert_eq!(report["dropped"], 0, "{report}");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row["lost"], 0, "{report}");
        for chain in ["bare", "kith"] {
            assert!(row[chain]["messages_per_s"].as_f64() > Some(0.0), "{report}");
            assert!(row[chain]["rtt_p50_us"].as_f64() > Some(0.0), "{report}");
        }
    }
    let forwarded = report["forwarded"].as_u64().expect("a number");
    let sent: u64 = rows.iter().filter_map(|row| row["sent"].as_u64()).sum();
    assert!(forwarded >= 3 * sent && sent > 0, "{report}");
}

#[test]
fn peers_are_whole_again_after_a_third_stood_still_and_after_their_supernode_was_killed() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Command::new(super::BINARY);
    bench.arg("--dir").arg(dir.path().join("lab"));
    let output = bench.args(["bench", "scale", "--peers", "9", "--rounds", "1", "--for", "1", "--json"]).output();
    let output = output.expect("run");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert!(output.status.success(), "{report}");
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(3), "{report}");
    assert!(report["rss_kib"].as_f64() > Some(1_000.0), "{report}");
}

/// What a bench says as one object, whether it has reached its goals or not
fn figures(args: &[&str]) -> (bool, Vec<serde_json::Value>) {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Command::new(super::BINARY);
    let output = bench.arg("--dir").arg(dir.path().join("lab")).args(args).arg("--json").output().expect("run");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no object: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), report["figures"].as_array().expect("figures").clone())
}

fn value(figures: &[serde_json::Value], what: &str) -> f64 {
    let figure = figures.iter().find(|figure| figure["what"].as_str().is_some_and(|text| text.contains(what)));
    figure.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("no {what:?} in {figures:?}"))
}

#[test]
fn directory_is_measured_beside_the_bare_disk_and_network_and_a_large_one_starts() {
    let (_, figures) = figures(&["bench", "directory", "--clients", "8", "--seconds", "2", "--entries", "500"]);
    for what in ["bare group commits", "bare echoes", "1 supernode: look-ups", "3 supernodes: logins, the links"] {
        assert!(value(&figures, what) > 0.0, "{what}");
    }
    assert!(value(&figures, "start with 500 names") > 0.0);
}

#[test]
fn home_that_is_killed_loses_no_message() {
    let (_, figures) = figures(&["bench", "home", "--peers", "5", "--rounds", "1"]);
    assert_eq!(value(&figures, "messages lost"), 0.0, "{figures:?}");
    assert!(value(&figures, "messages") > 50.0, "{figures:?}");
    assert_eq!(value(&figures, "look-ups without an answer"), 0.0, "{figures:?}");
}

#[test]
fn light_peers_stay_logged_in_and_have_another_home_when_theirs_is_killed() {
    let (held, figures) = figures(&["bench", "light", "--lights", "30", "--supernodes", "3", "--for", "2"]);
    assert!(held, "{figures:?}");
    assert_eq!(value(&figures, "of them still in"), 30.0);
}
