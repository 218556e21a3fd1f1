//! The way that one end's packets take: its label decides among equal ways, and it is changed when nothing comes back.
//!
//! QUIC sends again what is not acknowledged, but by the same way. So an end that has sent what must be acknowledged, and
//! hears of none of it for two probe timeouts, draws another label, and with it another first hop. Both ends do so for their
//! own direction, as only the sender knows what is owed. The first hops of the ways that were left are not taken again before
//! something is acknowledged that was sent after them, if others lead there.
//!
//! A way by which much is lost is left as well, and as soon as the other end has changed its way this one does: what it sends may
//! get lost where the other's did.
//!
//! After two changes in vain a supernode relays copies, as no way of the mesh may be left; sooner where two ends know of no way
//! yet. Which of the two copies arrived
//! nobody can tell; so after a while the mesh is tried alone again, more seldom each time that fails.

use std::time::Duration;

use kith_common::id::Address;
use kith_common::mutant::{self, Mutant};
use kith_common::time::{Instant, doubled};

/// The other end may wait so long with an acknowledgement (RFC 9000's default for `max_ack_delay`)
const ACK_DELAY: Duration = Duration::from_millis(25);

/// A machine that is busy answers so much later: no way is given up for less
const SLACK: Duration = Duration::from_millis(25);

/// Probe timeouts until a way is changed: two, of which the second is twice as long as the first
const PROBES: u32 = 3;

/// … and where the way before was silent, or nothing was ever acknowledged: a copy too many is soon told
const PROBES_NEXT: u32 = 2;

/// The longest wait until a way is changed: a round trip that was measured while a queue was full says little
const WAIT_MAX: Duration = Duration::from_millis(750);

/// After so many changes in a row a supernode is to relay; after the first, where nothing was ever acknowledged, as two ends that
/// have not met know of no way at all
const RELAY_FROM: u32 = 2;

/// … and after the first as well, if the other end has had its own relayed so lately: a few of its waits
const HEARD_RELAYED: Duration = Duration::from_secs(2);

/// A way is left by which at least one byte in so many is lost …
const LOSS_SHARE: u64 = 4;
/// … and something was found to be lost so often: a queue that overflows loses less, or once
const LOSSES_MIN: u32 = 3;
/// A way is good by which so many packets have arrived before the first was lost
const GOOD_AFTER: u32 = 30;

/// Who has changed its way so lately, or within three round trips, does not do so again because the other end has: both would go on
/// for ever
const SETTLED: Duration = Duration::from_millis(500);

/// So long it relays before the mesh is tried alone: a relay passes few packets, and a trial costs one wait
const RELAY_MIN: Duration = Duration::from_secs(5);
/// … and at most, as it doubles with each trial that fails
const RELAY_MAX: Duration = Duration::from_secs(80);

/// First hops that are not taken again; then all are tried anew, as a peer has hardly more neighbours
const TRIED_MAX: usize = 16;

/// Why a way is changed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Silent,
    Told,
    HopLost,
    Lossy,
    Followed,
    Moved,
}

impl Cause {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Silent => "nothing is acknowledged",
            Self::Told => "the mesh says that it leads nowhere",
            Self::HopLost => "the link to its first hop is lost",
            Self::Lossy => "much is lost",
            Self::Followed => "the other end has changed its own",
            Self::Moved => "the other end is elsewhere",
        }
    }
}

/// The way of one direction
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    label: u32,
    /// Since when it is this one
    since: Instant,
    /// Since when something is owed that was sent by now and, as far as is known, was not acknowledged
    owed_since: Option<Instant>,
    /// When something was last sent that must be acknowledged
    last_sent: Option<Instant>,
    /// How often it was changed since anything was acknowledged that was sent after the last change
    changes: u32,
    /// Until when a supernode relays; past: the mesh is tried alone
    relayed_until: Option<Instant>,
    /// When the other end's was relayed last
    heard_relayed: Option<Instant>,
    /// Trials of the mesh alone that have failed
    trials: u32,
    /// Whether anything was ever acknowledged
    is_proven: bool,
    /// Bytes that are known to have arrived by this way, and to be lost
    arrived: u64,
    lost: u64,
    /// Packets that have arrived, and how often something was found to be lost
    arrivals: u32,
    losses: u32,
    /// Ways that were left for their losses since one was good
    lossy: u32,
    /// Who has carried what was sent last
    first_hop: Option<Address>,
    /// Who has carried what was sent by the ways that were left; [`TRIED_MAX`] of them
    tried: Vec<Address>,
}

