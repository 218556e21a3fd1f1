//! Commands on their way to the disk: in order, in groups, and applied only when they are durable.

use std::collections::VecDeque;

use crate::directory::Command;
use crate::link::LinkId;

/// Commands of others that wait for the disk at most: a second of what one disk does; the next one is refused
pub const WAITING_MAX: usize = 4_096;

/// Who waits for a command
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nobody
    Nothing,
    /// The login on this link
    Admit(LinkId),
    /// The logout on this link
    LoggedOut(LinkId),
    /// An operator, by this ticket
    Answer(u64),
}

/// As many wait as may
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The queue before the disk, and the group that is on its way there
pub(super) struct Queue {
    waiting: VecDeque<(Command, Then)>,
    writing: VecDeque<(Command, Then)>,
    next_index: u64,
}

impl Queue {
    /// `applied`: the index of the last command in the log
    pub(super) fn new(applied: u64) -> Self {
        Self { waiting: VecDeque::new(), writing: VecDeque::new(), next_index: applied + 1 }
    }

    /// Puts a command of the supernode's own into the queue, or one that each session or operator has but one of: these
    /// are bounded by what they concern
    pub(super) fn push(&mut self, command: Command, then: Then) {
        self.waiting.push_back((command, then));
    }

    /// Puts a command that others can make at will into the queue, unless [`WAITING_MAX`] wait already
    pub(super) fn propose(&mut self, command: Command, then: Then) -> Result<(), Full> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(Full);
        }
        self.push(command, then);
        Ok(())
    }

    /// Takes a command that is on nobody's behalf back, unless it is on its way to the disk
    pub(super) fn withdraw(&mut self, command: &Command) {
        self.waiting.retain(|(waiting, _)| waiting != command);
    }

    /// Whether this command is on its way to the disk
    pub(super) fn is_writing(&self, command: &Command) -> bool {
        self.writing.iter().any(|(writing, _)| writing == command)
    }

    /// Everything that is not yet applied
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.writing.iter().chain(&self.waiting).map(|(command, _)| command)
    }

    /// Everything that waits, if nothing is on its way to the disk
    pub(super) fn next_group(&mut self) -> Option<Vec<Command>> {
        if !self.writing.is_empty() || self.waiting.is_empty() {
            return None;
        }
        std::mem::swap(&mut self.waiting, &mut self.writing);
        Some(self.writing.iter().map(|(command, _)| command.clone()).collect())
    }

    /// The group on its way is durable: its commands with their indices, to be applied in this order
    pub(super) fn take_durable(&mut self) -> Vec<(u64, Command, Then)> {
        let first = self.next_index;
        let group: Vec<_> =
            self.writing.drain(..).zip(first..).map(|((command, then), index)| (index, command, then)).collect();
        self.next_index += group.len() as u64;
        group
    }

    /// Whether everything proposed is applied
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_empty()
    }
}
