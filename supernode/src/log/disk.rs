//! The thread that owns the store: writes in the order in which they were wanted, many with one wait for the disk.
//!
//! While the disk is full what is to be written waits, and is tried again every [`RETRY`] or as soon as somebody asks;
//! what is read is read meanwhile. After any other failure of the disk everybody who wants something is told so, and nothing
//! is done any more.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use kith_common::wire::WireError;
use kith_runtime::sync::blocking::{self, RecvTimeoutError};
use kith_runtime::sync::{self, Mistake, thread};
use tokio::sync::{mpsc, oneshot};

use super::News;
use super::store::{Store, StoreError, Word, Write};

/// After this long it is found out again whether a full disk takes anything: soon enough that no session ends long after
/// the reason for it, and seldom enough for opening the file anew, which takes about a second for each gigabyte
const RETRY: Duration = Duration::from_secs(5);

/// Writes that share a wait for the disk at most: more come while it lasts
const WRITES_MAX: usize = 256;

/// What a write came to: durable, or why it will never be
pub(super) type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Numbered entries, as bytes
pub(super) type Entries = Vec<(u64, Vec<u8>)>;

/// A snapshot's bytes, and the number of the last entry in it
pub(super) type Snapshot = (u64, Vec<u8>);

/// What was read, or why it cannot be
type Answer<T> = oneshot::Sender<Result<T, String>>;

enum Job {
    Write(Write, Done),
    Entries(Range<u64>, Answer<Entries>),
    Snapshot(Answer<Option<Snapshot>>),
    Try,
}

/// The way to the thread, which ends with the last of these
#[derive(Clone)]
pub(super) struct Disk {
    jobs: blocking::Sender<Job>,
}

/// The thread is gone, which it is only if it has panicked
const ENDED: &str = "the log's disk has failed";

impl Disk {
    /// Starts the thread
    ///
    /// # Errors
    /// [`std::io::Error`] if the system has no thread to give.
    pub(super) fn start(store: Store, news: mpsc::Sender<News>) -> std::io::Result<Self> {
        let (jobs, inbox) = blocking::channel();
        let worker = Worker { store, news, waiting: VecDeque::new(), fault: None };
        thread::Builder::new().name("disk".into()).spawn(move || worker.run(&inbox))?;
        Ok(Self { jobs })
    }

    /// Makes something durable behind all that was wanted before, and says so in the same order
    pub(super) fn write(&self, write: Write, done: impl FnOnce(Result<(), String>) + Send + 'static) {
        if let Err(blocking::SendError(Job::Write(_, done))) = self.jobs.send(Job::Write(write, Box::new(done))) {
            done(Err(ENDED.into()));
        }
    }

    /// As [`Self::write`], and waits
    pub(super) async fn written(&self, write: Write) -> Result<(), String> {
        let (done, is_done) = oneshot::channel();
        // Whoever waits may have been dropped.
        self.write(write, move |result| drop(done.send(result)));
        is_done.await.unwrap_or_else(|_| Err(ENDED.into()))
    }

    /// As [`Self::written`], of something small that the log must not forget
    pub(super) async fn say(&self, word: Word, encoded: Result<Vec<u8>, WireError>) -> Result<(), String> {
        self.written(Write::Say(word, encoded.map_err(|error| error.to_string())?)).await
    }

    /// Entries of these numbers, as far as they are on the disk
    pub(super) async fn entries(&self, range: Range<u64>) -> Result<Entries, String> {
        let (reply, entries) = oneshot::channel();
        self.jobs.send(Job::Entries(range, reply)).map_err(|_| ENDED)?;
        entries.await.map_err(|_| ENDED)?
    }

    /// The snapshot and the number of the last entry in it
    pub(super) async fn snapshot(&self) -> Result<Option<Snapshot>, String> {
        let (reply, snapshot) = oneshot::channel();
        self.jobs.send(Job::Snapshot(reply)).map_err(|_| ENDED)?;
        snapshot.await.map_err(|_| ENDED)?
    }

    /// Finds out whether a full disk takes anything again
    pub(super) fn try_again(&self) {
        // The thread ends with the last that could ask it.
        let _ = self.jobs.send(Job::Try);
    }
}

struct Worker {
    store: Store,
    news: mpsc::Sender<News>,
    waiting: VecDeque<(Write, Done)>,
    /// Why nothing can be written at present, and since when that is being waited for
    fault: Option<Instant>,
}

