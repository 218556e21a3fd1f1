//! What an operator asks for.

use rand_chacha::rand_core::Rng;

use super::Supernode;
use super::proposals::Then;
use crate::crypto::Signer;
use crate::directory::Command;
use crate::id::Name;
use crate::invite::Token;

impl<S: Signer> Supernode<S> {
    /// Frees `name`, and ends its session; answered by [`SupernodeOutput::Answered`](super::SupernodeOutput::Answered) with this `ticket`
    pub fn release(&mut self, name: Name, ticket: u64) {
        self.proposals.push(Command::Release { name }, Then::Answer(ticket));
    }

    /// Bars the key that owns `name` for good, and ends its session; answered by
    /// [`SupernodeOutput::Answered`](super::SupernodeOutput::Answered) with this `ticket`
    pub fn remove(&mut self, name: Name, ticket: u64) {
        self.proposals.push(Command::Remove { name }, Then::Answer(ticket));
    }

    /// Makes an invite that lets `uses` newcomers in (one with `name`, if that is given) for at least so many `minutes`, or
    /// until it is used up; answered by [`SupernodeOutput::Answered`](super::SupernodeOutput::Answered) with this `ticket`
    pub fn invite(&mut self, name: Option<Name>, uses: u32, minutes: Option<u32>, ticket: u64) {
        let mut token = Token([0; 16]);
        self.rng.fill_bytes(&mut token.0);
        self.proposals.push(Command::Invite { token, name, uses, minutes }, Then::Answer(ticket));
    }
}
