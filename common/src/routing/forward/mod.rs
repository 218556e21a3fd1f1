//! What becomes of a packet at a node: decided by the routes, and carried out on whatever [`Links`] there are.
//!
//! A packet is delivered, passed on, given back, or given up; its source hears of the last, and of each hop of a traced
//! packet, by a *report*: a packet of this node's own, within an [`Allowance`] for each link, about which nothing is
//! ever reported. A packet whose next hop's link has just ended waits in [`Limbo`] for the next routes.
//!
//! This is the hot path. It is generic instead of dynamic, reads no clock and, unless a packet goes astray or is traced,
//! allocates nothing: shells read the clock and wake writers once for a whole batch of packets.

mod allowance;
mod limbo;
mod report;
#[cfg(test)]
mod tests;

pub use allowance::{Allowance, REPORTS_PER_SECOND};
pub use limbo::{LIMBO_AGE_MAX, LIMBO_BYTES_MAX, Limbo};

use self::limbo::Waiting;
use self::report::Reporter;
use super::{Decision, DropReason, RouteCache, Routes};
use crate::id::{Address, Name};
use crate::time::Instant;
use crate::wire::content::{Cause, Choice, Undeliverable};
use crate::wire::packet::{Class, Edit, Header, PacketRef};

/// What a forwarder can do to the world
///
/// None of these may wait.
pub trait Links {
    /// Queues `packet`, with one hop less and `edit` made to it, on the link to the neighbour `to`
    ///
    /// It also sets `edit.congested` if that queue is so full that packets are marked; of `edit` nothing else changes.
    ///
    /// # Errors
    /// [`PushError`] says why nothing was queued.
    fn push(&mut self, to: Address, packet: &PacketRef<'_>, edit: &mut Edit) -> Result<(), PushError>;

    /// The packet ends here: it is for this node
    fn deliver(&mut self, packet: &PacketRef<'_>);

    /// A packet of this node's own came back, and nobody is left to try
    fn returned(&mut self, report: Undeliverable);

    /// Counts one packet
    fn count(&mut self, count: Count);

    /// The id of a report: random, so that many to one source spread over the ways to it
    fn packet_id(&mut self) -> u64;
}

/// A packet was not queued; the queue is as before
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The routes have a link to that neighbour, which has ended since
    NoLink,
    /// The packet's class is at its bound
    Full,
    /// The packet has no room for what is to be added to its trailer
    TrailerFull,
}

/// What became of one packet; those that are delivered are counted by whoever delivers them
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Count {
    /// Passed on; a node's own reports are not counted
    Forwarded,
    /// Given back to where it came from
    GivenBack,
    /// Nobody was left to try
    Undeliverable,
    /// Dropped: the data queue of the next hop was full
    DroppedDataQueue,
    /// Dropped: the signal queue of the next hop was full
    DroppedSignalQueue,
    /// Dropped: the link to the next hop had just ended, and too much waited already, or this one for too long
    DroppedNoLink,
    /// Dropped: it came over a link that is not a neighbour's, and is for somebody else
    DroppedNotNeighbour,
    /// Dropped: what it says of its source or of its way cannot be true
    DroppedForged,
    /// Dropped: a report, over its rate, without a way, or about a report
    DroppedReports,
}

/// Who forwards, and by what
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The routes of the moment
    pub routes: &'a Routes,
    /// This node's place in them
    pub address: Address,
    /// This node's name, for reports on traced packets
    pub name: &'a Name,
}

/// What becomes of `packet`, which came from the neighbour `from`
///
/// `from` is `None` over a link that is no neighbour's: a supernode relays over such a link what is for this node, and
/// nothing else is taken from it. `allowance` bounds the reports that packets over this link may cause; `None`: nothing
/// does. `cache` and `limbo` are one for all links.
#[inline]
#[expect(clippy::too_many_arguments, reason = "a struct of them would be built for each packet, on the hot path")]
pub fn forward(
    here: &Here<'_>,
    cache: &mut RouteCache,
    limbo: &mut Limbo,
    links: &mut impl Links,
    packet: &PacketRef<'_>,
    from: Option<Address>,
    allowance: Option<&mut Allowance>,
    now: Instant,
) {
    match from {
        Some(from) => route(here, cache, limbo, links, packet, from, allowance, now, now),
        None if packet.header().destination == here.address => links.deliver(packet),
        None => links.count(Count::DroppedNotNeighbour),
    }
}

