//! The processes of a lab: started, watched until they are ready, broken, ended.

mod clocks;
mod cuts;
mod disks;
mod faults;
mod supernodes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_runtime::control::peer::{State as Login, StatusAnswer};
use kith_runtime::stall::{self, Watch};

use crate::book::Book;
use crate::draw::Draw;
use crate::error::{LabError, io_error};
use crate::fate::Fate;
use crate::graph::{self, Graph};
use crate::log;
use crate::node::Node;
use crate::options::{Options, Progress};
use crate::process::{Condition, ProcessId, Usage};
use crate::role::{self, PeerArgs, Role};
use crate::state::{Process, State};
use crate::{draw, names};

pub(crate) use clocks::library as clock_library;
pub(crate) use supernodes::LEADER;
pub use supernodes::Standing;

/// How often a condition is looked at while it is waited for
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// From the start of a process to its readiness; generous, for debug builds on busy machines
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How much of a log a failure shows
const TAIL_LINES: usize = 15;

/// A lab; dropped, it kills its processes if it is tied
#[derive(Debug)]
pub struct Lab {
    book: Book,
    /// The processes that this one has started, by pid: they want to be waited for
    children: Mutex<BTreeMap<u32, Child>>,
    progress: Progress,
    options: Options,
    /// Of a lab that ends with this process: whoever hangs fails
    _watch: Option<Watch>,
}

impl Lab {
    /// Starts a lab and waits until every peer is logged in and holds its links
    ///
    /// # Errors
    /// Whatever kept it from coming up; everything that was started has then been ended, homes and logs are left.
    pub fn up(options: Options, progress: Progress) -> Result<Self, LabError> {
        let lab = Self::empty(options, progress)?;
        match lab.start_all() {
            Ok(()) => Ok(lab),
            Err(error) => {
                lab.kill_all();
                Err(error)
            }
        }
    }

    /// A lab with its supernodes but no peer
    ///
    /// # Errors
    /// As [`Self::up`].
    pub fn empty(options: Options, progress: Progress) -> Result<Self, LabError> {
        options.check()?;
        let seed = options.seed.map_or_else(draw::seed, Ok).map_err(io_error("draw a seed"))?;
        let book = Book::create(&options.dir, seed, options.degree)?;
        progress.say(&format!("lab in {} (seed {seed})", options.dir.display()));
        let lab = Self::with(book, options, progress);
        let networks = if lab.options.netns { lab.start_networks() } else { Ok(()) };
        let all = || (0..lab.options.supernodes).try_for_each(|index| lab.add_supernode(&names::supernode(index)));
        match networks.and_then(|()| all()).and_then(|()| lab.wait_agreed()) {
            Ok(_) => Ok(lab),
            Err(error) => {
                lab.kill_all();
                Err(error)
            }
        }
    }

    /// The lab that runs in `dir`; it goes on when this is dropped
    ///
    /// # Errors
    /// There is none.
    pub fn open(dir: &Path, binary: PathBuf, progress: Progress) -> Result<Self, LabError> {
        let options = Options { tied: false, ..Options::new(dir, binary) };
        Ok(Self::with(Book::open(dir)?, options, progress))
    }

    fn with(book: Book, options: Options, progress: Progress) -> Self {
        let watch = options.tied.then(|| stall::watch(stall::LIMIT));
        Self { book, children: Mutex::default(), progress, options, _watch: watch }
    }

    fn start_all(&self) -> Result<(), LabError> {
        // One after the other: the ring depends on the order of the logins, and a seed must give the same ring again.
        for index in 0..self.options.peers {
            let name = names::peer(index);
            self.add_peer(&name)?;
            let took = self.wait_logged_in(&name)?;
            self.progress.say(&format!("{name} is logged in after {} ms", took.as_millis()));
        }
        self.settle("every peer to hold its links", READY_LIMIT).map_err(|error| self.explain(error))?;
        self.progress.say("every peer holds its links");
        Ok(())
    }

    /// The lab's directory, absolute
    pub fn dir(&self) -> &Path {
        self.book.dir()
    }

