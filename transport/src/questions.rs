//! A question and its answer, on a stream of their own: messages with their receipts, calls with their results, and pipes, whose
//! bytes follow on the same stream.
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
//! A pipe has no end behind the body of its question, nor, with status 200, behind that of the answer: what follows are its bytes.
//!
//! A message's body begins with where it stands among its sender's: its sequence, and that of the one before it, 8 bytes each,
//! little endian. Its receipt's body is a [`Receipt`](kith_common::wire::content::Receipt).
//!
//! A stream that is given up says why by its code, which is a status. What is asked twice, as the first answer was lost, is
//! known by its id; that is the business of whoever answers.

use kith_common::id::MessageId;
use kith_common::mail::Place as MessagePlace;
use kith_common::time::Instant;
pub use kith_common::wire::content::MESSAGE_BYTES_MAX;

use crate::Endpoint;
use crate::output::End;
use crate::pipes::PipeId;
use crate::writing::Place;

/// Bytes before the body of a question
const QUESTION_HEAD: usize = 1 + 16 + 4;
/// Bytes before the body of an answer
pub(crate) const ANSWER_HEAD: usize = 2 + 4;

/// Bytes before what a message says: its place
const PLACE_BYTES: usize = 8 + 8;
/// Bytes of a call's arguments, and of its result
pub const CALL_BYTES_MAX: usize = 1 << 20;
/// Bytes of a receipt: with the longest way, of which everybody has the longest name
const RECEIPT_BYTES_MAX: usize = 11 * 1024;

/// Bytes of what a pipe is for
const OPENING_BYTES_MAX: usize = 1024 + 64 + 8;
/// Bytes in which whoever is asked for a pipe may say why not
const REASON_BYTES_MAX: usize = 1024;

/// Bytes of questions that are being read or wait for their answers, of all connections: four messages of the longest kind. More
/// are told to slow down; one connection may have half of it.
pub const HELD_BYTES_MAX: usize = 4 * (QUESTION_HEAD + PLACE_BYTES + MESSAGE_BYTES_MAX);

/// Questions that wait for a stream, of all connections; one more is refused
pub const WAITING_MAX: usize = 1024;

pub(crate) const OPENED: u16 = 200;
pub(crate) const MALFORMED: u64 = 400;
pub(crate) const TIMED_OUT: u64 = 408;
pub(crate) const TOO_LARGE: u64 = 413;
pub(crate) const SLOW_DOWN: u64 = 429;

/// What is asked
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To be kept; the answer is its receipt
    Message = 2,
    /// To be evaluated
    Call = 3,
    /// To be taken, as a pipe
    Pipe = 4,
}

impl Kind {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            2 => Some(Self::Message),
            3 => Some(Self::Call),
            4 => Some(Self::Pipe),
            _ => None,
        }
    }

    const fn question_bytes_max(self) -> usize {
        match self {
            Self::Message => PLACE_BYTES + MESSAGE_BYTES_MAX,
            Self::Call => CALL_BYTES_MAX,
            Self::Pipe => OPENING_BYTES_MAX,
        }
    }

    pub(crate) const fn answer_bytes_max(self) -> usize {
        match self {
            Self::Message => RECEIPT_BYTES_MAX,
            Self::Call => CALL_BYTES_MAX,
            Self::Pipe => REASON_BYTES_MAX,
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

/// The body of a message
pub(crate) fn message_body(place: MessagePlace, content: &[u8]) -> Vec<u8> {
    [&place.sequence.to_le_bytes(), &place.after.to_le_bytes(), content].concat()
}

/// Where a message stands, and what it says
pub(crate) fn parsed_message(body: &[u8]) -> Option<(MessagePlace, &[u8])> {
    let (sequence, rest) = body.split_first_chunk()?;
    let (after, content) = rest.split_first_chunk()?;
    let (sequence, after) = (u64::from_le_bytes(*sequence), u64::from_le_bytes(*after));
    Some((MessagePlace { sequence, after }, content))
}

/// What came of a question
#[derive(Clone, PartialEq, Eq)]
pub enum Fate {
    /// The other end has answered, or has given it up with this status
    Answered { status: u16, body: Vec<u8> },
    /// The other end has taken the pipe
    Opened(PipeId),
    /// No answer came in time: it may have been heard
    TimedOut,
    /// The connection is over: it may have been heard
    Lost(End),
}

impl std::fmt::Debug for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered { status, body } => write!(f, "{status} with {} bytes", body.len()),
            Self::Opened(PipeId(id)) => write!(f, "Opened({id})"),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Lost(end) => write!(f, "Lost({end})"),
        }
    }
}

