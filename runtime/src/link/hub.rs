//! What all tasks of the link thread share, and the task that carries out commands.
//!
//! The command task never waits for the driver: whatever is to be told to it is told by other tasks. So the driver may
//! wait for room among the commands while the links wait for room among the events, and nobody waits for ever.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use kith_common::id::Key;
use kith_common::link::chunks::Chunks;
use kith_common::link::limits::{Admission, Refusal};
use kith_common::link::open::Rules;
use kith_common::link::reason::CloseReason;
use kith_common::status::Status;
use kith_common::wire::Priority;
use kith_common::wire::session::Reason;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::buffers::Buffers;
use super::connection::Link;
use super::counters::Counters;
use super::forward::{self, Forwarder};
use super::tls::Tls;
use super::transport::{Arrival, Transport};
use super::wake::Wake;
use super::{Config, HelloTemplate, LinkCommand, LinkEvent, LinkId, dial};
use crate::clock::Clock;

/// The link thread's state; every `RefCell` is borrowed within one call, never across an await
pub(crate) struct Hub {
    pub(crate) key: Key,
    pub(crate) clock: Clock,
    /// How all links of this thread behave
    pub(crate) rules: Rules,
    pub(crate) tls: Tls,
    pub(crate) transport: Transport,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) chunks: Chunks,
    pub(crate) counters: Arc<Counters>,
    pub(crate) hello: RefCell<HelloTemplate>,
    pub(crate) forwarder: RefCell<Forwarder>,
    admission: RefCell<Admission>,
    /// Those that commands can name; bounded by the admission
    links: RefCell<BTreeMap<LinkId, Rc<Link>>>,
    /// Links whose tasks run, those with last words included
    running: Cell<usize>,
    ended: Wake,
    link_count: Cell<u64>,
    rng: RefCell<ChaCha8Rng>,
    events: mpsc::Sender<LinkEvent>,
}

/// A place that somebody holds within the limits; given back when dropped
pub(crate) struct Slot {
    hub: Rc<Hub>,
    kind: SlotKind,
}

#[derive(Clone, Copy)]
enum SlotKind {
    Pending(Option<IpAddr>),
    Dial,
    Incoming(Option<IpAddr>),
    Outgoing,
}

impl Slot {
    pub(crate) fn pending(hub: &Rc<Hub>, ip: Option<IpAddr>) -> Result<Self, Refusal> {
        hub.admission.borrow_mut().begin_pending(ip)?;
        Ok(Self { hub: Rc::clone(hub), kind: SlotKind::Pending(ip) })
    }

    pub(crate) fn dial(hub: &Rc<Hub>) -> Result<Self, usize> {
        hub.admission.borrow_mut().begin_dial()?;
        Ok(Self { hub: Rc::clone(hub), kind: SlotKind::Dial })
    }

    pub(crate) fn incoming(hub: &Rc<Hub>, ip: Option<IpAddr>) -> Result<Self, Refusal> {
        hub.admission.borrow_mut().begin_incoming(ip)?;
        Ok(Self { hub: Rc::clone(hub), kind: SlotKind::Incoming(ip) })
    }

    pub(crate) fn outgoing(hub: &Rc<Hub>) -> Result<Self, usize> {
        hub.admission.borrow_mut().begin_outgoing()?;
        Ok(Self { hub: Rc::clone(hub), kind: SlotKind::Outgoing })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut admission = self.hub.admission.borrow_mut();
        match self.kind {
            SlotKind::Pending(ip) => admission.end_pending(ip),
            SlotKind::Dial => admission.end_dial(),
            SlotKind::Incoming(ip) => admission.end_incoming(ip),
            SlotKind::Outgoing => admission.end_outgoing(),
        }
    }
}

impl Hub {
    /// Must be called within the link thread's runtime
    pub(crate) fn new(
        config: Config,
        key: Key,
        tls: Tls,
        counters: Arc<Counters>,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let mut forwarder = Forwarder::new();
        config.payloads.iter().for_each(|kind| forwarder.register(*kind));
        Self {
            key,
            clock: config.clock,
            rules: Rules {
                forwarding: config.forwarding,
                queues: config.queues,
                deadlines: config.deadlines,
                liveness: config.liveness,
            },
            tls,
            transport: Transport::new(),
            buffers: Rc::default(),
            chunks: Chunks::default(),
            counters,
            hello: RefCell::new(config.hello),
            forwarder: RefCell::new(forwarder),
            admission: RefCell::new(Admission::new(config.limits)),
            links: RefCell::default(),
            running: Cell::new(0),
            ended: Wake::default(),
            link_count: Cell::new(0),
            rng: RefCell::new(ChaCha8Rng::seed_from_u64(config.seed)),
            events,
        }
    }

