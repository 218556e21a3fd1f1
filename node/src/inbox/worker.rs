//! The thread that owns the in-box and the out-box, and the tasks that read from them for askers.

use std::time::SystemTime;

use kith_common::id::{Key, MessageId, Name, NetworkId};
use kith_common::peer::{STAY_AGE_MAX, Stay};
use kith_common::status::Status;
use kith_common::wire;
use kith_common::wire::session::{Record, SupernodeRecord, Supernodes};
use kith_runtime::control::address;
use kith_runtime::control::peer::{Body, FateAnswer, Id, InboxAnswer, InboxLine, PinAnswer, ReadAnswer};
use kith_runtime::control::server::{HungUp, Reply};
use kith_runtime::crash;
use kith_runtime::sync::{self, Mistake, blocking, thread};
use tokio::sync::{mpsc, oneshot, watch};

use super::outbox::{FATES_MAX, Letter, PastFate};
use super::tables::micros;
use super::{InboxError, InboxFile, Incoming, MailChanges, NameChange, Selection, Stored};
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

/// Bytes of a text that is shown as a text, however many of its characters must be escaped
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// What the thread is asked for. The queue needs no bound of its own: messages are bounded by what is held of others' questions
/// and by the out-box's bytes, lists, removals and what users say of keys by the number of askers, pins by how many there may be, names by the resolver's
/// writing rate, lists of
/// supernodes by how often these change, stays by the peer's writing rate.
#[derive(Debug)]
enum Job {
    Keep {
        ticket: u64,
        message: Box<Incoming>,
    },
    Store(Letter),
    Load(u64),
    End(u64, PastFate),
    Fate(MessageId, oneshot::Sender<Result<Option<PastFate>, InboxError>>),
    Change(NameChange),
    /// … of what the user says, who is told whether it is on the disk
    Trust(NameChange, oneshot::Sender<Result<(), InboxError>>),
    Pin(NetworkId),
    Supernodes(Box<Supernodes>),
    Stay(Box<Stay>),
    List(Selection, oneshot::Sender<Result<Vec<Stored>, InboxError>>),
    Remove(Vec<u64>, oneshot::Sender<Result<u64, InboxError>>),
    /// What was asked for before is done, and nothing more
    ShutDown,
}

/// What became of what the thread was asked for
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Of [`InboxWorker::keep`] with this ticket: [`Kept`] says whether it is on disk
    Kept { ticket: u64, kept: Result<Kept, NotStored> },
    /// Of [`InboxWorker::store`]: whether it is on disk
    Stored { sequence: u64, id: MessageId, is_stored: bool },
    /// Of [`InboxWorker::end`]: what the disk has to remember of it is there
    Ended { id: MessageId },
    /// Of [`InboxWorker::load`]: what it says, if it can be read
    Loaded { sequence: u64, body: Option<Vec<u8>> },
}

/// Why a list was not told to its end
enum Unlisted {
    Failed(InboxError),
    Ended,
}

/// To ask the thread; it ends when the last of these is gone, or when it is told to
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

    /// Puts a message into the out-box; the outcome comes with its sequence
    pub(crate) fn store(&self, letter: Letter) {
        self.give(Job::Store(letter));
    }

    /// Reads what a message in the out-box says; the outcome comes with its sequence
    pub(crate) fn load(&self, sequence: u64) {
        self.give(Job::Load(sequence));
    }

    /// Takes a message out of the out-box, and remembers its fate
    pub(crate) fn end(&self, sequence: u64, fate: PastFate) {
        self.give(Job::End(sequence, fate));
    }

    /// Answers the verb `fate` for a message that waits no more, from a task of its own
    pub(crate) fn fate(&self, id: MessageId, reply: Reply) {
        let worker = self.clone();
        sync::spawn(async move {
            let (answer, answered) = oneshot::channel();
            worker.give(Job::Fate(id, answer));
            match answered.await {
                Ok(Ok(Some(fate))) => reply.finish(fate.status, &fate_answer(fate)),
                Ok(Ok(None)) => {
                    let error = format!("no message with the id {id} is known here");
                    let hint = format!("the fates of the last {FATES_MAX} are remembered");
                    reply.refuse(Status::NotFound, error, Some(hint));
                }
                Ok(Err(error)) => reply.refuse(error.status(), error.to_string(), None),
                Err(_) => reply.refuse(Status::Unavailable, "the daemon is ending", None),
            }
        });
    }

    /// Keeps a record for times without a supernode
    pub(crate) fn save(&self, record: Record) {
        self.give(Job::Change(NameChange::Save(Box::new(record))));
    }

    /// Forgets the record of a name
    pub(crate) fn erase(&self, name: Name) {
        self.give(Job::Change(NameChange::Erase(name)));
    }

    /// Keeps the key that a name must have, which was relied on
    pub(crate) fn pin_key(&self, name: Name, key: Key) {
        self.give(Job::Change(NameChange::Pin(name, key)));
    }

    /// Keeps whose the user says that a name is, and answers from a task of its own once it is on the disk
    pub(crate) fn trust(&self, change: NameChange, reply: Reply, answer: PinAnswer) {
        let worker = self.clone();
        sync::spawn(async move {
            let (written, is_written) = oneshot::channel();
            worker.give(Job::Trust(change, written));
            match is_written.await {
                Ok(Ok(())) => reply.finish(Status::Delivered, &answer),
                Ok(Err(error)) => {
                    let hint = "until this daemon ends it is so all the same; then say it again".to_owned();
                    reply.refuse(error.status(), error.to_string(), Some(hint));
                }
                Err(_) => reply.refuse(Status::Unavailable, "the daemon is ending", None),
            }
        });
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

    /// Ends the thread once it has done what it was asked for: when no more outcomes come, all of it is on the disk, and the in-box
    /// is closed
    pub(crate) fn shut_down(&self) {
        self.give(Job::ShutDown);
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
        body: body(&message.bytes),
    }
}

