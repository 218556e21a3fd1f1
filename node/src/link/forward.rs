//! What becomes of packets: each is decided by the routes' snapshot and appended to the next hop's queue in place.
//!
//! On the way through there is no allocation, no channel and no clock for a packet: the clock is read, the snapshot
//! fetched, and each next hop's writer woken once a batch.

use std::rc::Rc;
use std::sync::Arc;

use kith_common::id::{Address, Name};
use kith_common::routing::{Decision, DropReason, Routes};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::bounded::Bounded;
use kith_common::wire::content::{Cause, Choice, Hop, PathHop, Payload, Undeliverable};
use kith_common::wire::packet::{Class, Edit, Header, Mark, PacketRef, TTL_DEFAULT, new_packet};
use kith_common::wire::{FRAME_HEADER_BYTES, FrameKind, Priority, encode, finish_frame, parse_frame_header};

use super::connection::Link;
use super::hub::Hub;
use super::queue::PushError;
use super::{LinkEvent, LinkId};

/// Bytes of packets that wait for new routes because their next hop's link has just ended
const LIMBO_BYTES_MAX: usize = 256 * 1024;
/// Beyond this they are too late for whoever waits for them: the sender has sent them again
const LIMBO_MICROS_MAX: u64 = 1_000_000;

/// The routes of the moment, with the links that they lead over
pub(crate) struct Snapshot {
    pub(crate) routes: Arc<Routes>,
    pub(crate) address: Address,
    pub(crate) name: Name,
    /// In the order of addresses
    pub(crate) targets: Vec<(Address, Rc<Link>)>,
}

impl Snapshot {
    #[inline]
    fn target(&self, address: Address) -> Option<&Rc<Link>> {
        let at = self.targets.binary_search_by_key(&address, |target| target.0).ok()?;
        self.targets.get(at).map(|target| &target.1).filter(|link| !link.is_ending())
    }
}

/// Packets for this node, as they came over one link
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The link that they came over
    pub link: LinkId,
    /// The neighbour on that link; `None`: it is no neighbour's, so only a supernode's may be believed
    pub from: Option<Address>,
    frames: Vec<u8>,
}

impl Delivery {
    /// The packets, in the order that they came
    pub fn packets(&self) -> impl Iterator<Item = PacketRef<'_>> {
        let mut rest = self.frames.as_slice();
        std::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk::<FRAME_HEADER_BYTES>()?;
            let (_, len) = parse_frame_header(*head).ok()?;
            let body = after.get(..len)?;
            rest = after.get(len..)?;
            PacketRef::parse(body).ok()
        })
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("link", &self.link).field("packets", &self.packets().count()).finish()
    }
}

/// For whoever follows a packet through the logs; costs a nanosecond where nobody does
#[inline]
fn trace_forwarded(packet: &PacketRef<'_>, from: Option<Address>, to: Address, choice: Choice) {
    let Header { id, source, destination, ttl, .. } = packet.header();
    tracing::trace!(event = "packet_forwarded", id, %source, %destination, ttl, ?from, %to, reason = ?choice);
}

/// Packets whose next hop's link ended a moment ago: the driver knows, and its next snapshot will lead elsewhere
#[derive(Default)]
pub(crate) struct Limbo {
    waiting: Vec<(Instant, Option<Address>, Vec<u8>)>,
    bytes: usize,
}

