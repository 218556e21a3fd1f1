//! Packets on the link thread: each is decided by the routes' snapshot and appended to the next hop's queue in place.
//!
//! [`forward`](kith_common::routing::forward) says what becomes of a packet; here is what that does to links. On the way
//! through there is no allocation, no channel and no clock for a packet: the clock is read, the snapshot fetched, and
//! each next hop's writer woken once a batch.

use std::rc::Rc;
use std::sync::Arc;

use kith_common::id::{Address, Name};
use kith_common::link::open::SendError;
use kith_common::routing::forward::{self, Allowance, Count, Here, Limbo, Links};
use kith_common::routing::{RouteCache, Routes};
use kith_common::time::Instant;
use kith_common::wire::content::Undeliverable;
use kith_common::wire::packet::{Class, Edit, PacketRef};
use kith_common::wire::{FRAME_HEADER_BYTES, FrameKind, finish_frame, parse_frame_header};

use super::connection::Link;
use super::hub::Hub;
use super::{LinkEvent, LinkId};

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
    fn here(&self) -> Here<'_> {
        Here { routes: &self.routes, address: self.address, name: &self.name }
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

/// What forwarding remembers from packet to packet, one for all links
#[derive(Default)]
pub(crate) struct Memory {
    /// A destination is worked out once, whoever asks for it
    pub(crate) cache: RouteCache,
    pub(crate) limbo: Limbo,
}

/// Decides the packets of one link, a batch at a time
pub(crate) struct Forwarder {
    /// Where they come from; `None`: from limbo
    link: Option<Rc<Link>>,
    /// Its neighbour's address in the present routes
    from: Option<Address>,
    /// Reports that it may cause
    allowance: Allowance,
    now: Instant,
    /// Held for a whole batch, so that one batch is decided by one set of routes
    snapshot: Option<Rc<Snapshot>>,
    batch: Batch,
}

/// What became of a batch of packets, gathered until all of them are decided
#[derive(Default)]
struct Batch {
    bytes: usize,
    /// Whose writers are to be woken
    touched: Vec<Rc<Link>>,
    /// For this node: frames of data, and of signals
    data: Vec<u8>,
    data_packets: u64,
    signals: Vec<u8>,
    /// This node's own packets that came back
    returned: Vec<Undeliverable>,
    /// Counted here and added to the counters at once
    forwarded: u64,
}

impl Forwarder {
    /// For the packets of `link`
    pub(crate) fn new(link: &Rc<Link>, now: Instant) -> Self {
        Self::of(Some(Rc::clone(link)), now)
    }

    fn of(link: Option<Rc<Link>>, now: Instant) -> Self {
        Self { link, from: None, allowance: Allowance::new(), now, snapshot: None, batch: Batch::default() }
    }

    /// A batch of so many bytes begins
    pub(crate) fn begin(&mut self, hub: &Hub, now: Instant, bytes: usize) {
        self.now = now;
        self.batch.bytes = bytes;
        self.snapshot = hub.snapshot.borrow().clone();
        self.from = self.link.as_ref().and_then(|link| link.address.get());
    }

    /// What becomes of one packet
    #[inline]
    pub(crate) fn handle_packet(&mut self, hub: &Hub, packet: &PacketRef<'_>) {
        let Some(snapshot) = &self.snapshot else { return hub.counters.dropped_not_neighbour.add(1) };
        let Memory { cache, limbo } = &mut *hub.memory.borrow_mut();
        let mut links = Outlet { hub, targets: &snapshot.targets, batch: &mut self.batch };
        let allowance = Some(&mut self.allowance);
        forward::forward(&snapshot.here(), cache, limbo, &mut links, packet, self.from, allowance, self.now);
    }

    /// The batch is done: whom it concerns is woken, and the driver gets what is for it
    pub(crate) async fn finish(&mut self, hub: &Hub) {
        self.wake_touched();
        self.snapshot = None;
        hub.counters.forwarded.add(std::mem::take(&mut self.batch.forwarded));
        let link = self.link.as_ref().map_or(LinkId(0), |link| link.id);
        if !self.batch.data.is_empty() {
            // Data is best effort to its last step: a slow receiver must not hold up what this link forwards.
            let packets = std::mem::take(&mut self.batch.data_packets);
            let delivery = Delivery { link, from: self.from, frames: std::mem::take(&mut self.batch.data) };
            match hub.try_emit(LinkEvent::Deliver(delivery)) {
                None => hub.counters.delivered.add(packets),
                Some(_) => hub.counters.dropped_delivery.add(packets),
            }
        }
        // Signals are the fates of other packets, few and small: for them, and for what came back, the link waits.
        if !self.batch.signals.is_empty() {
            let delivery = Delivery { link, from: self.from, frames: std::mem::take(&mut self.batch.signals) };
            hub.counters.delivered.add(delivery.packets().count() as u64);
            self.emit(hub, LinkEvent::Deliver(delivery)).await;
        }
        for undeliverable in std::mem::take(&mut self.batch.returned) {
            self.emit(hub, LinkEvent::Undeliverable(undeliverable)).await;
        }
    }

