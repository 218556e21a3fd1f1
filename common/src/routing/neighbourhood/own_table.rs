//! Our table as neighbours are told it, and what leads from one to the next.

use crate::id::{Address, Epoch};
use crate::mutant::{self, Mutant};
use crate::wire::Frame;
use crate::wire::bounded::Bounded;
use crate::wire::link::{Delta, LinkState, Table, TableEntry};

/// What neighbours know of our links
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnTable {
    /// In the order of addresses
    pub(super) entries: Vec<TableEntry>,
    /// Of whom we cannot say whether they are there, in the order of addresses
    pub(super) unseen: Vec<Address>,
}

impl OwnTable {
    /// Whether a neighbour that was told this one believes in a link that does not carry by `newer`
    pub(super) fn loses(&self, newer: &Self) -> bool {
        let carries = |address: Address| newer.entries.iter().any(|entry| entry.address == address && entry.up);
        self.entries.iter().any(|entry| entry.up && !carries(entry.address))
    }

    /// What leads from this one to `newer`: other bits are a delta, other members a whole table, as forwarding elsewhere
    /// must never hold a bit of a link that it does not know
    pub(super) fn news(&self, epoch: Epoch, newer: &Self) -> Option<Frame> {
        let same = |(a, b): (&TableEntry, &TableEntry)| a.address == b.address && a.name == b.name;
        if self.entries.len() != newer.entries.len() || !self.entries.iter().zip(&newer.entries).all(same) {
            return Some(newer.whole(epoch));
        }
        let changed = newer.entries.iter().zip(&self.entries).filter(|(new, old)| new.up != old.up);
        let changes = Bounded::truncated(changed.map(|(new, _)| LinkState { address: new.address, up: new.up }));
        // Whoever reads that a link is up takes its other end for seen; everything else about those has to be told.
        let is_seen = |who: &&Address| changes.iter().any(|change: &LinkState| change.up && change.address == **who);
        if !self.unseen.iter().filter(|who| !is_seen(who)).eq(&newer.unseen) {
            return Some(newer.whole(epoch));
        }
        (!changes.is_empty() && !mutant::is(Mutant::BitNotSent)).then_some(Frame::Delta(Delta { changes }))
    }

    /// All of it, as made by the rewire of `epoch`
    pub(super) fn whole(&self, epoch: Epoch) -> Frame {
        let entries = Bounded::truncated(self.entries.iter().cloned());
        Frame::Table(Table { epoch, entries, unseen: Bounded::truncated(self.unseen.iter().copied()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(u64, bool)], unseen: &[u64]) -> OwnTable {
        let entry = |(address, up): &(u64, bool)| TableEntry {
            address: Address(*address),
            up: *up,
            name: "a".parse().unwrap(),
        };
        OwnTable { entries: entries.iter().map(entry).collect(), unseen: unseen.iter().copied().map(Address).collect() }
    }

    fn delta(address: u64, up: bool) -> Option<Frame> {
        Some(Frame::Delta(Delta { changes: Bounded::truncated([LinkState { address: Address(address), up }]) }))
    }

    #[test]
    fn bits_alone_are_a_delta_and_who_comes_up_is_seen_without_a_word() {
        let old = table(&[(1, false), (2, true)], &[1, 9]);
        assert_eq!(old.news(Epoch::new(0, 1), &table(&[(1, true), (2, true)], &[9])), delta(1, true));
        assert_eq!(old.news(Epoch::new(0, 1), &table(&[(1, false), (2, false)], &[1, 9])), delta(2, false));
        assert_eq!(old.news(Epoch::new(0, 1), &old), None);
    }

    #[test]
    fn other_members_or_others_unseen_are_a_whole_table() {
        let old = table(&[(1, false), (2, true)], &[1, 9]);
        let others = [
            table(&[(1, false)], &[1, 9]),
            table(&[(1, false), (2, true)], &[1]),
            table(&[(1, true), (2, true)], &[1, 9]),
        ];
        for new in others {
            assert_eq!(old.news(Epoch::new(0, 7), &new), Some(new.whole(Epoch::new(0, 7))));
        }
    }
}
