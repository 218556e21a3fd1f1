//! The states of a membership, and what leads from one to another.

use std::time::Duration;

use super::lease::Lease;
use super::proof::Greeting;
use crate::id::{NetworkId, SessionId};
use crate::link::limits::DIAL_MAX;
use crate::session::{ANSWER_WAIT, CHALLENGE_WAIT, LOGOUT_WAIT};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::session::Reason;

#[derive(Debug)]
pub(super) enum State {
    /// Nobody wants to be logged in
    LoggedOut,
    /// Between two tries
    Searching { next_try: Option<Instant> },
    /// The link is being made
    Dialling { until: Instant },
    /// The hellos are exchanged, and the challenge has to come
    Greeted { greeting: Greeting, until: Instant },
    /// The supernode has proved who it is, and the login is sent
    Asked { network: NetworkId, until: Instant },
    /// Lasts until the link or the session ends
    LoggedIn(Lease),
    /// The logout is sent; without a session it still waits for the grant, which names the session to end
    LoggingOut { network: NetworkId, session: Option<SessionId>, until: Instant, login_again: bool },
}

impl State {
    pub(super) const fn text(&self) -> &'static str {
        match self {
            Self::LoggedOut => "logged out",
            Self::Searching { .. } => "searching",
            Self::Dialling { .. } => "dialling",
            Self::Greeted { .. } => "waiting for the challenge",
            Self::Asked { .. } => "waiting for the grant",
            Self::LoggedIn(_) => "logged in",
            Self::LoggingOut { .. } => "logging out",
        }
    }

    pub(super) const fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::LoggedOut => None,
            Self::Searching { next_try } => *next_try,
            Self::Dialling { until } | Self::Greeted { until, .. } | Self::Asked { until, .. } => Some(*until),
            Self::LoggingOut { until, .. } => Some(*until),
            Self::LoggedIn(lease) => Some(lease.next_timeout()),
        }
    }

    /// Whoever has to answer has the whole time anew
    pub(super) fn handle_held_up(&mut self, now: Instant) {
        let (until, wait) = match self {
            Self::LoggedOut | Self::Searching { .. } => return,
            Self::LoggedIn(lease) => return lease.handle_held_up(now),
            Self::Dialling { until } => (until, DIAL_MAX),
            Self::Greeted { until, .. } => (until, CHALLENGE_WAIT),
            Self::Asked { until, .. } => (until, ANSWER_WAIT),
            Self::LoggingOut { until, .. } => (until, LOGOUT_WAIT),
        };
        *until = now + wait;
    }

    /// Whether the dial of this state made a link, or may still make one
    pub(super) const fn has_link(&self) -> bool {
        !matches!(self, Self::LoggedOut | Self::Searching { .. })
    }
}

/// Why a try failed, or a session was lost
#[derive(Clone, Debug)]
pub(super) struct Setback {
    pub(super) status: Status,
    pub(super) reason: Reason,
}

impl Setback {
    pub(super) fn new(status: Status, reason: impl AsRef<str>) -> Self {
        Self { status, reason: Reason::truncated(reason.as_ref()) }
    }
}

/// When to try again after a setback, and where
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// At once, unless the last quick try was a moment ago: what had worked is lost, and another one may do
    Quickly,
    /// At once at any, unless the last quick try was a moment ago: only the old session is over
    Anew,
    /// The next one at once; after all of them, waits that grow
    Soon,
    /// The next one at once, if there is a retry left; after all of them, waits that grow for as long as nobody answers in
    /// time
    Patiently,
    /// The next one at once; after all of them, a long wait: this one will say the same again
    Elsewhere,
    /// After a long wait: any supernode would say the same
    Slowly,
    /// This one after the wait that it asked for; the next one at once, if there is a retry left
    After(Duration),
    /// After the wait that the supernode asked for: any would ask for it
    AllAfter(Duration),
}

impl Again {
    /// After a supernode said no; `resumed` says that the login had offered a session, which is forgotten now
    pub(super) const fn after_no(status: Status, retry_after: Duration, resumed: bool) -> Self {
        match status {
            Status::SlowDown | Status::Unavailable | Status::TimedOut | Status::Failed if !retry_after.is_zero() => {
                Self::After(retry_after)
            }
            _ if !retry_after.is_zero() => Self::AllAfter(retry_after),
            // Only the old session is over: the next login asks for a new one.
            Status::NotLoggedIn | Status::Gone if resumed => Self::Anew,
            Status::Unavailable | Status::SlowDown | Status::TimedOut | Status::Failed => Self::Soon,
            Status::VersionNotSupported => Self::Elsewhere,
            _ if status.is_success() => Self::Soon,
            _ => Self::Slowly,
        }
    }

    /// Whether the supernode that said so is to be tried after all others
    pub(super) const fn is_failure(self) -> bool {
        !matches!(self, Self::Anew)
    }
}
