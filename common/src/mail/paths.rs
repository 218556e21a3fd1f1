//! Paths whose hops are to be named: those of replies, with the outcomes that they belong to, and those of receipts.

use std::collections::BTreeSet;

use super::{IN_FLIGHT_MAX, MailOutput, Outcome};
use crate::id::{Name, ShortId};
use crate::routing::neighbourhood::Neighbourhood;
use crate::wire::content::PathHop;
use crate::wire::packet::Mark;

/// Paths that wait for names at most: as many as there may be sends under way. One more is told without
const UNNAMED_MAX: usize = IN_FLIGHT_MAX;

/// What is known but for the names of those on its path
#[derive(Debug)]
pub(super) enum Pathed {
    Outcome(Outcome),
    /// Of a receipt; whoever asked knows of which by the ticket
    Path {
        ticket: u64,
        path: Vec<PathHop>,
    },
}

impl Pathed {
    fn path(&self) -> &[PathHop] {
        match self {
            Self::Outcome(outcome) => &outcome.fate.path,
            Self::Path { path, .. } => path,
        }
    }

    pub(super) const fn path_mut(&mut self) -> &mut Vec<PathHop> {
        match self {
            Self::Outcome(outcome) => &mut outcome.fate.path,
            Self::Path { path, .. } => path,
        }
    }
}

impl From<Pathed> for MailOutput {
    fn from(pathed: Pathed) -> Self {
        match pathed {
            Pathed::Outcome(outcome) => Self::Done(outcome),
            Pathed::Path { ticket, path } => Self::PathNamed { ticket, path },
        }
    }
}

/// Paths some of whose names are being asked for
#[derive(Debug, Default)]
pub(super) struct Paths {
    unnamed: Vec<Unnamed>,
}

#[derive(Debug)]
struct Unnamed {
    pathed: Pathed,
    missing: BTreeSet<ShortId>,
}

impl Paths {
    /// Takes what waits for names, and says which are missing
    ///
    /// # Errors
    /// It is to be told as it is: no name is missing, or there is no room to wait.
    pub(super) fn wait(&mut self, pathed: Pathed) -> Result<BTreeSet<ShortId>, Box<Pathed>> {
        let unnamed = pathed.path().iter().filter(|hop| hop.is_unnamed());
        let missing: BTreeSet<ShortId> = unnamed.map(|hop| hop.short).collect();
        if missing.is_empty() || self.unnamed.len() >= UNNAMED_MAX {
            return Err(Box::new(pathed));
        }
        self.unnamed.push(Unnamed { pathed, missing: missing.clone() });
        Ok(missing)
    }

    /// `short` is found, or will not be: returns what waits for nothing else
    pub(super) fn handle_named(&mut self, short: ShortId, name: Option<&Name>) -> impl Iterator<Item = Pathed> {
        for Unnamed { pathed, missing } in &mut self.unnamed {
            if !missing.remove(&short) {
                continue;
            }
            for hop in pathed.path_mut().iter_mut().filter(|hop| hop.short == short && !hop.relay) {
                hop.name = hop.name.take().or_else(|| name.cloned());
            }
        }
        self.unnamed.extract_if(.., |unnamed| unnamed.missing.is_empty()).map(|unnamed| unnamed.pathed)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.unnamed.is_empty()
    }
}

/// The way that a packet took, with the names that are known here
pub fn path_of(way: impl IntoIterator<Item = (Mark, ShortId)>, near: &Neighbourhood) -> Vec<PathHop> {
    let hop = |(mark, short)| PathHop { short, relay: mark == Mark::Relay, name: near.name_of(short) };
    way.into_iter().map(hop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(n: u32) -> PathHop {
        PathHop { short: ShortId(n), relay: false, name: None }
    }

    fn receipt(ticket: u64, path: &[PathHop]) -> Pathed {
        Pathed::Path { ticket, path: path.to_vec() }
    }

    fn names(pathed: &Pathed) -> Vec<Option<&Name>> {
        pathed.path().iter().map(|hop| hop.name.as_ref()).collect()
    }

    #[test]
    fn path_waits_for_its_last_name_and_one_name_serves_all() {
        let mut paths = Paths::default();
        let name: Name = "carol".parse().unwrap();
        let missing = paths.wait(receipt(1, &[stranger(1), stranger(2), stranger(1)])).unwrap();
        assert_eq!(missing, BTreeSet::from([ShortId(1), ShortId(2)]));
        paths.wait(receipt(2, &[stranger(1)])).unwrap();
        let told: Vec<Pathed> = paths.handle_named(ShortId(1), Some(&name)).collect();
        assert!(matches!(told.as_slice(), [Pathed::Path { ticket: 2, .. }]));
        assert_eq!(names(&told[0]), [Some(&name)]);
        let told: Vec<Pathed> = paths.handle_named(ShortId(2), None).collect();
        assert_eq!(names(&told[0]), [Some(&name), None, Some(&name)]);
        assert!(paths.is_empty());
    }

    #[test]
    fn relay_and_whoever_has_a_name_are_not_waited_for() {
        let mut paths = Paths::default();
        let named = PathHop { name: Some("carol".parse().unwrap()), ..stranger(1) };
        let relay = PathHop { relay: true, ..stranger(2) };
        assert!(paths.wait(receipt(1, &[named, relay])).is_err() && paths.is_empty());
    }

    #[test]
    fn path_past_the_bound_is_told_without_names() {
        let mut paths = Paths::default();
        for n in 0..UNNAMED_MAX as u32 {
            paths.wait(receipt(n.into(), &[stranger(n)])).unwrap();
        }
        let refused = paths.wait(receipt(0, &[stranger(0)])).unwrap_err();
        assert_eq!(refused.path(), [stranger(0)]);
        assert_eq!(paths.unnamed.len(), UNNAMED_MAX, "one was told without names");
    }
}
