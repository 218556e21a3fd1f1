//! Networks of a lab's own: each node in a namespace of the kernel's, on one bridge, so that any two can be cut off from
//! each other.
//!
//! It takes `ip`, `nsenter` and `unshare`, and either root or a system that lets everybody have user namespaces. A process
//! holds the bridge's namespace, each node its own; they are gone with their processes, so nothing is left behind. What is
//! cut is dropped where it arrives, without a word: as by a broken network, and not as by a wall that refuses.

use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::error::{LabError, io_error};
use crate::process::{Condition, ProcessId};
use crate::role::without_settings;

/// Makes the bridge, says so, and stays: as long as whoever started it, or until it is killed
const HUB: &str = r#"
set -e
ip link add kith0 type bridge
ip address add 10.77.255.254/16 dev kith0
ip link set kith0 up
ip link set lo up
echo ready
if [ "$1" = tied ]; then exec cat; else exec sleep infinity; fi
"#;

/// Connects a node's namespace to the bridge, drops what comes from those whom it is cut off from, and becomes the node
///
/// Rules for what arrives come before the table of own addresses, which the kernel has first of all. The link's address
/// follows from the node's: others go on sending to the one that they know for half a minute after a node has come back.
const NODE: &str = r#"
set -e
hub=$1 address=$2 cuts=$3
shift 3
nsenter --target "$hub" --net -- ip link add "k$$" type veth peer name eth0 netns "$$"
nsenter --target "$hub" --net -- ip link set "k$$" master kith0 up
ip link set lo up
ip link set eth0 address "$(printf '02:00:%02x:%02x:%02x:%02x' $(echo "$address" | tr . ' '))"
ip address add "$address/16" dev eth0
ip link set eth0 up
ip rule add pref 100 lookup local
ip rule del pref 0 lookup local
for from in $cuts; do ip rule add pref 10 iif eth0 from "$from" blackhole; done
exec "$@"
"#;

/// Drops what comes from an address, if it is not dropped already
const CUT: &str = r#"ip rule del pref 10 iif eth0 from "$1" blackhole 2>/dev/null || true
ip rule add pref 10 iif eth0 from "$1" blackhole"#;

/// Drops nothing more
const HEAL: &str = "while ip rule del pref 10 2>/dev/null; do :; done";

/// What goes wrong where namespaces cannot be had
const NEEDED: &str = "networks of their own need ip, nsenter and unshare (iproute2, util-linux), and root, or a system \
                      that gives user namespaces to everybody";

/// A lab's networks
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Net {
    /// It holds the bridge
    pub hub: ProcessId,
    /// Who does not hear whom, by the nodes' names
    pub cuts: Vec<Cut>,
}

/// What one sends does not reach the other
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cut {
    pub from: String,
    pub to: String,
}

/// The address of the node that was started as the `index`-th, from 0
pub(crate) fn address(index: usize) -> Ipv4Addr {
    let (high, low) = (index / 250, index % 250 + 1);
    Ipv4Addr::new(10, 77, high as u8, low as u8)
}

/// Starts whoever holds the bridge, which ends with this process if it is `tied`; in this process's own network if that is
/// the lab's (`inside`), so that it reaches the nodes
///
/// # Errors
/// There are no namespaces here, with what they need.
pub(crate) fn start_hub(tied: bool, inside: bool) -> Result<(Child, ProcessId), LabError> {
    let mut command = Command::new(if inside { "sh" } else { "unshare" });
    if !inside {
        if !geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "--", "sh"]);
    }
    command.args(["-c", HUB, "hub", if tied { "tied" } else { "free" }]);
    // Ctrl-C is for the commands of the terminal, and not for the mesh.
    command.process_group(0);
    command.stdin(if tied { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| LabError::Options(format!("{NEEDED}: {error}")))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(io_error("read what the bridge says"))?;
    }
    match ProcessId::of(child.id()).filter(|_| line.trim() == "ready") {
        Some(hub) => Ok((child, hub)),
        None => {
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                // What it has not said does not matter any more.
                let _ = stderr.read_to_string(&mut said);
            }
            child.wait().map_err(io_error("wait for the bridge's process"))?;
            Err(LabError::Options(format!("{NEEDED}: {}", said.trim())))
        }
    }
}

impl Net {
    /// `node`, in a namespace of its own at `address`, that does not hear `deaf_to`
    pub(crate) fn wrapped(&self, node: &Command, address: Ipv4Addr, deaf_to: &[Ipv4Addr]) -> Command {
        let deaf_to: Vec<String> = deaf_to.iter().map(ToString::to_string).collect();
        let mut command = self.enter(self.hub);
        command.args(["unshare", "--net", "--", "sh", "-c", NODE, "node"]);
        command.args([self.hub.pid.to_string(), address.to_string(), deaf_to.join(" ")]);
        command.arg(node.get_program()).args(node.get_args());
        without_settings(&mut command);
        command
    }

    /// Runs what follows in the namespaces of `process`
    fn enter(&self, process: ProcessId) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &process.pid.to_string(), "--net"]);
        if !geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--");
        command
    }

    /// `node` does not hear `from` any more
    ///
    /// # Errors
    /// Its namespace cannot be entered.
    pub(crate) fn cut(&self, node: ProcessId, from: Ipv4Addr) -> Result<(), LabError> {
        self.run(node, CUT, &from.to_string())
    }

    /// `node` hears everybody
    ///
    /// # Errors
    /// Its namespace cannot be entered.
    pub(crate) fn heal(&self, node: ProcessId) -> Result<(), LabError> {
        self.run(node, HEAL, "")
    }

    fn run(&self, node: ProcessId, script: &str, argument: &str) -> Result<(), LabError> {
        let mut command = self.enter(node);
        command.args(["sh", "-c", script, "cut", argument]).stdin(Stdio::null());
        let output = command.output().map_err(io_error("run nsenter"))?;
        if output.status.success() || node.condition() == Condition::Ended {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Options(format!("the network of process {} cannot be changed: {said}", node.pid)))
    }

    /// What leads another command into the bridge's network, for people who are not in it
    pub(crate) fn way_in(&self) -> Option<String> {
        let net = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
        let user = if geteuid().is_root() { "" } else { " --user --preserve-credentials" };
        let pid = self.hub.pid.to_string();
        (net("self") != net(&pid)).then(|| format!("nsenter --target {pid} --net{user} --"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_that_a_lab_may_have_has_an_address_of_its_own() {
        let all: std::collections::BTreeSet<Ipv4Addr> = (0..crate::state::PROCESSES_MAX).map(address).collect();
        assert_eq!(all.len(), crate::state::PROCESSES_MAX);
        assert_eq!((address(0).to_string(), address(250).to_string()), ("10.77.0.1".into(), "10.77.1.1".into()));
    }
}
