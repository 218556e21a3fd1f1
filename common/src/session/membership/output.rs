//! What a membership wants of the shell, and what it tells.

use std::time::Duration;

use super::Membership;
use super::state::{Setback, State};
use crate::id::{NetworkId, SupernodeId};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::grant::{Grant, SignedGrant};
use crate::wire::removed::Removed;
use crate::wire::session::{Found, Listing, Reason, Rewire, Supernodes};

/// What the shell is to do, and what it is told
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipOutput {
    /// Dial a supernode at these locations, one of which is enough; answered by `handle_opened` or `handle_dial_failed`
    /// with the same number, which from then on names the link as well
    Dial { dial: u64, locations: Vec<String> },
    /// Send on the link that this dial made
    Send { dial: u64, frame: Frame },
    /// Say good-bye on the link that this dial made and close it; if the dial has not ended, give it up
    Close { dial: u64, status: Status, reason: Reason },
    /// Keep this network's id: from now on no other is accepted
    PinNetwork(NetworkId),
    /// The grant is there and was checked; `signed` is the same grant, to be shown to neighbours
    LoggedIn { grant: Grant, signed: SignedGrant, rewire: Rewire, lease: Duration },
    /// The neighbourhood has changed
    Rewired(Rewire),
    /// The answer to a look-up
    Found(Found),
    /// The answer to a question for names
    Listing(Listing),
    /// Who was removed
    Removed(Removed),
    /// Keep this list: other supernodes, or at other locations, than the one before
    Supernodes(Supernodes),
    /// The session's link is gone or of no use; the search for a supernode has begun
    Lost { reason: Reason },
    /// A supernode refused, or was refused; the search goes on, and the next try comes after `retry`
    Refused { status: Status, reason: Reason, retry: Duration },
    /// The end that `handle_logout` asked for
    LoggedOut { reason: Reason },
}

/// Where the session stands, for people
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not logged in, and not trying
    LoggedOut {
        reason: Reason,
    },
    /// Between two tries; `status` and `reason` say what the last one came to (503 before the first)
    ///
    /// There is no next try if no supernode is configured.
    Searching {
        status: Status,
        reason: Reason,
        next_try: Option<Instant>,
    },
    /// In the middle of a try; `status` and `reason` say what the one before it came to
    Joining {
        supernode: String,
        status: Status,
        reason: Reason,
    },
    LoggedIn {
        supernode: String,
    },
    /// The logout is under way
    LoggingOut {
        supernode: String,
    },
}

/// The supernode that a peer has chosen, for people
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The serial of its certificate
    pub id: Option<SupernodeId>,
    /// The first of the locations that it was dialled at
    pub location: String,
    /// Smoothed, as far as it was measured
    pub rtt: Option<Duration>,
    /// As it was told last, in thousandths
    pub load: Option<u16>,
    /// Why this one
    pub reason: Reason,
    /// It has said last that it hears nobody lead, and too few others
    pub is_cut_off: bool,
}

impl Membership {
    /// The home, while logged in
    pub fn chosen_home(&self) -> Option<Home> {
        let target = self.target.as_ref().filter(|_| matches!(self.state, State::LoggedIn(_)))?;
        let (rtt, load) = (self.row.rtt(target.place), self.row.load(target.place));
        let (id, location, reason) = (target.id, target.location.clone(), target.reason.clone());
        Some(Home { id, location, rtt, load, reason, is_cut_off: self.scouting.is_needed() })
    }

    /// How many supernodes can be tried
    pub fn known_supernodes(&self) -> usize {
        self.row.len()
    }

    /// Where the session stands, for people
    pub fn standing(&self) -> Standing {
        let Setback { status, reason } = self.setback.clone();
        match &self.state {
            State::LoggedOut => Standing::LoggedOut { reason },
            State::Searching { next_try } => Standing::Searching { status, reason, next_try: *next_try },
            State::Dialling { .. } | State::Greeted { .. } | State::Asked { .. } => {
                Standing::Joining { supernode: self.supernode(), status, reason }
            }
            State::LoggedIn(_) => Standing::LoggedIn { supernode: self.supernode() },
            State::LoggingOut { .. } => Standing::LoggingOut { supernode: self.supernode() },
        }
    }
}
