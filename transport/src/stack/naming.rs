//! Names of those on the ways of receipts, before fates are told.

use std::collections::BTreeMap;

use kith_common::crypto::Signer;
use kith_common::id::Name;
use kith_common::wire::content::PathHop;

use super::messages::MessageFate;
use super::{Stack, StackOutput};

/// Receivers whose last way is remembered with its names: as many as there may be connections; at the bound all are forgotten
const NAMED_MAX: usize = 1_024;

/// Fates that wait for names, and names that were found
#[derive(Debug, Default)]
pub(super) struct Naming {
    waiting: BTreeMap<u64, (MessageFate, Option<u64>)>,
    last_ticket: u64,
    /// The last way to each receiver: the next message mostly takes the same
    named: BTreeMap<Name, Vec<PathHop>>,
}

impl Naming {
    /// The names of a path, if it is the one that the last message to the same receiver took; of some there is none to be found
    fn recall(&self, to: &Name, path: &[PathHop]) -> Option<Vec<PathHop>> {
        let known = self.named.get(to)?;
        let is_same = known.iter().map(|hop| hop.short).eq(path.iter().map(|hop| hop.short));
        is_same.then(|| known.clone())
    }
}

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// A message has its fate; it is told once those on its way have names, or cannot be found
    pub(super) fn tell_ended(&mut self, mut fate: MessageFate, stored: Option<u64>) {
        let is_unnamed = fate.path.iter().any(PathHop::is_unnamed);
        let known = if is_unnamed { self.naming.recall(&fate.to, &fate.path) } else { None };
        if known.is_some() || !is_unnamed {
            fate.path = known.unwrap_or(fate.path);
            return self.outputs.push_back(StackOutput::Ended { fate, stored });
        }
        self.naming.last_ticket += 1;
        let (ticket, path) = (self.naming.last_ticket, fate.path.clone());
        // As many wait as the peer lets: it answers at once where there is no room.
        self.naming.waiting.insert(ticket, (fate, stored));
        self.peer.name_path(ticket, path);
    }

    pub(super) fn handle_named(&mut self, ticket: u64, path: &[PathHop]) {
        let Some((mut fate, stored)) = self.naming.waiting.remove(&ticket) else { return };
        fate.path = path.to_vec();
        if self.naming.named.len() >= NAMED_MAX {
            self.naming.named.clear();
        }
        self.naming.named.insert(fate.to.clone(), fate.path.clone());
        self.outputs.push_back(StackOutput::Ended { fate, stored });
    }
}