    /// What each process of that role that runs has used so far, by its name
    ///
    /// # Errors
    /// The lab's state cannot be read.
    pub(crate) fn usages(&self, role: Role) -> Result<BTreeMap<String, Usage>, LabError> {
        let processes = self.state()?.processes.into_iter().filter(|process| process.role == role);
        Ok(processes.filter_map(|process| Some((process.name, process.process?.usage()?))).collect())
    }

    /// Who is told how far things have come
    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    /// What the lab has started
    ///
    /// # Errors
    /// It cannot be read, or the lab was ended.
    pub fn state(&self) -> Result<State, LabError> {
        self.book.state()
    }

    /// The process `name`; `supernode` is the first supernode, and `leader` the one that leads
    ///
    /// # Errors
    /// There is none of that name.
    pub fn node(&self, name: &str) -> Result<Node, LabError> {
        if name == LEADER { self.leader() } else { Node::of(&self.book.process(name)?) }
    }

    /// Every process of that role that runs, in the order of their first starts
    ///
    /// # Errors
    /// The lab's state cannot be read.
    pub fn running(&self, role: Role) -> Result<Vec<Node>, LabError> {
        let state = self.state()?;
        let runs = |process: &&Process| process.role == role && process.condition() == Condition::Running;
        state.processes.iter().filter(runs).map(Node::of).collect()
    }

    /// Starts a new peer and waits for nothing
    ///
    /// # Errors
    /// It did not start; it is left as it is.
    pub fn add_peer(&self, name: &str) -> Result<(), LabError> {
        self.add_peer_as(name, name)
    }

    /// Starts a new peer whose process is called `name` in the lab and that logs in as `login`
    ///
    /// # Errors
    /// As [`Self::add_peer`].
    pub fn add_peer_as(&self, name: &str, login: &str) -> Result<(), LabError> {
        self.record_peer(name, login)?;
        self.spawn(name)
    }

    fn record_peer(&self, name: &str, login: &str) -> Result<(), LabError> {
        let state = self.state()?;
        let mut supernodes = self.book.listening(&state)?;
        // In an order of its own, as peers have them of different people.
        Draw::of(state.seed, name).shuffle(&mut supernodes);
        let home = self.book.new_home(name, state.seed)?;
        let secret = self.options.secret.as_deref();
        let listen = self.any_port(state.processes.len());
        let args = PeerArgs { home: &home, name: login, listen: &listen, supernodes: &supernodes, secret }.list();
        self.book.record(Process { name: name.into(), role: Role::Peer, process: None, home, args })
    }

    /// Starts a new peer that looks alive and forwards nothing ([`kith_runtime::lies`]), until it is started again
    ///
    /// # Errors
    /// As [`Self::add_peer`].
    pub fn add_liar(&self, name: &str) -> Result<(), LabError> {
        self.record_peer(name, name)?;
        self.spawn_with(name, &[(kith_runtime::lies::VARIABLE, "1")])
    }

    fn spawn(&self, name: &str) -> Result<(), LabError> {
        self.spawn_with(name, &[])
    }

    /// Starts it with these variables in its environment
    fn spawn_with(&self, name: &str, variables: &[(&str, &str)]) -> Result<(), LabError> {
        let process = self.book.process(name)?;
        let what = format!("start {name}");
        let log = log::open(&process.home).map_err(io_error(what.clone()))?;
        let err = log.try_clone().map_err(io_error(what.clone()))?;
        let command = role::command(&self.options.binary, process.role, self.options.tied, &process.args);
        let mut command = self.in_its_network(&process, command)?;
        self.set_its_clock(&process, &mut command)?;
        let stdin = if self.options.tied { Stdio::piped() } else { Stdio::null() };
        let child = command
            .envs(variables.iter().copied())
            .stdin(stdin)
            .stdout(log)
            .stderr(err)
            .spawn()
            .map_err(io_error(what))?;
        let pid = child.id();
        self.keep(child);
        let started = ProcessId::of(pid);
        if started.is_none() {
            return Err(self.not_ready(&process.name, "its start time cannot be read from /proc (the lab needs Linux)"));
        }
        stall::note(format_args!("{name} is started"));
        self.book.change(&process.name, |process| process.process = started)
    }

