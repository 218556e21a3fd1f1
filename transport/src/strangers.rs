//! How often somebody is answered of whose connection nothing is known: it has ended here, or this process is another one.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::Address;
use kith_common::time::Instant;

/// One answer ends the other end's connection, however many datagrams of it are under way; were each answered, two ends that
/// both know nothing of it any more would go on to answer each other's answers
const PAUSE: Duration = Duration::from_millis(100);

/// Places that are remembered: as many as there may be connections; one more is not answered until others are forgotten
const PLACES_MAX: usize = 1_024;

/// When each place was answered last
#[derive(Debug, Default)]
pub(crate) struct Strangers(BTreeMap<Address, Instant>);

impl Strangers {
    /// Whether somebody at this place is to be answered now
    pub(crate) fn is_answered(&mut self, now: Instant, place: Address) -> bool {
        if self.0.len() >= PLACES_MAX {
            self.0.retain(|_, at| now - *at < PAUSE);
        }
        let is_early = self.0.get(&place).is_some_and(|at| now - *at < PAUSE);
        if is_early || self.0.len() >= PLACES_MAX {
            return false;
        }
        self.0.insert(place, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stranger_is_answered_once_in_a_while_and_no_place_keeps_another_from_it() {
        let mut strangers = Strangers::default();
        let at = |micros: u64| Instant::ZERO + Duration::from_millis(1_000) + Duration::from_micros(micros);
        let places: Vec<_> = [(0, 1), (50_000, 1), (50_000, 2), (99_999, 1), (100_000, 1)]
            .map(|(micros, place)| strangers.is_answered(at(micros), Address(place)))
            .into();
        assert_eq!(places, [true, false, true, false, true]);
    }

    #[test]
    fn places_have_a_bound() {
        let mut strangers = Strangers::default();
        let now = Instant::ZERO;
        let answered = (0..2_000).filter(|place| strangers.is_answered(now, Address(*place))).count();
        assert_eq!((answered, strangers.0.len()), (PLACES_MAX, PLACES_MAX));
        assert!(strangers.is_answered(now + PAUSE, Address(5_000)), "once others are forgotten");
    }
}
