//! A whole supernode without I/O: it logs peers in and out, judges who is gone, and rewires neighbourhoods.
//!
//! [`Supernode`] owns the directory and an admission a link. What changes the directory is proposed to the log, and
//! applied once it is committed, whoever proposed it; only then is anybody told:
//!
//! ```text
//! links ─► admissions ─► LoginRequest … ─┐                                         ┌─► granted, logged out
//! leases, suspicion ─► Expire, Suspect … ┼─► Proposals ─► log ─► Directory::apply ─┼─► rewires to whom it touched
//! an operator ─► release, remove, invite ┘        other supernodes ─┘              └─► answers
//! other supernodes ◄─► Backbone: who is there, reports, relayed packets, claims
//! ```
//!
//! The log is a port ([`LogEvent`] says what it tells). One group of commands is with the log at a time:
//! [`SupernodeOutput::Propose`] is answered by one [`LogEvent::Committed`] or [`LogEvent::Lost`] for each of them, and
//! of what was proposed meanwhile the next group is made, [`GROUP_MAX`] at most (`queue` says in which order, `pace` how
//! large). Logins that would wait for the log longer than their peers do are put off at once. Whoever waits for a command that is lost is told to try again, and what
//! this supernode wants itself it proposes anew. A shell whose disk fails ends; the log then tells what was acknowledged,
//! and perhaps more.
//!
//! A supernode answers a refusal, and a session that is taken up as it was, from its own directory, without the log. Among
//! several supernodes such an answer may be as old as what it has not heard yet: so refusals are the log's there, and
//! look-ups wait until the log has said how far one must have heard ([`SupernodeOutput::Read`]).
//!
//! Whose home a session has, that supernode judges it, and no other. The leader judges homes.
//!
//! | what it holds | its bound |
//! |---|---|
//! | links, and logins that wait (one a link) for another link to be found dead, or as their peers flap | the shell's, which accepts links |
//! | sessions, pairs, their clocks, suspicions | the directory's |
//! | budgets of keys, networks and invites | [`OWNERS_MAX`] of each |
//! | links with other supernodes, and with those who say that they are | the shell's |
//! | supernodes that are dialled | [`SUPERNODES_MAX`](crate::wire::session::SUPERNODES_MAX), and as many contacts |
//! | other supernodes' questions whether a peer answers | 4,096; beyond, it does |
//! | look-ups that wait for the log | [`READS_MAX`] |
//! | sessions that were taken up and whose homes are to follow | one for each home link |
//! | a round in which everybody is told who was removed, and one in which who the supernodes are | one each, [`SLICE`] peers in one go |
//! | tables that have changed and are not told yet, [`SLICE`] of them in one go | the directory's members |
//! | commands that wait for the log | [`WAITING_MAX`] logins, as many reports and moves, and one for each session, pair and operator's request |

mod backbone;
mod budgets;
mod claims;
mod committed;
mod handover;
mod homes;
mod judgement;
mod links;
mod log;
mod logged;
mod logins;
mod members;
mod moves;
mod operator;
mod others;
mod pace;
mod proposals;
mod putting_off;
mod queue;
mod reads;
mod relay;
mod removals;
mod replaced;
mod requests;
mod rewires;
mod suspecting;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

pub use self::backbone::{BEAT_EVERY, PRESENT_WAIT};
pub use self::budgets::{
    Budget, BudgetKind, INVITED_BURST, INVITED_EVERY, LOGIN_EVERY, LOGINS_BURST, NAME_EVERY, NAMES_BURST, OWNERS_MAX,
    PLACE_EVERY, PLACES_BURST,
};
pub use self::judgement::{PAIR_TERM_MAX, PAIR_TERM_MIN};
pub use self::log::{LogEvent, Proposal, SupernodeEntry};
pub use self::others::SupernodeStanding;
pub use self::pace::{GROUP_FIRST, GROUP_MAX, GROUP_MIN, GROUP_TIME};
pub use self::proposals::LoginQueue;
pub use self::putting_off::{PUT_OFF_MAX, PUT_OFF_MIN};
pub use self::queue::WAITING_MAX;
pub use self::reads::{READ_WAIT, READS_MAX};
pub use self::rewires::{GATHER, SLICE};

