//! The last stay in the network, kept on disk: what a peer comes back by that starts while there is no supernode.
//!
//! Its grant says who it is, and the table whom it had links with. Those who have no supernode either take it as a guest;
//! from there on it is as everybody who has lost its home. Only a supernode gives a name: the grant is for the key and the
//! name that this peer has now, or it is not used. If a supernode says no, the peer leaves.

use std::time::Duration;

use bincode::{Decode, Encode};

use super::{Peer, PeerOutput};
use crate::crypto::Signer;
use crate::mail::Own;
use crate::mutant::{self, Mutant};
use crate::session::membership::Standing;
use crate::status::Status;
use crate::time::{Instant, earliest};
use crate::wire::grant::{Grant, SignedGrant};
use crate::wire::session::{Reason, Rewire};

/// How long a peer that starts looks for a supernode before it comes back by its last stay: whoever is there has answered
pub const RETURN_AFTER: Duration = Duration::from_secs(5);
/// How old a stay may be, by the clock of the wall: as a name's record, whose owner may have moved or gone
pub const STAY_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How often the present stay is written at most: of many joins each changes the table
const STAY_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether it is time to return
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A grant, and the table that came with it or later
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Stay {
    pub grant: SignedGrant,
    pub rewire: Rewire,
}

/// The stay that is on disk, and the present one
#[derive(Debug, Default)]
pub(super) struct Stays {
    /// From the disk, until there is a session or it has turned out to be of no use
    last: Option<Stay>,
    /// When to look whether it is to be used
    return_at: Option<Instant>,
    /// Whether it is being used
    is_guest: bool,
    /// The present one, as far as it is not written
    unwritten: Option<Stay>,
    write_at: Option<Instant>,
    written: Option<Instant>,
}

impl Stays {
    pub(super) fn new(now: Instant, last: Option<Stay>) -> Self {
        let last = last.filter(|_| !mutant::is(Mutant::StayForgotten));
        Self { return_at: last.as_ref().map(|_| now + RETURN_AFTER), last, ..Self::default() }
    }

    /// Somebody wants to be logged in again
    pub(super) fn handle_login(&mut self, now: Instant) {
        if self.last.is_some() && !self.is_guest {
            self.return_at = Some(now + RETURN_AFTER);
        }
    }

    /// The session is over, or was none
    pub(super) const fn handle_logout(&mut self) {
        (self.is_guest, self.return_at) = (false, None);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        earliest(self.return_at, self.write_at)
    }

    /// This one is to be written, a while after the one before
    fn change(&mut self, now: Instant, stay: Stay) {
        self.unwritten = Some(stay);
        let at = self.written.map_or(now, |written| written + STAY_EVERY);
        self.write_at.get_or_insert(at.max(now));
    }

    /// The stay to be written now, if it is time
    fn take_due(&mut self, now: Instant) -> Option<Stay> {
        self.write_at.filter(|at| *at <= now)?;
        (self.write_at, self.written) = (None, Some(now));
        self.unwritten.take()
    }
}

impl<S: Signer> Peer<S> {
    /// Whether this peer is here by its last stay alone, as no supernode could be asked since it started
    pub const fn is_guest(&self) -> bool {
        self.stays.is_guest
    }

    /// A session has begun, or is taken up again
    pub(super) fn begin_stay(&mut self, now: Instant, grant: SignedGrant, rewire: &Rewire) {
        (self.stays.last, self.stays.return_at, self.stays.is_guest) = (None, None, false);
        self.stays.change(now, Stay { grant, rewire: rewire.clone() });
        self.keep_stay(now);
    }

    /// The table is another one
    pub(super) fn renew_stay(&mut self, now: Instant, rewire: &Rewire) {
        let Some(own) = self.mail.own() else { return };
        self.stays.change(now, Stay { grant: own.signed.clone(), rewire: rewire.clone() });
        self.keep_stay(now);
    }

    /// Writes the present stay if it is time, and comes back by the last one if that is
    pub(super) fn handle_stay_timeout(&mut self, now: Instant) {
        self.keep_stay(now);
        if self.stays.return_at.is_some_and(|at| at <= now) {
            self.stays.return_at = None;
            self.return_if_alone(now);
        }
    }

    fn keep_stay(&mut self, now: Instant) {
        let due = self.stays.take_due(now);
        self.outputs.extend(due.map(|stay| PeerOutput::KeepStay(Box::new(stay))));
    }

    fn return_if_alone(&mut self, now: Instant) {
        use Standing::{Joining, LoggedIn, LoggedOut, LoggingOut, Searching};
        match self.session.standing() {
            // Nobody has said no: there is nobody.
            Searching { status: Status::Unavailable, .. } | Joining { status: Status::Unavailable, .. } => {}
            // A session may begin still.
            Searching { .. } | Joining { .. } => {
                self.stays.return_at = Some(now + LOOK_EVERY);
                return;
            }
            LoggedOut { .. } | LoggedIn { .. } | LoggingOut { .. } => return,
        }
        let Some(stay) = self.stays.last.clone() else { return };
        match self.own_grant(&stay) {
            Ok(grant) => self.return_by(now, grant, stay),
            Err(reason) => {
                tracing::info!(event = "stay_ignored", %reason);
                self.stays.last = None;
            }
        }
    }

    fn return_by(&mut self, now: Instant, grant: Grant, stay: Stay) {
        let Stay { grant: signed, rewire } = stay;
        let Grant { network, address, name, session, .. } = grant.clone();
        let reason = "no supernode answers: back by the last grant, among the last neighbours";
        tracing::info!(event = "returned_as_guest", %name, %address, neighbours = rewire.neighbours.len(), reason);
        self.stays.is_guest = true;
        self.session.resume(session);
        self.mail.handle_login(Own { network, address, name, signed });
        self.tell_hello();
        self.neighbourhood.handle_return(now, &grant, &rewire);
        self.on_home(now, false);
    }

    /// The grant of a stay, if it says who this peer is now
    fn own_grant(&self, stay: &Stay) -> Result<Grant, Reason> {
        let said = |text: &str| Reason::truncated(text);
        let network = self.session.network().ok_or_else(|| said("no network is known"))?;
        let grant = stay.grant.verify(&network, &self.signer).map_err(|error| said(&error.to_string()))?;
        if grant.key != self.signer.key() {
            return Err(said("it is another key's"));
        }
        if grant.name != *self.session.name() {
            return Err(said("this peer has another name now"));
        }
        Ok(grant)
    }

    /// A supernode says no: whoever came back by its last stay has no right to be here
    pub(super) fn leave_if_guest(&mut self, now: Instant, status: Status, reason: &Reason) {
        let is_verdict = matches!(status, Status::NotAllowed | Status::Conflict);
        if is_verdict && self.stays.is_guest {
            tracing::info!(event = "guest_left", %reason);
            self.stays.last = None;
            self.on_logged_out(now);
        }
    }
}
