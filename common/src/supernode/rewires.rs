//! Whose tables have changed, and when they are told: a peer's changes within [`GATHER`] make one rewire.
//!
//! A member that comes or goes changes the tables of all its neighbours, and often many come or go together. Told one by
//! one, each neighbour of `n` of them would have `n` tables to apply, and links to open for the sake of one that the next
//! table takes back. A suspicion of a third of a large ring touches nearly everybody: so many tables are told in slices of
//! [`SLICE`], between which whatever else has come is handled.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::Address;
use crate::mutant::{self, Mutant};
use crate::time::{Instant, Timers};

/// How long a change waits for others to be told with it: what a group of commands and the next one take on a disk, and
/// a fortieth of the two seconds in which a mesh heals
pub const GATHER: Duration = Duration::from_millis(50);

/// Tables that are told in one go: some milliseconds of work
pub const SLICE: usize = 64;

/// The tables that have changed and were not told yet, at most one of each member
#[derive(Default)]
pub(super) struct Rewires {
    due: Timers<Address>,
}

impl Rewires {
    /// A command has changed these tables; those that wait already are told no later for it
    pub(super) fn touch(&mut self, now: Instant, touched: BTreeSet<Address>) {
        let wait = if mutant::is(Mutant::RewiresOneByOne) { Duration::ZERO } else { GATHER };
        for address in touched {
            if self.due.moment(&address).is_none() {
                self.due.set(now + wait, address);
            }
        }
    }

    /// The table of `address` is told at once, for another reason
    pub(super) fn forget(&mut self, address: Address) {
        self.due.stop(&address);
    }

    /// Whose tables are to be told now, [`SLICE`] at most: others that are due have their turn at the next timeout
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Address> {
        let slice = if mutant::is(Mutant::RewiresOneByOne) { usize::MAX } else { SLICE };
        std::iter::from_fn(|| self.due.take_due(now)).take(slice).collect()
    }

    /// When to call [`Self::take_due`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due.next_timeout()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at_ms;

    #[test]
    fn changes_of_one_peer_within_fifty_milliseconds_make_one_rewire() {
        let mut rewires = Rewires::default();
        let touch = |rewires: &mut Rewires, ms, addresses: &[u64]| {
            rewires.touch(at_ms(ms), addresses.iter().copied().map(Address).collect());
        };
        touch(&mut rewires, 0, &[1, 2]);
        touch(&mut rewires, 49, &[1]);
        assert_eq!((rewires.next_timeout(), rewires.take_due(at_ms(49))), (Some(at_ms(50)), vec![]));
        assert_eq!(rewires.take_due(at_ms(50)), [1, 2].map(Address));
        touch(&mut rewires, 51, &[1, 2]);
        rewires.forget(Address(2));
        assert_eq!((rewires.take_due(at_ms(101)), rewires.next_timeout()), (vec![Address(1)], None));
    }

    #[test]
    fn many_tables_are_told_in_slices() {
        let mut rewires = Rewires::default();
        rewires.touch(at_ms(0), (0..2 * SLICE as u64 + 1).map(Address).collect());
        let slices: Vec<usize> = (0..4).map(|_| rewires.take_due(at_ms(50)).len()).collect();
        assert_eq!(slices, [SLICE, SLICE, 1, 0]);
    }
}
