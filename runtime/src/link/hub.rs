//! The task that carries out commands, and the one that takes what the listeners bring.
//!
//! The command task never waits for the driver: whatever is to be told to it is told by other tasks. So the driver may
//! wait for room among the commands while the links wait for room among the events, and nobody waits for ever.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

use kith_common::id::Key;
use kith_common::link::open::Rules;
use kith_common::link::reason::CloseReason;
use kith_common::status::Status;
use kith_common::wire::session::Reason;
use libp2p::Multiaddr;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::connection::Room;
use super::counters::Counters;
use super::dial::{self, Gate};
use super::forward::Forwarding;
use super::registry::Registry;
use super::shared::Shared;
use super::tls::Tls;
use super::transport::Arrival;
use super::{LinkCommand, LinkConfig, LinkEvent, SpawnError};
use crate::location::{at, ip_of, port_of};

/// The rooms of the link thread, each lent only what it needs of those below it; nothing but the thread's start knows it
pub(crate) struct Hub {
    shared: Rc<Shared>,
    registry: Rc<Registry>,
    forwarding: Rc<Forwarding>,
    gate: Rc<Gate>,
}

impl Hub {
    /// Must be called within the link thread's runtime
    pub(crate) fn new(
        config: LinkConfig,
        key: Key,
        tls: Tls,
        counters: Arc<Counters>,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let LinkConfig { forwarding, queues, deadlines, liveness, home_silence, .. } = config;
        let rules = Rules { forwarding, queues, deadlines, liveness, home_silence };
        let shared = Rc::new(Shared::new(config.clock, rules, config.seed, counters, events));
        let registry = Rc::new(Registry::new(config.limits));
        let forwarding = Rc::new(Forwarding::new(Rc::clone(&shared), Rc::clone(&registry), &config.payloads));
        let room =
            Room { shared: Rc::clone(&shared), registry: Rc::clone(&registry), forwarding: Rc::clone(&forwarding) };
        let gate = Rc::new(Gate::new(Rc::new(room), key, tls, config.hello));
        Self { shared, registry, forwarding, gate }
    }

    /// Listens at all of `addresses` from now on
    pub(crate) fn listen(&self, addresses: &[Multiaddr]) -> Result<(), SpawnError> {
        let everywhere = |port| at(Ipv6Addr::UNSPECIFIED.into(), port);
        for address in addresses {
            // `[::]` is IPv4 as well, so `0.0.0.0` beside it would find its port taken by this very process.
            let any4 = ip_of(address) == Some(Ipv4Addr::UNSPECIFIED.into());
            if any4 && port_of(address).is_some_and(|port| addresses.contains(&everywhere(port))) {
                continue;
            }
            let listening = self.gate.transport.listen(address);
            listening.map_err(|reason| SpawnError::Listen { address: address.clone(), reason })?;
        }
        Ok(())
    }

    fn handle_command(&self, command: LinkCommand) {
        match command {
            LinkCommand::SetHello(hello) => self.gate.set_hello(hello),
            LinkCommand::Dial(dial) => drop(spawn_local(dial::dial(Rc::clone(&self.gate), dial))),
            LinkCommand::Send { link, frame } => {
                if let Some(link) = self.registry.link(link) {
                    link.send(&self.shared, &frame);
                    if self.registry.permits.on_sent(frame.kind(), link.ip) {
                        link.tell_opened();
                    }
                }
            }
            LinkCommand::Originate(outgoing) => Forwarding::originate(&self.forwarding, outgoing),
            LinkCommand::Close { link, status, reason } => {
                if let Some(link) = self.registry.link(link) {
                    link.close(CloseReason::Local { status, reason: Reason::truncated(&reason) });
                }
            }
            LinkCommand::SetPatience { link, silence } => {
                if let Some(link) = self.registry.link(link) {
                    link.core.borrow_mut().set_patience(silence);
                }
            }
            LinkCommand::Routes(routes) => {
                Forwarding::set_routes(&self.forwarding, routes.map(|routes| *routes));
            }
            LinkCommand::Shutdown => {}
        }
    }

    /// Carries out commands until told to end, or until nobody is left who could
    pub(crate) async fn run(&self, mut commands: mpsc::Receiver<LinkCommand>) {
        let arrivals = spawn_local(handle_arrivals(Rc::clone(&self.gate), Rc::clone(&self.shared)));
        let gate = Rc::clone(&self.gate);
        let turns = spawn_local(async move { gate.turns.give().await });
        while let Some(command) = commands.recv().await {
            if matches!(command, LinkCommand::Shutdown) {
                break;
            }
            self.handle_command(command);
        }
        // Nobody new: whoever was let in now would be told to go at once.
        arrivals.abort();
        turns.abort();
        // Whoever still gives commands is told that nobody takes them.
        commands.close();
        let reason = CloseReason::Local { status: Status::Gone, reason: Reason::truncated("shutting down") };
        // Twice: the queue's rest and the farewell have a deadline each.
        if timeout(3 * self.shared.rules.deadlines.bye, self.registry.close_all(&reason)).await.is_err() {
            tracing::warn!(event = "links_cut_off", links = self.registry.running(), reason = "farewells not taken");
        }
    }
}

async fn handle_arrivals(gate: Rc<Gate>, shared: Rc<Shared>) {
    loop {
        match gate.transport.next().await {
            Arrival::Connection(stream, ip) => drop(spawn_local(dial::admit(Rc::clone(&gate), stream, ip))),
            Arrival::Listening(address) => {
                tracing::info!(event = "listening", address = %address);
                shared.emit(LinkEvent::Listening(address)).await;
            }
            Arrival::Expired(address) => {
                tracing::info!(event = "address_expired", address = %address);
                shared.emit(LinkEvent::AddressExpired(address)).await;
            }
            Arrival::Trouble(reason) => tracing::warn!(event = "listener_trouble", reason),
            Arrival::Closed(reason) => {
                tracing::error!(event = "listener_closed", reason);
                shared.emit(LinkEvent::ListenerClosed { reason }).await;
            }
        }
    }
}
