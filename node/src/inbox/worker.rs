//! The thread that owns the in-box, and the tasks that read from it for askers.

use std::time::SystemTime;

use kith_common::id::{Name, NetworkId};
use kith_common::peer::{STAY_AGE_MAX, Stay};
use kith_common::status::Status;
use kith_common::wire;
use kith_common::wire::session::{Record, SupernodeRecord, Supernodes};
use kith_runtime::control::address;
use kith_runtime::control::peer::{Body, Id, InboxAnswer, InboxLine, ReadAnswer};
use kith_runtime::control::server::{HungUp, Reply};
use kith_runtime::sync::{self, Mistake, blocking, thread};
use tokio::sync::{mpsc, oneshot, watch};

use super::tables::micros;
use super::{InboxError, InboxFile, Incoming, NameChange, Selection, Stored};
use crate::functions::rfc3339;
use kith_common::mail::{Kept, NotStored, Totals};

/// Where the pinned network's id is kept
const NETWORK: &str = "network";
/// Where the supernodes are kept that the last home told of
const SUPERNODES: &str = "supernodes";

/// Where the last stay in the network is kept, behind the microseconds since 1970 when it was
const STAY: &str = "stay";

/// Jobs that are done before the disk is waited for, at most: whoever waits for the first should not wait for thousands
const BATCH_MAX: usize = 256;

/// What the thread is asked for. The queue needs no bound of its own: messages are bounded by the driver, lists and
/// removals by the number of askers, names by the resolver's writing rate, lists of supernodes by how often
/// these change, stays by the peer's writing rate.
#[derive(Debug)]
enum Job {
    Keep { ticket: u64, message: Box<Incoming> },
    Change(NameChange),
    Pin(NetworkId),
    Supernodes(Box<Supernodes>),
    Stay(Box<Stay>),
    List(Selection, oneshot::Sender<Result<Vec<Stored>, InboxError>>),
    Remove(Vec<u64>, oneshot::Sender<Result<u64, InboxError>>),
}

/// What became of a message that was to be kept
#[derive(Debug)]
pub(crate) struct Outcome {
    /// As it was given to [`InboxWorker::keep`]
    pub(crate) ticket: u64,
    /// [`Kept`] says whether it is on disk
    pub(crate) kept: Result<Kept, NotStored>,
}

/// Why a list was not told to its end
enum Unlisted {
    Failed(InboxError),
    Ended,
}

/// To ask the thread; it ends when the last of these is gone
#[derive(Clone, Debug)]
pub(crate) struct InboxWorker {
    jobs: blocking::Sender<Job>,
    totals: watch::Receiver<Totals>,
}

/// Starts the thread
///
/// # Errors
/// [`std::io::Error`] if the system has no thread to give.
pub(crate) fn start(inbox: InboxFile) -> std::io::Result<(InboxWorker, mpsc::Receiver<Outcome>)> {
    let (jobs, received) = blocking::channel();
    let (outcomes, driver) = mpsc::channel(BATCH_MAX);
    let totals = inbox.watch();
    thread::Builder::new().name("kith-inbox".into()).spawn(move || work(inbox, &received, &outcomes))?;
    Ok((InboxWorker { jobs, totals }, driver))
}

/// The network that was pinned in this home, if one was
///
/// # Errors
/// [`InboxError`]
pub(crate) fn pinned(inbox: &mut InboxFile) -> Result<Option<NetworkId>, InboxError> {
    Ok(inbox.meta(NETWORK)?.and_then(|bytes| bytes.try_into().ok()).map(NetworkId))
}

