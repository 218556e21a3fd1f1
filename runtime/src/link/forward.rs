//! Packets on the link thread: each is decided by the forwarder and appended to the next hop's queue in place.
//!
//! The [`Forwarder`](forward::Forwarder) says what becomes of a packet, of one that came over a link as of one of this
//! node's own; here is what that does to links. On the way through there is no allocation, no channel and no clock for a
//! packet: the clock is read, and each next hop's writer woken, once a batch.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use kith_common::id::Address;
use kith_common::link::open::SendError;
use kith_common::routing::forward::{self, Allowance, Count, Links, NewRoutes};
use kith_common::time::Instant;
use kith_common::wire::content::{PayloadKind, Undeliverable};
use kith_common::wire::packet::{Class, Edit, PacketRef};
use tokio::task::spawn_local;

use super::counters::Counters;
use super::packets::Packets;
use super::registry::Registry;
use super::shared::Shared;
use super::state::Link;
use super::{LinkEvent, LinkId, Originated, Outgoing};
use crate::lies;

/// Decides for all links of the thread
pub(crate) struct Forwarding {
    pub(crate) shared: Rc<Shared>,
    registry: Rc<Registry>,
    /// Whether it forwards nothing, for a test
    is_liar: bool,
    /// Borrowed within one call, never across an await
    forwarder: RefCell<forward::Forwarder<Rc<Link>>>,
}

impl Forwarding {
    /// Takes what comes for this node with payloads of these kinds
    pub(crate) fn new(shared: Rc<Shared>, registry: Rc<Registry>, payloads: &[PayloadKind]) -> Self {
        let mut forwarder = forward::Forwarder::new();
        payloads.iter().for_each(|kind| forwarder.register(*kind));
        Self { shared, registry, is_liar: lies::are_told(), forwarder: RefCell::new(forwarder) }
    }

    /// Whoever has packets to decide; nobody else can until it is dropped
    pub(crate) fn decider(&self) -> Decider<'_> {
        Decider { forwarding: self, forwarder: self.forwarder.borrow_mut() }
    }

    /// Decides by other routes from now on; packets in limbo go on their way by them
    pub(crate) fn set_routes(this: &Rc<Self>, routes: Option<NewRoutes>) {
        let mut batch = Batch::of(None, this.shared.clock.now());
        let mut links = Outlet { forwarding: this, effects: &mut batch.effects };
        this.forwarder.borrow_mut().set_routes(&mut links, routes, batch.now);
        batch.finish_apart(this);
    }

    /// Sends packets of this node's own, and answers for all of them at once
    pub(crate) fn originate(this: &Rc<Self>, outgoing: Outgoing) {
        let Outgoing { packets, avoid } = outgoing;
        let mut batch = Batch::of(None, this.shared.clock.now());
        let mut links = Outlet { forwarding: this, effects: &mut batch.effects };
        let mut forwarder = this.forwarder.borrow_mut();
        let mut originated = Originated::default();
        for packet in packets.iter() {
            originated.push(forwarder.originate(&mut links, &packet, &avoid, batch.now));
        }
        drop(forwarder);
        batch.effects.answer = Some(Originated { packets, ..originated });
        batch.finish_apart(this);
    }
}

/// The forwarder of the thread, lent for many packets at once
pub(crate) struct Decider<'a> {
    forwarding: &'a Forwarding,
    forwarder: RefMut<'a, forward::Forwarder<Rc<Link>>>,
}

impl Decider<'_> {
    /// What becomes of one packet of this batch
    #[inline]
    pub(crate) fn handle_packet(&mut self, batch: &mut Batch, packet: &PacketRef<'_>) {
        let Batch { from, allowance, now, effects, .. } = batch;
        if cfg!(debug_assertions) && self.forwarding.is_liar && self.is_for_another(packet) {
            return;
        }
        let mut links = Outlet { forwarding: self.forwarding, effects };
        self.forwarder.handle_packet(&mut links, packet, *from, allowance, *now);
    }

    fn is_for_another(&self, packet: &PacketRef<'_>) -> bool {
        self.forwarder.routes().is_some_and(|routes| routes.own() != packet.header().destination)
    }
}

/// Packets for this node, as they came over one link
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The link that they came over; of those that waited for other routes it is not known, and 0
    pub link: LinkId,
    /// The neighbour on that link when they came; `None`: it is no neighbour's, so only a supernode's may be believed
    pub from: Option<Address>,
    /// What all of them carry
    pub kind: PayloadKind,
    /// In the order that they came
    pub packets: Packets,
}

