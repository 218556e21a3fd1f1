//! The peer's half: find a supernode, know it, log in, stay, leave.

use std::collections::VecDeque;
use std::time::Duration;

use super::retry::Backoff;
use super::{
    ANSWER_WAIT, CHALLENGE_WAIT, DIAL_WAIT, LEASE_MAX, LEASE_MIN, LOGOUT_WAIT, PAUSE_MIN, RENEWALS_PER_LEASE, Secret,
};
use crate::crypto::{self, Handshake, Signer};
use crate::id::{Epoch, Key, Name, NetworkId, SessionId};
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::grant::{Grant, GrantError, SignedGrant};
use crate::wire::session::{
    Challenge, Found, Granted, Hello, Locations, LoggedOut, Login, Logout, Purpose, Reason, Refused, Renew, Renewed,
    Rewire, Role,
};
use crate::wire::{Bye, Frame, FrameKind, VERSION};

/// Supernodes that a peer tries in turn; more are left out
pub const SUPERNODES_MAX: usize = 16;
/// Outputs that one input makes at most
pub const OUTPUTS_PER_INPUT_MAX: usize = 4;

/// What a peer is told before it starts
#[derive(Clone, Debug)]
pub struct MembershipConfig {
    /// The name to be known by
    pub name: Name,
    /// Where supernodes can be dialled, tried in turn from a random one on
    pub supernodes: Vec<String>,
    /// The network that it must be; none: that of the first login
    pub network: Option<NetworkId>,
    /// What the network may want proved
    pub secret: Option<Secret>,
    /// Configured external locations
    pub external: Locations,
    /// The listening TCP port
    pub listen_port: u16,
}

/// What the shell is to do, and what it is told
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipOutput {
    /// Dial this supernode; answered by `handle_opened` or `handle_dial_failed` with the same attempt
    Dial {
        /// Names the dial, and the link that it makes
        attempt: u64,
        /// One of the configured ones
        supernode: String,
    },
    /// Send on the link of this attempt
    Send {
        /// Whose link
        attempt: u64,
        /// What
        frame: Frame,
    },
    /// Say good-bye on the link of this attempt and close it; give a dial up that has not ended
    Close {
        /// Whose link
        attempt: u64,
        /// The reason as a code
        status: Status,
        /// The reason in words
        reason: Reason,
    },
    /// Keep this network's id: from now on no other is accepted
    PinNetwork(NetworkId),
    /// The supernode's word is there, and checked
    LoggedIn {
        /// What it says
        grant: Grant,
        /// To be shown to neighbours
        signed: SignedGrant,
        /// The neighbourhood to begin with
        rewire: Rewire,
        /// How long the session lasts without a renewal
        lease: Duration,
    },
    /// The neighbourhood has changed
    Rewired(Rewire),
    /// The answer to a look-up
    Found(Found),
    /// The session's link is gone or of no use; the search has begun
    Lost {
        /// Why
        reason: Reason,
    },
    /// A supernode refused, or was refused; the search goes on
    Refused {
        /// As a code
        status: Status,
        /// In words
        reason: Reason,
        /// From now until the next try
        retry: Duration,
    },
    /// The end that `handle_logout` asked for
    LoggedOut {
        /// How it ended
        reason: Reason,
    },
}

/// Where the session stands, for people
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not logged in, and not trying
    LoggedOut {
        /// How it ended
        reason: Reason,
    },
    /// Between two tries
    Searching {
        /// What the last try came to, as a code; 503 before the first
        status: Status,
        /// The same in words
        reason: Reason,
        /// Tries since the last login
        attempt: u64,
        /// When the next one begins; none if there is nobody to try
        next_try: Option<Instant>,
    },
    /// In the middle of a try
    Joining {
        /// With whom
        supernode: String,
        /// What the last try came to, as a code
        status: Status,
        /// The same in words
        reason: Reason,
        /// Tries since the last login, with this one
        attempt: u64,
    },
    /// Logged in
    LoggedIn {
        /// With whom
        supernode: String,
        /// This stay
        session: SessionId,
        /// Of the newest table
        epoch: Epoch,
        /// Since when
        since: Instant,
        /// How long it lasts without a renewal
        lease: Duration,
    },
    /// The logout is under way
    LoggingOut {
        /// With whom
        supernode: String,
    },
}

