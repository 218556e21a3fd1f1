//! Pipes: bytes both ways between a program here and one at the other end, each pipe on a stream of its own.
//!
//! A pipe begins as a question, whose answer says whether somebody takes it (`asking`, `answering`); from then on the stream is
//! here, and nothing of it is looked into. QUIC says how much may be under way; whoever does not read holds up nobody but whoever
//! writes to it, as the connection's window grows with its pipes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kith_common::mutant::{self, Mutant};
use kith_common::time::{Instant, Timers};

use crate::Endpoint;
use crate::output::{ConnectionId, End, Output, StreamId};
use crate::streams::{Gone, Read, StreamError};
use crate::writing::Place;

/// A connection with pipes that has heard nothing for so long asks whether the other end is there: somebody may read what they have
/// for minutes and say nothing, and four such questions fit into [`IDLE`](crate::settings::IDLE)
const ASK_AFTER: Duration = Duration::from_secs(15);
const _: () = assert!(ASK_AFTER.as_secs() * 4 <= crate::settings::IDLE.as_secs());

/// A pipe of this peer, by a number that is not given twice
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipeId(pub u64);

/// Something has happened to a pipe
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipeNews {
    /// There is something to read, or its end
    Readable,
    /// There is room again for what could not be written
    Writable,
    /// All that was written, and its end, has arrived; the other half may go on
    Arrived,
    /// The other end reads no more
    Stopped {
        /// As whoever reads there has said
        code: u64,
    },
    /// The connection is over, and the pipe with it
    Lost(End),
}

/// One pipe
#[derive(Debug)]
struct Pipe {
    place: Place,
    /// What has come along with the question, or with its answer
    early: Bytes,
    /// What is to be written before anything else: the answer that opens it
    head: Bytes,
    /// Whether nothing more is read
    is_read: bool,
    /// Whether nothing more is written, and all is there or given up
    is_written: bool,
}

/// All pipes of an endpoint
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    by_id: BTreeMap<PipeId, Pipe>,
    by_place: BTreeMap<Place, PipeId>,
    last_id: u64,
    /// When each connection that has one is looked at
    looks: Timers<ConnectionId>,
    news: VecDeque<(PipeId, PipeNews)>,
}

