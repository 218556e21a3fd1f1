//! The log behind the core's port, for one supernode: one file, in a thread that waits for the disk.
//!
//! This supernode alone leads it, and nothing that it holds is another's. While the disk is full all that is proposed is
//! lost, and whoever waits is told to try again: renewals, look-ups and relays need no log, and go on. Any other failure
//! of the disk is an error, after which the supernode must stop.

use std::sync::mpsc as blocking;
use std::thread;

use kith_common::directory::Directory;
use kith_common::id::SupernodeId;
use kith_common::supernode::{LogEvent, Proposal};
use tokio::sync::mpsc;

use crate::store::{Store, StoreError};

/// What the journal's thread is asked to do
enum Job {
    Append(Vec<Proposal>),
    Snapshot(Box<Directory>),
}

/// What the core is to be told, in this order; or the disk has failed and this supernode must stop
pub(crate) type Told = Result<Vec<LogEvent>, StoreError>;

/// The way to the thread; it holds one group, as the core has no more under way, and the snapshot that came with one
pub(super) struct Journal {
    jobs: blocking::Sender<Job>,
}

impl Journal {
    /// Starts the thread that owns the `store` of supernode `id`
    ///
    /// # Errors
    /// [`std::io::Error`] if the system has no thread to give.
    pub(super) fn start(store: Store, id: SupernodeId) -> std::io::Result<(Self, mpsc::Receiver<Told>)> {
        let (jobs, inbox) = blocking::channel();
        // One group is written at a time, so there is never more than one answer under way, and who leads.
        let (teller, told) = mpsc::channel(2);
        thread::Builder::new().name("journal".into()).spawn(move || {
            if teller.blocking_send(Ok(vec![LogEvent::LeaderChanged(Some(id))])).is_ok() {
                write(store, &inbox, &teller);
            }
        })?;
        Ok((Self { jobs }, told))
    }

    /// Makes a group of commands durable, all or none; answered over the channel of [`Journal::start`]
    pub(super) fn append(&self, group: Vec<Proposal>) {
        // The thread ends only after it has said why; the driver stops then.
        let _ = self.jobs.send(Job::Append(group));
    }

    /// Keeps a directory, so that the commands in it can go from the log
    pub(super) fn snapshot(&self, directory: Box<Directory>) {
        let _ = self.jobs.send(Job::Snapshot(directory));
    }
}

fn write(mut store: Store, jobs: &blocking::Receiver<Job>, teller: &mpsc::Sender<Told>) {
    while let Ok(job) = jobs.recv() {
        let told = match job {
            Job::Append(group) => Some(append(&mut store, group)),
            // The next group finds the disk as full, and the snapshot is due again after it.
            Job::Snapshot(directory) => match store.snapshot(&directory) {
                Err(error) if !error.is_passing() => Some(Err(error)),
                _ => None,
            },
        };
        let Some(told) = told else { continue };
        let failed = told.is_err();
        if teller.blocking_send(told).is_err() || failed {
            return;
        }
    }
}

/// The store numbers the commands: what is told of them has its indices
fn append(store: &mut Store, group: Vec<Proposal>) -> Told {
    let found = match store.reopen() {
        Err(error) if error.is_passing() => return Ok(lost(&group, &error)),
        found => found?,
    };
    // Of a group that was told as lost, this is on the disk after all.
    let found = found.into_iter().map(|(index, command)| LogEvent::Committed { index, command, number: None });
    let found: Vec<LogEvent> = found.collect();
    let indices = match store.append(group.iter().map(|proposal| &proposal.command)) {
        Err(error) if error.is_passing() => {
            return Ok(found.into_iter().chain(lost(&group, &error)).collect());
        }
        indices => indices?,
    };
    let committed = indices.zip(group).map(|(index, Proposal { number, command })| {
        let number = Some(number);
        LogEvent::Committed { index, command, number }
    });
    let grown = store.is_snapshot_due().then_some(LogEvent::Grown);
    Ok(found.into_iter().chain(committed).chain(grown).collect())
}

fn lost(group: &[Proposal], error: &StoreError) -> Vec<LogEvent> {
    tracing::error!(event = "log_not_written", commands = group.len(), reason = %error);
    group.iter().map(|proposal| LogEvent::Lost { number: proposal.number }).collect()
}
