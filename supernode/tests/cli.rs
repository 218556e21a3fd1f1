//! The real `kith-supernode`: started, asked, refused a second start, ended, and started again.
#![allow(clippy::unwrap_used, reason = "clippy takes only the tests themselves for tests, not their helpers")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a slow machine; nothing here is measured
const PATIENCE: Duration = Duration::from_secs(60);

fn supernode(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith-supernode"));
    command.args(args).env_clear().env("KITH_HOME", home).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn asked(home: &Path, args: &[&str]) -> (i32, String) {
    let Output { status, stdout, .. } = supernode(home, args).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

/// A running daemon, which does not outlive its test
struct Daemon(Child);

impl Daemon {
    /// Starts one and waits until it answers; its first answer
    fn start(home: &Path) -> (Self, String) {
        let mut run = supernode(home, &["run", "--listen", "127.0.0.1:0"]);
        let daemon = Self(run.stdout(Stdio::null()).spawn().unwrap());
        let began = Instant::now();
        loop {
            let (exit, status) = asked(home, &["--json", "status"]);
            if exit == 0 {
                return (daemon, status);
            }
            assert!(began.elapsed() < PATIENCE, "it does not answer: {exit} {status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end, as a service's manager does; its exit code
    fn end(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // An ended process has nothing left to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn network(status: &str) -> &str {
    status.split("\"network\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap()
}

#[test]
fn daemon_starts_once_in_a_home_answers_ends_by_a_signal_and_is_the_same_network_again() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    assert_eq!(asked(&home, &["--json", "status"]).0, 3, "nothing runs there yet");

    let (daemon, first) = Daemon::start(&home);
    assert!(first.contains("\"members\":0"), "{first}");
    assert_eq!(asked(&home, &["run", "--listen", "127.0.0.1:0"]).0, 49, "a second one in the same home");
    assert_eq!(asked(&home, &["--json", "lookup", "nobody"]).0, 44);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(asked(&home, &["--json", "status"]).0, 3, "it has ended");

    let (daemon, second) = Daemon::start(&home);
    assert_eq!(network(&first), network(&second));
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn wrong_arguments_are_refused_with_a_code_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [
        &["run", "--degree", "5"][..],
        &["run", "--listen", "nowhere"],
        &["release"],
        &["invite", "--ttl", "1w"],
        &["nonsense"],
    ] {
        assert_eq!(asked(&folder.path().join("home"), wrong).0, 2, "{wrong:?}");
    }
    assert!(!folder.path().join("home").exists(), "nothing was made");
}
