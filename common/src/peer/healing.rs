//! What this peer does for the mesh while it has no home: it looks for stand-ins, and answers those who do.

use super::{Peer, PeerOutput};
use crate::crypto::Signer;
use crate::link::LinkId;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::link::{AskRecords, Records};

impl<S: Signer> Peer<S> {
    /// Looks who is missing, if it is time
    pub(super) fn heal(&mut self, now: Instant) {
        let remembered = self.names.remembered(now).map(|(record, _)| record);
        let Some(look) = self.healer.look(now, &self.neighbourhood, self.removed.known(), remembered) else { return };
        for (link, question) in look.questions {
            self.outputs.push_back(PeerOutput::Send { link, frame: Frame::AskRecords(question) });
        }
        self.neighbourhood.handle_stand_ins(now, &look.kept, look.new);
    }

    /// A neighbour without a home asks who somebody is
    pub(super) fn answer_records(&mut self, now: Instant, link: LinkId, question: &AskRecords) {
        if self.neighbour_on(link).is_none() {
            return;
        }
        match self.healer.answer(now, question, &self.neighbourhood, self.removed.known()) {
            Some(told) => self.send_frame(link, Frame::Records(told)),
            None => tracing::debug!(event = "records_not_told", link = link.0, reason = "too many questions"),
        }
    }

    /// A neighbour says who somebody is
    pub(super) fn on_records(&mut self, now: Instant, link: LinkId, told: &Records) {
        let own = self.signer.key();
        match self.healer.handle_records(now, link, told, &own) {
            Ok(()) => self.heal(now),
            Err(reason) => tracing::debug!(event = "records_ignored", link = link.0, %reason),
        }
    }
}