use self::backbone::Backbone;
use self::budgets::Budgets;
use self::claims::Claims;
use self::committed::Consequences;
use self::handover::Handover;
use self::homes::Homes;
use self::judgement::Judgement;
use self::links::Links;
use self::logins::{Credentials, Logins};
use self::members::Members;
use self::moves::Moves;
use self::proposals::Proposals;
use self::putting_off::PuttingOff;
use self::reads::Reads;
use self::removals::{Removals, Telling};
use self::requests::Requests;
use self::rewires::Rewires;
use crate::crypto::Signer;
use crate::directory::{Command, Directory, Outcome};
use crate::id::{Key, SessionId, ShortId, SupernodeId};
use crate::link::{Dial, LinkId, Opened};
use crate::mutant::{self, Mutant};
use crate::session::admission::{Admission, AdmissionConfig, AdmissionOutput};
use crate::status::Status;
use crate::time::{HELD_UP_MIN, Instant, Timers, earliest, held_up};
use crate::wire::Frame;
use crate::wire::removed::AskRemoved;
use crate::wire::session::{Location, Purpose, Reason};

/// What a supernode is told at its start
#[derive(Clone, Debug)]
pub struct SupernodeConfig {
    /// The serial of its certificate: sessions that begin here are at home here
    pub id: SupernodeId,
    /// The network, the right to sign grants, the secret, the lease
    pub admission: Arc<AdmissionConfig>,
    /// The degree that the network shall have; `None`: as the directory says
    pub degree: Option<u8>,
    /// Links that it may have, to say how busy it is
    pub links_max: usize,
    /// Where other supernodes are: dialled, whoever answers, as long as the log names none
    pub contacts: Vec<Location>,
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
    /// Ask the log how far one must have applied it to know all that is committed by now: answered, some time, by one
    /// [`LogEvent::Readable`] or [`LogEvent::Unreadable`], and before that there is no other one
    Read,
    /// Link to another supernode; answered by [`Supernode::handle_opened`] with its number, or by
    /// [`Supernode::handle_dial_failed`]
    Dial(Dial),
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
    putting_off: PuttingOff,
    judgement: Judgement,
    links: Links,
    rewires: Rewires,
    removals: Removals,
    claims: Claims,
    moves: Moves,
    reads: Reads,
    members: Members,
    backbone: Backbone,
    homes: Homes,
    handover: Handover,
    links_max: usize,
    budgets: Budgets,
    /// One of each session at most, and the degree
    again: Timers<Again>,
    leader: Option<SupernodeId>,
    /// Since when nobody leads, if nobody does
    unled: Option<Instant>,
    /// When the present minute ends, while minutes are counted
    minute: Option<Instant>,
    /// By then something is handled, if only a timeout
    beat: Instant,
    /// When the last input came; `None`: it was an operator's, and came without the time
    now: Option<Instant>,
}

/// How long nothing may come before the clock is looked at: a stop of twice this is noticed though no term ended in it
const BEAT: Duration = HELD_UP_MIN;

impl<S: Signer> Supernode<S> {
    /// Takes up what the log holds; every session at home here has a whole lease from now, every pair a first term
    ///
    /// `rng` makes session ids and salts: whoever can foretell it can choose places in the ring, and one that is the
    /// same as at an earlier start makes ids that are taken.
    pub fn new(now: Instant, config: SupernodeConfig, signer: S, mut rng: ChaCha20Rng, directory: Directory) -> Self {
        let SupernodeConfig { id, admission, degree, links_max, contacts } = config;
        let chance = || (rng.next_u32() >> 24) as u8;
        let judgement = Judgement::new(now, id, admission.lease, &directory, chance);
        let mut supernode = Self {
            credentials: Credentials { id, admission, signer },
            degree,
            rng,
            directory,
            proposals: Proposals::default(),
            putting_off: PuttingOff::default(),
            judgement,
            links: Links::default(),
            rewires: Rewires::default(),
            removals: Removals::default(),
            claims: Claims::default(),
            moves: Moves::default(),
            reads: Reads::default(),
            members: Members::default(),
            backbone: Backbone::new(now, id, contacts),
            homes: Homes::default(),
            handover: Handover::default(),
            links_max,
            budgets: Budgets::default(),
            again: Timers::default(),
            leader: None,
            unled: Some(now),
            minute: None,
            beat: now + BEAT,
            now: Some(now),
        };
        supernode.handover.begin_anew(now, false);
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
        self.now = Some(now);
        if let Some(by) = late.filter(|_| !mutant::is(Mutant::StopBlamesPeers)) {
            tracing::warn!(event = "held_up", late_ms = by.as_millis() as u64, reason = "this process was not run");
            self.judgement.handle_held_up(now, by);
            self.links.handle_held_up(now);
            self.proposals.handle_held_up();
            self.claims.handle_held_up(now);
            self.moves.handle_held_up(now);
            self.backbone.handle_held_up(now);
            self.homes.begin_anew(now, self.leads());
            self.handover.begin_anew(now, self.leader.is_some());
        }
    }

