//! A peer and its supernodes joined in virtual time: real frames as bytes, real signatures, a small directory.

use std::collections::BTreeMap;

use super::*;
use crate::link::reason::{DialError, DialStage};
use crate::session::admission::{Admission, AdmissionOutput, LoginRequest, Refusal};
use crate::session::membership::{Membership, MembershipConfig, MembershipOutput, Standing};
use crate::time::earliest;
use crate::wire::{FRAME_HEADER_BYTES, Frame, parse_frame_header};

/// What the supernodes agree on, as far as a login needs it
#[derive(Default)]
pub(super) struct Directory {
    pub(super) names: BTreeMap<Name, Key>,
    pub(super) sessions: BTreeMap<SessionId, (Key, Instant)>,
    pub(super) epoch: u64,
}

impl Directory {
    fn log_in(&mut self, now: Instant, request: &LoginRequest) -> Result<Grant, Refusal> {
        let owner = *self.names.entry(request.name.clone()).or_insert(request.key);
        if owner != request.key {
            return Err(Refusal::new(Status::Conflict, "the name is another's", Duration::ZERO));
        }
        self.sessions.retain(|_, (_, renewed)| now - *renewed < LEASE);
        let held = request.resume.filter(|id| self.sessions.get(id).is_some_and(|(key, _)| *key == request.key));
        if held.is_none() {
            self.epoch += 1;
        }
        let session = held.unwrap_or(session_id(self.epoch as u8));
        self.sessions.insert(session, (request.key, now));
        Ok(Grant { key: request.key, name: request.name.clone(), ..grant(session, self.epoch) })
    }
}

pub(super) struct Supernode {
    pub(super) up: bool,
    pub(super) config: Arc<AdmissionConfig>,
    pub(super) overload: Option<Refusal>,
    /// It answers no dial, and does not say that it is not there
    pub(super) is_silent: bool,
    /// What a login is followed by
    pub(super) list: Option<Supernodes>,
    /// Added to every dial
    pub(super) distance: Duration,
}

impl Supernode {
    /// One that is there, near and idle
    pub(super) fn new(serial: u64, secret: Option<&[u8]>) -> Self {
        Self {
            up: true,
            config: admission_config_of(serial, secret),
            overload: None,
            is_silent: false,
            list: None,
            distance: Duration::ZERO,
        }
    }
}

struct Link {
    dial: u64,
    supernode: String,
    admission: Admission,
}

enum Happening {
    Opened { dial: u64, supernode: String },
    Failed { dial: u64 },
    TimedOut { dial: u64 },
    ToPeer { dial: u64, bytes: Vec<u8> },
    ToSupernode { dial: u64, bytes: Vec<u8> },
    Closed { dial: u64, status: Status, reason: String },
    Durable { dial: u64, request: LoginRequest },
}

/// Times are fields: a scenario sets what it is about
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) latency: Duration,
    pub(super) disk: Duration,
    /// Frames vanish, links stay
    pub(super) silent: bool,
    pub(super) peer: Membership,
    pub(super) directory: Directory,
    pub(super) supernodes: BTreeMap<String, Supernode>,
    /// The peer's outputs but for dials and frames, with their times
    pub(super) log: Vec<(Instant, MembershipOutput)>,
    pub(super) dials: Vec<(Instant, String)>,
    /// The supernodes' outputs but for frames
    pub(super) seen: Vec<AdmissionOutput>,
    links: BTreeMap<u64, Link>,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
}

