//! A whole supernode without I/O: it logs peers in and out, judges who is gone, and rewires neighbourhoods.
//!
//! [`Supernode`] owns the directory and an admission a link. What changes the directory is proposed to the log, and
//! applied once it is committed, whoever proposed it; only then is anybody told:
//!
//! ```text
//! links ─► admissions ─► LoginRequest … ─┐                                         ┌─► granted, logged out
//! leases, suspicion ─► Expire, Suspect … ┼─► Proposals ─► log ─► Directory::apply ─┼─► rewires to whom it touched
//! an operator ─► release, remove, invite ┘        other supernodes ─┘              └─► answers
//! ```
//!
//! The log is a port ([`LogEvent`] says what it tells). One group of commands is with the log at a time:
//! [`SupernodeOutput::Propose`] is answered by one [`LogEvent::Committed`] or [`LogEvent::Lost`] for each of them, and
//! what was proposed meanwhile is the next group, [`GROUP_MAX`] of it at most. Whoever waits for a command that is lost is told to try again, and what
//! this supernode wants itself it proposes anew. A shell whose disk fails ends; the log then tells what was acknowledged,
//! and perhaps more.
//!
//! A supernode answers a refusal, and a session that is taken up as it was, from its own directory, without the log:
//! among several supernodes such an answer may be as old as what it has not heard yet.
//!
//! | what it holds | its bound |
//! |---|---|
//! | links, and logins that wait (one a link) for another link to be found dead, or as their peers flap | the shell's, which accepts links |
//! | sessions, pairs, their clocks, suspicions | the directory's |
//! | budgets of keys, networks and invites | [`OWNERS_MAX`] of each |
//! | a round in which everybody is told who was removed | one, [`SLICE`] peers in one go |
//! | tables that have changed and are not told yet, [`SLICE`] of them in one go | the directory's members |
//! | commands that wait for the log | [`WAITING_MAX`], and one for each session, pair and operator's request |

mod budgets;
mod committed;
mod judgement;
mod links;
mod log;
mod logins;
mod operator;
mod proposals;
mod relay;
mod removals;
mod requests;
mod rewires;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

pub use self::budgets::{
    Budget, BudgetKind, INVITED_BURST, INVITED_EVERY, LOGIN_EVERY, LOGINS_BURST, NAME_EVERY, NAMES_BURST, OWNERS_MAX,
    PLACE_EVERY, PLACES_BURST,
};
pub use self::judgement::{PAIR_TERM_MAX, PAIR_TERM_MIN};
pub use self::log::{LogEvent, Proposal};
pub use self::proposals::{GROUP_MAX, WAITING_MAX};
pub use self::rewires::{GATHER, SLICE};

use self::budgets::Budgets;
use self::committed::Consequences;
use self::judgement::{Judgement, RETRY, SuspicionOutput};
use self::links::Links;
use self::logins::{Claims, Credentials, Logins};
use self::proposals::{Proposals, Then};
use self::relay::Relay;
use self::removals::{Removals, Telling};
use self::requests::Requests;
use self::rewires::Rewires;
use crate::crypto::Signer;
use crate::directory::{Applied, Command, Directory, Outcome};
use crate::id::{Key, SessionId, ShortId, SupernodeId};
use crate::link::{LinkId, Opened};
use crate::mutant::{self, Mutant};
use crate::session::admission::{Admission, AdmissionConfig, AdmissionOutput, Refusal};
use crate::status::Status;
use crate::time::{HELD_UP_MIN, Instant, Timers, earliest, held_up};
use crate::wire::Frame;
use crate::wire::removed::AskRemoved;
use crate::wire::session::Reason;

/// What a supernode is told at its start
#[derive(Clone, Debug)]
pub struct SupernodeConfig {
    /// The serial of its certificate: sessions that begin here are at home here
    pub id: SupernodeId,
    /// The network, the right to sign grants, the secret, the lease
    pub admission: Arc<AdmissionConfig>,
    /// The degree that the network shall have; `None`: as the directory says
    pub degree: Option<u8>,
}

