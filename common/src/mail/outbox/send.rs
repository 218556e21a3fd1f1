//! What is known of one send that has no fate yet.

use std::time::Duration;

use super::{RESEND_FIRST, Reason, SEND_TIMEOUT, TRANSMISSIONS_MAX, Target};
use crate::id::Address;
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::content::{Cause, Message, Undeliverable};

/// One send, from its beginning to its fate
#[derive(Debug)]
pub(super) struct Send {
    pub(super) message: Message,
    pub(super) started: Instant,
    /// `None`: the first look-up runs
    pub(super) target: Option<Target>,
    /// A new look-up runs, because of this
    pub(super) looking_up: Option<Trouble>,
    /// The last transmission is a relay, because of this
    pub(super) relaying: Option<Trouble>,
    /// Where nobody is, as the supernode that was to relay said last
    pub(super) vacant: Option<Address>,
    /// Transmissions so far, relays included; the last one has this number
    pub(super) transmissions: u8,
    /// How many of them the clock has brought
    pub(super) timeouts: u32,
    /// How often nobody could help
    pub(super) unhelped: u8,
    /// Packets that were not given back: each may have arrived
    pub(super) packets: Vec<Sent>,
    /// The neighbour that was handed the last transmission
    pub(super) first_hop: Option<Address>,
    /// All who were handed one, as long as anybody else is left
    pub(super) avoid: Vec<Address>,
}

/// A packet that was made for a send
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) packet: u64,
    pub(super) transmission: u8,
    pub(super) destination: Address,
    pub(super) is_relay: bool,
}

/// Why the mesh alone will not do
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Undeliverable(Cause),
    NoFirstHop,
    /// Nobody replied, and nobody gave it back: somebody on the way may drop what it should forward
    Silence,
}

impl From<Trouble> for Reason {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Undeliverable(cause) => Self::Undeliverable(cause),
            Trouble::NoFirstHop => Self::NoFirstHop,
            Trouble::Silence => Self::NoReply,
        }
    }
}

impl Send {
    pub(super) fn new(now: Instant, message: Message) -> Self {
        Self {
            message,
            started: now,
            target: None,
            looking_up: None,
            relaying: None,
            vacant: None,
            transmissions: 0,
            timeouts: 0,
            unhelped: 0,
            packets: Vec::new(),
            first_hop: None,
            avoid: Vec::new(),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.started + SEND_TIMEOUT
    }

    /// How long the present transmission is waited for
    fn patience(&self) -> Duration {
        let timeouts = if mutant::is(Mutant::NeverResends) { u32::MAX } else { self.timeouts };
        RESEND_FIRST.saturating_mul(1 << timeouts.min(u32::from(TRANSMISSIONS_MAX)))
    }

    /// When a transmission at `now` has been waited for long enough; past the bound only the deadline is left
    pub(super) fn next_wake(&self, now: Instant) -> Instant {
        if self.is_exhausted() { self.deadline() } else { self.deadline().min(now + self.patience()) }
    }

    /// Whether it was transmitted as often as may be
    pub(super) fn is_exhausted(&self) -> bool {
        self.transmissions >= TRANSMISSIONS_MAX
    }

    /// Somebody was handed this packet
    pub(super) fn on_sent(&mut self, packet: u64, first_hop: Address) {
        let Some(sent) = self.packets.iter().find(|sent| sent.packet == packet) else { return };
        // The answer may come when a later transmission is under way, whose own first hop is the one to watch.
        if sent.transmission == self.transmissions {
            self.first_hop = Some(first_hop);
        }
        if !self.avoid.contains(&first_hop) && !mutant::is(Mutant::SameFirstHop) {
            self.avoid.push(first_hop);
        }
    }

    /// Takes out the packet that a report is about; `None` if the report names another destination than it had
    pub(super) fn take_reported(&mut self, report: &Undeliverable) -> Option<Sent> {
        let is_meant = |sent: &Sent| sent.packet == report.packet && sent.destination == report.destination;
        let at = self.packets.iter().position(is_meant)?;
        Some(self.packets.swap_remove(at))
    }

    /// Takes out a packet that never left
    pub(super) fn take_unsent(&mut self, packet: u64) -> Option<Sent> {
        let at = self.packets.iter().position(|sent| sent.packet == packet)?;
        Some(self.packets.swap_remove(at))
    }
}