impl Way {
    pub(crate) const fn new(now: Instant, label: u32) -> Self {
        Self {
            label,
            since: now,
            owed_since: None,
            last_sent: None,
            changes: 0,
            relayed_until: None,
            heard_relayed: None,
            trials: 0,
            is_proven: false,
            arrived: 0,
            lost: 0,
            arrivals: 0,
            losses: 0,
            lossy: 0,
            first_hop: None,
            tried: Vec::new(),
        }
    }

    /// What decides among equal ways
    pub(crate) const fn label(&self) -> u32 {
        self.label
    }

    /// Who has carried what was sent last
    pub(crate) const fn first_hop(&self) -> Option<Address> {
        self.first_hop
    }

    /// Whether a supernode is to relay a copy of what goes out
    pub(crate) fn is_relayed(&self, now: Instant) -> bool {
        self.relayed_until.is_some_and(|until| now < until) && !mutant::is(Mutant::CopiesNotRelayed)
    }

    /// Something was sent that must be acknowledged
    pub(crate) fn handle_sent(&mut self, now: Instant) {
        self.owed_since.get_or_insert(now);
        self.last_sent = Some(now);
    }

    /// Whether nothing is owed, and nothing was sent for `quiet` by which the way could be judged
    pub(crate) fn is_untried(&self, now: Instant, quiet: Duration) -> bool {
        self.owed_since.is_none() && self.last_sent.is_none_or(|at| now - at >= quiet)
    }

    /// Whether something is owed that this neighbour has carried
    pub(crate) fn is_owed_by(&self, neighbour: Address) -> bool {
        self.owed_since.is_some() && self.first_hop == Some(neighbour)
    }

    /// `first_hop` has taken what was sent by this way
    pub(crate) fn handle_carried(&mut self, first_hop: Address) {
        self.first_hop = Some(first_hop);
    }

    /// The other end has acknowledged a packet that was sent at `sent`, and of later ones nothing is known. Returns who has
    /// carried it, if that is known.
    pub(crate) fn handle_acknowledged(&mut self, now: Instant, sent: Instant) -> Option<Address> {
        self.is_proven = true;
        self.owed_since = self.last_sent.filter(|last| *last > sent).map(|_| now);
        // What an older way has brought says nothing of this one.
        if sent < self.since {
            return None;
        }
        self.changes = 0;
        self.tried.clear();
        if self.relayed_until.is_some_and(|until| sent >= until) {
            (self.relayed_until, self.trials) = (None, 0);
        }
        // The relay's copy may have been the one that arrived.
        self.first_hop.filter(|_| self.relayed_until.is_none())
    }

    /// The other end is to say more, and nothing may be owed by now: until it has, this way is judged as if something were
    pub(crate) fn handle_awaited(&mut self, now: Instant) {
        self.owed_since.get_or_insert(now);
    }

    /// A packet that was sent at `sent` has arrived
    pub(crate) fn handle_arrived(&mut self, sent: Instant, bytes: u64) {
        if sent >= self.since {
            self.arrived += bytes;
            self.arrivals += 1;
            if self.arrivals >= GOOD_AFTER && self.losses == 0 {
                self.lossy = 0;
            }
        }
    }

    /// Something of what was sent until `sent` is lost
    pub(crate) fn handle_lost(&mut self, sent: Instant, bytes: u64) {
        if sent >= self.since {
            self.lost += bytes;
            self.losses += 1;
        }
    }

    /// Whether so much is lost that a queue which overflows is not the reason
    pub(crate) const fn is_lossy(&self) -> bool {
        self.losses >= LOSSES_MIN && self.lost * LOSS_SHARE > self.arrived + self.lost
    }

    /// Whether it is as old as a change of the other end's way is news: whoever has just changed knows already
    pub(crate) fn is_settled(&self, now: Instant, round_trip: Duration) -> bool {
        now - self.since >= SETTLED.max(round_trip.saturating_mul(3))
    }

    /// The other end has a supernode relay copies: it hears nothing, or is not heard
    pub(crate) const fn handle_relayed(&mut self, now: Instant) {
        self.heard_relayed = Some(now);
    }

