//! The real `kith`, as a daemon.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::{Ended, PATIENCE, kith, run};

/// A daemon of the real kind; killed when dropped.
struct Daemon {
    child: Child,
    home: PathBuf,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start(home: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join(home);
        // A port where nobody listens: the daemon has to run without a mesh.
        let args = ["run", "--name", "alice", "--supernode", "127.0.0.1:1"];
        let child = kith(&home, &args).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self { child, home, _directory: directory };
        let started = Instant::now();
        while run(&daemon.home, &["status"]).exit == 3 {
            assert!(started.elapsed() < PATIENCE, "the daemon did not start");
            std::thread::yield_now();
        }
        daemon
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn daemon_outside_a_mesh_says_so_and_ends_at_sigterm_leaving_its_home_free() {
    let mut daemon = Daemon::start("alice");
    let status = run(&daemon.home, &["status", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!((&object["name"], &object["pid"]), (&"alice".into(), &daemon.child.id().into()));
    assert_ne!(status.exit, 0);
    assert_eq!(std::fs::metadata(&daemon.home).unwrap().permissions().mode() & 0o777, 0o700);

    let second = run(&daemon.home, &["run", "--name", "alice", "--supernode", "127.0.0.1:1"]);
    assert_eq!(second.exit, 49);
    assert!(second.errors.contains(&format!(
        "already runs in {} (process {})",
        daemon.home.display(),
        daemon.child.id()
    )));

    daemon.terminate();
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    assert_eq!(run(&daemon.home, &["status"]).exit, 3);
    assert!(!daemon.home.join("control.sock").exists());
}

#[test]
fn daemon_of_a_home_with_a_long_path_is_reached() {
    let daemon = Daemon::start(&"h".repeat(150));
    assert_ne!(run(&daemon.home, &["status"]).exit, 3);
    assert!(daemon.home.join("control.sock").exists(), "everything of a home is in it");
    daemon.terminate();
}

#[test]
fn daemon_after_a_killed_one_takes_over_its_home() {
    let mut daemon = Daemon::start("alice");
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert!(daemon.home.join("control.sock").exists());
    assert_eq!(run(&daemon.home, &["status"]).exit, 3);
    let args = ["run", "--name", "alice", "--supernode", "127.0.0.1:1"];
    daemon.child = kith(&daemon.home, &args).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while run(&daemon.home, &["status"]).exit == 3 {
        assert!(started.elapsed() < PATIENCE, "the second daemon did not start");
        std::thread::yield_now();
    }
}

#[test]
fn empty_variables_of_the_environment_are_not_set() {
    let home = tempfile::tempdir().unwrap();
    let mut command = kith(home.path(), &["run", "--name", "alice"]);
    let ended: Ended = command.env("KITH_SECRET", "").env("KITH_LISTEN", "").output().unwrap().into();
    assert!(ended.errors.contains("no supernode to log in to"), "{}", ended.errors);
    let mut command = kith(home.path(), &["run", "--name", "alice"]);
    let ended: Ended = command.env("KITH_LISTEN", "here").output().unwrap().into();
    assert!(ended.exit == 2 && ended.errors.contains("--listen"), "{}", ended.errors);
}

#[test]
fn flag_overrides_the_environment_which_overrides_the_file() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("node.toml"), "supernodes = [\"s\"]\nsecret_file = \"of-the-file\"\n").unwrap();
    let said = |args: &[&str], variable: Option<&str>| {
        let mut command = kith(home.path(), args);
        command.envs(variable.map(|value| ("KITH_SECRET_FILE", value)));
        Ended::from(command.output().unwrap()).errors
    };
    assert!(said(&["run", "--name", "alice"], None).contains("/of-the-file"));
    assert!(said(&["run", "--name", "alice"], Some("of-the-environment")).contains("cannot read of-the-environment"));
    let flag = ["run", "--name", "alice", "--secret-file", "of-the-flag"];
    assert!(said(&flag, Some("of-the-environment")).contains("cannot read of-the-flag"));
}
