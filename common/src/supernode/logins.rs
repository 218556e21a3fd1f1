//! Logins: a key has one session, and its link decides whether a second login may have it.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use super::budgets::{Budgets, UsedUp, Wanted};
use super::judgement::Judgement;
use super::links::Links;
use super::proposals::{Proposals, Then};
use crate::crypto::Signer;
use crate::directory::{
    Command, Directory, Entry, Invite, LogIn, LoggedIn, Outcome, Refusal as DirectoryRefusal, Right,
};
use crate::id::{Key, SessionId, SupernodeId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::session::admission::{AdmissionConfig, Entitlement, LoginRequest, Refusal};
use crate::status::Status;
use crate::time::{Instant, earliest};
use crate::wire::grant::Grant;
use crate::wire::session::InviteProof;

/// How long a second login waits for a sign of life on the first one's link: as long as a neighbour may be silent, and some
const CLAIM_WAIT: Duration = Duration::from_millis(2_500);
/// When to come again while the directory is busy, or after a passing trouble
const RETRY: Duration = Duration::from_secs(1);
/// When to come again while another process holds the session, and answers
const HELD_RETRY: Duration = Duration::from_secs(10);

/// A login whose key has a session on a link that may or may not be alive
struct Claim {
    link: LinkId,
    holder: LinkId,
    request: LoginRequest,
    until: Instant,
    /// Whether the holder has answered a probe since
    answered: bool,
}

/// A login of a peer that was suspected again and again, and comes back a while later each time
struct Return {
    link: LinkId,
    request: LoginRequest,
    at: Instant,
}

/// The logins that wait, for another link to be found dead or for their time: one a link at most
#[derive(Default)]
pub(super) struct Claims {
    claims: Vec<Claim>,
    returns: Vec<Return>,
}

impl Claims {
    /// A probe was answered on `link`; whatever else comes may have been under way since before its process ended
    pub(super) fn handle_answered(&mut self, link: LinkId) {
        for claim in self.claims.iter_mut().filter(|claim| claim.holder == link) {
            claim.answered = true;
        }
    }

    /// This process stood still: the holders' answers may be waiting here
    pub(super) fn handle_held_up(&mut self, now: Instant) {
        self.claims.iter_mut().for_each(|claim| claim.until = now + CLAIM_WAIT);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let claims = self.claims.iter().map(|claim| claim.until);
        claims.chain(self.returns.iter().map(|wait| wait.at)).map(Some).fold(None, earliest)
    }
}

/// Who this supernode is to those that log in
pub(super) struct Credentials<S> {
    pub(super) id: SupernodeId,
    /// The network, the right to sign grants, the secret, the lease
    pub(super) admission: Arc<AdmissionConfig>,
    pub(super) signer: S,
}

/// What logging in may touch
pub(super) struct Logins<'a, S> {
    pub(super) credentials: &'a Credentials<S>,
    pub(super) directory: &'a Directory,
    pub(super) links: &'a mut Links,
    pub(super) judgement: &'a mut Judgement,
    pub(super) proposals: &'a mut Proposals,
    pub(super) claims: &'a mut Claims,
    /// How much keys, networks and invites have asked for lately
    pub(super) budgets: &'a mut Budgets,
    /// Makes session ids and salts
    pub(super) rng: &'a mut ChaCha20Rng,
}

