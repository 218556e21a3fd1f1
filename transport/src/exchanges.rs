//! A question and its answer, on a stream of their own: messages with their receipts, and calls with their results.
//!
//! | who | what | bytes |
//! |---|---|---|
//! | asks | kind | 1 |
//! | | id, the same when it is asked again | 16 |
//! | | length of the body, little endian | 4 |
//! | | body, and the end | |
//! | answers | status, little endian | 2 |
//! | | length of the body, little endian | 4 |
//! | | body, and the end | |
//!
//! A stream that is given up says why by its code, which is a status. What is asked twice, as the first answer was lost, is
//! known by its id; that is the business of whoever answers.

use std::collections::{BTreeMap, VecDeque};

use kith_common::id::MessageId;
use kith_common::time::{Instant, earliest};

use crate::Endpoint;
use crate::output::{ConnectionId, Direction, End, Output, StreamId};
use crate::streams::{Read, StreamError};
use crate::writing::{Place, Writing};

/// Bytes before the body of a question
const QUESTION_HEAD: usize = 1 + 16 + 4;
/// Bytes before the body of an answer
const ANSWER_HEAD: usize = 2 + 4;

/// Bytes of a message: files beyond are copied in pieces
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a call's arguments, and of its result
pub const CALL_BYTES_MAX: usize = 1 << 20;
/// Bytes of a receipt: a reason
const RECEIPT_BYTES_MAX: usize = 4096;

/// Bytes of questions that are being read, of all connections: four messages of the longest kind; more are told to slow down
pub const READING_BYTES_MAX: usize = 4 * (QUESTION_HEAD + MESSAGE_BYTES_MAX);

/// Questions that wait for a stream, of all connections; one more is refused
pub const WAITING_MAX: usize = 1024;

const MALFORMED: u64 = 400;
const TIMED_OUT: u64 = 408;
const TOO_LARGE: u64 = 413;
const SLOW_DOWN: u64 = 429;

/// What is asked
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To be kept; the answer is its receipt
    Message = 2,
    /// To be evaluated
    Call = 3,
}

impl Kind {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            2 => Some(Self::Message),
            3 => Some(Self::Call),
            _ => None,
        }
    }

    const fn question_bytes_max(self) -> usize {
        match self {
            Self::Message => MESSAGE_BYTES_MAX,
            Self::Call => CALL_BYTES_MAX,
        }
    }

    const fn answer_bytes_max(self) -> usize {
        match self {
            Self::Message => RECEIPT_BYTES_MAX,
            Self::Call => CALL_BYTES_MAX,
        }
    }
}

/// A question for the other end of a connection
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    pub kind: Kind,
    pub id: MessageId,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} of {} bytes", self.kind, self.id, self.body.len())
    }
}

/// What came of a question
#[derive(Clone, PartialEq, Eq)]
pub enum Fate {
    /// The other end has answered, or has given it up with this status
    Answered { status: u16, body: Vec<u8> },
    /// No answer came in time: it may have been heard
    TimedOut,
    /// The connection is over: it may have been heard
    Lost(End),
}

impl std::fmt::Debug for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered { status, body } => write!(f, "{status} with {} bytes", body.len()),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Lost(end) => write!(f, "Lost({end})"),
        }
    }
}

/// What is told of questions
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The other end asks; answered by [`Exchanges::answer`]
    Asked { connection: ConnectionId, stream: StreamId, question: Question },
    /// The own question of this ticket has its fate
    Done { ticket: u64, fate: Fate },
}

/// Neither is there room for another question, nor will there be soon
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many questions wait")]
pub struct Full;

/// A question of this end
#[derive(Debug)]
struct Asked {
    ticket: u64,
    kind: Kind,
    question: Writing,
    answer: Vec<u8>,
    until: Instant,
}

/// A question of the other end
#[derive(Debug)]
enum Incoming {
    Reading(Vec<u8>),
    /// Its answer is awaited
    Heard,
    Answering(Writing),
}

/// Questions and answers on the connections of an endpoint
#[derive(Debug, Default)]
pub struct Exchanges {
    last_ticket: u64,
    asked: BTreeMap<Place, Asked>,
    waiting: VecDeque<(ConnectionId, Asked)>,
    incoming: BTreeMap<Place, Incoming>,
    /// Bytes of questions that are being read
    reading: usize,
    heard: VecDeque<Heard>,
}

