//! When each of many things is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Instant;

/// One moment for each of many things, the earliest first
///
/// It is as large as its owner lets it grow: a thing stays until it is stopped or taken when it is due. Moments are those
/// of a process's clock, or of another one that its owner counts by.
#[derive(Clone, Debug)]
pub struct Timers<T, M = Instant> {
    moments: BTreeMap<T, M>,
    order: BTreeSet<(M, T)>,
}

impl<T, M> Default for Timers<T, M> {
    fn default() -> Self {
        Self { moments: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<T: Clone + Ord, M: Copy + Ord> Timers<T, M> {
    /// Makes `item` due at `moment`, instead of when it was due before
    pub fn set(&mut self, moment: M, item: T) {
        self.stop(&item);
        self.moments.insert(item.clone(), moment);
        self.order.insert((moment, item));
    }

    pub fn stop(&mut self, item: &T) {
        if let Some((item, moment)) = self.moments.remove_entry(item) {
            self.order.remove(&(moment, item));
        }
    }

    /// Takes out the earliest that is due, so that a caller who sets it anew must do so later than `now`
    pub fn take_due(&mut self, now: M) -> Option<T> {
        self.order.first().filter(|(moment, _)| *moment <= now)?;
        let (_, item) = self.order.pop_first()?;
        self.moments.remove(&item);
        Some(item)
    }

    /// The earliest moment, and what is due then
    pub(crate) fn first(&self) -> Option<(M, &T)> {
        self.order.first().map(|(moment, item)| (*moment, item))
    }

    /// When [`Self::take_due`] has something to take
    pub fn next_timeout(&self) -> Option<M> {
        self.first().map(|(moment, _)| moment)
    }

    /// When `item` is due, if it is to be
    pub fn moment(&self, item: &T) -> Option<M> {
        self.moments.get(item).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.moments.len()
    }

    /// Everything that has a moment, in its own order
    pub(crate) fn items(&self) -> impl Iterator<Item = &T> {
        self.moments.keys()
    }
}

impl<T: Clone + Ord> Timers<T> {
    /// Puts everything off by `by`
    pub(crate) fn delay(&mut self, by: Duration) {
        self.moments.values_mut().for_each(|moment| *moment = *moment + by);
        self.order = std::mem::take(&mut self.order).into_iter().map(|(moment, item)| (moment + by, item)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    #[test]
    fn earliest_is_taken_first_and_only_when_it_is_due() {
        let mut timers = Timers::default();
        [(9, 'a'), (3, 'b'), (3, 'c')].into_iter().for_each(|(secs, item)| timers.set(at(secs), item));
        assert_eq!(timers.next_timeout(), Some(at(3)));
        assert_eq!(timers.take_due(at(2)), None);
        assert_eq!([(); 3].map(|()| timers.take_due(at(5))), [Some('b'), Some('c'), None]);
        assert_eq!((timers.len(), timers.first()), (1, Some((at(9), &'a'))));
    }

    #[test]
    fn thing_that_is_set_anew_is_due_once() {
        let mut timers = Timers::default();
        timers.set(at(3), 'a');
        timers.set(at(7), 'a');
        assert_eq!((timers.take_due(at(6)), timers.len()), (None, 1));
        assert_eq!((timers.take_due(at(7)), timers.take_due(at(7))), (Some('a'), None));
    }

    #[test]
    fn delay_puts_everything_off_in_its_order() {
        let mut timers = Timers::default();
        [(3, 'a'), (5, 'b')].into_iter().for_each(|(secs, item)| timers.set(at(secs), item));
        timers.delay(Duration::from_secs(4));
        assert_eq!((timers.next_timeout(), timers.moment(&'b')), (Some(at(7)), Some(at(9))));
        assert_eq!([(); 2].map(|()| timers.take_due(at(8))), [Some('a'), None]);
    }

    #[test]
    fn thing_that_is_stopped_is_never_due() {
        let mut timers = Timers::default();
        timers.set(at(3), 'a');
        timers.stop(&'a');
        timers.stop(&'b');
        assert!(timers.moment(&'a').is_none() && timers.take_due(at(9)).is_none() && timers.next_timeout().is_none());
    }
}
