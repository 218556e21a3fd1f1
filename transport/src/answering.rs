//! What others ask: questions that are read, heard, and answered.
//!
//! Calls are heard as they come. Messages of one connection are heard in the order of their streams, which is the one in which
//! they were sent: a later one is held until each before it has come or was given up, or has turned out to be a call.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use kith_common::mutant::{self, Mutant};
use kith_common::time::{Instant, Timers};

use crate::Endpoint;
use crate::output::{ConnectionId, StreamId};
use crate::questions::{
    HELD_BYTES_MAX, Kind, MALFORMED, OPENED, Question, SLOW_DOWN, TIMED_OUT, bytes_of_answer, give_up, opening_of,
    parsed_question, refused_by_now,
};
use crate::streams::{Gone, Read};
use crate::writing::{Place, Writing};

/// Of [`HELD_BYTES_MAX`], what one connection may have: the others have as much
const SHARE_BYTES_MAX: usize = HELD_BYTES_MAX / 2;

/// Who writes no more of a question, or takes no more of its answer, for so long has given it up: many round trips, and less
/// than a connection may be silent
const STALL_MAX: Duration = Duration::from_secs(15);

/// How far a question of the other end is
#[derive(Debug)]
enum State {
    Reading(Vec<u8>),
    /// Its answer is awaited; so many bytes are held for it
    Heard(usize),
    /// As well, and what has come behind it is kept here, for the pipe
    HeardOpening(Vec<u8>),
    Answering(Writing),
}

/// The questions of others
#[derive(Debug, Default)]
pub(crate) struct Answering {
    incoming: BTreeMap<Place, State>,
    /// When each is given up, unless it gets on; an answer may be awaited for as long as whoever asks waits
    deadlines: Timers<Place>,
    /// Bytes of questions that are read or heard, by connection
    held: BTreeMap<ConnectionId, usize>,
    held_by_all: usize,
    /// Messages that wait for those before them; as many as there are streams, and their bytes are counted
    behind: BTreeMap<Place, Question>,
    heard: VecDeque<(Place, Question)>,
}

/// Whether what is being read is a message, as far as that can be seen by now
fn may_be_message(state: &State) -> bool {
    match state {
        State::Reading(bytes) => bytes.first().is_none_or(|kind| *kind == Kind::Message as u8),
        State::Heard(_) | State::HeardOpening(_) | State::Answering(_) => false,
    }
}

impl Answering {
    /// The other end has opened a stream
    pub(crate) fn open(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place) {
        self.incoming.insert(place, State::Reading(Vec::new()));
        self.deadlines.set(now + STALL_MAX, place);
        self.read(now, endpoint, place);
    }

    /// It is over; what it held is free
    fn forget(&mut self, place: Place) -> Option<State> {
        let state = self.incoming.remove(&place)?;
        self.deadlines.stop(&place);
        self.behind.remove(&place);
        match &state {
            State::Reading(bytes) => self.release(place.0, bytes.len()),
            State::Heard(count) => self.release(place.0, *count),
            State::HeardOpening(bytes) => self.release(place.0, bytes.len()),
            State::Answering(_) => {}
        }
        Some(state)
    }

    fn release(&mut self, connection: ConnectionId, count: usize) {
        self.held_by_all -= count;
        if let Some(held) = self.held.get_mut(&connection) {
            *held -= count;
            if *held == 0 {
                self.held.remove(&connection);
            }
        }
    }

    /// Hears the messages of a connection behind all of which nothing is left to wait for
    fn hear(&mut self, connection: ConnectionId) {
        let mut all = self.incoming.range(StreamId::all_of(connection));
        let first = all.find(|(_, state)| may_be_message(state)).map(|(place, _)| *place);
        let all = StreamId::all_of(connection);
        let until = first.map_or(Bound::Included(*all.end()), Bound::Excluded);
        let ready = self.behind.range((Bound::Included(*all.start()), until)).map(|(place, _)| *place);
        for place in ready.collect::<Vec<_>>() {
            self.heard.extend(self.behind.remove(&place).map(|question| (place, question)));
        }
    }

