//! What becomes of a packet at a node: decided by the routes, and carried out on whatever [`Links`] there are.
//!
//! A [`Forwarder`] decides every packet of its node, whether it came over a link or starts here. A packet that came is
//! delivered, passed on, given back, or given up; its source hears of the last, and of each hop of a traced packet, by a
//! *report*: a packet of this node's own, within an [`Allowance`] for each link, about which nothing is ever reported. A
//! packet whose next hop's link has just ended waits in limbo for the next routes; all that waited share one allowance. A
//! packet that starts here is handed to a first hop, or whoever made it is told that there is none.
//!
//! What arrives for this node goes, by the kind of its payload, to whoever has registered for that kind; what nobody
//! has registered for is dropped and counted.
//!
//! This is the hot path. It is generic instead of dynamic, reads no clock and, unless a packet goes astray or is traced,
//! allocates nothing: shells read the clock and wake writers once for a whole batch of packets.

mod allowance;
mod limbo;
mod report;
mod snapshot;
#[cfg(test)]
mod tests;

pub use allowance::{Allowance, REPORTS_PER_SECOND};
pub use limbo::{LIMBO_AGE_MAX, LIMBO_BYTES_MAX};
pub use snapshot::NewRoutes;

use self::limbo::{Limbo, Waiting};
use self::report::Reporter;
use self::snapshot::Snapshot;
use super::{Decision, DropReason, RouteCache, Routes};
use crate::id::Address;
use crate::link::LinkId;
use crate::time::Instant;
use crate::wire::content::{Cause, Choice, PayloadKind, Undeliverable};
use crate::wire::packet::{Class, Edit, Header, PacketRef};

/// What a forwarder can do to the world
///
/// None of these may wait.
pub trait Links {
    /// What leads to one neighbour's queue without a search
    type Link;

    /// The link `link` to `neighbour`, if it is there: asked once for each link of new routes
    fn link(&self, neighbour: Address, link: LinkId) -> Option<Self::Link>;

