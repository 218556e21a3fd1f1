//! The supernodes that a peer knows, and which of them is tried next.
//!
//! Known are those that are configured, by their addresses, and those that the last home told of, by their serials. An
//! address that has led to a supernode of the list is one more location of that one, and counts no more by itself; so
//! does one that the list has as well. A new list replaces the old one; what was configured stays as the way in.
//!
//! They stand in a *row*. Near and little loaded ones are in front, those that are about equal in an order that each peer
//! draws anew for each search: else all peers of a dead home went to the same one. What has failed lately is behind all
//! others. In each *round* each is tried once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::retry::Backoff;
use crate::id::SupernodeId;
use crate::time::Instant;
use crate::wire::session::{LOCATIONS_MAX, Location, SUPERNODES_MAX, SupernodeRecord, Supernodes};

/// How long a failure puts a supernode behind those that have not failed: a crash, a start and a log that is read
const FAILED_FOR: Duration = Duration::from_secs(300);
/// Added to each round trip, so that all of one city or one machine are about equally near
const NEAR: Duration = Duration::from_millis(20);
/// What a round trip is taken for while none is known: that of half a continent
const UNKNOWN: Duration = Duration::from_millis(50);
/// A fuller supernode is taken for one as full as this, in thousandths: else one that is full would never be tried
const LOAD_MAX: u16 = 950;
/// Costs are about equal that differ by less than this factor, in thousandths
const ABOUT_EQUAL: u64 = 2_000;
/// How much a new measurement counts in a smoothed round trip: one in so many
const SMOOTHING: u32 = 4;

/// One of those that are known
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// By its place in the configuration
    Configured(usize),
    Learned(SupernodeId),
}

/// What this peer itself has seen of one
#[derive(Clone, Copy, Debug)]
struct Notes {
    /// Smoothed
    rtt: Option<Duration>,
    /// What its cost is multiplied with in this search, in thousandths
    draw: u64,
    /// When it failed last, and the how manieth failure of all that was
    failed: Option<(Instant, u64)>,
    /// The last round in which it was tried
    round: u64,
    /// Until when it wants to be left alone
    busy_until: Option<Instant>,
}

impl Default for Notes {
    fn default() -> Self {
        Self { rtt: None, draw: 1_000, failed: None, round: 0, busy_until: None }
    }
}

#[derive(Debug)]
pub(super) struct Row {
    /// Addresses, each with the supernode that it led to last
    configured: Vec<(String, Option<SupernodeId>)>,
    /// In the order of their serials
    learned: Vec<SupernodeRecord>,
    notes: BTreeMap<Place, Notes>,
    round: u64,
    failures: u64,
}

impl Row {
    /// Those beyond [`SUPERNODES_MAX`] are left out, of both kinds; each address counts once
    pub(super) fn new(configured: Vec<String>, learned: Vec<SupernodeRecord>) -> Self {
        let mut row =
            Self { configured: Vec::new(), learned: Vec::new(), notes: BTreeMap::new(), round: 1, failures: 0 };
        for address in configured {
            if row.configured.len() == SUPERNODES_MAX {
                tracing::warn!(
                    reason = "too many supernodes are configured",
                    kept = SUPERNODES_MAX,
                    "supernodes left out"
                );
                break;
            }
            if !row.configured.iter().any(|(known, _)| *known == address) {
                row.configured.push((address, None));
            }
        }
        row.replace(learned);
        row
    }

    /// Takes a list for the one before; whether it is another one, loads aside. An empty one says nothing.
    pub(super) fn learn(&mut self, list: &Supernodes) -> bool {
        if list.supernodes.is_empty() {
            tracing::info!(event = "supernodes_ignored", home = %list.home, reason = "the list is empty");
            return false;
        }
        let of = |record: &SupernodeRecord| (record.id, record.locations.clone());
        let before: Vec<_> = self.learned.iter().map(of).collect();
        self.replace(list.supernodes.iter().cloned());
        let is_new = !self.learned.iter().map(of).eq(before);
        if is_new {
            tracing::info!(event = "supernodes_learnt", home = %list.home, count = self.learned.len(), reason = "the home says so");
        }
        is_new
    }

    fn replace(&mut self, records: impl IntoIterator<Item = SupernodeRecord>) {
        let records = records.into_iter().take(SUPERNODES_MAX);
        let by_id: BTreeMap<SupernodeId, SupernodeRecord> = records.map(|record| (record.id, record)).collect();
        self.learned = by_id.into_values().collect();
        let places: Vec<Place> = self.places().collect();
        self.notes.retain(|place, _| places.contains(place) || matches!(place, Place::Configured(_)));
        for (at, id) in
            self.configured.iter().enumerate().filter_map(|(at, (_, id))| Some((at, (*id)?))).collect::<Vec<_>>()
        {
            self.inherit(Place::Configured(at), Place::Learned(id));
        }
    }

