//! What follows a command that is durable and applied.

use std::time::Duration;

use super::*;
use crate::directory::{Applied, LoggedIn, Pair, SuspectReason};
use crate::id::Address;
use crate::session::admission::Refusal;

impl<S: Signer> Supernode<S> {
    /// The whole group of the last [`Output::Append`] is on disk; without one, nothing happens
    ///
    /// `is_snapshot_due`: whether the log has grown so long that a directory should stand for it, which is answered by
    /// an [`Output::Snapshot`].
    pub fn handle_durable(&mut self, now: Instant, is_snapshot_due: bool) {
        for (index, command, then) in self.queue.take_durable() {
            let Applied { outcome, touched } = self.directory.apply(index, &command);
            if let Then::LoggedOut(link) = then {
                // Before its session is forgotten, which would be told as a loss.
                self.after_logout(now, link);
            }
            self.on_applied(now, &command, &outcome);
            match then {
                Then::Nothing | Then::LoggedOut(_) => {}
                Then::Admit(link) => self.after_login(now, link, outcome),
                Then::Answer(ticket) => self.outputs.push_back(Output::Released { ticket, outcome }),
            }
            for address in touched {
                self.rewire(now, address);
            }
        }
        if self.pair_terms.len() > self.directory.pairs_len() {
            let directory = &self.directory;
            self.pair_terms.keep(|pair| directory.are_apart(pair));
        }
        if is_snapshot_due {
            self.outputs.push_back(Output::Snapshot(Box::new(self.directory.clone())));
        }
    }

    /// Says what happened, and keeps the clocks of sessions and pairs
    fn on_applied(&mut self, now: Instant, command: &Command, outcome: &Outcome) {
        let epoch = self.directory.epoch();
        match outcome {
            Outcome::LoggedIn(LoggedIn { session, record, entry, replaced }) => {
                let (name, address) = (&record.name, record.address);
                tracing::info!(event = "logged_in", %name, %address, %epoch, reason = ?entry);
                for old in replaced.iter().filter(|old| *old != session) {
                    let reason = "replaced by a newer login of the same key";
                    self.forget_session(now, *old, Status::NotLoggedIn, reason);
                }
                self.renew_lease(now, *session);
            }
            Outcome::Suspected { address } => {
                tracing::info!(event = "suspected", %address, %epoch);
                self.reconcile(*address);
            }
            Outcome::Cleared { address } => {
                tracing::info!(event = "cleared", %address, %epoch);
                self.reconcile(*address);
            }
            Outcome::Ended(ended) => {
                let (status, reason) = ending(command);
                tracing::info!(event = "session_ended", name = %ended.name, address = %ended.address, %epoch, reason);
                self.forget_session(now, ended.session, status, reason);
            }
            Outcome::Parted { .. } => {
                if let Command::UnreachablePair { reporter, other } = command {
                    let [chance] = self.random();
                    let term = self.pair_terms.begin(now, Pair::of(*reporter, *other), chance);
                    let reason = "they cannot connect";
                    tracing::info!(event = "pair_parted", %reporter, %other, %epoch, ?term, reason);
                }
            }
            Outcome::Reunited => {
                if let Command::ExpirePair { a, b } = command {
                    tracing::info!(event = "pair_reunited", %a, %b, %epoch, reason = "to try whether they can connect now");
                    self.pair_terms.end(now, Pair::of(*a, *b));
                }
            }
            Outcome::Refused(reason) => tracing::info!(event = "command_refused", %reason),
            other => tracing::debug!(event = "applied", ?other, %epoch),
        }
    }

    /// While the disk wrote, the peer may have been heard or lost: the directory follows
    fn reconcile(&mut self, address: Address) {
        let Some(session) = self.directory.by_address(address) else { return };
        let (session, is_suspect) = (session.id, session.suspect.is_some());
        match self.suspicion.is_suspect(session) {
            Some(false) if is_suspect => self.propose(Command::Clear { session }),
            Some(true) if !is_suspect => {
                self.propose(Command::Suspect { session, reason: SuspectReason::HomeLost });
            }
            _ => {}
        }
    }

    fn forget_session(&mut self, now: Instant, session: SessionId, status: Status, reason: &str) {
        self.leases.end(session);
        self.suspicion.handle_ended(session);
        if let Some(home) = self.homes.remove(&session)
            && let Some(connection) = self.connections.get_mut(&home)
        {
            connection.admission.handle_ended(&Refusal::new(status, reason, Duration::ZERO));
            self.drain(now, home);
        }
    }

    fn after_logout(&mut self, now: Instant, link: LinkId) {
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.admission.handle_logged_out();
            self.drain(now, link);
        }
    }

    /// Pushes the peer at `address` its whole table
    pub(super) fn rewire(&mut self, now: Instant, address: Address) {
        let home = self.directory.by_address(address).and_then(|session| self.home_of(session.id));
        let (Some(home), Some(rewire)) = (home, self.directory.neighbourhood(address)) else { return };
        if let Some(connection) = self.connections.get_mut(&home) {
            connection.admission.handle_rewire(rewire);
            self.drain(now, home);
        }
    }
}

/// What the peer of a session that ended is told
fn ending(command: &Command) -> (Status, &'static str) {
    match command {
        Command::Release { .. } => (Status::NotAllowed, "an operator has released the name"),
        Command::LogOut { .. } => (Status::NotLoggedIn, "logged out"),
        Command::Expire { .. } => (Status::NotLoggedIn, "its lease has ended"),
        _ => (Status::NotLoggedIn, "the session has ended"),
    }
}
