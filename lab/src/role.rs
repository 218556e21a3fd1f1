//! The lab's program in the role of a daemon, and what a daemon is started with.
//!
//! `kith-lab role-peer ARGS…` is `kith ARGS…`, and `kith-lab role-supernode ARGS…` is `kith-supernode ARGS…`. Everything
//! that the lab knows about the daemons' flags stands in this file.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use kith_common::id::Key;
use serde::{Deserialize, Serialize};

/// What a process of the lab is
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It logs peers in and out
    Supernode,
    /// One of those who send and forward
    Peer,
}

/// Given to a daemon whose lab must not outlive the process that made it
const TIED: &str = "--tied";

impl Role {
    /// The hidden subcommand of `kith-lab`
    pub(crate) fn subcommand(self) -> &'static str {
        match self {
            Self::Supernode => "role-supernode",
            Self::Peer => "role-peer",
        }
    }

    /// A word for tables
    pub fn word(self) -> &'static str {
        match self {
            Self::Supernode => "supernode",
            Self::Peer => "peer",
        }
    }

    /// The program that this role is elsewhere
    pub fn program(self) -> &'static str {
        match self {
            Self::Supernode => "kith-supernode",
            Self::Peer => "kith",
        }
    }

    /// Runs what `kith` or `kith-supernode` would run with these arguments (without the program's own name)
    pub fn run(self, args: Vec<OsString>) -> ExitCode {
        let args = std::iter::once(self.program().into()).chain(args);
        match self {
            Self::Supernode => kith_supernode::cli::main(args),
            Self::Peer => kith_node::cli::main(args),
        }
    }
}

/// If `args` (without the program's own name) ask for a role, plays it to its end
pub(crate) fn play(args: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = args.split_first()?;
    let role = [Role::Supernode, Role::Peer].into_iter().find(|role| first == role.subcommand())?;
    // A session of its own: Ctrl-C and the closing of the terminal are for the commands there, not for the mesh.
    // It fails only for a process that leads a group already, which is as good.
    let _ = rustix::process::setsid();
    let rest = match rest.split_first() {
        Some((flag, rest)) if flag == TIED => {
            end_with_standard_input();
            rest
        }
        _ => rest,
    };
    Some(role.run(rest.to_vec()))
}

/// Ends this process as soon as whoever holds the other end of its standard input is gone, however that one ended
fn end_with_standard_input() {
    std::thread::spawn(|| {
        let mut byte = [0; 1];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        std::process::exit(1);
    });
}

/// The command that plays `role` with `args`
pub(crate) fn command(binary: &Path, role: Role, tied: bool, args: &[String]) -> Command {
    let mut command = Command::new(binary);
    command.arg(role.subcommand()).args(tied.then_some(TIED)).args(args);
    without_settings(&mut command);
    command
}

/// Takes the settings of the terminal's own `kith` away from a process of the lab, but for those about logs
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let setting = name.to_str().is_some_and(|name| name.starts_with("KITH_") && !name.starts_with("KITH_LOG"));
        if setting {
            command.env_remove(&name);
        }
    }
}

/// What a supernode of the lab is started with
#[derive(Clone, Copy, Debug)]
pub(crate) struct SupernodeArgs<'a> {
    pub home: &'a Path,
    /// Where it listens: [`ANY_PORT`], or what it got at its first start
    pub listen: &'a str,
    pub degree: u8,
    /// How long a peer that says nothing keeps its place
    pub lease: Duration,
    /// What its salts are drawn from: two with the same would give two sessions one id
    pub seed: u64,
    /// Proved by every peer at login
    pub secret: Option<&'a str>,
    /// None leaves it as it is by default
    pub links_max: Option<usize>,
    /// None for the one that makes the network
    pub entry: Option<&'a Entry>,
}

/// How a supernode comes into a network that is there
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where supernodes of that network listen
    pub contacts: Vec<String>,
    /// The network key's word for it, as a line
    pub certificate: String,
}

