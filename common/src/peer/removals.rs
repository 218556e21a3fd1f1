//! Who was removed for good: asked of the supernode or of neighbours, and refused from then on.

use super::Peer;
use crate::crypto::Signer;
use crate::id::Key;
use crate::link::{Direction, LinkId, Opened};
use crate::mutant::{self, Mutant};
use crate::removed::{Learnt, RemovedKeys, Whom};
use crate::routing::neighbourhood::CloseReason;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::removed::{AskRemoved, Removed};

impl<S: Signer> Peer<S> {
    /// The keys that this peer knows to be removed for good
    pub const fn removed(&self) -> &RemovedKeys {
        self.removed.known()
    }

    /// The link to the supernode came, which is asked what is missing, or it went
    pub(super) fn on_removals_home(&mut self, now: Instant, is_up: bool) {
        self.removed.handle_home(now, is_up);
        if is_up {
            self.ask_removed(Whom::Supernode);
        }
    }

    /// Asks whoever is to be asked by now
    pub(super) fn ask_due_removals(&mut self, now: Instant) {
        if self.removed.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        let links: Vec<LinkId> = self.neighbourhood.live_links().map(|(_, link)| link).collect();
        if let Some(whom) = self.removed.handle_timeout(now, &links) {
            self.ask_removed(whom);
        }
    }

    /// Whether a link that has opened is a removed peer's; then it ends
    pub(super) fn refuses_removed(&mut self, now: Instant, opened: &Opened) -> bool {
        let Opened { link, key, direction, .. } = *opened;
        if !self.removed.known().contains(&key) || mutant::is(Mutant::RemovedHelloBelieved) {
            return false;
        }
        let reason = CloseReason::Removed;
        let count = if direction == Direction::Outgoing { Some(1) } else { self.strangers.count(now) };
        match count {
            Some(count) => tracing::info!(event = "link_refused", count, %key, %reason),
            None => tracing::debug!(event = "link_refused", %key, %reason),
        }
        self.close(link, reason.status(), &reason.to_string());
        if direction == Direction::Outgoing {
            self.neighbourhood.handle_dial_failed(now, key, reason.status(), &reason.to_string());
        }
        true
    }

    /// A neighbour asks
    pub(super) fn answer_removed(&mut self, now: Instant, link: LinkId, question: &AskRemoved) {
        let is_neighbour = self.neighbour_on(link).is_some();
        if let Some(told) = is_neighbour.then(|| self.removed.answer(now, question)).flatten() {
            self.send_frame(link, Frame::Removed(told));
        }
    }

    /// A neighbour has told something
    pub(super) fn on_neighbours_removed(&mut self, now: Instant, link: LinkId, told: &Removed) {
        if self.neighbour_on(link).is_some() {
            self.on_removed(now, Whom::Neighbour(link), told);
        }
    }

    pub(super) fn on_removed(&mut self, now: Instant, by: Whom, told: &Removed) {
        let Some(network) = self.session.network() else { return };
        let is_home = by == Whom::Supernode;
        match self.removed.handle_removed(now, is_home, told, &network, &self.signer) {
            Ok(Learnt { new, is_to_go_on }) => {
                self.put_out(now, &new, is_home);
                if is_to_go_on {
                    self.ask_removed(by);
                }
            }
            Err(reason) => tracing::info!(event = "removals_ignored", ?by, %reason),
        }
    }

    /// These are out from now on
    fn put_out(&mut self, now: Instant, keys: &[Key], is_home: bool) {
        if keys.is_empty() {
            return;
        }
        let reason = if is_home { "the supernode says so" } else { "a neighbour has the supernode's word for it" };
        tracing::info!(event = "removals_learnt", new = keys.len(), known = self.removed.known().len(), reason);
        self.names.handle_removed(keys);
        self.neighbourhood.handle_removed(now, keys);
    }

    fn ask_removed(&mut self, whom: Whom) {
        let link = match whom {
            Whom::Supernode => self.home_link(),
            Whom::Neighbour(link) => Some(link),
        };
        if let Some(link) = link {
            self.send_frame(link, Frame::AskRemoved(self.removed.question()));
        }
    }
}