    /// What was seen of a place counts for another one of which nothing was, as it is the same supernode
    fn inherit(&mut self, from: Place, to: Place) {
        if let Some(notes) = self.notes.get(&from).copied()
            && self.places().any(|place| place == to)
        {
            self.notes.entry(to).or_insert(notes);
        }
    }

    /// Each supernode that can be dialled, once
    fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let learned = self.learned.iter().filter(|record| self.locations_of(record).next().is_some());
        let learned = learned.map(|record| Place::Learned(record.id));
        let configured = self.configured.iter().enumerate().filter(|(_, (address, id))| {
            let is_listed = |record: &SupernodeRecord| {
                Some(record.id) == *id || record.locations.iter().any(|location| **location == **address)
            };
            !self.learned.iter().any(is_listed)
        });
        learned.chain(configured.map(|(at, _)| Place::Configured(at)))
    }

    fn locations_of<'a>(&'a self, record: &'a SupernodeRecord) -> impl Iterator<Item = &'a str> {
        let led = self.configured.iter().filter(|(_, id)| *id == Some(record.id)).map(|(address, _)| address.as_str());
        let told = record.locations.iter().map(|location: &Location| &**location);
        told.chain(led.filter(|address| !record.locations.iter().any(|location| **location == **address)))
    }

    fn record(&self, id: SupernodeId) -> Option<&SupernodeRecord> {
        self.learned.iter().find(|record| record.id == id)
    }

    /// How many supernodes are known
    pub(super) fn len(&self) -> usize {
        self.places().count()
    }

    /// Where it can be dialled; the addresses that were configured stand last
    pub(super) fn locations(&self, place: Place) -> Vec<String> {
        match place {
            Place::Configured(at) => self.configured.get(at).map(|(address, _)| address.clone()).into_iter().collect(),
            Place::Learned(id) => {
                let locations = self.record(id).into_iter().flat_map(|record| self.locations_of(record));
                locations.take(2 * LOCATIONS_MAX).map(str::to_owned).collect()
            }
        }
    }

    /// The serial, if it is known
    pub(super) fn id(&self, place: Place) -> Option<SupernodeId> {
        match place {
            Place::Configured(at) => self.configured.get(at).and_then(|(_, id)| *id),
            Place::Learned(id) => Some(id),
        }
    }

    pub(super) fn load(&self, place: Place) -> Option<u16> {
        Some(self.record(self.id(place)?)?.load)
    }

    pub(super) fn rtt(&self, place: Place) -> Option<Duration> {
        self.notes.get(&place)?.rtt
    }

    /// The supernode that a dial of `place` led to has proved this serial: which place it is
    pub(super) fn identify(&mut self, place: Place, id: SupernodeId) -> Place {
        match place {
            Place::Configured(at) => {
                if let Some((_, known)) = self.configured.get_mut(at) {
                    *known = Some(id);
                }
            }
            // An address led to another one than before, so none of those that were bound to it is sure.
            Place::Learned(of) if of != id => {
                self.configured.iter_mut().filter(|(_, known)| *known == Some(of)).for_each(|(_, known)| *known = None);
            }
            Place::Learned(_) => return place,
        }
        let is_listed = self.record(id).is_some();
        if is_listed { Place::Learned(id) } else { place }
    }

    /// The place of a supernode that was dialled at `place`, by the present list
    pub(super) fn present(&mut self, place: Place) -> Place {
        let Some(id) = self.id(place).filter(|id| self.record(*id).is_some()) else { return place };
        self.inherit(place, Place::Learned(id));
        Place::Learned(id)
    }

    /// A new search: everybody may be tried again, and about equal ones stand in a new order
    pub(super) fn begin(&mut self, backoff: &mut Backoff) {
        self.round += 1;
        let places: Vec<Place> = self.places().collect();
        for place in places {
            let draw = backoff.between(1_000, ABOUT_EQUAL);
            self.notes.entry(place).or_default().draw = draw;
        }
    }

    /// Whom to try now: of those that do not want to be left alone, and were not tried in this round, who did not fail
    /// lately; then the cheapest
    pub(super) fn next(&self, now: Instant) -> Option<Place> {
        self.next_of(now, |_| true)
    }

    /// As [`Self::next`], of those that `may` be tried
    pub(super) fn next_of(&self, now: Instant, may: impl Fn(Place) -> bool) -> Option<Place> {
        self.places().filter(|place| may(*place)).min_by_key(|place| {
            let notes = self.notes(*place);
            let is_tried = notes.round == self.round;
            (notes.is_busy(now), is_tried, self.failure(now, *place), self.cost(*place), *place)
        })
    }

    /// Whether it wants to be left alone
    pub(super) fn is_busy(&self, now: Instant, place: Place) -> bool {
        self.notes(place).is_busy(now)
    }

    fn notes(&self, place: Place) -> Notes {
        self.notes.get(&place).copied().unwrap_or_default()
    }

    /// The how manieth failure its last one was, if that counts still; else 0
    fn failure(&self, now: Instant, place: Place) -> u64 {
        let failed = self.notes(place).failed.filter(|(at, _)| now - *at < FAILED_FOR);
        failed.map_or(0, |(_, number)| number)
    }

    /// A round trip that grows with the load as a queue does, and with the draw
    fn cost(&self, place: Place) -> u64 {
        let measured = || self.places().filter_map(|place| self.rtt(place));
        let count = u32::try_from(measured().count()).unwrap_or(u32::MAX).max(1);
        let usual = if measured().next().is_some() { measured().sum::<Duration>() / count } else { UNKNOWN };
        let rtt = (self.rtt(place).unwrap_or(usual) + NEAR).as_micros() as u64;
        let load = self.load(place).unwrap_or(0).min(LOAD_MAX);
        (rtt * 1_000 / u64::from(1_000 - load)).saturating_mul(self.notes(place).draw)
    }

    /// Whether somebody was not tried in this round who may be
    pub(super) fn has_untried(&self, now: Instant) -> bool {
        self.places().any(|place| {
            let notes = self.notes(place);
            notes.round != self.round && !notes.is_busy(now)
        })
    }

    /// Whether the next one has not failed within `lately`
    pub(super) fn has_fresh(&self, now: Instant, lately: Duration) -> bool {
        let failed = |place| self.notes(place).failed;
        self.next(now).is_some_and(|place| failed(place).is_none_or(|(at, _)| now - at >= lately))
    }

    /// How many have been tried in this round
    pub(super) fn tried(&self) -> usize {
        self.places().filter(|place| self.notes(*place).round == self.round).count()
    }

    /// Everybody has been tried, and may be again
    pub(super) const fn end_round(&mut self) {
        self.round += 1;
    }

    pub(super) fn on_tried(&mut self, place: Place) {
        let round = self.round;
        self.notes.entry(place).or_default().round = round;
    }

    /// It goes to the end of the row
    pub(super) fn on_failed(&mut self, now: Instant, place: Place) {
        self.failures += 1;
        let failed = Some((now, self.failures));
        self.notes.entry(place).or_default().failed = failed;
    }

    /// It is left alone until then, unless all are
    pub(super) fn on_busy(&mut self, place: Place, until: Instant) {
        self.notes.entry(place).or_default().busy_until = Some(until);
    }

    /// It has granted a login
    pub(super) fn on_granted(&mut self, place: Place) {
        self.notes.entry(place).or_default().busy_until = None;
    }

    pub(super) fn on_measured(&mut self, place: Place, rtt: Duration) {
        let notes = self.notes.entry(place).or_default();
        notes.rtt = Some(notes.rtt.map_or(rtt, |known| (known * (SMOOTHING - 1) + rtt) / SMOOTHING));
    }

    /// From when on somebody may be tried, if all want to be left alone
    pub(super) fn all_busy_until(&self, now: Instant) -> Option<Instant> {
        let until = |place| self.notes(place).busy_until.filter(|until| *until > now);
        let all: Option<Vec<Instant>> = self.places().map(until).collect();
        all?.into_iter().min()
    }
}

