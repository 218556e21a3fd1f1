//! What follows a command that has its place in the log and was applied, whoever proposed it.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use super::judgement::Judgement;
use super::links::Links;
use super::moves::Moves;
use super::proposals::Proposals;
use crate::directory::{Command, Directory, LoggedIn, Outcome, Pair, SuspectReason};
use crate::id::{Address, SessionId, SupernodeId};
use crate::mutant::{self, Mutant};
use crate::session::admission::Refusal;
use crate::status::Status;
use crate::time::Instant;

/// What may follow a command
pub(super) struct Consequences<'a> {
    pub(super) id: SupernodeId,
    /// As it is with the command
    pub(super) directory: &'a Directory,
    pub(super) links: &'a mut Links,
    pub(super) judgement: &'a mut Judgement,
    pub(super) moves: &'a mut Moves,
    pub(super) proposals: &'a mut Proposals,
    pub(super) rng: &'a mut ChaCha20Rng,
}

impl Consequences<'_> {
    /// Says what happened, and keeps the clocks of sessions and pairs
    pub(super) fn follow(&mut self, now: Instant, command: &Command, outcome: &Outcome) {
        let epoch = self.directory.epoch();
        match outcome {
            Outcome::LoggedIn(logged_in) => self.logged_in(now, logged_in),
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
                self.forget_session(ended.session, status, reason);
            }
            Outcome::Parted { .. } => {
                if let Command::UnreachablePair { reporter, other } = command {
                    let mut chance = [0];
                    self.rng.fill_bytes(&mut chance);
                    let [chance] = chance;
                    let term = self.judgement.part(now, Pair::of(*reporter, *other), chance);
                    let reason = "they cannot connect";
                    tracing::info!(event = "pair_parted", %reporter, %other, %epoch, ?term, reason);
                }
            }
            Outcome::Reunited => {
                if let Command::ExpirePair { a, b, .. } = command {
                    tracing::info!(event = "pair_reunited", %a, %b, %epoch, reason = "to try whether they can connect now");
                    self.judgement.reunite(now, Pair::of(*a, *b));
                }
            }
            Outcome::Passed { freed } => {
                for name in freed {
                    tracing::info!(event = "name_freed", %name, reason = "its owner took it and has not come back in time");
                }
            }
            // Whoever waits for a login is told, and that is one event.
            Outcome::Refused(reason) if matches!(command, Command::LogIn(_)) => {
                tracing::debug!(event = "command_refused", %reason);
            }
            Outcome::Refused(reason) => tracing::info!(event = "command_refused", %reason),
            other => tracing::debug!(event = "applied", ?other, %epoch),
        }
        self.judgement.forget_pairs(self.directory);
    }

    fn logged_in(&mut self, now: Instant, logged_in: &LoggedIn) {
        let LoggedIn { session, record, entry, replaced } = logged_in;
        let home = self.directory.session(*session).map(|session| session.home);
        let (name, address, epoch) = (&record.name, record.address, self.directory.epoch());
        tracing::info!(event = "logged_in", %name, %address, %epoch, home = ?home, reason = ?entry);
        for old in replaced.iter().filter(|old| *old != session) {
            self.forget_session(*old, Status::NotLoggedIn, "replaced by a newer login of the same key");
        }
        if home == Some(self.id) {
            self.judgement.renew(now, *session, self.proposals);
        } else {
            self.leave(now, *session);
        }
    }

    /// The session is at home elsewhere, and may have been here until now: its lease and its suspicions are its home's, and
    /// whether its peer is there or here is for its link to say
    pub(super) fn leave(&mut self, now: Instant, session: SessionId) {
        self.judgement.end(session);
        let (Some(link), Some(standing)) = (self.links.home_of(session), self.directory.session(session)) else {
            return;
        };
        if mutant::is(Mutant::MoveAwayBelieved) {
            return self.forget_session(session, Status::NotLoggedIn, "logged in at another supernode");
        }
        tracing::debug!(event = "home_contested", %session, home = standing.home.0, reason = "its link is here");
        self.links.probe(link);
        self.moves.contest(now, link, standing, self.id);
    }

    /// While the log was at it, the peer may have been heard or lost: the directory follows
    fn reconcile(&mut self, address: Address) {
        if let Some(session) = self.directory.by_address(address) {
            self.reconcile_session(session.id);
        }
    }

    /// Proposes what this supernode judges of the session, if the directory says otherwise
    pub(super) fn reconcile_session(&mut self, session: SessionId) {
        let Some(standing) = self.directory.session(session) else { return };
        let is_suspect = standing.suspect.is_some();
        match self.judgement.is_suspect(session) {
            Some(false) if is_suspect => {
                self.proposals.push_own(self.directory, Command::Clear { session, home: self.id });
            }
            Some(true) if !is_suspect => {
                let has_home = self.links.home_of(session).is_some();
                let reason = if has_home { SuspectReason::Silent } else { SuspectReason::HomeLost };
                self.proposals.push_own(self.directory, Command::Suspect { session, home: self.id, reason });
            }
            _ => {}
        }
    }

    pub(super) fn forget_session(&mut self, session: SessionId, status: Status, reason: &str) {
        self.judgement.end(session);
        if let Some(home) = self.links.unsettle(session) {
            let refusal = Refusal::new(status, reason, Duration::ZERO);
            self.links.tell(home, |admission| admission.handle_ended(&refusal));
        }
    }
}

/// What the peer of a session that ended is told
fn ending(command: &Command) -> (Status, &'static str) {
    match command {
        Command::Release { .. } => (Status::NotAllowed, "an operator has released the name"),
        Command::Remove { .. } => (Status::NotAllowed, "an operator has removed this peer from the network for good"),
        Command::LogOut { .. } => (Status::NotLoggedIn, "logged out"),
        Command::Expire { .. } => (Status::NotLoggedIn, "its lease has ended"),
        _ => (Status::NotLoggedIn, "the session has ended"),
    }
}
