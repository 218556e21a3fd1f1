//! From a byte stream to a link: the hellos, and how to part when there will be no link.

use std::time::Duration;

use kith_common::link::HelloTemplate;
use kith_common::wire::session::{Hello, Purpose};
use kith_common::wire::{Bye, FRAME_HEADER_BYTES, Frame, FrameKind, WireError, parse_frame_header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use kith_common::link::reason::{CloseReason, Slow};

/// A byte stream in both directions, of whatever make
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// What both sides said
pub(crate) struct Greeting {
    pub(crate) theirs: Hello,
    pub(crate) own_nonce: [u8; 32],
}

/// The dialler speaks first: the listener repeats what the link is for
pub(crate) async fn greet_as_dialler(
    stream: &mut impl Duplex,
    template: &HelloTemplate,
    purpose: Purpose,
) -> Result<Greeting, CloseReason> {
    let own_nonce = fresh_nonce()?;
    send(stream, Frame::Hello(template.hello(purpose, own_nonce))).await?;
    let theirs = receive_hello(stream).await?;
    if theirs.purpose == purpose {
        Ok(Greeting { theirs, own_nonce })
    } else {
        Err(CloseReason::Protocol(WireError::Malformed))
    }
}

/// The listener answers, if `admit` has a place for the link
pub(crate) async fn greet_as_listener<T>(
    stream: &mut impl Duplex,
    template: &HelloTemplate,
    admit: impl FnOnce() -> Result<T, CloseReason>,
) -> Result<(Greeting, T), CloseReason> {
    let theirs = receive_hello(stream).await?;
    let place = admit()?;
    let own_nonce = fresh_nonce()?;
    send(stream, Frame::Hello(template.hello(theirs.purpose, own_nonce))).await?;
    Ok((Greeting { theirs, own_nonce }, place))
}

/// Either greeting within its deadline
pub(crate) async fn within<T>(
    deadline: Duration,
    greeting: impl Future<Output = Result<T, CloseReason>>,
) -> Result<T, CloseReason> {
    timeout(deadline, greeting).await.unwrap_or(Err(CloseReason::Slow(Slow::Hello)))
}

/// Says why, and lets go once the other side has read it or `deadline` has passed
pub(crate) async fn part(stream: &mut impl Duplex, reason: &CloseReason, deadline: Duration) {
    let farewell = async {
        if let Some((status, reason)) = reason.farewell() {
            send(stream, Frame::Bye(Bye { status, reason })).await?;
        }
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

async fn receive_hello(stream: &mut impl Duplex) -> Result<Hello, CloseReason> {
    let mut head = [0; FRAME_HEADER_BYTES];
    stream.read_exact(&mut head).await?;
    let (kind, len) = parse_frame_header(head).map_err(CloseReason::Protocol)?;
    if !matches!(kind, FrameKind::Hello | FrameKind::Bye) {
        return Err(CloseReason::Unexpected(kind));
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    match Frame::decode(kind, &body).map_err(CloseReason::Protocol)? {
        Frame::Hello(hello) => Ok(hello),
        Frame::Bye(Bye { status, reason }) => Err(CloseReason::Bye { status, reason }),
        frame => Err(CloseReason::Unexpected(frame.kind())),
    }
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
