//! A peer's half of a session: find a supernode, know it, log in, stay, leave.

mod lease;
mod output;
mod proof;
mod row;
mod scout;
mod search;
mod state;

use std::collections::VecDeque;
use std::time::Duration;

use self::lease::Lease;
pub use self::output::{Home, MembershipOutput, Standing};
use self::proof::Greeting;
use self::row::Row;
use self::scout::Scouting;
use self::search::Target;
use self::state::{Again, Setback, State};
use super::retry::{Backoff, RETRIES_AT_FIRST};
use super::{ANSWER_WAIT, CHALLENGE_WAIT, LOGOUT_WAIT, Secret};
use crate::crypto::Signer;
use crate::id::{Key, Name, NetworkId, SessionId};
use crate::invite::Token;
use crate::link::reason::{DialError, DialStage};
use crate::mutant::{self, Mutant};
use crate::rate::Retries;
use crate::status::Status;
use crate::time::{Instant, earliest};
use crate::wire::grant::Grant;
use crate::wire::session::{
    Challenge, Granted, Hello, Listening, Locations, LoggedOut, Logout, Purpose, Reason, Refused, Renewed, Rewire,
    Role, SupernodeRecord, Supernodes,
};
use crate::wire::{Bye, Frame, FrameKind};

/// Outputs that one input makes at most
pub const OUTPUTS_PER_INPUT_MAX: usize = 5;

/// What a peer is told before it starts
#[derive(Clone, Debug)]
pub struct MembershipConfig {
    pub name: Name,
    /// Addresses to dial; those beyond [`SUPERNODES_MAX`](crate::wire::session::SUPERNODES_MAX) are left out
    pub supernodes: Vec<String>,
    /// What the last home told, from the disk: as many at most
    pub learned: Vec<SupernodeRecord>,
    /// The only network that is accepted; none: that of the first login
    pub network: Option<NetworkId>,
    /// Proved to a network that asks for it, and never shown
    pub secret: Option<Secret>,
    /// Proved at every login, and never shown: whoever owns the name already needs none
    pub invite: Option<Token>,
    /// Where others can dial this peer; empty: the supernode infers it from `listening` and from what it sees
    pub external: Locations,
    /// Where it listens, as far as that is known yet
    pub listening: Listening,
}

/// A peer's session, over all its links
#[derive(Debug)]
pub struct Membership {
    config: MembershipConfig,
    /// The only network that is accepted, once one is known
    network: Option<NetworkId>,
    backoff: Backoff,
    retries: Retries,
    row: Row,
    state: State,
    scouting: Scouting,
    /// How many dials there have been: each has the number of its own
    dials: u64,
    /// The dial of the present state: whatever names another one is over, but for a scout's
    dial: u64,
    /// Dials since the last login, scouts aside
    tries: u64,
    /// Whom [`Self::dial`] was for; none before the first
    target: Option<Target>,
    /// Where the last session was, until there is one again
    home_before: Option<String>,
    setback: Setback,
    /// The last session, offered at every login until it is over: the directory knows whether its lease lasts
    resume: Option<SessionId>,
    violations: u64,
    outputs: VecDeque<MembershipOutput>,
}

impl Membership {
    /// A peer that begins to search at `now`; `seed` decides its jitter and its first supernode
    pub fn new(mut config: MembershipConfig, seed: u64, now: Instant) -> Self {
        let row = Row::new(std::mem::take(&mut config.supernodes), std::mem::take(&mut config.learned));
        let mut session = Self {
            network: config.network,
            config,
            backoff: Backoff::new(seed, now),
            retries: Retries::new(RETRIES_AT_FIRST),
            row,
            state: State::LoggedOut,
            scouting: Scouting::default(),
            dials: 0,
            dial: 0,
            tries: 0,
            target: None,
            home_before: None,
            setback: Setback::new(Status::NotLoggedIn, "not started"),
            resume: None,
            violations: 0,
            outputs: VecDeque::new(),
        };
        session.begin(now);
        session
    }

