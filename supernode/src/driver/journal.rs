//! Commands on their way to the disk: in order, in groups, and applied only when they are durable.

use std::collections::VecDeque;
use std::sync::mpsc as blocking;
use std::thread;

use kith_common::directory::{Command, Directory};
use tokio::sync::mpsc;

use crate::store::{Store, StoreError};

/// Commands of others that wait for the disk at most: a second of what one disk does; the next one is refused
const WAITING_MAX: usize = 4_096;

/// What the journal's thread is asked to do
enum Job {
    Append(Vec<Command>),
    Snapshot(Box<Directory>),
}

/// A group of commands is on disk, and whether a snapshot is due; or the disk has failed and this supernode must stop
pub(crate) type Durable = Result<bool, StoreError>;

/// The queue before the disk; `T` is what is to be done once a command is applied
pub(super) struct Journal<T> {
    waiting: VecDeque<(Command, T)>,
    writing: VecDeque<(Command, T)>,
    next_index: u64,
    jobs: blocking::Sender<Job>,
}

impl<T> Journal<T> {
    /// Starts the thread that owns `store`
    ///
    /// # Errors
    /// [`std::io::Error`] if the system has no thread to give.
    pub(super) fn start(store: Store) -> std::io::Result<(Self, mpsc::Receiver<Durable>)> {
        let (jobs, inbox) = blocking::channel();
        let next_index = store.last() + 1;
        // One group is written at a time, so there is never more than one answer under way.
        let (done, durable) = mpsc::channel(2);
        thread::Builder::new().name("journal".into()).spawn(move || write(store, &inbox, &done))?;
        let journal = Self { waiting: VecDeque::new(), writing: VecDeque::new(), next_index, jobs };
        Ok((journal, durable))
    }

    /// Puts a command of the supernode's own into the queue, or one that each session or operator has but one of: these
    /// are bounded by what they concern
    pub(super) fn push(&mut self, command: Command, then: T) {
        self.waiting.push_back((command, then));
        self.write_next();
    }

    /// Puts a command that others can make at will into the queue; gives `then` back if [`WAITING_MAX`] wait already
    pub(super) fn propose(&mut self, command: Command, then: T) -> Result<(), T> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(then);
        }
        self.push(command, then);
        Ok(())
    }

    /// The group under way is durable: its commands with their indices, to be applied in this order
    pub(super) fn take_durable(&mut self) -> Vec<(u64, Command, T)> {
        let first = self.next_index;
        let group: Vec<_> =
            self.writing.drain(..).zip(first..).map(|((command, then), index)| (index, command, then)).collect();
        self.next_index += group.len() as u64;
        self.write_next();
        group
    }

    /// Keeps a directory, so that the commands in it can go from the log
    pub(super) fn snapshot(&mut self, directory: Directory) {
        // The thread ends only after it has said why; the driver stops then.
        let _ = self.jobs.send(Job::Snapshot(Box::new(directory)));
    }

    /// Whether everything proposed is applied
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_empty()
    }

    fn write_next(&mut self) {
        if self.writing.is_empty() && !self.waiting.is_empty() {
            std::mem::swap(&mut self.waiting, &mut self.writing);
            let commands = self.writing.iter().map(|(command, _)| command.clone()).collect();
            let _ = self.jobs.send(Job::Append(commands));
        }
    }
}

fn write(mut store: Store, jobs: &blocking::Receiver<Job>, done: &mpsc::Sender<Durable>) {
    while let Ok(job) = jobs.recv() {
        let answer = match job {
            Job::Append(commands) => Some(store.append(&commands).map(|_| store.is_snapshot_due())),
            Job::Snapshot(directory) => store.snapshot(&directory).err().map(Err),
        };
        let Some(answer) = answer else { continue };
        let failed = answer.is_err();
        if done.blocking_send(answer).is_err() || failed {
            return;
        }
    }
}
