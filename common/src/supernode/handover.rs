//! A supernode that does not hear the one that leads hands its peers over: it can do nothing for them that lasts, and one
//! lease after the leader has seen it go their sessions end.
//!
//! Whether somebody leads whom this one does not hear, others say in their beats: then it takes nobody in, and sends its
//! peers on. Who hears too few others to elect somebody tells its peers with each renewal that it is cut off, and they look
//! for themselves whether another supernode is led (`session::membership`).

use std::collections::VecDeque;
use std::time::Duration;

use super::backbone::Backbone;
use super::links::Links;
use super::members::Members;
use super::rewires::{GATHER, SLICE};
use crate::id::{SessionId, SupernodeId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;

/// How often is looked, while nobody leads
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long others must say that somebody leads: some beats, as of an election one hears before others
const SURE_AFTER: Duration = Duration::from_secs(3);

/// For this part of a lease nobody must have led and too few others been heard, before peers are told: each of them costs the
/// others a handshake then, and a short cut is none of their business
const CUT_OFF_PARTS: u32 = 6;

/// Since when this supernode hears nobody lead, and whom it sends on
#[derive(Debug, Default)]
pub(super) struct Handover {
    unled: Option<Instant>,
    /// Since when others have said that somebody leads
    led_elsewhere: Option<Instant>,
    /// Whether, by the last look, too few others have been heard for a while to elect somebody
    is_cut_off: bool,
    /// Since when others had said that somebody leads, when peers were sent on for that: those that have come since are sent on
    /// when others say so again
    done_for: Option<Instant>,
    /// Those that are sent on, each on the link that it had when that began: no more than there are home links
    round: VecDeque<(SessionId, LinkId)>,
    look_at: Option<Instant>,
}

/// What handing over may touch
pub(super) struct HandingOver<'a> {
    pub(super) id: SupernodeId,
    pub(super) lease: Duration,
    pub(super) members: &'a Members,
    pub(super) backbone: &'a Backbone,
    pub(super) links: &'a mut Links,
    pub(super) handover: &'a mut Handover,
}

impl Handover {
    /// Somebody leads, or nobody does, from now on; or this process stood still, and counts anew
    pub(super) fn begin_anew(&mut self, now: Instant, is_led: bool) {
        *self = Self::default();
        if !is_led {
            self.unled = Some(now);
            self.look_at = Some(now + LOOK_EVERY);
        }
    }

    /// Whether somebody leads whom this one does not hear: it takes nobody in
    pub(super) fn is_led_elsewhere(&self, now: Instant) -> bool {
        let is_sure = self.led_elsewhere.is_some_and(|since| now - since >= SURE_AFTER);
        is_sure && !mutant::is(Mutant::CutOffKeepsPeers)
    }

    /// Whether nobody leads as far as this one hears, and it hears too few others to elect somebody: they may be well
    pub(super) fn is_cut_off(&self) -> bool {
        self.is_cut_off && !mutant::is(Mutant::CutOffKeepsPeers)
    }

    /// When to call [`HandingOver::handle_timeout`]
    pub(super) const fn next_timeout(&self) -> Option<Instant> {
        self.look_at
    }
}

impl HandingOver<'_> {
    /// Looks what others say, and sends some of the peers on
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let Some(unled) = self.handover.unled.filter(|_| self.handover.look_at.is_some_and(|at| at <= now)) else {
            return;
        };
        self.handover.look_at = Some(now + LOOK_EVERY);
        if !self.members.are_several() {
            return;
        }
        if self.backbone.hears_of_leader(now, self.members, self.id) {
            self.handover.led_elsewhere.get_or_insert(now);
        } else {
            self.handover.led_elsewhere = None;
        }
        let is_cut_off = now - unled >= self.lease / CUT_OFF_PARTS && !self.sees_majority();
        let was_cut_off = std::mem::replace(&mut self.handover.is_cut_off, is_cut_off);
        if is_cut_off && !was_cut_off {
            let (peers, reason) =
                (self.links.homes(), "this supernode hears too few others: they may be well without it");
            tracing::warn!(event = "peers_told_to_look", peers, reason);
        }
        if self.handover.is_led_elsewhere(now) && self.handover.done_for != self.handover.led_elsewhere {
            self.handover.done_for = self.handover.led_elsewhere;
            self.handover.round = self.links.homes_after(None).collect();
            let (peers, reason) = (self.handover.round.len(), "others hear somebody lead, and this supernode does not");
            tracing::warn!(event = "peers_sent_on", peers, reason);
        }
        self.send_some_on(now);
    }

    fn send_some_on(&mut self, now: Instant) {
        let slice = self.handover.round.len().min(SLICE);
        for (session, link) in self.handover.round.drain(..slice) {
            if self.links.home_of(session) == Some(link) {
                self.links.end(link, Status::Unavailable, "this supernode does not hear who leads: go on to the next");
            }
        }
        if !self.handover.round.is_empty() {
            self.handover.look_at = Some(now + GATHER);
        }
    }

    /// Whether those that this one has links with, and itself, could elect a leader
    fn sees_majority(&self) -> bool {
        let voters = || self.members.iter().filter(|entry| entry.is_voter);
        let is_seen = |id| id == self.id || self.backbone.link_to(id).is_some();
        2 * voters().filter(|entry| is_seen(entry.id)).count() > voters().count()
    }
}
