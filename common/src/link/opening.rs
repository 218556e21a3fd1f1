//! From a byte stream to a link: the hellos.
//!
//! The dialler speaks first, the listener repeats what the link is for. Whoever may have no link hears a good-bye in place
//! of the hello, so that its dial fails with the reason.

use super::HelloTemplate;
use super::limits::Deadlines;
use super::reason::{CloseReason, DialError, Slow};
use crate::id::Key;
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::session::{Hello, Purpose};
use crate::wire::{Bye, Frame, FrameKind, WireError};

/// Judges who answered a dial, by the key that the handshake has proved
///
/// # Errors
/// [`DialError::OwnKey`] if it is this node itself, which finds its own location in the directory or behind a name that
/// means this machine; [`DialError::OtherKey`] if somebody else was to answer.
pub fn check_key(own: &Key, wanted: Option<&Key>, proved: &Key) -> Result<(), DialError> {
    // First, so that a node that was sent to its own address says so, whoever it was looking for.
    if own == proved {
        return Err(DialError::OwnKey);
    }
    if wanted.is_some_and(|wanted| wanted != proved) && !mutant::is(Mutant::WrongKeyAccepted) {
        return Err(DialError::OtherKey);
    }
    Ok(())
}

/// What both sides said
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The other side's hello; its grant is not checked
    pub theirs: Hello,
    /// The nonce in this node's own
    pub own_nonce: [u8; 32],
}

/// One side of a link that is not open yet; the other side's first frame decides
#[derive(Debug)]
pub struct Opening {
    /// What the dialler wants the link for; `None`: this is the listener's side
    purpose: Option<Purpose>,
    template: HelloTemplate,
    nonce: [u8; 32],
    until: Instant,
}

impl Opening {
    /// What a hello that does not come in time means
    pub const TOO_LATE: CloseReason = CloseReason::Slow(Slow::Hello);

    /// The dialler's side, and the hello to send now; `nonce` must never have been used before
    pub fn dial(
        now: Instant,
        template: HelloTemplate,
        purpose: Purpose,
        nonce: [u8; 32],
        deadlines: &Deadlines,
    ) -> (Self, Frame) {
        let opening = Self { purpose: Some(purpose), ..Self::listen(now, template, nonce, deadlines) };
        let hello = opening.hello(purpose);
        (opening, hello)
    }

    /// The listener's side; `nonce` must never have been used before
    pub fn listen(now: Instant, template: HelloTemplate, nonce: [u8; 32], deadlines: &Deadlines) -> Self {
        let nonce = if mutant::is(Mutant::NonceRepeated) { [7; 32] } else { nonce };
        Self { purpose: None, template, nonce, until: now + deadlines.hello }
    }

    /// The other side's first frame: what was said, and at the listener's side the hello to send, once there is a place
    /// for the link
    ///
    /// # Errors
    /// Why there is no link: anything but a hello came, or one for another purpose. The opening is over.
    pub fn handle_frame(self, kind: FrameKind, body: &[u8]) -> Result<(Greeting, Option<Frame>), CloseReason> {
        // A shell asks this before it reads the body, too; a core does not rely on that.
        Self::check_kind(kind)?;
        let theirs = match Frame::decode(kind, body).map_err(CloseReason::Protocol)? {
            Frame::Hello(hello) => hello,
            Frame::Bye(Bye { status, reason }) => return Err(CloseReason::Bye { status, reason }),
            frame => return Err(CloseReason::Unexpected(frame.kind())),
        };
        let answer = match self.purpose {
            // The listener repeats what the dialler said, so another purpose is another protocol.
            Some(purpose) if purpose != theirs.purpose && !mutant::is(Mutant::OtherPurposeAccepted) => {
                return Err(CloseReason::Protocol(WireError::Malformed));
            }
            Some(_) => None,
            None => Some(self.hello(theirs.purpose)),
        };
        Ok((Greeting { theirs, own_nonce: self.nonce }, answer))
    }

    /// Whether the first frame may be of this kind, before its body is read
    ///
    /// # Errors
    /// [`CloseReason::Unexpected`]: nobody who has not said hello can make this node hold a large frame.
    pub const fn check_kind(kind: FrameKind) -> Result<(), CloseReason> {
        match kind {
            FrameKind::Hello | FrameKind::Bye => Ok(()),
            kind => Err(CloseReason::Unexpected(kind)),
        }
    }

    /// Time has passed
    ///
    /// # Errors
    /// [`Opening::TOO_LATE`] once the other side has had its time. The opening is over.
    pub fn handle_timeout(&self, now: Instant) -> Result<(), CloseReason> {
        if now < self.until || mutant::is(Mutant::HelloWaitsForEver) {
            return Ok(());
        }
        Err(Self::TOO_LATE)
    }

    /// When the other side's hello must be here
    pub const fn next_timeout(&self) -> Instant {
        self.until
    }

    fn hello(&self, purpose: Purpose) -> Frame {
        Frame::Hello(self.template.hello(purpose, self.nonce))
    }
}