impl<S: Signer> Logins<'_, S> {
    /// A key has one session: while the holder's link answers, a second login is refused; a dead link gives way
    ///
    /// Whoever offers the very session that the holder has is the process that was granted it, and has given that link up:
    /// it does not wait for a silence that it knows of.
    pub(super) fn begin(&mut self, now: Instant, link: LinkId, request: LoginRequest) {
        if let Err(UsedUp { reason, wait }) = self.budgets.take_login(now, request.from) {
            return self.refuse(now, link, Refusal::new(Status::SlowDown, reason, wait));
        }
        let session = self.directory.by_key(&request.key).map(|session| session.id);
        let is_own = session.is_some() && request.resume == session && !mutant::is(Mutant::OwnLinkKeepsOut);
        let holder = session.and_then(|session| self.links.home_of(session)).filter(|holder| *holder != link);
        let Some(holder) = holder.filter(|_| !is_own) else { return self.let_back(now, link, request) };
        tracing::info!(event = "login_waits", name = %request.name, reason = "its key has a session, whose link is probed");
        self.links.probe(holder);
        self.claims.claims.push(Claim { link, holder, request, until: now + CLAIM_WAIT, answered: false });
    }

    /// A peer that was suspected again and again waits before it is in the ring again
    fn let_back(&mut self, now: Instant, link: LinkId, request: LoginRequest) {
        let session = self.directory.by_key(&request.key).map(|session| session.id);
        let Some(at) = session.and_then(|session| self.judgement.back_at(now, session)) else {
            return self.propose(now, link, request);
        };
        let (name, wait) = (&request.name, at - now);
        tracing::info!(event = "login_waits", %name, ?wait, reason = "it was suspected again and again");
        self.claims.returns.push(Return { link, request, at });
    }

    fn propose(&mut self, now: Instant, link: LinkId, request: LoginRequest) {
        let resumed = request.resume.filter(|session| self.is_resumable(*session, &request.key));
        if let Some(session) = resumed {
            // Its peer is back: an end of it that waits for the log is no longer true.
            self.proposals.withdraw(&Command::Expire { session });
        }
        let right = match self.right_of(&request) {
            Ok(right) => right,
            Err(reason) => return self.refuse(now, link, refusal(&reason)),
        };
        let wanted = Wanted {
            place: self.directory.by_key(&request.key).is_none().then_some(request.key),
            name: self.directory.account(&request.name).is_none(),
            from: request.from,
            invite: if let Right::Invite(id) = right { Some(id) } else { None },
        };
        let command = Command::LogIn(LogIn {
            name: request.name,
            key: request.key,
            session: resumed.unwrap_or_else(|| SessionId(self.random())),
            salt: self.random(),
            locations: request.locations,
            home: self.credentials.id,
            right,
        });
        if let Some(outcome) = self.proposals.answer(self.directory, &command) {
            return self.conclude(now, link, outcome);
        }
        if let Err(UsedUp { reason, wait }) = self.budgets.take(now, wanted) {
            return self.refuse(now, link, Refusal::new(Status::SlowDown, reason, wait));
        }
        if self.proposals.push_bounded(command, Then::Admit(link)).is_err() {
            self.refuse(now, link, Refusal::new(Status::SlowDown, "too many logins at once, try again", RETRY));
        }
    }

    /// By what right the peer may have a name that nobody has
    fn right_of(&self, request: &LoginRequest) -> Result<Right, DirectoryRefusal> {
        let Entitlement::Invited { proof: InviteProof { id, proof }, handshake } = &request.entitlement else {
            return Ok(if request.entitlement == Entitlement::Anybody { Right::Anybody } else { Right::Owner });
        };
        let is_proved = |invite: &Invite| handshake.verify_invite_proof(&invite.token.0, proof);
        if self.directory.invite(id).is_some_and(is_proved) {
            return Ok(Right::Invite(*id));
        }
        // Whoever owns the name may have come by an invite that is forgotten here.
        let account = self.directory.account(&request.name);
        let is_owner = account.is_some_and(|account| account.key == request.key);
        if is_owner { Ok(Right::Owner) } else { Err(DirectoryRefusal::InviteUnknown) }
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn refuse(&mut self, now: Instant, link: LinkId, refusal: Refusal) {
        self.links.tell(link, |admission| admission.handle_refused(now, refusal));
        self.links.tell_refused(now);
    }

    /// `link` has closed: who waited for that may log in, and nobody logs in on it
    pub(super) fn handle_closed(&mut self, now: Instant, link: LinkId) {
        for claim in self.claims.claims.extract_if(.., |claim| claim.holder == link).collect::<Vec<_>>() {
            self.let_back(now, claim.link, claim.request);
        }
        self.claims.claims.retain(|claim| claim.link != link);
        self.claims.returns.retain(|wait| wait.link != link);
    }

    /// Ends the waits for other links whose time is over: an answering holder keeps its session, a silent one loses it
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for claim in self.claims.claims.extract_if(.., |claim| claim.until <= now).collect::<Vec<_>>() {
            if claim.answered {
                let reason = "another process with this key is logged in: stop it, or start with a home of your own";
                self.refuse(now, claim.link, Refusal::new(Status::Conflict, reason, HELD_RETRY));
                continue;
            }
            tracing::info!(event = "home_lost", name = %claim.request.name, reason = "silent while its key logs in again");
            self.links.end(claim.holder, Status::NotLoggedIn, "silent while its key logged in again");
            self.let_back(now, claim.link, claim.request);
        }
        for Return { link, request, .. } in
            self.claims.returns.extract_if(.., |wait| wait.at <= now).collect::<Vec<_>>()
        {
            self.propose(now, link, request);
        }
    }

    /// The login on `link` came to this
    pub(super) fn conclude(&mut self, now: Instant, link: LinkId, outcome: Outcome) {
        match outcome {
            Outcome::LoggedIn(logged_in) => self.grant(now, link, &logged_in),
            Outcome::Refused(reason) => self.refuse(now, link, refusal(&reason)),
            other => {
                let reason = format!("unexpected outcome of a login: {other:?}");
                self.refuse(now, link, Refusal::new(Status::Failed, &reason, RETRY));
            }
        }
    }

    /// The log has lost the login on `link`
    pub(super) fn handle_lost(&mut self, now: Instant, link: LinkId) {
        let reason = "the supernodes could not agree on the login in time, try again";
        self.refuse(now, link, Refusal::new(Status::Unavailable, reason, RETRY));
    }

    fn grant(&mut self, now: Instant, link: LinkId, logged_in: &LoggedIn) {
        let LoggedIn { session, record, entry, .. } = logged_in;
        let held = self.links.home_of(*session).filter(|home| *home != link && self.links.contains(*home));
        if let Some(newer) = held.filter(|home| *home > link || mutant::is(Mutant::OwnLinkKeepsOut)) {
            tracing::info!(event = "login_overtaken", name = %record.name, by = newer.0, reason = "its peer has a newer link");
            let reason = "another login with this key has come later";
            return self.refuse(now, link, Refusal::new(Status::Conflict, reason, RETRY));
        }
        if !self.links.contains(link) {
            return self.leave_unclaimed(now, *session);
        }
        let Some(rewire) = self.directory.neighbourhood(record.address) else {
            let again = Refusal::new(Status::Unavailable, "suspected a moment ago, try again", RETRY);
            return self.refuse(now, link, again);
        };
        let Credentials { admission: rules, signer, .. } = self.credentials;
        let grant = Grant {
            network: rules.network,
            name: record.name.clone(),
            key: record.key,
            address: record.address,
            session: *session,
            epoch: record.epoch,
        };
        if let Some(older) = held {
            let reason = "its peer goes on with the session over a newer link";
            tracing::info!(event = "home_taken_over", name = %record.name, link = link.0, older = older.0, reason);
            let refusal = Refusal::new(Status::NotLoggedIn, reason, Duration::ZERO);
            self.links.tell(older, |admission| admission.handle_ended(&refusal));
        }
        self.links.tell(link, |admission| admission.handle_granted(&grant, rewire, signer));
        self.links.settle_at(link, *session);
        self.judgement.renew(now, *session, self.proposals);
        self.judgement.handle_heard(now, *session);
        if *entry == Entry::Resumed {
            tracing::info!(event = "resumed", name = %record.name, address = %record.address);
        }
    }

    /// The peer of a session whose home this is went away before it was granted: it is in the ring, and without a
    /// suspicion nobody would notice its absence
    pub(super) fn leave_unclaimed(&mut self, now: Instant, session: SessionId) {
        self.judgement.handle_heard(now, session);
        self.judgement.handle_home_lost(now, session);
    }

    /// Whether this is a session of `key`, and will still be when a login that is proposed now is applied: a new session
    /// must not have the id of an old one
    ///
    /// An end of its lease that only waits does not count, as it can be taken back.
    fn is_resumable(&self, session: SessionId, key: &Key) -> bool {
        let Some(present) = self.directory.session(session).filter(|present| present.key == *key) else { return false };
        let ends = |command: &Command| match command {
            Command::Release { name } | Command::Remove { name } => *name == present.name,
            Command::LogOut { session: left } => *left == session,
            Command::LogIn(login) => login.key == *key && login.session != session,
            _ => false,
        };
        !self.proposals.is_under_way(&Command::Expire { session }) && !self.proposals.commands().any(ends)
    }
}

fn refusal(reason: &DirectoryRefusal) -> Refusal {
    let retry_after = match reason.status() {
        Status::SlowDown | Status::Unavailable => RETRY,
        _ => Duration::ZERO,
    };
    Refusal::new(reason.status(), &reason.to_string(), retry_after)
}
