//! When each of many things ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Instant;

/// When an end that did not become a command, as the log was busy or another supernode led, is named again
const RETRY: Duration = Duration::from_secs(1);

/// One deadline for each thing
#[derive(Clone, Debug)]
pub(super) struct Deadlines<T> {
    of: BTreeMap<T, Instant>,
    order: BTreeSet<(Instant, T)>,
}

impl<T: Copy + Ord> Deadlines<T> {
    pub(super) const fn new() -> Self {
        Self { of: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// Sets the deadline of `item`, anew or for the first time
    pub(super) fn set(&mut self, deadline: Instant, item: T) {
        self.end(item);
        self.of.insert(item, deadline);
        self.order.insert((deadline, item));
    }

    /// Forgets `item`
    pub(super) fn end(&mut self, item: T) {
        if let Some(deadline) = self.of.remove(&item) {
            self.order.remove(&(deadline, item));
        }
    }

    /// What has ended, in the order of deadlines; each is named again every second until it is forgotten or set anew
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let ended = self.order.iter().take_while(|(deadline, _)| *deadline <= now);
        let ended: Vec<T> = ended.map(|(_, item)| *item).collect();
        ended.iter().for_each(|item| self.set(now + RETRY, *item));
        ended
    }

    pub(super) fn contains(&self, item: T) -> bool {
        self.of.contains_key(&item)
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// All that have a deadline
    pub(super) fn items(&self) -> impl Iterator<Item = T> {
        self.of.keys().copied()
    }

    /// The first deadline, and whose it is
    pub(super) fn first(&self) -> Option<(Instant, T)> {
        self.order.first().copied()
    }

    /// When to call [`Self::expire`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.first().map(|(deadline, _)| deadline)
    }
}
