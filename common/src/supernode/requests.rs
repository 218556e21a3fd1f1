//! What peers that are logged in ask for and report.

use std::time::Duration;

use super::judgement::Judgement;
use super::links::Links;
use super::proposals::{Proposals, Then};
use super::rewires::Rewires;
use crate::directory::{Command, Directory};
use crate::id::{Address, Epoch, SessionId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::session::admission::Refusal;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::session::{Found, List, LookUp, Report, Subject};

/// What serving a session may touch
pub(super) struct Requests<'a> {
    pub(super) directory: &'a Directory,
    pub(super) links: &'a mut Links,
    pub(super) judgement: &'a mut Judgement,
    pub(super) proposals: &'a mut Proposals,
    pub(super) rewires: &'a mut Rewires,
}

impl Requests<'_> {
    /// The peer goes on, and has the table of `epoch`
    pub(super) fn renew(&mut self, now: Instant, link: LinkId, session: SessionId, epoch: Epoch) {
        if !self.links.contains(link) {
            return;
        }
        if self.proposals.is_under_way(&Command::Expire { session }) {
            // Nothing stops it: the peer is told as soon as it is so, and must not believe otherwise until then.
            tracing::debug!(%session, reason = "its end is on its way to the log", "renewal not answered");
            return;
        }
        let Some(standing) = self.directory.session(session) else {
            let reason = "the session has ended: log in again";
            let refusal = Refusal::new(Status::NotLoggedIn, reason, Duration::ZERO);
            self.links.tell(link, |admission| admission.handle_ended(&refusal));
            return;
        };
        self.links.tell(link, |admission| admission.handle_renewed(standing.rewired));
        self.judgement.renew(now, session, self.proposals);
        if epoch != standing.rewired {
            self.rewire_now(standing.address);
        }
    }

    /// A table that its peer asks for is told at once, with all that waited to be told
    fn rewire_now(&mut self, address: Address) {
        self.rewires.forget(address);
        self.links.rewire(self.directory, address);
    }

    pub(super) fn log_out(&mut self, link: LinkId, session: SessionId) {
        self.proposals.push(Command::LogOut { session }, Then::LoggedOut(link));
    }

    pub(super) fn look_up(&mut self, link: LinkId, look_up: &LookUp) {
        let found = match &look_up.subject {
            Subject::Name(name) => self.directory.look_up(name),
            Subject::ShortId(short) => self.directory.by_short(*short).map(|s| s.record()).ok_or(Status::NotFound),
        };
        let (status, record) = match found {
            Ok(record) => (Status::Delivered, Some(record)),
            Err(status) => (status, None),
        };
        self.links.send(link, Frame::Found(Found { query: look_up.query, status, record }));
    }

    pub(super) fn list(&mut self, link: LinkId, list: &List) {
        self.links.send(link, Frame::Listing(self.directory.list(list)));
    }

    pub(super) fn report(&mut self, now: Instant, link: LinkId, report: Report) {
        let Some(reporter) = self.links.address_on(self.directory, link) else { return };
        tracing::info!(event = "reported", by = %reporter, ?report);
        match report {
            Report::LinkDown(address) => self.doubt(now, reporter, address),
            Report::Unreachable(other) => self.part(reporter, other),
            Report::Isolated => {
                let rewire = self.directory.neighbourhood(reporter);
                for neighbour in rewire.iter().flat_map(|rewire| &rewire.neighbours) {
                    self.doubt(now, reporter, neighbour.address);
                }
                self.rewire_now(reporter);
            }
        }
    }

    /// A neighbour has lost this peer; what strangers say of it does not count
    fn doubt(&mut self, now: Instant, reporter: Address, address: Address) {
        if !self.directory.are_neighbours(reporter, address) {
            return tracing::debug!(event = "report_ignored", by = %reporter, of = %address, reason = "not neighbours");
        }
        if let Some(session) = self.directory.by_address(address) {
            self.judgement.handle_report(now, session.id);
        }
    }

    /// Two neighbours cannot connect; what strangers say of each other does not count
    fn part(&mut self, reporter: Address, other: Address) {
        if !self.directory.are_neighbours(reporter, other) {
            return tracing::debug!(event = "report_ignored", by = %reporter, of = %other, reason = "not neighbours");
        }
        let is_lost = self.directory.by_address(other).is_some_and(|session| self.judgement.is_lost(session.id));
        if is_lost && !mutant::is(Mutant::LostIsParted) {
            let reason = "its home has lost it, too";
            return tracing::debug!(event = "report_ignored", by = %reporter, of = %other, reason);
        }
        let command = Command::UnreachablePair { reporter, other };
        // It is reported again and again, and what changes nothing needs no place in the log.
        if let Some(reason) = self.proposals.answer(self.directory, &command) {
            return tracing::debug!(event = "report_ignored", by = %reporter, of = %other, ?reason);
        }
        if self.proposals.push_bounded(command, Then::Nothing).is_err() {
            tracing::warn!(event = "report_ignored", by = %reporter, of = %other, reason = "too many commands wait");
        }
    }

    /// The session has lost `link`, which is nothing new if another one is its home link by now
    pub(super) fn lose_home(&mut self, now: Instant, link: LinkId, session: SessionId, reason: &str) {
        if self.links.home_of(session) != Some(link) {
            return;
        }
        self.links.unsettle(session);
        let name = self.directory.session(session).map(|session| session.name.to_string());
        tracing::info!(event = "home_lost", name, reason);
        self.judgement.handle_home_lost(now, session);
    }
}