impl Limbo {
    /// Keeps a packet; false if there is no room
    fn keep(&mut self, now: Instant, from: Option<Address>, packet: &PacketRef<'_>) -> bool {
        let bytes = packet.bytes();
        let fits = self.bytes + bytes.len() <= LIMBO_BYTES_MAX;
        if fits {
            self.bytes += bytes.len();
            self.waiting.push((now, from, bytes.to_vec()));
        }
        fits
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn take(&mut self) -> Vec<(Instant, Option<Address>, Vec<u8>)> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

/// Decides the packets of one link, a batch at a time
pub(crate) struct Forwarder {
    /// Where they come from; `None`: from limbo
    link: Option<Rc<Link>>,
    /// Its neighbour's address in the present routes
    from: Option<Address>,
    now: Instant,
    /// Held for a whole batch, so that one batch is decided by one set of routes
    snapshot: Option<Rc<Snapshot>>,
    /// Whose writers are to be woken when the batch is done
    touched: Vec<Rc<Link>>,
    /// For this node: frames of data, and of signals
    data: Vec<u8>,
    data_packets: u64,
    signals: Vec<u8>,
    /// This node's own packets that came back
    returned: Vec<Undeliverable>,
    /// Counted here and added to the counters once a batch
    forwarded: u64,
    batch_bytes: usize,
}

impl Forwarder {
    /// For the packets of `link`
    pub(crate) fn new(link: &Rc<Link>) -> Self {
        Self::of(Some(Rc::clone(link)))
    }

    fn of(link: Option<Rc<Link>>) -> Self {
        Self {
            link,
            from: None,
            now: Instant::ZERO,
            snapshot: None,
            touched: Vec::new(),
            data: Vec::new(),
            data_packets: 0,
            signals: Vec::new(),
            returned: Vec::new(),
            forwarded: 0,
            batch_bytes: 0,
        }
    }

    /// A batch of so many bytes begins
    pub(crate) fn begin(&mut self, hub: &Hub, now: Instant, bytes: usize) {
        self.now = now;
        self.batch_bytes = bytes;
        self.snapshot = hub.snapshot.borrow().clone();
        self.from = self.link.as_ref().and_then(|link| link.address.get());
    }

    /// What becomes of one packet
    #[inline]
    pub(crate) fn handle_packet(&mut self, hub: &Hub, packet: &PacketRef<'_>) {
        let Some(snapshot) = self.snapshot.take() else { return hub.counters.dropped_not_neighbour.add(1) };
        match self.from {
            Some(_) => self.route(hub, &snapshot, packet, self.from),
            // What a supernode relays comes over the home link, which only the driver knows, and is for this node.
            None if packet.header().destination == snapshot.address => self.deliver(hub, packet),
            None => hub.counters.dropped_not_neighbour.add(1),
        }
        self.snapshot = Some(snapshot);
    }

    /// The batch is done: whom it concerns is woken, and the driver gets what is for it
    pub(crate) async fn finish(&mut self, hub: &Hub) {
        self.wake_touched();
        self.snapshot = None;
        hub.counters.forwarded.add(std::mem::take(&mut self.forwarded));
        let link = self.link.as_ref().map_or(LinkId(0), |link| link.id);
        if !self.data.is_empty() {
            // Data is best effort to its last step: a slow receiver must not hold up what this link forwards.
            let packets = std::mem::take(&mut self.data_packets);
            let delivery = Delivery { link, from: self.from, frames: std::mem::take(&mut self.data) };
            match hub.try_emit(LinkEvent::Deliver(delivery)) {
                None => hub.counters.delivered.add(packets),
                Some(_) => hub.counters.dropped_delivery.add(packets),
            }
        }
        // Signals are the fates of other packets, few and small: for them, and for what came back, the link waits.
        if !self.signals.is_empty() {
            let delivery = Delivery { link, from: self.from, frames: std::mem::take(&mut self.signals) };
            hub.counters.delivered.add(delivery.packets().count() as u64);
            self.emit(hub, LinkEvent::Deliver(delivery)).await;
        }
        for undeliverable in std::mem::take(&mut self.returned) {
            self.emit(hub, LinkEvent::Undeliverable(undeliverable)).await;
        }
    }

    /// Wakes the writers of all links that got something
    pub(crate) fn wake_touched(&mut self) {
        for link in self.touched.drain(..) {
            link.touched.set(false);
            link.written.wake();
        }
    }

    async fn emit(&self, hub: &Hub, event: LinkEvent) {
        let Some(event) = hub.try_emit(event) else { return };
        if let Some(link) = &self.link {
            link.stalled.set(true);
        }
        hub.emit(event).await;
        if let Some(link) = &self.link {
            link.stalled.set(false);
        }
    }

    #[inline]
    fn route(&mut self, hub: &Hub, snapshot: &Snapshot, packet: &PacketRef<'_>, from: Option<Address>) {
        let mut decision = snapshot.routes.decide(&mut hub.cache.borrow_mut(), packet, from, self.now);
        // By reference: a decision is large, and moving its parts costs as much as making it.
        match &mut decision {
            Decision::Deliver => self.deliver(hub, packet),
            Decision::Forward { to, edit, choice } => self.pass_on(hub, snapshot, packet, from, *to, edit, *choice),
            Decision::Back { to, edit } => self.pass_on(hub, snapshot, packet, from, *to, edit, Choice::Back),
            Decision::Undeliverable { cause } => self.give_up(hub, snapshot, packet, *cause),
            Decision::Drop(DropReason::ForgedSource | DropReason::ForgedWay) => hub.counters.dropped_forged.add(1),
        }
    }

    #[inline]
    fn deliver(&mut self, hub: &Hub, packet: &PacketRef<'_>) {
        let frames = match packet.header().class {
            Class::Signal => &mut self.signals,
            Class::Data => &mut self.data,
        };
        if frames.capacity() == 0 {
            // Packets for this node rarely come alone.
            frames.reserve_exact(self.batch_bytes);
        }
        let start = frames.len();
        frames.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        frames.extend_from_slice(packet.bytes());
        if finish_frame(FrameKind::Packet, start, frames).is_err() {
            // Not for a packet that came in a frame.
            frames.truncate(start);
            return hub.counters.dropped_delivery.add(1);
        }
        self.data_packets += u64::from(packet.header().class == Class::Data);
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the parts of one decision, on the hot path")]
    fn pass_on(
        &mut self,
        hub: &Hub,
        snapshot: &Snapshot,
        packet: &PacketRef<'_>,
        from: Option<Address>,
        to: Address,
        edit: &mut Edit,
        choice: Choice,
    ) {
        let Some(target) = snapshot.target(to) else {
            // Its link ended after this snapshot was made. Dropping here would cost the sender its first timeout.
            if !hub.limbo.borrow_mut().keep(self.now, from, packet) {
                hub.counters.dropped_no_link.add(1);
            }
            return;
        };
        let mut queue = target.queue.borrow_mut();
        edit.congested |= queue.is_congested();
        let pushed = queue.push_forwarded(packet, edit, &hub.buffers);
        drop(queue);
        match pushed {
            Ok(()) => {
                self.touch(target);
                trace_forwarded(packet, from, to, choice);
                if choice == Choice::Back {
                    hub.counters.given_back.add(1);
                } else {
                    self.forwarded += 1;
                }
                if packet.header().traced {
                    self.report_hop(hub, snapshot, packet, to, choice);
                }
            }
            Err(PushError::Full) => self.drop_at_full_queue(hub, snapshot, packet, target),
            // The trailer is full, which is as good as a spent TTL.
            Err(PushError::Wire(_)) => self.give_up(hub, snapshot, packet, Cause::TtlSpent),
        }
    }

    #[inline]
    fn touch(&mut self, link: &Rc<Link>) {
        if !link.touched.replace(true) {
            self.touched.push(Rc::clone(link));
        }
    }

    fn drop_at_full_queue(&mut self, hub: &Hub, snapshot: &Snapshot, packet: &PacketRef<'_>, target: &Link) {
        let priority = packet.header().class.priority();
        hub.queue_is_full(target, priority);
        // Signals answer others: their senders time out, and a report for each would add to the flood.
        if priority == Priority::Data && self.may_report() {
            self.send_undeliverable(hub, snapshot, packet, Cause::Congested);
        }
    }

    /// Nobody is left to try: the source is told, unless the packet itself tells somebody of another
    fn give_up(&mut self, hub: &Hub, snapshot: &Snapshot, packet: &PacketRef<'_>, cause: Cause) {
        hub.counters.undeliverable.add(1);
        let Header { id, source, destination, .. } = packet.header();
        tracing::debug!(event = "packet_given_up", id, %source, %destination, reason = ?cause);
        if packet.header().source != snapshot.address && (is_report(packet) || !self.may_report()) {
            return hub.counters.dropped_reports.add(1);
        }
        self.send_undeliverable(hub, snapshot, packet, cause);
    }

    /// Reports go to a source that is only claimed: whoever sends packets here may cause so many, and no flood.
    fn may_report(&self) -> bool {
        let Some(link) = &self.link else { return true };
        let mut allowance = link.reports.get();
        let may = allowance.take(self.now);
        link.reports.set(allowance);
        may
    }

    fn send_undeliverable(&mut self, hub: &Hub, snapshot: &Snapshot, packet: &PacketRef<'_>, cause: Cause) {
        let header = packet.header();
        let hop = |(mark, short)| PathHop { short, relay: mark == Mark::Relay, name: None };
        let is_own = header.source == snapshot.address;
        // The way so far does not have this node yet, which is where it ends.
        let here = (!is_own).then_some((Mark::Way, snapshot.address.short()));
        let undeliverable = Undeliverable {
            packet: header.id,
            destination: header.destination,
            status: Status::Unavailable,
            cause,
            path: Bounded::truncated(packet.way().chain(here).map(hop)),
        };
        if is_own {
            self.returned.push(undeliverable);
        } else {
            self.send_report(hub, snapshot, header.source, &Payload::Undeliverable(undeliverable));
        }
    }

    fn report_hop(&mut self, hub: &Hub, snapshot: &Snapshot, packet: &PacketRef<'_>, next: Address, choice: Choice) {
        let header = packet.header();
        if is_report(packet) || header.source == snapshot.address {
            return;
        }
        if !self.may_report() {
            return hub.counters.dropped_reports.add(1);
        }
        let index = u8::try_from(packet.way().count()).unwrap_or(u8::MAX);
        let (name, address) = (snapshot.name.clone(), snapshot.address);
        let hop = Hop { packet: header.id, index, name, address, next, choice };
        self.send_report(hub, snapshot, header.source, &Payload::Hop(hop));
    }

    /// A packet of this node's own about another's packet; it is never itself reported on
    fn send_report(&mut self, hub: &Hub, snapshot: &Snapshot, to: Address, payload: &Payload) {
        let header = Header {
            destination: to,
            source: snapshot.address,
            // Random, so that many reports to one source spread over the ways to it.
            id: hub.next_seed(),
            ttl: TTL_DEFAULT,
            class: Class::Signal,
            congested: false,
            traced: false,
        };
        let packet = encode(payload).and_then(|payload| new_packet(&header, &payload));
        let sent = packet
            .is_ok_and(|bytes| PacketRef::parse(&bytes).is_ok_and(|packet| self.send_own(hub, snapshot, &packet)));
        if !sent {
            hub.counters.dropped_reports.add(1);
        }
    }

    /// True if it is on its way; nobody is told of one that is not
    fn send_own(&mut self, hub: &Hub, snapshot: &Snapshot, packet: &PacketRef<'_>) -> bool {
        let decision = snapshot.routes.decide(&mut hub.cache.borrow_mut(), packet, None, self.now);
        let Decision::Forward { to, edit, .. } = decision else { return false };
        let Some(target) = snapshot.target(to) else { return false };
        let pushed = target.queue.borrow_mut().push_forwarded(packet, &edit, &hub.buffers);
        self.touch(target);
        pushed.is_ok()
    }
}

/// Packets in limbo go on their way by the new routes
pub(crate) async fn release_limbo(hub: Rc<Hub>) {
    let waiting = hub.limbo.borrow_mut().take();
    let now = hub.clock.now();
    let mut forwarder = Forwarder::of(None);
    forwarder.begin(&hub, now, 0);
    for (since, from, bytes) in waiting {
        let is_fresh = now.since(since).as_micros() <= u128::from(LIMBO_MICROS_MAX);
        match (PacketRef::parse(&bytes), forwarder.snapshot.take()) {
            (Ok(packet), Some(snapshot)) if is_fresh => {
                forwarder.route(&hub, &snapshot, &packet, from);
                forwarder.snapshot = Some(snapshot);
            }
            (_, snapshot) => {
                forwarder.snapshot = snapshot;
                hub.counters.dropped_no_link.add(1);
            }
        }
    }
    forwarder.finish(&hub).await;
}

/// Whether a packet tells its receiver of another packet: nothing is told about those
fn is_report(packet: &PacketRef<'_>) -> bool {
    const UNDELIVERABLE: [u8; 4] = 1_u32.to_le_bytes();
    const HOP: [u8; 4] = 2_u32.to_le_bytes();
    let variant = packet.payload().first_chunk::<4>();
    packet.header().class == Class::Signal && variant.is_some_and(|variant| [UNDELIVERABLE, HOP].contains(variant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_common::wire::bounded::Bytes;

    fn packet(payload: &Payload, class: Class) -> Vec<u8> {
        let (destination, source) = (Address(1), Address(2));
        let header = Header { destination, source, id: 3, ttl: 9, class, congested: false, traced: true };
        new_packet(&header, &encode(payload).unwrap()).unwrap()
    }

    #[test]
    fn reports_are_known_by_their_first_bytes() {
        let name: Name = "alice".parse().unwrap();
        let hop = Hop { packet: 1, index: 0, name, address: Address(1), next: Address(2), choice: Choice::Back };
        let undeliverable = Undeliverable {
            packet: 1,
            destination: Address(1),
            status: Status::Unavailable,
            cause: Cause::NoCandidate,
            path: Bounded::new(),
        };
        let is_report = |payload: &Payload, class| is_report(&PacketRef::parse(&packet(payload, class)).unwrap());
        assert!(is_report(&Payload::Hop(hop.clone()), Class::Signal));
        assert!(is_report(&Payload::Undeliverable(undeliverable), Class::Signal));
        assert!(!is_report(&Payload::Datagram(Bytes::default()), Class::Signal));
        assert!(!is_report(&Payload::Hop(hop), Class::Data), "nobody escapes a report by its payload alone");
    }

    #[test]
    fn limbo_is_bounded() {
        let bytes = packet(&Payload::Datagram(vec![0; 50_000].try_into().unwrap()), Class::Data);
        let packet = PacketRef::parse(&bytes).unwrap();
        let mut limbo = Limbo::default();
        let kept = (0..10).filter(|_| limbo.keep(Instant::ZERO, None, &packet)).count();
        assert_eq!(kept, 5);
        assert_eq!(limbo.take().len(), 5);
        assert!(limbo.keep(Instant::ZERO, None, &packet), "taking makes room");
    }
}
