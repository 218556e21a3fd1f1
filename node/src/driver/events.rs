//! What links tell, handed to the peer and its connections.

use std::sync::Arc;

use kith_common::session::listening;
use kith_common::time::Instant;
use kith_common::wire::PacketBytes;
use kith_runtime::link::{LinkEvent, Originated};
use tokio::sync::mpsc;

use super::{Driver, Open};

impl Driver {
    /// Hands the peer up to `most` events that have come already
    pub(super) fn handle_waiting(&mut self, events: &mut mpsc::Receiver<LinkEvent>, most: usize) {
        for _ in 0..most {
            let Ok(event) = events.try_recv() else { return };
            self.handle_event(event);
        }
    }

    pub(super) fn handle_event(&mut self, event: LinkEvent) {
        let now = self.clock.now();
        match event {
            LinkEvent::Opened(opened) => {
                let (gauges, location) = (Arc::clone(&opened.gauges), opened.location.clone());
                self.open.insert(opened.link, Open { gauges, location });
                self.stack.peer_mut().handle_opened(now, &opened);
            }
            LinkEvent::DialFailed { dial, reason } => {
                self.stack.peer_mut().handle_dial_failed(now, dial, &reason);
            }
            LinkEvent::Frame { link, frame } => self.stack.peer_mut().handle_frame(now, link, frame),
            LinkEvent::Deliver(delivery) => {
                for packet in delivery.packets.iter() {
                    self.stack.handle_packet(now, delivery.link, delivery.from, &packet);
                }
            }
            LinkEvent::Originated(originated) => self.on_originated(now, &originated),
            LinkEvent::Undeliverable(report) => self.stack.handle_undeliverable(now, &report),
            LinkEvent::Closed { link, reason } => {
                self.open.remove(&link);
                self.stack.peer_mut().handle_closed(now, link, &reason.link_end());
            }
            LinkEvent::Listening(address) => {
                self.listen.add(address);
                self.tell_listening();
            }
            LinkEvent::AddressExpired(address) => {
                self.listen.remove(&address);
                self.tell_listening();
            }
            LinkEvent::ListenerClosed { reason } => tracing::error!(event = "listener_closed", reason),
        }
    }

    fn on_originated(&mut self, now: Instant, originated: &Originated) {
        for (packet, first_hop) in originated.iter() {
            match first_hop {
                Some(first_hop) => self.stack.handle_sent(packet.header().id, &first_hop),
                // Copied only now: of packets that are sent the peer needs no more than the id.
                None => {
                    if let Ok(packet) = PacketBytes::new(packet.bytes().to_vec()) {
                        self.stack.handle_unsent(now, packet);
                    }
                }
            }
        }
    }

    /// Says once what a newcomer can do from here on, while this terminal shows what happens
    pub(super) fn tell_what_to_type(&mut self) {
        if !std::mem::replace(&mut self.is_in_mesh_told, true) {
            let next = self.home.command_anywhere("peers");
            tracing::info!(event = "in_the_mesh", name = %self.name, in_another_terminal = next);
        }
    }

    /// The session is not told at once: it goes on by the address that it had, or ends, and then the next login tells
    fn tell_listening(&mut self) {
        self.stack.peer_mut().set_listening(listening(self.listen.addresses()));
    }
}