impl Notes {
    fn is_busy(&self, now: Instant) -> bool {
        self.busy_until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at_ms;
    use crate::wire::bounded::Bounded;
    use crate::wire::session::Locations;

    fn record(id: u64, load: u16) -> SupernodeRecord {
        let locations = Locations::truncated([Location::truncated(&format!("at-{id}"))]);
        SupernodeRecord { id: SupernodeId(id), locations, load }
    }

    fn learned(id: u64) -> Place {
        Place::Learned(SupernodeId(id))
    }

    /// How often each is the first of so many searches
    fn firsts(row: &mut Row, seeds: u64) -> BTreeMap<Place, u64> {
        let mut firsts = BTreeMap::new();
        for seed in 0..seeds {
            row.begin(&mut Backoff::new(seed, at_ms(0)));
            *firsts.entry(row.next(at_ms(0)).unwrap()).or_default() += 1;
        }
        firsts
    }

    #[test]
    fn near_and_little_loaded_ones_are_in_front_and_equal_ones_are_drawn() {
        let mut row = Row::new(Vec::new(), vec![record(1, 0), record(2, 0), record(3, 0)]);
        let drawn = firsts(&mut row, 300);
        assert!(drawn.len() == 3 && drawn.values().all(|n| *n > 60), "{drawn:?}");
        for (id, ms) in [(1, 1), (2, 5), (3, 200)] {
            row.on_measured(learned(id), Duration::from_millis(ms));
        }
        let drawn = firsts(&mut row, 300);
        assert!(drawn.len() == 2 && !drawn.contains_key(&learned(3)), "{drawn:?}");
        row.learn(&Supernodes {
            home: SupernodeId(1),
            supernodes: Bounded::truncated([record(1, 800), record(2, 100), record(3, 0)]),
        });
        assert_eq!(firsts(&mut row, 300), BTreeMap::from([(learned(2), 300)]), "the nearest one is nearly full");
        row.learn(&Supernodes { home: SupernodeId(1), supernodes: Bounded::truncated([record(1, u16::MAX)]) });
        assert_eq!(row.next(at_ms(0)), Some(learned(1)), "a full one is better than none");
    }

    #[test]
    fn what_has_failed_lately_stands_behind_all_others_in_the_order_of_failures() {
        let mut row = Row::new(Vec::new(), vec![record(1, 0), record(2, 0), record(3, 0)]);
        for id in [2, 1] {
            row.on_failed(at_ms(0), learned(id));
        }
        let order = |row: &mut Row, now: Instant| -> Vec<u64> {
            row.end_round();
            let all = std::iter::from_fn(|| {
                row.has_untried(now).then(|| row.next(now).unwrap()).inspect(|place| row.on_tried(*place))
            });
            all.map(|place| if let Place::Learned(id) = place { id.0 } else { 0 }).collect()
        };
        assert_eq!(order(&mut row, at_ms(1)), [3, 2, 1]);
        assert_eq!(order(&mut row, at_ms(0) + FAILED_FOR), [1, 2, 3], "that is forgotten");
        row.on_busy(learned(1), at_ms(0) + FAILED_FOR * 2);
        assert_eq!(order(&mut row, at_ms(0) + FAILED_FOR), [2, 3]);
        assert_eq!(row.all_busy_until(at_ms(0) + FAILED_FOR), None);
    }

    #[test]
    fn known_are_the_configured_and_the_learned_each_once_and_within_bounds() {
        let configured = (0..40).map(|n| format!("at-{n}"));
        let many = (1..=40).map(|id| record(id, 0));
        let row = Row::new(configured.collect(), many.collect());
        // Of the sixteen configured ones fifteen are listed as well.
        assert_eq!(row.len(), SUPERNODES_MAX + 1);
        assert_eq!(row.locations(Place::Configured(0)), ["at-0"]);
        let nowhere = SupernodeRecord { locations: Locations::new(), ..record(9, 0) };
        assert_eq!(Row::new(Vec::new(), vec![nowhere]).len(), 0);
        assert_eq!(Row::new(vec!["a".to_owned(); 3], Vec::new()).len(), 1);
    }

    #[test]
    fn address_is_a_location_of_the_supernode_that_it_led_to_for_as_long_as_it_leads_there() {
        let mut row = Row::new(vec!["alias".to_owned()], vec![record(1, 0), record(2, 0)]);
        row.on_measured(Place::Configured(0), Duration::from_millis(7));
        assert_eq!(row.identify(Place::Configured(0), SupernodeId(1)), learned(1));
        assert_eq!((row.len(), row.locations(learned(1))), (2, vec!["at-1".to_owned(), "alias".to_owned()]));
        assert_eq!(row.present(Place::Configured(0)), learned(1));
        assert_eq!(row.rtt(learned(1)), Some(Duration::from_millis(7)));
        assert_eq!(row.identify(learned(1), SupernodeId(2)), learned(2), "now it leads to another one");
        assert_eq!((row.len(), row.locations(learned(1))), (3, vec!["at-1".to_owned()]));
        assert_eq!(row.identify(Place::Configured(0), SupernodeId(8)), Place::Configured(0), "who is not listed");
    }
}