/// What the shell is to do
#[derive(Clone, Debug)]
pub enum SupernodeOutput {
    /// Send `frame` on `link`, which may have closed since
    Send { link: LinkId, frame: Frame },
    /// Send what is queued and a `Bye`, then close `link`, which may have closed since; answered by
    /// [`Supernode::handle_closed`]
    Close { link: LinkId, status: Status, reason: Reason },
    /// Put these into the log, in this order; each is answered by a [`LogEvent::Committed`] or [`LogEvent::Lost`] with its
    /// number, and before all are there is no other group
    Propose(Vec<Proposal>),
    /// Keep this directory, so that the commands in it can go from the log; not answered
    Snapshot(Box<Directory>),
    /// What came of an operator's command
    Answered {
        /// The ticket that came with it
        ticket: u64,
        /// Committed: what the directory made of it; `None`: the log has lost it, and it may be asked for again
        outcome: Option<Outcome>,
    },
}

/// What this supernode wants, and proposes anew after a while as the log has lost it
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    /// The configured degree
    Degree,
    /// What is judged of this session
    Session(SessionId),
}

pub struct Supernode<S> {
    credentials: Credentials<S>,
    /// The degree that the network shall have
    degree: Option<u8>,
    /// Makes session ids and salts
    rng: ChaCha20Rng,
    directory: Directory,
    proposals: Proposals,
    judgement: Judgement,
    links: Links,
    rewires: Rewires,
    removals: Removals,
    claims: Claims,
    budgets: Budgets,
    /// One of each session at most, and the degree
    again: Timers<Again>,
    leader: Option<SupernodeId>,
    /// When the present minute ends, while minutes are counted
    minute: Option<Instant>,
    /// By then something is handled, if only a timeout
    beat: Instant,
}

/// How long nothing may come before the clock is looked at: a stop of twice this is noticed though no term ended in it
const BEAT: Duration = HELD_UP_MIN;

impl<S: Signer> Supernode<S> {
    /// Takes up what the log holds; every session at home here has a whole lease from now, every pair a first term
    ///
    /// `rng` makes session ids and salts: whoever can foretell it can choose places in the ring, and one that is the
    /// same as at an earlier start makes ids that are taken.
    pub fn new(now: Instant, config: SupernodeConfig, signer: S, mut rng: ChaCha20Rng, directory: Directory) -> Self {
        let SupernodeConfig { id, admission, degree } = config;
        let chance = || (rng.next_u32() >> 24) as u8;
        let judgement = Judgement::new(now, id, admission.lease, &directory, chance);
        let mut supernode = Self {
            credentials: Credentials { id, admission, signer },
            degree,
            rng,
            directory,
            proposals: Proposals::default(),
            judgement,
            links: Links::default(),
            rewires: Rewires::default(),
            removals: Removals::default(),
            claims: Claims::default(),
            budgets: Budgets::default(),
            again: Timers::default(),
            leader: None,
            minute: None,
            beat: now + BEAT,
        };
        supernode.configure();
        supernode
    }

    /// Takes the configured degree for the network's, if one is configured
    fn configure(&mut self) {
        let before = self.directory.degree();
        let Some(degree) = self.degree.filter(|degree| *degree != before) else { return };
        if self.directory.members().len() > 0 {
            tracing::warn!(event = "degree_changed", before, degree, reason = "configured so; everybody is rewired");
        }
        self.proposals.push_own(&self.directory, Command::Configure { degree });
    }

    /// Every input begins so: if this process stood still, it says so of itself, and of nobody else
    ///
    /// Peers that are silent may have spoken, and those that have lost their home links lost them as nobody answered here.
    fn check_pace(&mut self, now: Instant) {
        // With nobody to judge it sleeps, and that is no stop.
        let late = held_up(now, self.next_timeout().and(Some(self.beat)));
        self.beat = now + BEAT;
        if let Some(by) = late.filter(|_| !mutant::is(Mutant::StopBlamesPeers)) {
            tracing::warn!(event = "held_up", late_ms = by.as_millis() as u64, reason = "this process was not run");
            self.judgement.handle_held_up(now, by);
            self.links.handle_held_up(now);
            self.claims.handle_held_up(now);
        }
    }

