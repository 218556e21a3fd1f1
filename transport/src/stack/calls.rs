//! Calls of this peer's own: each finds where its function is, is asked there, and has one end. What asks for a pipe is a call, too,
//! of whoever is to take it.
//!
//! Whoever wants no answer but a connection, to say on it what may get lost, finds the holder of a name by the same steps: what
//! is looked up, met, doubted and asked for anew is one thing, and a second copy of it would soon differ. It asks nothing,
//! and is done when the other end is known; or, as a *hold*, it makes the connection anew whenever that is lost, until it is
//! given up.
//!
//! | what happens to a call | what is done |
//! |---|---|
//! | it is new | the name is asked for, and memory will do |
//! | the name is found, with a key that the directory vouches for | it is asked over the connection with that key |
//! | … with a key that nobody vouches for | it waits until whoever holds the key has shown a grant with that name |
//! | … and the mesh says that nothing arrives there | the name is asked for anew |
//! | the mesh says that nothing arrives there | the name is asked for anew; elsewhere now: packets go there |
//! | … and says so again, for the third time, and no supernode has relayed it | it ends with 503 |
//! | the connection is lost | the name is asked for anew, and it is asked once more, under its id |
//! | the directory says 404 or 410, or names another key than the one that is pinned (421) | it ends with that |
//! | the other end has pinned another key to this peer's name | it ends with 403 |
//! | it is answered | it ends with the answer |
//! | it asks nothing, and whoever holds the key is known | it ends well; a hold lasts on |
//! | its time is over | it ends with 408 |
//!
//! Only the other end's answer ends a call well. Whoever evaluates may hear of one twice, under one id, and evaluates it once
//! ([`evaluating`](super::evaluating)). A call of this peer at itself goes the same way, but for the connection.

mod answers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kith_common::id::{Address, Key, MessageId, Name};
use kith_common::mutant::{self, Mutant};
use kith_common::names::Answer;
use kith_common::status::Status;
use kith_common::time::{Instant, Timers};

use super::called::{Called, Why};
use super::doubts::Doubts;
use super::wishes::Wish;
use crate::output::End;
use crate::questions::{Kind, Question};

/// Calls that have no end yet; the next one ends with 429 at once
pub const CALLS_MAX: usize = 1_024;

/// How long a call waits for its result, where nothing else is said
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody waits longer for a result, and so no call is asked again later than this after it was asked first
pub const CALL_TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// After a connection was lost for the second time in a row, and twice as long each time after that; the first time it is
/// made anew at once, as the other end may just have started again
const REST_MIN: Duration = Duration::from_millis(250);
/// A peer that comes back is found so soon
const REST_MAX: Duration = Duration::from_secs(2);

/// Why a call was not begun: there will be no end of it
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    #[error("this peer is not logged in")]
    NotLoggedIn,
    /// That one goes on
    #[error("another one with this id is under way")]
    IdInUse,
}

/// How far a call is
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its name is asked for
    Resolving { fresh: bool },
    /// Whoever holds this key is to show a grant
    Meeting { key: Key, address: Address },
    /// What is to be asked is on its way to the connection
    Asking,
    /// It is asked, or is to be met if it asks nothing and has no ticket; its name is asked for anew, as nothing may arrive there
    Asked { key: Key, ticket: Option<u64>, is_doubted: bool },
    /// Until its timer it rests
    Resting,
}

/// What is wanted of whoever has a name
#[derive(Debug)]
enum Want {
    /// The answer to a question of this kind, a call's or that for a pipe, with this body
    Answer(Kind, Vec<u8>),
    /// That a connection stands
    Connection,
    /// That one stands until this is given up; each time that none does it may take so long
    Hold { patience: Duration, is_met: bool },
}

impl Want {
    /// How its end is told
    fn ended(&self, called: Called) -> Wish {
        match self {
            Self::Answer(..) => Wish::Done(called),
            Self::Connection => Wish::Reached(called),
            Self::Hold { .. } => Wish::NotHeld(called),
        }
    }
}

#[derive(Debug)]
struct Call {
    to: Name,
    want: Want,
    begun: Instant,
    until: Instant,
    stage: Stage,
    /// Connections that were lost under it
    losses: u32,
    last_end: Option<End>,
    doubts: Doubts,
}

