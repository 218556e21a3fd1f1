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
