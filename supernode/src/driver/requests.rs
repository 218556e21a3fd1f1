//! The verbs of the control socket.

use kith_common::directory::{Outcome, Session, SuspectReason};
use kith_common::id::{Key, Name, NetworkId, SupernodeId};
use kith_common::invite::Invitation;
use kith_common::session::listening;
use kith_common::status::Status;
use kith_common::supernode::{self, BudgetKind};
use kith_common::time::Instant;
use kith_common::wire::bounded::Bounded;
use kith_common::wire::session::{Location, Record};
use kith_runtime::control;
use kith_runtime::control::server::{ControlRequest, Reply};
use kith_runtime::control::supernode::{
    Budget, InviteAnswer, LoginQueue, Member, MemberState, PlaceOnRing, ReleaseAnswer, RemoveAnswer, Request,
    StatusAnswer, TableEntry,
};
use kith_runtime::identity::peer_id_of;

use super::Driver;

fn budget(budget: supernode::Budget) -> Budget {
    let what = match budget.kind {
        BudgetKind::Places => "new places of a key",
        BudgetKind::Names => "new names of a network",
        BudgetKind::Logins => "logins of a network",
        BudgetKind::Invited => "newcomers by an invite",
    };
    Budget {
        what: what.into(),
        burst: budget.burst,
        every_ms: budget.every.as_millis() as u64,
        owners: budget.owners as u64,
        least_left: budget.least_left,
        refused: budget.refused,
    }
}

fn logins(queue: supernode::LoginQueue) -> LoginQueue {
    LoginQueue {
        waiting: queue.waiting as u64,
        commands_per_second: queue.commands_per_second,
        wait_ms: queue.wait.as_millis() as u64,
        put_off: queue.put_off,
    }
}

impl Driver {
    pub(super) fn handle_request(&mut self, ControlRequest { request, reply }: ControlRequest<Request>) {
        match request {
            Request::Status => self.tell_status(reply),
            Request::Peers => self.listing.list_peers(self.is_stale(), reply),
            Request::Lookup { name } => self.look_up(&name, reply),
            Request::Ring => self.listing.list_ring(self.core.directory().epoch().index, reply),
            Request::Remove { name } => {
                let ticket = self.ticket(Asker::Remove(reply));
                self.core.remove(name, ticket);
            }
            Request::Release { name } => self.release(name, reply),
            Request::Members => self.tell_members(reply),
            Request::Backup { path } => self.back_up(path, reply),
            Request::RemoveSupernode { serial, leaves_one } => self.remove_supernode(serial, leaves_one, reply),
            Request::Invite { name, uses, minutes, at } => {
                let at = at.iter().map(|at| Location::truncated(at)).collect();
                self.invite(Terms { name, uses, minutes }, at, reply);
            }
        }
    }

    /// Without a log nobody can log in: that is no health, whatever else goes on
    fn tell_status(&mut self, reply: Reply) {
        let status = self.status();
        // Who asks has perhaps just made room.
        if self.log_fault.is_some() {
            self.log.try_disk();
        }
        reply.finish(if status.reason.is_none() { Status::Delivered } else { Status::Unavailable }, &status);
    }

    /// Why it can do only a part of what it is for, and what to do
    fn trouble(&self) -> Option<String> {
        if let Some(fault) = &self.log_fault {
            return Some(format!("logins wait, as the log cannot be written: {fault}"));
        }
        if self.core.leader().is_some() {
            return None;
        }
        if !self.other_logs.is_empty() {
            let those: Vec<String> = self.other_logs.iter().map(ToString::to_string).collect();
            let those = those.join(" and ");
            return Some(format!(
                "logins wait, as supernode {those} has another log than this one: one of the two was put back from a backup. If \
                 that is the one to go on from, stop this one, and start another one in an empty home: kith-supernode run \
                 --join ADDRESS"
            ));
        }
        let voters = self.voters();
        if voters.is_empty() {
            return Some(
                "logins wait, as no supernode has let this one in yet: is one of those to join there?".to_owned(),
            );
        }
        let missing: Vec<String> =
            voters.iter().filter(|(_, reached)| !reached).map(|(id, _)| id.to_string()).collect();
        let (needed, reached) = (voters.len() / 2 + 1, voters.len() - missing.len());
        if reached >= needed {
            return Some("logins wait, as nobody leads the log; a leader is being sought".to_owned());
        }
        let (of, lacking) = (voters.len(), needed - reached);
        let start = match (lacking == missing.len(), missing.as_slice()) {
            (true, [one]) => format!("start supernode {one}, or mend the way to it"),
            (true, all) => format!("start supernodes {}, or mend the ways to them", all.join(" and ")),
            (false, some) => format!("start {lacking} of the supernodes {}, or mend a way to them", some.join(", ")),
        };
        Some(format!(
            "logins wait, as too few supernodes agree: {reached} of {of} that vote are reached from here, and {needed} must be; \
             {start}. The mesh and its messages go on"
        ))
    }

