//! A supernode's half of a session, one for each connection: show who it is, check who comes, propose the login, serve the
//! session.

mod bounds;
mod config;
mod output;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::bounds::{
    ANSWER_MARGIN, LIST_INTERVAL, LISTS_BURST, LOGIN_INTERVAL_MIN, LOGIN_WAIT, LOGINS_MAX, PROPOSAL_WAIT,
    RELAY_INTERVAL, RELAYS_BURST, REPORT_INTERVAL, REPORTS_BURST, REQUEST_INTERVAL, REQUESTS_BURST,
};
pub use self::config::AdmissionConfig;
pub use self::output::{AdmissionOutput, Entitlement, LoginRequest, Refusal};
use super::{CHALLENGE_WAIT, locations_of, millis};
use crate::crypto::{Handshake, Signer, Verifier};
use crate::id::{Epoch, Key, SessionId};
use crate::mutant::{self, Mutant};
use crate::rate::Bucket;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::grant::{Grant, SignedGrant};
use crate::wire::removed::AskRemoved;
use crate::wire::session::{
    Challenge, Found, Granted, Hello, List, Listing, LoggedOut, Login, Logout, LookUp, Purpose, Reason, Refused, Renew,
    Renewed, Report, Rewire, Role,
};
use crate::wire::{Bye, Frame, FrameKind, PacketBytes, VERSION};

#[derive(Debug)]
enum State {
    /// The hellos have to be exchanged
    Fresh,
    /// The login has to come
    Challenged { peer: Peer, until: Instant },
    /// The directory has to decide
    Proposed { peer: Peer, until: Instant },
    /// Until the link or the session ends
    LoggedIn { session: SessionId },
    /// The logout has to become durable
    LoggingOut { session: SessionId },
    /// The connection is over; if a login was `proposed`, its grant may still come and find nobody
    Closed { proposed: bool },
}

impl State {
    const fn text(&self) -> &'static str {
        match self {
            Self::Fresh => "before the hello",
            Self::Challenged { .. } => "waiting for the login",
            Self::Proposed { .. } => "logging in",
            Self::LoggedIn { .. } => "logged in",
            Self::LoggingOut { .. } => "logging out",
            Self::Closed { .. } => "closed",
        }
    }
}

/// The peer at the other end, and what both sides sign
#[derive(Clone, Debug)]
struct Peer {
    handshake: Handshake,
    boot: u64,
}

/// One connection's way through login, session and logout
#[derive(Debug)]
pub struct Admission {
    config: Arc<AdmissionConfig>,
    observed: Option<IpAddr>,
    state: State,
    logins: u32,
    login_rate: Bucket,
    /// Shared by look-ups and renewals: a peer that floods with one kind starves only its own other kind
    request_rate: Bucket,
    list_rate: Bucket,
    report_rate: Bucket,
    relay_rate: Bucket,
    violations: u64,
    dropped: u64,
    outputs: VecDeque<AdmissionOutput>,
}

impl Admission {
    /// Where the connection comes from, if the transport knows an IP
    pub(crate) const fn observed(&self) -> Option<IpAddr> {
        self.observed
    }

