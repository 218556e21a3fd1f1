//! The processes of a lab: started, watched until they are ready, broken, ended.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::control::{Control, ControlError, NeighboursAnswer, SendAnswer, StatusAnswer};
use crate::process::{Condition, ProcessId};
use crate::role::{self, PeerArgs, Role, SupernodeArgs};
use crate::state::{self, PROCESSES_MAX, Process, State};
use crate::{draw, names, output};

/// How often a condition is looked at while it is waited for
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// One look at a daemon on its control socket; a busy machine is slow, a paused daemon says nothing at all
pub const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// A send has its fate within 10 s and perhaps a look-up and a relay after that
pub const SEND_LIMIT: Duration = Duration::from_secs(30);
/// From the start of a process to its readiness; generous, for debug builds on busy machines
const READY_LIMIT: Duration = Duration::from_secs(60);
/// A daemon ends within 5 s of the signal
const END_LIMIT: Duration = Duration::from_secs(7);
/// How much of a log a failure shows
const TAIL_LINES: usize = 15;
/// The lab's lease: short, so that there is something to see
const LEASE: Duration = Duration::from_secs(10);

/// How a lab is laid out
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything that the lab makes lies beneath it
    pub dir: PathBuf,
    /// The program that plays the roles
    pub binary: PathBuf,
    /// How many supernodes; one, until the directory is replicated
    pub supernodes: usize,
    /// How many peers, at most [`PROCESSES_MAX`] with the supernodes
    pub peers: usize,
    /// The network's degree
    pub degree: u8,
    /// The network's lease
    pub lease: Duration,
    /// What keys and salts are drawn from; one is drawn if none is given
    pub seed: Option<u64>,
    /// The network's secret
    pub secret: Option<String>,
    /// Whether the lab ends with this process, however that one ends
    pub tied: bool,
}

impl Options {
    /// One supernode and eight peers of degree 4 beneath `dir`, played by `binary`, ended with this process
    pub fn new(dir: impl Into<PathBuf>, binary: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            binary: binary.into(),
            supernodes: 1,
            peers: 8,
            degree: 4,
            lease: LEASE,
            seed: None,
            secret: None,
            tied: true,
        }
    }
}

/// Who is told how far a lab has come
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody
    Quiet,
    /// Standard error, a line at a time
    Lines,
}

impl Progress {
    /// Tells one step
    pub fn say(self, text: &str) {
        if self == Self::Lines {
            output::note(text);
        }
    }
}

/// A lab could not do what it was asked
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Nothing was started there, or it was ended. Nothing was changed.
    #[error("there is no lab in {}; start one: kith-lab --dir {} up", .0.display(), .0.display())]
    NoLab(PathBuf),
    /// A lab runs there. Nothing was changed.
    #[error("a lab runs in {0} already; end it: kith-lab --dir {0} down, or choose another --dir")]
    Running(String),
    /// The directory holds files that no lab has made. Nothing was changed.
    #[error("{} holds other files than a lab's; choose another --dir", .0.display())]
    NotALab(PathBuf),
    /// No process of the lab has that name. Nothing was changed.
    #[error("the lab has no {name}; it has {known}")]
    NoSuchName {
        /// What was asked for
        name: String,
        /// Whom there is
        known: String,
    },
    /// The process is not in the condition that this needs. Nothing was changed.
    #[error("{name} is {is}; {hint}")]
    WrongCondition {
        /// Who
        name: String,
        /// How it is
        is: &'static str,
        /// What to type
        hint: String,
    },
    /// The options cannot be had. Nothing was started.
    #[error("{0}")]
    Options(String),
    /// Something that was waited for did not come. The lab is left as it is.
    #[error("waited {:.1} s for {what}, in vain: {reason}", limit.as_secs_f64())]
    TimedOut {
        /// What was waited for
        what: String,
        /// How long
        limit: Duration,
        /// What was lacking at the last look
        reason: String,
    },
    /// A process ended or did not become ready. The others are left as they are, or ended with a lab that was coming up.
    #[error("{name}: {reason}\nthe end of its log, {log}:\n{tail}\nnext: look at the whole log, or try again with KITH_LOG=debug", log = log.display())]
    NotReady {
        /// Who
        name: String,
        /// What happened
        reason: String,
        /// Its log
        log: PathBuf,
        /// The log's last lines
        tail: String,
    },
    /// A daemon could not be asked
    #[error("{name}: {error}")]
    Control {
        /// Who
        name: String,
        /// Why not
        error: ControlError,
    },
    /// A process of a bench failed. All of its processes have ended.
    #[error("{process}, a process of the bench: {reason}")]
    Bench {
        /// Which chain, and which place in it
        process: String,
        /// What happened
        reason: String,
    },
    /// The operating system refused. What was done until then is left.
    #[error("{what}: {error}")]
    Io {
        /// What was tried
        what: String,
        /// Why not
        error: io::Error,
    },
}