    /// A link has opened, both hellos exchanged
    pub fn handle_opened(&mut self, now: Instant, opened: &Opened) {
        self.check_pace(now);
        let Opened { link, key, ref hello, own_nonce, remote_ip, .. } = *opened;
        if hello.purpose == Purpose::Backbone {
            let own = self.own();
            return self.backbone.open(now, opened, &self.credentials, own);
        }
        let Credentials { admission: rules, signer, .. } = &self.credentials;
        let mut admission = Admission::new(rules.clone(), remote_ip);
        admission.handle_opened(now, key, own_nonce, hello, signer, self.leader.is_some());
        self.links.open(link, key, admission);
        self.grant_wishes(now);
    }

    /// A frame came on `link`: anything but a hello; one on a link that is not known is dropped
    pub fn handle_frame(&mut self, now: Instant, link: LinkId, frame: Frame) {
        self.check_pace(now);
        if self.backbone.contains(link) {
            return self.handle_said(now, link, frame);
        }
        let is_answer = matches!(frame, Frame::ProbeReply(_));
        let signer = &self.credentials.signer;
        if !self.links.tell(link, |admission| admission.handle_frame(now, frame, signer)) {
            return;
        }
        if is_answer {
            self.logins().handle_answered(now, link);
        }
        if let Some(session) = self.links.session_on(link).filter(|session| self.is_at_home(*session)) {
            self.judgement.handle_heard(now, session);
        }
        self.grant_wishes(now);
    }

    /// `link` is gone, for `reason`
    pub fn handle_closed(&mut self, now: Instant, link: LinkId, reason: &str) {
        self.check_pace(now);
        if !self.lose_supernode(now, link, reason) {
            self.links.tell(link, |admission| admission.handle_closed(reason));
            self.grant_wishes(now);
            self.links.close(link);
        }
        self.logins().handle_closed(now, link);
        self.grant_wishes(now);
    }

