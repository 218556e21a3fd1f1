//! The lease of a session, and the renewals that keep it.

use std::time::Duration;

use crate::id::{Epoch, NetworkId, SessionId};
use crate::session::retry::Backoff;
use crate::session::{LEASE_MAX, LEASE_MIN, RENEWALS_PER_LEASE, home_silence};
use crate::time::Instant;
use crate::wire::session::{Renew, Renewed};

/// A session that lasts as long as it is renewed
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) network: NetworkId,
    pub(super) session: SessionId,
    /// The epoch of the newest table that came
    pub(super) epoch: Epoch,
    length: Duration,
    renewal: Renewal,
}

#[derive(Clone, Copy, Debug)]
enum Renewal {
    Due(Instant),
    /// Sent, and the supernode has until then to answer
    Unanswered {
        sent: Instant,
        until: Instant,
    },
}

impl Lease {
    /// A lease that begins at `now`; a length out of [`LEASE_MIN`] to [`LEASE_MAX`] is brought into it
    pub(super) fn new(
        now: Instant,
        network: NetworkId,
        session: SessionId,
        epoch: Epoch,
        length: Duration,
        jitter: &mut Backoff,
    ) -> Self {
        let length = length.clamp(LEASE_MIN, LEASE_MAX);
        let renewal = Renewal::Due(now + renewal_period(length, jitter));
        Self { network, session, epoch, length, renewal }
    }

    pub(super) const fn length(&self) -> Duration {
        self.length
    }

    pub(super) const fn next_timeout(&self) -> Instant {
        match self.renewal {
            Renewal::Due(at) | Renewal::Unanswered { until: at, .. } => at,
        }
    }

    /// How long the supernode may take to answer a renewal
    pub(super) fn patience(&self) -> Duration {
        home_silence(self.length)
    }

    /// The renewal that is due; none if the last one was not answered, so that the link is of no use
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Renew> {
        if let Renewal::Unanswered { .. } = self.renewal {
            return None;
        }
        self.renewal = Renewal::Unanswered { sent: now, until: now + self.patience() };
        Some(Renew { session: self.session, epoch: self.epoch })
    }

    /// This process stood still and read nothing: the answer that it waits for may be in the socket
    pub(super) fn handle_held_up(&mut self, now: Instant) {
        let patience = self.patience();
        if let Renewal::Unanswered { until, .. } = &mut self.renewal {
            *until = now + patience;
        }
    }

    /// How long `renewed` took, if it answers the renewal that is under way; if it does not, nothing changes
    pub(super) fn handle_renewed(&mut self, now: Instant, renewed: &Renewed, jitter: &mut Backoff) -> Option<Duration> {
        let Renewal::Unanswered { sent, .. } = self.renewal else { return None };
        if renewed.session != self.session {
            return None;
        }
        // Counted from the sending: the supernode began the lease anew some time after it, never before.
        self.renewal = Renewal::Due((sent + renewal_period(self.length, jitter)).max(now));
        Some(now - sent)
    }
}

/// A third of the lease, less up to a tenth of that, so that peers that came together drift apart
fn renewal_period(lease: Duration, jitter: &mut Backoff) -> Duration {
    let period = lease / RENEWALS_PER_LEASE;
    jitter.draw(period * 9 / 10, period)
}