/// What one packet after the other is decided with, until all of a batch are
pub(crate) struct Batch {
    /// Where they come from; `None`: from here, or from limbo
    link: Option<Rc<Link>>,
    /// Its neighbour's address in the present routes
    from: Option<Address>,
    /// Reports that it may cause
    allowance: Allowance,
    now: Instant,
    effects: Effects,
}

/// What became of a batch of packets, gathered until all of them are decided
#[derive(Default)]
struct Effects {
    bytes: usize,
    /// Whose writers are to be woken
    touched: Vec<Rc<Link>>,
    /// For this node, by kind, since the routes last said whose link it is
    data: Arrivals,
    signals: Arrivals,
    /// For this node, from before that, in the order that it came
    gathered: Vec<Gathered>,
    /// This node's own packets that came back
    returned: Vec<Undeliverable>,
    /// To whoever sent this node's own packets
    answer: Option<Originated>,
    /// Counted here and added to the counters at once: an atomic addition costs as much as a decision does
    forwarded: u64,
    originated: u64,
}

/// Packets for this node, with from whom they were when they came
struct Gathered {
    class: Class,
    delivery: Delivery,
    count: u64,
}

/// Packets for this node, by kind, with how many they are
type Arrivals = [(Packets, u64); PayloadKind::ALL.len()];

impl Batch {
    /// For the packets of `link`, one batch after the other
    pub(crate) fn over(link: &Rc<Link>, now: Instant) -> Self {
        Self::of(Some(Rc::clone(link)), now)
    }

    fn of(link: Option<Rc<Link>>, now: Instant) -> Self {
        Self { link, from: None, allowance: Allowance::new(), now, effects: Effects::default() }
    }

    /// A batch of so many bytes begins
    pub(crate) fn begin(&mut self, forwarding: &Forwarding, now: Instant, bytes: usize) {
        self.now = now;
        self.effects.bytes = bytes;
        self.refresh(forwarding);
    }

    /// The routes may have changed within the batch; what was decided by those before stays as it was decided
    pub(crate) fn refresh(&mut self, forwarding: &Forwarding) {
        let from = self.link.as_ref().and_then(|link| forwarding.forwarder.borrow().neighbour_on(link.id));
        if from != self.from {
            self.gather();
            self.from = from;
        }
    }

    /// Notes from whom the packets for this node are that have come by now
    fn gather(&mut self) {
        // Packets from limbo have lost their link; no link has the number 0.
        let (link, from) = (self.link.as_ref().map_or(LinkId(0), |link| link.id), self.from);
        let Effects { data, signals, gathered, .. } = &mut self.effects;
        for (class, arrivals) in [(Class::Data, data), (Class::Signal, signals)] {
            for kind in PayloadKind::ALL {
                if let Some((packets, count)) = take(arrivals, kind) {
                    gathered.push(Gathered { class, delivery: Delivery { link, from, kind, packets }, count });
                }
            }
        }
    }

    /// The batch is done: whom it concerns is woken, and the driver gets what is for it
    pub(crate) async fn finish(&mut self, forwarding: &Forwarding) {
        self.wake_touched();
        self.effects.add_counts(&forwarding.shared.counters);
        if let Some(answer) = self.effects.answer.take() {
            self.emit(forwarding, LinkEvent::Originated(answer)).await;
        }
        self.gather();
        let counters = &forwarding.shared.counters;
        let gathered = std::mem::take(&mut self.effects.gathered).into_iter();
        let (data, signals): (Vec<_>, Vec<_>) = gathered.partition(|gathered| gathered.class == Class::Data);
        for Gathered { delivery, count, .. } in data {
            // Data is best effort to its last step: a slow receiver must not hold up what this link forwards.
            match forwarding.shared.try_emit(LinkEvent::Deliver(delivery)) {
                None => counters.delivered.add(count),
                Some(_) => counters.dropped_delivery.add(count),
            }
        }
        // Signals are the fates of other packets, few and small: for them, and for what came back, the link waits.
        for Gathered { delivery, count, .. } in signals {
            counters.delivered.add(count);
            self.emit(forwarding, LinkEvent::Deliver(delivery)).await;
        }
        for undeliverable in std::mem::take(&mut self.effects.returned) {
            self.emit(forwarding, LinkEvent::Undeliverable(undeliverable)).await;
        }
    }

    /// As [`Self::finish`], for whoever cannot wait for the driver
    fn finish_apart(mut self, forwarding: &Rc<Forwarding>) {
        self.wake_touched();
        self.effects.add_counts(&forwarding.shared.counters);
        let forwarding = Rc::clone(forwarding);
        if let Some(answer) = self.effects.answer.take() {
            // At once if there is room, so that it comes before whatever the packets cause.
            self.effects.answer = match forwarding.shared.try_emit(LinkEvent::Originated(answer)) {
                Some(LinkEvent::Originated(answer)) => Some(answer),
                _ => None,
            };
        }
        if !self.effects.are_done() {
            spawn_local(async move { self.finish(&forwarding).await });
        }
    }

