//! Fates, once those on their paths have names.

use std::collections::BTreeSet;

use super::{Outcome, Output, Peer};
use crate::crypto::Signer;
use crate::id::{Name, ShortId};
use crate::mail::outbox::Fate;
use crate::time::Instant;
use crate::wire::content::PathHop;
use crate::wire::session::Subject;

/// Fates that wait for names at most: as many as there may be sends under way
pub const UNNAMED_MAX: usize = crate::mail::outbox::IN_FLIGHT_MAX;

/// A fate that is known but for the names of those on its path
#[derive(Debug)]
pub(super) struct Unnamed {
    outcome: Outcome,
    missing: BTreeSet<ShortId>,
}

impl<S: Signer> Peer<S> {
    pub(super) fn on_fate(&mut self, now: Instant, mut fate: Fate) {
        let trace = self.traces.take(&fate.id);
        for hop in fate.path.iter_mut().filter(|hop| is_unnamed(hop)) {
            hop.name = self.neighbourhood.name_of(hop.short);
        }
        let missing: BTreeSet<ShortId> = fate.path.iter().filter(|hop| is_unnamed(hop)).map(|hop| hop.short).collect();
        let outcome = Outcome { fate, trace };
        if missing.is_empty() || self.home_link().is_none() || self.unnamed.len() >= UNNAMED_MAX {
            return self.outputs.push_back(Output::Done(outcome));
        }
        self.unnamed.push(Unnamed { outcome, missing: missing.clone() });
        for short in missing {
            self.resolve(now, Subject::ShortId(short), false);
        }
    }

    /// `short` is found, or will not be: fates that wait for nothing else are told
    pub(super) fn on_named(&mut self, short: ShortId, name: Option<&Name>) {
        for Unnamed { outcome, missing } in &mut self.unnamed {
            if !missing.remove(&short) {
                continue;
            }
            for hop in outcome.fate.path.iter_mut().filter(|hop| hop.short == short) {
                hop.name = hop.name.take().or_else(|| name.cloned());
            }
        }
        let named = self.unnamed.extract_if(.., |unnamed| unnamed.missing.is_empty());
        self.outputs.extend(named.map(|unnamed| Output::Done(unnamed.outcome)));
    }
}

fn is_unnamed(hop: &PathHop) -> bool {
    hop.name.is_none() && !hop.relay
}
