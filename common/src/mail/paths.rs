//! Fates, once those on their paths have names.

use std::collections::BTreeSet;

use super::{IN_FLIGHT_MAX, Outcome};
use crate::id::{Name, ShortId};
use crate::wire::content::PathHop;

/// Fates that wait for names at most: as many as there may be sends under way. One more is told without
const UNNAMED_MAX: usize = IN_FLIGHT_MAX;

/// Outcomes that are known but for the names of those on their paths
#[derive(Debug, Default)]
pub(super) struct Paths {
    unnamed: Vec<Unnamed>,
}

#[derive(Debug)]
struct Unnamed {
    outcome: Outcome,
    missing: BTreeSet<ShortId>,
}

impl Paths {
    /// Takes an outcome that waits for names, and says which are missing
    ///
    /// # Errors
    /// The outcome is to be told as it is: no name is missing, or there is no room to wait.
    pub(super) fn wait(&mut self, outcome: Outcome) -> Result<BTreeSet<ShortId>, Box<Outcome>> {
        let unnamed = outcome.fate.path.iter().filter(|hop| is_unnamed(hop));
        let missing: BTreeSet<ShortId> = unnamed.map(|hop| hop.short).collect();
        if missing.is_empty() || self.unnamed.len() >= UNNAMED_MAX {
            return Err(Box::new(outcome));
        }
        self.unnamed.push(Unnamed { outcome, missing: missing.clone() });
        Ok(missing)
    }

    /// `short` is found, or will not be: returns the outcomes that wait for nothing else
    pub(super) fn handle_named(&mut self, short: ShortId, name: Option<&Name>) -> impl Iterator<Item = Outcome> {
        for Unnamed { outcome, missing } in &mut self.unnamed {
            if !missing.remove(&short) {
                continue;
            }
            for hop in outcome.fate.path.iter_mut().filter(|hop| hop.short == short) {
                hop.name = hop.name.take().or_else(|| name.cloned());
            }
        }
        self.unnamed.extract_if(.., |unnamed| unnamed.missing.is_empty()).map(|unnamed| unnamed.outcome)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.unnamed.is_empty()
    }
}

/// Whether it is somebody whose name is to be found out; a supernode has none
pub(super) fn is_unnamed(hop: &PathHop) -> bool {
    hop.name.is_none() && !hop.relay
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::MessageId;
    use crate::mail::{Fate, Reason};
    use crate::status::Status;

    fn stranger(n: u32) -> PathHop {
        PathHop { short: ShortId(n), relay: false, name: None }
    }

    fn outcome(path: Vec<PathHop>) -> Outcome {
        let fate = Fate {
            id: MessageId([1; 16]),
            to: "heidi".parse().unwrap(),
            status: Status::Delivered,
            path,
            elapsed: Duration::ZERO,
            transmissions: 1,
            reason: Reason::Replied,
            body: Default::default(),
        };
        Outcome { fate, trace: None }
    }

    #[test]
    fn outcome_waits_for_the_last_name_and_one_name_serves_all() {
        let mut paths = Paths::default();
        let name: Name = "carol".parse().unwrap();
        paths.wait(outcome(vec![stranger(1), stranger(2), stranger(1)])).unwrap();
        paths.wait(outcome(vec![stranger(1)])).unwrap();
        let told: Vec<Outcome> = paths.handle_named(ShortId(1), Some(&name)).collect();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].fate.path[0].name, Some(name.clone()));
        let told: Vec<Outcome> = paths.handle_named(ShortId(2), None).collect();
        let names: Vec<Option<Name>> = told[0].fate.path.iter().map(|hop| hop.name.clone()).collect();
        assert_eq!(names, [Some(name.clone()), None, Some(name)]);
        assert!(paths.is_empty());
    }

    #[test]
    fn outcome_past_the_bound_is_told_without_names() {
        let mut paths = Paths::default();
        for n in 0..UNNAMED_MAX as u32 {
            paths.wait(outcome(vec![stranger(n)])).unwrap();
        }
        let refused = paths.wait(outcome(vec![stranger(0)])).unwrap_err();
        assert_eq!(refused.fate.path, [stranger(0)]);
        assert_eq!(paths.unnamed.len(), UNNAMED_MAX, "one was told without names");
    }
}
