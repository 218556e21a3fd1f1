//! What links tell, each handed to the core that it concerns.

use std::sync::Arc;

use kith_common::id::Address;
use kith_common::messages::names::Answerer;
use kith_common::routing::Routes;
use kith_common::routing::neighbourhood::{self, LinkEnd, LinkId};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::grant::{Grant, SignedGrant};
use kith_common::wire::session::{LookUp, Purpose, Reason, Record, Role, Subject};

use super::packets::Origin;
use super::{DialFor, Driver, Home};
use crate::link::{CloseReason, Delivery, DialError, HelloTemplate, LinkCommand, LinkEvent, NewRoutes, Opened};

impl Driver {
    pub(super) fn handle_event(&mut self, event: LinkEvent) {
        let now = self.clock.now();
        match event {
            LinkEvent::Opened(opened) => self.handle_opened(now, &opened),
            LinkEvent::DialFailed { attempt, reason } => self.handle_dial_failed(now, attempt, &reason),
            LinkEvent::Frame { link, frame } => self.handle_frame(now, link, frame),
            LinkEvent::Deliver(delivery) => self.handle_delivery(now, &delivery),
            // Why it is ignored, if it is, is traced by the out-box.
            LinkEvent::Undeliverable(report) => _ = self.outbox.handle_undeliverable(now, &report),
            LinkEvent::Closed { link, reason } => self.handle_closed(now, link, &reason),
            LinkEvent::Listening(address) => self.handle_listening(&address.to_string()),
            LinkEvent::ListenerClosed { reason } => tracing::error!(event = "listener_closed", reason),
        }
    }

    /// Links learn what to say of this peer from now on
    pub(super) fn tell_hello(&mut self) {
        self.commands.push(LinkCommand::SetHello(HelloTemplate {
            role: Role::Peer,
            boot: self.boot,
            network: self.session.network(),
            grant: self.own.as_ref().map(|own| own.signed.clone()),
        }));
    }

    /// A number for a new dial
    pub(super) fn dial(&mut self, dial: DialFor) -> u64 {
        self.next_dial += 1;
        self.dials.insert(self.next_dial, dial);
        self.next_dial
    }

    /// Links forward by the present tables from now on
    pub(super) fn publish_routes(&mut self) {
        let Some(own) = &self.own else {
            self.routes = None;
            return self.commands.push(LinkCommand::Routes(None));
        };
        self.generation += 1;
        let views = self.neighbourhood.views();
        let (degree, members) = (self.neighbourhood.degree(), self.neighbourhood.members());
        let routes = Arc::new(Routes::new(own.address, degree, members, self.generation, views));
        self.routes = Some(Arc::clone(&routes));
        self.commands.push(LinkCommand::Routes(Some(Box::new(NewRoutes {
            routes,
            links: self.neighbourhood.live_links().collect(),
            address: own.address,
            name: own.name.clone(),
        }))));
    }

    fn handle_listening(&mut self, address: &str) {
        tracing::info!(event = "listening", address);
        if !self.listen.iter().any(|known| known == address) {
            self.listen.push(address.to_owned());
        }
    }

    fn handle_opened(&mut self, now: Instant, opened: &Opened) {
        self.gauges.insert(opened.link, Arc::clone(&opened.gauges));
        match opened.attempt.map(|attempt| self.dials.remove(&attempt)) {
            Some(Some(DialFor::Home(attempt))) => self.handle_home_opened(now, attempt, opened),
            Some(Some(DialFor::Neighbour(_))) => self.handle_neighbour_opened(now, opened),
            Some(None) => self.close(opened.link, Status::Gone, "given up meanwhile"),
            None if opened.hello.purpose == Purpose::Neighbour => self.handle_neighbour_opened(now, opened),
            None => self.close(opened.link, Status::NotAllowed, "this is a peer, not a supernode"),
        }
    }

    fn handle_home_opened(&mut self, now: Instant, attempt: u64, opened: &Opened) {
        self.home = Some(Home { link: opened.link, attempt });
        self.session.handle_opened(now, attempt, opened.key, opened.own_nonce, &opened.hello);
    }

    fn handle_neighbour_opened(&mut self, now: Instant, opened: &Opened) {
        let grant = opened.hello.grant.as_ref().and_then(|signed| self.verified(signed));
        let (link, key, direction, boot) = (opened.link, opened.key, opened.direction, opened.hello.boot);
        let opened = neighbourhood::Opened { link, key, direction, boot, grant };
        self.neighbourhood.handle_link_opened(now, opened);
    }

