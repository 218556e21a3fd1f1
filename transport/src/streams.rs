//! What is written and read on the streams of a connection, and said without one.

use std::time::Duration;

use bytes::Bytes;
use kith_common::time::Instant;
use quinn_proto::{Dir, RecvStream, SendStream};

use crate::Endpoint;
use crate::connection::Connection;
use crate::endpoint::varint;
use crate::output::{ConnectionId, Direction, StreamId};
use crate::settings::{CONNECTION_WINDOW, PIPES_WINDOWS_MAX};

/// There is no such connection or stream, or it is over
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such connection or stream any more")]
pub struct Gone;

/// What could not be written, or read
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The other end wants no more of it, or writes no more of it
    #[error("the other end has given it up: {0}")]
    GivenUp(u64),
}

/// What was read
#[derive(Clone, PartialEq, Eq)]
pub enum Read {
    Bytes(Bytes),
    /// Nothing by now; [`Output::Readable`](crate::Output::Readable) tells of more
    Nothing,
    /// All was read
    End,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Nothing => f.write_str("Nothing"),
            Self::End => f.write_str("End"),
        }
    }
}

impl Endpoint {
    pub(crate) fn present(&mut self, id: ConnectionId) -> Result<&mut Connection, Gone> {
        self.connections.get_mut(&id).filter(|connection| !connection.is_ended).ok_or(Gone)
    }

    /// The half of a stream on which this end may write: quinn-proto panics where it may not
    fn sending(&mut self, id: ConnectionId, StreamId(stream): StreamId) -> Result<SendStream<'_>, Gone> {
        let connection = self.present(id)?;
        let is_own = stream.dir() == Dir::Bi || stream.initiator() == connection.quic.side();
        if is_own { Ok(connection.quic.send_stream(stream)) } else { Err(Gone) }
    }

    /// The half of a stream from which this end may read
    fn receiving(&mut self, id: ConnectionId, StreamId(stream): StreamId) -> Result<RecvStream<'_>, Gone> {
        let connection = self.present(id)?;
        let is_theirs = stream.dir() == Dir::Bi || stream.initiator() != connection.quic.side();
        if is_theirs { Ok(connection.quic.recv_stream(stream)) } else { Err(Gone) }
    }

    /// So many streams of this connection may be read late, or never: each has a window of its own, at both ends
    pub(crate) fn set_windows(&mut self, now: Instant, id: ConnectionId, pipes: usize) {
        let windows = 1 + pipes.min(PIPES_WINDOWS_MAX) as u64;
        let bytes = u64::from(CONNECTION_WINDOW) * windows;
        let Ok(connection) = self.present(id) else { return };
        connection.quic.set_receive_window(varint(bytes));
        connection.quic.set_send_window(bytes);
        self.drive(now, id);
    }

    /// Asks the other end for an acknowledgement, if nothing has come from it for so long
    pub(crate) fn ask_if_silent(&mut self, now: Instant, id: ConnectionId, silence: Duration) {
        let Ok(connection) = self.present(id) else { return };
        if now - connection.heard >= silence {
            connection.quic.ping();
            self.drive(now, id);
        }
    }

    /// Opens a stream; `None`: the other end takes no more of them by now, and [`Output::Room`](crate::Output::Room) says when
    ///
    /// # Errors
    /// [`Gone`].
    pub fn open(&mut self, id: ConnectionId, direction: Direction) -> Result<Option<StreamId>, Gone> {
        let connection = self.present(id)?;
        Ok(connection.quic.streams().open(direction.into()).map(StreamId))
    }

    /// Writes as much of `bytes` as there is room for; once that is nothing, [`Output::Writable`](crate::Output::Writable) tells
    /// of room
    ///
    /// # Errors
    /// [`StreamError`]: nothing was written.
    pub fn write(
        &mut self,
        now: Instant,
        id: ConnectionId,
        stream: StreamId,
        bytes: &[u8],
    ) -> Result<usize, StreamError> {
        let written = match self.sending(id, stream)?.write(bytes) {
            Ok(count) => count,
            Err(quinn_proto::WriteError::Blocked) => 0,
            Err(quinn_proto::WriteError::Stopped(code)) => return Err(StreamError::GivenUp(code.into_inner())),
            Err(quinn_proto::WriteError::ClosedStream) => return Err(Gone.into()),
        };
        self.drive(now, id);
        Ok(written)
    }

    /// Nothing more is written on the stream; [`Output::Finished`](crate::Output::Finished) says when the other end has all
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn finish(&mut self, now: Instant, id: ConnectionId, stream: StreamId) -> Result<(), StreamError> {
        match self.sending(id, stream)?.finish() {
            Ok(()) => {}
            Err(quinn_proto::FinishError::Stopped(code)) => return Err(StreamError::GivenUp(code.into_inner())),
            Err(quinn_proto::FinishError::ClosedStream) => return Err(Gone.into()),
        }
        self.drive(now, id);
        Ok(())
    }

    /// Gives up what was written and is not there yet; the other end hears `code`
    ///
    /// # Errors
    /// [`Gone`].
    pub fn reset(&mut self, now: Instant, id: ConnectionId, stream: StreamId, code: u64) -> Result<(), Gone> {
        self.sending(id, stream)?.reset(varint(code)).map_err(|_| Gone)?;
        self.drive(now, id);
        Ok(())
    }

    /// Wants no more of what the other end writes; it hears `code`
    ///
    /// # Errors
    /// [`Gone`].
    pub fn stop(&mut self, now: Instant, id: ConnectionId, stream: StreamId, code: u64) -> Result<(), Gone> {
        self.receiving(id, stream)?.stop(varint(code)).map_err(|_| Gone)?;
        self.drive(now, id);
        Ok(())
    }

    /// Reads what is next on the stream, `max` bytes at most
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn read(&mut self, now: Instant, id: ConnectionId, stream: StreamId, max: usize) -> Result<Read, StreamError> {
        let mut receiving = self.receiving(id, stream)?;
        let mut chunks = receiving.read(true).map_err(|_| Gone)?;
        let read = match chunks.next(max) {
            Ok(Some(chunk)) => Ok(Read::Bytes(chunk.bytes)),
            Ok(None) => Ok(Read::End),
            Err(quinn_proto::ReadError::Blocked) => Ok(Read::Nothing),
            Err(quinn_proto::ReadError::Reset(code)) => Err(StreamError::GivenUp(code.into_inner())),
        };
        // It says whether there is room to tell the other end of, which is looked at below.
        let _ = chunks.finalize();
        self.drive(now, id);
        read
    }

    /// Sends bytes that may be lost; older ones that still wait make way for them
    ///
    /// # Errors
    /// [`Gone`], also if they are more than fit into a packet ([`Self::fitting`]).
    pub fn say(&mut self, now: Instant, id: ConnectionId, bytes: Bytes) -> Result<(), Gone> {
        let connection = self.present(id)?;
        connection.quic.datagrams().send(bytes, true).map_err(|_| Gone)?;
        // What waits for others would make way for them, as few bytes of datagrams may wait.
        self.transmit(now, id);
        Ok(())
    }

    /// Bytes that fit into [`Self::say`]; `None` until the connection stands
    pub fn fitting(&mut self, id: ConnectionId) -> Option<usize> {
        self.present(id).ok()?.quic.datagrams().max_size()
    }

    /// The next bytes that the other end has said, if any are left
    pub fn take_said(&mut self, id: ConnectionId) -> Option<Bytes> {
        self.present(id).ok()?.quic.datagrams().recv()
    }
}
