//! From a byte stream to a link: the hellos, and how to part when there will be no link.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use kith_common::link::HelloTemplate;
use kith_common::link::limits::Deadlines;
use kith_common::link::opening::{Greeting, Opening};
use kith_common::link::reason::CloseReason;
use kith_common::time::Instant;
use kith_common::wire::session::Purpose;
use kith_common::wire::{Bye, FRAME_HEADER_BYTES, Frame, FrameKind, parse_frame_header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::clock::Clock;

/// A byte stream in both directions, of whatever make
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// The byte stream, shared by reader and writer; borrowed only within a poll
pub(crate) type Stream = Rc<RefCell<Box<dyn Duplex>>>;

/// The dialler's half: speaks first
pub(crate) async fn greet_as_dialler(
    stream: &mut impl Duplex,
    clock: &Clock,
    template: HelloTemplate,
    purpose: Purpose,
    deadlines: &Deadlines,
) -> Result<Greeting, CloseReason> {
    let (opening, hello) = Opening::dial(clock.now(), template, purpose, fresh_nonce()?, deadlines);
    let until = opening.next_timeout();
    let greeting = async {
        send(stream, hello).await?;
        let (kind, body) = receive_first(stream).await?;
        Ok(opening.handle_frame(kind, &body)?.0)
    };
    by(clock, until, greeting).await
}

/// The listener's half: answers, if `admit` has a permit for a link of the dialler's purpose
pub(crate) async fn greet_as_listener<T>(
    stream: &mut impl Duplex,
    clock: &Clock,
    template: HelloTemplate,
    deadlines: &Deadlines,
    admit: impl FnOnce(Purpose) -> Result<T, CloseReason>,
) -> Result<(Greeting, T), CloseReason> {
    let opening = Opening::listen(clock.now(), template, fresh_nonce()?, deadlines);
    let until = opening.next_timeout();
    let greeting = async {
        let (kind, body) = receive_first(stream).await?;
        let (greeting, answer) = opening.handle_frame(kind, &body)?;
        let permit = admit(greeting.theirs.purpose)?;
        if let Some(hello) = answer {
            send(stream, hello).await?;
        }
        Ok((greeting, permit))
    };
    by(clock, until, greeting).await
}

async fn by<T>(
    clock: &Clock,
    until: Instant,
    greeting: impl Future<Output = Result<T, CloseReason>>,
) -> Result<T, CloseReason> {
    clock.within(until - clock.now(), greeting).await.unwrap_or(Err(Opening::TOO_LATE))
}

/// Says why, and lets go once the other side has read it or `deadline` has passed
pub(crate) async fn part(stream: &mut impl Duplex, reason: &CloseReason, deadline: Duration) {
    let farewell = async {
        if let Some((status, reason)) = reason.farewell() {
            send(stream, Frame::Bye(Bye { status, reason })).await?;
        }
        // Shut down first, so that the other side sees the end and closes in its turn.
        stream.shutdown().await?;
        drain(stream).await
    };
    // Whatever comes of it, the connection is dropped now.
    if timeout(deadline, farewell).await.is_err() {
        tracing::debug!(event = "farewell_not_taken", reason = reason.word());
    }
}

/// Reads until the other side has closed
///
/// Dropping a connection with unread bytes resets it, and a reset overtakes the last words.
pub(crate) async fn drain(stream: &mut impl Duplex) -> Result<(), CloseReason> {
    let mut rubbish = [0; 4096];
    while stream.read(&mut rubbish).await? > 0 {}
    Ok(())
}

async fn send(stream: &mut impl Duplex, frame: Frame) -> Result<(), CloseReason> {
    let bytes = frame.to_bytes().map_err(CloseReason::Protocol)?;
    stream.write_all(&bytes).await?;
    Ok(stream.flush().await?)
}

/// The other side's first frame, of a kind that may be the first: no other is read on
async fn receive_first(stream: &mut impl Duplex) -> Result<(FrameKind, Vec<u8>), CloseReason> {
    let mut head = [0; FRAME_HEADER_BYTES];
    stream.read_exact(&mut head).await?;
    let (kind, len) = parse_frame_header(head).map_err(CloseReason::Protocol)?;
    // Before its memory is taken: a stranger's length is no reason to hold 64 KiB for it.
    Opening::check_kind(kind)?;
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok((kind, body))
}

fn fresh_nonce() -> Result<[u8; 32], CloseReason> {
    let mut nonce = [0; 32];
    match getrandom::fill(&mut nonce) {
        Ok(()) => Ok(nonce),
        Err(error) => {
            tracing::error!(event = "no_randomness", reason = %error);
            Err(CloseReason::Internal)
        }
    }
}