/// Packets in limbo go on their way by new routes; without any (`None`: logged out) they are dropped
///
/// Those that waited for longer than [`LIMBO_AGE_MAX`] are dropped too: whoever waits for them has sent them again.
pub fn release_limbo(
    here: Option<&Here<'_>>,
    cache: &mut RouteCache,
    limbo: &mut Limbo,
    links: &mut impl Links,
    now: Instant,
) {
    for Waiting { since, from, bytes } in limbo.take() {
        let is_fresh = now.since(since) <= LIMBO_AGE_MAX;
        match (here, PacketRef::parse(&bytes)) {
            (Some(here), Ok(packet)) if is_fresh => {
                route(here, cache, limbo, links, &packet, from, None, now, since);
            }
            _ => links.count(Count::DroppedNoLink),
        }
    }
}

/// `since` is when the packet came: `now`, unless it was in limbo
#[inline]
#[expect(clippy::too_many_arguments, reason = "as above")]
fn route(
    here: &Here<'_>,
    cache: &mut RouteCache,
    limbo: &mut Limbo,
    links: &mut impl Links,
    packet: &PacketRef<'_>,
    from: Address,
    allowance: Option<&mut Allowance>,
    now: Instant,
    since: Instant,
) {
    let mut decision = here.routes.decide(cache, packet, Some(from), now);
    // By reference: a decision is large, and moving its parts costs as much as making it.
    let (to, edit, choice) = match &mut decision {
        Decision::Forward { to, edit, choice } => (*to, edit, *choice),
        Decision::Back { to, edit } => (*to, edit, Choice::Back),
        Decision::Deliver => return links.deliver(packet),
        Decision::Undeliverable { cause } => {
            return Reporter { here, cache, links, allowance, now }.give_up(packet, *cause);
        }
        Decision::Drop(DropReason::ForgedSource | DropReason::ForgedWay) => return links.count(Count::DroppedForged),
    };
    match links.push(to, packet, edit) {
        Ok(()) => {
            trace_forwarded(packet, from, to, choice);
            links.count(if choice == Choice::Back { Count::GivenBack } else { Count::Forwarded });
            if packet.header().traced {
                Reporter { here, cache, links, allowance, now }.report_hop(packet, to, choice);
            }
        }
        // It ended after these routes were made. Dropping here would cost the sender its first timeout.
        Err(PushError::NoLink) => {
            if !limbo.keep(since, from, packet) {
                links.count(Count::DroppedNoLink);
            }
        }
        Err(PushError::Full) => match packet.header().class {
            // Signals answer others: their senders time out, and a report for each would add to the flood.
            Class::Signal => links.count(Count::DroppedSignalQueue),
            Class::Data => {
                links.count(Count::DroppedDataQueue);
                Reporter { here, cache, links, allowance, now }.report_undeliverable(packet, Cause::Congested);
            }
        },
        // As good as a spent TTL: it has been everywhere that it may go.
        Err(PushError::TrailerFull) => {
            Reporter { here, cache, links, allowance, now }.give_up(packet, Cause::TtlSpent);
        }
    }
}

/// For whoever follows a packet through the logs; costs a nanosecond where nobody does
#[inline]
fn trace_forwarded(packet: &PacketRef<'_>, from: Address, to: Address, choice: Choice) {
    let Header { id, source, destination, ttl, .. } = packet.header();
    tracing::trace!(event = "packet_forwarded", id, %source, %destination, ttl, %from, %to, reason = ?choice);
}