    /// Queues `packet`, with one hop less and `edit` made to it, on `link`
    ///
    /// It also sets `edit.congested` if that queue is so full that packets are marked; of `edit` nothing else changes.
    ///
    /// # Errors
    /// [`PushError`] says why nothing was queued.
    fn push(&mut self, link: &Self::Link, packet: &PacketRef<'_>, edit: &mut Edit) -> Result<(), PushError>;

    /// The packet ends here: it is for whoever has registered for this kind
    fn deliver(&mut self, kind: PayloadKind, packet: &PacketRef<'_>);

    /// A packet of this node's own came back, and nobody is left to try
    fn returned(&mut self, report: Undeliverable);

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
    /// Started here, and handed to a first hop; a node's own reports are not counted
    Originated,
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
    /// Dropped: it is for this node, where nobody has registered for what it carries
    DroppedNoReceiver,
    /// Dropped: what it says of its source or of its way cannot be true
    DroppedForged,
    /// Dropped: a report, over its rate, without a way, or about a report
    DroppedReports,
}

/// Where a packet that starts here went first
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstHop {
    /// The neighbour
    pub to: Address,
    /// The reason for it
    pub choice: Choice,
    /// Whether its queue was full: the packet is dropped and counted, as at any other hop
    pub is_full: bool,
}

/// Decides the packets of one node
///
/// `L` is [`Links::Link`]. One forwarder serves all links of its node: what it works out for a destination is
/// remembered for all of them, until the next routes.
#[derive(Debug)]
pub struct Forwarder<L> {
    /// `None` while this node is logged out
    snapshot: Option<Snapshot<L>>,
    cache: RouteCache,
    limbo: Limbo,
    /// For reports on packets that waited in limbo: thousands may be let out at once, by whose links is not known then
    limbo_allowance: Allowance,
    /// Whether something has registered for each kind, by the kind's number
    is_received: [bool; PayloadKind::ALL.len()],
}

impl<L> Default for Forwarder<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L> Forwarder<L> {
    /// One without routes, at a node that takes nothing
    pub fn new() -> Self {
        Self {
            snapshot: None,
            cache: RouteCache::new(),
            limbo: Limbo::new(),
            limbo_allowance: Allowance::new(),
            is_received: Default::default(),
        }
    }

    /// From now on what arrives with payloads of this kind is delivered
    pub fn register(&mut self, kind: PayloadKind) {
        if let Some(is_received) = self.is_received.get_mut(kind as usize) {
            *is_received = true;
        }
    }

    /// The neighbour on this link, by the present routes
    pub fn neighbour_on(&self, link: LinkId) -> Option<Address> {
        self.snapshot.as_ref()?.neighbour_on(link)
    }

    /// Decides by other routes from now on, and lets packets in limbo go on their way by them; `None`: logged out
    ///
    /// Packets that waited in limbo for longer than [`LIMBO_AGE_MAX`], or now find no routes, are dropped and counted:
    /// whoever waits for them has sent them again. All that are let out, now and at other times, share one [`Allowance`].
    pub fn set_routes(&mut self, links: &mut impl Links<Link = L>, routes: Option<NewRoutes>, now: Instant) {
        self.snapshot = routes.map(|routes| Snapshot::new(routes, links));
        let mut allowance = self.limbo_allowance;
        for Waiting { since, from, bytes } in self.limbo.take() {
            match PacketRef::parse(&bytes) {
                Ok(packet) if self.snapshot.is_some() && now.since(since) <= LIMBO_AGE_MAX => {
                    self.route(links, &packet, from, &mut allowance, now, since);
                }
                _ => links.count(Count::DroppedNoLink),
            }
        }
        self.limbo_allowance = allowance;
    }

    /// What becomes of `packet`, which came from the neighbour `from`
    ///
    /// `from` is `None` over a link that is no neighbour's: a supernode relays over such a link what is for this node,
    /// and nothing else is taken from it. `allowance` bounds the reports that packets over this link may cause.
    #[inline]
    pub fn handle_packet(
        &mut self,
        links: &mut impl Links<Link = L>,
        packet: &PacketRef<'_>,
        from: Option<Address>,
        allowance: &mut Allowance,
        now: Instant,
    ) {
        match (&self.snapshot, from) {
            (Some(_), Some(from)) => self.route(links, packet, from, allowance, now, now),
            (Some(here), None) if packet.header().destination == here.address() => self.deliver(links, packet),
            _ => links.count(Count::DroppedNotNeighbour),
        }
    }

    /// Sends `packet`, which starts here, by none of the first hops in `avoid` if others do
    ///
    /// A first hop whose link has ended since the routes were made is passed over. `None`: there is nobody to hand it to,
    /// and nothing was sent or counted. That is so of a packet to this node itself as well, and of one whose source is
    /// not this node's present address, which nobody would believe.
    #[inline]
    pub fn originate(
        &mut self,
        links: &mut impl Links<Link = L>,
        packet: &PacketRef<'_>,
        avoid: &[Address],
        now: Instant,
    ) -> Option<FirstHop> {
        let Self { snapshot, cache, .. } = self;
        let here = snapshot.as_ref().filter(|here| here.address() == packet.header().source)?;
        let mut ended = Vec::new();
        loop {
            let mut decision = here.routes.first_hop(cache, packet, avoid, &ended, now);
            let Decision::Forward { to, edit, choice } = &mut decision else { return None };
            let (to, choice) = (*to, *choice);
            match here.push(links, to, packet, edit) {
                Ok(()) => {
                    trace_originated(packet, to, choice);
                    links.count(Count::Originated);
                    return Some(FirstHop { to, choice, is_full: false });
                }
                Err(PushError::NoLink) => ended.push(to),
                Err(PushError::Full) => {
                    links.count(full(packet));
                    return Some(FirstHop { to, choice, is_full: true });
                }
                // Only of a packet that has been elsewhere, or that notes more dead than fit.
                Err(PushError::TrailerFull) => return None,
            }
        }
    }

    /// `since` is when the packet came: `now`, unless it was in limbo
    #[inline]
    fn route(
        &mut self,
        links: &mut impl Links<Link = L>,
        packet: &PacketRef<'_>,
        from: Address,
        allowance: &mut Allowance,
        now: Instant,
        since: Instant,
    ) {
        let Self { snapshot: Some(here), cache, limbo, .. } = self else { return };
        let mut decision = here.routes.decide(cache, packet, Some(from), now);
        // By reference: a decision is large, and moving its parts costs as much as making it.
        let (to, edit, choice) = match &mut decision {
            Decision::Forward { to, edit, choice } => (*to, edit, *choice),
            Decision::Back { to, edit } => (*to, edit, Choice::Back),
            Decision::Deliver => return self.deliver(links, packet),
            Decision::Undeliverable { cause } => {
                return Reporter { here, cache, links, allowance, now }.give_up(packet, *cause);
            }
            Decision::Drop(DropReason::ForgedSource | DropReason::ForgedWay) => {
                return links.count(Count::DroppedForged);
            }
        };
        match here.push(links, to, packet, edit) {
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
            Err(PushError::Full) => {
                links.count(full(packet));
                // Signals answer others: their senders time out, and a report for each would add to the flood.
                if packet.header().class == Class::Data {
                    Reporter { here, cache, links, allowance, now }.report_undeliverable(packet, Cause::Congested);
                }
            }
            // As good as a spent TTL: it has been everywhere that it may go.
            Err(PushError::TrailerFull) => {
                Reporter { here, cache, links, allowance, now }.give_up(packet, Cause::TtlSpent);
            }
        }
    }

    #[inline]
    fn deliver(&self, links: &mut impl Links<Link = L>, packet: &PacketRef<'_>) {
        let is_received = |kind: &PayloadKind| self.is_received.get(*kind as usize).is_some_and(|is| *is);
        match PayloadKind::of(packet).filter(is_received) {
            Some(kind) => links.deliver(kind, packet),
            None => drop_unreceived(links, packet),
        }
    }
}

impl<L> Forwarder<L> {
    /// The routes of the moment; `None`: logged out
    pub fn routes(&self) -> Option<&Routes> {
        self.snapshot.as_ref().map(|here| &*here.routes)
    }

    /// The neighbours of the present routes and the links to them, in the order of links
    pub fn links(&self) -> impl Iterator<Item = (Address, LinkId)> {
        self.snapshot.iter().flat_map(|here| here.links())
    }
}

/// A packet of that class met a full queue
const fn full(packet: &PacketRef<'_>) -> Count {
    match packet.header().class {
        Class::Signal => Count::DroppedSignalQueue,
        Class::Data => Count::DroppedDataQueue,
    }
}

#[cold]
fn drop_unreceived(links: &mut impl Links, packet: &PacketRef<'_>) {
    links.count(Count::DroppedNoReceiver);
    let Header { id, source, .. } = packet.header();
    tracing::debug!(event = "packet_dropped", id, %source, reason = "nobody here takes what it carries");
}

/// For whoever follows a packet through the logs; costs a nanosecond where nobody does
#[inline]
fn trace_forwarded(packet: &PacketRef<'_>, from: Address, to: Address, choice: Choice) {
    let Header { id, source, destination, ttl, .. } = packet.header();
    tracing::trace!(event = "packet_forwarded", id, %source, %destination, ttl, %from, %to, reason = ?choice);
}

#[inline]
fn trace_originated(packet: &PacketRef<'_>, to: Address, choice: Choice) {
    let Header { id, destination, .. } = packet.header();
    tracing::trace!(event = "packet_originated", id, %destination, %to, reason = ?choice);
}