    /// Wakes the writers of all links that got something
    pub(crate) fn wake_touched(&mut self) {
        for link in self.batch.touched.drain(..) {
            link.touched.set(false);
            link.written.wake();
        }
    }

    /// All that waits for a snapshot goes by the one of this batch
    fn release_limbo(&mut self, hub: &Hub) {
        let Memory { cache, limbo } = &mut *hub.memory.borrow_mut();
        let here = self.snapshot.as_ref().map(|snapshot| snapshot.here());
        let targets = self.snapshot.as_ref().map_or(&[][..], |snapshot| &*snapshot.targets);
        let mut links = Outlet { hub, targets, batch: &mut self.batch };
        forward::release_limbo(here.as_ref(), cache, limbo, &mut links, self.now);
    }

    async fn emit(&self, hub: &Hub, event: LinkEvent) {
        let Some(event) = hub.try_emit(event) else { return };
        if let Some(link) = &self.link {
            link.set_stalled(true);
        }
        hub.emit(event).await;
        if let Some(link) = &self.link {
            link.set_stalled(false);
        }
    }
}

/// The links of one snapshot, with what the present batch does to them
struct Outlet<'a> {
    hub: &'a Hub,
    /// In the order of addresses
    targets: &'a [(Address, Rc<Link>)],
    batch: &'a mut Batch,
}

impl Links for Outlet<'_> {
    #[inline]
    fn push(&mut self, to: Address, packet: &PacketRef<'_>, edit: &mut Edit) -> Result<(), forward::PushError> {
        let found = self.targets.binary_search_by_key(&to, |target| target.0).ok();
        let target = found.and_then(|at| self.targets.get(at)).map(|target| &target.1);
        let Some(link) = target else { return Err(forward::PushError::NoLink) };
        let pushed = link.core.borrow_mut().forward(packet, edit, &self.hub.chunks);
        match pushed {
            Ok(()) => {
                if !link.touched.replace(true) {
                    self.batch.touched.push(Rc::clone(link));
                }
                Ok(())
            }
            Err(SendError::Ending) => Err(forward::PushError::NoLink),
            Err(SendError::Full(_)) => Err(forward::PushError::Full),
            // Hops are left, or it would not go on: so there is no room in the trailer.
            Err(SendError::Wire(_)) => Err(forward::PushError::TrailerFull),
        }
    }

    #[inline]
    fn deliver(&mut self, packet: &PacketRef<'_>) {
        let batch = &mut *self.batch;
        let frames = match packet.header().class {
            Class::Signal => &mut batch.signals,
            Class::Data => &mut batch.data,
        };
        if frames.capacity() == 0 {
            // Packets for this node rarely come alone.
            frames.reserve_exact(batch.bytes);
        }
        let start = frames.len();
        frames.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        frames.extend_from_slice(packet.bytes());
        if finish_frame(FrameKind::Packet, start, frames).is_err() {
            // Not for a packet that came in a frame.
            frames.truncate(start);
            return self.hub.counters.dropped_delivery.add(1);
        }
        batch.data_packets += u64::from(packet.header().class == Class::Data);
    }

    fn returned(&mut self, report: Undeliverable) {
        self.batch.returned.push(report);
    }

    #[inline]
    fn count(&mut self, count: Count) {
        let counters = &self.hub.counters;
        let counter = match count {
            Count::Forwarded => return self.batch.forwarded += 1,
            Count::GivenBack => &counters.given_back,
            Count::Undeliverable => &counters.undeliverable,
            Count::DroppedDataQueue => &counters.dropped_data_queue,
            Count::DroppedSignalQueue => &counters.dropped_signal_queue,
            Count::DroppedNoLink => &counters.dropped_no_link,
            Count::DroppedNotNeighbour => &counters.dropped_not_neighbour,
            Count::DroppedForged => &counters.dropped_forged,
            Count::DroppedReports => &counters.dropped_reports,
        };
        counter.add(1);
    }

    fn packet_id(&mut self) -> u64 {
        self.hub.next_seed()
    }
}

/// Packets in limbo go on their way by the new routes
pub(crate) async fn release_limbo(hub: Rc<Hub>) {
    let now = hub.clock.now();
    let mut forwarder = Forwarder::of(None, now);
    forwarder.begin(&hub, now, 0);
    forwarder.release_limbo(&hub);
    forwarder.finish(&hub).await;
}
