//! A message or its duplicate: the window of what was kept last.

use std::collections::{BTreeSet, VecDeque};

use crate::crypto;
use crate::id::{Key, MessageId};
use crate::mutant::{self, Mutant};

/// Messages that are remembered: at a thousand messages a second, six times as long as a sender tries
pub const SEEN_MAX: usize = 65_536;

/// A message's id together with its sender's key
///
/// The id alone would let a forwarder that reads it send another message under it first; the sender would then be told
/// that its own was kept. The first 16 bytes of SHA-256(key ‖ id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of the message that `sender` gave this id
    pub fn of(sender: &Key, id: &MessageId) -> Self {
        let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = crypto::sha256(&[&sender.0, &id.0]);
        Self(half)
    }
}

/// What [`Seen::check`] says
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Keep it, then receipt it
    New,
    /// Receipt it again; it was kept
    Duplicate,
}

/// The last [`SEEN_MAX`] messages that were kept; at the bound the oldest is forgotten
///
/// Check before keeping, insert once it is kept: a message that could not be kept must be new when it is sent again.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    order: VecDeque<Fingerprint>,
    set: BTreeSet<Fingerprint>,
}

impl Seen {
    /// Nothing was seen yet
    pub fn new() -> Self {
        Self::default()
    }

    /// What was seen before a restart, the oldest first; only the last [`SEEN_MAX`] stay
    pub fn restore(fingerprints: impl IntoIterator<Item = Fingerprint>) -> Self {
        let mut seen = Self::new();
        for fingerprint in fingerprints {
            seen.insert(fingerprint);
        }
        if mutant::is(Mutant::WindowNotRestored) { Self::new() } else { seen }
    }

    /// Whether the message was kept before; nothing changes
    pub fn check(&self, fingerprint: &Fingerprint) -> Check {
        let is_known = self.set.contains(fingerprint) && !mutant::is(Mutant::DuplicateKept);
        if is_known { Check::Duplicate } else { Check::New }
    }

    /// Remembers a message that was kept, and returns the one that is forgotten for it
    ///
    /// A duplicate changes nothing, its place in the order included: its sender had its answer.
    pub fn insert(&mut self, fingerprint: Fingerprint) -> Option<Fingerprint> {
        if !self.set.insert(fingerprint) {
            return None;
        }
        self.order.push_back(fingerprint);
        if self.order.len() <= SEEN_MAX {
            return None;
        }
        let forgotten = self.order.pop_front()?;
        self.set.remove(&forgotten);
        Some(forgotten)
    }

    /// How many are remembered
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All of them, the oldest first
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fingerprint> {
        self.order.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fingerprint(n: u32) -> Fingerprint {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Fingerprint(bytes)
    }

    #[test]
    fn message_is_new_until_it_is_kept_and_a_duplicate_from_then_on() {
        let mut seen = Seen::new();
        assert_eq!(seen.check(&fingerprint(1)), Check::New);
        assert_eq!(seen.check(&fingerprint(1)), Check::New, "a check remembers nothing");
        assert_eq!(seen.insert(fingerprint(1)), None);
        assert_eq!(seen.check(&fingerprint(1)), Check::Duplicate);
        assert_eq!(seen.insert(fingerprint(1)), None);
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn id_of_another_sender_is_not_a_duplicate() {
        let id = MessageId([7; 16]);
        assert_ne!(Fingerprint::of(&Key([1; 32]), &id), Fingerprint::of(&Key([2; 32]), &id));
        assert_eq!(Fingerprint::of(&Key([1; 32]), &id), Fingerprint::of(&Key([1; 32]), &id));
    }

    #[test]
    fn oldest_is_forgotten_at_the_bound() {
        let max = SEEN_MAX as u32;
        let mut seen = Seen::restore((0..max).map(fingerprint));
        assert_eq!(seen.len(), SEEN_MAX);
        assert_eq!(seen.insert(fingerprint(max)), Some(fingerprint(0)));
        assert_eq!(seen.len(), SEEN_MAX);
        assert_eq!(seen.check(&fingerprint(0)), Check::New);
        assert_eq!(seen.check(&fingerprint(1)), Check::Duplicate);
    }

    #[test]
    fn restored_window_has_the_order_and_the_bound_of_the_saved_one() {
        let seen = Seen::restore((0..SEEN_MAX as u32 + 10).map(fingerprint));
        let again = Seen::restore(seen.iter().copied());
        assert!(seen.iter().eq(again.iter()));
        assert_eq!(again.iter().next(), Some(&fingerprint(10)));
    }

    proptest! {
        #[test]
        fn window_agrees_with_a_plain_list(numbers in prop::collection::vec(0u32..50, 0..300)) {
            let (mut seen, mut list) = (Seen::new(), Vec::new());
            for n in numbers {
                let known = list.contains(&n);
                prop_assert_eq!(seen.check(&fingerprint(n)) == Check::Duplicate, known);
                seen.insert(fingerprint(n));
                if !known {
                    list.push(n);
                }
            }
            prop_assert!(seen.iter().copied().eq(list.into_iter().map(fingerprint)));
        }
    }
}
