//! The real `kith-supernode`: started, asked, refused a second start, ended, and started again.
#![allow(clippy::unwrap_used, reason = "clippy takes only the tests themselves for tests, not their helpers")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
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
    assert_eq!(asked(&home, &["peers"]), (0, "0 names, 0 in the ring\n".to_owned()));
    let (exit, ring) = asked(&home, &["--json", "ring"]);
    assert!(exit == 0 && ring.lines().count() == 1 && ring.contains("\"members\":0"), "{exit} {ring}");
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

/// A daemon that answers one request, which must be `asked`
fn stand_in(home: &Path, asked: &'static str, answer: String) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(home.join("control.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
        assert_eq!(request.trim_end(), asked);
        stream.write_all(answer.as_bytes()).unwrap();
    })
}

#[test]
fn names_of_a_large_network_are_listed_to_the_last() {
    const NAMES: usize = 6_000;
    let member = |n: usize| {
        let key = "ab".repeat(32);
        format!(
            "{{\"name\":\"n{n:05}\",\"key\":\"{key}\",\"peer_id\":\"12D3\",\"state\":\"logged_out\",\"reason\":null,\
             \"address\":null,\"locations\":[],\"home\":false,\"since_epoch\":null,\"stale\":false}}\n"
        )
    };
    let last = format!("{{\"done\":true,\"status\":200,\"names\":{NAMES},\"members\":0,\"stale\":false}}\n");
    let answer: String = (0..NAMES).map(member).chain([last]).collect();
    assert!(answer.len() > 1024 * 1024, "no line of an answer may be so long");
    for json in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let daemon = stand_in(folder.path(), r#"{"verb":"peers"}"#, answer.clone());
        let (exit, out) = asked(folder.path(), if json { &["--json", "peers"] } else { &["peers"] });
        daemon.join().unwrap();
        assert_eq!(exit, 0, "{out}");
        if json {
            assert!(out == answer, "each line as it came");
            continue;
        }
        let headings = out.lines().filter(|line| line.starts_with("NAME ")).count();
        assert_eq!((out.lines().count(), headings), (NAMES + NAMES / 100 + 1, NAMES / 100));
        assert_eq!(out.lines().last(), Some("6000 names, 0 in the ring"));
    }
}

#[test]
fn list_that_the_daemon_cannot_finish_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = "{\"done\":true,\"status\":503,\"error\":\"the daemon is ending\"}\n";
    let daemon = stand_in(folder.path(), r#"{"verb":"ring"}"#, refusal.to_owned());
    assert_eq!(asked(folder.path(), &["ring"]), (93, String::new()));
    daemon.join().unwrap();
}
