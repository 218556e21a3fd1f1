//! What follows a command that is durable and applied.

use kith_common::directory::{
    Applied, Command, Entry, LoggedIn, Outcome, Output as Doubt, Pair, Refusal as Refused, SuspectReason,
};
use kith_common::id::Address;
use kith_common::session::supernode::Refusal;
use kith_common::wire::grant::Grant;
use kith_common::wire::link::Probe;
use kith_node::control::server::Reply;

use super::*;
use crate::control::ReleaseAnswer;

/// Who waits for a command
pub(super) enum Then {
    /// Nobody
    Nothing,
    /// The login on this link
    Admit(LinkId),
    /// The logout on this link
    LoggedOut(LinkId),
    /// An operator
    Answer(Reply),
}

impl Driver {
    /// Proposes a command of this supernode's own, which nobody waits for
    pub(super) fn propose(&mut self, command: Command) {
        // What is on its way to the disk may change the answer.
        let answer = self.directory.answer(&command).filter(|_| self.journal.is_idle());
        match answer {
            Some(outcome) => tracing::debug!(event = "command_needless", ?command, ?outcome),
            None => self.journal.push(command, Then::Nothing),
        }
    }

    /// A group of commands is durable
    pub(super) fn handle_durable(&mut self, is_snapshot_due: bool) {
        let now = self.clock.now();
        for (index, command, then) in self.journal.take_durable() {
            let Applied { outcome, touched } = self.directory.apply(index, &command);
            if let Then::LoggedOut(link) = then {
                // Before its session is forgotten, which would be told as a loss.
                self.after_logout(now, link);
            }
            self.on_applied(now, &command, &outcome);
            match then {
                Then::Nothing | Then::LoggedOut(_) => {}
                Then::Admit(link) => self.after_login(now, link, outcome),
                Then::Answer(reply) => answer_release(reply, &outcome),
            }
            for address in touched {
                self.rewire(address);
            }
        }
        if is_snapshot_due {
            self.journal.snapshot(self.directory.clone());
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
                self.leases.renew(now, *session);
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
                    tracing::info!(event = "pair_parted", %reporter, %other, %epoch, reason = "they cannot connect");
                    self.pair_terms.renew(now, Pair::of(*reporter, *other));
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

    /// The login on `link` came to this
    pub(super) fn after_login(&mut self, now: Instant, link: LinkId, outcome: Outcome) {
        match outcome {
            Outcome::LoggedIn(logged_in) => self.grant(now, link, &logged_in),
            Outcome::Refused(reason) => self.refuse(now, link, refusal(&reason)),
            other => {
                let reason = format!("unexpected outcome of a login: {other:?}");
                self.refuse(now, link, Refusal::new(Status::Failed, &reason, RETRY));
            }
        }
    }

    fn grant(&mut self, now: Instant, link: LinkId, logged_in: &LoggedIn) {
        let LoggedIn { session, record, entry, .. } = logged_in;
        let held = self.homes.get(session).copied().filter(|home| *home != link);
        if held.is_some_and(|home| self.connections.contains_key(&home)) {
            let reason = "another process with this key has just logged in: stop it, or start with a home of your own";
            return self.refuse(now, link, Refusal::new(Status::Conflict, reason, RETRY));
        }
        let Some(connection) = self.connections.get_mut(&link) else {
            // It ended while the disk wrote: the peer is in the ring, and nobody would notice its absence.
            self.suspicion.handle_heard(*session);
            return self.suspicion.handle_home_lost(now, *session);
        };
        let Some(rewire) = self.directory.neighbourhood(record.address) else {
            let again = Refusal::new(Status::Unavailable, "suspected a moment ago, try again", RETRY);
            return self.refuse(now, link, again);
        };
        let grant = Grant {
            network: self.network.id(),
            name: record.name.clone(),
            key: record.key,
            address: record.address,
            session: *session,
            epoch: record.epoch,
        };
        connection.admission.handle_granted(&grant, rewire, &self.identity);
        self.homes.insert(*session, link);
        self.leases.renew(now, *session);
        self.suspicion.handle_heard(*session);
        if *entry == Entry::Resumed {
            tracing::info!(event = "resumed", name = %record.name, address = %record.address);
        }
        self.drain(now, link);
    }

    fn after_logout(&mut self, now: Instant, link: LinkId) {
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.admission.handle_logged_out();
            self.drain(now, link);
        }
    }

    /// Pushes the peer at `address` its whole table
    pub(super) fn rewire(&mut self, address: Address) {
        let home = self.directory.by_address(address).and_then(|session| self.homes.get(&session.id)).copied();
        let (Some(home), Some(rewire)) = (home, self.directory.neighbourhood(address)) else { return };
        if let Some(connection) = self.connections.get_mut(&home) {
            connection.admission.handle_rewire(rewire);
            let now = self.clock.now();
            self.drain(now, home);
        }
    }

    /// Carries out what the clocks and the suspicions demand
    pub(super) fn handle_timeout(&mut self) {
        let now = self.clock.now();
        for session in self.leases.expire(now) {
            self.propose(Command::Expire { session });
        }
        for pair in self.pair_terms.expire(now) {
            let [a, b] = pair.ends();
            let command = Command::ExpirePair { a, b };
            // A login of one of them may have ended the pair before its time.
            if self.directory.answer(&command).is_some() {
                self.pair_terms.end(pair);
            } else {
                self.propose(command);
            }
        }
        self.suspicion.handle_timeout(now);
        let due = |connection: &Connection| connection.admission.next_timeout().is_some_and(|at| at <= now);
        let due: Vec<LinkId> = self.connections.iter().filter(|(_, c)| due(c)).map(|(link, _)| *link).collect();
        for link in due {
            if let Some(connection) = self.connections.get_mut(&link) {
                connection.admission.handle_timeout(now);
            }
            self.drain(now, link);
        }
        self.refuse_late_claims(now);
    }

    /// Carries out what the suspicions want
    pub(super) fn drain_suspicion(&mut self) {
        while let Some(output) = self.suspicion.poll_output() {
            match output {
                Doubt::Suspect { session, reason } => {
                    let name = self.directory.session(session).map(|session| session.name.to_string());
                    tracing::info!(event = "suspecting", name, reason = reason.text());
                    self.propose(Command::Suspect { session, reason });
                }
                Doubt::Clear { session } => self.propose(Command::Clear { session }),
                Doubt::Probe { session } => {
                    if let Some(home) = self.homes.get(&session).copied() {
                        self.send(home, Frame::Probe(Probe { sequence: 0 }));
                    }
                }
            }
        }
    }
}

/// When to come again after a passing trouble
const RETRY: Duration = Duration::from_secs(1);

/// What the peer of a session that ended is told
fn ending(command: &Command) -> (Status, &'static str) {
    match command {
        Command::Release { .. } => (Status::NotAllowed, "an operator has released the name"),
        Command::LogOut { .. } => (Status::NotLoggedIn, "logged out"),
        Command::Expire { .. } => (Status::NotLoggedIn, "its lease has ended"),
        _ => (Status::NotLoggedIn, "the session has ended"),
    }
}

fn refusal(reason: &Refused) -> Refusal {
    let retry_after = match reason.status() {
        Status::SlowDown | Status::Unavailable => RETRY,
        _ => Duration::ZERO,
    };
    Refusal::new(reason.status(), &reason.to_string(), retry_after)
}

fn answer_release(reply: Reply, outcome: &Outcome) {
    match outcome {
        Outcome::Ended(_) => reply.finish(Status::Delivered, &ReleaseAnswer { was_logged_in: true }),
        Outcome::Released => reply.finish(Status::Delivered, &ReleaseAnswer { was_logged_in: false }),
        Outcome::Refused(reason) => {
            reply.refuse(reason.status(), reason.to_string(), Some("kith-supernode peers".into()))
        }
        other => reply.refuse(Status::Failed, format!("unexpected outcome: {other:?}"), None),
    }
}
