//! What comes for the in-box.

use super::Mail;
use super::arrivals::Arrived;
use super::bindings::{Judged, Verdict};
use super::lent::Lent;
use super::output::{Arrival, MailOutput};
use crate::crypto::Signer;
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::bounded::Bytes;
use crate::wire::content::DATA_BYTES_MAX;
use crate::wire::grant::Grant;
use crate::wire::session::Subject;

/// Why nothing of a sender's is kept, or answered
pub(super) const REMOVED: &str = "its sender was removed from the network for good";

impl Mail {
    /// Data is kept once it is known whether the sender's name is its own
    pub(super) fn on_data<S: Signer>(
        &mut self,
        now: Instant,
        lent: &Lent<'_, S>,
        arrived: Arrived,
        bytes: Bytes<DATA_BYTES_MAX>,
    ) {
        let Grant { name, key, address, .. } = &arrived.from;
        let is_own = self.own.as_ref().is_some_and(|own| own.address == *address);
        let table = is_own || lent.neighbourhood.confirms(name, key, *address, !self.is_home_up);
        if let Some(name) = self.bindings.handle_message(now, arrived, bytes, table, self.is_home_up) {
            self.outputs.push_back(MailOutput::Resolve { subject: Subject::Name(name), fresh: true });
        }
        self.keep_judged(now, lent);
    }

    /// Hands to the disk what may be kept
    pub(super) fn keep_judged<S: Signer>(&mut self, now: Instant, lent: &Lent<'_, S>) {
        while let Some(Judged { arrived, bytes, verdict }) = self.bindings.poll() {
            let (name, id) = (&arrived.from.name, arrived.id);
            // It may have been removed while the message waited for its verdict.
            if lent.removed.contains(&arrived.from.key) && !mutant::is(Mutant::RemovedMailKept) {
                tracing::info!(event = "message_refused", reason = REMOVED, from = %name, %id);
                continue;
            }
            match verdict {
                Verdict::Refused(reason) => {
                    tracing::info!(event = "message_refused", reason, from = %name, %id);
                    self.reply(now, lent, &arrived, Status::NotAllowed, reason);
                }
                Verdict::Confirmed => self.keep(now, lent, arrived, bytes, true),
                Verdict::Unconfirmed => {
                    let reason = "no directory says that the sender's session lasts";
                    tracing::info!(event = "sender_unconfirmed", reason, from = %name, %id);
                    self.keep(now, lent, arrived, bytes, false);
                }
            }
        }
    }

    fn keep<S: Signer>(
        &mut self,
        now: Instant,
        lent: &Lent<'_, S>,
        arrived: Arrived,
        bytes: Bytes<DATA_BYTES_MAX>,
        confirmed: bool,
    ) {
        let Grant { name: from, key, address, .. } = arrived.from.clone();
        let bytes = if mutant::is(Mutant::BytesLost) { Bytes::default() } else { bytes };
        let message = Arrival { id: arrived.id, from, key, address, confirmed, bytes };
        match self.arrivals.store(arrived) {
            Ok(ticket) => self.outputs.push_back(MailOutput::Keep { ticket, message }),
            Err(arrived) => self.reply(now, lent, &arrived, Status::SlowDown, "the receiver's disk is behind"),
        }
    }
}