    /// A link has opened, both hellos exchanged
    pub fn handle_opened(&mut self, now: Instant, opened: &Opened) {
        self.check_pace(now);
        let Opened { link, key, ref hello, own_nonce, remote_ip, .. } = *opened;
        let Credentials { admission: rules, signer, .. } = &self.credentials;
        let mut admission = Admission::new(rules.clone(), remote_ip);
        admission.handle_opened(now, key, own_nonce, hello, signer);
        self.links.open(link, key, admission);
        self.grant_wishes(now);
    }

    /// A frame came on `link`: anything but a hello; one on a link that is not known is dropped
    pub fn handle_frame(&mut self, now: Instant, link: LinkId, frame: Frame) {
        self.check_pace(now);
        let is_answer = matches!(frame, Frame::ProbeReply(_));
        let signer = &self.credentials.signer;
        if !self.links.tell(link, |admission| admission.handle_frame(now, frame, signer)) {
            return;
        }
        if is_answer {
            self.claims.handle_answered(link);
        }
        if let Some(session) = self.links.session_on(link) {
            self.judgement.handle_heard(now, session);
        }
        self.grant_wishes(now);
    }

    /// `link` is gone, for `reason`
    pub fn handle_closed(&mut self, now: Instant, link: LinkId, reason: &str) {
        self.check_pace(now);
        self.links.tell(link, |admission| admission.handle_closed(reason));
        self.grant_wishes(now);
        self.links.close(link);
        self.logins().handle_closed(now, link);
        self.grant_wishes(now);
    }

    /// The log says something: what of the last [`SupernodeOutput::Propose`] was committed or lost, what others proposed,
    /// or who leads
    pub fn handle_log(&mut self, now: Instant, event: LogEvent) {
        self.check_pace(now);
        match event {
            LogEvent::Committed { index, command, number } => self.handle_committed(now, index, &command, number),
            LogEvent::Lost { number } => self.handle_lost(now, number),
            LogEvent::LeaderChanged(leader) => self.handle_leader(leader),
            LogEvent::Grown => self.links.output(SupernodeOutput::Snapshot(Box::new(self.directory.clone()))),
        }
        self.count_minutes(now);
        self.grant_wishes(now);
    }

    fn handle_committed(&mut self, now: Instant, index: u64, command: &Command, number: Option<u64>) {
        let proposed = number.and_then(|number| self.proposals.take(number));
        let then = proposed.map_or(Then::Nothing, |(_, then)| then);
        let removed = self.directory.removed().mark();
        let Applied { outcome, touched } = self.directory.apply(index, command);
        if self.directory.removed().mark() != removed {
            self.removals.begin(now, removed);
        }
        if let Then::LoggedOut(link) = then {
            // Before its session is forgotten, which would be told as a loss.
            self.links.tell(link, Admission::handle_logged_out);
        }
        self.consequences().follow(now, command, &outcome);
        match then {
            Then::Nothing => self.settle_unawaited(now, &outcome),
            Then::LoggedOut(_) => {}
            Then::Admit(link) => self.logins().conclude(now, link, outcome),
            Then::Answer(ticket) => {
                self.links.output(SupernodeOutput::Answered { ticket, outcome: Some(outcome) });
            }
        }
        self.rewires.touch(now, touched);
    }

    /// A login that the log had lost, or that this supernode proposed before it started anew, is committed all the same
    fn settle_unawaited(&mut self, now: Instant, outcome: &Outcome) {
        let Outcome::LoggedIn(logged_in) = outcome else { return };
        let session = self.directory.session(logged_in.session);
        let Some(session) = session.filter(|session| session.home == self.credentials.id) else { return };
        let session = session.id;
        if self.links.home_of(session).is_none() {
            self.logins().leave_unclaimed(now, session);
        } else {
            // It stands on another link, whose peer may be suspected: the login alone is no sign of life by now.
            self.consequences().reconcile_session(session);
        }
    }

