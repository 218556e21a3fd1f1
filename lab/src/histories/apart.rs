//! Namespaces for a whole run: networks, mounts and whatever else it makes there is gone with the last of its processes.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::nemesis::Faults;
use crate::error::{LabError, io_error};
use crate::mesh::clock_library;

/// Given to the run that is in the namespaces
pub(crate) const FLAG: &str = "--apart";

/// Whether a bridge, a pair of links and a rule can be made
const NETWORK: &str = "set -e
ip link add kith0 type bridge
ip link add kitha type veth peer name kithb
ip rule add pref 10 iif kitha from 10.77.0.1 blackhole";

/// Whether a disk of memory can be mounted
const DISK: &str = "mount -t tmpfs -o size=64k kith-lab /tmp";

/// What this run needs of the system, besides processes
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    network: bool,
    mounts: bool,
}

impl Needs {
    pub(super) fn of(nemeses: &[Faults]) -> Self {
        Self { network: nemeses.contains(&Faults::Partition), mounts: nemeses.contains(&Faults::FullDisk) }
    }

    pub(super) fn any(self) -> bool {
        self != Self::default()
    }

    pub(super) const fn network(self) -> bool {
        self.network
    }

    /// A command in namespaces of its own
    fn unshare(self) -> Command {
        let mut command = Command::new("unshare");
        if !geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        if self.network {
            command.arg("--net");
        }
        // What is mounted must not appear to anybody else.
        command.args(["--mount", "--propagation", "private", "--"]);
        command
    }

    /// Whether a script succeeds in such namespaces; what it said otherwise
    fn try_out(self, script: &str) -> Result<(), String> {
        let mut command = self.unshare();
        let output = command.args(["sh", "-c", script]).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("unshare: {error}")),
        }
    }
}

/// Why this machine cannot have such faults, and what they need; nothing if it can
pub(super) fn lack(nemesis: Faults) -> Option<String> {
    let (what, tried) = match nemesis {
        Faults::Partition => {
            let needs = Needs { network: true, mounts: false };
            ("networks of their own: ip, unshare and nsenter, with root or user namespaces", needs.try_out(NETWORK))
        }
        Faults::FullDisk => {
            let needs = Needs { network: false, mounts: true };
            ("disks of their own: unshare and mount, with root or user namespaces", needs.try_out(DISK))
        }
        Faults::Clock => {
            let library = clock_library().map(drop).ok_or_else(|| "it is not installed".to_owned());
            ("libfaketime (the package faketime)", library)
        }
        _ => return None,
    };
    tried.err().map(|said| format!("it takes {what}: {said}"))
}

/// Runs this command again in such namespaces, in place of this process
///
/// # Errors
/// The program cannot be run; if it can, this never returns.
pub(super) fn enter(needs: Needs) -> Result<std::convert::Infallible, LabError> {
    let program = std::env::current_exe().map_err(io_error("find the lab's own program"))?;
    let mut command = needs.unshare();
    command.arg(program).args(std::env::args_os().skip(1)).arg(FLAG);
    Err(io_error("run unshare")(command.exec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_partitions_and_full_disks_need_namespaces() {
        assert!(!Needs::of(&[Faults::Any, Faults::KillLeader, Faults::Clock, Faults::Members]).any());
        assert!(Needs::of(&[Faults::Partition]).network());
        let disk = Needs::of(&[Faults::FullDisk]);
        assert!(disk.any() && !disk.network());
    }

    #[test]
    fn what_processes_alone_can_do_lacks_nothing() {
        for nemesis in [Faults::Any, Faults::KillLeader, Faults::Members] {
            assert_eq!(lack(nemesis), None);
        }
    }

    #[test]
    fn script_that_fails_in_its_namespaces_says_why() {
        let said = Needs::default().try_out("echo no such thing >&2; exit 1").unwrap_err();
        assert!(!said.is_empty(), "either the script's word or unshare's");
    }
}
