//! A message or its duplicate: the window of what was kept last.

use std::collections::{BTreeMap, BTreeSet};

use crate::crypto;
use crate::id::{Key, MessageId};
use crate::mutant::{self, Mutant};

/// Messages that are remembered: at a thousand messages a second, six times as long as a sender tries
pub const SEEN_MAX: usize = 65_536;

/// A sender, as a window and an in-box count what is whose: the first 8 bytes of SHA-256(key), as a big-endian number
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderTag(pub u64);

impl SenderTag {
    /// The tag of the sender with this key
    pub fn of(sender: &Key) -> Self {
        Self(u64::from_be_bytes(eight(crypto::sha256(&[&sender.0]))))
    }
}

/// A message's id together with its sender's key
///
/// The id alone would let whoever has come to know it send another message under it first; the sender would then be told
/// that its own was kept. The sender's [`SenderTag`], and the first 8 bytes of SHA-256(key ‖ id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of the message that `sender` gave this id
    pub fn of(sender: &Key, id: &MessageId) -> Self {
        let (tag, message) = (SenderTag::of(sender), u64::from_be_bytes(eight(crypto::sha256(&[&sender.0, &id.0]))));
        Self((u128::from(tag.0) << 64 | u128::from(message)).to_be_bytes())
    }

    /// Whose message it is
    pub fn sender(&self) -> SenderTag {
        SenderTag((u128::from_be_bytes(self.0) >> 64) as u64)
    }
}

fn eight([a, b, c, d, e, f, g, h, ..]: [u8; 32]) -> [u8; 8] {
    [a, b, c, d, e, f, g, h]
}

/// What [`Seen::check`] says
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Keep it, then receipt it
    New,
    /// Receipt it again; it was kept
    Duplicate,
}

/// Messages that were kept, up to [`SEEN_MAX`]; at the bound the sender who has most of them loses the oldest
///
/// So whoever sends much shortens the memory of its own messages and of nobody else's: nobody can have another's message
/// kept twice.
///
/// Check before keeping, insert once it is kept: a message that could not be kept must be new when it is sent again.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By their sequence, which is the order in which they were kept
    order: BTreeMap<u64, Fingerprint>,
    set: BTreeSet<Fingerprint>,
    /// The sequences of each sender's messages
    senders: BTreeMap<SenderTag, BTreeSet<u64>>,
    /// Senders by how many messages they have here
    most: BTreeSet<(usize, SenderTag)>,
}

impl Seen {
    /// Nothing was seen yet
    pub fn new() -> Self {
        Self::default()
    }

    /// What was seen before a restart, each with its sequence, the oldest first; and the sequences of those that are
    /// beyond the bound
    pub fn restore(fingerprints: impl IntoIterator<Item = (u64, Fingerprint)>) -> (Self, Vec<u64>) {
        let mut seen = Self::new();
        let forgotten =
            fingerprints.into_iter().filter_map(|(sequence, fingerprint)| seen.insert(sequence, fingerprint));
        let forgotten = forgotten.collect();
        (seen, forgotten)
    }

    /// Whether the message was kept before; nothing changes
    pub fn check(&self, fingerprint: &Fingerprint) -> Check {
        let is_known = self.set.contains(fingerprint) && !mutant::is(Mutant::DuplicateKept);
        if is_known { Check::Duplicate } else { Check::New }
    }

    /// Remembers a message that was kept under this sequence, and returns the sequence that is forgotten for it
    ///
    /// A duplicate changes nothing, its place in the order included: its sender had its answer.
    pub fn insert(&mut self, sequence: u64, fingerprint: Fingerprint) -> Option<u64> {
        if !self.set.insert(fingerprint) {
            return None;
        }
        self.order.insert(sequence, fingerprint);
        self.change(fingerprint.sender(), |sequences| sequences.insert(sequence));
        if self.order.len() <= SEEN_MAX {
            return None;
        }
        let (_, most) = *self.most.last()?;
        let forgotten = *self.senders.get(&most)?.first()?;
        self.change(most, |sequences| sequences.remove(&forgotten));
        let fingerprint = self.order.remove(&forgotten)?;
        self.set.remove(&fingerprint);
        Some(forgotten)
    }

    fn change(&mut self, sender: SenderTag, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let sequences = self.senders.entry(sender).or_default();
        self.most.remove(&(sequences.len(), sender));
        change(sequences);
        if sequences.is_empty() {
            self.senders.remove(&sender);
        } else {
            self.most.insert((sequences.len(), sender));
        }
    }

