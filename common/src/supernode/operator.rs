//! What an operator asks for, and what ends by the minutes that are counted.

use std::time::Duration;

use rand_chacha::rand_core::Rng;

use super::budgets::Budget;
use super::proposals::Then;
use super::{Supernode, SupernodeOutput};
use crate::crypto::Signer;
use crate::directory::{Command, Outcome, Refusal};
use crate::id::Name;
use crate::invite::Token;
use crate::time::Instant;

/// What [`Command::Minute`] counts
const MINUTE: Duration = Duration::from_secs(60);

impl<S: Signer> Supernode<S> {
    /// Frees `name`, and ends its session; answered by [`SupernodeOutput::Answered`] with this `ticket`
    pub fn release(&mut self, name: Name, ticket: u64) {
        self.propose_for_operator(Command::Release { name }, ticket);
    }

    /// Bars the key that owns `name` for good, and ends its session; answered by
    /// [`SupernodeOutput::Answered`] with this `ticket`
    pub fn remove(&mut self, name: Name, ticket: u64) {
        self.propose_for_operator(Command::Remove { name }, ticket);
    }

    /// Makes an invite that lets `uses` newcomers in (one with `name`, if that is given) for at least so many `minutes`, or
    /// until it is used up, unless the name is somebody's already; answered by [`SupernodeOutput::Answered`] with this `ticket`
    pub fn invite(&mut self, name: Option<Name>, uses: u32, minutes: Option<u32>, ticket: u64) {
        if let Some(owned) = name.as_ref().filter(|name| self.directory.account(name).is_some()) {
            let outcome = Some(Outcome::Refused(Refusal::InviteForOwned(owned.clone())));
            return self.links.output(SupernodeOutput::Answered { ticket, outcome });
        }
        let mut token = Token([0; 16]);
        self.rng.fill_bytes(&mut token.0);
        self.propose_for_operator(Command::Invite { token, name, uses, minutes }, ticket);
    }

    /// How long the log takes for a group that begins with this is not measured, as nobody has said when it began
    fn propose_for_operator(&mut self, command: Command, ticket: u64) {
        self.now = None;
        self.proposals.push(command, Then::Answer(ticket));
    }

    /// The log may be an older copy of itself, as nobody else has one to compare it with: epochs are of this incarnation,
    /// which is drawn anew, before anybody is told a table
    pub fn incarnate(&mut self, incarnation: u32) {
        self.proposals.push_own(&self.directory, Command::Incarnate { incarnation });
    }

    /// What keys, networks and invites may ask for, and have asked for
    pub fn budgets(&self, now: Instant) -> [Budget; 4] {
        self.budgets.show(now)
    }

    /// Counts the minutes while this supernode leads and something ends by them
    ///
    /// A start begins a new minute, so that what ends lasts a little longer with every start, never shorter.
    pub(super) fn count_minutes(&mut self, now: Instant) {
        let counts = self.leader == Some(self.credentials.id) && self.directory.counts_minutes();
        match self.minute.filter(|_| counts) {
            Some(due) if now < due => {}
            Some(_) => {
                self.proposals.push_own(&self.directory, Command::Minute);
                self.minute = Some(now + MINUTE);
            }
            None => self.minute = counts.then(|| now + MINUTE),
        }
    }
}
