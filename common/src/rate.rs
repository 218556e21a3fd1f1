//! How often something may be: the one token bucket, one for each of many, what may be asked again, and what strangers may
//! cause in a log.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Instant;

/// Allows `burst` at once and one more every `interval`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again: each taken token moves it by one interval
    full_at: Instant,
}

impl Bucket {
    /// A full bucket
    pub(crate) const fn new(burst: u32, interval: Duration) -> Self {
        Self { interval, burst, full_at: Instant::ZERO }
    }

    /// Takes one; if none is there, takes nothing and says how long it is until one is
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let next = self.full_at.max(now) + self.interval;
        let excess = (next - now).saturating_sub(self.interval * self.burst);
        if excess > Duration::ZERO {
            return Err(excess);
        }
        self.full_at = next;
        Ok(())
    }

    /// Puts one back that was taken and not used
    pub(crate) fn give_back(&mut self) {
        self.full_at = Instant::ZERO + (self.full_at - Instant::ZERO).saturating_sub(self.interval);
    }

    /// The same for so many at once, which share it
    pub(crate) fn of_shares(self, shares: u32) -> Self {
        self.resized(self.burst.saturating_mul(shares), self.interval / shares.max(1))
    }

    /// The same for another number at once, and another interval; what was taken is missing from it
    pub(crate) const fn resized(self, burst: u32, interval: Duration) -> Self {
        Self { burst, interval, ..self }
    }

    /// From when on one can be taken
    pub(crate) fn next_at(&self) -> Instant {
        let spare = self.interval * self.burst.saturating_sub(1);
        Instant::ZERO + (self.full_at - Instant::ZERO).saturating_sub(spare)
    }

    /// How many may be taken at once
    pub(crate) fn left(&self, now: Instant) -> u32 {
        let taken = (self.full_at.max(now) - now).as_micros().div_ceil(self.interval.as_micros().max(1));
        self.burst.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// As many as may be taken from a full one
    pub(crate) const fn burst(&self) -> u32 {
        self.burst
    }

    /// In which one more is there
    pub(crate) const fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether nothing is taken that has not come back: such a bucket may be forgotten and made anew
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// Nothing was taken from a bucket
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// One is there after so long
    Empty(Duration),
    /// No more buckets can be kept: everybody who has one has taken from it lately
    Crowded,
}

/// A bucket for everybody who takes from one; at the bound those that are full again are forgotten, as their owners are
/// known no better than newcomers
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    by_owner: BTreeMap<K, Bucket>,
    max: usize,
    new: Bucket,
}

impl<K: Ord> Buckets<K> {
    /// Nobody has taken anything; `max` buckets at most, each as `new`
    pub(crate) const fn new(max: usize, new: Bucket) -> Self {
        Self { by_owner: BTreeMap::new(), max, new }
    }

    /// Takes one from the owner's bucket
    pub(crate) fn take(&mut self, now: Instant, owner: K) -> Result<(), Shortage> {
        self.take_shares(now, owner, 1)
    }

    /// Whether [`Self::take_shares`] would take one
    pub(crate) fn check_shares(&mut self, now: Instant, owner: &K, shares: u32) -> Result<(), Shortage> {
        let known = self.by_owner.get(owner).copied();
        if known.is_none() && self.by_owner.len() >= self.max {
            self.by_owner.retain(|_, bucket| !bucket.is_full(now));
            if self.by_owner.len() >= self.max {
                return Err(Shortage::Crowded);
            }
        }
        known.unwrap_or_else(|| self.new.of_shares(shares)).take(now).map_err(Shortage::Empty)
    }

    /// Takes one from the bucket of an owner that is so many at once, always as many
    pub(crate) fn take_shares(&mut self, now: Instant, owner: K, shares: u32) -> Result<(), Shortage> {
        self.check_shares(now, &owner, shares)?;
        let new = self.new.of_shares(shares);
        self.by_owner.entry(owner).or_insert(new).take(now).map_err(Shortage::Empty)
    }

