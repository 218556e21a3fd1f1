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
    Try,
}

/// What came of a job; or the disk has failed and this supernode must stop
pub(crate) type Told = Result<News, StoreError>;

/// How it stands with the log
#[derive(Debug)]
pub(crate) struct News {
    /// What the core is to be told, in this order
    pub(crate) events: Vec<LogEvent>,
    /// Why the log cannot be written at present
    pub(crate) fault: Option<String>,
}

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
            let leads = News { events: vec![LogEvent::LeaderChanged(Some(id))], fault: None };
            if teller.blocking_send(Ok(leads)).is_ok() {
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

    /// Finds out whether the log can be written again, without a command to write
    pub(super) fn try_disk(&self) {
        let _ = self.jobs.send(Job::Try);
    }
}

fn write(mut store: Store, jobs: &blocking::Receiver<Job>, teller: &mpsc::Sender<Told>) {
    while let Ok(job) = jobs.recv() {
        let told = match job {
            Job::Append(group) => Some(append(&mut store, group)),
            Job::Snapshot(directory) => match store.snapshot(&directory) {
                Ok(()) => None,
                // The next group or try finds the disk as full, and the snapshot is due again after a group.
                Err(error) if error.is_passing() => {
                    Some(Ok(News { events: Vec::new(), fault: Some(error.to_string()) }))
                }
                Err(error) => Some(Err(error)),
            },
            Job::Try => Some(try_disk(&mut store)),
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
    let found = match found(store) {
        Err(error) if error.is_passing() => return Ok(lost(Vec::new(), &group, &error)),
        found => found?,
    };
    let indices = match store.append(group.iter().map(|proposal| &proposal.command)) {
        Err(error) if error.is_passing() => {
            return Ok(lost(found, &group, &error));
        }
        indices => indices?,
    };
    let committed = indices.zip(group).map(|(index, Proposal { number, command })| {
        let number = Some(number);
        LogEvent::Committed { index, command, number }
    });
    let grown = store.is_snapshot_due().then_some(LogEvent::Grown);
    Ok(News { events: found.into_iter().chain(committed).chain(grown).collect(), fault: None })
}

fn try_disk(store: &mut Store) -> Told {
    let (events, touched) = match found(store) {
        Ok(events) => (events, store.touch()),
        Err(error) => (Vec::new(), Err(error)),
    };
    match touched {
        Ok(()) => {
            tracing::info!(event = "log_written_again", reason = "the disk takes something again");
            Ok(News { events, fault: None })
        }
        Err(error) if error.is_passing() => Ok(News { events, fault: Some(error.to_string()) }),
        Err(error) => Err(error),
    }
}

/// Of a group that was told as lost, what is on the disk after all
fn found(store: &mut Store) -> Result<Vec<LogEvent>, StoreError> {
    let found = store.reopen()?.into_iter();
    Ok(found.map(|(index, command)| LogEvent::Committed { index, command, number: None }).collect())
}

fn lost(found: Vec<LogEvent>, group: &[Proposal], error: &StoreError) -> News {
    tracing::error!(event = "log_not_written", commands = group.len(), reason = %error);
    let lost = group.iter().map(|proposal| LogEvent::Lost { number: proposal.number });
    News { events: found.into_iter().chain(lost).collect(), fault: Some(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use kith_common::directory::Command;

    use super::*;
    use crate::store::tests::Disk;

    fn group(numbers: std::ops::Range<u64>) -> Vec<Proposal> {
        numbers.map(|number| Proposal { number, command: Command::Configure { degree: 8 } }).collect()
    }

    #[test]
    fn log_that_cannot_be_written_is_told_until_the_disk_takes_something_again() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            let disk = Disk::default();
            let (store, _) = disk.open().unwrap();
            let (journal, mut told) = Journal::start(store, SupernodeId(1)).unwrap();
            let mut next = || told.blocking_recv().unwrap().unwrap();
            assert_eq!(next().events, [LogEvent::LeaderChanged(Some(SupernodeId(1)))]);
            journal.append(group(0..1));
            assert!(matches!(next(), News { fault: None, .. }));
            disk.fill(Some(kind));
            journal.append(group(1..3));
            let news = next();
            assert_eq!(news.events, [LogEvent::Lost { number: 1 }, LogEvent::Lost { number: 2 }]);
            assert!(news.fault.unwrap().contains("the disk is full"));
            journal.try_disk();
            assert!(matches!(next(), News { fault: Some(_), .. }), "nothing has changed");
            disk.fill(None);
            journal.try_disk();
            assert!(matches!(next(), News { fault: None, .. }), "{kind}");
            journal.append(group(3..4));
            assert!(matches!(next(), News { fault: None, .. }));
        }
    }
}