    /// How many are remembered
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All of them with their sequences, the oldest first
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, Fingerprint)> + '_ {
        self.order.iter().map(|(sequence, fingerprint)| (*sequence, *fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fingerprint(n: u32) -> Fingerprint {
        of_sender(0, n)
    }

    fn of_sender(sender: u64, n: u32) -> Fingerprint {
        Fingerprint((u128::from(sender) << 64 | u128::from(n)).to_be_bytes())
    }

    fn restore(fingerprints: impl IntoIterator<Item = Fingerprint>) -> (Seen, Vec<u64>) {
        Seen::restore((1..).zip(fingerprints))
    }

    #[test]
    fn message_is_new_until_it_is_kept_and_a_duplicate_from_then_on() {
        let mut seen = Seen::new();
        assert_eq!(seen.check(&fingerprint(1)), Check::New);
        assert_eq!(seen.check(&fingerprint(1)), Check::New, "a check remembers nothing");
        assert_eq!(seen.insert(1, fingerprint(1)), None);
        assert_eq!(seen.check(&fingerprint(1)), Check::Duplicate);
        assert_eq!(seen.insert(2, fingerprint(1)), None);
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn id_of_another_sender_is_not_a_duplicate() {
        let id = MessageId([7; 16]);
        let (one, other) = (Fingerprint::of(&Key([1; 32]), &id), Fingerprint::of(&Key([2; 32]), &id));
        assert_ne!(one, other);
        assert_eq!(one, Fingerprint::of(&Key([1; 32]), &id));
        assert_eq!(one.sender(), SenderTag::of(&Key([1; 32])));
        assert_eq!(one.sender(), Fingerprint::of(&Key([1; 32]), &MessageId([8; 16])).sender());
    }

    #[test]
    fn oldest_is_forgotten_at_the_bound() {
        let max = SEEN_MAX as u32;
        let (mut seen, forgotten) = restore((0..max).map(fingerprint));
        assert_eq!((seen.len(), forgotten), (SEEN_MAX, Vec::new()));
        assert_eq!(seen.insert(u64::from(max) + 1, fingerprint(max)), Some(1));
        assert_eq!(seen.len(), SEEN_MAX);
        assert_eq!(seen.check(&fingerprint(0)), Check::New);
        assert_eq!(seen.check(&fingerprint(1)), Check::Duplicate);
    }

    #[test]
    fn sender_of_many_messages_pushes_out_its_own_and_nobody_elses() {
        let (mut seen, _) = restore(std::iter::once(of_sender(1, 0)).chain((0..SEEN_MAX as u32 - 1).map(fingerprint)));
        for n in 0..1_000 {
            seen.insert(1_000_000 + u64::from(n), fingerprint(SEEN_MAX as u32 + n));
        }
        assert_eq!(seen.check(&of_sender(1, 0)), Check::Duplicate, "the oldest of all, and still remembered");
        assert_eq!(seen.check(&fingerprint(999)), Check::New);
        assert_eq!((seen.len(), seen.set.len(), seen.senders.len(), seen.most.len()), (SEEN_MAX, SEEN_MAX, 2, 2));
    }

    #[test]
    fn restored_window_has_the_order_and_the_bound_of_the_saved_one() {
        let (seen, forgotten) = restore((0..SEEN_MAX as u32 + 10).map(fingerprint));
        assert_eq!(forgotten, (1..=10).collect::<Vec<_>>());
        let (again, _) = Seen::restore(seen.iter());
        assert!(seen.iter().eq(again.iter()));
        assert_eq!(again.iter().next(), Some((11, fingerprint(10))));
        assert_eq!(again.check(&fingerprint(10)), Check::Duplicate);
    }

    proptest! {
        #[test]
        fn window_agrees_with_a_plain_list(numbers in prop::collection::vec(0u32..50, 0..300)) {
            let (mut seen, mut list) = (Seen::new(), Vec::new());
            for (sequence, n) in (1..).zip(numbers) {
                let known = list.contains(&n);
                prop_assert_eq!(seen.check(&fingerprint(n)) == Check::Duplicate, known);
                seen.insert(sequence, fingerprint(n));
                if !known {
                    list.push(n);
                }
            }
            prop_assert!(seen.iter().map(|(_, seen)| seen).eq(list.into_iter().map(fingerprint)));
        }
    }
}