/// Names what was tried in an error of the operating system
pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
    let what = what.into();
    move |error| LabError::Io { what, error }
}

/// One process of a lab, to be asked
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name
    pub name: String,
    /// What it is
    pub role: Role,
    /// Its home directory
    pub home: PathBuf,
    control: Control,
}

impl Node {
    fn of(process: &Process) -> Self {
        let control = Control::of(&process.home);
        Self { name: process.name.clone(), role: process.role, home: process.home.clone(), control }
    }

    /// Its control socket
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Its log
    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// How it is
    ///
    /// # Errors
    /// It could not be asked.
    pub fn status(&self) -> Result<StatusAnswer, LabError> {
        self.control.status(LOOK_LIMIT).map_err(|error| self.failed(error))
    }

    /// Its links
    ///
    /// # Errors
    /// It could not be asked.
    pub fn neighbours(&self) -> Result<NeighboursAnswer, LabError> {
        self.control.neighbours(LOOK_LIMIT).map_err(|error| self.failed(error))
    }

    /// Sends a message and waits for its fate
    ///
    /// # Errors
    /// It could not be asked; then the message's fate is not known.
    pub fn send(&self, to: &str, text: &str) -> Result<SendAnswer, LabError> {
        self.control.send(to, text, SEND_LIMIT).map_err(|error| self.failed(error))
    }

    /// Names this process in an error of its control socket
    pub fn failed(&self, error: ControlError) -> LabError {
        LabError::Control { name: self.name.clone(), error }
    }
}

