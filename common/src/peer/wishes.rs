//! What the cores inside want, carried out or passed on.

use super::dials::DialFor;
use super::{Peer, PeerOutput};
use crate::crypto::Signer;
use crate::id::Name;
use crate::link::Dial;
use crate::link::reason::DialError;
use crate::mail::{Lent, MailOutput, Own};
use crate::names::{Answerer, ListsOutput, Local, NamesOutput};
use crate::removed::Whom;
use crate::routing::neighbourhood::NeighbourhoodOutput;
use crate::session::home_silence;
use crate::session::membership::MembershipOutput;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::grant::{Grant, SignedGrant};
use crate::wire::session::{Location, Purpose, Rewire, Subject};

impl<S: Signer> Peer<S> {
    /// The next thing to do; drain until `None` after every input, or after a few that came together
    pub fn poll_output(&mut self, now: Instant) -> Option<PeerOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if let Some(wish) = self.session.poll_output() {
                self.on_session(now, wish);
            } else if let Some(wish) = self.neighbourhood.poll_output() {
                self.on_neighbourhood(now, wish);
            } else if self.routes.take_stale() {
                // Once for all that changed, and before anything is sent by them.
                self.publish_routes();
            } else if let Some(wish) = self.poll_mail(now) {
                self.on_mail(now, wish);
            } else if let Some(wish) = self.names.poll_output() {
                self.on_names(now, wish);
            } else if let Some(wish) = self.lists.poll_output() {
                self.on_lists(wish);
            } else {
                return None;
            }
        }
    }

    fn poll_mail(&mut self, now: Instant) -> Option<MailOutput> {
        let lent = Lent { signer: &self.signer, neighbourhood: &self.neighbourhood, removed: self.removed.known() };
        self.mail.poll_output(now, &lent)
    }

    fn on_session(&mut self, now: Instant, wish: MembershipOutput) {
        use MembershipOutput as Wish;
        match wish {
            Wish::Dial { dial, locations } => self.dial_home(now, dial, locations),
            Wish::Send { dial, frame } => self.send_home(dial, frame),
            Wish::Close { dial, status, reason } => self.close_home(dial, status, &reason),
            Wish::PinNetwork(network) => self.outputs.push_back(PeerOutput::PinNetwork(network)),
            Wish::LoggedIn { grant, signed, rewire, lease } => {
                if let Some(link) = self.home_link() {
                    self.outputs.push_back(PeerOutput::SetPatience { link, silence: home_silence(lease) });
                }
                self.on_logged_in(now, &grant, signed, &rewire);
            }
            Wish::Rewired(rewire) => self.on_rewired(now, &rewire),
            // The resolver traces it with its reason if it ignores the frame.
            Wish::Found(found) => _ = self.names.handle_found(now, Answerer::Supernode, &found),
            Wish::Listing(listing) => self.lists.handle_listing(listing),
            Wish::Removed(told) => self.on_removed(now, Whom::Supernode, &told),
            Wish::Supernodes(list) => self.outputs.push_back(PeerOutput::KeepSupernodes(list)),
            Wish::Lost { reason } => {
                self.on_home(now, false);
                self.outputs.push_back(PeerOutput::HomeLost { reason });
            }
            // The session itself traces it with its reason.
            Wish::Refused { status, reason, .. } => self.leave_if_guest(now, status, &reason),
            Wish::LoggedOut { reason } => {
                tracing::info!(event = "logged_out", %reason);
                self.on_logged_out(now);
                self.outputs.push_back(PeerOutput::LoggedOut { reason });
            }
        }
    }

    fn on_neighbourhood(&mut self, now: Instant, wish: NeighbourhoodOutput) {
        use NeighbourhoodOutput as Wish;
        match wish {
            Wish::Dial { key, locations, .. } => {
                let dial = self.dials.begin(DialFor::Neighbour(key));
                let (key, locations, purpose) = (Some(key), locations.into_vec(), Purpose::Neighbour);
                self.outputs.push_back(PeerOutput::Dial(Dial { number: dial, key, locations, purpose }));
            }
            Wish::Send { link, frame } => self.send_frame(link, frame),
            Wish::Close { link, status, reason } => self.close(link, status, &reason.to_string()),
            Wish::Report(report) => {
                if let Some(home) = self.home_link() {
                    self.send_frame(home, Frame::Report(report));
                }
            }
            Wish::RoutesChanged => self.routes.mark_stale(),
            Wish::LossBeyond { neighbour } => self.mail.handle_loss_beyond(now, neighbour),
            Wish::Event(event) => self.outputs.push_back(PeerOutput::Event(event)),
        }
    }

    fn on_mail(&mut self, now: Instant, wish: MailOutput) {
        use MailOutput as Wish;
        match wish {
            Wish::Resolve { subject: Subject::Name(name), fresh } => {
                let local = self.local(&name);
                self.names.handle_ask(now, Subject::Name(name), fresh, local);
            }
            Wish::Resolve { subject, fresh } => self.names.handle_ask(now, subject, fresh, None),
            Wish::Transmit { packet, avoid } => self.outputs.push_back(PeerOutput::Transmit { packet, avoid }),
            Wish::Relay { packet } => match self.home_link() {
                Some(home) => self.send_frame(home, Frame::Relay(packet)),
                None => self.mail.handle_unsent(now, packet),
            },
            Wish::Done(outcome) => self.outputs.push_back(PeerOutput::Done(outcome)),
            Wish::PathNamed { ticket, path } => self.outputs.push_back(PeerOutput::PathNamed { ticket, path }),
        }
    }

    fn on_names(&mut self, now: Instant, wish: NamesOutput) {
        use NamesOutput as Wish;
        match wish {
            Wish::Resolved { subject, fresh, answer } => {
                self.mail.handle_resolved(now, &subject, fresh, answer.as_ref().map_err(|status| *status));
                if let Subject::Name(name) = subject {
                    self.outputs.push_back(PeerOutput::Resolved { name, fresh, answer });
                }
            }
            Wish::LookedUp { name, answer } => self.outputs.push_back(PeerOutput::LookedUp { name, answer }),
            Wish::Ask(look_up) => {
                if let Some(home) = self.home_link() {
                    self.send_frame(home, Frame::LookUp(look_up));
                }
            }
            Wish::Flood { except, look_up } => {
                let links = self.neighbourhood.live_links().filter(|(to, _)| Some(*to) != except);
                let sends = links.map(|(_, link)| PeerOutput::Send { link, frame: Frame::LookUp(look_up.clone()) });
                self.outputs.extend(sends);
            }
            Wish::Answer { to, found } => {
                if let Some(link) = self.link_to(to) {
                    self.send_frame(link, Frame::Found(found));
                }
            }
            Wish::Save(record) => self.outputs.push_back(PeerOutput::Save(record)),
            Wish::Erase(name) => self.outputs.push_back(PeerOutput::Erase(name)),
        }
    }

    fn on_lists(&mut self, wish: ListsOutput) {
        match wish {
            ListsOutput::Ask(list) => {
                if let Some(home) = self.home_link() {
                    self.send_frame(home, Frame::List(list));
                }
            }
            ListsOutput::Listed { query, answer } => self.outputs.push_back(PeerOutput::Listed { query, answer }),
        }
    }

    fn dial_home(&mut self, now: Instant, home_dial: u64, locations: Vec<String>) {
        let locations: Result<Vec<Location>, _> = locations.into_iter().map(Location::try_from).collect();
        match locations {
            Ok(locations) => {
                let dial = self.dials.begin(DialFor::Home(home_dial));
                let dial = Dial { number: dial, key: None, locations, purpose: Purpose::Home };
                self.outputs.push_back(PeerOutput::Dial(dial));
            }
            Err(reason) => self.session.handle_dial_failed(now, home_dial, &DialError::Connect(reason.to_owned())),
        }
    }

    fn send_home(&mut self, dial: u64, frame: Frame) {
        if let Some(link) = self.home_links.get(&dial) {
            self.send_frame(*link, frame);
        }
    }

    fn close_home(&mut self, dial: u64, status: Status, reason: &str) {
        self.dials.give_home_up(dial);
        if let Some(link) = self.home_links.remove(&dial) {
            self.close(link, status, reason);
        }
    }

    fn on_logged_in(&mut self, now: Instant, grant: &Grant, signed: SignedGrant, rewire: &Rewire) {
        let Grant { network, address, name, .. } = grant.clone();
        self.mail.handle_login(Own { network, address, name, signed: signed.clone() });
        self.tell_hello();
        self.begin_stay(now, signed, rewire);
        self.remember(now, rewire);
        self.neighbourhood.handle_login(now, grant, rewire);
        self.on_home(now, true);
        self.outputs.push_back(PeerOutput::LoggedIn);
    }

    fn on_rewired(&mut self, now: Instant, rewire: &Rewire) {
        self.remember(now, rewire);
        self.renew_stay(now, rewire);
        self.neighbourhood.handle_rewire(now, rewire);
    }

    fn remember(&mut self, now: Instant, rewire: &Rewire) {
        for record in &rewire.neighbours {
            self.names.handle_record(now, record);
        }
    }

    /// The link to the supernode came or went
    pub(super) fn on_home(&mut self, now: Instant, is_up: bool) {
        self.neighbourhood.handle_home(now, is_up);
        self.names.handle_home(now, is_up);
        self.lists.handle_home(is_up);
        self.mail.handle_home(is_up);
        self.on_removals_home(now, is_up);
        self.healer.handle_home(now, is_up);
    }

    pub(super) fn on_logged_out(&mut self, now: Instant) {
        self.on_home(now, false);
        self.neighbourhood.handle_logout(now);
        self.mail.handle_logout();
        self.removed.handle_logout();
        self.healer.handle_logout();
        self.stays.handle_logout();
        self.tell_hello();
    }

    /// What our own tables say of a name
    pub(super) fn local(&self, name: &Name) -> Option<Local> {
        if let Some(own) = self.mail.own().filter(|own| own.name == *name) {
            return Some(Local { name: own.name.clone(), address: own.address, record: None });
        }
        let (address, record) = self.neighbourhood.find(name)?;
        Some(Local { name: name.clone(), address, record })
    }
}
