//! The resolver: where a name is, or whose a short id is.
//!
//! | asked | tables | remembered | supernode | flood | else |
//! |---|---|---|---|---|---|
//! | with a supernode | 1st | 2nd, if younger than [`FRESH`] | 3rd; 404 and 410 are final | – | – |
//! | … for a fresh answer | – | – | 1st; 404 and 410 are final | – | – |
//! | without one, or when it does not answer | 1st | 2nd, marked stale | – | 3rd | 503 |
//!
//! "Tables" is what the asker knows from its own table and its neighbours', handed in with the question. What a
//! supernode says is remembered, usually for a day, on disk too; that it knows nobody is passed on and never remembered. A
//! supernode that could not ask the others says so: where it knows somebody, that does, marked stale, and is not remembered;
//! that it knows nobody does not count, and who was asked elsewhere is. What a
//! flood says is hearsay: nobody signed it, so no key is taken from it ([`Answer::key`]).
//!
//! Questions with the same subject are one question; its answer is for all who asked.

mod answer;
mod flood;
mod lists;
mod memory;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub use self::answer::{Answer, Answerer, Ignored, Local, NamesOutput, Source};
pub use self::flood::{ASK_EVERY, ASKERS_MAX, ASKS_BURST, FLOOD_TTL, ROUTE_LIFETIME, ROUTES_MAX};
pub use self::lists::{ASKED_MAX, Lists, ListsOutput};
pub use self::memory::{RECORDS_MAX, REMEMBER, REMEMBER_HEARSAY, WRITE_EVERY};

use self::flood::Floods;
use self::memory::{Memory, Recalled, Written};
use crate::id::{Address, Key, Name};
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::{Instant, Timers};
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

/// From a question to its answer at most: the supernode is silent, then the flood waits for its turn and is in vain
pub const ANSWER_TIMEOUT: Duration = SUPERNODE_TIMEOUT.saturating_add(FLOOD_WAIT_MAX).saturating_add(FLOOD_TIMEOUT);

/// Finds names, remembers them, and passes the floods of others on
#[derive(Debug)]
pub struct Resolver {
    rng: ChaCha20Rng,
    home: bool,
    memory: Memory,
    floods: Floods,
    questions: BTreeMap<Subject, Question>,
    queries: BTreeMap<u64, Subject>,
    /// Of each query, when it has waited for long enough
    timers: Timers<u64>,
    next_flood: Instant,
    /// Names that users look up: each is a question, or its answer is among the outputs
    looking_up: BTreeSet<Name>,
    outputs: VecDeque<NamesOutput>,
}