/// What a message says; a long one as digits where those are fewer than characters would be, as lines have a bound
fn body(bytes: &[u8]) -> Body {
    let body = Body::of(bytes.to_vec());
    if bytes.len() > TEXT_BYTES_MAX { body.compact() } else { body }
}

fn fate_answer(PastFate { id, to, why, attempts, elapsed, at, .. }: PastFate) -> FateAnswer {
    FateAnswer {
        id: Id(id),
        to,
        waiting: None,
        attempts: attempts.into(),
        elapsed_us: elapsed.as_micros() as u64,
        at: Some(rfc3339(at)),
        reason: Some(why).filter(|why| !why.is_empty()),
    }
}

/// Changes that share one transaction
#[derive(Default)]
struct Batch {
    tickets: Vec<u64>,
    mail: MailChanges,
    /// In their order: the last word on a name is what stays
    names: Vec<NameChange>,
}

fn work(mut inbox: InboxFile, jobs: &blocking::Receiver<Job>, outcomes: &mpsc::Sender<Outcome>) {
    // Fates and pins that the disk could not be told: it is told with what comes next.
    let (mut untold, mut unpinned) = (Vec::new(), Vec::new());
    let mut is_over = false;
    while !is_over && let Ok(job) = jobs.recv() {
        let mut batch = Batch::default();
        batch.mail.is_all = !untold.is_empty();
        batch.mail.end = std::mem::take(&mut untold);
        batch.names = std::mem::take(&mut unpinned);
        let more = std::iter::from_fn(|| jobs.try_recv().ok()).take(BATCH_MAX - 1);
        for job in std::iter::once(job).chain(more) {
            is_over |= matches!(job, Job::ShutDown);
            do_or_batch(&mut inbox, job, &mut batch, outcomes);
        }
        // Whether the driver is there still or not: what it has asked for is to be on the disk.
        unpinned = write_names(&mut inbox, std::mem::take(&mut batch.names));
        untold = finish(&mut inbox, batch, outcomes);
    }
}

