//! The process around a driver, with a driver that does not end: this test's own binary in another role.

#![allow(clippy::unwrap_used, reason = "clippy takes only the tests themselves for tests, not their helpers")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use kith_runtime::config::HostSettings;
use kith_runtime::control::peer::Request;
use kith_runtime::home::{Home, PEER};
use kith_runtime::host::{Seat, host};
use kith_runtime::logging::Format;
use rustix::process::{Pid, Signal, kill_process};

const HOME: &str = "KITH_TEST_STUBBORN_DAEMON";

fn be_a_stubborn_daemon(home: &Path) {
    let home = Home::resolve(PEER, Some(home)).unwrap();
    let driver = |_seat: Seat<Request>| std::future::pending::<Result<(), std::io::Error>>();
    let settings = HostSettings { log_format: Some(Format::Json), ..HostSettings::default() };
    host(&settings.decide(home).unwrap(), driver).unwrap();
}

#[test]
fn second_signal_ends_a_stubborn_daemon_at_once() {
    if let Some(home) = std::env::var_os(HOME) {
        return be_a_stubborn_daemon(Path::new(&home));
    }
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "second_signal_ends_a_stubborn_daemon_at_once", "--nocapture"]);
    command.env(HOME, home.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut read_until = |words: &str| {
        let line = log.find(|line| line.as_ref().unwrap().contains(words)).unwrap().unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    let started = read_until("daemon started");
    assert_eq!(started["level"], "INFO");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(read_until("once more to end at once")["reason"], "SIGTERM");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 2));
}