impl Pipes {
    /// A stream becomes a pipe: `early` is what was read of it already, and `head` is written first
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        place: Place,
        early: Vec<u8>,
        head: Vec<u8>,
    ) -> PipeId {
        self.last_id += 1;
        let id = PipeId(self.last_id);
        let pipe = Pipe { place, early: early.into(), head: head.into(), is_read: false, is_written: false };
        self.by_id.insert(id, pipe);
        self.by_place.insert(place, id);
        if self.looks.moment(&place.0).is_none() {
            self.looks.set(now + ASK_AFTER, place.0);
        }
        self.widen(now, endpoint, place.0);
        // Whoever is gone already is told of by the connection.
        let _: Result<usize, StreamError> = self.write(now, endpoint, id, &[]);
        self.news.push_back((id, PipeNews::Readable));
        id
    }

    /// Pipes that are not over
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// What waits in a pipe that nobody reads takes nothing from the other streams of the connection
    fn widen(&self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId) {
        let pipes = self.by_place.range(StreamId::all_of(connection)).count();
        endpoint.set_windows(now, connection, pipes);
    }

    /// Reads what is next, `max` bytes at most
    ///
    /// # Errors
    /// [`StreamError`]: nothing more is to be read.
    pub(crate) fn read(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        id: PipeId,
        max: usize,
    ) -> Result<Read, StreamError> {
        let pipe = self.by_id.get_mut(&id).ok_or(Gone)?;
        if !pipe.early.is_empty() {
            let early = pipe.early.split_to(max.min(pipe.early.len()));
            return Ok(Read::Bytes(early));
        }
        let (connection, stream) = pipe.place;
        let read = endpoint.read(now, connection, stream, max);
        if matches!(read, Ok(Read::End) | Err(StreamError::GivenUp(_))) {
            pipe.is_read = true;
            self.forget_if_over(now, endpoint, id);
        }
        read
    }

    /// Writes as much of `bytes` as there is room for; once that is not all, [`PipeNews::Writable`] tells of room
    ///
    /// # Errors
    /// [`StreamError`]: nothing was written.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        id: PipeId,
        bytes: &[u8],
    ) -> Result<usize, StreamError> {
        let pipe = self.by_id.get_mut(&id).ok_or(Gone)?;
        let (connection, stream) = pipe.place;
        while !pipe.head.is_empty() {
            match endpoint.write(now, connection, stream, &pipe.head)? {
                0 => return Ok(0),
                written => _ = pipe.head.split_to(written),
            }
        }
        // Until there is no room: only then QUIC says when there is some again.
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match endpoint.write(now, connection, stream, rest)? {
                0 => break,
                more => written += more,
            }
        }
        Ok(written)
    }

    /// Nothing more is written; [`PipeNews::Arrived`] follows, unless the other end gives it up
    ///
    /// # Errors
    /// [`StreamError`].
    pub(crate) fn finish(&mut self, now: Instant, endpoint: &mut Endpoint, id: PipeId) -> Result<(), StreamError> {
        let pipe = self.by_id.get(&id).ok_or(Gone)?;
        let (connection, stream) = pipe.place;
        endpoint.finish(now, connection, stream)
    }

    /// Gives up what was written and has not arrived: the other end hears `code` where it reads
    pub(crate) fn reset(&mut self, now: Instant, endpoint: &mut Endpoint, id: PipeId, code: u64) {
        let Some(pipe) = self.by_id.get_mut(&id) else { return };
        pipe.is_written = true;
        let (connection, stream) = pipe.place;
        // It may be finished, or over, already.
        let _: Result<(), Gone> = endpoint.reset(now, connection, stream, code);
        self.forget_if_over(now, endpoint, id);
    }

    /// Nothing more is read: the other end hears `code` where it writes
    pub(crate) fn stop(&mut self, now: Instant, endpoint: &mut Endpoint, id: PipeId, code: u64) {
        let Some(pipe) = self.by_id.get_mut(&id) else { return };
        pipe.is_read = true;
        let (connection, stream) = pipe.place;
        // It may be read to its end, or over, already.
        let _: Result<(), Gone> = endpoint.stop(now, connection, stream, code);
        self.forget_if_over(now, endpoint, id);
    }

    fn forget_if_over(&mut self, now: Instant, endpoint: &mut Endpoint, id: PipeId) {
        if self.by_id.get(&id).is_some_and(|pipe| pipe.is_read && pipe.is_written)
            && let Some(place) = self.forget(id)
        {
            self.widen(now, endpoint, place.0);
        }
    }

    fn forget(&mut self, id: PipeId) -> Option<Place> {
        let place = self.by_id.remove(&id)?.place;
        self.by_place.remove(&place);
        Some(place)
    }

    /// Whether it was about a pipe, of which nobody else is to hear
    pub(crate) fn handle_output(&mut self, now: Instant, endpoint: &mut Endpoint, output: &Output) -> bool {
        let (place, news) = match *output {
            Output::Readable { connection, stream } => ((connection, stream), PipeNews::Readable),
            Output::Writable { connection, stream } => ((connection, stream), PipeNews::Writable),
            Output::Finished { connection, stream } => ((connection, stream), PipeNews::Arrived),
            Output::Stopped { connection, stream, code } => ((connection, stream), PipeNews::Stopped { code }),
            Output::Ended { connection, ref end } => {
                self.lose(connection, end);
                return false;
            }
            _ => return false,
        };
        let Some(id) = self.by_place.get(&place).copied() else { return false };
        let is_written = matches!(news, PipeNews::Arrived | PipeNews::Stopped { .. });
        // QUIC keeps a stream that was stopped until this end gives it up, too.
        if let PipeNews::Stopped { code } = news {
            let _: Result<(), Gone> = endpoint.reset(now, place.0, place.1, code);
        }
        self.news.push_back((id, news));
        if let Some(pipe) = self.by_id.get_mut(&id).filter(|_| is_written) {
            pipe.is_written = true;
            self.forget_if_over(now, endpoint, id);
        }
        true
    }

    fn lose(&mut self, connection: ConnectionId, end: &End) {
        let lost = self.by_place.range(StreamId::all_of(connection)).map(|(_, id)| *id);
        for id in lost.collect::<Vec<_>>() {
            self.forget(id);
            if !mutant::is(Mutant::LostPipesUntold) {
                self.news.push_back((id, PipeNews::Lost(end.clone())));
            }
        }
    }

    /// Asks whether the other ends of silent connections are there
    pub(crate) fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        while let Some(connection) = self.looks.take_due(now) {
            if self.by_place.range(StreamId::all_of(connection)).next().is_some() {
                if !mutant::is(Mutant::SilentPipesLost) {
                    endpoint.ask_if_silent(now, connection, ASK_AFTER);
                }
                self.looks.set(now + ASK_AFTER, connection);
            }
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.looks.next_timeout()
    }

    /// The next thing that is told
    pub(crate) fn poll(&mut self) -> Option<(PipeId, PipeNews)> {
        self.news.pop_front()
    }
}