/// Neither is there room for another question, nor will there be soon
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many questions wait")]
pub struct Full;

/// Neither half of the stream goes on, as QUIC counts it until both have ended; they may have ended already
pub(crate) fn give_up(now: Instant, endpoint: &mut Endpoint, (connection, stream): Place, code: u64) {
    let _: Result<(), _> = endpoint.reset(now, connection, stream, code);
    let _: Result<(), _> = endpoint.stop(now, connection, stream, code);
}

/// A stream that was given up with a code that is no status of three digits is one that is not understood
pub(crate) fn answered(code: u64) -> Fate {
    let status = u16::try_from(code).ok().filter(|code| (400..1000).contains(code));
    Fate::Answered { status: status.unwrap_or(MALFORMED as u16), body: Vec::new() }
}

/// Bytes of a question's body, once so much has come that it says so
fn body_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(17..QUESTION_HEAD)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*length) as usize)
}

/// Whether what has come of a question is refused already, and with which code
pub(crate) fn refused_by_now(bytes: &[u8]) -> Option<u64> {
    let kind = match Kind::of(*bytes.first()?) {
        Some(kind) => kind,
        None => return Some(MALFORMED),
    };
    let length = body_length(bytes)?;
    match () {
        () if length > kind.question_bytes_max() => Some(TOO_LARGE),
        () if bytes.len() > QUESTION_HEAD + length && kind != Kind::Pipe => Some(MALFORMED),
        () => None,
    }
}

pub(crate) fn parsed_question(bytes: &[u8]) -> Option<Question> {
    let kind = Kind::of(*bytes.first()?)?;
    let id = MessageId(*bytes.get(1..17)?.first_chunk()?);
    let length = body_length(bytes)?;
    let body = bytes.get(QUESTION_HEAD..).filter(|body| body.len() == length)?;
    Some(Question { kind, id, body: body.to_vec() })
}

/// Whether all of a question for a pipe has come, behind which there is no end: its bytes, those of the pipe behind it left out
pub(crate) fn opening_of(bytes: &[u8]) -> Option<usize> {
    let length = body_length(bytes).filter(|_| bytes.first() == Some(&(Kind::Pipe as u8)))?;
    let all = QUESTION_HEAD + length;
    (bytes.len() >= all).then_some(all)
}

/// Whether a pipe is opened by what has come of an answer, behind which there is no end then: as [`opening_of`]
pub(crate) fn opened_by(bytes: &[u8]) -> Option<usize> {
    let (head, rest) = bytes.split_first_chunk::<ANSWER_HEAD>()?;
    let [low, high, length @ ..] = *head;
    let length = u32::from_le_bytes(length) as usize;
    (u16::from_le_bytes([low, high]) == OPENED && rest.len() >= length).then_some(ANSWER_HEAD + length)
}

pub(crate) fn parsed_answer(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, body) = bytes.split_first_chunk::<ANSWER_HEAD>()?;
    let [low, high, length @ ..] = *head;
    let is_whole = u32::from_le_bytes(length) as usize == body.len();
    is_whole.then(|| (u16::from_le_bytes([low, high]), body))
}

pub(crate) fn bytes_of(Question { kind, id, body }: &Question) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&[*kind as u8], id.0.as_slice(), &length, body].concat()
}

pub(crate) fn bytes_of_answer(status: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&status.to_le_bytes()[..], &length, body].concat()
}