    /// When the way is to be changed, if nothing is acknowledged until then
    pub(crate) fn change_at(&self, round_trip: Duration) -> Option<Instant> {
        if mutant::is(Mutant::WayNeverChanged) {
            return None;
        }
        let probe = round_trip.saturating_mul(2).max(round_trip + SLACK) + ACK_DELAY;
        let probes = if self.is_proven && self.changes == 0 { PROBES } else { PROBES_NEXT };
        self.owed_since.map(|since| since + probe.saturating_mul(probes).min(WAIT_MAX))
    }

    /// Whether what the mesh says of this way is worth another one: something is owed, it has had a round trip's time, and a
    /// supernode is not about to relay
    pub(crate) fn is_worth_changing(&self, now: Instant, round_trip: Duration) -> bool {
        self.owed_since.is_some() && self.changes < RELAY_FROM && (self.changes == 0 || now - self.since >= round_trip)
    }

    /// Another way, on which what is owed has all its time again. Returns the first hop of the one that is left.
    pub(crate) fn change(&mut self, now: Instant, label: u32) -> Option<Address> {
        self.lossy += u32::from(self.is_lossy());
        let left = self.first_hop.take();
        if self.tried.len() >= TRIED_MAX {
            self.tried.clear();
        }
        self.tried.extend(left.filter(|hop| !self.tried.contains(hop)));
        (self.label, self.since) = (label, now);
        (self.arrived, self.lost, self.arrivals, self.losses) = (0, 0, 0, 0);
        self.changes = self.changes.saturating_add(1);
        self.owed_since = self.owed_since.map(|_| now);
        let has_trial_failed = self.relayed_until.is_some_and(|until| now >= until);
        let is_other_relayed = self.heard_relayed.is_some_and(|at| now - at < HEARD_RELAYED);
        let is_hard = self.changes >= RELAY_FROM || self.lossy >= RELAY_FROM || !self.is_proven || is_other_relayed;
        if has_trial_failed || (self.relayed_until.is_none() && is_hard) {
            self.relay(now);
        }
        left
    }

    /// A supernode is to relay copies for a while, longer each time that the mesh alone was tried in vain
    pub(crate) fn relay(&mut self, now: Instant) {
        self.relayed_until = Some(now + doubled(RELAY_MIN, self.trials, RELAY_MAX));
        self.trials = self.trials.saturating_add(1);
    }

    /// How often it was changed since anything was acknowledged
    pub(crate) const fn changes(&self) -> u32 {
        self.changes
    }

