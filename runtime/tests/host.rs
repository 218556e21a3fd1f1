//! The process around a driver, with a driver that does not end: this test's own binary in another role.

#![allow(clippy::unwrap_used, reason = "clippy takes only the tests themselves for tests, not their helpers")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use kith_runtime::config::HostSettings;
use kith_runtime::control::peer::Request;
use kith_runtime::home::{Home, PEER};
use kith_runtime::host::{DaemonError, Seat, host};
use kith_runtime::logging::Format;
use rustix::process::{Pid, Signal, kill_process};

const HOME: &str = "KITH_TEST_STUBBORN_DAEMON";

fn run_stubborn_daemon(home: &Path) -> Result<(), DaemonError<std::io::Error>> {
    let home = Home::resolve(PEER, Some(home)).unwrap();
    let driver = |_seat: Seat<Request>| std::future::pending::<Result<(), std::io::Error>>();
    let settings = HostSettings { log_format: Some(Format::Json), ..HostSettings::default() };
    host(&settings.decide(home).unwrap(), driver)
}

/// The test of this name in a process of its own, with a home to run its daemon in, and what it logs
fn daemon_of(test: &str, home: &Path) -> (Child, Log) {
    started(Command::new(std::env::current_exe().unwrap()), test, home)
}

fn started(mut command: Command, test: &str, home: &Path) -> (Child, Log) {
    command.args(["--exact", test, "--nocapture"]);
    command.env(HOME, home).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    (child, Log(log))
}

struct Log(BufReader<ChildStderr>);

impl Log {
    fn read_until(&mut self, words: &str) -> serde_json::Value {
        let line = (&mut self.0).lines().find(|line| line.as_ref().unwrap().contains(words)).unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[test]
fn second_signal_ends_a_stubborn_daemon_at_once() {
    if let Some(home) = std::env::var_os(HOME) {
        return run_stubborn_daemon(Path::new(&home)).unwrap();
    }
    let home = tempfile::tempdir().unwrap();
    let (mut child, mut log) = daemon_of("second_signal_ends_a_stubborn_daemon_at_once", home.path());
    let started = log.read_until("daemon started");
    assert_eq!(started["level"], "INFO");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(log.read_until("once more to end at once")["reason"], "SIGTERM");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 2));
}

#[test]
fn terminal_that_hangs_up_asks_a_daemon_to_end_unless_nohup_says_otherwise() {
    if let Some(home) = std::env::var_os(HOME) {
        return run_stubborn_daemon(Path::new(&home)).unwrap();
    }
    let test = "terminal_that_hangs_up_asks_a_daemon_to_end_unless_nohup_says_otherwise";
    let own = std::env::current_exe().unwrap();
    // What starts the tests may itself ignore the signal, and whoever it starts inherits that.
    let mut at_terminal = Command::new("env");
    at_terminal.arg("--default-signal=HUP").arg(&own);
    let mut under_nohup = Command::new("sh");
    under_nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(&own);
    for (command, reason) in [(at_terminal, "SIGHUP"), (under_nohup, "SIGTERM")] {
        let home = tempfile::tempdir().unwrap();
        let (mut child, mut log) = started(command, test, home.path());
        log.read_until("daemon started");
        kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
        if reason != "SIGHUP" {
            // An ignored signal leaves no word, so that the next one is the first to be told.
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        }
        let asked = log.read_until("once more to end at once");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(asked["reason"], reason);
    }
}

#[test]
fn daemon_whose_home_is_removed_says_so_and_ends() {
    if let Some(home) = std::env::var_os(HOME) {
        let ended = run_stubborn_daemon(Path::new(&home));
        return assert!(matches!(ended, Err(DaemonError::HomeLost(_))));
    }
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    let (mut child, mut log) = daemon_of("daemon_whose_home_is_removed_says_so_and_ends", &home);
    log.read_until("daemon started");
    std::fs::remove_dir_all(&home).unwrap();
    let ended = log.read_until("daemon ended");
    assert!(ended["reason"].as_str().unwrap().contains("was removed or replaced under the running daemon"), "{ended}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn daemon_whose_log_cannot_be_written_goes_on() {
    const TEST: &str = "daemon_whose_log_cannot_be_written_goes_on";
    if let Some(home) = std::env::var_os(HOME) {
        return run_stubborn_daemon(Path::new(&home)).unwrap();
    }
    let home = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).env(HOME, home.path()).stdout(Stdio::null()).stderr(full);
    let mut child = command.spawn().unwrap();
    let socket = home.path().join("control.sock");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut asker = loop {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "no socket");
        match UnixStream::connect(&socket) {
            Ok(asker) => break asker,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    // It answers once it has said in its log that it has started, and hears signals.
    asker.write_all(b"{}\n").unwrap();
    let mut answer = String::new();
    BufReader::new(asker).read_line(&mut answer).unwrap();
    assert!(answer.contains("not a request"), "{answer}");
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "no end");
        // The process may be gone by now, which the next look says.
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "a panic ends it with 101");
}
