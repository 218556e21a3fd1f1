//! What the log says, and what follows: for whoever waits, for the clocks, and for those at home here.

use std::time::Duration;

use super::judgement::RETRY;
use super::log::{LogEvent, SupernodeEntry};
use super::proposals::Then;
use super::{Again, Supernode, SupernodeOutput};
use crate::crypto::Signer;
use crate::directory::{Applied, Command, Outcome};
use crate::id::SupernodeId;
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::session::admission::{Admission, Refusal};
use crate::status::Status;
use crate::time::Instant;

impl<S: Signer> Supernode<S> {
    /// The log says something: what of the last [`SupernodeOutput::Propose`] was committed or lost, what others proposed,
    /// who leads, who the supernodes are, or how far one must have heard it
    pub fn handle_log(&mut self, now: Instant, event: LogEvent) {
        self.check_pace(now);
        match event {
            LogEvent::Committed { index, command, number } => self.handle_committed(now, index, &command, number),
            LogEvent::Lost { number } => self.handle_lost(now, number),
            LogEvent::Replaced(directory) => self.replace_directory(now, *directory),
            LogEvent::LeaderChanged(leader) => self.handle_leader(now, leader),
            LogEvent::Supernodes(entries) => self.handle_supernodes(now, entries),
            LogEvent::Readable(index) => self.reads.handle_readable(index),
            LogEvent::Unreadable => {
                let asked = self.reads.handle_unreadable();
                self.requests().answer_stale(asked);
            }
            LogEvent::Grown => self.links.output(SupernodeOutput::Snapshot(Box::new(self.directory.clone()))),
        }
        self.requests().answer_ready();
        self.count_minutes(now);
        self.grant_wishes(now);
    }

    fn handle_committed(&mut self, now: Instant, index: u64, command: &Command, number: Option<u64>) {
        let proposed = number.and_then(|number| self.proposals.take_committed(now, number));
        let then = proposed.map_or(Then::Nothing, |(_, then)| then);
        let removed = self.directory.removed().mark();
        let Applied { outcome, touched } = self.directory.apply(index, command);
        if self.directory.removed().mark() != removed {
            self.removals.begin(now, removed);
        }
        if let Then::LoggedOut(link) = then {
            // Before its session is forgotten, which would be told as a loss.
            self.links.tell(link, Admission::handle_logged_out);
        }
        self.consequences().follow(now, command, &outcome);
        match then {
            Then::Nothing => self.settle_unawaited(now, &outcome),
            Then::LoggedOut(_) => {}
            Then::Admit { link, until } => match command {
                Command::LogIn(login) => self.logins().settle(now, link, until, login, outcome),
                _ => self.logins().conclude(now, link, outcome),
            },
            Then::Move(session) => {
                if let Some(reason) = self.logins().settle_move(now, session, &outcome) {
                    self.consequences().forget_session(session, Status::NotLoggedIn, reason);
                }
            }
            Then::Answer(ticket) => {
                self.links.output(SupernodeOutput::Answered { ticket, outcome: Some(outcome) });
            }
        }
        self.rewires.touch(now, touched);
    }

    /// A login that the log had lost, or that this supernode proposed before it started anew, is committed all the same
    fn settle_unawaited(&mut self, now: Instant, outcome: &Outcome) {
        let Outcome::LoggedIn(logged_in) = outcome else { return };
        let session = self.directory.session(logged_in.session);
        let Some(session) = session.filter(|session| session.home == self.credentials.id) else { return };
        let session = session.id;
        if self.links.home_of(session).is_none() {
            self.logins().leave_unclaimed(now, session);
        } else {
            // It stands on another link, whose peer may be suspected: the login alone is no sign of life by now.
            if self.judgement.is_suspect(session).is_none() {
                self.judgement.handle_heard(now, session);
            }
            self.consequences().reconcile_session(session);
        }
    }

    /// Whoever waits is told to try again; what nobody waits for is proposed anew by whoever wanted it: an end each
    /// second by its clock, an unreachable pair by the next dial that fails, a suspicion and the degree by `again`
    fn handle_lost(&mut self, now: Instant, number: u64) {
        let Some((command, then)) = self.proposals.take_lost(number) else { return };
        tracing::warn!(event = "proposal_lost", ?command, reason = "the log has no leader, or another one");
        match then {
            Then::Admit { link, .. } => {
                let login = if let Command::LogIn(login) = command { Some(login) } else { None };
                self.logins().handle_lost(now, link, login);
            }
            Then::Move(session) => self.moves.handle_lost(now, session),
            Then::LoggedOut(link) => self.lose_logout(now, link, &command),
            Then::Answer(ticket) => self.links.output(SupernodeOutput::Answered { ticket, outcome: None }),
            Then::Nothing if mutant::is(Mutant::LostIsForgotten) => {}
            Then::Nothing => match command {
                Command::Suspect { session, .. } | Command::Clear { session, .. } => {
                    self.again.set(now + RETRY, Again::Session(session));
                }
                Command::Configure { .. } => self.again.set(now + RETRY, Again::Degree),
                _ => {}
            },
        }
    }

    /// A peer that wanted to go is gone, whatever the log says: what is left of its session ends as a lost one does
    fn lose_logout(&mut self, now: Instant, link: LinkId, command: &Command) {
        let refusal = Refusal::new(Status::Unavailable, "the supernodes could not agree on the logout in time", RETRY);
        self.links.tell(link, |admission| admission.handle_ended(&refusal));
        if let Command::LogOut { session } = *command {
            self.links.unsettle(session);
            self.judgement.handle_home_lost(now, session);
        }
    }

    /// Proposals go to the log all the same, whoever leads: it passes them on, or loses them
    fn handle_leader(&mut self, now: Instant, leader: Option<SupernodeId>) {
        if leader == self.leader {
            return;
        }
        tracing::info!(event = "leader_changed", before = ?self.leader, leader = ?leader, reason = "the log says so");
        self.leader = leader;
        self.homes.begin_anew(now, self.leads());
        self.handover.begin_anew(now, leader.is_some());
        // That this process stood still meanwhile makes it no shorter.
        let unled = std::mem::replace(&mut self.unled, leader.is_none().then_some(now));
        if leader.is_some() {
            self.judgement.handle_led(now, unled.map_or(Duration::ZERO, |since| now - since));
            self.moves.handle_led(now);
        } else {
            let asked = self.reads.give_up();
            self.requests().answer_stale(asked);
        }
    }

    /// Peers at home here are told, and supernodes dialled that are new
    fn handle_supernodes(&mut self, now: Instant, entries: Vec<SupernodeEntry>) {
        if self.members.set(now, entries) {
            self.backbone.plan(now, &self.members);
        }
    }
}