#[derive(Debug)]
enum State {
    /// Nobody wants to be logged in
    LoggedOut,
    /// Between two tries
    Searching { next_try: Option<Instant> },
    /// No link yet
    Dialling { until: Instant },
    /// The hellos are exchanged, the challenge has to come
    Greeted { greeting: Greeting, until: Instant },
    /// The supernode is known, and the login sent
    Asked { network: NetworkId, until: Instant },
    /// Until the link or the session ends
    LoggedIn(Home),
    /// The logout is sent; without a session it still waits for the grant, to know what to end
    LoggingOut { network: NetworkId, session: Option<SessionId>, until: Instant, login_again: bool },
}

impl State {
    const fn text(&self) -> &'static str {
        match self {
            Self::LoggedOut => "logged out",
            Self::Searching { .. } => "searching",
            Self::Dialling { .. } => "dialling",
            Self::Greeted { .. } => "waiting for the challenge",
            Self::Asked { .. } => "waiting for the grant",
            Self::LoggedIn(_) => "logged in",
            Self::LoggingOut { .. } => "logging out",
        }
    }
}

/// What the hellos said
#[derive(Clone, Debug)]
struct Greeting {
    supernode: Key,
    network: Option<NetworkId>,
    supernode_nonce: [u8; 32],
    peer_nonce: [u8; 32],
}

/// A session, and the link to the supernode that keeps it
#[derive(Clone, Debug)]
struct Home {
    network: NetworkId,
    session: SessionId,
    /// Of the newest table
    epoch: Epoch,
    lease: Duration,
    since: Instant,
    renewal: Renewal,
}

#[derive(Clone, Copy, Debug)]
enum Renewal {
    /// To be sent then
    Due(Instant),
    /// Sent; the link is given up at `until`, or asked once more if the process itself stood still
    Unanswered { sent: Instant, until: Instant, repeated: bool },
}

impl Home {
    const fn next_timeout(&self) -> Instant {
        match self.renewal {
            Renewal::Due(at) | Renewal::Unanswered { until: at, .. } => at,
        }
    }
}

/// Why a try failed
#[derive(Clone, Debug)]
struct Setback {
    status: Status,
    reason: Reason,
}

impl Setback {
    fn new(status: Status, reason: impl AsRef<str>) -> Self {
        Self { status, reason: Reason::truncated(reason.as_ref()) }
    }
}

/// When to try again after a setback
#[derive(Clone, Copy, Debug)]
enum Again {
    /// At once, unless that was so a moment ago
    Quickly,
    /// With growing waits: another supernode, or another moment, may do
    Soon,
    /// Any supernode would say the same
    Slowly,
    /// When the supernode said
    After(Duration),
}

/// A peer's session, over all its links
#[derive(Debug)]
pub struct Membership {
    config: MembershipConfig,
    /// The only one that is accepted, once it is known
    network: Option<NetworkId>,
    backoff: Backoff,
    state: State,
    /// Of the last dial: whatever names another is over
    attempt: u64,
    /// Since the last login
    tries: u64,
    /// Which supernode was dialled last
    turn: usize,
    setback: Setback,
    /// The last session, offered at every login until it is over: the directory knows whether its lease lasts
    resume: Option<SessionId>,
    violations: u64,
    outputs: VecDeque<MembershipOutput>,
}

