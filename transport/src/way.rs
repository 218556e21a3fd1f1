//! The way that one end's packets take: its label decides among equal ways, and it is changed when nothing comes back.
//!
//! QUIC sends again what is not acknowledged, but by the same way. So an end that has sent what must be acknowledged, and
//! hears of none of it for two probe timeouts, draws another label, and with it another first hop. Both ends do so for their
//! own direction, as only the sender knows what is owed. The first hops of the ways that were left are not taken again before
//! something is acknowledged, if others lead there.

use std::time::Duration;

use kith_common::id::Address;
use kith_common::time::Instant;

/// The other end may wait so long with an acknowledgement (RFC 9000's default for `max_ack_delay`)
const ACK_DELAY: Duration = Duration::from_millis(25);

/// A machine that is busy answers so much later: no way is given up for less
const SLACK: Duration = Duration::from_millis(25);

/// Probe timeouts until a way is changed, of which the second is twice as long as the first
const PROBES: u32 = 3;

/// The longest wait until a way is changed: a round trip that was measured while a queue was full says little
const WAIT_MAX: Duration = Duration::from_millis(750);

/// After so many changes in a row the supernode is to relay a copy: no way of the mesh may be left
const RELAY_FROM: u32 = 2;

/// First hops that are not taken again; then all are tried anew, as a peer has hardly more neighbours
const TRIED_MAX: usize = 16;

/// The way of one direction
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    label: u32,
    /// When the oldest packet was sent that must be acknowledged and, as far as is known, was not
    owed_since: Option<Instant>,
    /// How often it was changed since the other end was last heard to acknowledge anything
    changes: u32,
    /// Who has carried what was sent last
    first_hop: Option<Address>,
    /// Who has carried what was sent by the ways that were left since; [`TRIED_MAX`] of them
    tried: Vec<Address>,
}

impl Way {
    pub(crate) const fn new(label: u32) -> Self {
        Self { label, owed_since: None, changes: 0, first_hop: None, tried: Vec::new() }
    }

    /// What decides among equal ways
    pub(crate) const fn label(&self) -> u32 {
        self.label
    }

    /// Whether a supernode is to relay a copy of what goes out
    pub(crate) const fn is_relayed(&self) -> bool {
        self.changes >= RELAY_FROM
    }

    /// Something was sent that must be acknowledged
    pub(crate) fn handle_sent(&mut self, now: Instant) {
        self.owed_since.get_or_insert(now);
    }

    /// `first_hop` has taken what was sent by this way
    pub(crate) fn handle_carried(&mut self, first_hop: Address) {
        self.first_hop = Some(first_hop);
    }

    /// The other end has acknowledged something: what is still owed begins to count with what is sent next. Returns who has
    /// carried it, as far as is known: only who carried all that has gone by this way so far.
    pub(crate) fn handle_acknowledged(&mut self) -> Option<Address> {
        self.owed_since = None;
        self.tried.clear();
        // Just after a change it may be for what went by another way.
        let carried = self.first_hop.filter(|_| self.changes == 0);
        self.changes = 0;
        carried
    }

    /// When the way is to be changed, if nothing is acknowledged until then
    pub(crate) fn change_at(&self, round_trip: Duration) -> Option<Instant> {
        let probe = round_trip.saturating_mul(2).max(round_trip + SLACK) + ACK_DELAY;
        self.owed_since.map(|since| since + probe.saturating_mul(PROBES).min(WAIT_MAX))
    }

    /// The way leads nowhere, as time or the mesh has told: another one, on which what is owed has all its time again.
    /// Returns the first hop of the one that is left.
    pub(crate) fn change(&mut self, now: Instant, label: u32) -> Option<Address> {
        let left = self.first_hop.take();
        if self.tried.len() >= TRIED_MAX {
            self.tried.clear();
        }
        self.tried.extend(left.filter(|hop| !self.tried.contains(hop)));
        self.label = label;
        self.changes = self.changes.saturating_add(1);
        self.owed_since = self.owed_since.map(|_| now);
        left
    }

    /// First hops that were tried in vain
    pub(crate) fn tried(&self) -> &[Address] {
        &self.tried
    }

    /// How often it was changed since anything was acknowledged
    pub(crate) const fn changes(&self) -> u32 {
        self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(10);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn way_is_changed_when_what_is_owed_stays_out_for_two_probe_timeouts() {
        let mut way = Way::new(1);
        assert_eq!(way.change_at(RTT), None, "nothing is owed");
        way.handle_sent(at(5));
        way.handle_sent(at(90));
        assert_eq!(way.change_at(RTT), Some(at(5 + 180)), "the oldest counts");
        assert_eq!(way.change_at(Duration::from_secs(9)), Some(at(5 + 750)));
        way.change(at(185), 2);
        assert_eq!((way.label(), way.change_at(RTT)), (2, Some(at(365))));
    }

    #[test]
    fn acknowledgement_ends_what_is_owed_and_what_was_tried() {
        let mut way = Way::new(1);
        way.handle_sent(at(0));
        way.change(at(1), 2);
        assert!(!way.is_relayed(), "another way of the mesh is tried first");
        way.change(at(2), 3);
        assert!(way.is_relayed());
        way.handle_acknowledged();
        assert_eq!((way.is_relayed(), way.changes(), way.change_at(RTT), way.label()), (false, 0, None, 3));
    }

    #[test]
    fn first_hops_of_ways_that_were_left_are_tried_ones_until_something_is_acknowledged() {
        let mut way = Way::new(1);
        way.handle_carried(Address(7));
        assert_eq!(way.change(at(1), 2), Some(Address(7)));
        assert_eq!(way.change(at(2), 3), None, "nobody has carried anything by it");
        way.handle_carried(Address(9));
        assert_eq!(way.change(at(3), 4), Some(Address(9)));
        assert_eq!(way.tried(), [Address(7), Address(9)]);
        way.handle_carried(Address(5));
        assert_eq!((way.handle_acknowledged(), way.tried()), (None, [].as_slice()), "it may be for an older way's");
        assert_eq!(way.handle_acknowledged(), Some(Address(5)));
        for hop in 0..=TRIED_MAX as u64 {
            way.handle_carried(Address(hop));
            way.change(at(hop), hop as u32 + 10);
        }
        assert_eq!(way.tried(), [Address(TRIED_MAX as u64)], "then all are tried anew");
    }
}
