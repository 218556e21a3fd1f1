//! Login, renewal and logout: a peer's membership and a supernode's admission, the two halves of one exchange.
//!
//! ```text
//! membership LoggedOut ⇄ Searching → Dialling → Greeted → Asked → LoggedIn → LoggingOut → LoggedOut
//!                           ▲───────────┴──────────┴────────┴────────┘ link lost, refused, no answer in time
//! admission  Fresh → Challenged → Proposed → LoggedIn → LoggingOut → Closed
//! ```
//!
//! [`membership::Membership`] is one a peer and outlives its links; [`admission::Admission`] is one a connection.
//! Neither knows the directory: an admission *proposes* a [`admission::LoginRequest`] and is told what became of it, once
//! that is durable.
//!
//! A link is named by the number of the dial that made it. Events of a dial or link that is over are ignored, so the
//! shell may report them late or twice. The shell sends [`Bye`](crate::wire::Bye) when it carries out a `Close`.
//!
//! Every frame of a home link goes through here, but for `Hello` (the shell decodes it: `handle_opened`), probes (the
//! link's own) and, at a peer, packets (the forwarder's). One in a wrong state is counted and ends the link with a
//! reason.

pub mod admission;
pub mod membership;
mod retry;
#[cfg(test)]
mod tests;
mod whereabouts;

use std::fmt;
use std::time::Duration;

pub(crate) use self::whereabouts::locations_of;
pub use self::whereabouts::{by_use, listening};
use crate::link::open::HOME_SILENCE;

/// From the hellos to the challenge, and from the challenge to the login: one lost packet and a slow continent
pub const CHALLENGE_WAIT: Duration = Duration::from_secs(5);
/// From the login to its answer, which waits for a disk or a quorum
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// From the logout to its answer; then it is over anyway, and the lease does the rest
pub const LOGOUT_WAIT: Duration = Duration::from_secs(2);
/// How long a session lasts without a renewal, unless a supernode is told otherwise: a name is not given away by a
/// reboot, and a peer has three tries
pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// A shorter lease is taken for this one: renewals must not become a flood
pub const LEASE_MIN: Duration = Duration::from_secs(1);
/// A longer lease is taken for this one: a lost supernode must be noticed
pub const LEASE_MAX: Duration = Duration::from_secs(3600);
/// Renewals that fit in one lease: two may be lost
pub const RENEWALS_PER_LEASE: u32 = 3;

const _: () = assert!(CHALLENGE_WAIT.as_secs() + ANSWER_WAIT.as_secs() < admission::PROPOSAL_WAIT.as_secs());

/// How long a home link under this lease may be silent: until the next renewal would have been answered
///
/// What must be found within seconds is found by neighbours. A supernode that is short of a processor would have to make
/// a link anew, which costs a thousand answers, with everybody whom it left without one.
pub fn home_silence(lease: Duration) -> Duration {
    lease / RENEWALS_PER_LEASE
}

const _: () = assert!(HOME_SILENCE.as_secs() == ANSWER_WAIT.as_secs());

/// The network's secret; `Debug` shows its length and nothing else
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the secret's bytes, of any length
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// In whole milliseconds, rounded up: 0 says that there is no wait, and whoever is told that takes it for no word at all
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