    /// Wakes the writers of all links that got something
    pub(crate) fn wake_touched(&mut self) {
        for link in self.effects.touched.drain(..) {
            link.touched.set(false);
            link.written.wake();
        }
    }

    async fn emit(&self, forwarding: &Forwarding, event: LinkEvent) {
        let Some(event) = forwarding.shared.try_emit(event) else { return };
        if let Some(link) = &self.link {
            link.set_stalled(true);
        }
        forwarding.shared.emit(event).await;
        if let Some(link) = &self.link {
            link.set_stalled(false);
        }
    }
}

impl Effects {
    fn are_done(&self) -> bool {
        let has_arrivals = [&self.data, &self.signals].into_iter().flatten().any(|(_, count)| *count > 0);
        self.answer.is_none() && self.returned.is_empty() && self.gathered.is_empty() && !has_arrivals
    }

    fn add_counts(&mut self, counters: &Counters) {
        counters.forwarded.add(std::mem::take(&mut self.forwarded));
        counters.originated.add(std::mem::take(&mut self.originated));
    }
}

fn take(arrivals: &mut Arrivals, kind: PayloadKind) -> Option<(Packets, u64)> {
    arrivals.get_mut(kind as usize).filter(|(_, count)| *count > 0).map(std::mem::take)
}

/// The links, with what the present batch does to them
struct Outlet<'a> {
    forwarding: &'a Forwarding,
    effects: &'a mut Effects,
}

impl Links for Outlet<'_> {
    type Link = Rc<Link>;

    fn link(&self, _: Address, link: LinkId) -> Option<Rc<Link>> {
        self.forwarding.registry.link(link)
    }

    #[inline]
    fn push(&mut self, link: &Rc<Link>, packet: &PacketRef<'_>, edit: &mut Edit) -> Result<(), forward::PushError> {
        let pushed = link.core.borrow_mut().forward(packet, edit, &self.forwarding.shared.chunks);
        match pushed {
            Ok(()) => {
                // Once a batch: waking its writer for each packet would cost more than the packet.
                if !link.touched.replace(true) {
                    self.effects.touched.push(Rc::clone(link));
                }
                Ok(())
            }
            Err(SendError::Ending) => Err(forward::PushError::NoLink),
            // Who counts it is the forwarder's to say: a report of this node's own is no dropped packet.
            Err(SendError::Full(_)) => Err(forward::PushError::Full),
            // Hops are left, or it would not go on: so there is no room in the trailer.
            Err(SendError::Wire(_)) => Err(forward::PushError::TrailerFull),
        }
    }

    #[inline]
    fn deliver(&mut self, kind: PayloadKind, packet: &PacketRef<'_>) {
        let Effects { data, signals, bytes, .. } = &mut *self.effects;
        let by_kind = match packet.header().class {
            Class::Signal => signals,
            Class::Data => data,
        };
        let Some((packets, count)) = by_kind.get_mut(kind as usize) else { return };
        if packets.capacity() == 0 {
            // Packets for this node rarely come alone.
            packets.reserve(*bytes);
        }
        match packets.push(packet.bytes()) {
            Ok(()) => *count += 1,
            // Not for a packet that came in a frame.
            Err(_) => self.forwarding.shared.counters.dropped_delivery.add(1),
        }
    }

    fn returned(&mut self, report: Undeliverable) {
        self.effects.returned.push(report);
    }

    #[inline]
    fn count(&mut self, count: Count) {
        let counters = &self.forwarding.shared.counters;
        let counter = match count {
            Count::Forwarded => return self.effects.forwarded += 1,
            Count::Originated => return self.effects.originated += 1,
            Count::GivenBack => &counters.given_back,
            Count::Undeliverable => &counters.undeliverable,
            Count::DroppedDataQueue => &counters.dropped_data_queue,
            Count::DroppedSignalQueue => &counters.dropped_signal_queue,
            Count::DroppedNoLink => &counters.dropped_no_link,
            Count::DroppedNotNeighbour => &counters.dropped_not_neighbour,
            Count::DroppedNoReceiver => &counters.dropped_no_receiver,
            Count::DroppedForged => &counters.dropped_forged,
            Count::DroppedReports => &counters.dropped_reports,
        };
        counter.add(1);
    }

    fn packet_id(&mut self) -> u64 {
        self.forwarding.shared.next_seed()
    }
}
