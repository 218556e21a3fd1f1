//! What was worked out for a destination, until the tables change.

use std::collections::BTreeMap;
use std::time::Duration;

use super::routes::{Ranked, Routes};
use crate::id::Address;
use crate::mutant::{self, Mutant};
use crate::rate::Bucket;
use crate::time::Instant;
use crate::wire::session::NEIGHBOURS_MAX;

/// Destinations remembered at most; one more replaces the one in its slot
pub const DESTINATIONS_MAX: usize = 1 << SLOT_BITS;
/// Decisions worked out anew for the packets of one neighbour in a second; those over it look at a small ball only
///
/// A million members make one cost up to a millisecond, so a neighbour can claim half a core at most.
pub const COLD_DECISIONS_PER_SECOND: u32 = 500;

const SLOT_BITS: u32 = 11;
/// A second's claims at once, and one more every 2 ms
const FULL: Bucket =
    Bucket::new(COLD_DECISIONS_PER_SECOND, Duration::from_micros(1_000_000 / COLD_DECISIONS_PER_SECOND as u64));

/// Ranked next hops by destination, and what each neighbour may still claim
///
/// Its owner is the one that forwards. It holds what it was told under the last snapshot only, and at most
/// [`DESTINATIONS_MAX`] rankings of half a kilobyte.
#[derive(Debug)]
pub struct RouteCache {
    slots: Vec<Option<Entry>>,
    /// What each neighbour may still claim; strangers share one budget
    budgets: BTreeMap<Option<Address>, Bucket>,
    cold: u64,
}

#[derive(Debug)]
struct Entry {
    destination: Address,
    generation: u64,
    ranked: Box<[Ranked]>,
}

impl Default for RouteCache {
    fn default() -> Self {
        Self::new()
    }
}

impl RouteCache {
    pub fn new() -> Self {
        let mut slots = Vec::new();
        slots.resize_with(DESTINATIONS_MAX, || None);
        Self { slots, budgets: BTreeMap::new(), cold: 0 }
    }

    /// How many decisions were worked out anew so far
    pub const fn cold_decisions(&self) -> u64 {
        self.cold
    }

    #[inline]
    pub(super) fn ranked(&self, destination: Address, generation: u64) -> Option<&[Ranked]> {
        let entry = self.slots.get(slot(destination))?.as_ref()?;
        let is_current = entry.generation == generation || mutant::is(Mutant::StaleRanking);
        (entry.destination == destination && is_current).then_some(&*entry.ranked)
    }

    pub(super) fn store(&mut self, destination: Address, generation: u64, ranked: Box<[Ranked]>) {
        if let Some(slot) = self.slots.get_mut(slot(destination)) {
            *slot = Some(Entry { destination, generation, ranked });
        }
    }

    /// Whether a cold decision for a packet from `from` is within its budget, which pays for it; `None`: this peer's
    /// own
    pub(super) fn claim(&mut self, routes: &Routes, from: Option<Address>, now: Instant) -> bool {
        self.cold += 1;
        let Some(from) = from else { return true };
        let neighbour = routes.view(from).map(|view| view.address);
        if self.budgets.len() > NEIGHBOURS_MAX {
            self.budgets.retain(|who, _| who.is_none_or(|who| routes.view(who).is_some()));
        }
        let budget = self.budgets.entry(neighbour).or_insert(FULL);
        budget.take(now).is_ok()
    }
}

/// The addresses that supernodes give are spread well, but those in a liar's packets need not be
#[inline]
const fn slot(destination: Address) -> usize {
    (destination.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOT_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn routes() -> Routes {
        let view = |n: u64| super::super::NeighbourView {
            address: Address(n << 60),
            up: true,
            held: false,
            name: "n".parse().unwrap(),
            table: Arc::default(),
            unseen: Arc::default(),
        };
        Routes::new(Address(1), 16, 1000, 0, vec![view(3), view(5)])
    }

    #[test]
    fn neighbour_over_its_budget_claims_no_more_until_time_has_passed() {
        let (mut cache, routes, start) = (RouteCache::new(), routes(), Instant::from_micros(7));
        let claims = |cache: &mut RouteCache, from, now| (0..1000).filter(|_| cache.claim(&routes, from, now)).count();
        assert_eq!(claims(&mut cache, Some(Address(3 << 60)), start), 500);
        assert_eq!(claims(&mut cache, Some(Address(3 << 60)), start), 0);
        assert_eq!(claims(&mut cache, Some(Address(5 << 60)), start), 500, "a budget for each");
        assert_eq!(claims(&mut cache, Some(Address(3 << 60)), start + Duration::from_millis(100)), 50);
        assert_eq!(claims(&mut cache, None, start), 1000, "own packets are free");
    }

    #[test]
    fn strangers_share_one_budget() {
        let (mut cache, routes) = (RouteCache::new(), routes());
        let claimed = (0..1000).filter(|n| cache.claim(&routes, Some(Address(*n)), Instant::ZERO)).count();
        assert_eq!((claimed, cache.budgets.len()), (500, 1));
    }

    #[test]
    fn budgets_of_former_neighbours_are_forgotten() {
        let (mut cache, routes) = (RouteCache::new(), routes());
        cache.budgets = (0..100).map(|n| (Some(Address(n)), FULL)).collect();
        cache.claim(&routes, Some(Address(3 << 60)), Instant::ZERO);
        assert_eq!(cache.budgets.len(), 1);
    }

    #[test]
    fn ranking_is_forgotten_with_its_snapshot_and_replaced_in_its_slot() {
        let (mut cache, destination) = (RouteCache::new(), Address(9));
        let rival = (10..).map(Address).find(|rival| slot(*rival) == slot(destination)).unwrap();
        cache.store(destination, 1, Box::new([]));
        assert!(cache.ranked(destination, 1).is_some());
        assert!(cache.ranked(destination, 2).is_none());
        assert!(cache.ranked(rival, 1).is_none());
        cache.store(rival, 1, Box::new([]));
        assert!(cache.ranked(destination, 1).is_none());
    }
}
