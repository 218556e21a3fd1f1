//! The thread that owns the log: a disk makes whoever waits for it wait.

use std::sync::mpsc as blocking;
use std::thread;

use kith_common::directory::{Command, Directory};
use tokio::sync::mpsc;

use crate::store::{Store, StoreError};

/// What the journal's thread is asked to do
enum Job {
    Append(Vec<Command>),
    Snapshot(Box<Directory>),
}

/// A group of commands is on disk, and whether a snapshot is due; or the disk has failed and this supernode must stop
pub(crate) type Durable = Result<bool, StoreError>;

/// The way to the thread; it holds one group, as the core has no more under way, and the snapshot that came with one
pub(super) struct Journal {
    jobs: blocking::Sender<Job>,
}

impl Journal {
    /// Starts the thread that owns `store`
    ///
    /// # Errors
    /// [`std::io::Error`] if the system has no thread to give.
    pub(super) fn start(store: Store) -> std::io::Result<(Self, mpsc::Receiver<Durable>)> {
        let (jobs, inbox) = blocking::channel();
        // One group is written at a time, so there is never more than one answer under way.
        let (done, durable) = mpsc::channel(2);
        thread::Builder::new().name("journal".into()).spawn(move || write(store, &inbox, &done))?;
        Ok((Self { jobs }, durable))
    }

    /// Makes a group of commands durable; answered over the channel of [`Journal::start`]
    pub(super) fn append(&self, commands: Vec<Command>) {
        // The thread ends only after it has said why; the driver stops then.
        let _ = self.jobs.send(Job::Append(commands));
    }

    /// Keeps a directory, so that the commands in it can go from the log
    pub(super) fn snapshot(&self, directory: Box<Directory>) {
        let _ = self.jobs.send(Job::Snapshot(directory));
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