    /// Who votes, and whether it is reached
    fn voters(&self) -> Vec<(SupernodeId, bool)> {
        let voters = self.core.supernodes().filter(|standing| standing.entry.is_voter);
        voters.map(|standing| (standing.entry.id, standing.entry.id == self.id || standing.link.is_some())).collect()
    }

    fn status(&self) -> StatusAnswer {
        let directory = self.core.directory();
        let (standing, voters, counts) = (self.log.standing(), self.voters(), self.links.counters().counts());
        StatusAnswer {
            network: format!("{:?}", self.admission.network),
            key: format!("{:?}", self.key),
            peer_id: peer_id_of(&self.key).map(|id| id.to_string()).unwrap_or_default(),
            listen: self.listen.texts(),
            degree: directory.degree(),
            lease_s: self.admission.lease.as_secs(),
            epoch: directory.epoch().index,
            log_index: directory.applied(),
            serial: self.id.0,
            leader: self.core.leader().map(|leader| leader.0),
            term: standing.term,
            lag: standing.last_entry.saturating_sub(standing.applied_entry),
            supernodes: self.core.supernodes().count() as u64,
            voters: voters.len() as u64,
            voters_reached: voters.iter().filter(|(_, reached)| *reached).count() as u64,
            reason: self.trouble(),
            names: directory.accounts().len() as u64,
            members: directory.members().len() as u64,
            suspects: directory.suspects().count() as u64,
            unreachable_pairs: directory.pairs().count() as u64,
            homes: self.core.homes() as u64,
            links: self.core.links() as u64,
            refused_connections: counts.refused_connections,
            failed_handshakes: counts.failed_handshakes,
            secret_required: self.admission.secret.is_some(),
            open: self.admission.takes_anybody(),
            invites: directory.invites().count() as u64,
            unused: directory.unused() as u64,
            budgets: self.core.budgets(self.clock.now()).map(budget).into(),
            logins: logins(self.core.login_queue(self.clock.now())),
            uptime_s: self.clock.now().since(Instant::ZERO).as_secs(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
        }
    }

    pub(super) fn member(&self, name: &Name, key: Key, session: Option<&Session>) -> Member {
        Member {
            name: name.clone(),
            key: format!("{key:?}"),
            peer_id: peer_id_of(&key).map(|id| id.to_string()).unwrap_or_default(),
            state: match session {
                None if self.core.directory().is_removed(&key) => MemberState::Removed,
                None => MemberState::LoggedOut,
                Some(session) if session.suspect.is_some() => MemberState::Suspect,
                Some(_) => MemberState::LoggedIn,
            },
            reason: session.and_then(|session| session.suspect).map(SuspectReason::text).map(str::to_owned),
            address: session.map(|session| control::address(session.address)),
            locations: session.iter().flat_map(|s| &s.locations).map(|location| location.to_string()).collect(),
            home: session.is_some_and(|session| self.core.home_of(session.id).is_some()),
            since_epoch: session.map(|session| session.epoch.index),
            stale: self.is_stale(),
        }
    }

    /// Whether others may have agreed on what this supernode has not heard of, or nobody can
    pub(super) fn is_stale(&self) -> bool {
        self.core.leader().is_none()
    }

    fn look_up(&self, name: &Name, reply: Reply) {
        let directory = self.core.directory();
        let Some(account) = directory.account(name) else {
            return reply.refuse(
                Status::NotFound,
                format!("nobody is called {name}"),
                Some("kith-supernode peers".into()),
            );
        };
        let session = account.session.and_then(|session| directory.session(session));
        let status = if session.is_some() { Status::Delivered } else { Status::Gone };
        reply.finish(status, &self.member(name, account.key, session));
    }

    pub(super) fn place(&self, session: &Session) -> Option<PlaceOnRing> {
        let rewire = self.core.directory().neighbourhood(session.address)?;
        let entry =
            |record: &Record| TableEntry { name: record.name.clone(), address: control::address(record.address) };
        Some(PlaceOnRing {
            name: session.name.clone(),
            address: control::address(session.address),
            table_epoch: rewire.epoch.index,
            neighbours: rewire.neighbours.iter().map(entry).collect(),
        })
    }

    fn release(&mut self, name: Name, reply: Reply) {
        let ticket = self.ticket(Asker::Release(reply));
        self.core.release(name, ticket);
    }

    fn invite(&mut self, terms: Terms, at: Vec<Location>, reply: Reply) {
        if self.admission.secret.is_some() {
            let reason = "newcomers of this network must know its secret, and need no invites";
            return reply.refuse(Status::Conflict, reason, None);
        }
        let at = if at.is_empty() { listening(self.listen.addresses()).iter().cloned().collect() } else { at };
        if at.is_empty() {
            let reason = "it listens nowhere that others can reach; say where with --at HOST:PORT";
            return reply.refuse(Status::Unavailable, reason, None);
        }
        let Terms { name, uses, minutes } = terms.clone();
        let ticket = self.ticket(Asker::Invite { reply, terms, at });
        self.core.invite(name, uses, minutes, ticket);
    }

    fn ticket(&mut self, asker: Asker) -> u64 {
        let ticket = self.next_ticket;
        self.askers.insert(ticket, asker);
        self.next_ticket += 1;
        ticket
    }

    /// What was asked for with `ticket` is durable, refused, or lost
    pub(super) fn answer(&mut self, ticket: u64, outcome: Option<&Outcome>) {
        let Some(asker) = self.askers.remove(&ticket) else { return };
        match outcome {
            None => {
                let reason = "the supernodes could not agree on it in time; try again";
                asker.into_reply().refuse(Status::Unavailable, reason, None);
            }
            Some(Outcome::Refused(reason)) => {
                let hint = matches!(asker, Asker::Release(_) | Asker::Remove(_)).then(|| "kith-supernode peers".into());
                asker.into_reply().refuse(reason.status(), reason.to_string(), hint);
            }
            Some(outcome) => asker.answer(outcome, self.admission.network),
        }
    }
}

/// What an invite is good for
#[derive(Clone, Debug)]
pub(super) struct Terms {
    name: Option<Name>,
    uses: u32,
    minutes: Option<u32>,
}

/// An operator who waits for the log
pub(super) enum Asker {
    Release(Reply),
    Remove(Reply),
    Invite { reply: Reply, terms: Terms, at: Vec<Location> },
}

impl Asker {
    fn into_reply(self) -> Reply {
        match self {
            Self::Release(reply) | Self::Remove(reply) | Self::Invite { reply, .. } => reply,
        }
    }