    pub(crate) fn read(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place) {
        let Some(State::Reading(bytes)) = self.incoming.get_mut(&place) else { return };
        let before = bytes.len();
        let refusal = loop {
            match endpoint.read(now, place.0, place.1, 64 * 1024) {
                Ok(Read::Bytes(more)) => {
                    let held = self.held.entry(place.0).or_default();
                    *held += more.len();
                    self.held_by_all += more.len();
                    bytes.extend_from_slice(&more);
                    if let Some(code) = refused_by_now(bytes) {
                        break Some(code);
                    }
                    if let Some(all) = opening_of(bytes) {
                        return self.hear_opening(place, all);
                    }
                    if *held > SHARE_BYTES_MAX || self.held_by_all > HELD_BYTES_MAX {
                        break Some(SLOW_DOWN);
                    }
                }
                Ok(Read::Nothing) => {
                    let is_first = before == 0;
                    if bytes.len() > before {
                        self.deadlines.set(now + STALL_MAX, place);
                        if is_first {
                            self.hear(place.0);
                        }
                    }
                    return;
                }
                Ok(Read::End) => break None,
                Err(_) => return self.break_off(now, endpoint, place, TIMED_OUT),
            }
        };
        let question = match refusal {
            Some(code) => Err(code),
            None => parsed_question(bytes).ok_or(MALFORMED),
        };
        match question {
            Ok(question) => {
                let count = bytes.len();
                self.incoming.insert(place, State::Heard(count));
                self.deadlines.stop(&place);
                match question.kind {
                    Kind::Message if !mutant::is(Mutant::HeardAsTheyCome) => _ = self.behind.insert(place, question),
                    _ => self.heard.push_back((place, question)),
                }
                self.hear(place.0);
            }
            Err(code) => {
                tracing::info!(event = "question_refused", connection = place.0.0, code);
                self.break_off(now, endpoint, place, code);
            }
        }
    }

    /// All that a question for a pipe says has come, which are so many bytes
    fn hear_opening(&mut self, place: Place, all: usize) {
        let Some(State::Reading(bytes)) = self.incoming.get_mut(&place) else { return };
        let Some(question) = bytes.get(..all).and_then(parsed_question) else { return };
        let rest = bytes.split_off(all);
        self.incoming.insert(place, State::HeardOpening(rest));
        self.release(place.0, all);
        self.deadlines.stop(&place);
        self.heard.push_back((place, question));
        self.hear(place.0);
    }

    /// Somebody takes a pipe: what has come behind its question, and the answer that is to be written first; `None` if it was given
    /// up meanwhile
    pub(crate) fn take_opening(&mut self, place: Place) -> Option<(Vec<u8>, Vec<u8>)> {
        if !matches!(self.incoming.get(&place), Some(State::HeardOpening(_))) {
            return None;
        }
        match self.forget(place)? {
            State::HeardOpening(early) => Some((early, bytes_of_answer(OPENED, &[]))),
            _ => None,
        }
    }

    /// Neither half of its stream goes on
    pub(crate) fn break_off(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place, code: u64) {
        if self.forget(place).is_some() {
            give_up(now, endpoint, place, code);
            self.hear(place.0);
        }
    }

    pub(crate) fn answer(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place, status: u16, body: &[u8]) {
        if self.is_awaited(place) {
            if matches!(self.forget(place), Some(State::HeardOpening(_))) {
                // Nobody takes the pipe.
                let _: Result<(), Gone> = endpoint.stop(now, place.0, place.1, status.into());
            }
            let answer = Writing::new(bytes_of_answer(status, body));
            self.incoming.insert(place, State::Answering(answer));
            self.deadlines.set(now + STALL_MAX, place);
            self.write(now, endpoint, place);
        }
    }

    pub(crate) fn write(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place) {
        let Some(State::Answering(answer)) = self.incoming.get_mut(&place) else { return };
        match answer.write(now, endpoint, place) {
            // QUIC goes on with it, as long as there is a connection.
            Ok(true) => _ = self.forget(place),
            Ok(false) => self.deadlines.set(now + STALL_MAX, place),
            Err(_) => self.break_off(now, endpoint, place, TIMED_OUT),
        }
    }

    pub(crate) fn is_awaited(&self, place: Place) -> bool {
        matches!(self.incoming.get(&place), Some(State::Heard(_) | State::HeardOpening(_)))
    }

    /// The connection is over: what was asked on it needs no answer
    pub(crate) fn lose(&mut self, connection: ConnectionId) {
        let all = self.incoming.range(StreamId::all_of(connection));
        for place in all.map(|(place, _)| *place).collect::<Vec<_>>() {
            self.forget(place);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        while let Some(place) = self.deadlines.take_due(now) {
            self.break_off(now, endpoint, place, TIMED_OUT);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next_timeout()
    }

    /// The next question whose answer is still awaited
    pub(crate) fn poll(&mut self) -> Option<(Place, Question)> {
        while let Some((place, question)) = self.heard.pop_front() {
            if self.is_awaited(place) {
                return Some((place, question));
            }
        }
        None
    }
}
