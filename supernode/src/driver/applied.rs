//! What follows a command that is durable and applied.

use kith_common::directory::{Applied, Command, Entry, LoggedIn, Outcome, Output as Doubt, Pair, Refusal as Refused};
use kith_common::id::Address;
use kith_common::session::supernode::Refusal;
use kith_common::wire::grant::Grant;
use kith_common::wire::link::Probe;
use kith_node::control::server::Reply;

use super::*;
use crate::control::ReleaseAnswer;

/// Commands between two snapshots: the log stays below 4 MiB, and a start reads it in a moment
pub(super) const SNAPSHOT_EVERY: u64 = 4_096;

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
    /// Proposes a command that nobody waits for; time will demand it again if the queue is full
    pub(super) fn propose(&mut self, command: Command) {
        if let Some(outcome) = self.directory.answer(&command) {
            return tracing::debug!(event = "command_needless", ?command, ?outcome);
        }
        if self.journal.propose(command, Then::Nothing).is_err() {
            tracing::warn!(event = "command_delayed", reason = "too many commands wait for the disk");
        }
    }

    /// A group of commands is durable
    pub(super) fn handle_durable(&mut self) {
        let now = self.clock.now();
        for (index, command, then) in self.journal.take_durable() {
            let Applied { outcome, touched } = self.directory.apply(index, &command);
            self.on_applied(now, &command, &outcome);
            match then {
                Then::Nothing => {}
                Then::Admit(link) => self.after_login(now, link, outcome),
                Then::LoggedOut(link) => self.after_logout(now, link),
                Then::Answer(reply) => answer_release(reply, &outcome),
            }
            for address in touched {
                self.rewire(address);
            }
        }
        if self.directory.applied() >= self.snapshot_at {
            self.snapshot_at = self.directory.applied() + SNAPSHOT_EVERY;
            self.journal.snapshot(self.directory.applied(), self.directory.snapshot());
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
                    self.forget_session(now, *old, "replaced by a newer login of the same key");
                }
                self.leases.renew(now, *session);
            }
            Outcome::Suspected { address } => tracing::info!(event = "suspected", %address, %epoch),
            Outcome::Cleared { address } => tracing::info!(event = "cleared", %address, %epoch),
            Outcome::Ended(ended) => {
                tracing::info!(event = "session_ended", name = %ended.name, address = %ended.address, %epoch);
                self.forget_session(now, ended.session, "the session has ended");
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

    fn forget_session(&mut self, now: Instant, session: SessionId, reason: &str) {
        self.leases.end(session);
        self.suspicion.handle_ended(session);
        if let Some(home) = self.homes.remove(&session)
            && let Some(connection) = self.connections.get_mut(&home)
        {
            let refusal = Refusal::new(Status::NotLoggedIn, reason, Duration::ZERO);
            connection.admission.handle_ended(&refusal);
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
        // The connection may have ended while the disk wrote: then the peer's lease has begun, and it comes again.
        let Some(connection) = self.connections.get_mut(&link) else { return };
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
        self.suspicion.handle_heard(now, *session);
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
        Outcome::Refused(reason) => reply.refuse(reason.status(), reason.to_string(), Some("kith-supernode peers".into())),
        other => reply.refuse(Status::Failed, format!("unexpected outcome: {other:?}"), None),
    }
}
