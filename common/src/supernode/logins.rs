//! Logins: a key has one session, and its link decides whether a second login may have it.

use std::time::Duration;

use super::queue::Then;
use super::*;
use crate::directory::{Entry, LogIn, LoggedIn, Refusal as Refused};
use crate::session::admission::{LoginRequest, Refusal};
use crate::wire::grant::Grant;
use crate::wire::link::Probe;

/// How long a second login waits for the first one's link to be found dead: the liveness core's 2 s, and some
const CLAIM_WAIT: Duration = Duration::from_millis(2_500);
/// When to come again while the directory is busy, or after a passing trouble
const RETRY: Duration = Duration::from_secs(1);
/// When to come again while another process holds the session
const HELD_RETRY: Duration = Duration::from_secs(10);

/// A login whose key has a session on a link that may or may not be alive
pub(super) struct Claim {
    pub(super) link: LinkId,
    pub(super) holder: LinkId,
    pub(super) request: LoginRequest,
    pub(super) until: Instant,
    /// Whether anything was heard from the holder since
    pub(super) answered: bool,
}

impl<S: Signer> Supernode<S> {
    /// A key has one session: while the holder's link answers, a second login is refused; a dead link gives way
    pub(super) fn handle_login(&mut self, now: Instant, link: LinkId, request: LoginRequest) {
        let session = self.directory.by_key(&request.key);
        let holder = session.and_then(|session| self.home_of(session.id)).filter(|holder| *holder != link);
        let Some(holder) = holder else { return self.propose_login(now, link, request) };
        tracing::info!(event = "login_waits", name = %request.name, reason = "its key has a session, whose link is probed");
        self.probe(holder);
        self.claims.push(Claim { link, holder, request, until: now + CLAIM_WAIT, answered: false });
    }

    pub(super) fn propose_login(&mut self, now: Instant, link: LinkId, request: LoginRequest) {
        let resumed = request.resume.filter(|session| self.is_resumable(*session, &request.key));
        if let Some(session) = resumed {
            // Its peer is back: an end of it that waits for the disk is no longer true.
            self.queue.withdraw(&Command::Expire { session });
        }
        let command = Command::LogIn(LogIn {
            name: request.name,
            key: request.key,
            session: resumed.unwrap_or_else(|| SessionId(self.random())),
            salt: self.random(),
            locations: request.locations,
        });
        if let Some(outcome) = self.answer(&command) {
            return self.after_login(now, link, outcome);
        }
        if self.queue.propose(command, Then::Admit(link)).is_err() {
            let refusal = Refusal::new(Status::SlowDown, "too many logins at once, try again", RETRY);
            self.refuse(now, link, refusal);
        }
    }

    fn refuse(&mut self, now: Instant, link: LinkId, refusal: Refusal) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        tracing::info!(event = "login_refused", key = %connection.key, status = %refusal.status, reason = %refusal.reason);
        connection.admission.handle_refused(now, refusal);
        self.drain(now, link);
    }

    pub(super) fn refuse_late_claims(&mut self, now: Instant) {
        for claim in self.claims.extract_if(.., |claim| claim.until <= now).collect::<Vec<_>>() {
            if claim.answered {
                let reason = "another process with this key is logged in: stop it, or start with a home of your own";
                self.refuse(now, claim.link, Refusal::new(Status::Conflict, reason, HELD_RETRY));
                continue;
            }
            tracing::info!(event = "home_lost", name = %claim.request.name, reason = "silent while its key logs in again");
            let (link, status) = (claim.holder, Status::NotLoggedIn);
            let reason = Reason::truncated("silent while its key logged in again");
            self.outputs.push_back(Output::Close { link, status, reason });
            self.propose_login(now, claim.link, claim.request);
        }
    }

    /// The login on `link` came to this
    pub(super) fn after_login(&mut self, now: Instant, link: LinkId, outcome: Outcome) {
        match outcome {
            Outcome::LoggedIn(logged_in) => self.grant(now, link, &logged_in),
            Outcome::Refused(reason) => self.refuse(now, link, refusal(&reason)),
            other => {
                let reason = format!("unexpected outcome of a login: {other:?}");
                self.refuse(now, link, Refusal::new(Status::Failed, &reason, RETRY));
            }
        }
    }

    fn grant(&mut self, now: Instant, link: LinkId, logged_in: &LoggedIn) {
        let LoggedIn { session, record, entry, .. } = logged_in;
        let held = self.home_of(*session).filter(|home| *home != link);
        if held.is_some_and(|home| self.connections.contains_key(&home)) {
            let reason = "another process with this key has just logged in: stop it, or start with a home of your own";
            return self.refuse(now, link, Refusal::new(Status::Conflict, reason, RETRY));
        }
        let Some(connection) = self.connections.get_mut(&link) else {
            // It ended while the disk wrote: the peer is in the ring, and nobody would notice its absence.
            self.suspicion.handle_heard(*session);
            return self.suspicion.handle_home_lost(now, *session);
        };
        let Some(rewire) = self.directory.neighbourhood(record.address) else {
            let again = Refusal::new(Status::Unavailable, "suspected a moment ago, try again", RETRY);
            return self.refuse(now, link, again);
        };
        let grant = Grant {
            network: self.config.network,
            name: record.name.clone(),
            key: record.key,
            address: record.address,
            session: *session,
            epoch: record.epoch,
        };
        connection.admission.handle_granted(&grant, rewire, &self.signer);
        connection.home_of = Some(*session);
        self.homes.insert(*session, link);
        self.renew_lease(now, *session);
        self.suspicion.handle_heard(*session);
        if *entry == Entry::Resumed {
            tracing::info!(event = "resumed", name = %record.name, address = %record.address);
        }
        self.drain(now, link);
    }

    /// Asks whoever is at the other end of `link`; any frame is an answer
    pub(super) fn probe(&mut self, link: LinkId) {
        self.send(link, Frame::Probe(Probe { sequence: 0 }));
    }

    /// Whether this is a session of `key`, and will still be when a login that is proposed now is applied: a new session
    /// must not have the id of an old one
    ///
    /// An end of its lease that only waits does not count, as it can be taken back.
    fn is_resumable(&self, session: SessionId, key: &Key) -> bool {
        let Some(present) = self.directory.session(session).filter(|present| present.key == *key) else { return false };
        let ends = |command: &Command| match command {
            Command::Release { name } => *name == present.name,
            Command::LogOut { session: left } => *left == session,
            Command::LogIn(login) => login.key == *key && login.session != session,
            _ => false,
        };
        !self.queue.is_writing(&Command::Expire { session }) && !self.queue.commands().any(ends)
    }
}

fn refusal(reason: &Refused) -> Refusal {
    let retry_after = match reason.status() {
        Status::SlowDown | Status::Unavailable => RETRY,
        _ => Duration::ZERO,
    };
    Refusal::new(reason.status(), &reason.to_string(), retry_after)
}
