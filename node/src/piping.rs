//! Between a pipe and the program at this end of it: two tasks that copy, and nothing else.
//!
//! The driver owns the pipe. What the program writes comes to it as events, no more than [`AHEAD_MAX`] pieces before it has passed
//! them on; what the program is to read waits in a queue that is as short.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kith_common::id::Name;
use kith_common::status::Status;
use kith_common::wire::content::Opening;
use kith_runtime::control::server::Raw;
use kith_transport::PipeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::functions::Outcome;

/// Bytes of a piece: some ten packets
pub(crate) const PIECE_BYTES: usize = 64 * 1024;

/// Pieces under way in each direction between a program and the driver: one is filled while another one is passed on
const AHEAD_MAX: usize = 4;

/// Events of all programs that wait for the driver; a program waits when it is behind
pub(crate) const EVENTS_MAX: usize = 1_024;

/// Where a program writes, and where it reads
pub(crate) struct Ends {
    pub(crate) reader: Box<dyn AsyncRead + Unpin + Send>,
    /// Dropped before its shutdown it was broken off
    pub(crate) writer: Box<dyn AsyncWrite + Unpin + Send>,
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ends")
    }
}

impl From<Raw> for Ends {
    fn from(Raw { reader, writer }: Raw) -> Self {
        Self { reader: Box::new(reader), writer: Box::new(writer) }
    }
}

/// What somebody who has asked for a pipe hears: its number, or why there is none
pub(crate) type Opened = Result<PipeId, (Status, String)>;

/// A program has come by a tunnel, and needs a pipe
#[derive(Debug)]
pub(crate) struct Wanted {
    /// By which
    pub(crate) tunnel: u64,
    pub(crate) to: Name,
    pub(crate) opening: Opening,
    /// Then [`ProgramEvent::HandedOver`] follows
    pub(crate) answer: oneshot::Sender<Opened>,
}

/// What has become of a tunnel
#[derive(Debug)]
pub(crate) enum TunnelNews {
    /// Programs can come to this address
    Listening { at: String },
    /// None can, for this reason; it goes on trying
    Troubled { reason: String },
    /// Whoever asked for it has hung up, or it could not begin
    Ended,
}

/// What a program has done, or a tunnel, or what a function has come to
#[derive(Debug)]
pub(crate) enum ProgramEvent {
    /// The program of a call has ended
    Evaluated {
        ticket: u64,
        outcome: Outcome,
    },
    /// A program has come by a tunnel
    Wanted(Wanted),
    Tunnel {
        tunnel: u64,
        news: TunnelNews,
    },
    /// Whoever the pipe of this ticket is for was reached, or not
    Reached {
        ticket: u64,
        reached: Result<Ends, (Status, String)>,
    },
    /// It has the pipe from now on; `None`: it has hung up before
    HandedOver {
        pipe: PipeId,
        ends: Option<Ends>,
    },
    /// It has written this; the next piece but a few waits until this one is dropped
    Wrote {
        pipe: PipeId,
        piece: Piece,
    },
    /// It writes no more
    Closed {
        pipe: PipeId,
    },
    /// It has gone, and did not say that it has written all
    Failed {
        pipe: PipeId,
    },
    /// There is room for a piece that it is to read
    Room {
        pipe: PipeId,
    },
    /// It reads no more
    Deaf {
        pipe: PipeId,
    },
}

/// What a program has written, until it was passed on
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

/// What a program is to read; without an end the pipe was broken off
#[derive(Debug)]
enum ToProgram {
    Bytes(Bytes),
    End,
}

/// A program, as the driver sees it; dropped, both directions end at once
#[derive(Debug)]
pub(crate) struct Program {
    to: Option<mpsc::Sender<ToProgram>>,
    reading: JoinHandle<()>,
    writing: JoinHandle<()>,
    has_ended: bool,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.reading.abort();
        // What was read to its end is still being handed out; whoever reads something that was broken off gets no more.
        if !self.has_ended {
            self.writing.abort();
        }
    }
}

impl Program {
    /// Copies from now on what it writes, and what it is to read
    pub(crate) fn start(pipe: PipeId, Ends { reader, writer }: Ends, events: &mpsc::Sender<ProgramEvent>) -> Self {
        let (to, from_pipe) = mpsc::channel(AHEAD_MAX);
        let reading = tokio::spawn(read(pipe, reader, events.clone()));
        let writing = tokio::spawn(write(pipe, writer, from_pipe, events.clone()));
        Self { to: Some(to), reading, writing, has_ended: false }
    }

    /// Whether there is room for one more piece, or the end; if not, [`ProgramEvent::Room`] tells of it, or nothing more is taken
    pub(crate) fn has_room(&self) -> bool {
        self.to.as_ref().is_some_and(|to| to.capacity() > 0 && !to.is_closed())
    }

    /// Lets the program read this, if there is room for it
    pub(crate) fn give(&self, bytes: Bytes) {
        if let Some(to) = &self.to {
            // Whoever reads no more says so by itself.
            let _ = to.try_send(ToProgram::Bytes(bytes));
        }
    }

