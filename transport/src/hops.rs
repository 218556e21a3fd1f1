//! How the first hops have done: neighbours that take packets and of whose packets nothing is acknowledged.
//!
//! A neighbour may look alive and forward nothing, by a fault or on purpose. Only the ends notice. So each acknowledgement is
//! to the credit of the first hop that carried what it is for, and each way that was left for silence to its debit; who falls
//! too low is passed over as long as there are others, and is forgiven with time, as it may not have been its fault.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::Address;
use kith_common::time::Instant;

/// A debt is half as large after so long
const HALF_LIFE: Duration = Duration::from_secs(20);

/// Who has less is passed over: two silences in a row, and some seconds after that
const SHARE_MIN: f64 = 0.4;

/// Neighbours that are remembered: as many as a peer may have links, and as many that have just gone
const HOPS_MAX: usize = 128;

/// The share of what was acknowledged, fading
#[derive(Clone, Copy, Debug)]
struct Score {
    share: f64,
    at: Instant,
}

impl Score {
    fn faded(self, now: Instant) -> f64 {
        let half_lives = (now - self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        1.0 - (1.0 - self.share) * 0.5_f64.powf(half_lives)
    }
}

/// Of the first hops, those that have been silent lately; nobody else is remembered
#[derive(Debug, Default)]
pub(crate) struct FirstHops {
    scores: BTreeMap<Address, Score>,
}

impl FirstHops {
    /// Something was acknowledged that `hop` has carried
    pub(crate) fn handle_heard(&mut self, now: Instant, hop: Address) {
        let Some(score) = self.scores.get_mut(&hop) else { return };
        // Half of the debt is paid by each.
        *score = Score { share: (1.0 + score.faded(now)) / 2.0, at: now };
        if score.share > 0.95 {
            self.scores.remove(&hop);
        }
    }

    /// Nothing was acknowledged in time of what `hop` has carried
    pub(crate) fn handle_silent(&mut self, now: Instant, hop: Address) {
        self.debit(now, hop, 0.5);
    }

    /// Much is lost of what `hop` has carried: it is passed over at once, as the rest would soon speak for it again
    pub(crate) fn handle_lossy(&mut self, now: Instant, hop: Address) {
        self.debit(now, hop, 0.25);
    }

    fn debit(&mut self, now: Instant, hop: Address, left: f64) {
        let share = self.scores.get(&hop).map_or(1.0, |score| score.faded(now));
        self.scores.insert(hop, Score { share: share * left, at: now });
        if self.scores.len() > HOPS_MAX {
            let best = self.scores.iter().max_by(|(_, a), (_, b)| a.faded(now).total_cmp(&b.faded(now)));
            if let Some(best) = best.map(|(hop, _)| *hop) {
                self.scores.remove(&best);
            }
        }
    }

    /// Who is to be passed over now
    pub(crate) fn avoided(&self, now: Instant) -> impl Iterator<Item = Address> + '_ {
        self.scores.iter().filter(move |(_, score)| score.faded(now) < SHARE_MIN).map(|(hop, _)| *hop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: Address = Address(7);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn avoided(hops: &FirstHops, seconds: u64) -> Vec<Address> {
        hops.avoided(at(seconds)).collect()
    }

    #[test]
    fn hop_is_passed_over_after_two_silences_and_forgiven_with_time() {
        let mut hops = FirstHops::default();
        hops.handle_silent(at(0), HOP);
        assert_eq!(avoided(&hops, 0), []);
        hops.handle_silent(at(1), HOP);
        assert_eq!(avoided(&hops, 1), [HOP]);
        assert_eq!(avoided(&hops, 5), [HOP]);
        assert_eq!(avoided(&hops, 10), []);
        for second in 10..15 {
            hops.handle_silent(at(second), HOP);
        }
        assert_eq!(avoided(&hops, 25), [HOP], "the more often, the longer");
    }

    #[test]
    fn what_is_acknowledged_pays_debts() {
        let mut hops = FirstHops::default();
        (0..2).for_each(|second| hops.handle_silent(at(second), HOP));
        hops.handle_heard(at(2), HOP);
        assert_eq!(avoided(&hops, 2), []);
        (0..4).for_each(|_| hops.handle_heard(at(2), HOP));
        assert!(hops.scores.is_empty(), "who owes nothing is not remembered");
    }

    #[test]
    fn no_more_are_remembered_than_there_can_be_and_the_worst_are() {
        let mut hops = FirstHops::default();
        (0..3).for_each(|_| hops.handle_silent(at(0), HOP));
        (100..100 + 2 * HOPS_MAX as u64).for_each(|hop| hops.handle_silent(at(1), Address(hop)));
        assert_eq!(hops.scores.len(), HOPS_MAX);
        assert!(hops.scores.contains_key(&HOP));
    }
}
