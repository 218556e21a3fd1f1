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
