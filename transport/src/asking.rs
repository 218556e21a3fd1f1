//! What this end asks: questions that wait for a stream, are out, and have their fates.

use std::collections::{BTreeMap, VecDeque};

use kith_common::time::{Instant, Timers};

use crate::Endpoint;
use crate::output::{ConnectionId, Direction, End, StreamId};
use crate::questions::{
    ANSWER_HEAD, Fate, Full, Kind, MALFORMED, Question, TIMED_OUT, TOO_LARGE, WAITING_MAX, answered, bytes_of, give_up,
    opened_by, parsed_answer,
};
use crate::streams::{Gone, Read, StreamError};
use crate::writing::{Place, Writing};

/// A question of this end
#[derive(Debug)]
struct Asked {
    ticket: u64,
    kind: Kind,
    question: Writing,
    answer: Vec<u8>,
}

/// Where a question is
#[derive(Clone, Copy, Debug)]
enum Where {
    Waiting(ConnectionId),
    Out(Place),
}

/// The own questions; each is in all three books until it has its fate
#[derive(Debug, Default)]
pub(crate) struct Asking {
    last_ticket: u64,
    by_ticket: BTreeMap<u64, Where>,
    deadlines: Timers<u64>,
    out: BTreeMap<Place, Asked>,
    waiting: BTreeMap<ConnectionId, VecDeque<Asked>>,
    waiting_count: usize,
    /// Messages that have left since this was asked
    left: VecDeque<u64>,
    done: VecDeque<(u64, Fate)>,
    /// Pipes that were opened, each with what has come behind the answer
    opened: VecDeque<(u64, Place, Vec<u8>)>,
}

