//! Invites: who may take a first name in a network that takes nobody else.
//!
//! An invite's end is counted in minutes for which a supernode led the log: each is a command, so that all directories
//! agree on it, no wall clock has a say, and the count stands still while nobody runs.

use std::collections::BTreeMap;

use super::outcome::Refusal;
use crate::id::{InviteId, Name};
use crate::invite::Token;
use crate::mutant::{self, Mutant};

/// Invites that are kept at most, some 100 bytes each; at the bound those that are used up or expired are forgotten, and
/// if there is none of them the next one is refused with 429
pub const INVITES_MAX: usize = 4_096;

/// What an invite is good for
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// What a newcomer proves
    pub token: Token,
    /// The only name that it is good for, if it is for one
    pub name: Option<Name>,
    /// Newcomers that it still lets in
    pub uses: u32,
    /// The minute at which it ends, if it does
    pub until: Option<u64>,
}

impl Invite {
    /// Whether it still lets somebody in at this minute
    fn is_good(&self, minute: u64) -> bool {
        self.uses > 0 && self.until.is_none_or(|until| minute < until)
    }
}

/// All invites, and the minutes that have passed
#[derive(Clone, Debug, Default)]
pub(super) struct Invites {
    minute: u64,
    by_id: BTreeMap<InviteId, Invite>,
    /// How many of those that are good end after some more minutes: asked for with every command, so it is kept
    ending: usize,
}

impl Invites {
    /// None, after so many minutes
    pub(super) fn at(minute: u64) -> Self {
        Self { minute, ..Self::default() }
    }

    /// Minutes that have passed
    pub(super) const fn minute(&self) -> u64 {
        self.minute
    }

    /// One more minute has passed
    pub(super) fn pass_minute(&mut self) {
        self.minute += 1;
        self.count_ending();
    }

    fn count_ending(&mut self) {
        self.ending = self.good().filter(|invite| invite.until.is_some()).count();
    }

    pub(super) fn get(&self, id: &InviteId) -> Option<&Invite> {
        self.by_id.get(id)
    }

    /// In the order of their ids
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&InviteId, &Invite)> {
        self.by_id.iter()
    }

    /// Those that still let somebody in
    pub(super) fn good(&self) -> impl Iterator<Item = &Invite> {
        self.by_id.values().filter(|invite| invite.is_good(self.minute))
    }

    pub(super) fn judge_new(&self, uses: u32) -> Result<(), Refusal> {
        if uses == 0 {
            return Err(Refusal::InviteForNobody);
        }
        if self.good().count() >= INVITES_MAX { Err(Refusal::InvitesFull) } else { Ok(()) }
    }

    /// A new one that ends after at least `minutes`: the present minute has begun already
    pub(super) fn add(&mut self, token: Token, name: Option<Name>, uses: u32, minutes: Option<u32>) {
        if self.by_id.len() >= INVITES_MAX {
            self.by_id.retain(|_, invite| invite.is_good(self.minute));
        }
        let until = minutes.map(|minutes| self.minute.saturating_add(u64::from(minutes)).saturating_add(1));
        self.by_id.insert(token.id(), Invite { token, name, uses, until });
        self.count_ending();
    }

    /// Whether this invite lets a newcomer take `name`
    pub(super) fn judge_use(&self, id: &InviteId, name: &Name) -> Result<(), Refusal> {
        let invite = self.by_id.get(id).ok_or(Refusal::InviteUnknown)?;
        let only = invite.name.as_ref().filter(|_| !mutant::is(Mutant::InviteForAnotherName));
        if let Some(other) = only.filter(|only| *only != name) {
            return Err(Refusal::InviteForOther(other.clone()));
        }
        if invite.uses == 0 {
            return Err(Refusal::InviteSpent);
        }
        let is_good = invite.is_good(self.minute) || mutant::is(Mutant::InviteAfterItsTerm);
        if is_good { Ok(()) } else { Err(Refusal::InviteExpired) }
    }

    /// A newcomer has come by it
    pub(super) fn consume(&mut self, id: &InviteId) {
        if let Some(invite) = self.by_id.get_mut(id).filter(|_| !mutant::is(Mutant::InviteUsedTwice)) {
            invite.uses = invite.uses.saturating_sub(1);
            self.count_ending();
        }
    }

    /// Whether a passing minute matters to anything
    pub(super) const fn has_ending(&self) -> bool {
        self.ending > 0
    }

    /// As a snapshot has it; `false` if there are more than there can be, or not in order
    pub(super) fn restore(&mut self, invite: Invite) -> bool {
        let id = invite.token.id();
        let in_order = self.by_id.last_key_value().is_none_or(|(last, _)| *last < id);
        let counts = usize::from(invite.is_good(self.minute) && invite.until.is_some());
        let is_taken = in_order && self.by_id.len() < INVITES_MAX && self.by_id.insert(id, invite).is_none();
        self.ending += if is_taken { counts } else { 0 };
        is_taken
    }
}
