//! Commands on their way to the log: in the order of [`Queue`], in groups as large as the log is fast, and each with whoever
//! waits for it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::log::Proposal;
use super::pace::Pace;
use super::queue::{Full, Lane, Queue, Waiting};
use crate::directory::{Command, Directory, Outcome, Pair};
use crate::id::{SessionId, SupernodeId};
use crate::link::LinkId;
use crate::time::Instant;

/// What waits for a command
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nobody
    Nothing,
    /// The login on this link, which must be answered until then
    Admit { link: LinkId, until: Instant },
    /// The move of this session's home to this supernode, where it was taken up
    Move(SessionId),
    /// The logout on this link
    LoggedOut(LinkId),
    /// An operator, by this ticket
    Answer(u64),
}

/// A command that the log has been given
struct UnderWay {
    number: u64,
    command: Command,
    then: Then,
}

/// What waits for the log, and the group that the log has
///
/// The log has one group at a time: what comes meanwhile shares the next wait for the disk, and can be taken back.
#[derive(Default)]
pub(super) struct Proposals {
    waiting: Queue,
    under_way: VecDeque<UnderWay>,
    pace: Pace,
    next_number: u64,
}

/// How logins fare at present, for people
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginQueue {
    /// Logins that wait for the log
    pub waiting: usize,
    /// Commands that the log takes in a second, as was last measured; `None`: it never had more than it could take at once
    pub commands_per_second: Option<u32>,
    /// How long a newcomer that came now would wait; zero if nobody knows
    pub wait: Duration,
    /// Logins that were put off since this process began
    pub put_off: u64,
}

impl Proposals {
    /// Proposes a command that each session or operator has but one of, so that what it concerns bounds it
    pub(super) fn push(&mut self, command: Command, then: Then) {
        self.waiting.push(command, then);
    }

    /// Proposes a command that others can make at will, unless as many wait already as may
    pub(super) fn push_bounded(&mut self, command: Command, then: Then) -> Result<(), Full> {
        self.waiting.push_bounded(command, then)
    }

    /// Proposes the login on `link`, unless as many wait already as may
    pub(super) fn push_login(
        &mut self,
        command: Command,
        lane: Lane,
        link: LinkId,
        until: Instant,
    ) -> Result<(), Full> {
        self.waiting.push_login(command, lane, link, until)
    }

    /// Nobody waits for the login on `link` any more: unless the log has it, it never will
    pub(super) fn withdraw_login(&mut self, link: LinkId) {
        self.waiting.withdraw_login(link);
    }

    /// How long it is until a login that comes now is committed; zero if nobody knows
    pub(super) fn wait(&self, now: Instant, lane: Lane) -> Duration {
        let logins = self.waiting.logins_ahead(lane);
        let others = self.waiting.others_ahead(logins).max(self.pace.others_before(logins));
        self.pace.wait(now, logins + others)
    }

    /// What a command takes; `None`: nobody knows
    pub(super) fn cost(&self, now: Instant) -> Option<Duration> {
        self.pace.cost(now)
    }

    /// The link of the next login that has waited for so long that its answer would come too late
    pub(super) fn take_late(&mut self, now: Instant) -> Option<LinkId> {
        let done = now + self.pace.group_time(now, self.waiting.len());
        self.waiting.take_late(done)
    }