impl Asking {
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        connection: ConnectionId,
        question: &Question,
        until: Instant,
    ) -> Result<u64, Full> {
        if self.waiting_count >= WAITING_MAX {
            return Err(Full);
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let (kind, bytes) = (question.kind, bytes_of(question));
        let writing = if kind == Kind::Pipe { Writing::without_end(bytes) } else { Writing::new(bytes) };
        let asked = Asked { ticket, kind, question: writing, answer: Vec::new() };
        self.by_ticket.insert(ticket, Where::Waiting(connection));
        self.deadlines.set(until, ticket);
        self.waiting.entry(connection).or_default().push_back(asked);
        self.waiting_count += 1;
        self.begin(now, endpoint, connection);
        Ok(ticket)
    }

    /// Begins what waits for a stream of this connection, in its order
    pub(crate) fn begin(&mut self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId) {
        while let Some(ticket) = self.next_waiting(endpoint, connection) {
            let stream = match endpoint.open(connection, Direction::Both) {
                Ok(Some(stream)) => stream,
                Ok(None) => return,
                Err(_) => return self.lose(connection, &End::Silent),
            };
            let place = (connection, stream);
            let Some(asked) = self.take_waiting(connection, ticket) else { return };
            self.by_ticket.insert(asked.ticket, Where::Out(place));
            // Who calls may call again; of a message it counts whether it can have been heard.
            self.left.extend((asked.kind == Kind::Message).then_some(asked.ticket));
            self.out.insert(place, asked);
            self.write(now, endpoint, place);
        }
    }

    /// The first that may go out on this connection: what is heard twice is evaluated and delivered once, but for a pipe, which waits
    /// until the handshake is done
    fn next_waiting(&self, endpoint: &Endpoint, connection: ConnectionId) -> Option<u64> {
        let is_early = endpoint.is_early(connection);
        let mut waiting = self.waiting.get(&connection)?.iter();
        waiting.find(|asked| !is_early || asked.kind != Kind::Pipe).map(|asked| asked.ticket)
    }

    /// The one of this ticket, which waits for a stream of this connection
    fn take_waiting(&mut self, connection: ConnectionId, ticket: u64) -> Option<Asked> {
        let queue = self.waiting.get_mut(&connection)?;
        let at = queue.iter().position(|asked| asked.ticket == ticket)?;
        let asked = queue.remove(at)?;
        if queue.is_empty() {
            self.waiting.remove(&connection);
        }
        self.waiting_count -= 1;
        Some(asked)
    }

    /// Takes a question out of all books
    fn take(&mut self, ticket: u64) -> Option<(Asked, Where)> {
        let at = self.by_ticket.remove(&ticket)?;
        self.deadlines.stop(&ticket);
        let asked = match at {
            Where::Waiting(connection) => self.take_waiting(connection, ticket),
            Where::Out(place) => self.out.remove(&place),
        }?;
        Some((asked, at))
    }

    fn conclude(&mut self, place: Place, fate: Fate) {
        if let Some(ticket) = self.out.get(&place).map(|asked| asked.ticket) {
            self.take(ticket);
            self.done.push_back((ticket, fate));
        }
    }

    /// A question has its fate before both have said all: neither half of its stream is left open, as they count
    pub(crate) fn break_off(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place, code: u64) {
        if self.out.contains_key(&place) {
            self.conclude(place, answered(code));
            give_up(now, endpoint, place, code);
        }
    }

    /// The other end reads no more of it: whoever takes no pipe says so first, and then why
    pub(crate) fn handle_stopped(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place, code: u64) {
        if self.out.get(&place).is_some_and(|asked| asked.kind == Kind::Pipe) {
            // It may be over already.
            let _: Result<(), Gone> = endpoint.reset(now, place.0, place.1, code);
        } else {
            self.break_off(now, endpoint, place, code);
        }
    }

    /// The connection is over: so is what was asked on it
    pub(crate) fn lose(&mut self, connection: ConnectionId, end: &End) {
        let out = self.out.range(StreamId::all_of(connection));
        let waiting = self.waiting.get(&connection).into_iter().flatten();
        let lost = out.map(|(_, asked)| asked.ticket).chain(waiting.map(|asked| asked.ticket));
        for ticket in lost.collect::<Vec<_>>() {
            self.take(ticket);
            self.done.push_back((ticket, Fate::Lost(end.clone())));
        }
    }

    pub(crate) fn write(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place) {
        let Some(asked) = self.out.get_mut(&place) else { return };
        match asked.question.write(now, endpoint, place) {
            Ok(_) => {}
            Err(StreamError::GivenUp(code)) => self.break_off(now, endpoint, place, code),
            Err(StreamError::Gone(_)) => self.conclude(place, Fate::Lost(End::Silent)),
        }
    }

    pub(crate) fn read(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place) {
        let Some(asked) = self.out.get_mut(&place) else { return };
        let most = ANSWER_HEAD + asked.kind.answer_bytes_max();
        loop {
            match endpoint.read(now, place.0, place.1, 64 * 1024) {
                Ok(Read::Bytes(more)) if asked.answer.len() + more.len() <= most || asked.kind == Kind::Pipe => {
                    asked.answer.extend_from_slice(&more);
                    if asked.kind == Kind::Pipe {
                        if let Some(all) = opened_by(&asked.answer) {
                            return self.open(place, all);
                        }
                        if asked.answer.len() > most {
                            return self.break_off(now, endpoint, place, TOO_LARGE);
                        }
                    }
                }
                Ok(Read::Bytes(_)) => return self.break_off(now, endpoint, place, TOO_LARGE),
                Ok(Read::Nothing) => return,
                Ok(Read::End) => break,
                Err(StreamError::GivenUp(code)) => return self.break_off(now, endpoint, place, code),
                Err(StreamError::Gone(_)) => return,
            }
        }
        let fate = match parsed_answer(&asked.answer) {
            Some((status, body)) => Fate::Answered { status, body: body.to_vec() },
            None => answered(MALFORMED),
        };
        let is_pipe = asked.kind == Kind::Pipe;
        self.conclude(place, fate);
        // Nobody takes it: nothing follows.
        if is_pipe {
            give_up(now, endpoint, place, MALFORMED);
        }
    }

    /// The other end has taken a pipe, by so many bytes: its stream is somebody else's from now on
    fn open(&mut self, place: Place, all: usize) {
        let Some(ticket) = self.out.get(&place).map(|asked| asked.ticket) else { return };
        let Some((asked, _)) = self.take(ticket) else { return };
        let early = asked.answer.get(all..).unwrap_or_default();
        self.opened.push_back((ticket, place, early.to_vec()));
    }

    /// The next pipe that was opened
    pub(crate) fn poll_opened(&mut self) -> Option<(u64, Place, Vec<u8>)> {
        self.opened.pop_front()
    }

    pub(crate) fn cancel(&mut self, now: Instant, endpoint: &mut Endpoint, ticket: u64) {
        if let Some((_, Where::Out(place))) = self.take(ticket) {
            give_up(now, endpoint, place, TIMED_OUT);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        while let Some(ticket) = self.deadlines.take_due(now) {
            self.cancel(now, endpoint, ticket);
            self.done.push_back((ticket, Fate::TimedOut));
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next_timeout()
    }

    /// The next question that may have been heard by now
    pub(crate) fn poll_left(&mut self) -> Option<u64> {
        self.left.pop_front()
    }

    pub(crate) fn poll(&mut self) -> Option<(u64, Fate)> {
        self.done.pop_front()
    }
}
