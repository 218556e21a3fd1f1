//! The resolver: where a name is, or whose a short id is.
//!
//! | asked | tables | remembered | supernode | flood | else |
//! |---|---|---|---|---|---|
//! | with a supernode | 1st | 2nd, if younger than [`FRESH`] | 3rd; 404 and 410 are final | – | – |
//! | … for a fresh answer | – | – | 1st; 404 and 410 are final | – | – |
//! | without one, or when it does not answer | 1st | 2nd, marked stale | – | 3rd | 503 |
//!
//! "Tables" is what the asker knows from its own table and its neighbours', handed in with the question. What a
//! supernode says is remembered for a day, on disk too; that it knows nobody is passed on and never remembered. What a
//! flood says is hearsay: nobody signed it, so no key is taken from it ([`Answer::target`]).
//!
//! Questions with the same subject are one question; its answer is for all who asked.

mod flood;
mod memory;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub use flood::{ASK_EVERY, ASKERS_MAX, ASKS_BURST, FLOOD_TTL, ROUTE_LIFETIME, ROUTES_MAX};
pub use memory::{RECORDS_MAX, REMEMBER, REMEMBER_HEARSAY, WRITE_EVERY};

use self::flood::Floods;
use self::memory::{Memory, Recalled, Written};
use crate::id::{Address, Name};
use crate::mail::outbox::{SEND_TIMEOUT, Target};
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::session::{Found, LookUp, Record, Subject};

/// A record younger than this is as good as asking: about two leases
pub const FRESH: Duration = Duration::from_secs(60);
/// Then the supernode counts as silent: ten long round trips
pub const SUPERNODE_TIMEOUT: Duration = Duration::from_secs(2);
/// Then nobody near knows: [`FLOOD_TTL`] hops and back, with room for a slow one
pub const FLOOD_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long a question may wait for its turn to be flooded, [`ASK_EVERY`] after the one before
pub const FLOOD_WAIT_MAX: Duration = Duration::from_secs(4);
/// Questions without an answer yet; the next one gets 429
pub const QUESTIONS_MAX: usize = 1_024;

const _: () = assert!(
    SUPERNODE_TIMEOUT.as_millis() + FLOOD_WAIT_MAX.as_millis() + FLOOD_TIMEOUT.as_millis() < SEND_TIMEOUT.as_millis()
);

/// Something for the shell to do
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The answer for everybody who asked for `subject`; those who asked for a fresh one wait on unless `fresh`
    Resolved {
        /// What was asked for
        subject: Subject,
        /// Whether memory alone did not do
        fresh: bool,
        /// 404, 410, 429 or 503 if there is none
        answer: Result<Answer, Status>,
    },
    /// To the supernode
    Ask(LookUp),
    /// To every neighbour but `except`
    Flood {
        /// Where the question came from
        except: Option<Address>,
        /// The question
        look_up: LookUp,
    },
    /// To this neighbour
    Answer {
        /// Who asked
        to: Address,
        /// What was found
        found: Found,
    },
    /// Write it to disk, with the time of day, under its name
    Save(Record),
    /// Erase the record of this name from the disk
    Erase(Name),
}

/// Who knew
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The directory
    Supernode,
    /// The own table, or a neighbour's
    Tables,
    /// A flood; nobody vouches for it
    Neighbours,
    /// An earlier answer of the directory's
    Memory,
}

/// What is known of a peer
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its name
    pub name: Name,
    /// Its place
    pub address: Address,
    /// All that the directory knows; a neighbour's table holds only the two above
    pub record: Option<Record>,
    /// Who knew
    pub source: Source,
    /// Whether it may be out of date: no supernode could be asked
    pub stale: bool,
}

impl Answer {
    /// Where to send, and whose reply counts
    pub fn target(&self) -> Target {
        let record = self.record.as_ref().filter(|_| self.source != Source::Neighbours);
        Target { address: self.address, key: record.map(|record| record.key) }
    }

    fn of_record(record: Record, source: Source, stale: bool) -> Self {
        Self { name: record.name.clone(), address: record.address, record: Some(record), source, stale }
    }
}

/// What the asker's own tables say
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The name
    pub name: Name,
    /// The place
    pub address: Address,
    /// Of a neighbour, what its rewire said
    pub record: Option<Record>,
}

/// Where an answer comes from
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// The home supernode
    Supernode,
    /// The neighbour at this address
    Neighbour(Address),
}

