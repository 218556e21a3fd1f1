//! Tells peers who was removed: whoever asks, and of each removal everybody who is at home here, in slices.

use super::links::Links;
use super::logins::Credentials;
use super::rewires::SLICE;
use crate::crypto::Signer;
use crate::directory::Directory;
use crate::id::SessionId;
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::removed::{EndMark, Mark, Removed, SignedMark};

/// What everybody is being told
struct Round {
    /// What those knew who knew everything before it
    from: Mark,
    /// The last one who was told
    last: Option<SessionId>,
    /// When the next slice is told
    at: Instant,
}

/// What is being told, and the word for it
#[derive(Default)]
pub(super) struct Removals {
    /// The end of the list as it was signed last
    end: Option<(Mark, SignedMark)>,
    round: Option<Round>,
}

impl Removals {
    /// The list goes farther than `before`; a round that is under way begins anew and tells both
    pub(super) fn begin(&mut self, now: Instant, before: Mark) {
        let from = self.round.take().map_or(before, |round| round.from);
        self.round = (!mutant::is(Mutant::RemovalNotTold)).then_some(Round { from, last: None, at: now });
    }

    /// When to call [`Telling::handle_timeout`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.at)
    }
}

/// What telling may touch
pub(super) struct Telling<'a, S> {
    pub(super) credentials: &'a Credentials<S>,
    pub(super) directory: &'a Directory,
    pub(super) links: &'a mut Links,
    pub(super) removals: &'a mut Removals,
}

impl<S: Signer> Telling<'_, S> {
    /// The peer on `link` knows the list until `mark`
    pub(super) fn answer(&mut self, link: LinkId, mark: &Mark) {
        if mutant::is(Mutant::RemovalNotTold) {
            return;
        }
        if let Some(page) = self.page_after(mark) {
            self.links.send(link, Frame::Removed(page));
        }
    }

    /// Tells some of those who are at home here, if a round is due
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let Some(Round { from, last, at }) = self.removals.round.take() else { return };
        if now < at {
            self.removals.round = Some(Round { from, last, at });
            return;
        }
        let Some(page) = self.page_after(&from) else { return };
        let homes: Vec<(SessionId, LinkId)> = self.links.homes_after(last).take(SLICE).collect();
        for (_, link) in &homes {
            self.links.send(*link, Frame::Removed(page.clone()));
        }
        if let Some((last, _)) = homes.last().filter(|_| homes.len() == SLICE) {
            self.removals.round = Some(Round { from, last: Some(*last), at: now });
        }
    }

    fn page_after(&mut self, mark: &Mark) -> Option<Removed> {
        let end = self.end()?;
        let (from, keys) = self.directory.removed().page_after(mark);
        Some(Removed { from, keys, end })
    }

    /// The end of the list, signed once for all who are told
    fn end(&mut self) -> Option<SignedMark> {
        let mark = self.directory.removed().mark();
        if let Some((_, end)) = self.removals.end.as_ref().filter(|(of, _)| *of == mark) {
            return Some(end.clone());
        }
        let rules = &self.credentials.admission;
        let end = EndMark { network: rules.network, mark };
        match SignedMark::sign(&end, &self.credentials.signer, rules.certificate.clone()) {
            Ok(signed) => {
                self.removals.end = Some((mark, signed.clone()));
                Some(signed)
            }
            Err(error) => {
                tracing::error!(event = "removals_not_told", %error, reason = "the list's end cannot be signed");
                None
            }
        }
    }
}