/// The supernodes that were kept in this home; none before the first login
///
/// # Errors
/// [`InboxError`]
pub(crate) fn supernodes(inbox: &mut InboxFile) -> Result<Vec<SupernodeRecord>, InboxError> {
    let Some(bytes) = inbox.meta(SUPERNODES)? else { return Ok(Vec::new()) };
    let list: Result<Supernodes, _> = wire::decode(&bytes);
    // What cannot be read any more is as good as nothing.
    let list = list.inspect_err(|reason| tracing::warn!(event = "memory_ignored", key = SUPERNODES, %reason));
    Ok(list.map(|list| list.supernodes.into_vec()).unwrap_or_default())
}

/// The last stay in the network that was kept in this home, if it is not too old; one from the future, by a clock that was
/// wrong, is
///
/// # Errors
/// [`InboxError`]
pub(crate) fn stay(inbox: &mut InboxFile, now: SystemTime) -> Result<Option<Stay>, InboxError> {
    let Some(bytes) = inbox.meta(STAY)? else { return Ok(None) };
    let kept: Result<(u64, Stay), _> = wire::decode(&bytes);
    let kept = kept.inspect_err(|reason| tracing::warn!(event = "memory_ignored", key = STAY, %reason)).ok();
    let is_fresh = |at: u64| micros(now).checked_sub(at).is_some_and(|age| age <= STAY_AGE_MAX.as_micros() as u64);
    Ok(kept.filter(|(at, _)| is_fresh(*at)).map(|(_, stay)| stay))
}

impl InboxWorker {
    /// Keeps a message; the outcome comes with the same ticket
    pub(crate) fn keep(&self, ticket: u64, message: Incoming) {
        self.give(Job::Keep { ticket, message: Box::new(message) });
    }

    /// Keeps a record for times without a supernode
    pub(crate) fn save(&self, record: Record) {
        self.give(Job::Change(NameChange::Save(Box::new(record))));
    }

    /// Forgets the record of a name
    pub(crate) fn erase(&self, name: Name) {
        self.give(Job::Change(NameChange::Erase(name)));
    }

    /// Keeps the network's id: this home belongs to it
    pub(crate) fn pin(&self, network: NetworkId) {
        self.give(Job::Pin(network));
    }

    /// Keeps a list of supernodes for the next start, in place of the one before
    pub(crate) fn keep_supernodes(&self, list: Supernodes) {
        self.give(Job::Supernodes(Box::new(list)));
    }

    /// Keeps how this peer is in the network, in place of what was kept before
    pub(crate) fn keep_stay(&self, stay: Box<Stay>) {
        self.give(Job::Stay(stay));
    }

    /// How full the in-box is
    pub(crate) fn totals(&self) -> Totals {
        *self.totals.borrow()
    }

    /// Answers the verb `inbox` from a task of its own, as fast as the asker takes it
    pub(crate) fn list(&self, follow: bool, from: Option<Name>, reply: Reply) {
        let worker = self.clone();
        sync::spawn(async move {
            match worker.stream(follow, from, &reply).await {
                Ok(Ok(messages)) => reply.finish(Status::Delivered, &InboxAnswer { messages }),
                Ok(Err(Unlisted::Failed(error))) => reply.refuse(error.status(), error.to_string(), None),
                Ok(Err(Unlisted::Ended)) => reply.refuse(Status::Unavailable, "the daemon is ending", None),
                Err(HungUp) => tracing::debug!(event = "inbox_list_ended", reason = "the asker has hung up"),
            }
        });
    }

    /// Answers the verb `read` from a task of its own
    pub(crate) fn read(&self, sequences: Vec<u64>, reply: Reply) {
        let worker = self.clone();
        sync::spawn(async move {
            let (answer, answered) = oneshot::channel();
            worker.give(Job::Remove(sequences, answer));
            match answered.await {
                Ok(Ok(removed)) => reply.finish(Status::Delivered, &ReadAnswer { removed }),
                Ok(Err(error)) => reply.refuse(error.status(), error.to_string(), None),
                Err(_) => reply.refuse(Status::Unavailable, "the daemon is ending", None),
            }
        });
    }

