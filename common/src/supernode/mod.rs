//! A whole supernode without I/O: it logs peers in and out, judges who is gone, and rewires neighbourhoods.
//!
//! [`Supernode`] owns the directory and an admission a link. What changes the directory is appended to the log, and
//! applied once it is durable; only then is anybody told:
//!
//! ```text
//! links ─► admissions ─► LoginRequest … ─┐                                    ┌─► granted, logged out
//! leases, suspicion ─► Expire, Suspect … ┼─► Queue ─► disk ─► Directory::apply ┼─► rewires to whom it touched
//! an operator ─► release ────────────────┘                                    └─► answers
//! ```
//!
//! One group of commands is on its way to the disk at a time: [`Output::Append`] is answered by
//! [`Supernode::handle_durable`], and what was proposed meanwhile is the next group. A shell whose disk fails ends; the
//! log then tells what was acknowledged, and perhaps more.
//!
//! | what it holds | its bound |
//! |---|---|
//! | links, and logins that wait for another link to be found dead (one a link) | the shell's, which accepts links |
//! | sessions, pairs, their clocks, suspicions | the directory's |
//! | commands that wait for the disk | [`WAITING_MAX`], and one for each session, pair and operator's request |

mod applied;
mod judgement;
mod logins;
mod queue;
mod relay;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

pub use self::judgement::{PAIR_TERM_MAX, PAIR_TERM_MIN};
pub use self::queue::WAITING_MAX;

use self::judgement::{Leases, PairTerms, Suspicion};
use self::logins::Claim;
use self::queue::{Queue, Then};
use crate::crypto::Signer;
use crate::directory::{Command, Directory, Outcome, Pair};
use crate::id::{Key, Name, SessionId, ShortId};
use crate::link::{LinkId, Opened};
use crate::mutant::{self, Mutant};
use crate::session::admission::{Admission, AdmissionConfig, AdmissionOutput};
use crate::status::Status;
use crate::time::{Instant, Timers, earliest};
use crate::wire::Frame;
use crate::wire::session::Reason;

/// What a supernode is told at its start
#[derive(Clone, Debug)]
pub struct Config {
    /// The network, the right to sign grants, the secret, the lease
    pub admission: Arc<AdmissionConfig>,
    /// The degree that the network shall have; `None`: as the directory says
    pub degree: Option<u8>,
}

/// What the shell is to do
#[derive(Clone, Debug)]
pub enum Output {
    /// Send `frame` on `link`
    Send {
        /// Where; it may have closed since
        link: LinkId,
        /// What
        frame: Frame,
    },
    /// Send what is queued and a `Bye`, then close; answered by [`Supernode::handle_closed`]
    Close {
        /// Which; it may have closed since
        link: LinkId,
        /// The `Bye`'s code
        status: Status,
        /// The `Bye`'s words
        reason: Reason,
    },
    /// Make these durable, all or none; answered by [`Supernode::handle_durable`], before which there is no other one
    Append(Vec<Command>),
    /// Keep this directory, so that the commands in it can go from the log; not answered
    Snapshot(Box<Directory>),
    /// What came of a release; only an end, a release and a refusal are expected
    Released {
        /// Of [`Supernode::release`]
        ticket: u64,
        /// Durable
        outcome: Outcome,
    },
}

/// One link
struct Connection {
    key: Key,
    admission: Admission,
    /// Whose home this has been, from the grant on: another link may have become it since
    home_of: Option<SessionId>,
}

/// A running supernode
pub struct Supernode<S> {
    config: Arc<AdmissionConfig>,
    signer: S,
    /// What stands for this supernode on the path of a packet that it relayed
    short_id: ShortId,
    /// Makes session ids and salts
    rng: ChaCha20Rng,
    directory: Directory,
    queue: Queue,
    leases: Leases,
    pair_terms: PairTerms,
    suspicion: Suspicion,
    connections: BTreeMap<LinkId, Connection>,
    /// Of the connections whose login is under way: few of many
    deadlines: Timers<LinkId>,
    /// The link of each session that has one; none of them has closed
    homes: BTreeMap<SessionId, LinkId>,
    claims: Vec<Claim>,
    outputs: VecDeque<Output>,
}