#[derive(Debug)]
struct Question {
    query: u64,
    stage: Stage,
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
    ///
    /// What a supernode says is remembered for as long as `remember`, usually [`REMEMBER`]; zero: nothing ever is.
    pub fn new(seed: u64, remember: Duration) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            home: false,
            memory: Memory::new(remember),
            floods: Floods::default(),
            questions: BTreeMap::new(),
            queries: BTreeMap::new(),
            timers: Timers::default(),
            next_flood: Instant::ZERO,
            looking_up: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes back what was on disk, each record with its age; what is too old to be remembered is erased there
    pub fn restore(&mut self, now: Instant, records: impl IntoIterator<Item = (Record, Duration)>) {
        for (record, age) in records {
            let written = self.memory.restore(now, record, age);
            self.write(written);
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

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The session with the supernode came or went; what it has not answered is asked elsewhere, and the reverse
    pub(crate) fn handle_home(&mut self, now: Instant, reachable: bool) {
        if self.home == reachable {
            return;
        }
        self.home = reachable;
        // Who was asking the supernode has nobody to ask now, or who asked anybody else has somebody better.
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

    /// A user asks anew where `name` is; answered by one [`NamesOutput::LookedUp`] for all who have asked for it by then
    pub fn look_up(&mut self, now: Instant, name: Name, local: Option<Local>) {
        self.looking_up.insert(name.clone());
        self.handle_ask(now, Subject::Name(name), true, local);
    }

    /// A question of our own; `local` is what our tables say, `fresh` leaves them and memory out while there is a
    /// supernode to ask
    pub(crate) fn handle_ask(&mut self, now: Instant, subject: Subject, fresh: bool, local: Option<Local>) {
        if !fresh && let Some(answer) = self.known(now, &subject, local.as_ref()) {
            return self.resolved(subject, false, Ok(answer));
        }
        if let Some(question) = self.questions.get_mut(&subject) {
            // One question serves all who ask, and the newest tables are the best to fall back on.
            question.local = local.or(question.local.take());
            return;
        }
        if self.questions.len() >= QUESTIONS_MAX {
            tracing::info!(?subject, reason = "too many questions are open", "look-up refused");
            return self.resolved(subject, true, Err(Status::SlowDown));
        }
        let question = Question { query: 0, stage: Stage::WaitingToFlood, local };
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
    pub(crate) fn handle_look_up(
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
    pub(crate) fn handle_found(&mut self, now: Instant, from: Answerer, found: &Found) -> Result<(), Ignored> {
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
    pub(crate) fn handle_record(&mut self, now: Instant, record: &Record) {
        let written = self.memory.learn(now, record);
        self.write(written);
    }

    /// These keys were removed from the network: what is remembered of them is true no more
    pub(crate) fn handle_removed(&mut self, keys: &[Key]) {
        let written = self.memory.forget_keys(keys);
        self.write(written);
    }

    /// Turns elsewhere with questions that were not answered in time
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(query) = self.timers.take_due(now) {
            let Some(subject) = self.queries.get(&query).cloned() else { continue };
            self.on_timer(now, subject);
        }
    }

    /// When to call [`Resolver::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    /// The next thing to do
    pub fn poll_output(&mut self) -> Option<NamesOutput> {
        self.outputs.pop_front()
    }

    /// What is known without asking anybody
    fn known(&self, now: Instant, subject: &Subject, local: Option<&Local>) -> Option<Answer> {
        let recalled = self.recall(now, subject);
        // While there is a supernode, only what it said a moment ago spares it the question.
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
        // A question to neighbours is work for hundreds of peers, so all of ours take turns.
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
        let look_up = LookUp { query, ttl: FLOOD_TTL, subject, may_be_stale: true };
        self.outputs.push_back(NamesOutput::Flood { except: None, look_up });
    }

    fn ask_supernode(&mut self, now: Instant, subject: Subject) {
        let query = self.enter(subject.clone(), Stage::AskingSupernode, now + SUPERNODE_TIMEOUT);
        // A short id is to be printed; of a name it may matter who has it now.
        let may_be_stale = matches!(subject, Subject::ShortId(_));
        self.outputs.push_back(NamesOutput::Ask(LookUp { query, ttl: 0, subject, may_be_stale }));
    }

    /// Puts a question into a stage under a new id, so that late answers to an earlier stage are nobody's
    fn enter(&mut self, subject: Subject, stage: Stage, deadline: Instant) -> u64 {
        let query = self.rng.next_u64();
        if let Some(question) = self.questions.get_mut(&subject) {
            self.queries.remove(&question.query);
            self.timers.stop(&question.query);
            (question.query, question.stage) = (query, stage);
            self.queries.insert(query, subject);
            self.timers.set(deadline, query);
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
                // That nobody near by knows it is no proof: only a supernode can say that a name has no owner.
                let is_final = mutant::is(Mutant::SilenceIsNotFound);
                self.finish(subject, Err(if is_final { Status::NotFound } else { Status::Unavailable }));
            }
        }
    }

    fn on_supernode_found(&mut self, now: Instant, subject: Subject, found: &Found) -> Result<(), Ignored> {
        self.in_stage(&subject, Stage::AskingSupernode)?;
        match (found.status, matching(&subject, found)) {
            (Status::Delivered, Some(record)) => {
                // An old answer does for now; what is remembered is given as if it had been true a moment ago.
                if !found.is_stale || matches!(subject, Subject::ShortId(_)) {
                    let written = self.memory.learn(now, record);
                    self.write(written);
                }
                let is_stale = found.is_stale && !mutant::is(Mutant::StaleIsFresh);
                self.finish(subject, Ok(Answer::of_record(record.clone(), Source::Supernode, is_stale)));
            }
            (Status::Delivered, None) => return Err(Ignored::OtherSubject),
            (Status::NotFound | Status::Gone, _) if found.is_stale => {
                self.fall_back(now, subject, "the supernode's answer may be old");
            }
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
        // What was only overheard goes no farther, or a rumour would come back as if it were confirmed.
        let recalled = || self.recall(now, &look_up.subject).filter(|old| !old.hearsay).map(|old| old.record);
        if let Some(record) = local.or_else(recalled) {
            return self.route_back(&Found::of_neighbour(look_up.query, record));
        }
        let ttl = look_up.ttl.min(FLOOD_TTL).saturating_sub(1);
        if ttl == 0 {
            return Err(Ignored::TtlSpent);
        }
        let look_up = LookUp { ttl, ..look_up.clone() };
        self.outputs.push_back(NamesOutput::Flood { except: Some(from), look_up });
        Ok(())
    }

    fn route_back(&mut self, found: &Found) -> Result<(), Ignored> {
        let (to, subject) = self.floods.asker(found.query)?;
        matching(subject, found).ok_or(Ignored::OtherSubject)?;
        self.floods.answered(found.query);
        self.outputs.push_back(NamesOutput::Answer { to, found: found.clone() });
        Ok(())
    }

    fn finish(&mut self, subject: Subject, answer: Result<Answer, Status>) {
        if let Some(question) = self.questions.remove(&subject) {
            self.queries.remove(&question.query);
            self.timers.stop(&question.query);
        }
        self.resolved(subject, true, answer);
    }

    fn resolved(&mut self, subject: Subject, fresh: bool, answer: Result<Answer, Status>) {
        // A user asks for a fresh answer; one from memory, for somebody who asks as well, is not for them.
        if fresh
            && let Subject::Name(name) = &subject
            && self.looking_up.remove(name)
        {
            let (name, answer) = (name.clone(), answer.clone());
            self.outputs.push_back(NamesOutput::LookedUp { name, answer });
        }
        self.outputs.push_back(NamesOutput::Resolved { subject, fresh, answer });
    }

    fn write(&mut self, Written { save, erase }: Written) {
        // First the room, then what takes it: the disk has as many places as the memory.
        self.outputs.extend(erase.into_iter().map(NamesOutput::Erase));
        self.outputs.extend(save.map(NamesOutput::Save));
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
