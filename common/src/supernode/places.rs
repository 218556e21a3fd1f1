//! How many places on the ring one key may have, one after the other.
//!
//! An address is drawn after the key was seen, so that nobody chooses a place; but whoever logs out and in again is given
//! another one, and could go on until it likes it. So new places of a key are counted: [`PLACES_BURST`] at once, and one more
//! every [`PLACE_EVERY`]. Whoever comes back while its lease lasts has the place that it had, which costs nothing. The
//! counts are this supernode's own, and begin anew with its process.

use std::time::Duration;

use crate::id::Key;
use crate::rate::{Bucket, Buckets, Shortage};
use crate::time::Instant;

/// New places that a key gets at once: more than anybody logs out and in again by hand, or by a script that is tried out
pub const PLACES_BURST: u32 = 16;
/// One more every so often: a peer that is restarted with a good-bye over and over is let in all the same, and a thousand
/// places take hours
pub const PLACE_EVERY: Duration = Duration::from_secs(15);
/// Keys whose places are counted; at the bound those that have their whole budget again are forgotten, and if there is none
/// of them the next key is told to come again
pub const KEYS_MAX: usize = 1 << 16;

/// The places that each key got lately
#[derive(Debug)]
pub(super) struct Places {
    keys: Buckets<Key>,
}

impl Default for Places {
    fn default() -> Self {
        Self { keys: Buckets::new(KEYS_MAX, Bucket::new(PLACES_BURST, PLACE_EVERY)) }
    }
}

impl Places {
    /// Whether this key may have a new place now; else how long it is until then
    pub(super) fn check(&mut self, now: Instant, key: &Key) -> Result<(), Duration> {
        self.keys.check(now, key).map_err(|shortage| match shortage {
            Shortage::Empty(wait) => wait,
            Shortage::Crowded => PLACE_EVERY,
        })
    }

    /// This key has got a new place, which it keeps even if it should have waited: logins under way are not counted
    pub(super) fn note(&mut self, now: Instant, key: Key) {
        let _ = self.keys.take(now, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at_ms;

    fn key(number: u32) -> Key {
        let mut key = Key([0; 32]);
        key.0[..4].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn keys_are_forgotten_when_they_have_their_budget_again_and_bounded_until_then() {
        let mut places = Places::default();
        (0..KEYS_MAX as u32).for_each(|number| places.note(at_ms(0), key(number)));
        assert_eq!(places.check(at_ms(1), &key(u32::MAX)), Err(PLACE_EVERY));
        assert_eq!(places.check(at_ms(1), &key(1)), Ok(()), "one that is counted goes on");
        let later = at_ms(0) + PLACE_EVERY;
        assert_eq!(places.check(later, &key(u32::MAX)), Ok(()));
        assert!(places.keys.is_empty());
    }
}