impl<S: Signer> Supernode<S> {
    /// Takes up what the log holds; every session has a whole lease from now, every pair a first term
    ///
    /// `rng` makes session ids and salts: whoever can foretell it can choose places in the ring, and one that is the
    /// same as at an earlier start makes ids that are taken.
    pub fn new(now: Instant, config: Config, signer: S, mut rng: ChaCha20Rng, directory: Directory) -> Self {
        let Config { admission, degree } = config;
        let lease = admission.lease;
        let sessions: Vec<_> = directory.sessions().map(|s| (s.id, s.suspect.is_some())).collect();
        let mut supernode = Self {
            short_id: short_id_of(&signer.key()),
            queue: Queue::new(directory.applied()),
            leases: Leases::new(now, lease, sessions.iter().map(|(id, _)| *id)),
            pair_terms: PairTerms::new(now, directory.pairs(), || (rng.next_u32() >> 24) as u8),
            suspicion: Suspicion::new(now, lease, sessions),
            connections: BTreeMap::new(),
            deadlines: Timers::default(),
            homes: BTreeMap::new(),
            claims: Vec::new(),
            outputs: VecDeque::new(),
            config: admission,
            signer,
            rng,
            directory,
        };
        supernode.configure(degree);
        supernode
    }

    /// Takes the configured degree for the network's, if one is configured
    fn configure(&mut self, degree: Option<u8>) {
        let before = self.directory.degree();
        let Some(degree) = degree.filter(|degree| *degree != before) else { return };
        if self.directory.members().len() > 0 {
            tracing::warn!(event = "degree_changed", before, degree, reason = "configured so; everybody is rewired");
        }
        self.propose(Command::Configure { degree });
    }

    /// A link has opened, both hellos exchanged
    pub fn handle_opened(&mut self, now: Instant, opened: &Opened) {
        let Opened { link, key, ref hello, own_nonce, remote_ip, .. } = *opened;
        let mut admission = Admission::new(self.config.clone(), remote_ip);
        admission.handle_opened(now, key, own_nonce, hello, &self.signer);
        self.connections.insert(link, Connection { key, admission, home_of: None });
        self.drain(now, link);
    }