impl Call {
    /// What it holds is lost: another connection may take as long as the first
    fn part(&mut self, now: Instant) {
        if let Want::Hold { patience, is_met } = &mut self.want
            && std::mem::take(is_met)
        {
            self.until = now + *patience;
        }
    }
}

/// Every call from its beginning to its end
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<MessageId, Call>,
    by_ticket: BTreeMap<u64, MessageId>,
    /// Those that wait for a name
    waiting: BTreeSet<(Name, MessageId)>,
    /// Each call's next moment: the end of its time, or of its rest
    timers: Timers<MessageId>,
    wishes: VecDeque<Wish>,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether a call with this id has no end yet
    pub(super) fn has(&self, id: &MessageId) -> bool {
        self.calls.contains_key(id)
    }

    /// Begins a call whose id no other has that is under way, or asks for a pipe
    pub(super) fn begin(&mut self, now: Instant, id: MessageId, to: Name, kind: Kind, body: Vec<u8>, until: Instant) {
        let until = until.min(now + CALL_TIME_MAX);
        let refused = match () {
            () if self.calls.len() >= CALLS_MAX => Some((Status::SlowDown, Why::TooMany)),
            () if body.len() > crate::questions::CALL_BYTES_MAX => Some((Status::TooLarge, Why::TooLarge)),
            () => None,
        };
        match refused {
            Some((status, reason)) => self.wishes.push_back(Wish::Done(Called::at_once(id, to, status, reason))),
            None => self.insert(now, id, to, Want::Answer(kind, body), until),
        }
    }

    /// Makes a connection with whoever has a name, if none stands by then; [`Wish::Reached`] has [`Why::Met`] or why not
    pub(super) fn reach(&mut self, now: Instant, id: MessageId, to: Name, until: Instant) {
        self.insert_free(now, id, to, Want::Connection, until);
    }

    /// Keeps a connection with whoever has a name until it is given up: [`Wish::Met`] says with which key, whenever one stands
    /// again, and [`Wish::NotHeld`] why there is none, when none was made for so long, or none will be
    pub(super) fn hold(&mut self, now: Instant, id: MessageId, to: Name, patience: Duration) {
        self.insert_free(now, id, to, Want::Hold { patience, is_met: false }, now + patience);
    }

    /// What asks nothing needs its place among calls
    fn insert_free(&mut self, now: Instant, id: MessageId, to: Name, want: Want, until: Instant) {
        if self.calls.len() >= CALLS_MAX {
            return self.wishes.push_back(want.ended(Called::at_once(id, to, Status::SlowDown, Why::TooMany)));
        }
        self.insert(now, id, to, want, until);
    }

    fn insert(&mut self, now: Instant, id: MessageId, to: Name, want: Want, until: Instant) {
        let call = Call {
            to,
            want,
            begun: now,
            until,
            stage: Stage::Resting,
            losses: 0,
            last_end: None,
            doubts: Doubts::default(),
        };
        self.calls.insert(id, call);
        self.timers.set(until, id);
        self.resolve(id, false);
    }

    fn resolve(&mut self, id: MessageId, fresh: bool) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.stage = Stage::Resolving { fresh };
        self.timers.set(call.until, id);
        self.waiting.insert((call.to.clone(), id));
        self.wishes.push_back(Wish::Resolve { name: call.to.clone(), fresh });
    }

    /// The answer to [`Wish::Resolve`]; `fresh` if it is good enough for those who asked for a fresh one
    pub(super) fn handle_resolved(
        &mut self,
        now: Instant,
        name: &Name,
        fresh: bool,
        answer: Result<&Answer, Status>,
        can_relay: bool,
    ) {
        for id in self.waiting_for(name) {
            let Some(call) = self.calls.get(&id) else { continue };
            match call.stage {
                Stage::Resolving { fresh: wanted } if fresh || !wanted => {
                    self.waiting.remove(&(name.clone(), id));
                    self.on_found(now, id, fresh, answer);
                }
                Stage::Asked { key, is_doubted: true, .. } if fresh => {
                    self.waiting.remove(&(name.clone(), id));
                    self.on_found_again(now, id, key, answer, can_relay);
                }
                _ => {}
            }
        }
    }

    /// The name is this peer's own
    pub(super) fn handle_own(&mut self, now: Instant, name: &Name, (key, address): (Key, Address)) {
        for id in self.waiting_for(name) {
            if self.calls.get(&id).is_some_and(|call| matches!(call.stage, Stage::Resolving { .. })) {
                self.waiting.remove(&(name.clone(), id));
                self.ask(now, id, key, address);
            }
        }
    }

    fn waiting_for(&self, name: &Name) -> Vec<MessageId> {
        let first = (name.clone(), MessageId([0; 16]));
        self.waiting.range(first..).take_while(|(of, _)| of == name).map(|(_, id)| *id).collect()
    }

    fn on_found(&mut self, now: Instant, id: MessageId, fresh: bool, answer: Result<&Answer, Status>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(status) => return self.finish(now, &id, status, Why::LookUp, Vec::new()),
        };
        match (answer.key(), &answer.record) {
            (Some(key), _) => self.ask(now, id, key, answer.address),
            (None, Some(record)) => self.meet(id, record.key, answer.address),
            // Whoever is near may know its key.
            (None, None) if !fresh => self.resolve(id, true),
            (None, None) => self.finish(now, &id, Status::Unavailable, Why::LookUp, Vec::new()),
        }
    }

    fn ask(&mut self, now: Instant, id: MessageId, key: Key, address: Address) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if now >= call.until {
            return self.finish(now, &id, Status::TimedOut, Why::NoAnswer, Vec::new());
        }
        let Want::Answer(kind, body) = &call.want else {
            call.stage = Stage::Asked { key, ticket: None, is_doubted: false };
            return self.wishes.push_back(Wish::Dial { key, address });
        };
        let question = Question { kind: *kind, id, body: body.clone() };
        // Whoever is met twice is asked once.
        call.stage = Stage::Asking;
        self.wishes.push_back(Wish::Ask { id, key, address, question, until: call.until });
    }

    fn meet(&mut self, id: MessageId, key: Key, address: Address) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.stage = Stage::Meeting { key, address };
        self.wishes.push_back(Wish::Dial { key, address });
    }

    /// Whether the own question of this ticket is still asked
    pub(super) fn is_asked(&self, ticket: u64) -> bool {
        self.by_ticket.contains_key(&ticket)
    }

    /// The answer to [`Wish::Ask`]: with the question's ticket
    pub(super) fn handle_asked(&mut self, now: Instant, id: MessageId, key: Key, ticket: Option<u64>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(ticket) = ticket else {
            return self.finish(now, &id, Status::SlowDown, Why::TooMany, Vec::new());
        };
        call.stage = Stage::Asked { key, ticket: Some(ticket), is_doubted: false };
        self.by_ticket.insert(ticket, id);
    }

    /// Whoever was to be asked for a pipe is this peer itself
    pub(super) fn handle_itself(&mut self, now: Instant, id: &MessageId) {
        self.finish(now, id, Status::Conflict, Why::Own, Vec::new());
    }

    /// Whoever was to be asked was removed from the network
    pub(super) fn handle_removed(&mut self, now: Instant, id: &MessageId) {
        self.finish(now, id, Status::NotAllowed, Why::Removed, Vec::new());
    }

    /// … and was to be met, by its key
    pub(super) fn handle_removed_key(&mut self, now: Instant, key: &Key) {
        for id in self.without_question(key) {
            self.handle_removed(now, &id);
        }
    }

    /// Whoever holds this key has shown that it has this name
    pub(super) fn handle_met(&mut self, now: Instant, key: &Key, name: &Name) {
        for id in self.awaiting(key) {
            match self.calls.get(&id) {
                Some(call) if call.to == *name => self.on_met(now, id, *key),
                Some(_) => self.finish(now, &id, Status::NotFound, Why::OtherName, Vec::new()),
                None => {}
            }
        }
        for (id, address) in self.meeting(key) {
            match self.calls.get(&id) {
                Some(call) if call.to == *name => self.ask(now, id, *key, address),
                Some(_) => self.finish(now, &id, Status::NotFound, Why::OtherName, Vec::new()),
                None => {}
            }
        }
    }

    fn meeting(&self, key: &Key) -> Vec<(MessageId, Address)> {
        let meeting = self.calls.iter().filter_map(|(id, call)| match call.stage {
            Stage::Meeting { key: of, address } if of == *key => Some((*id, address)),
            _ => None,
        });
        meeting.collect()
    }

    /// Whoever asks nothing is where it wants to be
    fn on_met(&mut self, now: Instant, id: MessageId, key: Key) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match &mut call.want {
            Want::Hold { is_met: is_met @ false, .. } => {
                *is_met = true;
                call.doubts.reset();
                self.timers.stop(&id);
                self.wishes.push_back(Wish::Met { id, key });
                // Once: who is relied on may be asked for anew, and so be met again.
                self.note_relied(&id);
            }
            Want::Connection => {
                self.note_relied(&id);
                self.finish(now, &id, Status::Delivered, Why::Met, Vec::new());
            }
            Want::Hold { .. } | Want::Answer(..) => {}
        }
    }

    /// The user has said whose this name is: whoever is asked under it, and holds another key than this one, is asked no more; the
    /// keys of those
    pub(super) fn handle_trusted(&mut self, name: &Name, key: Option<&Key>) -> Vec<Key> {
        let at = |call: &Call| match call.stage {
            Stage::Asked { key, .. } | Stage::Meeting { key, .. } => Some(key),
            Stage::Resolving { .. } | Stage::Asking | Stage::Resting => None,
        };
        let calls = self.calls.iter().filter(|(_, call)| call.to == *name);
        let others =
            calls.filter_map(|(id, call)| Some((*id, at(call).filter(|at| key.is_some_and(|key| key != at))?)));
        let others: Vec<(MessageId, Key)> = others.collect();
        for (id, _) in &others {
            self.give_up(id);
            self.resolve(*id, true);
        }
        others.into_iter().map(|(_, key)| key).collect()
    }

    /// Something has come over the connection that is held
    pub(super) fn handle_heard(&mut self, id: &MessageId) {
        if let Some(call) = self.calls.get_mut(id) {
            call.doubts.reset();
        }
    }

    /// Those that ask nothing, and for which whoever holds this key is dialled, or is there
    fn awaiting(&self, key: &Key) -> Vec<MessageId> {
        let is_so = |stage| matches!(stage, Stage::Asked { key: of, ticket: None, .. } if of == *key);
        self.calls.iter().filter(|(_, call)| is_so(call.stage)).map(|(id, _)| *id).collect()
    }

    /// Those that have no question of their own on the connection with this key
    fn without_question(&self, key: &Key) -> Vec<MessageId> {
        self.meeting(key).into_iter().map(|(id, _)| id).chain(self.awaiting(key)).collect()
    }

    /// A connection with this key is over
    pub(super) fn handle_ended(&mut self, now: Instant, key: &Key, end: &End) {
        for id in self.without_question(key) {
            self.lose(now, id, end.clone());
        }
    }

    /// Gives a call up: its end is not told any more
    pub(super) fn cancel(&mut self, id: &MessageId) {
        self.give_up(id);
        self.forget(id);
    }

    fn forget(&mut self, id: &MessageId) -> Option<Call> {
        let call = self.calls.remove(id)?;
        self.timers.stop(id);
        self.waiting.remove(&(call.to.clone(), *id));
        Some(call)
    }

    /// The session is over, and so are all calls
    pub(super) fn handle_logout(&mut self, now: Instant) {
        for id in self.calls.keys().copied().collect::<Vec<_>>() {
            self.finish(now, &id, Status::NotLoggedIn, Why::LoggedOut, Vec::new());
        }
    }

    /// Ends calls whose time is over, and asks anew for those that have rested
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.timers.take_due(now) {
            match self.calls.get(&id) {
                Some(call) if call.until <= now && mutant::is(Mutant::CallDeadlineForgotten) => {}
                Some(call) if call.until <= now => self.time_out(now, &id),
                Some(_) => self.resolve(id, true),
                None => {}
            }
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    /// The next thing to do
    pub(super) fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }
}
