//! `lab.json`: what a lab has started, kept for the next command.
//!
//! Every change is made under a lock and replaces the file whole, so two terminals can work on one lab.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use kith_runtime::identity::Identity;
use serde::{Deserialize, Serialize};

use crate::net::Net;
use crate::process::{Condition, ProcessId};
use crate::programs;
use crate::role::Role;

/// The state's file in a lab's directory
const STATE_FILE: &str = "lab.json";
/// A state on its way to becoming it
const STATE_FILE_NEW: &str = ".lab.json.new";
/// Held while the state's file is changed
const LOCK_FILE: &str = "lab.lock";

/// A lab has at most this many processes, a thousand peers and some supernodes: a machine with more of them is no longer
/// one to look at
pub(crate) const PROCESSES_MAX: usize = 1_024;

/// What a lab has started
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What keys and salts are drawn from
    pub seed: u64,
    pub degree: u8,
    /// Every process, in the order of their first starts; at most 1,024
    pub processes: Vec<Process>,
    /// The nodes' own networks, if they have such
    #[serde(default)]
    pub net: Option<Net>,
}

/// One process of the lab
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What it is called
    pub name: String,
    pub role: Role,
    /// Its pid and start time; none before the first start
    #[serde(flatten)]
    pub process: Option<ProcessId>,
    pub home: PathBuf,
    /// What it is started with
    pub args: Vec<String>,
}

impl Process {
    pub fn condition(&self) -> Condition {
        self.process.map_or(Condition::Ended, |process| process.condition())
    }
}

impl State {
    /// The process of that name
    pub fn process(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.name == name)
    }

    /// As [`Self::process`], to change it
    pub(crate) fn process_mut(&mut self, name: &str) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.name == name)
    }

    /// Reads the state of the lab in `dir`; `None` when there is no lab
    ///
    /// # Errors
    /// The file cannot be read, or holds something else; it is left as it is.
    pub fn load(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(STATE_FILE)) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the state of the lab in `dir` by what `change` makes of it
    ///
    /// # Errors
    /// The file cannot be read or written; it then is as it was before.
    pub(crate) fn change<R>(dir: &Path, change: impl FnOnce(&mut Option<Self>) -> R) -> io::Result<R> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE))?;
        // Unlocked by the system when `lock` is closed, also when this process is killed.
        File::lock(&lock)?;
        let mut state = Self::load(dir)?;
        let result = change(&mut state);
        let temporary = dir.join(STATE_FILE_NEW);
        match state {
            Some(state) => {
                fs::write(&temporary, serde_json::to_vec_pretty(&state)?)?;
                fs::rename(&temporary, dir.join(STATE_FILE))?;
            }
            None => remove(&dir.join(STATE_FILE))?,
        }
        Ok(result)
    }
}

/// Makes `dir` a lab's directory that git ignores, whatever it is called
///
/// # Errors
/// The system refused; what was made until then is left.
pub(crate) fn prepare_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::write(dir.join(".gitignore"), "*\n")
}

/// Whether nothing stands in `dir` that a lab did not put there, or it does not exist
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn is_free(dir: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if ![STATE_FILE, STATE_FILE_NEW, LOCK_FILE, ".gitignore", programs::FOLDER].iter().any(|own| name == *own) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a home (0700) with a key (0600) that is `secret`
///
/// # Errors
/// The system refused, or the home has a key; what was made until then is left.
pub(crate) fn make_home(home: &Path, secret: &[u8; 32]) -> io::Result<()> {
    Identity::from_seed(*secret).write(home).map_err(io::Error::other)
}

/// Removes a file, which may be gone already
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn state() -> State {
        let alice = Process {
            name: "alice".into(),
            role: Role::Peer,
            process: Some(ProcessId { pid: 7, started: 8 }),
            home: "lab/alice".into(),
            args: vec!["run".into()],
        };
        let bob = Process { name: "bob".into(), process: None, ..alice.clone() };
        State { seed: 1, degree: 4, processes: vec![alice, bob], net: None }
    }

    #[test]
    fn state_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("dir");
        assert_eq!(State::load(dir.path()).expect("load"), None);
        State::change(dir.path(), |stored| *stored = Some(state())).expect("store");
        assert_eq!(State::load(dir.path()).expect("load"), Some(state()));
        State::change(dir.path(), |stored| *stored = None).expect("remove");
        assert_eq!(State::load(dir.path()).expect("load"), None);
    }

    #[test]
    fn changes_at_once_are_all_kept() {
        let dir = tempfile::tempdir().expect("dir");
        State::change(dir.path(), |stored| *stored = Some(state())).expect("store");
        let dir = dir.path();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let count = |stored: &mut Option<State>| stored.iter_mut().for_each(|state| state.seed += 1);
                scope.spawn(move || State::change(dir, count).expect("change"));
            }
        });
        assert_eq!(State::load(dir).expect("load").expect("state").seed, 9);
    }

    #[test]
    fn directory_with_other_files_is_not_free() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(is_free(&dir.path().join("absent")).expect("read"));
        prepare_dir(dir.path()).expect("prepare");
        assert!(is_free(dir.path()).expect("read"));
        fs::write(dir.path().join("thesis.txt"), "").expect("write");
        assert!(!is_free(dir.path()).expect("read"));
    }

    #[test]
    fn key_is_hexadecimal_and_nobody_elses() {
        let dir = tempfile::tempdir().expect("dir");
        let home = dir.path().join("alice");
        make_home(&home, &[0xab; 32]).expect("home");
        assert!(fs::read_to_string(home.join("key")).expect("key").starts_with(&"ab".repeat(32)));
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!((mode(&home), mode(&home.join("key"))), (0o700, 0o600));
        assert!(make_home(&home, &[0; 32]).is_err());
    }
}
