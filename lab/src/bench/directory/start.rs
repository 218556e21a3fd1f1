//! How soon a supernode answers that has a large directory behind a snapshot, and some commands after it.
//!
//! The snapshot is made here, by the directory's own rules, and put into the home as a backup is. The commands after it
//! are logins of true clients.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kith_common::crypto::sha256;
use kith_common::directory::{Command, Directory, LogIn, Right};
use kith_common::id::{Key, NetworkId, SessionId, SupernodeId};
use kith_common::status::Status;
use kith_common::wire;
use kith_common::wire::agreement::{Configuration, Configured, Position, SnapshotHead, Voters};
use kith_common::wire::bounded::Bounded;
use kith_common::wire::session::Locations;
use kith_runtime::control::supernode::{Request, StatusAnswer};
use tokio::runtime::Runtime;

use super::super::text;
use super::{bench, rates};
use crate::error::{LabError, io_error};
use crate::mesh::Lab;
use crate::node::{LOOK_LIMIT, Node};
use crate::options::{Options, Progress};
use crate::role::{self, Role};

/// The head of a backup's file
const MAGIC: &[u8] = b"kith-backup-1\n";
/// A start that takes longer is given up
const START_LIMIT: Duration = Duration::from_secs(300);
/// Between two questions to a supernode that starts
const ASK_EVERY: Duration = Duration::from_millis(5);

/// What came of it
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    /// Until it said anything
    pub(super) answered: Duration,
    /// Until it said that peers may log in
    pub(super) ready: Duration,
    /// Commands after the snapshot that it has read
    pub(super) commands: u64,
    /// What it weighs then, in MiB
    pub(super) rss_mib: f64,
}

/// Makes such a supernode, kills it, and starts it again
///
/// # Errors
/// It cannot be made, or does not start.
pub(super) fn measure(
    runtime: &Runtime,
    options: &Options,
    entries: usize,
    clients: usize,
    span: Duration,
) -> Result<Started, LabError> {
    let lab = Lab::empty(Options { supernodes: 1, peers: 0, ..options.clone() }, Progress::Quiet)?;
    let name = lab.running(Role::Supernode)?.into_iter().next().map(|node| node.name);
    let name = name.ok_or_else(|| LabError::NoSupernode("it has ended".into()))?;
    let node = lab.node(&name)?;
    let status = node.ask::<StatusAnswer>(&Request::Status, LOOK_LIMIT)?.answer;
    let network: NetworkId = status.network.parse().map_err(|_| bench("its network has no id"))?;
    let snapshot = snapshot(SupernodeId(status.serial), entries).map_err(bench)?;
    lab.stop(&name)?;
    put(options, &node, &network, &snapshot)?;
    drop(snapshot);
    lab.start(&name)?;
    let before = wait(&node)?.2;
    rates::sessions(runtime, &lab, clients, span, false)?;
    let after = node.ask::<StatusAnswer>(&Request::Status, LOOK_LIMIT)?.answer;
    lab.kill(&name)?;
    lab.start(&name)?;
    let (answered, ready, _) = wait(&node)?;
    let usage = lab.usages(Role::Supernode)?.remove(&name).unwrap_or_default();
    let commands = after.log_index.saturating_sub(before.log_index);
    lab.down()?;
    Ok(Started { answered, ready, commands, rss_mib: usage.rss_kib as f64 / 1024.0 })
}

/// A snapshot of a log by which `entries` names were taken and left, with `me` alone
fn snapshot(me: SupernodeId, entries: usize) -> Result<Vec<u8>, String> {
    let mut directory = Directory::new(1);
    let mut index = 0;
    for entry in 0..entries {
        let [key, session, salt] = ["key", "session", "salt"].map(|of| sha256(&[of.as_bytes(), &entry.to_le_bytes()]));
        let session = SessionId(session.first_chunk().copied().unwrap_or_default());
        let login = LogIn {
            name: format!("name-{entry}").parse().map_err(text)?,
            key: Key(key),
            session,
            resumes: None,
            offers: None,
            salt: salt.first_chunk().copied().unwrap_or_default(),
            locations: Locations::default(),
            home: me,
            right: Right::Anybody,
        };
        directory.apply(index + 1, &Command::LogIn(login));
        directory.apply(index + 2, &Command::LogOut { session });
        index += 2;
    }
    let at = Position { term: 1, leader: me, entry: 2 };
    let configured = Configured { id: me, locations: Locations::default() };
    let configuration = Configuration {
        voters: Bounded::truncated([Voters::truncated([me])]),
        supernodes: Bounded::truncated([configured]),
    };
    let head = SnapshotHead {
        last: Some(at),
        configured_at: Some(Position { entry: 1, ..at }),
        configuration,
        incarnation: 1,
        gone: Bounded::default(),
        proposers: Bounded::default(),
    };
    let head = wire::encode(&head).map_err(text)?;
    let len = u32::try_from(head.len()).map_err(text)?;
    Ok([len.to_le_bytes().as_slice(), &head, &directory.snapshot().map_err(text)?].concat())
}

/// Puts a snapshot in the place of the log of a supernode that does not run
fn put(options: &Options, node: &Node, network: &NetworkId, snapshot: &[u8]) -> Result<(), LabError> {
    let file = node.home.file("bench-backup");
    let check = sha256(&[&network.0, snapshot]);
    fs::write(&file, [MAGIC, &network.0, &check, snapshot].concat()).map_err(io_error("write a backup"))?;
    fs::remove_file(node.home.file("directory.redb")).map_err(io_error("take the log away"))?;
    let home = node.home.path().to_string_lossy().into_owned();
    let args = ["--home".into(), home, "restore".into(), path(&file)];
    let mut command = role::command(&options.binary, Role::Supernode, false, &args);
    let output = command.stdin(Stdio::null()).output().map_err(io_error("run kith-supernode restore"))?;
    fs::remove_file(&file).map_err(io_error("remove a backup"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(bench(format!("kith-supernode restore: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Asks a supernode that has just been started until it answers, and until peers may log in
fn wait(node: &Node) -> Result<(Duration, Duration, StatusAnswer), LabError> {
    let (began, mut answered) = (Instant::now(), None);
    while began.elapsed() < START_LIMIT {
        if let Ok(done) = node.ask::<StatusAnswer>(&Request::Status, LOOK_LIMIT) {
            let answered = *answered.get_or_insert_with(|| began.elapsed());
            if done.status == Status::Delivered {
                return Ok((answered, began.elapsed(), done.answer));
            }
        }
        std::thread::sleep(ASK_EVERY);
    }
    Err(LabError::TimedOut { what: node.name.clone(), limit: START_LIMIT, reason: "it does not answer".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_has_as_many_names_as_were_wanted() {
        let bytes = snapshot(SupernodeId(1), 100).expect("a snapshot");
        let (len, rest) = bytes.split_first_chunk().expect("a length");
        let (head, directory) = rest.split_at(u32::from_le_bytes(*len) as usize);
        let head: SnapshotHead = wire::decode(head).expect("a head");
        let directory = Directory::restore(head.incarnation, directory).expect("a directory");
        assert_eq!((directory.accounts().len(), directory.sessions().len(), directory.applied()), (100, 0, 200));
    }
}
