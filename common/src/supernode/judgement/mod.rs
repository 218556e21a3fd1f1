//! What this supernode judges by itself, and replicas do not share: which commands time demands.
//!
//! Leases, suspicions and terms of pairs go by this supernode's own clock and links, and start anew with it. What they
//! come to is proposed to the log like anybody's command; until it is committed the directory says what is so.
//!
//! | what | of which sessions | at a start |
//! |---|---|---|
//! | leases, suspicions | those at home here; others are their homes' business | one whole lease, in which reports alone count |
//! | terms of pairs | all of them; who leads proposes that a pair is brought together | a first term |

mod leases;
mod pair_terms;
mod suspicion;

use std::collections::BTreeSet;
use std::time::Duration;

pub use pair_terms::{PAIR_TERM_MAX, PAIR_TERM_MIN};

use self::leases::Leases;
use self::pair_terms::PairTerms;
use self::suspicion::Suspicion;
use super::proposals::Proposals;
use crate::directory::{Directory, Pair};
use crate::id::{SessionId, SupernodeId};
use crate::mutant::{self, Mutant};
use crate::time::{Instant, earliest};

pub(super) use self::suspicion::SuspicionOutput;

/// When something that did not become a command, as the log was busy, has lost it, or another supernode led, is named again
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The judgement of one supernode
///
/// It holds sessions and pairs of the directory only, whose bounds are its own.
pub(super) struct Judgement {
    leases: Leases,
    pair_terms: PairTerms,
    suspicion: Suspicion,
}

impl Judgement {
    /// At a start: nobody has a home link yet, `chance` is drawn anew for each pair
    pub(super) fn new(
        now: Instant,
        id: SupernodeId,
        lease: Duration,
        directory: &Directory,
        chance: impl FnMut() -> u8,
    ) -> Self {
        let own = directory.sessions().filter(|session| session.home == id);
        let own: Vec<(SessionId, bool)> = own.map(|session| (session.id, session.suspect.is_some())).collect();
        Self {
            leases: Leases::new(now, lease, own.iter().map(|(session, _)| *session)),
            pair_terms: PairTerms::new(now, directory.pairs(), chance),
            suspicion: Suspicion::new(now, lease, own),
        }
    }

    /// The session lasts one lease from now: an end of it that waits for the log is no longer true
    pub(super) fn renew(&mut self, now: Instant, session: SessionId, proposals: &mut Proposals) {
        self.leases.renew(now, session);
        proposals.withdraw_end(session);
    }

    /// The session is granted, or any frame came on its home link: its peer is here
    pub(super) fn handle_heard(&mut self, now: Instant, session: SessionId) {
        self.suspicion.handle_heard(now, session);
    }

    /// The peer of a session wants to come back: until when it waits, as it was suspected again and again
    pub(super) fn back_at(&mut self, now: Instant, session: SessionId) -> Option<Instant> {
        self.suspicion.back_at(now, session)
    }

    /// The session has lost its home link
    pub(super) fn handle_home_lost(&mut self, now: Instant, session: SessionId) {
        self.suspicion.handle_home_lost(now, session);
    }

    /// A neighbour says that its link to the peer of `session` is down
    pub(super) fn handle_report(&mut self, now: Instant, session: SessionId) {
        self.suspicion.handle_report(now, session);
    }

    /// The session is over, or at home elsewhere
    pub(super) fn end(&mut self, session: SessionId) {
        self.leases.end(session);
        self.suspicion.handle_ended(session);
    }

    /// Whether its peer is a suspect by this judgement; `None` for a session that is not judged here
    pub(super) fn is_suspect(&self, session: SessionId) -> Option<bool> {
        self.suspicion.is_suspect(session)
    }

    /// Whether its peer is lost; not so of a session that is not judged here
    pub(super) fn is_lost(&self, session: SessionId) -> bool {
        self.suspicion.is_lost(session)
    }

    /// The directory has parted `pair`: for how long, half of it by `chance`
    pub(super) fn part(&mut self, now: Instant, pair: Pair, chance: u8) -> Duration {
        self.pair_terms.begin(now, pair, chance)
    }

    /// The directory has brought `pair` together as its time was over: its trial begins
    pub(super) fn reunite(&mut self, now: Instant, pair: Pair) {
        self.pair_terms.end(now, pair);
    }

    /// Forgets pairs that the directory has brought together for another reason than their time
    pub(super) fn forget_pairs(&mut self, directory: &Directory) {
        if self.pair_terms.len() > directory.pairs_len() {
            self.pair_terms.keep(|pair| directory.are_apart(pair));
        }
    }

    /// The directory is another one: judges of its sessions those at home at `id`, and its pairs; those that were not judged
    /// here before
    pub(super) fn take_over(
        &mut self,
        now: Instant,
        id: SupernodeId,
        directory: &Directory,
        chance: impl FnMut() -> u8,
    ) -> Vec<SessionId> {
        let is_own = |session: &SessionId| directory.session(*session).is_some_and(|session| session.home == id);
        let gone: Vec<SessionId> = self.leases.sessions().filter(|session| !is_own(session)).collect();
        gone.into_iter().for_each(|session| self.end(session));
        let known: BTreeSet<SessionId> = self.leases.sessions().collect();
        let new: Vec<SessionId> = directory.at_home(id, None).filter(|session| !known.contains(session)).collect();
        new.iter().for_each(|session| self.leases.renew(now, *session));
        // Those that are apart may have been together meanwhile, and be apart for another reason.
        self.pair_terms = PairTerms::new(now, directory.pairs(), chance);
        new
    }

    /// This process stood still for `by`: every term starts anew, as nothing was read that keeps one
    pub(super) fn handle_held_up(&mut self, now: Instant, by: Duration) {
        let lease = self.leases.term();
        self.leases.handle_held_up(now, by);
        self.pair_terms.handle_held_up(by);
        self.suspicion.handle_held_up(now, by, leases::is_long(lease, by).then(|| now + lease));
    }

    /// Somebody leads after nobody did for `unled`
    ///
    /// Whoever was taken up elsewhere meanwhile is still at home here, until the move is in the log: after a long time each
    /// has a whole lease for that, as after a start.
    pub(super) fn handle_led(&mut self, now: Instant, unled: Duration) {
        if leases::is_long(self.leases.term(), unled) && !mutant::is(Mutant::UnledLeasesEnd) {
            self.leases.handle_held_up(now, unled);
        }
    }

    /// Sessions and pairs whose time is over; each is named again after [`RETRY`] until the directory has followed
    pub(super) fn expire(&mut self, now: Instant) -> (Vec<SessionId>, Vec<Pair>) {
        (self.leases.expire(now), self.pair_terms.expire(now))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.suspicion.handle_timeout(now);
    }

    /// When to call [`Self::handle_timeout`] and [`Self::expire`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let others = earliest(self.pair_terms.next_timeout(), self.suspicion.next_timeout());
        earliest(self.leases.next_timeout(), others)
    }

    /// What the suspicions want
    pub(super) fn poll_output(&mut self) -> Option<SuspicionOutput> {
        self.suspicion.poll_output()
    }
}
