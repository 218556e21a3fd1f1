//! Processes that are killed, stopped, ended and started again.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Lab;
use crate::error::{LabError, io_error};
use crate::process::Condition;
use crate::role::Role;
use crate::state::Process;

/// A daemon ends within 5 s of the signal
const END_LIMIT: Duration = Duration::from_secs(7);

impl Lab {
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
        let process = self.book.process(name)?;
        match process.condition() {
            Condition::Ended => self.spawn(&process.name),
            condition => Err(self.wrong(&process.name, condition)),
        }
    }

    /// As [`Self::start`]; it dies as if it were killed when it comes to this point ([`kith_runtime::crash`])
    ///
    /// # Errors
    /// It runs.
    pub fn start_crashing(&self, name: &str, point: &str) -> Result<(), LabError> {
        let process = self.book.process(name)?;
        match process.condition() {
            Condition::Ended => self.spawn_with(&process.name, &[(kith_runtime::crash::VARIABLE, point)]),
            condition => Err(self.wrong(&process.name, condition)),
        }
    }

    /// Waits until the process `name` has ended, whatever ends it
    ///
    /// # Errors
    /// It goes on for longer than anything that ends.
    pub fn wait_for_end(&self, name: &str) -> Result<(), LabError> {
        self.wait_ended(&self.book.process(name)?)
    }

    /// As [`Self::start`], and waits until a peer is logged in, or a supernode listens
    ///
    /// # Errors
    /// It runs, or does not become ready.
    pub fn start_and_wait(&self, name: &str) -> Result<Duration, LabError> {
        let process = self.book.process(name)?;
        let start = Instant::now();
        self.start(&process.name)?;
        match process.role {
            Role::Peer => self.wait_logged_in(&process.name)?,
            Role::Supernode => self.wait_listening(&process.name).map(|_| start.elapsed())?,
        };
        Ok(start.elapsed())
    }

    fn signal(&self, name: &str, signal: Signal, from: &[Condition]) -> Result<Process, LabError> {
        let process = self.book.process(&self.node(name)?.name)?;
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
        let hint =
            format!("next: kith-lab --dir {} {verb} {name_of_it}", self.book.dir().display()).trim_end().to_owned();
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
        // One that another command has started cannot be waited for otherwise, and its home is locked as long.
        self.wait_until(&format!("the last of {}", process.name), END_LIMIT, || {
            let is_gone = process.process.is_none_or(|process| process.is_gone());
            if is_gone { Ok(()) } else { Err("some of its threads have not ended".into()) }
        })?;
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        // A process counts as ended when its first thread has; what it had open, its home's lock too, goes with its last.
        if let Some(mut child) = process.process.and_then(|process| children.remove(&process.pid)) {
            child.wait().map_err(io_error(format!("wait for the end of {}", process.name)))?;
        }
        drop(children);
        self.reap();
        Ok(())
    }

    /// Waits for those children that have ended, so that none stays behind as a zombie
    pub(super) fn reap(&self) {
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
        // The bridge goes when nobody is on it any more.
        if let Some(net) = &state.net {
            net.hub.signal(Signal::KILL);
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
    pub(crate) fn kill_all(&self) {
        if let Ok(state) = self.state() {
            let processes = state.processes.iter().filter_map(|process| process.process);
            for process in processes.chain(state.net.map(|net| net.hub)) {
                process.signal(Signal::KILL);
            }
        }
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for child in children.values_mut() {
            // An error says that it has ended already, and that is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
        children.clear();
    }
}

fn all_ended(processes: &[&Process]) -> Result<(), String> {
    let mut left = processes.iter().filter(|process| process.condition() != Condition::Ended);
    left.next().map_or(Ok(()), |process| Err(format!("{} goes on", process.name)))
}
