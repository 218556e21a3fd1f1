//! Who the supernodes of the network are, as the log says, and how peers hear of it: after their logins, and all that are
//! at home here when it changes, in slices.

use super::backbone::Backbone;
use super::links::Links;
use super::log::SupernodeEntry;
use super::rewires::SLICE;
use crate::id::{SessionId, SupernodeId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::bounded::Bounded;
use crate::wire::session::{SUPERNODES_MAX, SupernodeRecord, Supernodes};

/// How far everybody has been told
struct Round {
    last: Option<SessionId>,
    /// When the next slice is told
    at: Instant,
}

/// The supernodes of the network; none as long as the log has not said who they are
#[derive(Default)]
pub(super) struct Members {
    /// In the order of their ids
    entries: Vec<SupernodeEntry>,
    round: Option<Round>,
}

impl Members {
    /// The log says who they are; whether that is news
    ///
    /// More than [`SUPERNODES_MAX`] no frame could tell: those with the largest ids are left out.
    pub(super) fn set(&mut self, now: Instant, mut entries: Vec<SupernodeEntry>) -> bool {
        entries.sort_by_key(|entry| entry.id);
        entries.dedup_by_key(|entry| entry.id);
        if entries.len() > SUPERNODES_MAX {
            let reason = "a network has no more supernodes than that; the last ones are left out";
            tracing::warn!(event = "supernodes_left_out", count = entries.len(), max = SUPERNODES_MAX, reason);
            entries.truncate(SUPERNODES_MAX);
        }
        if entries == self.entries {
            return false;
        }
        let ids = |entries: &[SupernodeEntry]| entries.iter().map(|entry| entry.id.0).collect::<Vec<_>>();
        let (before, supernodes) = (ids(&self.entries), ids(&entries));
        tracing::info!(event = "supernodes_changed", ?before, ?supernodes, reason = "the log says so");
        self.entries = entries;
        self.round = (!mutant::is(Mutant::SupernodesNotTold)).then_some(Round { last: None, at: now });
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SupernodeEntry> {
        self.entries.iter()
    }

    pub(super) fn contains(&self, id: SupernodeId) -> bool {
        self.entries.iter().any(|entry| entry.id == id)
    }

    /// Whether the log has said who they are
    pub(super) const fn are_known(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether there are others, which may know more than this one, and without which nothing is committed
    pub(super) const fn are_several(&self) -> bool {
        self.entries.len() > 1
    }

    /// What peers are told; nothing as long as nobody is known
    pub(super) fn frame(&self, backbone: &Backbone, home: SupernodeId, load: u16) -> Option<Frame> {
        if !self.are_known() {
            return None;
        }
        let record = |entry: &SupernodeEntry| {
            let load = if entry.id == home { load } else { backbone.load_of(entry.id).unwrap_or_default() };
            SupernodeRecord { id: entry.id, locations: entry.locations.clone(), load }
        };
        let supernodes = Bounded::truncated(self.entries.iter().map(record));
        Some(Frame::Supernodes(Supernodes { home, supernodes }))
    }

    /// Tells some of those who are at home here, if a round is due
    pub(super) fn tell(&mut self, now: Instant, links: &mut Links, backbone: &Backbone, home: SupernodeId, load: u16) {
        let Some(Round { last, at }) = self.round.take() else { return };
        if now < at {
            self.round = Some(Round { last, at });
            return;
        }
        let Some(frame) = self.frame(backbone, home, load) else { return };
        let homes: Vec<(SessionId, LinkId)> = links.homes_after(last).take(SLICE).collect();
        for (_, link) in &homes {
            links.send(*link, frame.clone());
        }
        if let Some((last, _)) = homes.last().filter(|_| homes.len() == SLICE) {
            self.round = Some(Round { last: Some(*last), at: now });
        }
    }

    /// When to call [`Self::tell`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.at)
    }
}
