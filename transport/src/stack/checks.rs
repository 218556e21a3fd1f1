//! Whether a session that was shown on a connection lasts, as the directory says.
//!
//! A grant is a supernode's word for the name and the place of a key when its session began; it holds no time.
//!
//! | the directory says | the connection |
//! |---|---|
//! | this key has this name, at this place | is admitted |
//! | this key has this name, elsewhere or nowhere | ends with 410: its session has ended |
//! | another key has the name, or nobody has, or the key was removed | ends with 403 |
//! | nothing, as it cannot be asked, is silent, or may say what was so before | is admitted, unless the last answer was no |
//!
//! The peer's own table, which came from the directory, admits as well, and neighbours' tables while nobody can be asked. One
//! answer is good for [`GOOD_FOR`]; who asks something after that is checked again meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kith_common::id::{Name, SessionId};
use kith_common::mutant::{self, Mutant};
use kith_common::names::Answer;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::grant::Grant;

use crate::output::ConnectionId;

/// How long an answer is good: a lease, after which a session that was not renewed has ended
pub const GOOD_FOR: Duration = Duration::from_secs(30);

/// Sessions that the directory has refused, and that are remembered: as many as connections; at the bound the oldest is forgotten
const REFUSED_MAX: usize = 1_024;

/// What is to become of a connection
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    /// Its end has this status, for this reason
    Refused(Status, &'static str),
}

/// What the directory was asked about one connection
#[derive(Debug)]
struct Check {
    grant: Grant,
    /// When the directory has last confirmed it
    confirmed: Option<Instant>,
    is_asked: bool,
    /// Whether it was the directory that has confirmed it, or this peer's own table while it has a home
    is_sure: bool,
}

/// The sessions that were shown on connections; as many as there are connections
#[derive(Debug, Default)]
pub(super) struct Checks {
    checks: BTreeMap<ConnectionId, Check>,
    /// What the directory has last said of sessions that it refuses, in the order in which it did
    refused: VecDeque<(SessionId, Verdict)>,
}

impl Checks {
    /// A grant was shown: the name to ask the directory for, unless a table of it `confirms` the grant
    pub(super) fn begin(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        grant: Grant,
        confirms: bool,
    ) -> Option<Name> {
        let confirms = confirms || mutant::is(Mutant::BindingUnchecked);
        let name = grant.name.clone();
        let confirmed = confirms.then_some(now);
        self.checks.insert(connection, Check { grant, confirmed, is_asked: !confirms, is_sure: false });
        (!confirms).then_some(name)
    }

    /// Somebody asks something over a connection: the name to ask the directory for, if its last answer is too old
    pub(super) fn renew(&mut self, now: Instant, connection: ConnectionId, confirms: bool) -> Option<Name> {
        let check = self.checks.get_mut(&connection)?;
        let is_good = check.confirmed.is_some_and(|at| now - at < GOOD_FOR) || mutant::is(Mutant::BindingUnchecked);
        if is_good || check.is_asked {
            return None;
        }
        if confirms {
            check.confirmed = Some(now);
            return None;
        }
        check.is_asked = true;
        Some(check.grant.name.clone())
    }

    /// What is known of the holder of `name` by now: the connections that were waiting for it
    pub(super) fn handle_resolved(
        &mut self,
        now: Instant,
        name: &Name,
        answer: Result<&Answer, Status>,
    ) -> Vec<(ConnectionId, Grant, Verdict)> {
        let asked = self.checks.iter_mut().filter(|(_, check)| check.is_asked && check.grant.name == *name);
        let judged = asked.map(|(connection, check)| {
            check.is_asked = false;
            let said = said(&check.grant, answer);
            if said == Some(Verdict::Admitted) {
                (check.confirmed, check.is_sure) = (Some(now), true);
            } else if said.is_none() && mutant::is(Mutant::LastBindingForgotten) {
                check.confirmed = None;
            }
            (*connection, check.grant.clone(), said)
        });
        let judged: Vec<_> = judged.collect();
        let verdict = |(connection, grant, said)| {
            let verdict = self.last(&grant, said);
            (connection, grant, verdict)
        };
        judged.into_iter().map(verdict).collect()
    }

    /// What the directory says of a session, or has said last; whoever it has said nothing of is let in
    fn last(&mut self, grant: &Grant, said: Option<Verdict>) -> Verdict {
        let before = self.refused.iter().position(|(session, _)| *session == grant.session);
        match (said, before.and_then(|at| self.refused.get(at).copied())) {
            (None, before) => before.map_or(Verdict::Admitted, |(_, verdict)| verdict),
            (Some(verdict), _) => {
                before.map(|at| self.refused.remove(at));
                if verdict != Verdict::Admitted {
                    if self.refused.len() >= REFUSED_MAX {
                        self.refused.pop_front();
                    }
                    self.refused.push_back((grant.session, verdict));
                }
                verdict
            }
        }
    }

    /// Whether the directory has last said that the session lasts: its silence changes nothing
    pub(super) fn is_confirmed(&self, connection: ConnectionId) -> bool {
        self.checks.get(&connection).is_some_and(|check| check.confirmed.is_some())
    }

    /// The peer's own table has the session, and a home keeps that table up to date
    pub(super) fn note_sure(&mut self, connection: ConnectionId) {
        self.checks.get_mut(&connection).into_iter().for_each(|check| check.is_sure = true);
    }

    /// Whether that, or the directory, has said so: neighbours' tables are good enough to be let in by, and for no more
    pub(super) fn is_sure(&self, connection: ConnectionId) -> bool {
        self.checks.get(&connection).is_some_and(|check| check.is_sure)
    }

    /// Whether the directory's answer is awaited
    pub(super) fn is_asked(&self, connection: ConnectionId) -> bool {
        self.checks.get(&connection).is_some_and(|check| check.is_asked)
    }

    /// Whose grant was shown last on a connection
    pub(super) fn grant(&self, connection: ConnectionId) -> Option<&Grant> {
        self.checks.get(&connection).map(|check| &check.grant)
    }

    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.checks.remove(&connection);
    }
}

/// What this answer means for the grant; nothing, if it is not the directory's, or not of now
fn said(grant: &Grant, answer: Result<&Answer, Status>) -> Option<Verdict> {
    match answer {
        Ok(answer @ Answer { record: Some(record), .. }) if answer.is_sure() => Some(if record.key != grant.key {
            Verdict::Refused(Status::NotAllowed, "its name belongs to another key")
        } else if record.address == grant.address {
            Verdict::Admitted
        } else {
            Verdict::Refused(Status::Gone, "its session has ended: it is elsewhere")
        }),
        Err(Status::NotFound) => Some(Verdict::Refused(Status::NotAllowed, "nobody has its name")),
        Err(Status::Gone) => Some(Verdict::Refused(Status::Gone, "its session has ended")),
        Ok(_) | Err(_) => None,
    }
}
