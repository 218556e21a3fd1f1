//! Series of pings, as a person and a program see them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use crate::{Fake, kith, one};

const BEGUN: &str = r#"{"event":"begun","series":"01010101010101010101010101010101"}"#;

fn echo(seq: u64, duplicate: bool) -> String {
    format!(
        r#"{{"event":"answer","name":"heidi","seq":{seq},"bytes":64,"rtt_us":1000,"duplicate":{duplicate},"reordered":false,"late":false}}"#
    )
}

fn pinged(status: u16, sent: u64, received: u64, reason: &str) -> String {
    let (lost, times) = (sent - received, if received > 0 { "1000" } else { "null" });
    format!(
        r#"{{"done":true,"status":{status},"name":"heidi","sent":{sent},"received":{received},"lost":{lost},"duplicates":1,"reordered":0,"rtt_min_us":{times},"rtt_avg_us":{times},"rtt_max_us":{times},"rtt_mdev_us":{times},"jitter_us":null,"reason":{reason}}}"#
    )
}

#[test]
fn pings_in_a_row_end_with_a_summary() {
    let asked = r#"{"verb":"ping","name":"heidi","count":2,"interval_ms":50,"size":64,"timeout_ms":1000}"#;
    let args = ["ping", "heidi", "--count", "2", "--interval", "0.05", "--size", "64", "--timeout", "1"];
    let lines = [BEGUN, &echo(1, false), &echo(1, true), &pinged(200, 2, 1, "null")].join("\n") + "\n";
    let ended = Fake::new(&[(asked, &lines)]).run(&args);
    let expected = "\
64 bytes from heidi: seq=1 time=1.0 ms
64 bytes from heidi: seq=1 time=1.0 ms (DUP!)
--- heidi ping statistics ---
2 pings sent, 1 received, 50.0% lost, 1 duplicate, 0 out of order
rtt min/avg/max/mdev = 1.000/1.000/1.000/1.000 ms
";
    assert_eq!((ended.exit, ended.out.as_str(), ended.errors.as_str()), (0, expected, ""));
    // A program has an object for each answer, and one for the summary.
    let ended = Fake::new(&[(asked, &lines)]).run(&[&args[..], &["--json"]].concat());
    assert_eq!((ended.exit, ended.out), (0, lines.replacen(&format!("{BEGUN}\n"), "", 1)));
}

#[test]
fn pings_that_nobody_answers_end_with_the_status_that_says_why() {
    let asked = r#"{"verb":"ping","name":"heidi","count":2}"#;
    let gone = pinged(410, 0, 0, r#""its owner has logged out""#);
    let ended = Fake::new(&[(asked, &format!("{BEGUN}\n{gone}\n"))]).run(&["ping", "heidi", "-c", "2"]);
    assert_eq!((ended.exit, ended.out.as_str()), (50, ""));
    assert!(
        ended.errors.starts_with("kith: no answer from heidi: 410 not here: its owner has logged out\n  next: kith")
    );
    let silent = pinged(408, 2, 0, r#""no answer came""#);
    let ended = Fake::new(&[(asked, &format!("{BEGUN}\n{silent}\n"))]).run(&["ping", "heidi", "-c", "2"]);
    let expected =
        "--- heidi ping statistics ---\n2 pings sent, 0 received, 100.0% lost, 1 duplicate, 0 out of order\n";
    assert_eq!((ended.exit, ended.out.as_str()), (48, expected));
    let alone = r#"{"verb":"ping","name":"heidi"}"#;
    let bad = r#"{"done":true,"status":408,"name":"heidi","hops":0,"path":[],"rtt_us":null,"reason":null}"#;
    assert_eq!(one(alone, bad, &["ping", "heidi"]).exit, 48);
}

#[test]
fn ctrl_c_ends_pings_with_their_summary() {
    let home = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(home.path().join("control.sock")).unwrap();
    let mut child = kith(home.path(), &["ping", "heidi", "--interval", "0.5"]).stdout(Stdio::piped()).spawn().unwrap();
    let asked = |stream: &UnixStream| {
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        line
    };
    let (mut series, _) = listener.accept().unwrap();
    assert_eq!(asked(&series), "{\"verb\":\"ping\",\"name\":\"heidi\",\"interval_ms\":500}\n");
    writeln!(series, "{BEGUN}\n{}", echo(1, false)).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    // Ctrl-C means something of its own once the series has begun, which the answer was told after.
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let (mut end, _) = listener.accept().unwrap();
    assert_eq!(asked(&end), "{\"verb\":\"end_pings\",\"series\":\"01010101010101010101010101010101\"}\n");
    writeln!(end, r#"{{"done":true,"status":200,"series":"01010101010101010101010101010101"}}"#).unwrap();
    writeln!(series, "{}", pinged(200, 3, 1, "null")).unwrap();
    out.read_line(&mut line).unwrap();
    out.read_line(&mut line).unwrap();
    assert!(line.ends_with("3 pings sent, 1 received, 66.7% lost, 1 duplicate, 0 out of order\n"), "{line}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
