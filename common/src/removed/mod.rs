//! Who was removed for good: a list of keys that only grows, and how a peer comes to know it.
//!
//! A grant holds no time, so it is good for ever to whoever does not know that its key was barred. So the list travels:
//! supernodes keep it in the order of removals, and every peer keeps all of it. How far one has it is a [`Mark`]: the
//! count, and a hash over all keys until there. Whoever shows a mark gets the keys behind it, in pages; whose mark is
//! none of this list's (its log was put back) gets them from the first on.
//!
//! The mark of the whole list is signed by a supernode. So peers that have no supernode can learn from neighbours
//! ([`Learner`]): a page that leads to a signed mark is as good as the supernode's own.

mod learner;

pub use learner::{ANSWER_INTERVAL, ANSWERS_BURST, ASK_EVERY, Ignored, Learner, Learnt, Whom};

use std::collections::BTreeSet;

use crate::crypto;
use crate::id::Key;
use crate::wire::bounded::Bounded;
use crate::wire::removed::{KEYS_PER_PAGE, Mark};

/// Keys that can be barred: some 6 MiB at every peer and supernode; the next one is refused with 429, as a barred key must
/// stay barred
pub const REMOVED_MAX: usize = 1 << 16;

/// All keys that were removed, in the order of their removals
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedKeys {
    keys: Vec<Key>,
    /// Behind each key the hash over all until there
    digests: Vec<[u8; 16]>,
    /// The same keys, to find one
    index: BTreeSet<Key>,
}

impl RemovedKeys {
    /// Whether this key was removed
    pub fn contains(&self, key: &Key) -> bool {
        self.index.contains(key)
    }

    /// How many there are, at most [`REMOVED_MAX`]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// In the order of their removals
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.keys.iter()
    }

    /// How far the list goes
    pub fn mark(&self) -> Mark {
        self.mark_at(self.keys.len())
    }

    /// Adds a key; `false` if it is there already, or if there is no room
    pub fn push(&mut self, key: Key) -> bool {
        if self.keys.len() >= REMOVED_MAX || !self.index.insert(key) {
            return false;
        }
        let digest = chained(&self.mark().digest, &key);
        self.keys.push(key);
        self.digests.push(digest);
        true
    }

    /// Whether the list was at this mark once
    pub fn was_at(&self, mark: &Mark) -> bool {
        usize::try_from(mark.count).is_ok_and(|count| count <= self.keys.len() && self.mark_at(count) == *mark)
    }

    /// What stands behind `mark`, one page of it at most, and behind which mark that is: behind the first if the list was
    /// never at `mark`
    pub fn page_after(&self, mark: &Mark) -> (Mark, Bounded<Key, KEYS_PER_PAGE>) {
        let from = if self.was_at(mark) { *mark } else { Mark::default() };
        (from, Bounded::truncated(self.keys.iter().skip(from.count as usize).take(KEYS_PER_PAGE).copied()))
    }

    /// Forgets whatever stands behind the first `count`
    fn truncate(&mut self, count: usize) {
        while self.keys.len() > count {
            self.keys.pop().inspect(|key| _ = self.index.remove(key));
        }
        self.digests.truncate(count);
    }

    fn mark_at(&self, count: usize) -> Mark {
        let digest = count.checked_sub(1).and_then(|last| self.digests.get(last)).copied().unwrap_or_default();
        Mark { count: count as u32, digest }
    }
}

/// The hash over all keys until and with `key`
fn chained(before: &[u8; 16], key: &Key) -> [u8; 16] {
    let hash = crypto::sha256(&[b"kith/removed-keys/1\0", before, &key.0]);
    hash.first_chunk().copied().unwrap_or_default()
}

/// Where `keys` lead from `mark`
fn led(mark: &Mark, keys: &[Key]) -> Mark {
    let digest = keys.iter().fold(mark.digest, |digest, key| chained(&digest, key));
    Mark { count: mark.count.saturating_add(keys.len() as u32), digest }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn key(number: u32) -> Key {
        let mut key = Key([0; 32]);
        // Neither in the order of numbers nor all alike in front.
        key.0[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_le_bytes());
        key
    }

    pub(super) fn keys(numbers: std::ops::Range<u32>) -> RemovedKeys {
        let mut keys = RemovedKeys::default();
        numbers.for_each(|number| assert!(keys.push(key(number))));
        keys
    }

    #[test]
    fn every_key_is_found_and_no_other_and_none_is_there_twice() {
        let mut keys = keys(0..500);
        assert!((0..500).all(|number| keys.contains(&key(number))));
        assert!((500..1_000).all(|number| !keys.contains(&key(number))));
        let mark = keys.mark();
        assert!(!keys.push(key(7)));
        assert_eq!((keys.mark(), keys.len()), (mark, 500));
        keys.truncate(100);
        assert!(keys.contains(&key(99)) && !keys.contains(&key(100)));
        assert!(keys.push(key(100)));
        assert!(keys.contains(&key(100)));
    }

    #[test]
    fn mark_stands_for_all_keys_and_their_order() {
        let (long, short) = (keys(0..9), keys(0..5));
        assert!(long.was_at(&short.mark()) && long.was_at(&Mark::default()) && !short.was_at(&long.mark()));
        let mut other = RemovedKeys::default();
        assert!([1, 0, 2, 3, 4].iter().all(|number| other.push(key(*number))));
        assert!(!long.was_at(&other.mark()));
        assert_eq!(led(&short.mark(), &long.page_after(&short.mark()).1), long.mark());
    }

    #[test]
    fn page_begins_behind_the_mark_or_at_the_first_key() {
        let keys = keys(0..KEYS_PER_PAGE as u32 + 10);
        let of = |numbers: std::ops::Range<u32>| numbers.map(key).collect::<Vec<_>>();
        let (from, page) = keys.page_after(&Mark::default());
        assert_eq!((from, page.into_vec()), (Mark::default(), of(0..KEYS_PER_PAGE as u32)));
        let mark = keys.mark_at(KEYS_PER_PAGE);
        let (from, page) = keys.page_after(&mark);
        assert_eq!((from, page.into_vec()), (mark, of(KEYS_PER_PAGE as u32..keys.len() as u32)));
        let foreign = Mark { digest: [1; 16], ..mark };
        assert_eq!(keys.page_after(&foreign).0, Mark::default());
        let beyond = Mark { count: u32::MAX, digest: [0; 16] };
        assert_eq!(keys.page_after(&beyond).0, Mark::default());
        assert!(keys.page_after(&keys.mark()).1.is_empty());
    }

    #[test]
    fn list_takes_no_more_than_its_bound() {
        let mut keys = RemovedKeys::default();
        assert!((0..REMOVED_MAX as u32).all(|number| keys.push(key(number))));
        assert!(!keys.push(key(REMOVED_MAX as u32)));
        assert_eq!(keys.len(), REMOVED_MAX);
    }
}