/// A question or an answer of others that changes nothing, and why
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// No question waits for it: it came too late, twice, or unasked
    #[error("no question waits for it")]
    Unknown,
    /// It was here before, over another way
    #[error("it was here before")]
    Duplicate,
    /// It answers something that was not asked, or nothing
    #[error("it does not answer what was asked")]
    OtherSubject,
    /// Its neighbour asks more than once a second
    #[error("its neighbour asks too often")]
    TooOften,
    /// Too many questions pass here
    #[error("too many questions pass here")]
    Overloaded,
    /// Nobody knows here, and it may go no farther
    #[error("it may go no farther")]
    TtlSpent,
}

/// Finds names, remembers them, and passes the floods of others on
#[derive(Debug)]
pub struct Resolver {
    rng: ChaCha20Rng,
    home: bool,
    memory: Memory,
    floods: Floods,
    questions: BTreeMap<Subject, Question>,
    queries: BTreeMap<u64, Subject>,
    timers: BTreeSet<(Instant, u64)>,
    next_flood: Instant,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Question {
    query: u64,
    stage: Stage,
    deadline: Instant,
    local: Option<Local>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    AskingSupernode,
    WaitingToFlood,
    Flooding,
}

impl Resolver {
    /// Knows nobody; `seed` makes the ids of its questions, which nobody should guess
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            home: false,
            memory: Memory::default(),
            floods: Floods::default(),
            questions: BTreeMap::new(),
            queries: BTreeMap::new(),
            timers: BTreeSet::new(),
            next_flood: Instant::ZERO,
            outputs: VecDeque::new(),
        }
    }

    /// Takes back what was on disk, each record with its age; what is older than [`REMEMBER`] is left out
    pub fn restore(&mut self, now: Instant, records: impl IntoIterator<Item = (Record, Duration)>) {
        for (record, age) in records {
            self.memory.restore(now, record, age);
        }
    }

    /// What is worth keeping on disk, each record with its age; the same that `Save` and `Erase` keep there
    pub fn remembered(&self, now: Instant) -> impl Iterator<Item = (&Record, Duration)> {
        self.memory.iter(now)
    }

    /// How many records are remembered, at most [`RECORDS_MAX`]
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether none is
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The session with the supernode came or went; what it has not answered is asked elsewhere, and the reverse
    pub fn handle_home(&mut self, now: Instant, reachable: bool) {
        if self.home == reachable {
            return;
        }
        self.home = reachable;
        let asking = |question: &Question| question.stage == Stage::AskingSupernode;
        let concerned = self.questions.iter().filter(|(_, question)| asking(question) != reachable);
        for subject in concerned.map(|(subject, _)| subject.clone()).collect::<Vec<_>>() {
            if reachable {
                self.ask_supernode(now, subject);
            } else {
                self.fall_back(now, subject, "the supernode is lost");
            }
        }
    }

    /// A question of our own; `local` is what our tables say, `fresh` leaves them and memory out while there is a
    /// supernode to ask
    pub fn handle_ask(&mut self, now: Instant, subject: Subject, fresh: bool, local: Option<Local>) {
        if !fresh && let Some(answer) = self.known(now, &subject, local.as_ref()) {
            return self.resolved(subject, false, Ok(answer));
        }
        if let Some(question) = self.questions.get_mut(&subject) {
            question.local = local.or(question.local.take());
            return;
        }
        if self.questions.len() >= QUESTIONS_MAX {
            tracing::info!(?subject, reason = "too many questions are open", "look-up refused");
            return self.resolved(subject, true, Err(Status::SlowDown));
        }
        let question = Question { query: 0, stage: Stage::WaitingToFlood, deadline: now, local };
        self.questions.insert(subject.clone(), question);
        if self.home {
            self.ask_supernode(now, subject);
        } else {
            self.fall_back(now, subject, "no supernode can be asked");
        }
    }

    /// A neighbour's question; `local` is what we know about its subject for sure: our own record or a neighbour's
    ///
    /// # Errors
    /// [`Ignored`]: it goes no farther, and no answer goes back. Silence is the answer "I don't know": a peer never
    /// sends more for a question than one answer.
    pub fn handle_look_up(
        &mut self,
        now: Instant,
        from: Address,
        look_up: &LookUp,
        local: Option<Record>,
    ) -> Result<(), Ignored> {
        let passed = self.pass_on(now, from, look_up, local);
        if let Err(reason) = passed {
            tracing::debug!(from = %from, query = look_up.query, %reason, "neighbour's question dropped");
        }
        passed
    }

    /// An answer, to a question of our own or to a neighbour's
    ///
    /// # Errors
    /// [`Ignored`]: nothing has changed.
    pub fn handle_found(&mut self, now: Instant, from: Answerer, found: &Found) -> Result<(), Ignored> {
        let own = self.queries.get(&found.query).cloned();
        let taken = match (own, from) {
            (Some(subject), Answerer::Supernode) => self.on_supernode_found(now, subject, found),
            (Some(subject), Answerer::Neighbour(_)) => self.on_flood_found(now, subject, found),
            (None, Answerer::Neighbour(_)) => self.route_back(found),
            (None, Answerer::Supernode) => Err(Ignored::Unknown),
        };
        if let Err(reason) = taken {
            tracing::debug!(?from, query = found.query, %reason, "answer ignored");
        }
        taken
    }

    /// Takes a record that came unasked from a supernode, in a rewire: worth remembering like an answer
    pub fn handle_record(&mut self, now: Instant, record: &Record) {
        let written = self.memory.learn(now, record);
        self.write(written);
    }

    /// Turns elsewhere with questions that were not answered in time
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, query)) = self.timers.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.timers.remove(&(deadline, query));
            let Some(subject) = self.queries.get(&query).cloned() else { continue };
            self.on_timer(now, subject);
        }
    }

    /// When to call [`Resolver::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(deadline, _)| *deadline)
    }

    /// The next thing to do
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What is known without asking anybody
    fn known(&self, now: Instant, subject: &Subject, local: Option<&Local>) -> Option<Answer> {
        let recalled = self.recall(now, subject);
        let is_fresh = |old: &Recalled| old.age < FRESH && !old.hearsay || mutant::is(Mutant::OldAnswerIsFresh);
        let usable = |old: &Recalled| !self.home || is_fresh(old);
        match local {
            Some(local) => Some(from_tables(local.clone(), recalled, !self.home)),
            None => recalled.filter(usable).map(|old| from_memory(old, !self.home)),
        }
    }

    fn recall(&self, now: Instant, subject: &Subject) -> Option<Recalled> {
        match subject {
            Subject::Name(name) => self.memory.recall(now, name),
            Subject::ShortId(short) => self.memory.recall_short(now, *short),
        }
    }

    /// What to do without a supernode's answer
    fn fall_back(&mut self, now: Instant, subject: Subject, reason: &'static str) {
        let local = self.questions.get_mut(&subject).and_then(|question| question.local.take());
        let recalled = self.recall(now, &subject);
        let answer = match (local, recalled) {
            (Some(local), recalled) => from_tables(local, recalled, true),
            (None, Some(recalled)) => from_memory(recalled, true),
            (None, None) => return self.queue_flood(now, subject, reason),
        };
        tracing::info!(?subject, source = ?answer.source, reason, "name found without a supernode");
        self.finish(subject, Ok(answer));
    }

    fn queue_flood(&mut self, now: Instant, subject: Subject, reason: &'static str) {
        let turn = self.next_flood.max(now);
        if turn - now > FLOOD_WAIT_MAX {
            tracing::info!(?subject, reason = "too many names are being asked for near by", "name not found");
            return self.finish(subject, Err(Status::Unavailable));
        }
        self.next_flood = turn + ASK_EVERY;
        tracing::info!(?subject, reason, "asking the neighbours");
        self.enter(subject.clone(), Stage::WaitingToFlood, turn);
        if turn == now {
            self.flood(now, subject);
        }
    }

    fn flood(&mut self, now: Instant, subject: Subject) {
        let query = self.enter(subject.clone(), Stage::Flooding, now + FLOOD_TIMEOUT);
        self.floods.begin(now, query, &subject);
        self.outputs.push_back(Output::Flood { except: None, look_up: LookUp { query, ttl: FLOOD_TTL, subject } });
    }

    fn ask_supernode(&mut self, now: Instant, subject: Subject) {
        let query = self.enter(subject.clone(), Stage::AskingSupernode, now + SUPERNODE_TIMEOUT);
        self.outputs.push_back(Output::Ask(LookUp { query, ttl: 0, subject }));
    }

    /// Puts a question into a stage under a new id, so that late answers to an earlier stage are nobody's
    fn enter(&mut self, subject: Subject, stage: Stage, deadline: Instant) -> u64 {
        let query = self.rng.next_u64();
        if let Some(question) = self.questions.get_mut(&subject) {
            self.queries.remove(&question.query);
            self.timers.remove(&(question.deadline, question.query));
            (question.query, question.stage, question.deadline) = (query, stage, deadline);
            self.queries.insert(query, subject);
            self.timers.insert((deadline, query));
        }
        query
    }

    fn on_timer(&mut self, now: Instant, subject: Subject) {
        let Some(question) = self.questions.get(&subject) else { return };
        match question.stage {
            Stage::AskingSupernode => self.fall_back(now, subject, "the supernode does not answer"),
            Stage::WaitingToFlood => self.flood(now, subject),
            Stage::Flooding => {
                tracing::info!(?subject, reason = "no neighbour near by knows it", "name not found");
                let is_final = mutant::is(Mutant::SilenceIsNotFound);
                self.finish(subject, Err(if is_final { Status::NotFound } else { Status::Unavailable }));
            }
        }
    }

    fn on_supernode_found(&mut self, now: Instant, subject: Subject, found: &Found) -> Result<(), Ignored> {
        self.in_stage(&subject, Stage::AskingSupernode)?;
        match (found.status, matching(&subject, found)) {
            (Status::Delivered, Some(record)) => {
                let written = self.memory.learn(now, record);
                self.write(written);
                self.finish(subject, Ok(Answer::of_record(record.clone(), Source::Supernode, false)));
            }
            (Status::Delivered, None) => return Err(Ignored::OtherSubject),
            (status @ (Status::NotFound | Status::Gone), _) => {
                if let Subject::Name(name) = &subject {
                    let written = self.memory.forget(name);
                    self.write(written);
                }
                self.finish(subject, Err(status));
            }
            _ => self.fall_back(now, subject, "the supernode cannot say"),
        }
        Ok(())
    }

    fn on_flood_found(&mut self, now: Instant, subject: Subject, found: &Found) -> Result<(), Ignored> {
        self.in_stage(&subject, Stage::Flooding)?;
        let record = matching(&subject, found).ok_or(Ignored::OtherSubject)?;
        let written = self.memory.overhear(now, record);
        self.write(written);
        self.finish(subject, Ok(Answer::of_record(record.clone(), Source::Neighbours, true)));
        Ok(())
    }

    fn in_stage(&self, subject: &Subject, stage: Stage) -> Result<(), Ignored> {
        let question = self.questions.get(subject).filter(|question| question.stage == stage);
        question.map(|_| ()).ok_or(Ignored::Unknown)
    }

    fn pass_on(&mut self, now: Instant, from: Address, look_up: &LookUp, local: Option<Record>) -> Result<(), Ignored> {
        self.floods.admit(now, from, look_up)?;
        let recalled = || self.recall(now, &look_up.subject).filter(|old| !old.hearsay).map(|old| old.record);
        if let Some(record) = local.or_else(recalled) {
            let found = Found { query: look_up.query, status: Status::Delivered, record: Some(record) };
            return self.route_back(&found);
        }
        let ttl = look_up.ttl.min(FLOOD_TTL).saturating_sub(1);
        if ttl == 0 {
            return Err(Ignored::TtlSpent);
        }
        let look_up = LookUp { ttl, ..look_up.clone() };
        self.outputs.push_back(Output::Flood { except: Some(from), look_up });
        Ok(())
    }

    fn route_back(&mut self, found: &Found) -> Result<(), Ignored> {
        let (to, subject) = self.floods.asker(found.query)?;
        matching(subject, found).ok_or(Ignored::OtherSubject)?;
        self.floods.answered(found.query);
        self.outputs.push_back(Output::Answer { to, found: found.clone() });
        Ok(())
    }

    fn finish(&mut self, subject: Subject, answer: Result<Answer, Status>) {
        if let Some(question) = self.questions.remove(&subject) {
            self.queries.remove(&question.query);
            self.timers.remove(&(question.deadline, question.query));
        }
        self.resolved(subject, true, answer);
    }

    fn resolved(&mut self, subject: Subject, fresh: bool, answer: Result<Answer, Status>) {
        self.outputs.push_back(Output::Resolved { subject, fresh, answer });
    }

    fn write(&mut self, Written { save, erase }: Written) {
        self.outputs.extend(save.map(Output::Save));
        self.outputs.extend(erase.into_iter().map(Output::Erase));
    }
}

fn from_memory(old: Recalled, stale: bool) -> Answer {
    let source = if old.hearsay { Source::Neighbours } else { Source::Memory };
    Answer::of_record(old.record, source, stale)
}

/// A table knows better where a peer is, memory what else there is to know of it
fn from_tables(local: Local, recalled: Option<Recalled>, stale: bool) -> Answer {
    let Local { name, address, record } = local;
    let remembered = recalled.filter(|old| !old.hearsay && old.record.name == name && old.record.address == address);
    let record = record.or(remembered.map(|old| old.record));
    Answer { name, address, record, source: Source::Tables, stale }
}

/// The record in `found`, if it is one about `subject`
fn matching<'a>(subject: &Subject, found: &'a Found) -> Option<&'a Record> {
    let record = found.record.as_ref().filter(|_| found.status == Status::Delivered)?;
    let about = match subject {
        Subject::Name(name) => *name == record.name,
        Subject::ShortId(short) => *short == record.address.short(),
    };
    about.then_some(record)
}

#[cfg(test)]
mod tests;