impl Membership {
    /// A peer that begins to search at `now`; `seed` decides its jitter and its first supernode
    pub fn new(mut config: MembershipConfig, seed: u64, now: Instant) -> Self {
        if config.supernodes.len() > SUPERNODES_MAX {
            tracing::warn!(reason = "too many supernodes are configured", kept = SUPERNODES_MAX, "supernodes left out");
            config.supernodes.truncate(SUPERNODES_MAX);
        }
        let mut backoff = Backoff::new(seed, now);
        let turn = backoff.index(config.supernodes.len());
        let mut session = Self {
            network: config.network,
            config,
            backoff,
            state: State::LoggedOut,
            attempt: 0,
            tries: 0,
            turn,
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
        match &self.state {
            State::LoggedOut => None,
            State::Searching { next_try } => *next_try,
            State::Dialling { until } | State::Greeted { until, .. } | State::Asked { until, .. } => Some(*until),
            State::LoggingOut { until, .. } => Some(*until),
            State::LoggedIn(home) => Some(home.next_timeout()),
        }
    }

    /// Where the session stands, for people
    pub fn standing(&self) -> Standing {
        let Setback { status, reason } = self.setback.clone();
        match &self.state {
            State::LoggedOut => Standing::LoggedOut { reason },
            State::Searching { next_try } => {
                Standing::Searching { status, reason, attempt: self.tries, next_try: *next_try }
            }
            State::Dialling { .. } | State::Greeted { .. } | State::Asked { .. } => {
                Standing::Joining { supernode: self.supernode(), status, reason, attempt: self.tries }
            }
            State::LoggedIn(Home { session, epoch, since, lease, .. }) => Standing::LoggedIn {
                supernode: self.supernode(),
                session: *session,
                epoch: *epoch,
                since: *since,
                lease: *lease,
            },
            State::LoggingOut { .. } => Standing::LoggingOut { supernode: self.supernode() },
        }
    }

    /// While logged in: the attempt on whose link look-ups, reports and relayed packets go
    pub const fn home(&self) -> Option<u64> {
        if matches!(self.state, State::LoggedIn(_)) { Some(self.attempt) } else { None }
    }

    /// The network, from the config or from the first login
    pub const fn network(&self) -> Option<NetworkId> {
        self.network
    }

    /// Frames that came in a wrong state
    pub const fn violations(&self) -> u64 {
        self.violations
    }

    /// The transport listens at `port` from now on, as the next login will say
    pub const fn handle_listening(&mut self, port: u16) {
        self.config.listen_port = port;
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
            State::LoggedIn(Home { network, session, .. }) => {
                let (network, session) = (*network, *session);
                self.state = State::LoggingOut { network, session: Some(session), until, login_again: false };
                self.send(Frame::Logout(Logout { session }));
            }
        }
    }

    /// The dial of `attempt` made a link: hellos are exchanged, and the transport proved `key`
    pub fn handle_opened(&mut self, now: Instant, attempt: u64, key: Key, own_nonce: [u8; 32], hello: &Hello) {
        let current = attempt == self.attempt && self.has_link();
        if !current {
            let reason = Reason::truncated("given up meanwhile");
            self.outputs.push_back(MembershipOutput::Close { attempt, status: Status::TimedOut, reason });
            return;
        }
        if !matches!(self.state, State::Dialling { .. }) {
            return;
        }
        if hello.role != Role::Supernode || hello.purpose != Purpose::Home {
            let setback = Setback::new(Status::Malformed, format!("{} is not a supernode", self.supernode()));
            return self.refuse(now, setback, Again::Soon);
        }
        let greeting =
            Greeting { supernode: key, network: hello.network, supernode_nonce: hello.nonce, peer_nonce: own_nonce };
        self.state = State::Greeted { greeting, until: now + CHALLENGE_WAIT };
    }

    /// The dial of `attempt` made no link; `status` is 503, or 426 if the other side speaks another version
    pub fn handle_dial_failed(&mut self, now: Instant, attempt: u64, status: Status, reason: &str) {
        self.handle_closed(now, attempt, status, reason);
    }

    /// The link of `attempt` is gone; `status` is 503 unless the other side's good-bye said more
    pub fn handle_closed(&mut self, now: Instant, attempt: u64, status: Status, reason: &str) {
        if attempt != self.attempt {
            return;
        }
        match &self.state {
            State::LoggedOut | State::Searching { .. } => {}
            State::LoggingOut { .. } => self.finish_logout(now, "logged out; the link closed before it was confirmed"),
            State::LoggedIn(_) => {
                let setback = Setback::new(status, format!("the link to {} was lost: {reason}", self.supernode()));
                self.outputs.push_back(MembershipOutput::Lost { reason: setback.reason.clone() });
                self.search(now, setback, Again::Quickly);
            }
            State::Dialling { .. } | State::Greeted { .. } | State::Asked { .. } => {
                let verdict = if status == Status::Unavailable { "cannot be reached" } else { "refuses" };
                let setback = Setback::new(status, format!("{} {verdict}: {reason}", self.supernode()));
                let slow = matches!(status, Status::VersionNotSupported | Status::NotAllowed);
                self.search(now, setback, if slow { Again::Slowly } else { Again::Soon });
            }
        }
    }