impl Pair {
    pub(super) fn new(config: MembershipConfig, secret: Option<&[u8]>, seed: u64) -> Self {
        let learned = config.learned.iter().flat_map(|record| &record.locations).map(|location| location.to_string());
        let known = config.supernodes.iter().cloned().chain(learned);
        let supernodes = (1..).zip(known).map(|(serial, name)| (name, Supernode::new(serial, secret)));
        Self {
            now: Instant::ZERO,
            latency: Duration::from_millis(20),
            disk: Duration::from_millis(5),
            silent: false,
            supernodes: supernodes.collect(),
            peer: Membership::new(config, seed, Instant::ZERO),
            directory: Directory::default(),
            log: Vec::new(),
            dials: Vec::new(),
            seen: Vec::new(),
            links: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(super) fn run(&mut self, seconds: f64) {
        let until = self.now + Duration::from_secs_f64(seconds);
        for _ in 0..100_000 {
            let timers = self.links.values().filter_map(|link| link.admission.next_timeout()).min();
            let queued = self.queue.keys().next().map(|(at, _)| *at);
            let next = earliest(earliest(self.peer.next_timeout(), timers), queued);
            let Some(next) = next.filter(|next| *next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            self.step();
        }
        panic!("the two halves never come to rest: {:?}", self.peer.standing());
    }

    fn step(&mut self) {
        let due = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now).map(|entry| entry.remove());
        if let Some(happening) = due {
            self.happen(happening);
        }
        self.peer.handle_timeout(self.now);
        for link in self.links.values_mut() {
            link.admission.handle_timeout(self.now);
        }
        self.drain();
    }

    /// Carries out the peer's wish, as the shell would
    pub(super) fn wish(&mut self, wish: fn(&mut Membership, Instant)) {
        wish(&mut self.peer, self.now);
        self.drain();
    }

    /// Every link breaks; both sides learn of it
    pub(super) fn cut(&mut self) {
        for (dial, mut link) in std::mem::take(&mut self.links) {
            link.admission.handle_closed("connection reset");
            self.seen.extend(std::iter::from_fn(|| link.admission.poll_output()));
            self.peer.handle_closed(self.now, dial, Status::Unavailable, "connection reset");
        }
        self.drain();
    }

    /// A frame straight to the supernode, as from a peer that breaks the rules
    pub(super) fn inject(&mut self, frame: Frame) {
        for link in self.links.values_mut() {
            link.admission.handle_frame(self.now, frame.clone(), &Ed25519);
        }
        self.drain();
    }

    /// A frame straight to the peer, on its home link
    pub(super) fn tell(&mut self, frame: Frame) {
        let dial = self.peer.home().unwrap();
        self.peer.handle_frame(self.now, dial, frame, &ed(PEER));
        self.drain();
    }

    pub(super) fn is_logged_in(&self) -> bool {
        matches!(self.peer.standing(), Standing::LoggedIn { .. })
    }

    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    /// The status and reason of the last setback
    pub(super) fn setback(&self) -> (Status, String) {
        match self.peer.standing() {
            Standing::Searching { status, reason, .. } | Standing::Joining { status, reason, .. } => {
                (status, reason.to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Opened { dial, supernode } => self.open(dial, supernode),
            Happening::Failed { dial } => {
                self.peer.handle_dial_failed(self.now, dial, &DialError::Connect("connection refused".into()));
            }
            Happening::TimedOut { dial } => {
                let silence = DialError::TimedOut { stage: DialStage::Handshake, after: Duration::from_secs(5) };
                self.peer.handle_dial_failed(self.now, dial, &silence);
            }
            Happening::ToPeer { dial, bytes } => {
                self.peer.handle_frame(self.now, dial, decode(&bytes), &ed(PEER));
            }
            Happening::ToSupernode { dial, bytes } => {
                if let Some(link) = self.links.get_mut(&dial) {
                    link.admission.handle_frame(self.now, decode(&bytes), &Ed25519);
                }
            }
            Happening::Closed { dial, status, reason } => {
                if let Some(mut link) = self.links.remove(&dial) {
                    link.admission.handle_closed(&reason);
                    self.seen.extend(std::iter::from_fn(|| link.admission.poll_output()));
                    self.peer.handle_closed(self.now, dial, status, &reason);
                }
            }
            Happening::Durable { dial, request } => self.decide(dial, &request),
        }
    }

    fn open(&mut self, dial: u64, at: String) {
        let supernode = &self.supernodes[&at];
        let admission = Admission::new(supernode.config.clone(), "192.0.2.7".parse().ok());
        let mut link = Link { dial, supernode: at, admission };
        let of_peer = hello(Role::Peer, self.peer.network(), dial as u8);
        let of_supernode = hello(Role::Supernode, Some(supernode.config.network), !(dial as u8));
        match supernode.overload.clone() {
            Some(refusal) => link.admission.handle_refused(self.now, refusal),
            None => {
                let nonce = of_supernode.nonce;
                link.admission.handle_opened(self.now, ed(PEER).key(), nonce, &of_peer, &ed(SUPERNODE), true);
            }
        }
        self.peer.handle_opened(self.now, dial, ed(SUPERNODE).key(), of_peer.nonce, &of_supernode);
        self.links.insert(dial, link);
    }

    fn decide(&mut self, dial: u64, request: &LoginRequest) {
        let outcome = self.directory.log_in(self.now, request);
        let Some(link) = self.links.get_mut(&dial) else { return };
        match outcome {
            Ok(grant) => {
                link.admission.handle_granted(&grant, rewire(self.directory.epoch), &ed(SUPERNODE));
                let list = self.supernodes[&link.supernode].list.clone();
                self.serve_list(dial, list);
            }
            Err(refusal) => link.admission.handle_refused(self.now, refusal),
        }
    }

    /// What a home tells after the grant, behind what the grant makes it say
    fn serve_list(&mut self, dial: u64, list: Option<Supernodes>) {
        self.drain();
        if let Some(list) = list {
            self.transmit(Happening::ToPeer { dial, bytes: Frame::Supernodes(list).to_bytes().unwrap() });
        }
    }

    /// A link breaks, and both sides learn of it
    pub(super) fn kill_home(&mut self) -> String {
        let home = self.home().unwrap().to_owned();
        self.supernodes.get_mut(&home).unwrap().up = false;
        self.cut();
        home
    }

    fn drain(&mut self) {
        while let Some(output) = self.peer.poll_output() {
            self.carry_out(output);
        }
        let dials: Vec<u64> = self.links.keys().copied().collect();
        for dial in dials {
            while let Some(output) = self.links.get_mut(&dial).and_then(|link| link.admission.poll_output()) {
                self.serve(dial, output);
            }
        }
    }

    fn carry_out(&mut self, output: MembershipOutput) {
        match output {
            MembershipOutput::Dial { dial, locations } => {
                let Some(supernode) = locations.into_iter().next() else { panic!("a dial of nothing") };
                self.dials.push((self.now, supernode.clone()));
                match self.supernodes[&supernode].up {
                    true if self.supernodes[&supernode].is_silent => {
                        self.later(Duration::from_secs(5), Happening::TimedOut { dial });
                    }
                    true => {
                        let wait = self.latency * 4 + self.supernodes[&supernode].distance;
                        self.later(wait, Happening::Opened { dial, supernode });
                    }
                    false => self.later(self.latency, Happening::Failed { dial }),
                }
            }
            MembershipOutput::Send { dial, frame } => {
                self.transmit(Happening::ToSupernode { dial, bytes: frame.to_bytes().unwrap() });
            }
            other => {
                if let MembershipOutput::Close { dial, status, reason } = &other {
                    let (dial, status, reason) = (*dial, *status, reason.to_string());
                    self.later(self.latency, Happening::Closed { dial, status, reason });
                }
                self.log.push((self.now, other));
            }
        }
    }

    fn serve(&mut self, dial: u64, output: AdmissionOutput) {
        match output.clone() {
            AdmissionOutput::Send(frame) => {
                return self.transmit(Happening::ToPeer { dial, bytes: frame.to_bytes().unwrap() });
            }
            AdmissionOutput::Close { status, reason } => {
                let reason = reason.to_string();
                self.later(self.latency, Happening::Closed { dial, status, reason });
            }
            AdmissionOutput::Propose(request) => self.later(self.disk, Happening::Durable { dial, request }),
            AdmissionOutput::Renew { session, .. } => self.renew(dial, session),
            AdmissionOutput::LogOut { session } => {
                self.directory.sessions.remove(&session);
                if let Some(link) = self.links.get_mut(&dial) {
                    link.admission.handle_logged_out();
                }
            }
            _ => {}
        }
        self.seen.push(output);
    }

    fn renew(&mut self, dial: u64, session: SessionId) {
        let epoch = Epoch::new(0, self.directory.epoch);
        let renewed = self.directory.sessions.get_mut(&session).map(|(_, renewed)| *renewed = self.now);
        let Some(link) = self.links.get_mut(&dial) else { return };
        match renewed {
            Some(()) => link.admission.handle_renewed(epoch, false),
            None => link.admission.handle_ended(&Refusal::new(Status::NotLoggedIn, "no such session", Duration::ZERO)),
        }
    }

    fn transmit(&mut self, happening: Happening) {
        if !self.silent {
            self.later(self.latency, happening);
        }
    }

    fn later(&mut self, wait: Duration, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + wait, self.sequence), happening);
    }

    /// The supernode at the other end of the peer's link
    pub(super) fn home(&self) -> Option<&str> {
        let dial = self.peer.home()?;
        self.links.values().find(|link| link.dial == dial).map(|link| link.supernode.as_str())
    }
}

fn decode(bytes: &[u8]) -> Frame {
    let (head, body) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>().unwrap();
    let (kind, len) = parse_frame_header(*head).unwrap();
    assert_eq!(len, body.len());
    Frame::decode(kind, body).unwrap()
}
