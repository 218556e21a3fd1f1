//! The book of a lab: which processes it has, with which homes and arguments.
//!
//! It is `lab.json` in the lab's directory, read anew for each question: another terminal may have written to it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::error::{LabError, io_error};
use crate::net::Net;
use crate::process::Condition;
use crate::role::{self, Role};
use crate::state::{self, PROCESSES_MAX, Process, State};
use crate::{draw, node};

/// Where a lab's state is kept
#[derive(Debug)]
pub(crate) struct Book {
    dir: PathBuf,
}

impl Book {
    /// A new lab's in `dir`, where what an ended lab has left is removed
    ///
    /// # Errors
    /// A lab runs there, or there are files that no lab has made; nothing was changed then.
    pub(crate) fn create(dir: &Path, seed: u64, degree: u8) -> Result<Self, LabError> {
        clear(dir)?;
        let dir = fs::canonicalize(dir).map_err(io_error("find the lab's directory"))?;
        let fresh = State { seed, degree, processes: Vec::new(), net: None };
        State::change(&dir, |state| *state = Some(fresh)).map_err(io_error("write the lab's state"))?;
        Ok(Self { dir })
    }

    /// That of the lab in `dir`
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn open(dir: &Path) -> Result<Self, LabError> {
        let dir = fs::canonicalize(dir).map_err(|_| LabError::NoLab(dir.to_owned()))?;
        let book = Self { dir };
        book.state().map(|_| book)
    }

    /// The lab's directory, absolute
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the lab has started
    ///
    /// # Errors
    /// It cannot be read, or the lab was ended.
    pub(crate) fn state(&self) -> Result<State, LabError> {
        let state = State::load(&self.dir).map_err(io_error("read the lab's state"))?;
        state.ok_or_else(|| LabError::NoLab(self.dir.clone()))
    }

    /// The process `name`; `supernode` is the first supernode
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn process(&self, name: &str) -> Result<Process, LabError> {
        let state = self.state()?;
        let first = || state.processes.iter().find(|process| name == "supernode" && process.role == Role::Supernode);
        if let Some(process) = state.process(name).or_else(first) {
            return Ok(process.clone());
        }
        let known: Vec<&str> = state.processes.iter().map(|process| process.name.as_str()).collect();
        Err(LabError::NoSuchName { name: name.to_owned(), known: known.join(", ") })
    }

    /// Where the supernodes listen, as they were told after their first start
    ///
    /// # Errors
    /// None has listened yet.
    pub(crate) fn listening(&self, state: &State) -> Result<Vec<String>, LabError> {
        let supernodes = state.processes.iter().filter(|process| process.role == Role::Supernode);
        let listening: Vec<String> = supernodes.filter_map(listen).map(str::to_owned).collect();
        if listening.is_empty() {
            return Err(LabError::Options("a peer needs a supernode, and this lab has none yet".into()));
        }
        Ok(listening)
    }

    /// Makes a home for the process `name`, with the key that the seed gives it
    ///
    /// # Errors
    /// It is no name, or the system refuses.
    pub(crate) fn new_home(&self, name: &str, seed: u64) -> Result<PathBuf, LabError> {
        node::name(name)?;
        let home = self.dir.join(name);
        state::make_home(&home, &draw::key(seed, name)).map_err(io_error(format!("make the home of {name}")))?;
        Ok(home)
    }

    /// Adds a process
    ///
    /// # Errors
    /// There are [`PROCESSES_MAX`] already, or the file cannot be written.
    pub(crate) fn record(&self, process: Process) -> Result<(), LabError> {
        let full = State::change(&self.dir, |state| match state {
            Some(state) if state.processes.len() < PROCESSES_MAX => {
                state.processes.push(process);
                false
            }
            _ => true,
        });
        match full.map_err(io_error("write the lab's state"))? {
            true => Err(LabError::Options(format!("a lab has at most {PROCESSES_MAX} processes"))),
            false => Ok(()),
        }
    }

    /// The lab's nodes have networks of their own from now on
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn begin_net(&self, net: Net) -> Result<(), LabError> {
        let begun = State::change(&self.dir, |state| state.iter_mut().for_each(|state| state.net = Some(net.clone())));
        begun.map_err(io_error("write the lab's state"))
    }

    /// Changes what is written of the lab's networks, if it has such
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn change_net(&self, change: impl FnOnce(&mut Net)) -> Result<(), LabError> {
        let changed = State::change(&self.dir, |state| {
            let net = state.as_mut().and_then(|state| state.net.as_mut());
            net.map(change).unwrap_or_default();
        });
        changed.map_err(io_error("write the lab's state"))
    }

    /// Changes what is written of the process `name`
    ///
    /// # Errors
    /// There is none, or the file cannot be written.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Process)) -> Result<(), LabError> {
        let changed = State::change(&self.dir, |state| {
            state.as_mut().and_then(|state| state.process_mut(name)).map(change).is_some()
        });
        match changed.map_err(io_error("write the lab's state"))? {
            true => Ok(()),
            false => Err(LabError::NoLab(self.dir.clone())),
        }
    }
}

/// Where a supernode listens, as it was told after its first start
pub(crate) fn listen(process: &Process) -> Option<&str> {
    let flag = process.args.iter().position(|arg| arg == "--listen")?;
    process.args.get(flag + 1).map(String::as_str).filter(|at| !at.ends_with(role::ANY_PORT_END))
}

/// Makes `dir` an empty lab: what an ended lab has left there goes
fn clear(dir: &Path) -> Result<(), LabError> {
    if let Some(state) = State::load(dir).map_err(io_error("read the lab's state"))? {
        let hub = state.net.as_ref().map(|net| net.hub.condition());
        let mut conditions = state.processes.iter().map(Process::condition).chain(hub);
        if conditions.any(|condition| condition != Condition::Ended) {
            return Err(LabError::Running(dir.display().to_string()));
        }
        let dir = fs::canonicalize(dir).map_err(io_error("find the lab's directory"))?;
        for process in &state.processes {
            // Never more than what a lab makes: a directory right beneath its own.
            if process.home.parent() == Some(&dir) {
                remove_dir(&process.home).map_err(io_error(format!("remove {}", process.home.display())))?;
            }
        }
    }
    match state::is_free(dir).map_err(io_error(format!("look into {}", dir.display())))? {
        true => state::prepare_dir(dir).map_err(io_error(format!("make {}", dir.display()))),
        false => Err(LabError::NotALab(dir.to_owned())),
    }
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