/// A lab; dropped, it kills its processes if it is tied
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    binary: PathBuf,
    tied: bool,
    /// The processes that this one has started, by pid: they want to be waited for
    children: Mutex<BTreeMap<u32, Child>>,
    progress: Progress,
    options: Options,
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
        check(&options)?;
        clear(&options.dir)?;
        let seed = options.seed.map_or_else(draw::seed, Ok).map_err(io_error("draw a seed"))?;
        let dir = fs::canonicalize(&options.dir).map_err(io_error("find the lab's directory"))?;
        let fresh = State { seed, degree: options.degree, processes: Vec::new() };
        State::change(&dir, |state| *state = Some(fresh)).map_err(io_error("write the lab's state"))?;
        progress.say(&format!("lab in {} (seed {seed})", options.dir.display()));
        let lab = Self::at(dir, options, progress);
        match (0..lab.options.supernodes).try_for_each(|index| lab.add_supernode(&names::supernode(index))) {
            Ok(()) => Ok(lab),
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
        let dir = fs::canonicalize(dir).map_err(|_| LabError::NoLab(dir.to_owned()))?;
        let lab = Self::at(dir, options, progress);
        lab.state().map(|_| lab)
    }

    fn at(dir: PathBuf, options: Options, progress: Progress) -> Self {
        let binary = options.binary.clone();
        Self { dir, binary, tied: options.tied, children: Mutex::default(), progress, options }
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
        &self.dir
    }

    /// Who is told how far things have come
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What the lab has started
    ///
    /// # Errors
    /// It cannot be read, or the lab was ended.
    pub fn state(&self) -> Result<State, LabError> {
        let state = State::load(&self.dir).map_err(io_error("read the lab's state"))?;
        state.ok_or_else(|| LabError::NoLab(self.dir.clone()))
    }

    /// The process `name`; `supernode` is the first supernode
    ///
    /// # Errors
    /// There is none of that name.
    pub fn node(&self, name: &str) -> Result<Node, LabError> {
        Ok(Node::of(&self.process(name)?))
    }

    /// The peer `name`
    ///
    /// # Errors
    /// There is none of that name.
    pub fn peer(&self, name: &str) -> Result<Node, LabError> {
        self.node(name)
    }

    /// Every process of that role that runs, in the order of their first starts
    ///
    /// # Errors
    /// The lab's state cannot be read.
    pub fn running(&self, role: Role) -> Result<Vec<Node>, LabError> {
        let state = self.state()?;
        let runs = |process: &&Process| process.role == role && process.condition() == Condition::Running;
        Ok(state.processes.iter().filter(runs).map(Node::of).collect())
    }

    fn process(&self, name: &str) -> Result<Process, LabError> {
        let state = self.state()?;
        let first = || state.processes.iter().find(|process| name == "supernode" && process.role == Role::Supernode);
        if let Some(process) = state.process(name).or_else(first) {
            return Ok(process.clone());
        }
        let known: Vec<&str> = state.processes.iter().map(|process| process.name.as_str()).collect();
        Err(LabError::NoSuchName { name: name.to_owned(), known: known.join(", ") })
    }

    /// Starts a new supernode and waits until it listens
    ///
    /// # Errors
    /// It did not start, or not in time; it is left as it is.
    pub fn add_supernode(&self, name: &str) -> Result<(), LabError> {
        let seed = self.state()?.seed;
        let home = self.new_home(name, seed)?;
        let options = &self.options;
        let secret = options.secret.as_deref();
        let (degree, lease) = (options.degree, options.lease);
        let args = SupernodeArgs { home: &home, listen: role::ANY_PORT, degree, lease, seed, secret };
        self.record(Process {
            name: name.into(),
            role: Role::Supernode,
            process: None,
            args: args.list(),
            home: home.clone(),
        })?;
        self.spawn(name)?;
        let listen = self.wait_listening(name)?;
        // Peers know the supernode by this address, so a restart must come back to it.
        let args = SupernodeArgs { listen: &listen, ..args }.list();
        self.change(name, |process| process.args = args)?;
        self.progress.say(&format!("{name} listens at {listen}"));
        Ok(())
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
        let state = self.state()?;
        let supernodes: Vec<String> = self.listening(&state)?;
        let home = self.new_home(name, state.seed)?;
        let secret = self.options.secret.as_deref();
        let args = PeerArgs { home: &home, name: login, supernodes: &supernodes, secret }.list();
        self.record(Process { name: name.into(), role: Role::Peer, process: None, home, args })?;
        self.spawn(name)
    }

    /// Where the supernodes listen, as they were told after their first start
    fn listening(&self, state: &State) -> Result<Vec<String>, LabError> {
        let supernodes = state.processes.iter().filter(|process| process.role == Role::Supernode);
        let listen = |process: &Process| {
            let flag = process.args.iter().position(|arg| arg == "--listen");
            flag.and_then(|flag| process.args.get(flag + 1)).cloned()
        };
        let listening: Vec<String> = supernodes.filter_map(listen).filter(|at| at != role::ANY_PORT).collect();
        if listening.is_empty() {
            return Err(LabError::Options("a peer needs a supernode, and this lab has none yet".into()));
        }
        Ok(listening)
    }

    fn new_home(&self, name: &str, seed: u64) -> Result<PathBuf, LabError> {
        let valid = name.parse::<kith_common::id::Name>();
        valid.map_err(|error| LabError::Options(format!("{name:?} is no name: {error}")))?;
        let home = self.dir.join(name);
        state::make_home(&home, &draw::key(seed, name)).map_err(io_error(format!("make the home of {name}")))?;
        Ok(home)
    }

    fn record(&self, process: Process) -> Result<(), LabError> {
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

    fn change(&self, name: &str, change: impl FnOnce(&mut Process)) -> Result<(), LabError> {
        let changed = State::change(&self.dir, |state| {
            state.as_mut().and_then(|state| state.process_mut(name)).map(change).is_some()
        });
        match changed.map_err(io_error("write the lab's state"))? {
            true => Ok(()),
            false => Err(LabError::NoLab(self.dir.clone())),
        }
    }

    fn spawn(&self, name: &str) -> Result<(), LabError> {
        let process = self.process(name)?;
        let what = format!("start {name}");
        let log = open_log(&process.home).map_err(io_error(what.clone()))?;
        let err = log.try_clone().map_err(io_error(what.clone()))?;
        let mut command = role::command(&self.binary, process.role, self.tied, &process.args);
        let stdin = if self.tied { Stdio::piped() } else { Stdio::null() };
        let child = command.stdin(stdin).stdout(log).stderr(err).spawn().map_err(io_error(what))?;
        let pid = child.id();
        self.children.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, child);
        let started = ProcessId::of(pid);
        if started.is_none() {
            return Err(self.not_ready(&process.name, "its start time cannot be read from /proc (the lab needs Linux)"));
        }
        self.change(&process.name, |process| process.process = started)
    }

    /// Waits until the supernode `name` says where it listens
    fn wait_listening(&self, name: &str) -> Result<String, LabError> {
        let node = self.node(name)?;
        let mut listen = String::new();
        let wait = self.wait_for_process(&node.name, "it to listen", || {
            let status = node.status().map_err(|error| error.to_string())?;
            listen = status.listen.first().unwrap_or_default().to_owned();
            if listen.is_empty() { Err("it listens nowhere yet".into()) } else { Ok(()) }
        });
        wait.map(|_| listen)
    }

    /// Waits until the peer `name` has a session; how long that took
    ///
    /// # Errors
    /// It ended, or did not log in in time.
    pub fn wait_logged_in(&self, name: &str) -> Result<Duration, LabError> {
        let node = self.node(name)?;
        self.wait_for_process(&node.name, "it to log in", || {
            let status = node.status().map_err(|error| error.to_string())?;
            if status.is_logged_in() { Ok(()) } else { Err(format!("it is {} ({})", status.state, status.reason)) }
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
            ended = self.process(name).is_ok_and(|process| process.condition() == Condition::Ended);
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
        loop {
            match holds() {
                Ok(()) => return Ok(start.elapsed()),
                Err(reason) if start.elapsed() >= limit => {
                    return Err(LabError::TimedOut { what: what.to_owned(), limit, reason });
                }
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Waits until every running peer is logged in, all its links are up, and no link leads to anybody else
    ///
    /// # Errors
    /// [`LabError::TimedOut`] with what was lacking at last.
    pub fn settle(&self, what: &str, limit: Duration) -> Result<Duration, LabError> {
        self.wait_until(what, limit, || crate::verify::settled(self))
    }

    /// Sends a message from one peer to another and waits for its fate
    ///
    /// # Errors
    /// The sender could not be asked; then the message's fate is not known.
    pub fn send(&self, from: &str, to: &str, text: &str) -> Result<SendAnswer, LabError> {
        self.node(from)?.send(to, text)
    }

    /// Kills the process `name` without a chance to say goodbye (`kill -9`)
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, name: &str) -> Result<(), LabError> {
        let process = self.signal(name, Signal::KILL, &[Condition::Running, Condition::Paused])?;
        self.wait_ended(&process)
    }

    /// Stops the process `name` where it is (SIGSTOP)
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self, name: &str) -> Result<(), LabError> {
        let process = self.signal(name, Signal::STOP, &[Condition::Running])?;
        self.wait_condition(&process, Condition::Paused)
    }

    /// Lets the paused process `name` go on (SIGCONT)
    ///
    /// # Errors
    /// It is not paused.
    pub fn resume(&self, name: &str) -> Result<(), LabError> {
        let process = self.signal(name, Signal::CONT, &[Condition::Paused])?;
        self.wait_condition(&process, Condition::Running)
    }

    /// Asks the process `name` to end (SIGTERM) and waits until it has
    ///
    /// # Errors
    /// It does not run, or goes on for longer than it may.
    pub fn stop(&self, name: &str) -> Result<(), LabError> {
        let process = self.signal(name, Signal::TERM, &[Condition::Running])?;
        self.wait_ended(&process)
    }

    /// Starts the process `name` again, in the same home, and waits for nothing
    ///
    /// # Errors
    /// It runs.
    pub fn start(&self, name: &str) -> Result<(), LabError> {
        let process = self.process(name)?;
        match process.condition() {
            Condition::Ended => self.spawn(&process.name),
            condition => Err(self.wrong(&process.name, condition)),
        }
    }

    /// As [`Self::start`], and waits until a peer is logged in, or a supernode listens
    ///
    /// # Errors
    /// It runs, or does not become ready.
    pub fn start_and_wait(&self, name: &str) -> Result<Duration, LabError> {
        let process = self.process(name)?;
        let start = Instant::now();
        self.start(&process.name)?;
        match process.role {
            Role::Peer => self.wait_logged_in(&process.name)?,
            Role::Supernode => self.wait_listening(&process.name).map(|_| start.elapsed())?,
        };
        Ok(start.elapsed())
    }

    fn signal(&self, name: &str, signal: Signal, from: &[Condition]) -> Result<Process, LabError> {
        let process = self.process(name)?;
        let condition = process.condition();
        let sent = from.contains(&condition) && process.process.is_some_and(|process| process.signal(signal));
        if sent { Ok(process) } else { Err(self.wrong(&process.name, condition)) }
    }

    fn wrong(&self, name: &str, condition: Condition) -> LabError {
        let verb = match condition {
            Condition::Running => "ps",
            Condition::Paused => "resume",
            Condition::Ended => "start",
        };
        let name_of_it = if verb == "ps" { "" } else { name };
        let hint = format!("next: kith-lab --dir {} {verb} {name_of_it}", self.dir.display()).trim_end().to_owned();
        LabError::WrongCondition { name: name.to_owned(), is: condition.word(), hint }
    }

    fn wait_condition(&self, process: &Process, condition: Condition) -> Result<(), LabError> {
        let what = format!("{} to be {}", process.name, condition.word());
        let waited = self.wait_until(&what, END_LIMIT, || match process.condition() {
            is if is == condition => Ok(()),
            is => Err(format!("it is {}", is.word())),
        });
        waited.map(|_| ())
    }

    fn wait_ended(&self, process: &Process) -> Result<(), LabError> {
        self.wait_condition(process, Condition::Ended)?;
        self.reap();
        Ok(())
    }

    /// Waits for those children that have ended, so that none stays behind as a zombie
    fn reap(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|_, child| matches!(child.try_wait(), Ok(None)));
    }

    /// Ends every process that the lab has started, the peers first, and forgets the lab; homes and logs are left
    ///
    /// # Errors
    /// The lab's state cannot be read or written, or a process cannot be ended.
    pub fn down(&self) -> Result<(), LabError> {
        let state = self.state()?;
        for role in [Role::Peer, Role::Supernode] {
            let processes: Vec<&Process> = state.processes.iter().filter(|process| process.role == role).collect();
            self.end(&processes)?;
        }
        self.reap();
        // The state stays, with everybody ended: the next `up` clears the homes that it lists.
        Ok(())
    }

    /// Asks, waits, and kills whoever has not listened
    fn end(&self, processes: &[&Process]) -> Result<(), LabError> {
        for process in processes.iter().filter_map(|process| process.process) {
            process.signal(Signal::TERM);
            // A paused process hears nothing before it goes on.
            process.signal(Signal::CONT);
        }
        let waited = self.wait_until("everybody to end", END_LIMIT, || all_ended(processes));
        if let Err(LabError::TimedOut { reason, .. }) = waited {
            self.progress.say(&format!("{reason} after {} s; killed", END_LIMIT.as_secs()));
            processes.iter().filter_map(|process| process.process).for_each(|process| {
                process.signal(Signal::KILL);
            });
            self.wait_until("everybody to end", END_LIMIT, || all_ended(processes))?;
        }
        Ok(())
    }

    /// Kills every process that the lab has started, at once
    pub fn kill_all(&self) {
        let processes = self.state().map(|state| state.processes).unwrap_or_default();
        for process in processes.iter().filter_map(|process| process.process) {
            process.signal(Signal::KILL);
        }
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for child in children.values_mut() {
            // An error says that it has ended already, and that is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
        children.clear();
    }

    fn not_ready(&self, name: &str, reason: &str) -> LabError {
        let log = self.dir.join(name).join("log");
        LabError::NotReady { name: name.into(), reason: reason.into(), tail: tail(&log, TAIL_LINES), log }
    }

    /// Adds the log of whoever is named first in what was lacking
    fn explain(&self, error: LabError) -> LabError {
        let LabError::TimedOut { reason, .. } = &error else { return error };
        match reason.split_once(':') {
            Some((name, what)) if self.process(name).is_ok() => self.not_ready(name, what.trim()),
            _ => error,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.tied {
            self.kill_all();
        } else {
            self.reap();
        }
    }
}

fn all_ended(processes: &[&Process]) -> Result<(), String> {
    let mut left = processes.iter().filter(|process| process.condition() != Condition::Ended);
    left.next().map_or(Ok(()), |process| Err(format!("{} goes on", process.name)))
}

fn check(options: &Options) -> Result<(), LabError> {
    let refuse = |text: String| Err(LabError::Options(text));
    if options.supernodes != 1 {
        return refuse(format!(
            "a lab has one supernode for now, not {}: the directory is not replicated yet",
            options.supernodes
        ));
    }
    if options.supernodes + options.peers > PROCESSES_MAX {
        return refuse(format!("a lab has at most {PROCESSES_MAX} processes"));
    }
    if options.degree < 4 || options.degree % 2 == 1 {
        return refuse(format!("the degree is even and at least 4, not {}", options.degree));
    }
    Ok(())
}

/// Makes `dir` an empty lab: what an ended lab has left there goes
fn clear(dir: &Path) -> Result<(), LabError> {
    if let Some(state) = State::load(dir).map_err(io_error("read the lab's state"))? {
        if state.processes.iter().any(|process| process.condition() != Condition::Ended) {
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

fn open_log(home: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(home.join("log"))
}

/// The last `lines` lines of a file, as far as it can be read
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut last: Vec<&str> = text.lines().rev().take(lines).collect();
    last.reverse();
    if last.is_empty() { "(nothing)".into() } else { last.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &Path) -> Options {
        // `true` plays every role and ends at once: what the lab does with a daemon that does not stay.
        Options { seed: Some(1), ..Options::new(dir, "/bin/true") }
    }

    #[test]
    fn daemon_that_ends_at_once_is_shown_with_its_log() {
        let dir = tempfile::tempdir().expect("dir");
        let error = Lab::up(options(dir.path()), Progress::Quiet).expect_err("nobody stays");
        let LabError::NotReady { name, reason, .. } = error else { unreachable!("{error}") };
        assert_eq!((name.as_str(), reason.as_str()), ("supernode-1", "it has ended"));
    }

    #[test]
    fn ended_lab_makes_room_for_a_new_one() {
        let dir = tempfile::tempdir().expect("dir");
        Lab::up(options(dir.path()), Progress::Quiet).expect_err("nobody stays");
        fs::write(dir.path().join("supernode-1/old"), "").expect("write");
        let error = Lab::up(options(dir.path()), Progress::Quiet).expect_err("nobody stays");
        assert!(matches!(error, LabError::NotReady { .. }), "{error}");
        assert!(!dir.path().join("supernode-1/old").exists());
    }

    #[test]
    fn directory_with_other_files_is_left_alone() {
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("thesis.txt"), "").expect("write");
        let error = Lab::up(options(dir.path()), Progress::Quiet).expect_err("not a lab");
        assert!(matches!(error, LabError::NotALab(_)), "{error}");
        assert!(dir.path().join("thesis.txt").exists());
    }

    #[test]
    fn options_that_cannot_be_had_are_refused_before_anything_is_made() {
        let dir = tempfile::tempdir().expect("dir");
        let lab = dir.path().join("lab");
        for wrong in [
            Options { supernodes: 2, ..options(&lab) },
            Options { degree: 5, ..options(&lab) },
            Options { degree: 2, ..options(&lab) },
            Options { peers: PROCESSES_MAX, ..options(&lab) },
        ] {
            let error = Lab::up(wrong, Progress::Quiet).expect_err("refused");
            assert!(matches!(error, LabError::Options(_)), "{error}");
        }
        assert!(!lab.exists());
    }

    #[test]
    fn absent_lab_is_told_with_the_command_that_makes_it() {
        let dir = tempfile::tempdir().expect("dir");
        let error = Lab::open(dir.path(), "/bin/true".into(), Progress::Quiet).expect_err("none");
        assert!(error.to_string().contains(" up"), "{error}");
    }

    #[test]
    fn tail_is_the_end_of_a_file_and_of_what_is_there() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        assert_eq!(tail(&path, 2), "(nothing)");
        fs::write(&path, "a\nb\nc\n").expect("write");
        assert_eq!(tail(&path, 2), "b\nc");
    }
}