    /// A frame on the link of `attempt`
    pub fn handle_frame(&mut self, now: Instant, attempt: u64, frame: Frame, signer: &impl Signer) {
        if attempt != self.attempt || !self.has_link() {
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
            Frame::Found(found) => self.handle_found(now, found),
            Frame::Probe(_) | Frame::ProbeReply(_) => {}
            _ => self.violate(now, kind),
        }
    }

    /// Carries out what is due; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        match &self.state {
            State::LoggedOut => {}
            State::Searching { .. } => self.dial(now),
            State::Dialling { .. } => self.give_up(now, "does not answer the dial"),
            State::Greeted { .. } => self.give_up(now, "sent no challenge within 5 s"),
            State::Asked { .. } => self.give_up(now, "did not answer the login within 10 s"),
            State::LoggedIn(home) => self.handle_renewal_timeout(now, home.clone()),
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
        let handshake = match self.check_challenge(greeting, challenge, signer) {
            Ok(handshake) => handshake,
            Err(setback) => return self.refuse(now, setback, Again::Soon),
        };
        let secret_proof = match (&self.config.secret, challenge.secret_required) {
            (Some(secret), true) => Some(handshake.secret_proof(secret.as_bytes())),
            (None, true) => {
                let reason = "the network wants its secret proved, and none is configured";
                return self.refuse(now, Setback::new(Status::NotAllowed, reason), Again::Slowly);
            }
            // A proof is something to guess the secret from: nobody gets one who does not ask.
            (_, false) => None,
        };
        self.state = State::Asked { network: handshake.network, until: now + ANSWER_WAIT };
        self.send(Frame::Login(Login {
            name: self.config.name.clone(),
            signature: signer.sign(&handshake.login_bytes(&self.config.name)),
            secret_proof,
            external: self.config.external.clone(),
            listen_port: self.config.listen_port,
            resume: self.resume,
        }));
    }

    /// Whether the other side is a supernode of the right network: nothing is said about ourselves before
    fn check_challenge(
        &self,
        greeting: &Greeting,
        challenge: &Challenge,
        signer: &impl Signer,
    ) -> Result<Handshake, Setback> {
        let refused = |reason: String| Setback::new(Status::NotAllowed, reason);
        let certificate = challenge.certificate.verify(None, signer);
        let certificate = certificate.map_err(|error| refused(format!("the supernode's certificate: {error}")))?;
        let network = crypto::network_id(&certificate.network_key);
        if let Some(pinned) = self.network.filter(|pinned| *pinned != network) {
            return Err(refused(format!("the supernode is of network {network}, and this peer of network {pinned}")));
        }
        if greeting.network.is_some_and(|said| said != network) {
            return Err(refused(format!("the supernode's hello names another network than its own, {network}")));
        }
        if certificate.supernode != greeting.supernode {
            return Err(refused(format!("the supernode's certificate: {}", GrantError::OtherKey)));
        }
        let handshake = Handshake {
            peer_nonce: greeting.peer_nonce,
            supernode_nonce: greeting.supernode_nonce,
            peer: signer.key(),
            supernode: greeting.supernode,
            network,
            version: VERSION,
        };
        if !signer.verify(&greeting.supernode, &handshake.challenge_bytes(), &challenge.signature) {
            return Err(refused("the supernode's signature under its challenge is wrong".to_owned()));
        }
        Ok(handshake)
    }

    fn handle_granted(&mut self, now: Instant, granted: Granted, signer: &impl Signer) {
        let network = match &self.state {
            State::Asked { network, .. } | State::LoggingOut { network, session: None, .. } => *network,
            _ => return self.violate(now, FrameKind::Granted),
        };
        let grant = match self.check_grant(&granted.grant, &network, signer) {
            Ok(grant) => grant,
            Err(error) => {
                let setback = Setback::new(Status::NotAllowed, format!("the supernode's grant: {error}"));
                return self.refuse(now, setback, Again::Soon);
            }
        };
        if let State::LoggingOut { session, .. } = &mut self.state {
            *session = Some(grant.session);
            return self.send(Frame::Logout(Logout { session: grant.session }));
        }
        self.enter(now, network, grant, granted);
    }

    fn check_grant(
        &self,
        signed: &SignedGrant,
        network: &NetworkId,
        signer: &impl Signer,
    ) -> Result<Grant, GrantError> {
        let grant = signed.verify(network, signer)?;
        let ours = grant.key == signer.key() && grant.name == self.config.name;
        if ours { Ok(grant) } else { Err(GrantError::OtherKey) }
    }

    fn enter(&mut self, now: Instant, network: NetworkId, grant: Grant, granted: Granted) {
        let lease = Duration::from_millis(granted.lease_ms.into()).clamp(LEASE_MIN, LEASE_MAX);
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
        let before = self.resume.filter(|_| mutant::is(Mutant::RenewsOldSession));
        self.state = State::LoggedIn(Home {
            network,
            session: before.unwrap_or(grant.session),
            epoch: granted.rewire.epoch,
            lease,
            since: now,
            renewal: Renewal::Due(now + self.renewal_period(lease)),
        });
        self.resume = Some(grant.session);
        self.tries = 0;
        self.outputs.push_back(MembershipOutput::LoggedIn {
            grant,
            signed: granted.grant,
            rewire: granted.rewire,
            lease,
        });
    }

    /// A third of the lease, less up to a tenth of that, so that peers that came together drift apart
    fn renewal_period(&mut self, lease: Duration) -> Duration {
        let period = lease / RENEWALS_PER_LEASE;
        self.backoff.draw(period * 9 / 10, period)
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
        let again = match setback.status {
            _ if retry_after > Duration::ZERO => Again::After(retry_after),
            // The session was over; a new one may be had.
            Status::NotLoggedIn | Status::Gone if resumed => Again::Quickly,
            Status::Unavailable | Status::SlowDown | Status::TimedOut | Status::Failed => Again::Soon,
            _ if setback.status.is_success() => Again::Soon,
            _ => Again::Slowly,
        };
        match self.state {
            State::LoggedIn(_) => self.lose(now, setback, again),
            _ => self.refuse(now, setback, again),
        }
    }

    fn handle_renewed(&mut self, now: Instant, renewed: Renewed) {
        let State::LoggedIn(home) = &self.state else {
            return self.ignore_while_logging_out(now, FrameKind::Renewed);
        };
        let Renewal::Unanswered { sent, .. } = home.renewal else {
            return self.violate(now, FrameKind::Renewed);
        };
        if renewed.session != home.session {
            return self.violate(now, FrameKind::Renewed);
        }
        if renewed.epoch > home.epoch {
            tracing::debug!(epoch = %renewed.epoch, reason = "a rewire is on its way or was lost", "table is old");
        }
        let due = sent + self.renewal_period(home.lease);
        if let State::LoggedIn(home) = &mut self.state {
            home.renewal = Renewal::Due(due.max(now));
        }
    }

    fn handle_rewire(&mut self, now: Instant, rewire: Rewire) {
        let State::LoggedIn(home) = &mut self.state else {
            return self.ignore_while_logging_out(now, FrameKind::Rewire);
        };
        if rewire.epoch > home.epoch || mutant::is(Mutant::EpochUnchecked) {
            home.epoch = rewire.epoch;
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

    fn handle_found(&mut self, now: Instant, found: Found) {
        match self.state {
            State::LoggedIn(_) => self.outputs.push_back(MembershipOutput::Found(found)),
            _ => self.ignore_while_logging_out(now, FrameKind::Found),
        }
    }

    /// What the supernode sent before it read the logout is no fault of its
    fn ignore_while_logging_out(&mut self, now: Instant, kind: FrameKind) {
        if !matches!(self.state, State::LoggingOut { .. }) {
            self.violate(now, kind);
        }
    }

    fn handle_renewal_timeout(&mut self, now: Instant, home: Home) {
        let wait = home.lease / RENEWALS_PER_LEASE;
        let repeated = match home.renewal {
            Renewal::Due(_) => false,
            // Who was paused himself has not listened: the answer may be waiting to be read. He asks once more.
            Renewal::Unanswered { until, repeated: false, .. } if now - until > PAUSE_MIN => true,
            Renewal::Unanswered { .. } => {
                let seconds = wait.as_secs_f32();
                let reason = format!("{} did not answer a renewal for {seconds:.1} s", self.supernode());
                return self.lose(now, Setback::new(Status::Unavailable, reason), Again::Quickly);
            }
        };
        self.send(Frame::Renew(Renew { session: home.session, epoch: home.epoch }));
        if let State::LoggedIn(home) = &mut self.state {
            home.renewal = Renewal::Unanswered { sent: now, until: now + wait, repeated };
        }
    }

    fn begin(&mut self, now: Instant) {
        self.backoff.restart(now);
        self.tries = 0;
        let (reason, next_try) = match self.config.supernodes.is_empty() {
            true => ("no supernode is configured", None),
            false => ("looking for a supernode", Some(now)),
        };
        self.setback = Setback::new(Status::Unavailable, reason);
        self.state = State::Searching { next_try };
    }

    fn dial(&mut self, now: Instant) {
        self.turn = (self.turn + 1) % self.config.supernodes.len().max(1);
        self.attempt += 1;
        self.tries += 1;
        self.state = State::Dialling { until: now + DIAL_WAIT };
        self.outputs.push_back(MembershipOutput::Dial { attempt: self.attempt, supernode: self.supernode() });
    }

    fn give_up(&mut self, now: Instant, what: &str) {
        self.close(Status::TimedOut, what);
        let reason = format!("{} {what}", self.supernode());
        self.search(now, Setback::new(Status::Unavailable, reason), Again::Soon);
    }

    /// A frame in a wrong state: whoever sends it is confused or means harm
    fn violate(&mut self, now: Instant, kind: FrameKind) {
        self.violations += 1;
        let reason = format!("unexpected {kind:?} while {}", self.state.text());
        let setback = Setback::new(Status::Malformed, reason);
        match self.state {
            State::LoggedIn(_) => self.lose(now, setback, Again::Soon),
            _ => self.refuse(now, setback, Again::Soon),
        }
    }

    /// Ends a link that is logged in
    fn lose(&mut self, now: Instant, setback: Setback, again: Again) {
        self.close(setback.status, &setback.reason);
        self.outputs.push_back(MembershipOutput::Lost { reason: setback.reason.clone() });
        self.search(now, setback, again);
    }

    /// Ends a link that is not logged in
    fn refuse(&mut self, now: Instant, setback: Setback, again: Again) {
        self.close(setback.status, &setback.reason);
        if let State::LoggingOut { .. } = self.state {
            let reason = format!("logged out; the supernode's last word: {}", &*setback.reason);
            return self.finish_logout(now, &reason);
        }
        let (status, reason) = (setback.status, setback.reason.clone());
        let retry = self.search(now, setback, again);
        self.outputs.push_back(MembershipOutput::Refused { status, reason, retry });
    }

    fn search(&mut self, now: Instant, setback: Setback, again: Again) -> Duration {
        let wait = match again {
            Again::Quickly => self.backoff.quick(now),
            Again::Soon => self.backoff.next(now),
            Again::Slowly => self.backoff.slow(),
            Again::After(wish) => self.backoff.after(wish),
        };
        tracing::info!(
            status = setback.status.code(), reason = %setback.reason, wait_ms = wait.as_millis() as u64,
            attempt = self.tries, "no session, trying again"
        );
        self.setback = setback;
        self.state = State::Searching { next_try: (!mutant::is(Mutant::SearchEnds)).then_some(now + wait) };
        wait
    }

    fn finish_logout(&mut self, now: Instant, reason: &str) {
        let login_again = matches!(self.state, State::LoggingOut { login_again: true, .. });
        tracing::info!(reason, login_again, "logged out");
        self.resume = None;
        self.setback = Setback::new(Status::NotLoggedIn, reason);
        self.outputs.push_back(MembershipOutput::LoggedOut { reason: self.setback.reason.clone() });
        self.state = State::LoggedOut;
        if login_again {
            self.begin(now);
        }
    }

    fn send(&mut self, frame: Frame) {
        self.outputs.push_back(MembershipOutput::Send { attempt: self.attempt, frame });
    }

    fn close(&mut self, status: Status, reason: &str) {
        let reason = Reason::truncated(reason);
        self.outputs.push_back(MembershipOutput::Close { attempt: self.attempt, status, reason });
    }

    fn supernode(&self) -> String {
        self.config.supernodes.get(self.turn).cloned().unwrap_or_default()
    }

    const fn has_link(&self) -> bool {
        !matches!(self.state, State::LoggedOut | State::Searching { .. })
    }
}
