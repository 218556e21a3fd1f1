//! What both ends of a connection ask and answer: the own questions, and those of others.

use kith_common::time::{Instant, earliest};

use crate::Endpoint;
use crate::answering::Answering;
use crate::asking::Asking;
use crate::output::{ConnectionId, Direction, Output, StreamId};
use crate::questions::{Fate, Full, Question};
use crate::writing::Place;

/// What is told of questions
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The other end asks; answered by [`Exchanges::answer`]
    Asked { connection: ConnectionId, stream: StreamId, question: Question },
    /// The own message of this ticket has left: from now on it may have been heard
    Left { ticket: u64 },
    /// The own question of this ticket has its fate
    Done { ticket: u64, fate: Fate },
    /// … which is that the other end has taken a pipe: its stream, and what has come on it
    Opened { ticket: u64, place: Place, early: Vec<u8> },
}

/// Questions and answers on the connections of an endpoint
#[derive(Debug, Default)]
pub struct Exchanges {
    asking: Asking,
    answering: Answering,
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
        question: &Question,
        until: Instant,
    ) -> Result<u64, Full> {
        self.asking.ask(now, endpoint, connection, question, until)
    }

    /// The connections' ends, streams, and room: what is told of questions is had by [`Self::poll`]
    pub fn handle_output(&mut self, now: Instant, endpoint: &mut Endpoint, output: &Output) {
        match *output {
            Output::Opened { connection, stream, direction: Direction::Both } => {
                self.answering.open(now, endpoint, (connection, stream));
            }
            Output::Readable { connection, stream } => {
                self.answering.read(now, endpoint, (connection, stream));
                self.asking.read(now, endpoint, (connection, stream));
            }
            Output::Writable { connection, stream } => {
                self.answering.write(now, endpoint, (connection, stream));
                self.asking.write(now, endpoint, (connection, stream));
            }
            Output::Stopped { connection, stream, code } => {
                self.answering.break_off(now, endpoint, (connection, stream), code);
                self.asking.handle_stopped(now, endpoint, (connection, stream), code);
            }
            Output::Connected { connection, .. }
            | Output::Confirmed { connection }
            | Output::Room { connection, direction: Direction::Both } => {
                self.asking.begin(now, endpoint, connection);
            }
            Output::Ended { connection, ref end } => {
                self.asking.lose(connection, end);
                self.answering.lose(connection);
            }
            _ => {}
        }
    }

    /// Answers a question of the other end; one that it has given up, or whose connection is over, needs none
    pub fn answer(&mut self, now: Instant, endpoint: &mut Endpoint, place: Place, status: u16, body: &[u8]) {
        self.answering.answer(now, endpoint, place, status, body);
    }

    /// Somebody takes the pipe that was asked for on this stream: what has come on it, and what is to be written first; `None` if
    /// it was given up meanwhile
    pub(crate) fn open(&mut self, place: Place) -> Option<(Vec<u8>, Vec<u8>)> {
        self.answering.take_opening(place)
    }

    /// Whether whoever has asked still waits for the answer
    pub fn is_awaited(&self, place: Place) -> bool {
        self.answering.is_awaited(place)
    }

    /// Gives a question of this end up: its fate is not told any more
    pub fn cancel(&mut self, now: Instant, endpoint: &mut Endpoint, ticket: u64) {
        self.asking.cancel(now, endpoint, ticket);
    }

    /// Questions whose deadlines have come, and those of others that get no further
    pub fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        self.asking.handle_timeout(now, endpoint);
        self.answering.handle_timeout(now, endpoint);
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        earliest(self.asking.next_timeout(), self.answering.next_timeout())
    }

    /// The next thing that is told
    pub fn poll(&mut self) -> Option<Heard> {
        if let Some(ticket) = self.asking.poll_left() {
            return Some(Heard::Left { ticket });
        }
        if let Some((ticket, place, early)) = self.asking.poll_opened() {
            return Some(Heard::Opened { ticket, place, early });
        }
        if let Some((ticket, fate)) = self.asking.poll() {
            return Some(Heard::Done { ticket, fate });
        }
        let ((connection, stream), question) = self.answering.poll()?;
        Some(Heard::Asked { connection, stream, question })
    }
}