    async fn stream(&self, follow: bool, from: Option<Name>, reply: &Reply) -> Result<Result<u64, Unlisted>, HungUp> {
        let mut totals = self.totals.clone();
        let mut selection = Selection { from, after: 0, limit: None };
        let mut count = 0;
        loop {
            totals.mark_unchanged();
            let listed = match self.page(selection.clone()).await {
                Some(Ok(listed)) => listed,
                Some(Err(error)) => return Ok(Err(Unlisted::Failed(error))),
                None => return Ok(Err(Unlisted::Ended)),
            };
            for Stored { sequence, incoming } in &listed {
                reply.line(&line(*sequence, incoming)).await?;
                selection.after = *sequence;
                count += 1;
            }
            if !listed.is_empty() {
                continue;
            }
            if !follow {
                return Ok(Ok(count));
            }
            tokio::select! {
                changed = totals.changed() => if changed.is_err() { return Ok(Ok(count)) },
                () = reply.hung_up() => return Err(HungUp),
            }
        }
    }

    async fn page(&self, selection: Selection) -> Option<Result<Vec<Stored>, InboxError>> {
        let (answer, answered) = oneshot::channel();
        self.give(Job::List(selection, answer));
        answered.await.ok()
    }

    fn give(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!(event = "inbox_gone", reason = "its thread has ended");
        }
    }
}

fn line(sequence: u64, Incoming { message, received }: &Incoming) -> InboxLine {
    InboxLine {
        sequence,
        id: Id(message.id),
        from: message.from.clone(),
        address: address(message.address),
        confirmed: message.confirmed,
        at: rfc3339(*received),
        bytes: message.bytes.len() as u64,
        body: Body::of(message.bytes.to_vec()),
    }
}

/// Changes that share one transaction
#[derive(Default)]
struct Batch {
    tickets: Vec<u64>,
    messages: Vec<Incoming>,
    /// In their order: the last word on a name is what stays
    names: Vec<NameChange>,
}

fn work(mut inbox: InboxFile, jobs: &blocking::Receiver<Job>, outcomes: &mpsc::Sender<Outcome>) {
    while let Ok(job) = jobs.recv() {
        let mut batch = Batch::default();
        let more = std::iter::from_fn(|| jobs.try_recv().ok()).take(BATCH_MAX - 1);
        for job in std::iter::once(job).chain(more) {
            do_or_batch(&mut inbox, job, &mut batch);
        }
        if !finish(&mut inbox, batch, outcomes) {
            return;
        }
    }
}

fn do_or_batch(inbox: &mut InboxFile, job: Job, batch: &mut Batch) {
    match job {
        Job::Keep { ticket, message } => {
            batch.tickets.push(ticket);
            batch.messages.push(*message);
        }
        Job::Change(change) => batch.names.push(change),
        // The in-box traces the reason of a failure; without a pin the next start asks again.
        Job::Pin(network) => _ = inbox.set_meta(NETWORK, &network.0),
        // Without it a start waits for a supernode.
        Job::Stay(stay) => remember(inbox, STAY, wire::encode(&(micros(SystemTime::now()), &*stay))),
        // Without it the configured supernodes are the way in.
        Job::Supernodes(list) => remember(inbox, SUPERNODES, wire::encode(&*list)),
        // An asker that has hung up needs no answer.
        Job::List(selection, answer) => _ = answer.send(inbox.list(&selection)),
        Job::Remove(sequences, answer) => _ = answer.send(inbox.remove(&sequences)),
    }
}

/// Keeps what the next start can do without: the in-box traces the reason of a failure
fn remember(inbox: &mut InboxFile, key: &'static str, encoded: Result<Vec<u8>, wire::WireError>) {
    match encoded {
        Ok(bytes) => _ = inbox.set_meta(key, &bytes),
        Err(reason) => tracing::warn!(event = "memory_not_kept", key, %reason),
    }
}