/// What a peer of the lab is started with
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerArgs<'a> {
    pub home: &'a Path,
    /// The name to log in under
    pub name: &'a str,
    /// Where it listens
    pub listen: &'a str,
    /// Where the supernodes listen
    pub supernodes: &'a [String],
    /// Proved at login
    pub secret: Option<&'a str>,
}

/// Loopback, at a port that the system chooses
pub(crate) const ANY_PORT: &str = "/ip4/127.0.0.1/tcp/0";
/// How an address ends whose port the system is yet to choose
pub(crate) const ANY_PORT_END: &str = "/tcp/0";

impl SupernodeArgs<'_> {
    /// What would follow `kith-supernode`
    pub(crate) fn list(&self) -> Vec<String> {
        let mut args = run_in(self.home);
        args.extend(["--listen".into(), self.listen.into(), "--degree".into(), self.degree.to_string()]);
        args.extend(["--lease-ms".into(), self.lease.as_millis().to_string()]);
        args.extend(["--salt-seed".into(), self.seed.to_string()]);
        args.extend(self.links_max.iter().flat_map(|most| ["--links-max".to_owned(), most.to_string()]));
        match self.secret {
            Some(_) => args.extend(secret(self.secret)),
            None => args.push("--open".into()),
        }
        if let Some(entry) = self.entry {
            args.extend(["--certificate".into(), entry.certificate.clone()]);
            args.extend(entry.contacts.iter().flat_map(|contact| ["--join".to_owned(), contact.clone()]));
        }
        args
    }
}

/// What follows `kith-supernode` to have the network key in `home` sign a certificate for `key`
pub(crate) fn certify(home: &Path, key: Key) -> Vec<String> {
    vec!["--home".into(), home.to_string_lossy().into_owned(), "certify".into(), format!("{key:?}")]
}

impl PeerArgs<'_> {
    /// What would follow `kith`
    pub(crate) fn list(&self) -> Vec<String> {
        let mut args = run_in(self.home);
        args.extend(["--name".into(), self.name.into(), "--listen".into(), self.listen.into()]);
        for supernode in self.supernodes {
            args.extend(["--supernode".into(), supernode.clone()]);
        }
        args.extend(secret(self.secret));
        args
    }
}

fn run_in(home: &Path) -> Vec<String> {
    vec!["--home".into(), home.to_string_lossy().into_owned(), "run".into()]
}

fn secret(secret: Option<&str>) -> Vec<String> {
    secret.map(|secret| vec!["--secret".to_owned(), secret.to_owned()]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_without_a_role_are_left_alone() {
        assert!(play(&["up".into()]).is_none());
        assert!(play(&[]).is_none());
    }

    #[test]
    fn peer_is_started_with_every_supernode_it_may_use() {
        let supernodes = ["/ip4/127.0.0.1/tcp/1".to_owned(), "/ip4/127.0.0.1/tcp/2".to_owned()];
        let args = PeerArgs {
            home: Path::new("d/alice"),
            name: "alice",
            listen: ANY_PORT,
            supernodes: &supernodes,
            secret: None,
        };
        let list = args.list();
        assert_eq!(list.iter().filter(|arg| *arg == "--supernode").count(), 2);
        assert_eq!(list.iter().take(3).collect::<Vec<_>>(), ["--home", "d/alice", "run"]);
        assert!(!list.contains(&"--secret".to_owned()));
    }

    #[test]
    fn supernode_that_joins_is_told_whom_and_by_whose_word() {
        let entry = Entry { contacts: vec!["/ip4/127.0.0.1/tcp/1".into()], certificate: "line".into() };
        let lease = Duration::from_secs(10);
        let home = Path::new("d/supernode-2");
        let (links_max, none) = (Some(9), None);
        let args =
            SupernodeArgs { home, listen: ANY_PORT, degree: 4, lease, seed: 1, secret: None, links_max, entry: none };
        assert!(!args.list().contains(&"--join".to_owned()));
        assert!(args.list().windows(2).any(|pair| pair == ["--links-max", "9"]));
        let list = SupernodeArgs { entry: Some(&entry), ..args }.list();
        assert!(list.ends_with(&["--certificate", "line", "--join", "/ip4/127.0.0.1/tcp/1"].map(str::to_owned)));
    }
}
