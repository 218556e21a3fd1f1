//! What becomes of sessions whose home is gone: the leader, and nobody else, ends them, one lease after it saw the home go.
//!
//! A home is gone when the leader has no link with it and hears nobody who has, or when the log names it no more. Its peers
//! have one whole lease to find another home, as after a start of their own; who has found one is at home there, and an end
//! in the name of the home before harms it no more. Nothing else happens to the sessions of a home that is gone: none of its
//! peers is suspected, as nobody can say that it is.
//!
//! Each leader counts by its own clock from when it sees a home gone; a new one begins anew, and so does one that stood still.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::backbone::Backbone;
use super::members::Members;
use super::proposals::Proposals;
use super::rewires::{GATHER, SLICE};
use crate::directory::{Command, Directory};
use crate::id::{SessionId, SupernodeId};
use crate::mutant::{self, Mutant};
use crate::time::Instant;

/// How often the leader looks who is there, and from the first session of a home on whether its end was lost
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A home that is gone
#[derive(Debug)]
struct Gone {
    since: Instant,
    /// The last of its sessions whose end was proposed, in the order of their ids
    last: Option<SessionId>,
    /// Whether it was said that its sessions end
    is_told: bool,
}

/// The homes that are gone, by this supernode's own seeing, while it leads: no more than there are homes
#[derive(Debug, Default)]
pub(super) struct Homes {
    gone: BTreeMap<SupernodeId, Gone>,
    look_at: Option<Instant>,
}

/// What judging homes may touch
pub(super) struct Looking<'a> {
    pub(super) id: SupernodeId,
    pub(super) lease: Duration,
    pub(super) directory: &'a Directory,
    pub(super) members: &'a Members,
    pub(super) backbone: &'a Backbone,
    pub(super) proposals: &'a mut Proposals,
    pub(super) homes: &'a mut Homes,
}

impl Homes {
    /// Whatever was seen counts no more: another one leads, or this process stood still
    pub(super) fn begin_anew(&mut self, now: Instant, leads: bool) {
        if !mutant::is(Mutant::NewLeaderGoesOn) {
            self.gone.clear();
        }
        self.look_at = (leads || mutant::is(Mutant::EverybodyJudgesHomes)).then_some(now);
    }

    /// When to call [`Looking::handle_timeout`]
    pub(super) const fn next_timeout(&self) -> Option<Instant> {
        self.look_at
    }
}

impl Looking<'_> {
    /// Looks who is there, and ends some of the sessions whose homes have been gone for a lease
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.homes.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.homes.look_at = Some(now + LOOK_EVERY);
        // As long as the log has not said who the supernodes are, nobody is missing.
        if !self.members.are_known() {
            return;
        }
        self.look(now);
        let lease = if mutant::is(Mutant::HomeGoneEndsAtOnce) { Duration::ZERO } else { self.lease };
        let over = self.homes.gone.iter().filter(|(_, gone)| now - gone.since >= lease).map(|(home, _)| *home);
        let Some(home) = over.min_by_key(|home| self.homes.gone.get(home).map(|gone| gone.last)) else { return };
        if self.end_some(home) {
            self.homes.look_at = Some(now + GATHER);
        }
    }

    fn look(&mut self, now: Instant) {
        let homes: BTreeMap<SupernodeId, usize> = self.directory.homes().filter(|(home, _)| *home != self.id).collect();
        self.homes.gone.retain(|home, _| homes.contains_key(home));
        for (home, sessions) in homes {
            let is_there = self.members.contains(home) && self.backbone.is_seen(now, home, self.members);
            let is_known = self.homes.gone.contains_key(&home);
            if is_there && is_known {
                self.homes.gone.remove(&home);
                tracing::info!(event = "home_back", home = home.0, sessions, reason = "a supernode has a link with it");
            } else if !is_there && !is_known {
                let reason = "no supernode that the leader hears has a link with it, or the log names it no more";
                tracing::warn!(event = "home_gone", home = home.0, sessions, lease = ?self.lease, reason);
                self.homes.gone.insert(home, Gone { since: now, last: None, is_told: false });
            }
        }
    }

    /// Proposes the ends of the next sessions of this home; whether there are more
    fn end_some(&mut self, home: SupernodeId) -> bool {
        let Some(gone) = self.homes.gone.get_mut(&home) else { return false };
        if !gone.is_told {
            tracing::warn!(event = "home_given_up", home = home.0, reason = "gone for a lease: its sessions end");
            gone.is_told = true;
        }
        let proposed = self.proposals.commands().filter_map(|command| match command {
            Command::Expire { session, .. } => Some(*session),
            _ => None,
        });
        let proposed: BTreeSet<SessionId> = proposed.collect();
        let next: Vec<SessionId> = self.directory.at_home(home, gone.last).take(SLICE).collect();
        gone.last = next.last().copied().filter(|_| next.len() == SLICE);
        let more = gone.last.is_some();
        for session in next.into_iter().filter(|session| !proposed.contains(session)) {
            self.proposals.push_own(self.directory, Command::Expire { session, home });
        }
        more
    }
}