    fn verified(&mut self, signed: &SignedGrant) -> Option<Grant> {
        let network = self.session.network()?;
        let verified = self.grants.verify(&network, signed);
        verified.inspect_err(|reason| tracing::info!(event = "grant_refused", %reason)).ok()
    }

    fn handle_dial_failed(&mut self, now: Instant, dial: u64, error: &DialError) {
        let reason = &error.to_string();
        match self.dials.remove(&dial) {
            Some(DialFor::Home(attempt)) => {
                self.session.handle_dial_failed(now, attempt, error.status(), reason);
            }
            Some(DialFor::Neighbour(key)) => self.neighbourhood.handle_dial_failed(now, key, reason),
            None => {}
        }
    }

    fn handle_frame(&mut self, now: Instant, link: LinkId, frame: Frame) {
        if let Some(home) = self.home.filter(|home| home.link == link) {
            return self.session.handle_frame(now, home.attempt, frame, &self.identity);
        }
        match frame {
            Frame::LookUp(look_up) => self.handle_neighbours_look_up(now, link, &look_up),
            Frame::Found(found) => {
                if let Some(from) = self.neighbour_on(link) {
                    // Why it is ignored, if it is, is traced by the resolver.
                    let _ = self.names.handle_found(now, Answerer::Neighbour(from), &found);
                }
            }
            frame => self.neighbourhood.handle_frame(now, link, frame),
        }
    }

    fn handle_neighbours_look_up(&mut self, now: Instant, link: LinkId, look_up: &LookUp) {
        let Some(from) = self.neighbour_on(link) else { return };
        let known = match &look_up.subject {
            Subject::Name(name) => self.neighbourhood.find(name).and_then(|(_, record)| record),
            Subject::ShortId(_) => None,
        };
        // Why it goes no farther, if it does not, is traced by the resolver.
        let _ = self.names.handle_look_up(now, from, look_up, known.or_else(|| self.own_record(&look_up.subject)));
    }

    /// What a neighbour that asks for this peer is told
    fn own_record(&self, subject: &Subject) -> Option<Record> {
        let own = self.own.as_ref()?;
        let is_meant = match subject {
            Subject::Name(name) => *name == own.name,
            Subject::ShortId(short) => *short == own.address.short(),
        };
        is_meant.then(|| Record {
            name: own.name.clone(),
            key: kith_common::crypto::Signer::key(&self.identity),
            address: own.address,
            epoch: self.neighbourhood.epoch().unwrap_or_default(),
            locations: Default::default(),
        })
    }

    fn neighbour_on(&self, link: LinkId) -> Option<Address> {
        self.neighbourhood.live_links().find(|(_, of)| *of == link).map(|(address, _)| address)
    }

    fn handle_delivery(&mut self, now: Instant, delivery: &Delivery) {
        let is_home = self.home.is_some_and(|home| home.link == delivery.link);
        let origin = match delivery.from {
            _ if is_home => Origin::Home,
            Some(_) => Origin::Mesh,
            None => {
                let link = delivery.link.0;
                return tracing::info!(
                    event = "packets_dropped",
                    link,
                    reason = "neither a neighbour nor the supernode"
                );
            }
        };
        for packet in delivery.packets() {
            self.handle_packet(now, origin, &packet);
        }
    }

    fn handle_closed(&mut self, now: Instant, link: LinkId, reason: &CloseReason) {
        self.gauges.remove(&link);
        if let Some(home) = self.home.take_if(|home| home.link == link) {
            let status = match reason {
                CloseReason::Bye { status, .. } => *status,
                _ => Status::Unavailable,
            };
            return self.session.handle_closed(now, home.attempt, status, &reason.to_string());
        }
        let neighbour = self.neighbour_on(link);
        let end = match reason {
            CloseReason::Bye { status, reason } => LinkEnd::Bye(*status, reason.clone()),
            other => LinkEnd::Lost(Reason::truncated(&other.to_string())),
        };
        self.neighbourhood.handle_link_closed(now, link, end);
        if let Some(neighbour) = neighbour.filter(|neighbour| self.link_to(*neighbour).is_none()) {
            self.outbox.handle_first_hop_lost(now, neighbour);
        }
    }

    /// The link to this neighbour, if it is up
    pub(super) fn link_to(&self, neighbour: Address) -> Option<LinkId> {
        self.neighbourhood.live_links().find(|(address, _)| *address == neighbour).map(|(_, link)| link)
    }
}