/// Writes what was gathered and tells the driver; false once the driver is gone
fn finish(inbox: &mut InboxFile, batch: Batch, outcomes: &mpsc::Sender<Outcome>) -> bool {
    if !batch.names.is_empty()
        && let Err(reason) = inbox.write_names(&batch.names, SystemTime::now())
    {
        tracing::warn!(event = "names_not_saved", %reason);
    }
    if batch.messages.is_empty() {
        return true;
    }
    if sync::makes(Mistake::TellsBeforeItKeeps) {
        let told = |ticket: &u64| sync::blocking_send(outcomes, Outcome { ticket: *ticket, kept: Ok(Kept::Duplicate) });
        return batch.tickets.iter().all(told) && inbox.keep(&batch.messages).is_ok();
    }
    let kept: Vec<_> = match inbox.keep(&batch.messages) {
        Ok(kept) => kept.into_iter().map(Ok).collect(),
        Err(error) => batch.tickets.iter().map(|_| Err(error.not_stored())).collect(),
    };
    let mut told = batch.tickets.into_iter().zip(kept).map(|(ticket, kept)| Outcome { ticket, kept });
    told.all(|outcome| sync::blocking_send(outcomes, outcome))
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules;

#[cfg(test)]
mod tests {
    use kith_common::id::{Address, Epoch, Key, SupernodeId};
    use kith_common::wire::session::{Location, Locations};

    use super::super::BYTES_MAX_DEFAULT;
    use super::*;

    fn record(of: &str) -> Record {
        let name = of.parse().unwrap();
        Record { name, key: Key([1; 32]), address: Address(7), epoch: Epoch::new(0, 1), locations: Default::default() }
    }

    /// The in-box of this home, opened again after the worker has done what it was asked, all in one batch
    fn after(home: &tempfile::TempDir, ask: impl FnOnce(&InboxWorker)) -> InboxFile {
        let path = home.path().join("inbox.redb");
        let inbox = InboxFile::open(&path, BYTES_MAX_DEFAULT).unwrap();
        let (jobs, received) = blocking::channel();
        let (outcomes, _driver) = mpsc::channel(1);
        let worker = InboxWorker { jobs, totals: inbox.watch() };
        ask(&worker);
        drop(worker);
        // All that was asked waits when it begins, so it is one batch.
        work(inbox, &received, &outcomes);
        InboxFile::open(&path, BYTES_MAX_DEFAULT).unwrap()
    }

    #[test]
    fn supernodes_are_there_again_and_the_newest_list_counts() {
        let records = |count: u64| {
            let locations = Locations::truncated((0..4).map(|_| Location::truncated(&"x".repeat(100))));
            let record = |id| SupernodeRecord { id: SupernodeId(id), locations: locations.clone(), load: 7 };
            (0..count).map(record).collect::<Vec<_>>()
        };
        let home = tempfile::tempdir().unwrap();
        let mut inbox = after(&home, |worker| {
            for count in [3, 16] {
                let supernodes = records(count).try_into().unwrap();
                worker.keep_supernodes(Supernodes { home: SupernodeId(1), supernodes });
            }
        });
        assert_eq!(supernodes(&mut inbox), Ok(records(16)));
        inbox.set_meta(SUPERNODES, b"of a later version").unwrap();
        assert_eq!(supernodes(&mut inbox), Ok(Vec::new()));
    }

    #[test]
    fn last_word_on_a_name_stays_though_all_shared_one_wait_for_the_disk() {
        let home = tempfile::tempdir().unwrap();
        let mut inbox = after(&home, |worker| {
            worker.save(record("heidi"));
            worker.erase("heidi".parse().unwrap());
            worker.erase("bob".parse().unwrap());
            worker.save(record("bob"));
        });
        let names = inbox.names(SystemTime::now()).unwrap();
        assert_eq!(names.into_iter().map(|(record, _)| record).collect::<Vec<_>>(), [record("bob")]);
    }
}