    /// There is nothing more to read: the program hears so behind all that it was given, if there is room to say it
    pub(crate) fn end(&mut self) {
        if let Some(to) = self.to.take() {
            self.has_ended = to.try_send(ToProgram::End).is_ok();
        }
    }

    /// There is nothing more to read, and that is not the end of what there was to be
    pub(crate) fn cut(&mut self) {
        self.to = None;
    }

    /// Whatever it writes is of no use any more
    pub(crate) fn ignore(&self) {
        self.reading.abort();
    }
}

async fn read(pipe: PipeId, mut reader: impl AsyncRead + Unpin, events: mpsc::Sender<ProgramEvent>) {
    let places = Arc::new(Semaphore::new(AHEAD_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let mut bytes = BytesMut::with_capacity(PIECE_BYTES);
        let event = match reader.read_buf(&mut bytes).await {
            Ok(0) => ProgramEvent::Closed { pipe },
            Ok(_) => ProgramEvent::Wrote { pipe, piece: Piece { bytes: bytes.freeze(), _place: place } },
            Err(error) => {
                tracing::debug!(event = "program_failed", pipe = pipe.0, reason = %error);
                ProgramEvent::Failed { pipe }
            }
        };
        let is_last = !matches!(event, ProgramEvent::Wrote { .. });
        if events.send(event).await.is_err() || is_last {
            return;
        }
    }
}

async fn write(
    pipe: PipeId,
    mut writer: impl AsyncWrite + Unpin,
    mut from_pipe: mpsc::Receiver<ToProgram>,
    events: mpsc::Sender<ProgramEvent>,
) {
    while let Some(next) = from_pipe.recv().await {
        let written = match next {
            ToProgram::Bytes(bytes) => writer.write_all(&bytes).await,
            ToProgram::End => {
                // A program that has closed everything has had all that it wanted.
                let _ = writer.shutdown().await;
                return;
            }
        };
        let event = match &written {
            Ok(()) => ProgramEvent::Room { pipe },
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => ProgramEvent::Failed { pipe },
            Err(_) => ProgramEvent::Deaf { pipe },
        };
        if events.send(event).await.is_err() || written.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::DuplexStream;

    use super::*;

    const PIPE: PipeId = PipeId(7);
    const LIMIT: Duration = Duration::from_secs(60);

    /// A program's end, what the driver has of it, and its events
    fn started() -> (DuplexStream, Program, mpsc::Receiver<ProgramEvent>) {
        let (program, own) = tokio::io::duplex(1024);
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let (reader, writer) = tokio::io::split(own);
        let ends = Ends { reader: Box::new(reader), writer: Box::new(writer) };
        (program, Program::start(PIPE, ends, &events), received)
    }

    async fn next(events: &mut mpsc::Receiver<ProgramEvent>) -> ProgramEvent {
        tokio::time::timeout(LIMIT, events.recv()).await.expect("an event in time").expect("an event")
    }

    #[tokio::test]
    async fn what_a_program_writes_comes_in_order_and_no_further_ahead_than_it_may() {
        let (mut program, _own, mut events) = started();
        let writing = tokio::spawn(async move {
            for number in 0..100_u8 {
                program.write_all(&[number; 1024]).await.unwrap();
            }
        });
        let (mut held, mut bytes) = (Vec::new(), Vec::new());
        while held.len() < AHEAD_MAX {
            let ProgramEvent::Wrote { piece, .. } = next(&mut events).await else { panic!("it writes") };
            held.push(piece);
        }
        assert!(events.try_recv().is_err(), "it waits until something was passed on");
        held.drain(..).for_each(|piece| bytes.extend_from_slice(&piece.bytes));
        loop {
            match next(&mut events).await {
                ProgramEvent::Wrote { piece, .. } => bytes.extend_from_slice(&piece.bytes),
                ProgramEvent::Closed { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        writing.await.unwrap();
        assert_eq!(bytes, (0..100_u8).flat_map(|number| [number; 1024]).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn program_reads_what_it_is_given_to_its_end() {
        let (mut program, mut own, mut events) = started();
        assert!(own.has_room());
        own.give(Bytes::from_static(b"all of it"));
        own.end();
        drop(own);
        let mut read = Vec::new();
        tokio::time::timeout(LIMIT, program.read_to_end(&mut read)).await.expect("in time").expect("an end");
        assert_eq!(read, b"all of it");
        assert!(matches!(next(&mut events).await, ProgramEvent::Room { pipe: PIPE }));
    }

    #[tokio::test]
    async fn program_that_reads_no_more_is_told_of() {
        let (program, own, mut events) = started();
        drop(program);
        own.give(Bytes::from_static(b"nobody reads it"));
        loop {
            match next(&mut events).await {
                ProgramEvent::Deaf { pipe } => break assert_eq!(pipe, PIPE),
                ProgramEvent::Closed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
