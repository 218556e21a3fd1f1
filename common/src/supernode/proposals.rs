//! Commands on their way to the log: in order, in groups, and each with whoever waits for it.

use std::collections::{BTreeSet, VecDeque};

use super::log::Proposal;
use crate::directory::{Command, Directory, Outcome, Pair};
use crate::id::{SessionId, SupernodeId};
use crate::link::LinkId;

/// Commands of others that wait for the log at most: a second of what one disk does; the next one is refused
pub const WAITING_MAX: usize = 4_096;

/// Commands that the log is given in one go: applying so many takes some milliseconds, and between two groups whatever
/// else has come is handled
pub const GROUP_MAX: usize = 256;

/// What waits for a command
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nobody
    Nothing,
    /// The login on this link
    Admit(LinkId),
    /// The move of this session's home to this supernode, where it was taken up
    Move(SessionId),
    /// The logout on this link
    LoggedOut(LinkId),
    /// An operator, by this ticket
    Answer(u64),
}

/// As many wait as may
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

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
    waiting: VecDeque<(Command, Then)>,
    under_way: VecDeque<UnderWay>,
    next_number: u64,
}

impl Proposals {
    /// Proposes a command that each session or operator has but one of, so that what it concerns bounds it
    pub(super) fn push(&mut self, command: Command, then: Then) {
        self.waiting.push_back((command, then));
    }

    /// Proposes a command that others can make at will, unless [`WAITING_MAX`] wait already
    pub(super) fn push_bounded(&mut self, command: Command, then: Then) -> Result<(), Full> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(Full);
        }
        self.push(command, then);
        Ok(())
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
        self.waiting.retain(|(waiting, _)| !is_end_of(waiting, session));
    }

    /// Whether the log has the end of this session's lease, and has not said what became of it
    pub(super) fn is_end_under_way(&self, session: SessionId) -> bool {
        self.under_way.iter().any(|proposed| is_end_of(&proposed.command, session))
    }

    /// Everything of which the log has not said what became of it
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.under_way.iter().map(|proposed| &proposed.command).chain(self.waiting.iter().map(|(command, _)| command))
    }

    /// What waits, [`GROUP_MAX`] of it at most, if the log has nothing
    pub(super) fn next_group(&mut self) -> Option<Vec<Proposal>> {
        if !self.under_way.is_empty() || self.waiting.is_empty() {
            return None;
        }
        let group = self.waiting.len().min(GROUP_MAX);
        for (command, then) in self.waiting.drain(..group) {
            self.under_way.push_back(UnderWay { number: self.next_number, command, then });
            self.next_number += 1;
        }
        let group = self.under_way.iter();
        Some(
            group
                .map(|UnderWay { number, command, .. }| Proposal { number: *number, command: command.clone() })
                .collect(),
        )
    }

    /// The log has said what became of the proposal of this number: the command, and who waits for it
    ///
    /// `None`: there is no such proposal, or the log has said so before.
    pub(super) fn take(&mut self, number: u64) -> Option<(Command, Then)> {
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