    /// Carries out what the clocks and the suspicions demand; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        self.check_pace(now);
        let (mut sessions, mut pairs) = self.judgement.expire(now);
        // A peer that is silent here may have been taken up elsewhere, which nobody can say while nobody leads.
        if self.members.are_several() && self.leader.is_none() && !mutant::is(Mutant::UnledLeasesEnd) {
            sessions.clear();
        }
        // Of several, who leads has heard most, and counts for all. While nobody does, whoever will is soon there.
        if self.members.are_several() && !self.leads() && !mutant::is(Mutant::EverybodyEndsPairs) {
            pairs.clear();
        }
        self.proposals.push_ends(&self.directory, self.credentials.id, sessions, pairs);
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
        self.requests().answer_late(now);
        self.tell_tables(now);
        self.telling().handle_timeout(now);
        self.attend_others(now);
    }

    /// Tells as many of the tables that are due as may be told in one go
    fn tell_tables(&mut self, now: Instant) {
        for address in self.rewires.take_due(now) {
            self.links.rewire(&self.directory, address);
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        let waits = earliest(self.claims.next_timeout(), self.proposals.next_timeout());
        let logins = earliest(self.links.next_timeout(), waits);
        let tables = earliest(self.rewires.next_timeout(), self.removals.next_timeout());
        let others = earliest(self.again.next_timeout(), tables);
        let supernodes = earliest(self.backbone.next_timeout(), self.members.next_timeout());
        let supernodes = earliest(supernodes, earliest(self.homes.next_timeout(), self.moves.next_timeout()));
        let terms = earliest(earliest(self.judgement.next_timeout(), others), logins);
        let supernodes = earliest(supernodes, self.handover.next_timeout().filter(|_| self.members.are_several()));
        let terms = earliest(earliest(terms, supernodes), self.reads.next_timeout());
        earliest(terms, self.minute).map(|terms| terms.min(self.beat))
    }

    /// The next thing to do; drain until `None` after an input, or after several that shall share a group
    ///
    /// A [`SupernodeOutput::Propose`] holds of what was proposed until then what goes first, and comes first itself: the
    /// log is what others wait for.
    pub fn poll_output(&mut self) -> Option<SupernodeOutput> {
        self.drain_suspicion();
        let awaits = |link| self.links.awaits(link);
        let group = self.proposals.next_group(self.now, awaits).map(SupernodeOutput::Propose);
        let read = || self.reads.begin().then_some(SupernodeOutput::Read);
        group.or_else(read).or_else(|| self.links.poll_output()).or_else(|| self.backbone.poll_output())
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

    /// How many logins wait for the log, and how fast that is
    pub fn login_queue(&self, now: Instant) -> LoginQueue {
        self.proposals.show(now, self.putting_off.count)
    }

    /// How many sessions have a home link here
    pub fn homes(&self) -> usize {
        self.links.homes()
    }

    /// How many links there are, logged in or not, of peers and of supernodes
    pub fn links(&self) -> usize {
        self.links.len() + self.backbone.len()
    }

    /// Carries out what the admissions want, until they want nothing more
    fn grant_wishes(&mut self, now: Instant) {
        self.links.tell_refused(now);
        while let Some((link, wish)) = self.links.take_wish() {
            match wish {
                // Sent already: links carry these out themselves.
                AdmissionOutput::Send(_) | AdmissionOutput::Close { .. } => {}
                AdmissionOutput::Propose(request) if self.handover.is_led_elsewhere(now) => {
                    self.logins().send_on(now, link, &request);
                }
                AdmissionOutput::Propose(request) => self.logins().begin(now, link, request),
                AdmissionOutput::Renew { session, epoch } => self.requests().renew(now, link, session, epoch),
                AdmissionOutput::LogOut { session } => self.requests().log_out(link, session),
                AdmissionOutput::LookUp(look_up) => self.requests().look_up(now, link, look_up),
                AdmissionOutput::List(list) => self.requests().list(link, &list),
                AdmissionOutput::AskRemoved(AskRemoved { mark }) => self.telling().answer(link, &mark),
                AdmissionOutput::Report(report) => self.requests().report(now, link, report),
                AdmissionOutput::Relay(packet) => self.relay().pass_on(link, &packet),
                AdmissionOutput::RelayRefused(packet) => self.relay().refuse(link, &packet),
                AdmissionOutput::Lost { session, reason } => self.requests().lose_home(now, link, session, &reason),
            }
        }
        self.logins().put_off_late(now);
    }

    fn logins(&mut self) -> Logins<'_, S> {
        let (is_led, load) = (self.leader.is_some(), self.load());
        let Self { credentials, directory, links, judgement, proposals, claims, moves, members, .. } = self;
        let Self { putting_off, backbone, budgets, rng, .. } = self;
        Logins {
            credentials,
            directory,
            links,
            judgement,
            proposals,
            putting_off,
            claims,
            moves,
            members,
            backbone,
            is_led,
            load,
            budgets,
            rng,
        }
    }

    fn requests(&mut self) -> Requests<'_> {
        let (id, is_led, is_cut_off) = (self.credentials.id, self.leader.is_some(), self.handover.is_cut_off());
        let Self { directory, links, judgement, proposals, rewires, reads, backbone, .. } = self;
        Requests { id, directory, links, judgement, proposals, rewires, reads, backbone, is_led, is_cut_off }
    }

    fn telling(&mut self) -> Telling<'_, S> {
        let Self { credentials, directory, links, removals, .. } = self;
        Telling { credentials, directory, links, removals }
    }

    fn consequences(&mut self) -> Consequences<'_> {
        let Self { credentials, directory, links, judgement, moves, proposals, rng, .. } = self;
        Consequences { id: credentials.id, directory, links, judgement, moves, proposals, rng }
    }
}

/// What stands for a supernode on the path of a packet that it relayed
fn short_id_of(key: &Key) -> ShortId {
    let [a, b, c, d, ..] = key.0;
    ShortId(u32::from_be_bytes([a, b, c, d]))
}