impl Worker {
    fn run(mut self, jobs: &blocking::Receiver<Job>) {
        loop {
            let job = match self.fault {
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => jobs.recv_timeout(RETRY.saturating_sub(since.elapsed())),
            };
            let mut is_due = match job {
                Ok(job) => self.take(job),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while self.waiting.len() < WRITES_MAX
                && let Ok(job) = jobs.try_recv()
            {
                is_due |= self.take(job);
            }
            if (self.fault.is_none() || is_due)
                && let Err(error) = self.write()
            {
                return self.fail(error, jobs);
            }
        }
    }

    /// Takes a job; whether somebody wants a full disk tried
    fn take(&mut self, job: Job) -> bool {
        match job {
            Job::Write(write, done) => self.waiting.push_back((write, done)),
            Job::Try => return true,
            // Whoever asked may have been dropped, or hears of the same failure when it writes.
            Job::Entries(range, reply) => {
                drop(reply.send(self.store.entries(range).map_err(|error| error.to_string())))
            }
            Job::Snapshot(reply) => drop(reply.send(self.store.snapshot().map_err(|error| error.to_string()))),
        }
        false
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let was_full = self.fault.is_some();
        let count = self.waiting.len().min(WRITES_MAX);
        let writes: Vec<Write> = self.waiting.iter().take(count).map(|(write, _)| write.clone()).collect();
        let written = match (writes.is_empty(), was_full) {
            (true, false) => return Ok(()),
            (true, true) => self.store.touch(),
            (false, _) => self.store.write(&writes),
        };
        match written {
            Ok(()) => {
                if was_full {
                    tracing::info!(event = "log_written_again", reason = "the disk takes something again");
                    self.fault = None;
                    self.tell(None);
                }
                let mut durable: Vec<(Write, Done)> = self.waiting.drain(..count).collect();
                if sync::makes(Mistake::AnswersInReverse) {
                    durable.reverse();
                }
                durable.into_iter().for_each(|(_, done)| done(Ok(())));
                Ok(())
            }
            Err(error) if error.is_passing() => {
                if !was_full {
                    tracing::error!(event = "log_not_written", writes = writes.len(), reason = %error);
                }
                self.fault = Some(Instant::now());
                self.tell(Some(error.to_string()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn tell(&self, fault: Option<String>) {
        // A driver that is gone wants to know nothing.
        let _ = sync::blocking_send(&self.news, News::Disk(fault));
    }

    /// Says so to everybody who waits, and to who comes after them: nobody may wait for ever
    fn fail(mut self, error: StoreError, jobs: &blocking::Receiver<Job>) {
        let reason = error.to_string();
        let _ = sync::blocking_send(&self.news, News::Failed(error));
        self.waiting.drain(..).for_each(|(_, done)| done(Err(reason.clone())));
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Write(_, done) => done(Err(reason.clone())),
                // Whoever asked may have been dropped.
                Job::Entries(_, reply) => drop(reply.send(Err(reason.clone()))),
                Job::Snapshot(reply) => drop(reply.send(Err(reason.clone()))),
                Job::Try => {}
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules;

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::log::store::tests::Disk as FakeDisk;

    fn append(number: u64) -> Write {
        Write::Append(number, vec![vec![7; 100]])
    }

    #[test]
    fn full_disk_is_told_until_it_takes_something_again_and_what_waits_is_written_then() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            let fake = FakeDisk::default();
            let (news, mut told) = mpsc::channel(8);
            let disk = Disk::start(fake.open().unwrap(), news).unwrap();
            let (done, is_done) = blocking::channel();
            let write = |number| {
                let done = done.clone();
                disk.write(append(number), move |result| done.send((number, result)).unwrap());
            };
            write(1);
            assert_eq!(is_done.recv(), Ok((1, Ok(()))));
            fake.fill(Some(kind));
            write(2);
            write(3);
            let full = |news| matches!(news, Some(News::Disk(Some(fault))) if fault.contains("the disk is full"));
            assert!(full(told.blocking_recv()));
            disk.try_again();
            assert!(full(told.blocking_recv()), "nothing has changed");
            assert!(is_done.try_recv().is_err(), "nothing is acknowledged before it is durable");
            fake.fill(None);
            disk.try_again();
            assert!(matches!(told.blocking_recv(), Some(News::Disk(None))), "{kind}");
            assert_eq!([is_done.recv(), is_done.recv()], [Ok((2, Ok(()))), Ok((3, Ok(())))]);
        }
    }

    #[test]
    fn failing_disk_is_told_and_everybody_who_waits_hears_so() {
        let fake = FakeDisk::default();
        let (news, mut told) = mpsc::channel(8);
        let disk = Disk::start(fake.open().unwrap(), news).unwrap();
        fake.fail();
        let (done, is_done) = blocking::channel();
        for number in 1..4 {
            let done = done.clone();
            disk.write(append(number), move |result| done.send(result.is_err()).unwrap());
        }
        assert!(matches!(told.blocking_recv(), Some(News::Failed(error)) if error.to_string().contains("has failed")));
        assert_eq!([is_done.recv(), is_done.recv(), is_done.recv()], [Ok(true); 3]);
    }
}
