//! Sessions whose peers are here, and that the log has at home elsewhere: their homes are to be moved here.
//!
//! Such are those that were taken up as the directory said, while nobody led; and those of which the log says that they have
//! moved away, though their links are here. That may be old: a peer that has come back, or has come while this supernode
//! was behind, is here all the same. So its link is asked first, as it may be over and not known to be.
//!
//! Until the log says otherwise the other home judges them, and this supernode does not.

use std::collections::BTreeMap;

use super::claims::CLAIM_WAIT;
use super::judgement::RETRY;
use super::links::Links;
use super::proposals::{Proposals, Then};
use crate::directory::{Command, LogIn, Right, Session};
use crate::id::{SessionId, SupernodeId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::time::{Instant, earliest};

struct Move {
    link: LinkId,
    login: LogIn,
    /// Whether the log has it
    is_proposed: bool,
    /// Until when it waits for a sign of life on its link, if it does
    asked_until: Option<Instant>,
}

/// The sessions that wait for that, each with a home link here
#[derive(Default)]
pub(super) struct Moves {
    wanted: BTreeMap<SessionId, Move>,
    /// When they are proposed, if somebody leads then
    at: Option<Instant>,
}

impl Moves {
    /// The session was taken up on `link`, and is to be at home here
    pub(super) fn push(&mut self, now: Instant, link: LinkId, login: LogIn) {
        if mutant::is(Mutant::MoveForgotten) {
            return;
        }
        self.wanted.insert(login.session, Move { link, login, is_proposed: false, asked_until: None });
        self.at.get_or_insert(now + RETRY);
    }

    /// The log has this session at home elsewhere, and `link` is its home link here, which is asked whether it lives
    pub(super) fn contest(&mut self, now: Instant, link: LinkId, of: &Session, home: SupernodeId) {
        let login = LogIn {
            name: of.name.clone(),
            key: of.key,
            session: of.id,
            resumes: Some(of.home),
            offers: None,
            salt: [0; 16],
            locations: of.locations.clone(),
            home,
            right: Right::Owner,
        };
        let until = now + CLAIM_WAIT;
        self.wanted.insert(of.id, Move { link, login, is_proposed: false, asked_until: Some(until) });
        self.at = Some(self.at.map_or(until, |at| at.min(until)));
    }

    /// A probe was answered on `link`
    pub(super) fn handle_answered(&mut self, now: Instant, link: LinkId) {
        for wanted in self.wanted.values_mut().filter(|wanted| wanted.link == link && wanted.asked_until.is_some()) {
            wanted.asked_until = None;
            self.at = Some(now);
        }
    }

    /// The links that have not answered in time: their peers are where the log says
    pub(super) fn take_silent(&mut self, now: Instant) -> Vec<LinkId> {
        if self.at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let is_silent = |wanted: &Move| wanted.asked_until.is_some_and(|until| until <= now);
        let silent = self.wanted.values().filter(|wanted| is_silent(wanted)).map(|wanted| wanted.link).collect();
        self.wanted.retain(|_, wanted| !is_silent(wanted));
        silent
    }

    /// This process stood still: answers may be waiting here
    pub(super) fn handle_held_up(&mut self, now: Instant) {
        for wanted in self.wanted.values_mut() {
            wanted.asked_until = wanted.asked_until.map(|_| now + CLAIM_WAIT);
        }
    }

    /// Somebody leads: it is time
    pub(super) fn handle_led(&mut self, now: Instant) {
        if !self.wanted.is_empty() {
            self.at = Some(now);
        }
    }

    /// The log has said what became of the move
    pub(super) fn take(&mut self, session: SessionId) -> Option<LogIn> {
        self.wanted.remove(&session).map(|wanted| wanted.login)
    }

    /// The log has lost the move; it is proposed again
    pub(super) fn handle_lost(&mut self, now: Instant, session: SessionId) {
        if let Some(wanted) = self.wanted.get_mut(&session) {
            wanted.is_proposed = false;
            self.at = Some(self.at.map_or(now + RETRY, |at| at.min(now + RETRY)));
        }
    }

    /// When to call [`Self::propose`]
    pub(super) const fn next_timeout(&self) -> Option<Instant> {
        self.at
    }

    /// Proposes those that still have the link that they were taken up on, if it is time and somebody leads
    pub(super) fn propose(&mut self, now: Instant, is_led: bool, links: &Links, proposals: &mut Proposals) {
        if self.at.is_none_or(|at| now < at) {
            return;
        }
        self.wanted.retain(|session, wanted| links.home_of(*session) == Some(wanted.link));
        let mut left =
            self.wanted.values_mut().filter(|wanted| !wanted.is_proposed && wanted.asked_until.is_none()).peekable();
        if is_led {
            while let Some(wanted) = left.peek() {
                let then = Then::Move(wanted.login.session);
                if proposals.push_bounded(Command::LogIn(wanted.login.clone()), then).is_err() {
                    break;
                }
                left.next().into_iter().for_each(|wanted| wanted.is_proposed = true);
            }
        }
        let again = left.peek().map(|_| now + RETRY);
        drop(left);
        self.at = earliest(again, self.wanted.values().filter_map(|wanted| wanted.asked_until).min());
    }
}