    /// For a connection from `observed`, if the transport knows an IP
    pub fn new(config: Arc<AdmissionConfig>, observed: Option<IpAddr>) -> Self {
        Self {
            config,
            observed,
            state: State::Fresh,
            logins: 0,
            login_rate: Bucket::new(1, LOGIN_INTERVAL_MIN),
            request_rate: Bucket::new(REQUESTS_BURST, REQUEST_INTERVAL),
            list_rate: Bucket::new(LISTS_BURST, LIST_INTERVAL),
            report_rate: Bucket::new(REPORTS_BURST, REPORT_INTERVAL),
            relay_rate: Bucket::new(RELAYS_BURST, RELAY_INTERVAL),
            violations: 0,
            dropped: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do; drain until `None` after every input
    pub fn poll_output(&mut self) -> Option<AdmissionOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`]
    pub const fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Challenged { until, .. } | State::Proposed { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Whether a login was proposed, and nobody has said what became of it
    pub(crate) const fn awaits(&self) -> bool {
        matches!(self.state, State::Proposed { .. })
    }

    /// The session, while it is logged in
    pub const fn session(&self) -> Option<SessionId> {
        if let State::LoggedIn { session } = self.state { Some(session) } else { None }
    }

    /// Frames that came in a wrong state
    pub const fn violations(&self) -> u64 {
        self.violations
    }

    /// Requests that were dropped or refused for their rate
    #[cfg(test)]
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Hellos are exchanged, and the transport proved `peer`; answered by the challenge, which says whether somebody leads
    pub fn handle_opened(
        &mut self,
        now: Instant,
        peer: Key,
        own_nonce: [u8; 32],
        hello: &Hello,
        signer: &impl Signer,
        is_led: bool,
    ) {
        match self.state {
            State::Fresh => {}
            State::Closed { .. } => return,
            _ => return self.violate(FrameKind::Hello),
        }
        if hello.role != Role::Peer || hello.purpose != Purpose::Home {
            return self.close(Status::Malformed, "a supernode's home links are for peers");
        }
        let network = self.config.network;
        if let Some(other) = hello.network.filter(|other| *other != network) {
            let reason = format!("this is network {network}, and you are of network {other}");
            return self.close(Status::NotAllowed, &reason);
        }
        let handshake = Handshake {
            peer_nonce: hello.nonce,
            supernode_nonce: own_nonce,
            peer,
            supernode: signer.key(),
            network,
            version: VERSION,
        };
        let challenge = Challenge {
            certificate: self.config.certificate.clone(),
            signature: signer.sign(&handshake.challenge_bytes()),
            secret_required: self.config.secret.is_some(),
            is_led,
        };
        self.send(Frame::Challenge(challenge));
        let peer = Peer { handshake, boot: hello.boot };
        self.state = State::Challenged { peer, until: now + CHALLENGE_WAIT };
    }

    /// A frame from the peer
    pub fn handle_frame(&mut self, now: Instant, frame: Frame, verifier: &impl Verifier) {
        if matches!(self.state, State::Closed { .. }) {
            return;
        }
        let kind = frame.kind();
        match frame {
            Frame::Login(login) => self.handle_login(now, &login, verifier),
            Frame::Renew(renew) => self.handle_renew(now, renew),
            Frame::Logout(logout) => self.handle_logout(logout),
            Frame::LookUp(look_up) => self.handle_look_up(now, look_up),
            Frame::List(list) => self.handle_list(now, list),
            Frame::AskRemoved(question) => self.handle_ask_removed(now, question),
            Frame::Report(report) => self.handle_report(now, report),
            Frame::Relay(packet) => self.handle_relay(now, packet),
            Frame::Bye(bye) => self.handle_bye(&bye),
            Frame::Probe(_) | Frame::ProbeReply(_) => {}
            _ => self.violate(kind),
        }
    }

    /// The proposed login is durable, and this is what it came to
    pub fn handle_granted(&mut self, grant: &Grant, rewire: Rewire, signer: &impl Signer) {
        let session = grant.session;
        match &self.state {
            State::Proposed { .. } => {}
            // The peer went away meanwhile: its session is there, and nobody holds it.
            State::Closed { proposed: true } => {
                self.state = State::Closed { proposed: false };
                return self.lost(session, "the connection closed before the grant");
            }
            _ => return tracing::warn!(reason = self.state.text(), "grant without a login, ignored"),
        }
        let lease_ms = millis(self.config.lease);
        let Ok(signed) = SignedGrant::sign(grant, signer, self.config.certificate.clone()) else {
            self.lost(session, "the grant cannot be written");
            return self.close(Status::Failed, "the grant cannot be written");
        };
        tracing::info!(
            name = %grant.name, address = %grant.address, epoch = %grant.epoch, reason = "login is durable",
            "peer logged in"
        );
        self.state = State::LoggedIn { session };
        self.send(Frame::Granted(Granted { grant: signed, lease_ms, rewire: Box::new(rewire) }));
    }

    /// The login cannot be (409, 429, 503 …); before the login it is refused early
    ///
    /// The connection stays for another login, until [`CHALLENGE_WAIT`] or [`LOGINS_MAX`] end it.
    pub fn handle_refused(&mut self, now: Instant, refusal: Refusal) {
        match &self.state {
            State::Challenged { peer, .. } | State::Proposed { peer, .. } => {
                let peer = peer.clone();
                self.refuse(&refusal);
                self.state = State::Challenged { peer, until: now + CHALLENGE_WAIT };
            }
            State::Fresh => {
                self.refuse(&refusal);
                self.close(refusal.status, &refusal.reason);
            }
            State::Closed { .. } => self.state = State::Closed { proposed: false },
            State::LoggedIn { .. } | State::LoggingOut { .. } => {
                tracing::warn!(reason = self.state.text(), "refusal without a login, ignored");
            }
        }
    }

    /// The lease begins anew; `epoch` is of the last rewire that concerned the peer, and `is_cut_off` tells it that other
    /// supernodes may be well without this one
    pub fn handle_renewed(&mut self, epoch: Epoch, is_cut_off: bool) {
        if let State::LoggedIn { session } = self.state {
            self.send(Frame::Renewed(Renewed { session, epoch, is_cut_off }));
        }
    }

    /// The peer's neighbourhood has changed
    pub(crate) fn handle_rewire(&mut self, rewire: Rewire) {
        if matches!(self.state, State::LoggedIn { .. }) {
            self.send(Frame::Rewire(rewire));
        }
    }

    /// The session is over for a reason of the directory's: expired, released, replaced by a newer link
    pub(crate) fn handle_ended(&mut self, refusal: &Refusal) {
        if matches!(self.state, State::LoggedIn { .. } | State::LoggingOut { .. }) {
            self.refuse(refusal);
            self.close(refusal.status, &refusal.reason);
        }
    }

    /// The logout is durable
    pub fn handle_logged_out(&mut self) {
        if let State::LoggingOut { session } = self.state {
            self.send(Frame::LoggedOut(LoggedOut { session }));
            self.close(Status::Delivered, "logged out");
        }
    }

    /// The connection is gone
    pub fn handle_closed(&mut self, reason: &str) {
        match self.state {
            State::LoggedIn { session } if !mutant::is(Mutant::HomeLossIgnored) => self.lost(session, reason),
            State::Closed { .. } => return,
            _ => {}
        }
        self.state = State::Closed { proposed: matches!(self.state, State::Proposed { .. }) };
    }

    /// This process stood still: what was to come by now may be waiting here, and has its whole time anew
    pub(crate) fn handle_held_up(&mut self, now: Instant) {
        match &mut self.state {
            State::Challenged { until, .. } => *until = now + CHALLENGE_WAIT,
            State::Proposed { until, .. } => *until = now + PROPOSAL_WAIT,
            _ => {}
        }
    }

    /// Ends what took too long; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        match self.state {
            State::Challenged { .. } => self.close(Status::TimedOut, "no login within 5 s"),
            State::Proposed { .. } => self.close(Status::Unavailable, "the login could not be decided within 30 s"),
            _ => {}
        }
    }

    fn handle_login(&mut self, now: Instant, login: &Login, verifier: &impl Verifier) {
        let State::Challenged { peer, .. } = &self.state else {
            return self.violate(FrameKind::Login);
        };
        let peer = peer.clone();
        self.logins += 1;
        if self.logins > LOGINS_MAX {
            self.dropped += 1;
            return self.close(Status::SlowDown, "too many logins on one connection");
        }
        if let Err(wait) = self.login_rate.take(now) {
            self.dropped += 1;
            return self.refuse(&Refusal::new(Status::SlowDown, "logins follow each other too fast", wait));
        }
        if let Err(refusal) = self.check_login(&peer.handshake, login, verifier) {
            self.refuse(&refusal);
            return self.close(refusal.status, &refusal.reason);
        }
        self.outputs.push_back(AdmissionOutput::Propose(LoginRequest {
            name: login.name.clone(),
            key: peer.handshake.peer,
            boot: peer.boot,
            locations: locations_of(&login.external, &login.listening, self.observed),
            from: self.observed,
            until: now + LOGIN_WAIT,
            resume: login.resume.filter(|_| !mutant::is(Mutant::ResumeForgotten)),
            entitlement: Entitlement::of(&self.config, &peer.handshake, login),
        }));
        self.state = State::Proposed { peer, until: now + PROPOSAL_WAIT };
    }

    fn check_login(&self, handshake: &Handshake, login: &Login, verifier: &impl Verifier) -> Result<(), Refusal> {
        let refused = |reason| Err(Refusal::new(Status::NotAllowed, reason, Duration::ZERO));
        if let Some(secret) = &self.config.secret {
            let Some(proof) = &login.secret_proof else {
                return refused("the network's secret is missing");
            };
            if !handshake.verify_secret_proof(secret.as_bytes(), proof) {
                return refused("the network's secret is wrong");
            }
        }
        if !verifier.verify(&handshake.peer, &handshake.login_bytes(&login.name), &login.signature) {
            return refused("the signature under the login is wrong");
        }
        Ok(())
    }

    fn handle_renew(&mut self, now: Instant, renew: Renew) {
        match self.state {
            State::LoggedIn { session } if session == renew.session => {}
            State::LoggedIn { .. } => return self.refuse_session(FrameKind::Renew),
            State::LoggingOut { .. } => return,
            _ => return self.violate(FrameKind::Renew),
        }
        if self.request_rate.take(now).is_err() {
            self.dropped += 1;
            return;
        }
        self.outputs.push_back(AdmissionOutput::Renew { session: renew.session, epoch: renew.epoch });
    }

    fn handle_logout(&mut self, logout: Logout) {
        match self.state {
            State::LoggedIn { session } if session == logout.session => {
                self.state = State::LoggingOut { session };
                self.outputs.push_back(AdmissionOutput::LogOut { session });
            }
            State::LoggedIn { .. } => self.refuse_session(FrameKind::Logout),
            _ => self.violate(FrameKind::Logout),
        }
    }

    /// Whether a frame of this kind counts: of whoever is logged in; who is logging out is heard no more, and of anybody else
    /// it ends the connection
    fn is_heard(&mut self, kind: FrameKind) -> bool {
        match self.state {
            State::LoggedIn { .. } => return true,
            State::LoggingOut { .. } => {}
            _ => self.violate(kind),
        }
        false
    }

    fn handle_look_up(&mut self, now: Instant, look_up: LookUp) {
        if !self.is_heard(FrameKind::LookUp) {
            return;
        }
        if self.request_rate.take(now).is_ok() {
            return self.outputs.push_back(AdmissionOutput::LookUp(look_up));
        }
        self.dropped += 1;
        self.send(Frame::Found(Found::refused(look_up.query, Status::SlowDown)));
    }

    fn handle_list(&mut self, now: Instant, list: List) {
        if !self.is_heard(FrameKind::List) {
            return;
        }
        if self.list_rate.take(now).is_ok() {
            return self.outputs.push_back(AdmissionOutput::List(list));
        }
        self.dropped += 1;
        self.send(Frame::Listing(Listing::refused(list.query, Status::SlowDown)));
    }

    fn handle_ask_removed(&mut self, now: Instant, question: AskRemoved) {
        if !self.is_heard(FrameKind::AskRemoved) {
            return;
        }
        match self.request_rate.take(now) {
            Ok(()) => self.outputs.push_back(AdmissionOutput::AskRemoved(question)),
            Err(_) => self.dropped += 1,
        }
    }

    fn handle_report(&mut self, now: Instant, report: Report) {
        if !self.is_heard(FrameKind::Report) {
            return;
        }
        match self.report_rate.take(now) {
            Ok(()) => self.outputs.push_back(AdmissionOutput::Report(report)),
            Err(_) => self.dropped += 1,
        }
    }

    fn handle_relay(&mut self, now: Instant, packet: PacketBytes) {
        if !self.is_heard(FrameKind::Relay) {
            return;
        }
        if self.relay_rate.take(now).is_ok() {
            return self.outputs.push_back(AdmissionOutput::Relay(packet));
        }
        self.dropped += 1;
        self.outputs.push_back(AdmissionOutput::RelayRefused(packet));
    }

    fn handle_bye(&mut self, bye: &Bye) {
        let reason = format!("the peer said good-bye: {} ({})", &*bye.reason, bye.status);
        if let State::LoggedIn { session } = self.state {
            self.lost(session, &reason);
        }
        self.close(bye.status, "good-bye");
    }

    /// A renewal or logout of a session that is not this connection's
    fn refuse_session(&mut self, kind: FrameKind) {
        self.refuse(&Refusal::new(Status::NotLoggedIn, "that is not the session of this connection", Duration::ZERO));
        self.violate(kind);
    }

    fn violate(&mut self, kind: FrameKind) {
        self.violations += 1;
        let reason = format!("unexpected {kind:?} while {}", self.state.text());
        if let State::LoggedIn { session } = self.state {
            self.lost(session, &reason);
        }
        self.close(Status::Malformed, &reason);
    }

    fn lost(&mut self, session: SessionId, reason: &str) {
        self.outputs.push_back(AdmissionOutput::Lost { session, reason: Reason::truncated(reason) });
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.send(Frame::Refused(Refused {
            status: refusal.status,
            reason: refusal.reason.clone(),
            retry_after_ms: millis(refusal.retry_after),
        }));
    }

    fn close(&mut self, status: Status, reason: &str) {
        let (violations, dropped) = (self.violations, self.dropped);
        tracing::debug!(status = status.code(), reason, violations, dropped, "connection closed");
        let proposed = matches!(self.state, State::Proposed { .. });
        self.outputs.push_back(AdmissionOutput::Close { status, reason: Reason::truncated(reason) });
        self.state = State::Closed { proposed };
    }

    fn send(&mut self, frame: Frame) {
        self.outputs.push_back(AdmissionOutput::Send(frame));
    }
}