    /// Tells the driver; false if it is gone
    pub(crate) async fn emit(&self, event: LinkEvent) -> bool {
        self.events.send(event).await.is_ok()
    }

    /// Tells the driver if there is room; else the event is given back
    pub(crate) fn try_emit(&self, event: LinkEvent) -> Option<LinkEvent> {
        match self.events.try_send(event) {
            Ok(()) => None,
            Err(TrySendError::Full(event)) => Some(event),
            // Nobody is left to be told: the thread is about to end.
            Err(TrySendError::Closed(_)) => None,
        }
    }

    pub(crate) fn next_link(&self) -> LinkId {
        self.link_count.set(self.link_count.get() + 1);
        LinkId(self.link_count.get())
    }

    /// A random number
    pub(crate) fn next_seed(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    pub(crate) fn add_link(&self, link: &Rc<Link>) {
        self.counters.opened.add(1);
        self.running.set(self.running.get() + 1);
        self.links.borrow_mut().insert(link.id, Rc::clone(link));
    }

    /// Nothing finds the link any more; it may still have last words
    pub(crate) fn remove_link(&self, link: &Link) {
        self.links.borrow_mut().remove(&link.id);
    }

    /// The link's last task is about to end, and the driver knows
    pub(crate) fn forget_link(&self) {
        self.counters.closed.add(1);
        self.running.set(self.running.get() - 1);
        self.ended.wake();
    }

    /// Counts what was dropped, as its class of a link's queue is at the bound; control ends the link instead
    pub(crate) fn count_full(&self, priority: Priority) {
        match priority {
            Priority::Control => {}
            Priority::Signal => self.counters.dropped_signal_queue.add(1),
            Priority::Data => self.counters.dropped_data_queue.add(1),
        }
    }

    pub(crate) fn link(&self, id: LinkId) -> Option<Rc<Link>> {
        self.links.borrow().get(&id).cloned()
    }

    fn handle_command(self: &Rc<Self>, command: LinkCommand) {
        match command {
            LinkCommand::SetHello(hello) => *self.hello.borrow_mut() = hello,
            LinkCommand::Dial(dial) => drop(spawn_local(dial::dial(Rc::clone(self), dial))),
            LinkCommand::Send { link, frame } => {
                if let Some(link) = self.link(link) {
                    link.send(self, &frame);
                }
            }
            LinkCommand::Originate(outgoing) => forward::originate(self, &outgoing),
            LinkCommand::Close { link, status, reason } => {
                if let Some(link) = self.link(link) {
                    link.close(CloseReason::Local { status, reason: Reason::truncated(&reason) });
                }
            }
            LinkCommand::Routes(routes) => forward::set_routes(self, routes.map(|routes| *routes)),
            LinkCommand::Shutdown => {}
        }
    }
}

/// Carries out commands until told to end, or until nobody is left who could
pub(crate) async fn run(hub: Rc<Hub>, mut commands: mpsc::Receiver<LinkCommand>) {
    let arrivals = spawn_local(handle_arrivals(Rc::clone(&hub)));
    while let Some(command) = commands.recv().await {
        if matches!(command, LinkCommand::Shutdown) {
            break;
        }
        hub.handle_command(command);
    }
    arrivals.abort();
    // Whoever still gives commands is told that nobody takes them.
    commands.close();
    let ending = async {
        // Again after each end: a handshake that was under way may have become a link meanwhile.
        while !close_all(&hub) {
            hub.ended.woken().await;
        }
    };
    // Twice: the queue's rest and the farewell have a deadline each.
    if timeout(3 * hub.rules.deadlines.bye, ending).await.is_err() {
        tracing::warn!(event = "links_cut_off", links = hub.running.get(), reason = "farewells not taken");
    }
}

/// Asks every link to end; true if there is none
fn close_all(hub: &Hub) -> bool {
    let reason = CloseReason::Local { status: Status::Gone, reason: Reason::truncated("shutting down") };
    hub.links.borrow().values().for_each(|link| link.close(reason.clone()));
    hub.running.get() == 0
}

async fn handle_arrivals(hub: Rc<Hub>) {
    loop {
        match hub.transport.next().await {
            Arrival::Connection(stream, ip) => drop(spawn_local(dial::admit(Rc::clone(&hub), stream, ip))),
            Arrival::Listening(address) => {
                tracing::info!(event = "listening", address = %address);
                hub.emit(LinkEvent::Listening(address)).await;
            }
            Arrival::Trouble(reason) => tracing::warn!(event = "listener_trouble", reason),
            Arrival::Closed(reason) => {
                tracing::error!(event = "listener_closed", reason);
                hub.emit(LinkEvent::ListenerClosed { reason }).await;
            }
        }
    }
}