    /// Keeps what this one has started, to wait for its end
    fn keep(&self, child: Child) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id(), child);
    }

    /// Waits until the peer `name` has a session; how long that took
    ///
    /// # Errors
    /// It ended, or did not log in in time.
    pub fn wait_logged_in(&self, name: &str) -> Result<Duration, LabError> {
        let node = self.node(name)?;
        self.wait_for_process(&node.name, "it to log in", || {
            let StatusAnswer { state, reason, .. } = node.status().map_err(|error| error.to_string())?.answer;
            if state == Login::LoggedIn {
                Ok(())
            } else {
                Err(format!("it is {state} ({})", reason.unwrap_or_default()))
            }
        })
    }

    /// Waits for a condition of one process, and no longer than that process lives
    fn wait_for_process(
        &self,
        name: &str,
        what: &str,
        mut holds: impl FnMut() -> Result<(), String>,
    ) -> Result<Duration, LabError> {
        let mut ended = false;
        let waited = self.wait_until(&format!("{name}: {what}"), READY_LIMIT, || {
            ended = self.book.process(name).is_ok_and(|process| process.condition() == Condition::Ended);
            if ended { Ok(()) } else { holds() }
        });
        match waited {
            Ok(_) if ended => Err(self.not_ready(name, "it has ended")),
            Err(LabError::TimedOut { reason, .. }) => Err(self.not_ready(name, &reason)),
            waited => waited,
        }
    }

    /// Looks at a condition until it holds; how long that took. The condition says what it lacks.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] with what was lacking at last.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut() -> Result<(), String>,
    ) -> Result<Duration, LabError> {
        let start = Instant::now();
        stall::note(format_args!("waits for {what}"));
        loop {
            match holds() {
                Ok(()) => {
                    stall::note(format_args!("has waited for {what}"));
                    return Ok(start.elapsed());
                }
                Err(reason) if start.elapsed() >= limit => {
                    return Err(LabError::TimedOut { what: what.to_owned(), limit, reason });
                }
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Waits until all is as [`Self::settled`] says
    ///
    /// # Errors
    /// [`LabError::TimedOut`] with what was lacking at last.
    pub fn settle(&self, what: &str, limit: Duration) -> Result<Duration, LabError> {
        self.wait_until(what, limit, || self.settled())
    }

    /// As [`Self::settle`], but links with peers that somebody else has started are nobody's business
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub(crate) fn settle_beside_others(&self, what: &str, limit: Duration) -> Result<Duration, LabError> {
        let state = self.state()?;
        let is_outside = |name: &str| !state.processes.iter().any(|process| process.name == name);
        self.wait_until(what, limit, || self.settled_but(is_outside))
    }

    /// Whether the supernodes agree, every running peer that has not logged out is logged in, all its links are up, and no
    /// link leads to anybody else
    ///
    /// # Errors
    /// `NAME: what it lacks`, for the first that lacks something.
    pub fn settled(&self) -> Result<(), String> {
        self.settled_but(|_| false)
    }

    fn settled_but(&self, is_outside: impl Fn(&str) -> bool) -> Result<(), String> {
        self.agreed()?;
        graph::settled(&self.running(Role::Peer).map_err(|error| error.to_string())?, is_outside)
    }

    /// The links that are up, as each running peer tells its own
    ///
    /// # Errors
    /// A peer cannot be asked.
    pub fn graph(&self) -> Result<Graph, LabError> {
        graph::graph(&self.running(Role::Peer)?)
    }

    /// Sends a message from one peer to another and waits for its fate
    ///
    /// # Errors
    /// The sender could not be asked; then the message's fate is not known.
    pub fn send(&self, from: &str, to: &str, text: &str) -> Result<Fate, LabError> {
        self.node(from)?.send(to, text)
    }

    fn not_ready(&self, name: &str, reason: &str) -> LabError {
        let log = self.book.dir().join(name).join("log");
        let tail = log::tail(&log, TAIL_LINES);
        LabError::NotReady { name: name.into(), reason: reason.into(), tail, log }
    }

    /// Adds the log of whoever is named first in what was lacking
    fn explain(&self, error: LabError) -> LabError {
        let LabError::TimedOut { reason, .. } = &error else { return error };
        match reason.split_once(':') {
            Some((name, what)) if self.book.process(name).is_ok() => self.not_ready(name, what.trim()),
            _ => error,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.options.tied {
            self.kill_all();
        } else {
            self.reap();
        }
    }
}

#[cfg(test)]
mod tests;
