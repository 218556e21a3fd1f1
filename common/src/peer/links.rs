//! What links tell, each handed to the core that it concerns.

use super::dials::DialFor;
use super::{Peer, PeerOutput};
use crate::crypto::Signer;
use crate::id::Address;
use crate::link::reason::DialError;
use crate::link::{HelloTemplate, LinkEnd, LinkId, Opened};
use crate::mail::{Lent, Origin};
use crate::names::Answerer;
use crate::routing::neighbourhood;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::grant::{Grant, SignedGrant};
use crate::wire::packet::PacketRef;
use crate::wire::session::{LookUp, Purpose, Reason, Record, Role, Subject};

impl<S: Signer> Peer<S> {
    /// A link is there: of a dial of ours, or somebody else's
    pub fn handle_opened(&mut self, now: Instant, opened: &Opened) {
        self.check_pace(now);
        match opened.dial.map(|dial| self.dials.end(dial)) {
            Some(Some(DialFor::Home(dial))) => self.handle_home_opened(now, dial, opened),
            Some(Some(DialFor::Neighbour(_))) => self.handle_neighbour_opened(now, opened),
            Some(None) => self.close(opened.link, Status::Gone, "given up meanwhile"),
            None if opened.hello.purpose == Purpose::Neighbour => self.handle_neighbour_opened(now, opened),
            None => self.close(opened.link, Status::NotAllowed, "this is a peer, not a supernode"),
        }
    }

    /// A dial made no link
    pub fn handle_dial_failed(&mut self, now: Instant, dial: u64, error: &DialError) {
        self.check_pace(now);
        match self.dials.end(dial) {
            Some(DialFor::Home(dial)) => self.session.handle_dial_failed(now, dial, error),
            Some(DialFor::Neighbour(key)) => {
                self.neighbourhood.handle_dial_failed(now, key, error.status(), &error.to_string());
            }
            None => {}
        }
    }

    /// Any frame but hellos, byes, probes and packets, which are the link layer's
    pub fn handle_frame(&mut self, now: Instant, link: LinkId, frame: Frame) {
        self.check_pace(now);
        if let Some(dial) = self.home_dial_of(link) {
            return self.session.handle_frame(now, dial, frame, &self.signer);
        }
        match frame {
            Frame::LookUp(look_up) => self.handle_neighbours_look_up(now, link, &look_up),
            Frame::AskRemoved(question) => self.answer_removed(now, link, &question),
            Frame::Removed(told) => self.on_neighbours_removed(now, link, &told),
            Frame::AskRecords(question) => self.answer_records(now, link, &question),
            Frame::Records(told) => self.on_records(now, link, &told),
            Frame::Found(found) => {
                if let Some(from) = self.neighbour_on(link) {
                    // The resolver traces it with its reason if it ignores the frame.
                    let _ = self.names.handle_found(now, Answerer::Neighbour(from), &found);
                }
            }
            frame => self.neighbourhood.handle_frame(now, link, frame),
        }
    }

    /// A packet that ends here, from the neighbour `from`; from `None` only the home link's is believed
    pub fn handle_packet(&mut self, now: Instant, link: LinkId, from: Option<Address>, packet: &PacketRef<'_>) {
        let Some(origin) = self.origin(link, from) else { return };
        let lent = Lent { signer: &self.signer, neighbourhood: &self.neighbourhood, removed: self.removed.known() };
        self.mail.handle_packet(now, &lent, origin, packet);
    }

    /// Where a packet comes from; `None` if that is neither a neighbour nor the supernode: then it is not believed
    pub fn origin(&self, link: LinkId, from: Option<Address>) -> Option<Origin> {
        match from {
            _ if self.home_link() == Some(link) => Some(Origin::Home),
            Some(_) => Some(Origin::Mesh),
            None => {
                let (link, reason) = (link.0, "neither a neighbour nor the supernode");
                tracing::debug!(event = "packet_dropped", link, reason);
                None
            }
        }
    }

