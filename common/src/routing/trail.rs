//! What a packet remembers of its way.

use crate::id::{Address, ShortId};
use crate::mutant::{self, Mutant};
use crate::wire::packet::{ENTRY_BYTES, Mark, PacketRef, entry_of_bytes};

/// Why a packet was dropped: what it says cannot be true, so nobody would be told the right thing
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// No forwarder is on its way, and its source is not the neighbour that it came from; or it says that it is our own
    ForgedSource,
    /// The last forwarder on its way is not the neighbour that it came from
    ForgedWay,
}

/// How a packet came to be here
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is this peer's own, on its way out
    Own,
    /// The packet is here for the first time, and came from this peer
    First(Address),
    /// Given back by this neighbour
    Returned(Address),
    /// It was here before, and the peer that sent it should have seen that
    Again,
}

/// What a packet's trailer says, seen from one peer
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trail<'a> {
    pub(super) trailer: &'a [[u8; ENTRY_BYTES]],
    /// The end of the way, and what is before it
    pub(super) last: Option<(Mark, ShortId)>,
    pub(super) before: Option<(Mark, ShortId)>,
    /// This peer had it
    visited: bool,
    /// This peer is the end of the way
    returned: bool,
    /// Dead peers noted, the destination among them
    pub(super) dead: usize,
    /// Notes of the destination alone
    pub(super) notes: usize,
}

impl<'a> Trail<'a> {
    #[inline]
    pub(super) fn read(packet: &PacketRef<'a>, own: ShortId) -> Self {
        let destination = packet.header().destination.short();
        let mut trail = Self { trailer: packet.trailer(), ..Self::default() };
        for (mark, who) in trail.entries() {
            match mark {
                Mark::Dead => {
                    trail.dead += 1;
                    trail.notes += usize::from(who == destination);
                }
                Mark::Tried => trail.visited |= who == own,
                Mark::Way | Mark::Relay => {
                    (trail.before, trail.last) = (trail.last, Some((mark, who)));
                    trail.visited |= who == own;
                }
            }
        }
        trail.returned = trail.last == Some((Mark::Way, own));
        trail
    }

    /// How the packet came here, if that can be
    #[inline]
    pub(super) fn arrival(&self, source: Address, own: Address, from: Option<Address>) -> Result<Arrival, DropReason> {
        let Some(from) = from else { return Ok(Arrival::Own) };
        match self.last {
            // A packet that its source sent out has notes of the dead or the tried on it when it comes back, and no
            // way.
            None if source == own && !self.trailer.is_empty() => Ok(Arrival::Returned(from)),
            None if source != from => Err(DropReason::ForgedSource),
            Some(_) if source == own => Err(DropReason::ForgedSource),
            Some(_) if self.returned => Ok(Arrival::Returned(from)),
            // A relay is a supernode, which no table has: only the last peer on the way can be held to its link.
            Some((Mark::Way, last)) if last != from.short() => Err(DropReason::ForgedWay),
            _ if self.visited => Ok(Arrival::Again),
            _ => Ok(Arrival::First(from)),
        }
    }

    #[inline]
    fn entries(&self) -> impl Iterator<Item = (Mark, ShortId)> + use<'a> {
        self.trailer.iter().map(entry_of_bytes)
    }

    #[inline]
    pub(super) fn has_visited(&self, who: ShortId) -> bool {
        self.entries().any(|(mark, visited)| mark != Mark::Dead && visited == who)
    }

    #[inline]
    pub(super) fn has_noted(&self, who: ShortId) -> bool {
        self.entries().any(|(mark, noted)| mark == Mark::Dead && noted == who) && !mutant::is(Mutant::DeadListIgnored)
    }

    /// Neither visited nor known dead
    #[inline]
    pub(super) fn is_new(&self, who: ShortId) -> bool {
        self.entries().all(|(_, known)| known != who)
    }
}
