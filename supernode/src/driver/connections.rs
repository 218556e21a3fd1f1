//! Links, the logins on them, and the sessions that they carry.

use kith_common::directory::{Command, LogIn};
use kith_common::id::{Address, Epoch};
use kith_common::session::supernode::{Admission, LoginRequest, Output, Refusal};
use kith_common::wire::bounded::Bounded;
use kith_common::wire::content::{Cause, Payload, Undeliverable};
use kith_common::wire::link::Probe;
use kith_common::wire::packet::{self, Class, Edit, Header, Mark, TTL_DEFAULT};
use kith_common::wire::session::{Found, LookUp, Report, Subject};
use kith_common::wire::{self, PacketBytes};
use kith_node::link::Opened;

use super::*;

/// How long a second login waits for the first one's link to be found dead: the liveness core's 2 s, and some
const CLAIM_WAIT: Duration = Duration::from_millis(2_500);
/// When to come again while the directory is busy
const BUSY_RETRY: Duration = Duration::from_secs(1);
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

impl Driver {
    pub(super) fn handle_event(&mut self, event: LinkEvent) {
        let now = self.clock.now();
        match event {
            LinkEvent::Opened(opened) => self.handle_opened(now, &opened),
            LinkEvent::Frame { link, frame } => self.handle_frame(now, link, frame),
            LinkEvent::Closed { link, reason } => self.handle_closed(now, link, &reason.to_string()),
            LinkEvent::ListenerClosed { reason } => {
                self.fatal = Some(format!("nobody can reach this supernode: {reason}"))
            }
            other => tracing::debug!(event = "link_event_ignored", reason = "not for a supernode", ?other),
        }
    }

    fn handle_opened(&mut self, now: Instant, opened: &Opened) {
        let Opened { link, key, ref hello, own_nonce, remote_ip, .. } = *opened;
        let mut admission = Admission::new(self.admission.clone(), remote_ip);
        admission.handle_opened(now, key, own_nonce, hello, &self.identity);
        self.connections.insert(link, Connection { key, admission });
        self.drain(now, link);
    }