    /// A link is gone, not by an [`PeerOutput::Close`], or by one: then this changes nothing
    pub fn handle_closed(&mut self, now: Instant, link: LinkId, end: &LinkEnd) {
        self.check_pace(now);
        if let Some(dial) = self.home_dial_of(link) {
            self.home_links.remove(&dial);
            return match end {
                LinkEnd::Bye(status, reason) => {
                    let reason = format!("the other side closed: {status}: {reason}");
                    self.session.handle_closed(now, dial, *status, &reason);
                }
                LinkEnd::Lost(reason) => {
                    self.session.handle_closed(now, dial, Status::Unavailable, reason);
                }
            };
        }
        let neighbour = self.neighbour_on(link);
        self.neighbourhood.handle_link_closed(now, link, end.clone());
        if let Some(neighbour) = neighbour.filter(|neighbour| self.link_to(*neighbour).is_none()) {
            self.mail.handle_first_hop_lost(now, neighbour);
        }
    }

    /// The session's number for a link with a supernode
    fn home_dial_of(&self, link: LinkId) -> Option<u64> {
        self.home_links.iter().find(|(_, of)| **of == link).map(|(dial, _)| *dial)
    }

    fn handle_home_opened(&mut self, now: Instant, dial: u64, opened: &Opened) {
        self.home_links.insert(dial, opened.link);
        self.session.handle_opened(now, dial, opened.key, opened.own_nonce, &opened.hello);
    }

    fn handle_neighbour_opened(&mut self, now: Instant, opened: &Opened) {
        if self.refuses_removed(now, opened) {
            return;
        }
        let grant = opened.hello.grant.as_ref().and_then(|signed| self.verified(now, opened.link, signed));
        let Opened { link, key, direction, .. } = *opened;
        let boot = opened.hello.boot;
        self.neighbourhood.handle_link_opened(now, neighbourhood::Opened { link, key, direction, boot, grant });
    }

    fn verified(&mut self, now: Instant, link: LinkId, signed: &SignedGrant) -> Option<Grant> {
        let network = self.session.network()?;
        let verified = self.mail.verify_grant(&network, signed, &self.signer);
        let tell = |reason: &_| match self.strangers.count(now) {
            Some(count) => tracing::info!(event = "grant_refused", count, link = link.0, %reason),
            None => tracing::debug!(event = "grant_refused", link = link.0, %reason),
        };
        verified.inspect_err(tell).ok()
    }

    fn handle_neighbours_look_up(&mut self, now: Instant, link: LinkId, look_up: &LookUp) {
        let Some(from) = self.neighbour_on(link) else { return };
        let known = match &look_up.subject {
            Subject::Name(name) => self.neighbourhood.find(name).and_then(|(_, record)| record),
            Subject::ShortId(_) => None,
        };
        // The resolver traces it with its reason if the question goes no farther.
        let _ = self.names.handle_look_up(now, from, look_up, known.or_else(|| self.own_record(&look_up.subject)));
    }

    /// What a neighbour that asks for this peer is told
    fn own_record(&self, subject: &Subject) -> Option<Record> {
        let own = self.mail.own()?;
        let is_meant = match subject {
            Subject::Name(name) => *name == own.name,
            Subject::ShortId(short) => *short == own.address.short(),
        };
        is_meant.then(|| Record {
            name: own.name.clone(),
            key: self.signer.key(),
            address: own.address,
            epoch: self.neighbourhood.epoch().unwrap_or_default(),
            locations: Default::default(),
        })
    }

    /// Links learn what to say of this peer from now on
    pub(super) fn tell_hello(&mut self) {
        self.outputs.push_back(PeerOutput::SetHello(HelloTemplate {
            role: Role::Peer,
            boot: self.boot,
            network: self.session.network(),
            grant: self.mail.own().map(|own| own.signed.clone()),
        }));
    }

    /// Links forward by the present tables from now on
    pub(super) fn publish_routes(&mut self) {
        let routes = self.routes.take(self.mail.own(), &self.neighbourhood);
        self.outputs.push_back(PeerOutput::Routes(routes));
    }

    pub(super) fn send_frame(&mut self, link: LinkId, frame: Frame) {
        self.outputs.push_back(PeerOutput::Send { link, frame });
    }

    pub(super) fn close(&mut self, link: LinkId, status: Status, reason: &str) {
        self.outputs.push_back(PeerOutput::Close { link, status, reason: Reason::truncated(reason) });
    }

    /// The link to this neighbour, if it is up
    pub(super) fn link_to(&self, neighbour: Address) -> Option<LinkId> {
        self.neighbourhood.link_to(neighbour)
    }

    pub(super) fn neighbour_on(&self, link: LinkId) -> Option<Address> {
        self.neighbourhood.neighbour_on(link)
    }
}