    fn answer(self, outcome: &Outcome, network: NetworkId) {
        match (self, outcome) {
            (Self::Release(reply), Outcome::Ended(_)) => {
                reply.finish(Status::Delivered, &ReleaseAnswer { was_logged_in: true });
            }
            (Self::Release(reply), Outcome::Released) => {
                reply.finish(Status::Delivered, &ReleaseAnswer { was_logged_in: false });
            }
            (Self::Remove(reply), Outcome::Ended(_)) => {
                reply.finish(Status::Delivered, &RemoveAnswer { was_logged_in: true });
            }
            (Self::Remove(reply), Outcome::Removed | Outcome::Unchanged(_)) => {
                reply.finish(Status::Delivered, &RemoveAnswer { was_logged_in: false });
            }
            (Self::Invite { reply, terms, at }, Outcome::Invited(token)) => {
                let Terms { name, uses, minutes } = terms;
                let supernodes = Bounded::truncated(at);
                let at = supernodes.iter().map(ToString::to_string).collect();
                let invitation = Invitation { network, token: *token, name: name.clone(), supernodes };
                let invite = invitation.to_string();
                reply.finish(Status::Delivered, &InviteAnswer { invite, name, uses, minutes, at });
            }
            (asker, other) => {
                asker.into_reply().refuse(Status::Failed, format!("unexpected outcome: {other:?}"), None);
            }
        }
    }
}
