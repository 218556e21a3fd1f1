//! Where daemons listen, and by which of these addresses others find them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use serde_json::Value;

use super::{BINARY, PATIENCE};

/// A daemon outside of any lab, which has its flags from the test; it ends with the test, however that ends
pub(super) struct Daemon {
    role: &'static str,
    home: Rc<tempfile::TempDir>,
    child: Child,
}

impl Daemon {
    fn start(role: &'static str, args: &[&str]) -> Self {
        let home = Rc::new(tempfile::tempdir().expect("a home"));
        Self::start_in(home, role, &[&["run"], args].concat())
    }

    /// As `args` say, the verb among them, in a home that may be another's that has ended
    pub(super) fn start_in(home: Rc<tempfile::TempDir>, role: &'static str, args: &[&str]) -> Self {
        let mut command = program(role, true, home.path());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("started");
        Self { role, home, child }
    }

    /// What it answers to this verb
    pub(super) fn ask(&self, args: &[&str]) -> Value {
        let output = program(self.role, false, self.home.path()).arg("--json").args(args).output().expect("asked");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// What it says of itself, as soon as `enough` says so
    pub(super) fn status(&self, enough: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(&["status"]);
            if enough(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{} never got there: {answer}", self.role);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended cannot be ended again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(role: &str, tied: bool, home: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg(role).args(tied.then_some("--tied")).arg("--home").arg(home);
    command
}

/// The addresses of one family in a status
fn listens(status: &Value, family: &str) -> Vec<String> {
    let all = status["listen"].as_array().into_iter().flatten().filter_map(Value::as_str);
    all.filter(|at| at.starts_with(family)).map(ToOwned::to_owned).collect()
}

#[test]
fn peers_find_each_other_by_either_family_where_nobody_gave_an_address_to_listen_on() {
    let supernode = Daemon::start("role-supernode", &["--listen", "[::]:0", "--degree", "4", "--open"]);
    let at = listens(&supernode.status(|status| !listens(status, "/ip4/127.0.0.1/").is_empty()), "/ip4/127.0.0.1/");
    let port = at[0].rsplit('/').next().expect("a port").to_owned();
    // A machine without IPv6 has one family to show.
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    let ways = [format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
    let ways = if has_ipv6 { &ways[..] } else { &ways[..1] };
    let peers: Vec<Daemon> = (0..4)
        .map(|n| Daemon::start("role-peer", &["--name", &format!("peer-{n}"), "--supernode", &ways[n % ways.len()]]))
        .collect();
    for peer in &peers {
        // Each has a neighbour on either side of the ring, whichever family its supernode saw it by.
        let is_linked =
            |status: &Value| status["links_up"].as_u64() >= Some(2) && status["links_up"] == status["links"];
        let status = peer.status(|status| status["state"] == "logged_in" && is_linked(status));
        let (four, six) = (listens(&status, "/ip4/"), listens(&status, "/ip6/"));
        assert!(!four.is_empty() && six.is_empty() != has_ipv6, "{status}");
        let port_of = |at: &String| at.rsplit('/').next().expect("a port").to_owned();
        assert!(four.iter().chain(&six).all(|at| port_of(at) == port_of(&four[0])), "one port for all: {status}");
    }
}