    fn handle_frame(&mut self, now: Instant, link: LinkId, frame: Frame) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        for claim in self.claims.iter_mut().filter(|claim| claim.holder == link) {
            claim.answered = true;
        }
        connection.admission.handle_frame(now, frame);
        if let Some(session) = connection.admission.session() {
            self.suspicion.handle_heard(session);
        }
        self.drain(now, link);
    }

    fn handle_closed(&mut self, now: Instant, link: LinkId, reason: &str) {
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.admission.handle_closed(reason);
            self.drain(now, link);
            self.connections.remove(&link);
        }
        for claim in self.claims.extract_if(.., |claim| claim.holder == link).collect::<Vec<_>>() {
            self.propose_login(now, claim.link, claim.request);
        }
        self.claims.retain(|claim| claim.link != link);
    }

    /// Carries out what the admission of `link` wants
    pub(super) fn drain(&mut self, now: Instant, link: LinkId) {
        while let Some(output) = self.connections.get_mut(&link).and_then(|c| c.admission.poll_output()) {
            match output {
                Output::Send(frame) => self.send(link, frame),
                Output::Close { status, reason } => {
                    self.commands.push(LinkCommand::Close { link, status, reason: reason.to_string() })
                }
                Output::Propose(request) => self.handle_login(now, link, request),
                Output::Renew { session, epoch } => self.handle_renew(now, link, session, epoch),
                Output::LogOut { session } => self.handle_logout(link, session),
                Output::LookUp(look_up) => self.handle_look_up(link, &look_up),
                Output::Report(report) => self.handle_report(now, link, report),
                Output::Relay(packet) => self.handle_relay(link, &packet),
                Output::RelayRefused(packet) => {
                    self.give_back(link, &packet.as_ref(), Status::SlowDown, Cause::Congested);
                }
                Output::Lost { session, reason } => self.handle_lost(now, link, session, &reason),
            }
        }
    }

    /// A key has one session: while the holder's link answers, a second login is refused; a dead link gives way
    fn handle_login(&mut self, now: Instant, link: LinkId, request: LoginRequest) {
        let session = self.directory.by_key(&request.key);
        let holder = session.and_then(|session| self.homes.get(&session.id)).copied().filter(|holder| *holder != link);
        let Some(holder) = holder else { return self.propose_login(now, link, request) };
        tracing::info!(event = "login_waits", name = %request.name, reason = "its key has a session, whose link is probed");
        self.send(holder, Frame::Probe(Probe { sequence: 0 }));
        self.claims.push(Claim { link, holder, request, until: now + CLAIM_WAIT, answered: false });
    }

    fn propose_login(&mut self, now: Instant, link: LinkId, request: LoginRequest) {
        let command = Command::LogIn(LogIn {
            name: request.name,
            key: request.key,
            session: request
                .resume
                .filter(|id| self.is_session_of(*id, &request.key))
                .unwrap_or_else(|| self.new_session()),
            salt: self.random(),
            locations: request.locations,
        });
        // What is on its way to the disk may change the answer.
        let answer = self.directory.answer(&command).filter(|_| self.journal.is_idle());
        if let Some(outcome) = answer {
            return self.after_login(now, link, outcome);
        }
        if self.journal.propose(command, Then::Admit(link)).is_err() {
            let refusal = Refusal::new(Status::SlowDown, "too many logins at once, try again", BUSY_RETRY);
            self.refuse(now, link, refusal);
        }
    }

    pub(super) fn refuse(&mut self, now: Instant, link: LinkId, refusal: Refusal) {
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
            let reason = "silent while its key logged in again".to_owned();
            self.commands.push(LinkCommand::Close { link, status, reason });
            self.propose_login(now, claim.link, claim.request);
        }
    }
}