    /// Puts one back into the owner's bucket
    pub(crate) fn give_back(&mut self, owner: &K) {
        if let Some(bucket) = self.by_owner.get_mut(owner) {
            bucket.give_back();
        }
    }

    /// How many have taken something that has not come back, and what whoever has least of it has left; `None`: nobody has
    pub(crate) fn least_left(&self, now: Instant) -> Option<(usize, u32)> {
        let taken = || self.by_owner.values().filter(|bucket| !bucket.is_full(now));
        Some((taken().count(), taken().map(|bucket| bucket.left(now)).min()?))
    }
}

/// First tries that earn one more
const TRIES_PER_RETRY: u32 = 10;

/// How often somebody may ask again who could not be served: a tenth as often as it asks at all, and some times at first
///
/// Whoever is overloaded answers late or not at all. If everybody who has no answer asked again at once, it would have
/// several times the work just then. So each first try, or each that was served, earns a tenth of a retry, and each retry
/// costs a whole one: of n tries never more than n / 10 retries, and those that were there at first. Who has none left waits.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// In parts of which [`TRIES_PER_RETRY`] are one retry
    parts: u32,
    most: u32,
}

impl Retries {
    /// So many are there at first, which is also the most that there can be
    pub const fn new(at_first: u32) -> Self {
        let most = at_first.saturating_mul(TRIES_PER_RETRY);
        Self { parts: most, most }
    }

    /// A tenth of a retry more
    pub fn earn(&mut self) {
        self.parts = self.parts.saturating_add(1).min(self.most);
    }

    /// Whether there is a retry left, which is spent then
    pub fn spend(&mut self) -> bool {
        let left = self.parts.checked_sub(TRIES_PER_RETRY);
        self.parts = left.unwrap_or(self.parts);
        left.is_some()
    }
}

/// How long further failures are only counted
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What strangers cause is counted, and told once a second with an example: who has no key yet, no link or no session, must
/// not decide how much is written into the log
///
/// One of these counts failures of one kind. What is not told is still an event at the level of debug.
#[derive(Debug, Default)]
pub struct Strangers {
    told: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl Strangers {
    /// One more; how many there were since the last that was told, if this one is to be told
    pub fn count(&self, now: Instant) -> Option<u64> {
        let count = self.untold.get() + 1;
        if self.told.get().is_some_and(|told| now < told + TELL_EVERY) {
            self.untold.set(count);
            return None;
        }
        self.told.set(Some(now));
        self.untold.set(0);
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_tenth_of_the_tries_in_the_long_run() {
        let mut retries = Retries::new(3);
        let mut spent = 0;
        for _ in 0..1_000 {
            // Everybody is overloaded, so that whoever may spend one does.
            spent += u32::from(retries.spend());
            retries.earn();
        }
        assert!((100..=103).contains(&spent), "{spent}");
        assert!((0..100).filter(|_| retries.spend()).count() <= 1, "nothing is earned without a try");
    }

    #[test]
    fn first_is_told_at_once_and_the_rest_once_a_second() {
        let strangers = Strangers::default();
        let at = |millis: u64| Instant::ZERO + Duration::from_millis(millis);
        let told: Vec<(u64, u64)> = (0..3_000).filter_map(|ms| Some((ms, strangers.count(at(ms))?))).collect();
        assert_eq!(told, [(0, 1), (1_000, 1_000), (2_000, 1_000)]);
        assert_eq!(strangers.count(at(9_000)), Some(1_000));
    }

    #[test]
    fn bucket_allows_its_burst_then_one_an_interval() {
        let interval = Duration::from_millis(100);
        let mut bucket = Bucket::new(3, interval);
        let start = Instant::from_micros(5);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(interval));
        assert_eq!(bucket.take(start + interval), Ok(()));
        assert_eq!(bucket.take(start + interval), Err(interval));
        assert_eq!(bucket.take(start + interval * 50), Ok(()));
        let left = bucket.left(start + interval * 50);
        bucket.give_back();
        assert_eq!(bucket.left(start + interval * 50), left + 1);
        (0..9).for_each(|_| bucket.give_back());
        assert_eq!(bucket.left(start + interval * 50), 3, "never more than a full one has");
    }
}