    /// A frame came on `link`: anything but a hello; one on a link that is not known is dropped
    pub fn handle_frame(&mut self, now: Instant, link: LinkId, frame: Frame) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        for claim in self.claims.iter_mut().filter(|claim| claim.holder == link) {
            claim.answered = true;
        }
        connection.admission.handle_frame(now, frame, &self.signer);
        if let Some(session) = connection.admission.session() {
            self.suspicion.handle_heard(session);
        }
        self.drain(now, link);
    }

    /// `link` is gone, for `reason`
    pub fn handle_closed(&mut self, now: Instant, link: LinkId, reason: &str) {
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.admission.handle_closed(reason);
            self.drain(now, link);
        }
        if let Some(Connection { home_of, .. }) = self.connections.remove(&link) {
            self.deadlines.stop(&link);
            self.leave_home(link, home_of);
        }
        for claim in self.claims.extract_if(.., |claim| claim.holder == link).collect::<Vec<_>>() {
            self.propose_login(now, claim.link, claim.request);
        }
        self.claims.retain(|claim| claim.link != link);
    }

    /// Frees `name`, and ends its session; answered by [`Output::Released`] with this `ticket` once it is durable
    pub fn release(&mut self, name: Name, ticket: u64) {
        self.queue.push(Command::Release { name }, Then::Answer(ticket));
    }

    /// Carries out what the clocks and the suspicions demand; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        self.propose_ends(now);
        self.suspicion.handle_timeout(now);
        while let Some(link) = self.deadlines.take_due(now) {
            if let Some(connection) = self.connections.get_mut(&link) {
                connection.admission.handle_timeout(now);
            }
            self.drain(now, link);
        }
        self.refuse_late_claims(now);
    }

    /// Sessions and pairs whose time is over, but those that the queue decides on: a slow disk must not fill it
    fn propose_ends(&mut self, now: Instant) {
        let (sessions, pairs) = (self.leases.expire(now), self.pair_terms.expire(now));
        if sessions.is_empty() && pairs.is_empty() {
            return;
        }
        let (mut decided, mut reuniting) = (BTreeSet::new(), BTreeSet::new());
        for command in self.queue.commands() {
            match command {
                Command::Expire { session } => drop(decided.insert(*session)),
                // Once granted it begins the lease anew; if it is refused, the lease ends a second later.
                Command::LogIn(login) => drop(decided.insert(login.session)),
                Command::ExpirePair { a, b } => drop(reuniting.insert(Pair::of(*a, *b))),
                _ => {}
            }
        }
        for session in sessions.into_iter().filter(|session| !decided.contains(session)) {
            self.propose(Command::Expire { session });
        }
        for [a, b] in pairs.into_iter().filter(|pair| !reuniting.contains(pair)).map(Pair::ends) {
            self.propose(Command::ExpirePair { a, b });
        }
    }

    /// A session lasts one lease from now: an end of it that waits for the disk is no longer true
    fn renew_lease(&mut self, now: Instant, session: SessionId) {
        self.leases.renew(now, session);
        self.queue.withdraw(&Command::Expire { session });
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        let admissions = self.deadlines.next_timeout();
        let claims = self.claims.iter().map(|claim| claim.until).min();
        [self.leases.next_timeout(), self.pair_terms.next_timeout(), self.suspicion.next_timeout(), admissions, claims]
            .into_iter()
            .fold(None, earliest)
    }

    /// The next thing to do; drain until `None` after an input, or after several that shall share a group
    ///
    /// An [`Output::Append`] holds everything proposed until then and comes first: the disk is what others wait for.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.drain_suspicion();
        self.queue.next_group().map(Output::Append).or_else(|| self.outputs.pop_front())
    }

    /// Whether everything proposed is durable and applied: nobody who was promised an answer waits for the disk
    pub fn is_idle(&self) -> bool {
        self.queue.is_idle()
    }

    /// Its identity
    pub fn key(&self) -> Key {
        self.signer.key()
    }

    /// What is durable
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The home link of this session, while it has one
    pub fn home_of(&self, session: SessionId) -> Option<LinkId> {
        self.homes.get(&session).copied()
    }

    /// How many sessions have a home link
    pub fn homes(&self) -> usize {
        self.homes.len()
    }

    /// How many links there are, logged in or not
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The link of this session has closed; one that logs out is not lost, but is there until that is durable
    fn leave_home(&mut self, link: LinkId, session: Option<SessionId>) {
        if let Some(session) = session.filter(|session| self.home_of(*session) == Some(link))
            && !mutant::is(Mutant::HomeLossIgnored)
        {
            self.homes.remove(&session);
        }
    }

    /// Carries out what the admission of `link` wants
    fn drain(&mut self, now: Instant, link: LinkId) {
        use AdmissionOutput as Wish;
        while let Some(wish) = self.connections.get_mut(&link).and_then(|c| c.admission.poll_output()) {
            match wish {
                Wish::Send(frame) => self.send(link, frame),
                Wish::Close { status, reason } => self.outputs.push_back(Output::Close { link, status, reason }),
                Wish::Propose(request) => self.handle_login(now, link, request),
                Wish::Renew { session, epoch } => self.handle_renew(now, link, session, epoch),
                Wish::LogOut { session } => self.handle_logout(link, session),
                Wish::LookUp(look_up) => self.handle_look_up(link, &look_up),
                Wish::Report(report) => self.handle_report(now, link, report),
                Wish::Relay(packet) => self.handle_relay(link, &packet),
                Wish::RelayRefused(packet) => self.refuse_relay(link, &packet),
                Wish::Lost { session, reason } => self.handle_lost(now, link, session, &reason),
            }
        }
        self.note_deadline(link);
    }

    /// After whatever may have changed when the admission of `link` has to be told the time
    fn note_deadline(&mut self, link: LinkId) {
        match self.connections.get(&link).and_then(|connection| connection.admission.next_timeout()) {
            Some(deadline) => self.deadlines.set(deadline, link),
            None => self.deadlines.stop(&link),
        }
    }

    /// Carries out what the suspicions want
    fn drain_suspicion(&mut self) {
        use judgement::Output as Wish;
        while let Some(wish) = self.suspicion.poll_output() {
            match wish {
                Wish::Suspect { session, reason } => {
                    let name = self.directory.session(session).map(|session| session.name.to_string());
                    tracing::info!(event = "suspecting", name, reason = reason.text());
                    self.propose(Command::Suspect { session, reason });
                }
                Wish::Clear { session } => self.propose(Command::Clear { session }),
                Wish::Probe { session } => {
                    if let Some(home) = self.home_of(session) {
                        self.probe(home);
                    }
                }
            }
        }
    }

    /// Proposes a command of this supernode's own, which nobody waits for
    fn propose(&mut self, command: Command) {
        match self.answer(&command) {
            Some(outcome) => tracing::debug!(event = "command_needless", ?command, ?outcome),
            None => self.queue.push(command, Then::Nothing),
        }
    }

    /// What the command comes to if it needs no place in the log
    fn answer(&self, command: &Command) -> Option<Outcome> {
        // What is on its way to the disk may change the answer.
        self.directory.answer(command).filter(|_| self.queue.is_idle())
    }

    fn send(&mut self, link: LinkId, frame: Frame) {
        self.outputs.push_back(Output::Send { link, frame });
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

fn short_id_of(key: &Key) -> ShortId {
    let [a, b, c, d, ..] = key.0;
    ShortId(u32::from_be_bytes([a, b, c, d]))
}
