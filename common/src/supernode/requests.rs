//! What peers that are logged in ask for and report.

use std::time::Duration;

use super::backbone::Backbone;
use super::judgement::Judgement;
use super::links::Links;
use super::proposals::{Proposals, Then};
use super::reads::{Asked, Reads};
use super::rewires::Rewires;
use crate::directory::{Command, Directory, Session};
use crate::id::{Address, Epoch, SessionId, SupernodeId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::session::admission::{Admission, Refusal};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::backbone::Reported;
use crate::wire::session::{Found, List, LookUp, Report, Subject};

/// What serving a session may touch
pub(super) struct Requests<'a> {
    pub(super) id: SupernodeId,
    pub(super) directory: &'a Directory,
    pub(super) links: &'a mut Links,
    pub(super) judgement: &'a mut Judgement,
    pub(super) proposals: &'a mut Proposals,
    pub(super) rewires: &'a mut Rewires,
    pub(super) reads: &'a mut Reads,
    pub(super) backbone: &'a mut Backbone,
    /// Whether somebody leads the log
    pub(super) is_led: bool,
    /// Whether nobody does, and too few others are heard to elect somebody
    pub(super) is_cut_off: bool,
}

impl Requests<'_> {
    /// The peer goes on, and has the table of `epoch`
    pub(super) fn renew(&mut self, now: Instant, link: LinkId, session: SessionId, epoch: Epoch) {
        if !self.links.contains(link) {
            return;
        }
        if self.proposals.is_end_under_way(session) {
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
        self.links.tell(link, |admission| admission.handle_renewed(standing.rewired, self.is_cut_off));
        // One that was taken up here is its home's to judge, until that is this one.
        if standing.home == self.id {
            self.judgement.renew(now, session, self.proposals);
        }
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
        if mutant::is(Mutant::LogoutToldAtOnce) {
            self.links.tell(link, Admission::handle_logged_out);
        }
    }

    /// Answers at once what may be old, or cannot be sure; the rest waits for the log
    pub(super) fn look_up(&mut self, now: Instant, link: LinkId, look_up: LookUp) {
        let is_sure = self.is_led && !mutant::is(Mutant::ReadsFromHere);
        if look_up.may_be_stale || !is_sure {
            let is_stale = !mutant::is(Mutant::StaleNotMarked) && !mutant::is(Mutant::ReadsFromHere);
            return self.answer(link, &look_up, is_stale);
        }
        let query = look_up.query;
        if self.reads.push(now, link, look_up).is_err() {
            self.links.send(link, Frame::Found(Found::refused(query, Status::SlowDown)));
        }
    }

    /// Answers those that wait for the log and can be sure by now
    pub(super) fn answer_ready(&mut self) {
        while let Some(Asked { link, look_up, .. }) = self.reads.take_ready(self.directory.applied()) {
            self.answer(link, &look_up, false);
        }
    }

    /// Answers those that have waited for the log for long enough
    pub(super) fn answer_late(&mut self, now: Instant) {
        while let Some(Asked { link, look_up, .. }) = self.reads.take_late(now) {
            self.answer(link, &look_up, true);
        }
    }

    /// Answers these, for whom the log cannot say how far it is
    pub(super) fn answer_stale(&mut self, asked: impl IntoIterator<Item = Asked>) {
        for Asked { link, look_up, .. } in asked {
            self.answer(link, &look_up, !mutant::is(Mutant::StaleNotMarked));
        }
    }

    fn answer(&mut self, link: LinkId, look_up: &LookUp, is_stale: bool) {
        let found = match &look_up.subject {
            Subject::Name(name) => self.directory.look_up(name),
            Subject::ShortId(short) => self.directory.by_short(*short).map(|s| s.record()).ok_or(Status::NotFound),
        };
        let (status, record) = match found {
            Ok(record) => (Status::Delivered, Some(record)),
            Err(status) => (status, None),
        };
        let index = self.directory.applied();
        let found = Found { query: look_up.query, status, record, index, is_stale };
        self.links.send(link, Frame::Found(found));
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

    /// What a peer that is at home at another supernode reports of one that is at home here
    pub(super) fn handle_reported(&mut self, now: Instant, Reported { reporter, report }: Reported) {
        let of = match report {
            Report::LinkDown(of) | Report::Unreachable(of) => of,
            Report::Isolated => {
                let reason = "a supernode asks for its isolated peer's neighbours one by one";
                return tracing::warn!(event = "report_ignored", by = %reporter, reason);
            }
        };
        if self.directory.by_address(of).is_none_or(|session| session.home != self.id) {
            let reason = "it is not at home here";
            return tracing::debug!(event = "report_ignored", by = %reporter, %of, reason);
        }
        match report {
            Report::LinkDown(address) => self.doubt(now, reporter, address),
            Report::Unreachable(other) => self.part(reporter, other),
            Report::Isolated => {}
        }
    }

    /// A neighbour has lost this peer; what strangers say of it does not count
    fn doubt(&mut self, now: Instant, reporter: Address, address: Address) {
        if !self.directory.are_neighbours(reporter, address) {
            return tracing::debug!(event = "report_ignored", by = %reporter, of = %address, reason = "not neighbours");
        }
        let Some(session) = self.directory.by_address(address) else { return };
        if session.home == self.id {
            return self.judgement.handle_report(now, session.id);
        }
        if !self.pass_to_home(session, reporter, Report::LinkDown(address)) {
            let (home, reason) = (session.home.0, "its home, which judges it, cannot be told");
            tracing::info!(event = "report_dropped", by = %reporter, of = %address, home, reason);
        }
    }

    /// Tells the home of a session what somebody reports of it; `false` if it cannot be told
    fn pass_to_home(&mut self, of: &Session, reporter: Address, report: Report) -> bool {
        let home = self.backbone.link_to(of.home).filter(|_| !mutant::is(Mutant::ReportsStayHere));
        let Some(home) = home else { return false };
        self.backbone.send(home, Frame::Reported(Reported { reporter, report }));
        true
    }

    /// Two neighbours cannot connect; what strangers say of each other does not count
    fn part(&mut self, reporter: Address, other: Address) {
        if !self.directory.are_neighbours(reporter, other) {
            return tracing::debug!(event = "report_ignored", by = %reporter, of = %other, reason = "not neighbours");
        }
        let elsewhere = self.directory.by_address(other).filter(|session| session.home != self.id);
        if elsewhere.is_some_and(|session| self.pass_to_home(session, reporter, Report::Unreachable(other))) {
            return;
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
        if self.directory.session(session).is_some_and(|session| session.home != self.id) {
            return tracing::debug!(event = "home_lost", %session, reason, "it was taken up here, and not judged");
        }
        let name = self.directory.session(session).map(|session| session.name.to_string());
        tracing::info!(event = "home_lost", name, reason);
        self.judgement.handle_home_lost(now, session);
    }
}