    /// First hops that were tried in vain
    pub(crate) fn tried(&self) -> &[Address] {
        &self.tried
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(10);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    /// One by which something has arrived
    fn proven() -> Way {
        let mut way = Way::new(at(0), 1);
        way.handle_acknowledged(at(0), at(0));
        way
    }

    #[test]
    fn way_is_changed_when_what_is_owed_stays_out_for_two_probe_timeouts() {
        let mut way = proven();
        assert_eq!(way.change_at(RTT), None, "nothing is owed");
        way.handle_sent(at(5));
        way.handle_sent(at(90));
        assert_eq!(way.change_at(RTT), Some(at(5 + 180)), "the oldest counts");
        assert_eq!(way.change_at(Duration::from_secs(9)), Some(at(5 + 750)));
        way.change(at(185), 2);
        assert_eq!((way.label(), way.change_at(RTT)), (2, Some(at(185 + 120))), "the next one is given up sooner");
    }

    #[test]
    fn acknowledgement_ends_what_was_owed_by_then_and_nothing_else() {
        let mut way = Way::new(at(0), 1);
        way.handle_sent(at(1));
        way.handle_sent(at(2));
        way.handle_acknowledged(at(11), at(1));
        assert_eq!(way.change_at(RTT), Some(at(11 + 180)), "what was sent after it");
        way.handle_acknowledged(at(12), at(2));
        assert_eq!(way.change_at(RTT), None);
        assert!(
            way.is_untried(at(252), Duration::from_millis(250)) && !way.is_untried(at(251), Duration::from_millis(250))
        );
    }

    #[test]
    fn what_an_older_way_has_brought_is_not_to_the_credit_of_the_present_one() {
        let mut way = proven();
        way.handle_sent(at(1));
        way.handle_carried(Address(7));
        way.change(at(200), 2);
        way.handle_carried(Address(8));
        assert_eq!(way.handle_acknowledged(at(210), at(1)), None);
        assert_eq!((way.changes(), way.tried()), (1, [Address(7)].as_slice()));
        way.handle_sent(at(220));
        assert_eq!(way.handle_acknowledged(at(230), at(220)), Some(Address(8)));
        assert_eq!((way.changes(), way.tried()), (0, [].as_slice()));
    }

    #[test]
    fn supernode_relays_after_two_changes_until_the_mesh_alone_has_brought_something() {
        let mut way = proven();
        way.handle_sent(at(0));
        way.change(at(100), 2);
        assert!(!way.is_relayed(at(100)), "another way of the mesh is tried first");
        way.change(at(200), 3);
        assert!(way.is_relayed(at(200)));
        way.handle_carried(Address(7));
        way.handle_sent(at(300));
        assert_eq!(way.handle_acknowledged(at(310), at(300)), None, "by the relay, perhaps");
        assert!(way.is_relayed(at(5_199)) && !way.is_relayed(at(5_200)), "it is tried alone");
        way.handle_sent(at(5_300));
        way.change(at(5_500), 4);
        assert!(way.is_relayed(at(15_499)) && !way.is_relayed(at(15_500)), "in vain: for twice as long");
        way.handle_sent(at(15_600));
        way.handle_acknowledged(at(15_610), at(15_600));
        way.change(at(15_700), 5);
        assert!(!way.is_relayed(at(15_700)), "it has brought something by itself");
    }

    #[test]
    fn two_who_have_not_met_have_a_supernode_relay_after_the_first_change() {
        let mut way = Way::new(at(0), 1);
        way.handle_sent(at(0));
        way.change(at(100), 2);
        assert!(way.is_relayed(at(100)));
    }

    #[test]
    fn way_by_which_much_is_lost_is_left_and_a_supernode_relays_when_all_are_so() {
        let mut way = proven();
        way.handle_lost(at(1), 9_000);
        way.handle_lost(at(2), 9_000);
        assert!(!way.is_lossy(), "a queue that overflows loses as much at once");
        way.handle_lost(at(3), 9_000);
        assert!(way.is_lossy());
        way.handle_arrived(at(3), 100_000);
        assert!(!way.is_lossy());
        for change in 1..=3_u64 {
            (0..3).for_each(|loss| way.handle_lost(at(1_000 * change + loss), 50_000));
            assert!(way.is_lossy());
            way.change(at(1_000 * change + 500), 9);
            way.handle_lost(at(1_000 * change), 90_000);
            assert!(!way.is_lossy(), "what the older way has lost is not to the debit of this one");
            assert_eq!(way.is_relayed(at(1_000 * change + 500)), change >= 2);
        }
        let mut way = proven();
        for change in 1..=9_u64 {
            (0..3).for_each(|loss| way.handle_lost(at(1_000 * change + loss), 50_000));
            way.change(at(1_000 * change + 500), 9);
            (0..GOOD_AFTER).for_each(|_| way.handle_arrived(at(1_000 * change + 600), 100));
            way.handle_acknowledged(at(1_000 * change + 600), at(1_000 * change + 600));
            assert!(!way.is_relayed(at(1_000 * change + 600)), "the next one was good each time");
        }
    }

    #[test]
    fn word_of_the_mesh_is_worth_a_change_once_a_round_trip_and_not_while_nothing_is_owed() {
        let mut way = proven();
        assert!(!way.is_worth_changing(at(5), RTT), "nothing is owed");
        way.handle_sent(at(5));
        assert!(way.is_worth_changing(at(6), RTT));
        way.change(at(6), 2);
        assert!(!way.is_worth_changing(at(15), RTT) && way.is_worth_changing(at(16), RTT));
        way.change(at(16), 3);
        assert!(!way.is_worth_changing(at(99), RTT), "the relay has its time");
    }

    #[test]
    fn first_hops_of_ways_that_were_left_are_not_taken_again() {
        let mut way = Way::new(at(0), 1);
        for (hop, left) in [(7, Some(Address(7))), (9, Some(Address(9)))] {
            way.handle_carried(Address(hop));
            assert_eq!(way.change(at(hop), hop as u32), left);
        }
        assert_eq!(way.change(at(10), 3), None, "nobody has carried anything by it");
        assert_eq!(way.tried(), [Address(7), Address(9)]);
        for hop in 0..TRIED_MAX as u64 - 1 {
            way.handle_carried(Address(100 + hop));
            way.change(at(11 + hop), 4);
        }
        assert_eq!(way.tried(), [Address(100 + TRIED_MAX as u64 - 2)], "then all are tried anew");
    }
}