impl Driver {
    fn handle_renew(&mut self, now: Instant, link: LinkId, session: SessionId, epoch: Epoch) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        let Some(standing) = self.directory.session(session) else {
            let reason = "the session has ended: log in again";
            connection.admission.handle_ended(&Refusal::new(Status::NotLoggedIn, reason, Duration::ZERO));
            return;
        };
        self.leases.renew(now, session);
        connection.admission.handle_renewed(standing.rewired);
        if epoch < standing.rewired {
            let address = standing.address;
            self.rewire(address);
        }
    }

    fn handle_logout(&mut self, link: LinkId, session: SessionId) {
        self.journal.push(Command::LogOut { session }, Then::LoggedOut(link));
    }

    fn handle_look_up(&mut self, link: LinkId, look_up: &LookUp) {
        let found = match &look_up.subject {
            Subject::Name(name) => self.directory.look_up(name),
            Subject::ShortId(short) => self.directory.by_short(*short).map(|s| s.record()).ok_or(Status::NotFound),
        };
        let (status, record) = match found {
            Ok(record) => (Status::Delivered, Some(record)),
            Err(status) => (status, None),
        };
        self.send(link, Frame::Found(Found { query: look_up.query, status, record }));
    }

    fn handle_report(&mut self, now: Instant, link: LinkId, report: Report) {
        let session = self.connections.get(&link).and_then(|connection| connection.admission.session());
        let reporter = session.and_then(|session| self.directory.session(session)).map(|session| session.address);
        let Some(reporter) = reporter else { return };
        tracing::info!(event = "reported", by = %reporter, ?report);
        match report {
            Report::LinkDown(address) => self.doubt(now, reporter, address),
            Report::Unreachable(other) => self.part(reporter, other),
            Report::Isolated => {
                let rewire = self.directory.neighbourhood(reporter);
                for neighbour in rewire.iter().flat_map(|rewire| &rewire.neighbours) {
                    self.doubt(now, reporter, neighbour.address);
                }
                self.rewire(reporter);
            }
        }
    }

    /// A neighbour has lost this peer; what strangers say of it does not count
    fn doubt(&mut self, now: Instant, reporter: Address, address: Address) {
        if !self.directory.are_neighbours(reporter, address) {
            return tracing::debug!(event = "report_ignored", by = %reporter, of = %address, reason = "not neighbours");
        }
        if let Some(session) = self.directory.by_address(address) {
            let session = session.id;
            self.suspicion.handle_report(now, session);
        }
    }

    /// Two neighbours that cannot connect; what strangers say of each other does not count
    fn part(&mut self, reporter: Address, other: Address) {
        if !self.directory.are_neighbours(reporter, other) {
            return tracing::debug!(event = "report_ignored", by = %reporter, of = %other, reason = "not neighbours");
        }
        let command = Command::UnreachablePair { reporter, other };
        if self.journal.propose(command, Then::Nothing).is_err() {
            tracing::warn!(event = "report_ignored", by = %reporter, of = %other, reason = "too many commands wait");
        }
    }

    fn handle_lost(&mut self, now: Instant, link: LinkId, session: SessionId, reason: &str) {
        if self.homes.get(&session) != Some(&link) {
            return;
        }
        self.homes.remove(&session);
        let name = self.directory.session(session).map(|session| session.name.to_string());
        tracing::info!(event = "home_lost", name, reason);
        self.suspicion.handle_home_lost(now, session);
    }

    /// Passes a packet on to the home link of its destination, and says so in its path
    fn handle_relay(&mut self, link: LinkId, packet: &PacketBytes) {
        let packet = packet.as_ref();
        let session = self.connections.get(&link).and_then(|connection| connection.admission.session());
        let sender = session.and_then(|session| self.directory.session(session)).map(|session| session.address);
        if sender != Some(packet.header().source) {
            let source = packet.header().source;
            return tracing::info!(event = "relay_refused", %source, reason = "sent from another's address");
        }
        let destination = packet.header().destination;
        let home = self.directory.by_address(destination).map(|session| self.homes.get(&session.id).copied());
        match home {
            Some(Some(home)) => {
                let edit = Edit { way: Some((Mark::Relay, self.short_id)), ..Edit::default() };
                let mut bytes = Vec::with_capacity(packet.bytes().len() + packet::ENTRY_BYTES);
                if packet::emit_forwarded(&packet, &edit, &mut bytes).is_err() {
                    return self.give_back(link, &packet, Status::Unavailable, Cause::TtlSpent);
                }
                if let Ok(packet) = PacketBytes::new(bytes) {
                    self.send(home, Frame::Packet(packet));
                }
            }
            Some(None) => self.give_back(link, &packet, Status::Unavailable, Cause::NoSession),
            None => self.give_back(link, &packet, Status::NotFound, Cause::NoSession),
        }
    }

    fn give_back(&mut self, link: LinkId, packet: &packet::PacketRef<'_>, status: Status, cause: Cause) {
        let Header { destination, source, id, .. } = *packet.header();
        tracing::info!(event = "relay_refused", %source, %destination, %status, reason = ?cause);
        let report = Undeliverable { packet: id, destination, status, cause, path: Bounded::new() };
        let header = Header {
            destination: source,
            source: destination,
            id,
            ttl: TTL_DEFAULT,
            class: Class::Signal,
            congested: false,
            traced: false,
        };
        let payload = wire::encode(&Payload::Undeliverable(report)).ok();
        let bytes = payload.and_then(|payload| packet::new_packet(&header, &payload).ok());
        if let Some(packet) = bytes.and_then(|bytes| PacketBytes::new(bytes).ok()) {
            self.send(link, Frame::Packet(packet));
        }
    }
}

impl Driver {
    fn is_session_of(&self, session: SessionId, key: &Key) -> bool {
        self.directory.session(session).is_some_and(|session| session.key == *key)
    }

    fn new_session(&mut self) -> SessionId {
        SessionId(self.random())
    }
}