    /// The next thing to do; drain until `None` after every input
    pub fn poll_output(&mut self) -> Option<MembershipOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        earliest(self.state.next_timeout(), self.scouting.next_timeout())
    }

    /// While logged in: the dial that made the link on which look-ups, reports and relayed packets go
    pub const fn home(&self) -> Option<u64> {
        if matches!(self.state, State::LoggedIn(_)) { Some(self.dial) } else { None }
    }

    /// The network, from the config or from the first login
    pub const fn network(&self) -> Option<NetworkId> {
        self.network
    }

    /// Frames that came in a wrong state
    pub const fn violations(&self) -> u64 {
        self.violations
    }

    /// The peer listens there from now on; the next login tells it
    pub fn set_listening(&mut self, listening: Listening) {
        self.config.listening = listening;
    }

    /// The name to be known by
    pub const fn name(&self) -> &Name {
        &self.config.name
    }

    /// This peer has had a session before it started, and offers it at its next login
    pub fn resume(&mut self, session: SessionId) {
        self.resume.get_or_insert(session);
    }

    /// Somebody wants to be logged in; nothing changes if that is so or under way
    pub fn handle_login(&mut self, now: Instant) {
        match &mut self.state {
            State::LoggedOut => self.begin(now),
            State::LoggingOut { login_again, .. } => *login_again = true,
            // Somebody who says so now knows better than the backoff.
            State::Searching { next_try: Some(at) } => *at = now,
            _ => {}
        }
    }

    /// Somebody wants to be logged out; [`MembershipOutput::LoggedOut`] follows within [`LOGOUT_WAIT`]
    pub fn handle_logout(&mut self, now: Instant) {
        if self.scouting.has_asked() {
            // The session may be moving by now: whoever grants it is the one that can end it.
            self.close(Status::Gone, "logged out");
            self.adopt_scout();
        }
        self.end_scouting(Status::Gone, "logged out");
        let until = now + LOGOUT_WAIT;
        match &mut self.state {
            State::LoggedOut => {}
            State::LoggingOut { login_again, .. } => *login_again = false,
            State::Searching { .. } => {
                let lingers = "logged out; no supernode was reachable, so an earlier session ends with its lease";
                self.finish_logout(now, if self.resume.is_some() { lingers } else { "logged out" });
            }
            State::Dialling { .. } | State::Greeted { .. } => {
                self.close(Status::Gone, "logged out");
                self.finish_logout(now, "logged out before the login was sent");
            }
            // The login may be in the log already: its session is known, and can be ended, once the grant is here.
            State::Asked { network, .. } => {
                self.state = State::LoggingOut { network: *network, session: None, until, login_again: false };
            }
            State::LoggedIn(Lease { network, session, .. }) => {
                let (network, session) = (*network, *session);
                self.state = State::LoggingOut { network, session: Some(session), until, login_again: false };
                self.send(Frame::Logout(Logout { session }));
            }
        }
    }

    /// The dial made a link: hellos are exchanged, and the transport proved `key`
    pub fn handle_opened(&mut self, now: Instant, dial: u64, key: Key, own_nonce: [u8; 32], hello: &Hello) {
        if self.scouting.is_out(dial) {
            return self.handle_scout_opened(now, key, own_nonce, hello);
        }
        let current = dial == self.dial && self.state.has_link();
        if !current {
            let reason = Reason::truncated("given up meanwhile");
            self.outputs.push_back(MembershipOutput::Close { dial, status: Status::TimedOut, reason });
            return;
        }
        if !matches!(self.state, State::Dialling { .. }) {
            return;
        }
        self.on_dial_opened(now);
        if hello.role != Role::Supernode || hello.purpose != Purpose::Home {
            let setback = Setback::new(Status::Malformed, format!("{} is not a supernode", self.supernode()));
            return self.refuse(now, setback, Again::Soon);
        }
        let greeting =
            Greeting { supernode: key, network: hello.network, supernode_nonce: hello.nonce, peer_nonce: own_nonce };
        self.state = State::Greeted { greeting, until: now + CHALLENGE_WAIT };
    }

    /// The dial made no link
    pub fn handle_dial_failed(&mut self, now: Instant, dial: u64, error: &DialError) {
        let status = match error {
            // No supernode has computed anything for it, so that who is cut off may ask as often as who is refused.
            DialError::TimedOut { stage: DialStage::Connecting, .. } => Status::Unavailable,
            _ => error.status(),
        };
        self.handle_closed(now, dial, status, &error.to_string());
    }

    /// The link that `dial` made is gone; `status` is 503 unless the other side's good-bye said more
    pub fn handle_closed(&mut self, now: Instant, dial: u64, status: Status, reason: &str) {
        if self.scouting.is_out(dial) {
            return self.handle_scout_failed(now, reason);
        }
        if dial != self.dial {
            return;
        }
        match &self.state {
            State::LoggedOut | State::Searching { .. } => {}
            State::LoggingOut { .. } => self.finish_logout(now, "logged out; the link closed before it was confirmed"),
            State::LoggedIn(_) => {
                let setback = Setback::new(status, format!("the link to {} was lost: {reason}", self.supernode()));
                self.lose_link(now, setback, Again::Quickly);
            }
            State::Dialling { .. } | State::Greeted { .. } | State::Asked { .. } => {
                let (verdict, status, again) = match status {
                    // People are told the same of all who cannot be reached.
                    Status::TimedOut => ("cannot be reached", Status::Unavailable, Again::Patiently),
                    Status::Unavailable => ("cannot be reached", status, Again::Soon),
                    Status::VersionNotSupported | Status::NotAllowed => ("refuses", status, Again::Elsewhere),
                    _ => ("refuses", status, Again::Soon),
                };
                let setback = Setback::new(status, format!("{} {verdict}: {reason}", self.supernode()));
                self.search(now, setback, again);
            }
        }
    }

    /// A frame on the link that `dial` made
    pub fn handle_frame(&mut self, now: Instant, dial: u64, frame: Frame, signer: &impl Signer) {
        if self.scouting.is_out(dial) {
            return self.handle_scouts_frame(now, frame, signer);
        }
        if dial != self.dial || !self.state.has_link() {
            return;
        }
        let kind = frame.kind();
        match frame {
            Frame::Challenge(challenge) => self.handle_challenge(now, &challenge, signer),
            Frame::Granted(granted) => self.handle_granted(now, granted, signer),
            Frame::Refused(refused) => self.handle_refused(now, refused),
            Frame::Renewed(renewed) => self.handle_renewed(now, renewed),
            Frame::Rewire(rewire) => self.handle_rewire(now, rewire),
            Frame::LoggedOut(logged_out) => self.handle_logged_out(now, logged_out),
            Frame::Bye(bye) => self.handle_bye(now, bye),
            Frame::Found(found) => self.tell(now, kind, MembershipOutput::Found(found)),
            Frame::Listing(listing) => self.tell(now, kind, MembershipOutput::Listing(listing)),
            Frame::Removed(removed) => self.tell(now, kind, MembershipOutput::Removed(removed)),
            Frame::Supernodes(list) => self.handle_supernodes(now, list),
            Frame::Probe(_) | Frame::ProbeReply(_) => {}
            _ => self.violate(now, kind),
        }
    }

    /// This process stood still: whoever has to answer has the whole time anew, as the answer may be waiting here
    pub(crate) fn handle_held_up(&mut self, now: Instant) {
        self.state.handle_held_up(now);
        self.handle_scout_held_up(now);
    }

    /// Carries out what is due; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        self.handle_scout_timeout(now);
        if self.state.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        match &self.state {
            State::LoggedOut => {}
            State::Searching { .. } => self.dial_next(now),
            State::Dialling { .. } => self.give_up(now, "does not answer the dial"),
            State::Greeted { .. } => self.give_up(now, "sent no challenge within 5 s"),
            State::Asked { .. } => self.give_up(now, "did not answer the login within 10 s"),
            State::LoggedIn(_) => self.handle_renewal_timeout(now),
            State::LoggingOut { .. } => {
                self.close(Status::Gone, "logged out");
                self.finish_logout(now, "logged out; the supernode did not confirm it within 2 s");
            }
        }
    }

    fn handle_challenge(&mut self, now: Instant, challenge: &Challenge, signer: &impl Signer) {
        let State::Greeted { greeting, .. } = &self.state else {
            return self.violate(now, FrameKind::Challenge);
        };
        let handshake = match proof::check_challenge(greeting, self.network, challenge, signer) {
            Ok((handshake, id)) => {
                self.identify(id);
                handshake
            }
            Err(setback) => return self.refuse(now, setback, Again::Soon),
        };
        let secret_proof = match proof::prove_secret(&handshake, self.config.secret.as_ref(), challenge.secret_required)
        {
            Ok(proof) => proof,
            Err(setback) => return self.refuse(now, setback, Again::Slowly),
        };
        self.state = State::Asked { network: handshake.network, until: now + ANSWER_WAIT };
        let login = proof::login(&self.config, &handshake, secret_proof, self.resume, signer);
        self.send(Frame::Login(login));
    }

    fn handle_granted(&mut self, now: Instant, granted: Granted, signer: &impl Signer) {
        let network = match &self.state {
            State::Asked { network, .. } | State::LoggingOut { network, session: None, .. } => *network,
            _ => return self.violate(now, FrameKind::Granted),
        };
        let grant = match proof::check_grant(&self.config.name, &network, &granted.grant, signer) {
            Ok(grant) => grant,
            Err(setback) => return self.refuse(now, setback, Again::Soon),
        };
        if let State::LoggingOut { session, .. } = &mut self.state {
            *session = Some(grant.session);
            return self.send(Frame::Logout(Logout { session: grant.session }));
        }
        self.enter(now, network, grant, granted);
    }

    fn enter(&mut self, now: Instant, network: NetworkId, grant: Grant, granted: Granted) {
        if self.network.is_none() {
            tracing::info!(%network, reason = "first login", "network pinned");
            self.network = Some(network);
            self.outputs.push_back(MembershipOutput::PinNetwork(network));
        }
        tracing::info!(
            name = %grant.name, address = %grant.address, epoch = %grant.epoch, supernode = self.supernode(),
            reason = if self.resume == Some(grant.session) { "session resumed" } else { "session granted" },
            "logged in"
        );
        self.on_home_chosen();
        self.scouting.begin_anew();
        let before = self.resume.filter(|_| mutant::is(Mutant::RenewsOldSession));
        let session = before.unwrap_or(grant.session);
        let length = Duration::from_millis(granted.lease_ms.into());
        let lease = Lease::new(now, network, session, granted.rewire.epoch, length, &mut self.backoff);
        let length = lease.length();
        self.state = State::LoggedIn(lease);
        self.resume = Some(grant.session);
        self.tries = 0;
        self.retries.earn();
        self.outputs.push_back(MembershipOutput::LoggedIn {
            grant,
            signed: granted.grant,
            rewire: *granted.rewire,
            lease: length,
        });
    }

    fn handle_refused(&mut self, now: Instant, refused: Refused) {
        let retry_after = Duration::from_millis(refused.retry_after_ms.into());
        let setback = Setback { status: refused.status, reason: refused.reason };
        self.handle_no(now, setback, retry_after);
    }

    fn handle_bye(&mut self, now: Instant, bye: Bye) {
        self.handle_no(now, Setback { status: bye.status, reason: bye.reason }, Duration::ZERO);
    }

    /// The supernode wants no more of this link
    fn handle_no(&mut self, now: Instant, setback: Setback, retry_after: Duration) {
        let resumed = self.resume.take_if(|_| matches!(setback.status, Status::NotLoggedIn | Status::Gone)).is_some();
        let again = Again::after_no(setback.status, retry_after, resumed);
        match self.state {
            State::LoggedIn(_) => self.lose(now, setback, again),
            _ => self.refuse(now, setback, again),
        }
    }

    fn handle_renewed(&mut self, now: Instant, renewed: Renewed) {
        let State::LoggedIn(lease) = &mut self.state else {
            return self.ignore_while_logging_out(now, FrameKind::Renewed);
        };
        let Some(took) = lease.handle_renewed(now, &renewed, &mut self.backoff) else {
            return self.violate(now, FrameKind::Renewed);
        };
        if renewed.epoch > lease.epoch {
            tracing::debug!(epoch = %renewed.epoch, reason = "a rewire is on its way or was lost", "table is old");
        }
        if let Some(target) = &self.target {
            self.row.on_measured(target.place, took);
        }
        if renewed.is_cut_off {
            self.begin_scouting(now);
        } else {
            self.handle_home_well();
        }
    }

    /// All supernodes of the network, from one of them
    fn handle_supernodes(&mut self, now: Instant, list: Supernodes) {
        if !matches!(self.state, State::LoggedIn(_)) {
            return self.ignore_while_logging_out(now, FrameKind::Supernodes);
        }
        let is_new = self.row.learn(&list);
        if let Some(target) = &mut self.target {
            target.place = self.row.present(target.place);
        }
        if is_new {
            self.outputs.push_back(MembershipOutput::Supernodes(list));
        }
    }

    fn handle_rewire(&mut self, now: Instant, rewire: Rewire) {
        let State::LoggedIn(lease) = &mut self.state else {
            return self.ignore_while_logging_out(now, FrameKind::Rewire);
        };
        // An older table may come after a newer one when the session was taken up again on another link; another
        // incarnation of the log begins with a login, so a table of one here is of a supernode that lags behind.
        if rewire.epoch > lease.epoch || mutant::is(Mutant::EpochUnchecked) {
            lease.epoch = rewire.epoch;
            self.outputs.push_back(MembershipOutput::Rewired(rewire));
        }
    }

    fn handle_logged_out(&mut self, now: Instant, logged_out: LoggedOut) {
        match &self.state {
            State::LoggingOut { session, .. } if *session == Some(logged_out.session) => {
                self.close(Status::Delivered, "logged out");
                self.finish_logout(now, "logged out");
            }
            _ => self.violate(now, FrameKind::LoggedOut),
        }
    }

    /// Passes on what a session was asked for
    fn tell(&mut self, now: Instant, kind: FrameKind, answer: MembershipOutput) {
        match self.state {
            State::LoggedIn(_) => self.outputs.push_back(answer),
            _ => self.ignore_while_logging_out(now, kind),
        }
    }

    /// A frame that the supernode may have sent before it read the logout is no violation
    fn ignore_while_logging_out(&mut self, now: Instant, kind: FrameKind) {
        if !matches!(self.state, State::LoggingOut { .. }) {
            self.violate(now, kind);
        }
    }

    fn handle_renewal_timeout(&mut self, now: Instant) {
        let State::LoggedIn(lease) = &mut self.state else { return };
        let seconds = lease.patience().as_secs_f32();
        match lease.handle_timeout(now) {
            Some(renew) => self.send(Frame::Renew(renew)),
            None => {
                let reason = format!("{} did not answer a renewal for {seconds:.1} s", self.supernode());
                self.lose(now, Setback::new(Status::Unavailable, reason), Again::Quickly);
            }
        }
    }

    fn send(&mut self, frame: Frame) {
        self.outputs.push_back(MembershipOutput::Send { dial: self.dial, frame });
    }

    fn close(&mut self, status: Status, reason: &str) {
        let reason = Reason::truncated(reason);
        self.outputs.push_back(MembershipOutput::Close { dial: self.dial, status, reason });
    }
}