impl Exchanges {
    /// Asks the other end of a connection, until a deadline; [`Heard::Done`] has this ticket
    ///
    /// # Errors
    /// [`Full`]: it is not asked.
    pub fn ask(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        connection: ConnectionId,
        question: Question,
        until: Instant,
    ) -> Result<u64, Full> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(Full);
        }
        self.last_ticket += 1;
        let Question { kind, id, body } = question;
        let mut bytes = Vec::with_capacity(QUESTION_HEAD + body.len());
        bytes.push(kind as u8);
        bytes.extend_from_slice(&id.0);
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&body);
        let question = Writing::new(bytes);
        let asked = Asked { ticket: self.last_ticket, kind, question, answer: Vec::new(), until };
        self.waiting.push_back((connection, asked));
        self.begin(now, endpoint, connection);
        Ok(self.last_ticket)
    }

    /// Begins what waits for a stream of this connection, in its order
    fn begin(&mut self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId) {
        while let Some(at) = self.waiting.iter().position(|(of, _)| *of == connection) {
            let opened = endpoint.open(connection, Direction::Both);
            let stream = match opened {
                Ok(Some(stream)) => stream,
                Ok(None) => return,
                Err(_) => return self.lose(connection, &End::Silent),
            };
            let Some((_, asked)) = self.waiting.remove(at) else { return };
            self.asked.insert((connection, stream), asked);
            self.write_question(now, endpoint, (connection, stream));
        }
    }

    /// The connections' ends, streams, and room: what is told of questions is had by [`Self::poll`]
    pub fn handle_output(&mut self, now: Instant, endpoint: &mut Endpoint, output: &Output) {
        match *output {
            Output::Opened { connection, stream, direction: Direction::Both } => {
                self.incoming.insert((connection, stream), Incoming::Reading(Vec::new()));
                self.read_question(now, endpoint, (connection, stream));
            }
            Output::Readable { connection, stream } => {
                self.read_question(now, endpoint, (connection, stream));
                self.read_answer(now, endpoint, (connection, stream));
            }
            Output::Writable { connection, stream } => {
                self.write_question(now, endpoint, (connection, stream));
                self.write_answer(now, endpoint, (connection, stream));
            }
            Output::Stopped { connection, stream, code } => {
                let place = (connection, stream);
                if self.incoming.contains_key(&place) || self.asked.contains_key(&place) {
                    self.forget(place);
                    self.break_off(now, endpoint, place, code);
                }
            }
            Output::Finished { connection, stream } => {
                if let Some(Incoming::Answering(_)) = self.incoming.get(&(connection, stream)) {
                    self.incoming.remove(&(connection, stream));
                }
            }
            Output::Connected { connection, .. } | Output::Room { connection, direction: Direction::Both } => {
                self.begin(now, endpoint, connection);
            }
            Output::Ended { connection, ref end } => self.lose(connection, end),
            _ => {}
        }
    }

    /// The connection is over: what was asked on it has its fate, and what is asked by its other end needs no answer
    fn lose(&mut self, connection: ConnectionId, end: &End) {
        let places: Vec<Place> = self.asked.keys().filter(|(of, _)| *of == connection).copied().collect();
        for place in places {
            self.conclude(place, Fate::Lost(end.clone()));
        }
        let (lost, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(of, _)| *of == connection);
        self.waiting = waiting;
        let lost: VecDeque<(ConnectionId, Asked)> = lost;
        self.heard.extend(
            lost.into_iter().map(|(_, asked)| Heard::Done { ticket: asked.ticket, fate: Fate::Lost(end.clone()) }),
        );
        let incoming: Vec<Place> = self.incoming.keys().filter(|(of, _)| *of == connection).copied().collect();
        for place in incoming {
            self.forget(place);
        }
    }

    fn conclude(&mut self, place: Place, fate: Fate) {
        if let Some(asked) = self.asked.remove(&place) {
            self.heard.push_back(Heard::Done { ticket: asked.ticket, fate });
        }
    }

    fn forget(&mut self, place: Place) {
        if let Some(Incoming::Reading(bytes)) = self.incoming.remove(&place) {
            self.reading -= bytes.len();
        }
    }

    fn write_question(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place) {
        let Some(asked) = self.asked.get_mut(&place) else { return };
        match asked.question.write(now, endpoint, place) {
            Ok(_) => {}
            Err(StreamError::GivenUp(code)) => self.break_off(now, endpoint, place, code),
            Err(StreamError::Gone(_)) => self.conclude(place, Fate::Lost(End::Silent)),
        }
    }

    /// A question of this end has its fate before both have said all: neither half of its stream is left open, as they count
    fn break_off(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place, code: u64) {
        self.conclude(place, answered(code));
        give_up(now, endpoint, place, code);
    }

    fn read_answer(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place) {
        let Some(asked) = self.asked.get_mut(&place) else { return };
        let most = ANSWER_HEAD + asked.kind.answer_bytes_max();
        loop {
            match endpoint.read(now, place.0, place.1, 64 * 1024) {
                Ok(Read::Bytes(more)) if asked.answer.len() + more.len() <= most => {
                    asked.answer.extend_from_slice(&more)
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
        self.conclude(place, fate);
    }

    fn read_question(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place) {
        let Some(Incoming::Reading(bytes)) = self.incoming.get_mut(&place) else { return };
        let refusal = loop {
            match endpoint.read(now, place.0, place.1, 64 * 1024) {
                Ok(Read::Bytes(more)) => {
                    self.reading += more.len();
                    bytes.extend_from_slice(&more);
                    if let Some(code) = refused_by_now(bytes) {
                        break Some(code);
                    }
                    if self.reading > READING_BYTES_MAX {
                        break Some(SLOW_DOWN);
                    }
                }
                Ok(Read::Nothing) => return,
                Ok(Read::End) => break None,
                Err(_) => {
                    self.forget(place);
                    return give_up(now, endpoint, place, TIMED_OUT);
                }
            }
        };
        let question = match refusal {
            Some(code) => Err(code),
            None => parsed_question(bytes).ok_or(MALFORMED),
        };
        self.forget(place);
        match question {
            Ok(question) => {
                self.incoming.insert(place, Incoming::Heard);
                let (connection, stream) = place;
                self.heard.push_back(Heard::Asked { connection, stream, question });
            }
            Err(code) => {
                tracing::info!(event = "question_refused", connection = place.0.0, code);
                give_up(now, endpoint, place, code);
            }
        }
    }

    /// Answers a question of the other end; one that it has given up, or whose connection is over, needs none
    pub fn answer(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place, status: u16, body: &[u8]) {
        let Some(incoming) = self.incoming.get_mut(&place).filter(|incoming| matches!(incoming, Incoming::Heard))
        else {
            return;
        };
        let mut bytes = Vec::with_capacity(ANSWER_HEAD + body.len());
        bytes.extend_from_slice(&status.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(body);
        *incoming = Incoming::Answering(Writing::new(bytes));
        self.write_answer(now, endpoint, place);
    }

    fn write_answer(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place) {
        let Some(Incoming::Answering(answer)) = self.incoming.get_mut(&place) else { return };
        if answer.write(now, endpoint, place).is_err() {
            self.incoming.remove(&place);
            give_up(now, endpoint, place, TIMED_OUT);
        }
    }

    /// Whether whoever has asked still waits for the answer
    pub fn is_awaited(&self, place: Place) -> bool {
        matches!(self.incoming.get(&place), Some(Incoming::Heard))
    }

    /// Gives a question of this end up: its fate is not told any more
    pub fn cancel(&mut self, now: Instant, endpoint: &mut Endpoint, ticket: u64) {
        self.waiting.retain(|(_, asked)| asked.ticket != ticket);
        let place = self.asked.iter().find(|(_, asked)| asked.ticket == ticket).map(|(place, _)| *place);
        if let Some(place) = place {
            self.asked.remove(&place);
            give_up(now, endpoint, place, TIMED_OUT);
        }
    }

    /// Questions whose deadlines have come
    pub fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        let late: Vec<Place> =
            self.asked.iter().filter(|(_, asked)| asked.until <= now).map(|(place, _)| *place).collect();
        for place in late {
            give_up(now, endpoint, place, TIMED_OUT);
            self.conclude(place, Fate::TimedOut);
        }
        let (late, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(_, asked)| asked.until <= now);
        self.waiting = waiting;
        let late: VecDeque<(ConnectionId, Asked)> = late;
        self.heard
            .extend(late.into_iter().map(|(_, asked)| Heard::Done { ticket: asked.ticket, fate: Fate::TimedOut }));
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        let waiting = self.waiting.iter().map(|(_, asked)| asked);
        self.asked.values().chain(waiting).map(|asked| Some(asked.until)).fold(None, earliest)
    }

    /// The next thing that is told
    pub fn poll(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }
}

/// Neither half of the stream goes on, as QUIC counts it until both have ended; they may have ended already
fn give_up(now: Instant, endpoint: &mut Endpoint, (connection, stream): Place, code: u64) {
    let _: Result<(), _> = endpoint.reset(now, connection, stream, code);
    let _: Result<(), _> = endpoint.stop(now, connection, stream, code);
}

/// A stream that was given up with a code that is no status of three digits is one that is not understood
fn answered(code: u64) -> Fate {
    let status = u16::try_from(code).ok().filter(|code| (200..1000).contains(code));
    Fate::Answered { status: status.unwrap_or(MALFORMED as u16), body: Vec::new() }
}

/// Whether what has come of a question is refused already, and with which code
fn refused_by_now(bytes: &[u8]) -> Option<u64> {
    let kind = match Kind::of(*bytes.first()?) {
        Some(kind) => kind,
        None => return Some(MALFORMED),
    };
    let length = bytes.get(17..QUESTION_HEAD)?.first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    match () {
        () if length > kind.question_bytes_max() => Some(TOO_LARGE),
        () if bytes.len() > QUESTION_HEAD + length => Some(MALFORMED),
        () => None,
    }
}

fn parsed_question(bytes: &[u8]) -> Option<Question> {
    let kind = Kind::of(*bytes.first()?)?;
    let id = MessageId(*bytes.get(1..17)?.first_chunk()?);
    let length = u32::from_le_bytes(*bytes.get(17..QUESTION_HEAD)?.first_chunk()?) as usize;
    let body = bytes.get(QUESTION_HEAD..).filter(|body| body.len() == length)?;
    Some(Question { kind, id, body: body.to_vec() })
}

fn parsed_answer(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, body) = bytes.split_first_chunk::<ANSWER_HEAD>()?;
    let [low, high, length @ ..] = *head;
    let is_whole = u32::from_le_bytes(length) as usize == body.len();
    is_whole.then(|| (u16::from_le_bytes([low, high]), body))
}