    /// Whoever waits is told to try again; what nobody waits for is proposed anew by whoever wanted it: an end each
    /// second by its clock, an unreachable pair by the next dial that fails, a suspicion and the degree by `again`
    fn handle_lost(&mut self, now: Instant, number: u64) {
        let Some((command, then)) = self.proposals.take(number) else { return };
        tracing::warn!(event = "proposal_lost", ?command, reason = "the log has no leader, or another one");
        match then {
            Then::Admit(link) => self.logins().handle_lost(now, link),
            Then::LoggedOut(link) => self.lose_logout(now, link, &command),
            Then::Answer(ticket) => self.links.output(SupernodeOutput::Answered { ticket, outcome: None }),
            Then::Nothing if mutant::is(Mutant::LostIsForgotten) => {}
            Then::Nothing => match command {
                Command::Suspect { session, .. } | Command::Clear { session } => {
                    self.again.set(now + RETRY, Again::Session(session));
                }
                Command::Configure { .. } => self.again.set(now + RETRY, Again::Degree),
                _ => {}
            },
        }
    }

    /// A peer that wanted to go is gone, whatever the log says: what is left of its session ends as a lost one does
    fn lose_logout(&mut self, now: Instant, link: LinkId, command: &Command) {
        let refusal = Refusal::new(Status::Unavailable, "the supernodes could not agree on the logout in time", RETRY);
        self.links.tell(link, |admission| admission.handle_ended(&refusal));
        if let Command::LogOut { session } = *command {
            self.links.unsettle(session);
            self.judgement.handle_home_lost(now, session);
        }
    }

    /// Proposals go to the log all the same, whoever leads: it passes them on, or loses them
    fn handle_leader(&mut self, leader: Option<SupernodeId>) {
        if leader != self.leader {
            tracing::info!(event = "leader_changed", before = ?self.leader, leader = ?leader, reason = "the log says so");
            self.leader = leader;
        }
    }