/// Does a job, or puts it with those that share a transaction
fn do_or_batch(inbox: &mut InboxFile, job: Job, batch: &mut Batch, outcomes: &mpsc::Sender<Outcome>) {
    match job {
        Job::Keep { ticket, message } => {
            batch.tickets.push(ticket);
            batch.mail.keep.push(*message);
        }
        Job::Store(letter) => batch.mail.store.push(letter),
        Job::End(sequence, fate) => {
            // What has its fate before it was written need not be written at all; its fate, then, is waited for.
            let before = batch.mail.store.len();
            batch.mail.store.retain(|letter| letter.sequence != sequence);
            batch.mail.is_all |= batch.mail.store.len() < before;
            batch.mail.end.push((sequence, fate));
        }
        Job::Load(sequence) => {
            // The in-box traces the reason of a failure.
            let body = inbox.letter(sequence).ok().flatten();
            sync::blocking_send(outcomes, Outcome::Loaded { sequence, body });
        }
        // An asker that has hung up needs no answer.
        Job::Fate(id, answer) => {
            let known = batch.mail.end.iter().rev().find(|(_, fate)| fate.id == id).map(|(_, fate)| fate.clone());
            _ = answer.send(known.map_or_else(|| inbox.fate(&id), |fate| Ok(Some(fate))));
        }
        Job::Change(change) => batch.names.push(change),
        // What was relied on before is older than what the user says. An asker that has hung up needs no answer.
        Job::Trust(change, answer) => {
            batch.names.push(change);
            let changes = std::mem::take(&mut batch.names);
            let written = inbox.write_names(&changes, SystemTime::now());
            if written.is_err() {
                batch.names = changes;
            }
            _ = answer.send(written);
        }
        // The in-box traces the reason of a failure; without a pin the next start asks again.
        Job::Pin(network) => _ = inbox.set_meta(NETWORK, &network.0),
        // Without it a start waits for a supernode.
        Job::Stay(stay) => remember(inbox, STAY, wire::encode(&(micros(SystemTime::now()), &*stay))),
        // Without it the configured supernodes are the way in.
        Job::Supernodes(list) => remember(inbox, SUPERNODES, wire::encode(&*list)),
        // An asker that has hung up needs no answer.
        Job::List(selection, answer) => _ = answer.send(inbox.list(&selection)),
        Job::Remove(sequences, answer) => _ = answer.send(inbox.remove(&sequences)),
        Job::ShutDown => {}
    }
}

/// Keeps what the next start can do without: the in-box traces the reason of a failure
fn remember(inbox: &mut InboxFile, key: &'static str, encoded: Result<Vec<u8>, wire::WireError>) {
    match encoded {
        Ok(bytes) => _ = inbox.set_meta(key, &bytes),
        Err(reason) => tracing::warn!(event = "memory_not_kept", key, %reason),
    }
}

/// Writes what has changed among names; of what the disk could not be told, the pins, which are as many as there may be
fn write_names(inbox: &mut InboxFile, changes: Vec<NameChange>) -> Vec<NameChange> {
    if changes.is_empty() {
        return changes;
    }
    let Err(reason) = inbox.write_names(&changes, SystemTime::now()) else { return Vec::new() };
    tracing::warn!(event = "names_not_saved", %reason);
    changes.into_iter().filter(|change| matches!(change, NameChange::Pin(..) | NameChange::Unpin(_))).collect()
}

/// Fates that the disk could not be told, each with the sequence of its message; as many as the out-box has messages
type Untold = Vec<(u64, PastFate)>;

/// Writes what was gathered and tells the driver, if it is there still
fn finish(inbox: &mut InboxFile, batch: Batch, outcomes: &mpsc::Sender<Outcome>) -> Untold {
    let (tickets, mail) = (batch.tickets, batch.mail);
    if sync::makes(Mistake::TellsBeforeItKeeps) {
        let kept = |ticket: &u64| Outcome::Kept { ticket: *ticket, kept: Ok(Kept::Duplicate) };
        tickets.iter().for_each(|ticket| _ = sync::blocking_send(outcomes, kept(ticket)));
        return if inbox.write_mail(&mail).is_ok() { Vec::new() } else { mail.end };
    }
    let is_of = [!mail.keep.is_empty(), !mail.store.is_empty(), !mail.end.is_empty()];
    std::iter::zip(["keep", "store", "end"], is_of).for_each(|(point, is_met)| crash::at(point, is_met));
    let written = inbox.write_mail(&mail);
    std::iter::zip(["kept", "stored", "ended"], is_of).for_each(|(point, is_met)| crash::at(point, is_met));
    let is_stored = written.is_ok();
    let stored = mail.store.iter();
    let stored = stored.map(|Letter { sequence, id, .. }| Outcome::Stored { sequence: *sequence, id: *id, is_stored });
    // A disk that fails keeps nobody waiting for a fate.
    let ended = mail.end.iter().map(|(_, fate)| Outcome::Ended { id: fate.id });
    let told: Vec<_> = stored.chain(ended).collect();
    let (kept, untold): (Vec<_>, _) = match written {
        Ok(kept) => (kept.into_iter().map(Ok).collect(), Vec::new()),
        Err(error) => (tickets.iter().map(|_| Err(error.not_stored())).collect(), mail.end),
    };
    let kept = tickets.into_iter().zip(kept).map(|(ticket, kept)| Outcome::Kept { ticket, kept });
    kept.chain(told).for_each(|outcome| _ = sync::blocking_send(outcomes, outcome));
    untold
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules;

#[cfg(test)]
mod tests;
