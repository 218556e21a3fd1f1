//! Logins that wait: until it is known whether their key's session has a link that answers, or until their time has come.

use std::time::Duration;

use crate::id::SessionId;
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::session::admission::LoginRequest;
use crate::time::{Instant, earliest};
use crate::wire::backbone::{Claim as Question, Claimed};

/// How long a second login waits for a sign of life on the first one's link: as long as a neighbour may be silent, and some
pub(super) const CLAIM_WAIT: Duration = Duration::from_millis(2_500);
/// How long it waits for the word of another home: that waits as long as above, and its word has a way to come
const CLAIM_WAIT_ELSEWHERE: Duration = Duration::from_millis(3_500);
/// Questions of other supernodes that wait for a sign of life; the next one is told that there was one, as nobody is put out
/// for want of an answer
const OWED_MAX: usize = 4_096;

/// Where the session of a login's key has its link
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Here, on this link
    Here(LinkId),
    /// At another home, which was asked through this link, under this number
    Elsewhere { through: LinkId, number: u64 },
}

/// A login whose key has a session on a link that may or may not be alive
pub(super) struct Claim {
    pub(super) link: LinkId,
    pub(super) holder: Holder,
    pub(super) request: LoginRequest,
    until: Instant,
    /// Whether the holder has answered a probe since
    pub(super) is_answered: bool,
}

/// A login of a peer that was suspected again and again, and comes back a while later each time
pub(super) struct Return {
    pub(super) link: LinkId,
    pub(super) request: LoginRequest,
    at: Instant,
}

/// Another supernode's question for the holder of a session
struct Owed {
    through: LinkId,
    number: u64,
    holder: LinkId,
    until: Instant,
}

/// The logins that wait, one a link at most, and what is owed to other supernodes
#[derive(Default)]
pub(super) struct Claims {
    claims: Vec<Claim>,
    returns: Vec<Return>,
    /// [`OWED_MAX`] at most
    owed: Vec<Owed>,
    last_number: u64,
}

impl Claims {
    /// The login on `link` waits for its key's link at `holder` here
    pub(super) fn wait_for(&mut self, now: Instant, link: LinkId, holder: LinkId, request: LoginRequest) {
        let (holder, until) = (Holder::Here(holder), now + CLAIM_WAIT);
        self.claims.push(Claim { link, holder, request, until, is_answered: false });
    }

    /// The login on `link` waits for the word of its session's home; what to ask `through` the link to that
    pub(super) fn ask(
        &mut self,
        now: Instant,
        link: LinkId,
        through: LinkId,
        session: SessionId,
        request: LoginRequest,
    ) -> Question {
        self.last_number += 1;
        let number = self.last_number;
        let (holder, until) = (Holder::Elsewhere { through, number }, now + CLAIM_WAIT_ELSEWHERE);
        self.claims.push(Claim { link, holder, request, until, is_answered: false });
        Question { number, session }
    }

    /// The login on `link` waits until its peer may be back
    pub(super) fn wait_until(&mut self, at: Instant, link: LinkId, request: LoginRequest) {
        self.returns.push(Return { link, request, at });
    }

    /// Another supernode asks whether `holder` answers; its word, if it need not wait
    pub(super) fn owe(&mut self, now: Instant, through: LinkId, number: u64, holder: LinkId) -> Option<Claimed> {
        if self.owed.len() >= OWED_MAX {
            return Some(Claimed { number, is_alive: true });
        }
        self.owed.push(Owed { through, number, holder, until: now + CLAIM_WAIT });
        None
    }

    /// A probe was answered on `link`; whatever else comes may have been under way since before its process ended
    ///
    /// The words that others wait for, each with the link that it goes to.
    pub(super) fn handle_answered(&mut self, link: LinkId) -> Vec<(LinkId, Claimed)> {
        for claim in self.claims.iter_mut().filter(|claim| claim.holder == Holder::Here(link)) {
            claim.is_answered = true;
        }
        if self.owed.is_empty() {
            return Vec::new();
        }
        let answered = self.owed.extract_if(.., |owed| owed.holder == link);
        answered.map(|owed| (owed.through, Claimed { number: owed.number, is_alive: true })).collect()
    }

    /// Another home's word; the login that waited for it
    pub(super) fn take_told(&mut self, through: LinkId, told: &Claimed) -> Option<Claim> {
        let is_asked = |claim: &Claim| claim.holder == Holder::Elsewhere { through, number: told.number };
        let at = self.claims.iter().position(is_asked)?;
        let mut claim = self.claims.remove(at);
        claim.is_answered = told.is_alive && !mutant::is(Mutant::ClaimIgnored);
        Some(claim)
    }

    /// `link` has closed: nobody logs in on it, and nobody there waits for a word; who waited for its holder, and the words
    /// that others wait for
    pub(super) fn handle_closed(&mut self, link: LinkId) -> (Vec<Claim>, Vec<(LinkId, Claimed)>) {
        self.claims.retain(|claim| claim.link != link);
        self.returns.retain(|wait| wait.link != link);
        self.owed.retain(|owed| owed.through != link);
        let is_gone = |holder| match holder {
            Holder::Here(holder) => holder == link,
            Holder::Elsewhere { through, .. } => through == link,
        };
        let free = self.claims.extract_if(.., |claim| is_gone(claim.holder)).collect();
        let dead = self.owed.extract_if(.., |owed| owed.holder == link);
        (free, dead.map(|owed| (owed.through, Claimed { number: owed.number, is_alive: false })).collect())
    }

    /// The logins whose wait for another link is over
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<Claim> {
        self.claims.extract_if(.., |claim| claim.until <= now).collect()
    }

    /// The words for others whose holders were silent, each with the holder
    pub(super) fn take_silent(&mut self, now: Instant) -> Vec<(LinkId, Claimed)> {
        let silent = self.owed.extract_if(.., |owed| owed.until <= now);
        silent.map(|owed| (owed.through, Claimed { number: owed.number, is_alive: false })).collect()
    }

    /// The logins whose time has come
    pub(super) fn take_back(&mut self, now: Instant) -> Vec<Return> {
        self.returns.extract_if(.., |wait| wait.at <= now).collect()
    }

    /// This process stood still: the holders' answers may be waiting here
    pub(super) fn handle_held_up(&mut self, now: Instant) {
        self.claims.iter_mut().for_each(|claim| claim.until = now + CLAIM_WAIT);
        self.owed.iter_mut().for_each(|owed| owed.until = now + CLAIM_WAIT);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let claims = self.claims.iter().map(|claim| claim.until).chain(self.owed.iter().map(|owed| owed.until));
        claims.chain(self.returns.iter().map(|wait| wait.at)).map(Some).fold(None, earliest)
    }
}