    /// Carries out what the clocks and the suspicions demand; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        self.check_pace(now);
        let (sessions, pairs) = self.judgement.expire(now);
        self.proposals.push_ends(&self.directory, sessions, pairs);
        self.judgement.handle_timeout(now);
        while let Some(again) = self.again.take_due(now) {
            match again {
                Again::Degree => self.configure(),
                Again::Session(session) => self.consequences().reconcile_session(session),
            }
        }
        self.count_minutes(now);
        self.links.handle_timeout(now);
        self.grant_wishes(now);
        self.logins().handle_timeout(now);
        self.grant_wishes(now);
        self.tell_tables(now);
        self.telling().handle_timeout(now);
    }

    /// Tells as many of the tables that are due as may be told in one go
    fn tell_tables(&mut self, now: Instant) {
        for address in self.rewires.take_due(now) {
            self.links.rewire(&self.directory, address);
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        let logins = earliest(self.links.next_timeout(), self.claims.next_timeout());
        let tables = earliest(self.rewires.next_timeout(), self.removals.next_timeout());
        let others = earliest(self.again.next_timeout(), tables);
        let terms = earliest(earliest(self.judgement.next_timeout(), others), logins);
        earliest(terms, self.minute).map(|terms| terms.min(self.beat))
    }

    /// The next thing to do; drain until `None` after an input, or after several that shall share a group
    ///
    /// A [`SupernodeOutput::Propose`] holds what was proposed until then, [`GROUP_MAX`] of it at most, and comes first: the
    /// log is what others wait for.
    pub fn poll_output(&mut self) -> Option<SupernodeOutput> {
        self.drain_suspicion();
        self.proposals.next_group().map(SupernodeOutput::Propose).or_else(|| self.links.poll_output())
    }

    /// Whether the log has said what became of everything proposed: nobody who was promised an answer waits for it
    pub fn is_idle(&self) -> bool {
        self.proposals.is_idle()
    }

    pub fn key(&self) -> Key {
        self.credentials.signer.key()
    }

    /// What is committed, as far as this supernode has heard
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Who leads the log, as far as this supernode has heard; `None`: nobody
    pub const fn leader(&self) -> Option<SupernodeId> {
        self.leader
    }

    /// The home link of this session, while it has one here
    pub fn home_of(&self, session: SessionId) -> Option<LinkId> {
        self.links.home_of(session)
    }

    /// How many sessions have a home link here
    pub fn homes(&self) -> usize {
        self.links.homes()
    }

    /// How many links there are, logged in or not
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Carries out what the admissions want, until they want nothing more
    fn grant_wishes(&mut self, now: Instant) {
        self.links.tell_refused(now);
        while let Some((link, wish)) = self.links.take_wish() {
            match wish {
                // Sent already: links carry these out themselves.
                AdmissionOutput::Send(_) | AdmissionOutput::Close { .. } => {}
                AdmissionOutput::Propose(request) => self.logins().begin(now, link, request),
                AdmissionOutput::Renew { session, epoch } => self.requests().renew(now, link, session, epoch),
                AdmissionOutput::LogOut { session } => self.requests().log_out(link, session),
                AdmissionOutput::LookUp(look_up) => self.requests().look_up(link, &look_up),
                AdmissionOutput::List(list) => self.requests().list(link, &list),
                AdmissionOutput::AskRemoved(AskRemoved { mark }) => self.telling().answer(link, &mark),
                AdmissionOutput::Report(report) => self.requests().report(now, link, report),
                AdmissionOutput::Relay(packet) => self.relay().pass_on(link, &packet),
                AdmissionOutput::RelayRefused(packet) => self.relay().refuse(link, &packet),
                AdmissionOutput::Lost { session, reason } => self.requests().lose_home(now, link, session, &reason),
            }
        }
    }

    /// Carries out what the suspicions want
    fn drain_suspicion(&mut self) {
        while let Some(wish) = self.judgement.poll_output() {
            match wish {
                SuspicionOutput::Suspect { session, reason } => {
                    let name = self.directory.session(session).map(|session| session.name.to_string());
                    tracing::info!(event = "suspecting", name, reason = reason.text());
                    self.proposals.push_own(&self.directory, Command::Suspect { session, reason });
                }
                SuspicionOutput::Clear { session } => {
                    self.proposals.push_own(&self.directory, Command::Clear { session });
                }
                SuspicionOutput::Probe { session } => {
                    if let Some(home) = self.links.home_of(session) {
                        self.links.probe(home);
                    }
                }
            }
        }
    }

    fn logins(&mut self) -> Logins<'_, S> {
        let Self { credentials, directory, links, judgement, proposals, claims, budgets, rng, .. } = self;
        Logins { credentials, directory, links, judgement, proposals, claims, budgets, rng }
    }

    fn requests(&mut self) -> Requests<'_> {
        let Self { directory, links, judgement, proposals, rewires, .. } = self;
        Requests { directory, links, judgement, proposals, rewires }
    }

    fn telling(&mut self) -> Telling<'_, S> {
        let Self { credentials, directory, links, removals, .. } = self;
        Telling { credentials, directory, links, removals }
    }

    fn relay(&mut self) -> Relay<'_> {
        let short_id = short_id_of(&self.key());
        let Self { directory, links, .. } = self;
        Relay { short_id, directory, links }
    }

    fn consequences(&mut self) -> Consequences<'_> {
        let Self { credentials, directory, links, judgement, proposals, rng, .. } = self;
        Consequences { id: credentials.id, directory, links, judgement, proposals, rng }
    }
}

/// What stands for a supernode on the path of a packet that it relayed
fn short_id_of(key: &Key) -> ShortId {
    let [a, b, c, d, ..] = key.0;
    ShortId(u32::from_be_bytes([a, b, c, d]))
}