    /// When to call [`Self::take_late`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.next_deadline()
    }

    /// For people; `put_off`: how many were, so far
    pub(super) fn show(&self, now: Instant, put_off: u64) -> LoginQueue {
        let per_second = |cost: Duration| 1_000_000 / cost.as_micros().max(1);
        LoginQueue {
            waiting: self.waiting.logins(),
            commands_per_second: self.cost(now).map(|cost| u32::try_from(per_second(cost)).unwrap_or(u32::MAX)),
            wait: self.wait(now, Lane::New),
            put_off,
        }
    }

    /// This process stood still, and the log perhaps did not: how long the group takes says nothing
    pub(super) fn handle_held_up(&mut self) {
        self.pace.spoil();
    }

    /// Proposes a command of this supernode's own, which nobody waits for, if it would change anything
    pub(super) fn push_own(&mut self, directory: &Directory, command: Command) {
        match self.answer(directory, &command) {
            Some(outcome) => tracing::debug!(event = "command_needless", ?command, ?outcome),
            None => self.push(command, Then::Nothing),
        }
    }

    /// What the command comes to if it needs no place in the log
    pub(super) fn answer(&self, directory: &Directory, command: &Command) -> Option<Outcome> {
        // What is on its way may change the answer.
        directory.answer(command).filter(|_| self.is_idle())
    }

    /// Proposes the ends of sessions and pairs whose time is over, but for those on which something that is on its way
    /// decides: a slow log must not fill the queue
    pub(super) fn push_ends(
        &mut self,
        directory: &Directory,
        home: SupernodeId,
        sessions: Vec<SessionId>,
        pairs: Vec<Pair>,
    ) {
        if sessions.is_empty() && pairs.is_empty() {
            return;
        }
        let (mut decided, mut reuniting) = (BTreeSet::new(), BTreeSet::new());
        for command in self.commands() {
            match command {
                Command::Expire { session, .. } => drop(decided.insert(*session)),
                // Once granted it begins the lease anew; if it is refused, the lease ends a second later.
                Command::LogIn(login) => drop(decided.insert(login.session)),
                Command::ExpirePair { a, b, .. } => drop(reuniting.insert(Pair::of(*a, *b))),
                _ => {}
            }
        }
        for session in sessions.into_iter().filter(|session| !decided.contains(session)) {
            self.push_own(directory, Command::Expire { session, home });
        }
        for pair in pairs.into_iter().filter(|pair| !reuniting.contains(pair)) {
            let [a, b] = pair.ends();
            if let Some(parted) = directory.parted_at(pair) {
                self.push_own(directory, Command::ExpirePair { a, b, parted });
            }
        }
    }

    /// Takes the end of a lease back, unless the log has it
    pub(super) fn withdraw_end(&mut self, session: SessionId) {
        self.waiting.retain_ends(|waiting| !is_end_of(waiting, session));
    }

    /// Whether the log has the end of this session's lease, and has not said what became of it
    pub(super) fn is_end_under_way(&self, session: SessionId) -> bool {
        self.under_way.iter().any(|proposed| is_end_of(&proposed.command, session))
    }

    /// Everything of which the log has not said what became of it
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.under_way.iter().map(|proposed| &proposed.command).chain(self.waiting.commands())
    }

    /// What waits, as much of it as the log can take in a good time, if the log has nothing; logins that nobody `awaits` any
    /// more are forgotten. Without the time it is not measured.
    pub(super) fn next_group(
        &mut self,
        now: Option<Instant>,
        awaits: impl Fn(LinkId) -> bool,
    ) -> Option<Vec<Proposal>> {
        if !self.under_way.is_empty() || self.waiting.is_empty() {
            return None;
        }
        for Waiting { command, then, .. } in self.waiting.take(self.pace.size(), awaits) {
            self.under_way.push_back(UnderWay { number: self.next_number, command, then });
            self.next_number += 1;
        }
        if self.under_way.is_empty() {
            return None;
        }
        if let Some(now) = now {
            let logins = self.under_way.iter().filter(|proposed| matches!(proposed.then, Then::Admit { .. })).count();
            self.pace.begin(now, self.under_way.len(), logins, !self.waiting.is_empty());
        }
        let group = self.under_way.iter();
        Some(
            group
                .map(|UnderWay { number, command, .. }| Proposal { number: *number, command: command.clone() })
                .collect(),
        )
    }

    /// The log has committed the proposal of this number: the command, and who waits for it
    ///
    /// `None`: there is no such proposal, or the log has said so before.
    pub(super) fn take_committed(&mut self, now: Instant, number: u64) -> Option<(Command, Then)> {
        let taken = self.take(number);
        if self.under_way.is_empty() {
            self.pace.end(now);
        }
        taken
    }

    /// The log has lost the proposal of this number; likewise
    pub(super) fn take_lost(&mut self, number: u64) -> Option<(Command, Then)> {
        self.pace.spoil();
        self.take(number)
    }

    fn take(&mut self, number: u64) -> Option<(Command, Then)> {
        let at = self.under_way.iter().position(|proposed| proposed.number == number)?;
        self.under_way.remove(at).map(|UnderWay { command, then, .. }| (command, then))
    }

    /// Whether the log has said what became of everything
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }
}

/// Whether the command ends the lease of this session
fn is_end_of(command: &Command, of: SessionId) -> bool {
    matches!(command, Command::Expire { session, .. } if *session == of)
}
