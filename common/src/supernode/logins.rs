//! Logins: a key has one session, and its link decides whether a second login may have it.
//!
//! Whoever goes on with a session that lasts is no newcomer: it is counted nowhere, and while nobody leads it is granted
//! what the directory says, without a command; its home is moved here once somebody leads ([`Moves`]).
//!
//! Whoever would wait for the log longer than its peer waits for the answer is put off before it has cost anything but its
//! handshake ([`PuttingOff`]); so is who has waited for too long all the same, as the log has become slower.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use super::backbone::Backbone;
use super::budgets::{Budgets, UsedUp, Wanted};
use super::claims::{Claim, Claims, Holder, Return};
use super::judgement::Judgement;
use super::links::Links;
use super::members::Members;
use super::moves::Moves;
use super::proposals::{LoginQueue, Proposals};
use super::putting_off::PuttingOff;
use super::queue::Lane;
use crate::crypto::Signer;
use crate::directory::{
    Command, Directory, Entry, Invite, LogIn, LoggedIn, Outcome, Refusal as DirectoryRefusal, Right,
};
use crate::id::{Key, SessionId, SupernodeId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::session::admission::{AdmissionConfig, Entitlement, LoginRequest, Refusal};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::backbone::{Claim as Question, Claimed};
use crate::wire::grant::Grant;
use crate::wire::session::InviteProof;

/// When to come again while the directory is busy, or after a passing trouble
const RETRY: Duration = Duration::from_secs(1);
/// When to come again while another process holds the session, and answers
const HELD_RETRY: Duration = Duration::from_secs(10);

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
    pub(super) putting_off: &'a mut PuttingOff,
    pub(super) claims: &'a mut Claims,
    pub(super) moves: &'a mut Moves,
    pub(super) members: &'a Members,
    pub(super) backbone: &'a mut Backbone,
    /// Whether somebody leads the log
    pub(super) is_led: bool,
    /// How many of the links that it may have this supernode has, in thousandths
    pub(super) load: u16,
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
        let session = self.directory.by_key(&request.key);
        let is_own = session.is_some_and(|session| request.resume == Some(session.id));
        if (!is_own || mutant::is(Mutant::ResumptionIsCounted))
            && let Err(UsedUp { reason, wait }) = self.budgets.take_login(now, request.from)
        {
            return self.refuse(now, link, Refusal::new(Status::SlowDown, reason, wait));
        }
        let Some(session) = session.filter(|_| !is_own || mutant::is(Mutant::OwnLinkKeepsOut)) else {
            return self.let_back(now, link, request);
        };
        let (name, reason) = (&request.name, "its key has a session, whose link is probed");
        if let Some(holder) = self.links.home_of(session.id) {
            if holder == link {
                return self.let_back(now, link, request);
            }
            tracing::info!(event = "login_waits", %name, reason);
            self.links.probe(holder);
            return self.claims.wait_for(now, link, holder, request);
        }
        let elsewhere = Some(session.home).filter(|home| *home != self.credentials.id);
        match elsewhere.and_then(|home| self.backbone.link_to(home)) {
            Some(through) if !mutant::is(Mutant::ClaimNotAsked) => {
                tracing::info!(event = "login_waits", %name, home = session.home.0, reason);
                let question = self.claims.ask(now, link, through, session.id, request);
                self.backbone.send(through, Frame::Claim(question));
            }
            // Its home is this one and has no link, or cannot be asked.
            _ => self.let_back(now, link, request),
        }
    }

    /// Somebody leads whom this supernode does not hear: whoever logs in is better off elsewhere
    pub(super) fn send_on(&mut self, now: Instant, link: LinkId, request: &LoginRequest) {
        let reason = "this supernode does not hear who leads: go on to the next";
        tracing::info!(event = "login_sent_on", name = %request.name, reason);
        self.refuse(now, link, Refusal::new(Status::Unavailable, reason, RETRY));
    }

    /// Another supernode asks whether the peer of a session answers, as its key logs in there
    pub(super) fn handle_claim(&mut self, now: Instant, through: LinkId, Question { number, session }: Question) {
        let word = match self.links.home_of(session) {
            Some(holder) => {
                self.links.probe(holder);
                self.claims.owe(now, through, number, holder)
            }
            None => Some(Claimed { number, is_alive: false }),
        };
        self.tell_claimed(word.map(|word| (through, word)));
    }

    /// The word of another home for which a login waits
    pub(super) fn handle_claimed(&mut self, now: Instant, through: LinkId, told: &Claimed) {
        if let Some(claim) = self.claims.take_told(through, told) {
            self.decide(now, claim);
        }
    }

    /// A probe was answered on `link`
    pub(super) fn handle_answered(&mut self, now: Instant, link: LinkId) {
        self.moves.handle_answered(now, link);
        let words = self.claims.handle_answered(link);
        self.tell_claimed(words);
    }

    fn tell_claimed(&mut self, words: impl IntoIterator<Item = (LinkId, Claimed)>) {
        for (through, word) in words {
            self.backbone.send(through, Frame::Claimed(word));
        }
    }

    /// What became of a wait: an answering holder keeps its session, a silent one loses it
    fn decide(&mut self, now: Instant, Claim { link, holder, request, is_answered, .. }: Claim) {
        if is_answered {
            let reason = "another process with this key is logged in: stop it, or start with a home of your own";
            return self.refuse(now, link, Refusal::new(Status::Conflict, reason, HELD_RETRY));
        }
        tracing::info!(event = "home_lost", name = %request.name, reason = "silent while its key logs in again");
        if let Holder::Here(holder) = holder {
            self.links.end(holder, Status::NotLoggedIn, "silent while its key logged in again");
        }
        self.let_back(now, link, request);
    }

    /// A peer that was suspected again and again waits before it is in the ring again
    fn let_back(&mut self, now: Instant, link: LinkId, request: LoginRequest) {
        let session = self.directory.by_key(&request.key).map(|session| session.id);
        let Some(at) = session.and_then(|session| self.judgement.back_at(now, session)) else {
            return self.propose(now, link, request);
        };
        let (name, wait) = (&request.name, at - now);
        tracing::info!(event = "login_waits", %name, ?wait, reason = "it was suspected again and again");
        self.claims.wait_until(at, link, request);
    }

    fn propose(&mut self, now: Instant, link: LinkId, request: LoginRequest) {
        let resumed = request.resume.filter(|session| self.is_resumable(*session, &request.key));
        if let Some(session) = resumed {
            // Its peer is back: an end of it that waits for the log is no longer true.
            self.proposals.withdraw_end(session);
        }
        let right = match self.right_of(&request) {
            Ok(right) => right,
            Err(reason) => return self.refuse(now, link, refusal(&reason)),
        };
        let login = LogIn {
            name: request.name,
            key: request.key,
            session: resumed.unwrap_or_else(|| SessionId(self.random())),
            resumes: resumed.and_then(|session| self.directory.session(session)).map(|session| session.home),
            offers: request.resume.filter(|_| resumed.is_none()),
            salt: self.random(),
            locations: request.locations,
            home: self.credentials.id,
            right,
        };
        if resumed.is_some() && !self.is_led && self.members.are_several() {
            return self.take_up(now, link, login);
        }
        self.propose_login(now, link, request.until, login, request.from);
    }

    fn propose_login(&mut self, now: Instant, link: LinkId, until: Instant, login: LogIn, from: Option<IpAddr>) {
        let wanted = self.wanted(&login, from);
        let lane = if self.comes_back(&login.key) { Lane::Back } else { Lane::New };
        let command = Command::LogIn(login);
        // Among several, another may have heard of something that makes a refusal untrue.
        let is_sure = |outcome: &Outcome| !self.members.are_several() || matches!(outcome, Outcome::LoggedIn(_));
        if let Some(outcome) = self.proposals.answer(self.directory, &command).filter(is_sure) {
            return self.conclude(now, link, outcome);
        }
        let excess = (now + self.proposals.wait(now, lane)).since(until);
        if excess > Duration::ZERO && !mutant::is(Mutant::EstimateIgnored) {
            return self.put_off(now, link, Status::SlowDown, excess, "more logins at once than there is time for");
        }
        if let Err(UsedUp { reason, wait }) = self.budgets.take(now, &wanted) {
            return self.refuse(now, link, Refusal::new(Status::SlowDown, reason, wait));
        }
        if self.proposals.push_login(command, lane, link, until).is_err() {
            self.put_off(now, link, Status::SlowDown, Duration::ZERO, "more logins wait than may");
        }
    }

    /// What a login asks for that nobody has yet
    fn wanted(&self, login: &LogIn, from: Option<IpAddr>) -> Wanted {
        Wanted {
            place: self.directory.by_key(&login.key).is_none().then_some(login.key),
            name: self.directory.account(&login.name).is_none(),
            from,
            invite: if let Right::Invite(id) = login.right { Some(id) } else { None },
        }
    }

    /// The login on `link` is to come again, when there is likely room
    fn put_off(&mut self, now: Instant, link: LinkId, status: Status, room: Duration, reason: &'static str) {
        let wait = self.putting_off.draw(now, room, self.proposals.cost(now), self.rng);
        if let Some(count) = self.putting_off.told.count(now) {
            let queue = self.proposals.show(now, self.putting_off.count);
            let LoginQueue { waiting, commands_per_second, wait: queue, .. } = queue;
            let (queue_ms, wait_ms) = (queue.as_millis() as u64, wait.as_millis() as u64);
            tracing::warn!(event = "logins_put_off", count, waiting, commands_per_second, queue_ms, wait_ms, reason);
        }
        self.refuse(now, link, Refusal::new(status, &format!("{reason}: come again later"), wait));
    }

    /// Puts off the logins that have waited for so long that their answers would come too late
    pub(super) fn put_off_late(&mut self, now: Instant) {
        while let Some(link) = self.proposals.take_late(now) {
            let reason = "the log has not come to this login in time";
            self.put_off(now, link, Status::Unavailable, Duration::ZERO, reason);
        }
    }

    /// Nobody leads: the session goes on here as the directory has it, and its home is to follow
    fn take_up(&mut self, now: Instant, link: LinkId, login: LogIn) {
        let Some(session) = self.directory.session(login.session) else {
            return self.handle_lost(now, link, None);
        };
        let logged_in =
            LoggedIn { session: session.id, record: session.record(), entry: Entry::Resumed, replaced: None };
        let home = session.home.0;
        tracing::info!(event = "taken_up", name = %login.name, home, reason = "nobody leads the log: as the directory says");
        // It may have moved since it was proposed.
        let (id, login) = (session.id, LogIn { resumes: Some(session.home), ..login });
        let answer = self.directory.answer(&Command::LogIn(login.clone()));
        let is_settled = matches!(answer, Some(Outcome::LoggedIn(_)));
        self.grant(now, link, &logged_in);
        if self.links.home_of(id) == Some(link) && !is_settled {
            self.moves.push(now, link, login);
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
        self.proposals.withdraw_login(link);
        let (free, words) = self.claims.handle_closed(link);
        self.tell_claimed(words);
        for claim in free {
            self.let_back(now, claim.link, claim.request);
        }
    }

    /// Ends the waits whose time is over
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for claim in self.claims.take_late(now) {
            self.decide(now, claim);
        }
        let words = self.claims.take_silent(now);
        self.tell_claimed(words);
        for Return { link, request, .. } in self.claims.take_back(now) {
            self.propose(now, link, request);
        }
        for link in self.moves.take_silent(now) {
            self.links.end(link, Status::NotLoggedIn, "silent, and its session has moved away");
        }
        self.moves.propose(now, self.is_led, self.links, self.proposals);
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

    /// The log has applied the login on `link`, which came to this
    pub(super) fn settle(&mut self, now: Instant, link: LinkId, until: Instant, login: &LogIn, outcome: Outcome) {
        match (&outcome, login.resumes) {
            // Its session has ended while the log was at it: it has another one.
            (Outcome::Refused(DirectoryRefusal::NoSession), Some(_)) => {
                let login = LogIn { session: SessionId(self.random()), resumes: None, ..login.clone() };
                self.propose_login(now, link, until, login, None);
            }
            (Outcome::Refused(DirectoryRefusal::OtherHome), Some(_)) if self.links.contains(link) => {
                let home = self.directory.session(login.session).map(|session| session.home);
                self.propose_login(now, link, until, LogIn { resumes: home, ..login.clone() }, None);
            }
            _ => self.conclude(now, link, outcome),
        }
    }

    /// The log has applied the move of a session that was taken up here, which came to this; why its peer is to log in
    /// again, if it is
    pub(super) fn settle_move(&mut self, now: Instant, session: SessionId, outcome: &Outcome) -> Option<&'static str> {
        let wanted = self.moves.take(session);
        match outcome {
            Outcome::LoggedIn(_) if self.links.home_of(session).is_some() => self.judgement.handle_heard(now, session),
            Outcome::LoggedIn(_) => self.leave_unclaimed(now, session),
            Outcome::Refused(DirectoryRefusal::OtherHome) => {
                let home = self.directory.session(session).map(|session| session.home);
                let link = self.links.home_of(session);
                if let (Some(login), Some(link)) = (wanted, link) {
                    self.moves.push(now, link, LogIn { resumes: home, ..login });
                }
            }
            _ => return Some("the session was over before it could be taken up: log in again"),
        }
        None
    }

    /// The log has lost the login on `link`: whoever goes on with a session that lasts may do so all the same
    pub(super) fn handle_lost(&mut self, now: Instant, link: LinkId, login: Option<LogIn>) {
        if let Some(login) = &login {
            let wanted = self.wanted(login, self.links.remote_ip(link));
            self.budgets.give_back(&wanted);
        }
        let resumes = |login: &LogIn| login.resumes.is_some() && self.is_resumable(login.session, &login.key);
        if let Some(login) = login.filter(|login| self.members.are_several() && resumes(login)) {
            return self.take_up(now, link, login);
        }
        let reason = "the supernodes could not agree on the login in time, and may have it all the same; try again";
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
        if let Some(supernodes) = self.members.frame(self.backbone, self.credentials.id, self.load) {
            self.links.send(link, supernodes);
        }
        if self.is_at_home(*session) {
            self.judgement.renew(now, *session, self.proposals);
            self.judgement.handle_heard(now, *session);
        }
        if *entry == Entry::Resumed {
            tracing::info!(event = "resumed", name = %record.name, address = %record.address);
        }
    }

    fn is_at_home(&self, session: SessionId) -> bool {
        self.directory.session(session).is_some_and(|session| session.home == self.credentials.id)
    }

    /// The peer of a session whose home this is went away before it was granted: it is in the ring, and without a
    /// suspicion nobody would notice its absence
    pub(super) fn leave_unclaimed(&mut self, now: Instant, session: SessionId) {
        if !self.is_at_home(session) {
            return;
        }
        self.judgement.handle_heard(now, session);
        self.judgement.handle_home_lost(now, session);
    }

    /// Whether the key has a session that lasts: its process has only lost its link, or has started anew
    fn comes_back(&self, key: &Key) -> bool {
        self.directory.by_key(key).is_some_and(|session| self.is_resumable(session.id, key))
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
        !self.proposals.is_end_under_way(session) && !self.proposals.commands().any(ends)
    }
}

fn refusal(reason: &DirectoryRefusal) -> Refusal {
    let retry_after = match reason.status() {
        Status::SlowDown | Status::Unavailable => RETRY,
        _ => Duration::ZERO,
    };
    Refusal::new(reason.status(), &reason.to_string(), retry_after)
}
