//! What peers that are logged in ask for and report.

use std::time::Duration;

use super::queue::Then;
use super::*;
use crate::id::{Address, Epoch};
use crate::session::admission::Refusal;
use crate::wire::session::{Found, LookUp, Report, Subject};

impl<S: Signer> Supernode<S> {
    pub(super) fn handle_renew(&mut self, now: Instant, link: LinkId, session: SessionId, epoch: Epoch) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        if self.queue.is_writing(&Command::Expire { session }) {
            // Nothing stops it: the peer is told as soon as it is so, and must not believe otherwise until then.
            tracing::debug!(%session, reason = "its end is on its way to the disk", "renewal not answered");
            return;
        }
        let Some(standing) = self.directory.session(session) else {
            let reason = "the session has ended: log in again";
            connection.admission.handle_ended(&Refusal::new(Status::NotLoggedIn, reason, Duration::ZERO));
            return;
        };
        let (rewired, address) = (standing.rewired, standing.address);
        connection.admission.handle_renewed(rewired);
        self.renew_lease(now, session);
        if epoch < rewired {
            self.rewire(now, address);
        }
    }

    pub(super) fn handle_logout(&mut self, link: LinkId, session: SessionId) {
        self.queue.push(Command::LogOut { session }, Then::LoggedOut(link));
    }

    pub(super) fn handle_look_up(&mut self, link: LinkId, look_up: &LookUp) {
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

    pub(super) fn handle_report(&mut self, now: Instant, link: LinkId, report: Report) {
        let Some(reporter) = self.address_on(link) else { return };
        tracing::info!(event = "reported", by = %reporter, ?report);
        match report {
            Report::LinkDown(address) => self.doubt(now, reporter, address),
            Report::Unreachable(other) => self.part(reporter, other),
            Report::Isolated => {
                let rewire = self.directory.neighbourhood(reporter);
                for neighbour in rewire.iter().flat_map(|rewire| &rewire.neighbours) {
                    self.doubt(now, reporter, neighbour.address);
                }
                self.rewire(now, reporter);
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
        if self.queue.propose(command, Then::Nothing).is_err() {
            tracing::warn!(event = "report_ignored", by = %reporter, of = %other, reason = "too many commands wait");
        }
    }

    pub(super) fn handle_lost(&mut self, now: Instant, link: LinkId, session: SessionId, reason: &str) {
        if self.home_of(session) != Some(link) {
            return;
        }
        self.homes.remove(&session);
        let name = self.directory.session(session).map(|session| session.name.to_string());
        tracing::info!(event = "home_lost", name, reason);
        self.suspicion.handle_home_lost(now, session);
    }

    /// Whose session `link` carries
    pub(super) fn address_on(&self, link: LinkId) -> Option<Address> {
        let session = self.connections.get(&link).and_then(|connection| connection.admission.session())?;
        self.directory.session(session).map(|session| session.address)
    }
}
