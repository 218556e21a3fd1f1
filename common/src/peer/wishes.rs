//! What the cores inside want, carried out or passed on.

use super::{DialFor, Output, Own, Peer};
use crate::crypto::Signer;
use crate::link::Dial;
use crate::mail::outbox;
use crate::names::{self, Answer, Local};
use crate::routing::neighbourhood;
use crate::session::membership::MembershipOutput;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::grant::{Grant, SignedGrant};
use crate::wire::session::{Location, Purpose, Rewire, Subject};

impl<S: Signer> Peer<S> {
    /// The next thing to do; drain until `None` after every input, or after a few that came together
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if let Some(wish) = self.session.poll_output() {
                self.on_session(now, wish);
            } else if let Some(wish) = self.neighbourhood.poll_output() {
                self.on_neighbourhood(wish);
            } else if std::mem::take(&mut self.are_routes_stale) {
                // Once for all that changed, and before anything is sent by them.
                self.publish_routes();
            } else if let Some(wish) = self.outbox.poll_output() {
                self.on_outbox(now, wish);
            } else if let Some(wish) = self.names.poll_output() {
                self.on_names(now, wish);
            } else {
                return None;
            }
        }
    }

    fn on_session(&mut self, now: Instant, wish: MembershipOutput) {
        use MembershipOutput as Wish;
        match wish {
            Wish::Dial { dial, supernode } => self.dial_home(now, dial, &supernode),
            Wish::Send { dial, frame } => self.send_home(dial, frame),
            Wish::Close { dial, status, reason } => self.close_home(dial, status, &reason),
            Wish::PinNetwork(network) => self.outputs.push_back(Output::PinNetwork(network)),
            Wish::LoggedIn { grant, signed, rewire, .. } => self.on_logged_in(now, &grant, signed, &rewire),
            Wish::Rewired(rewire) => self.on_rewired(now, &rewire),
            // Why it is ignored, if it is, is traced by the resolver.
            Wish::Found(found) => _ = self.names.handle_found(now, names::Answerer::Supernode, &found),
            Wish::Lost { reason } => {
                self.on_home_lost(now);
                self.outputs.push_back(Output::HomeLost { reason });
            }
            // The session itself traces it with its reason.
            Wish::Refused { .. } => {}
            Wish::LoggedOut { reason } => {
                tracing::info!(event = "logged_out", %reason);
                self.on_logged_out(now);
                self.outputs.push_back(Output::LoggedOut { reason });
            }
        }
    }

    fn on_neighbourhood(&mut self, wish: neighbourhood::Output) {
        use neighbourhood::Output as Wish;
        match wish {
            Wish::Dial { key, locations, .. } => {
                let attempt = self.dial(DialFor::Neighbour(key));
                let (key, locations, purpose) = (Some(key), locations.into_vec(), Purpose::Neighbour);
                self.outputs.push_back(Output::Dial(Dial { attempt, key, locations, purpose }));
            }
            Wish::Send { link, frame } => self.send_frame(link, frame),
            Wish::Close { link, status, reason } => self.close(link, status, &reason.to_string()),
            Wish::Report(report) => {
                if let Some(home) = self.home_link() {
                    self.send_frame(home, Frame::Report(report));
                }
            }
            Wish::RoutesChanged => self.are_routes_stale = true,
            Wish::Event(event) => self.outputs.push_back(Output::Event(event)),
        }
    }

    fn on_outbox(&mut self, now: Instant, wish: outbox::Output) {
        use outbox::Output as Wish;
        match wish {
            Wish::Resolve { name, fresh } => self.resolve(now, Subject::Name(name), fresh),
            Wish::Transmit { id, attempt, destination, avoid } => {
                self.transmit(now, id, attempt, destination, &avoid);
            }
            Wish::Relay { id, attempt, destination } => self.relay(now, id, attempt, destination),
            Wish::Done(fate) => self.on_fate(now, fate),
        }
    }

    fn on_names(&mut self, now: Instant, wish: names::Output) {
        use names::Output as Wish;
        match wish {
            Wish::Resolved { subject, fresh, answer } => self.on_resolved(now, subject, fresh, answer),
            Wish::Ask(look_up) => {
                if let Some(home) = self.home_link() {
                    self.send_frame(home, Frame::LookUp(look_up));
                }
            }
            Wish::Flood { except, look_up } => {
                let links = self.neighbourhood.live_links().filter(|(to, _)| Some(*to) != except);
                let sends = links.map(|(_, link)| Output::Send { link, frame: Frame::LookUp(look_up.clone()) });
                self.outputs.extend(sends);
            }
            Wish::Answer { to, found } => {
                if let Some(link) = self.link_to(to) {
                    self.send_frame(link, Frame::Found(found));
                }
            }
            Wish::Save(record) => self.outputs.push_back(Output::Save(record)),
            Wish::Erase(name) => self.outputs.push_back(Output::Erase(name)),
        }
    }

    fn dial_home(&mut self, now: Instant, home_dial: u64, supernode: &str) {
        match Location::try_from(supernode.to_owned()) {
            Ok(location) => {
                let attempt = self.dial(DialFor::Home(home_dial));
                let dial = Dial { attempt, key: None, locations: vec![location], purpose: Purpose::Home };
                self.outputs.push_back(Output::Dial(dial));
            }
            Err(reason) => self.session.handle_dial_failed(now, home_dial, Status::Malformed, reason),
        }
    }

    fn send_home(&mut self, attempt: u64, frame: Frame) {
        if let Some(home) = self.home.filter(|home| home.attempt == attempt) {
            self.send_frame(home.link, frame);
        }
    }

    fn close_home(&mut self, attempt: u64, status: Status, reason: &str) {
        self.dials.retain(|_, dial| !matches!(dial, DialFor::Home(of) if *of == attempt));
        if let Some(home) = self.home.take_if(|home| home.attempt == attempt) {
            self.close(home.link, status, reason);
        }
    }

    fn on_logged_in(&mut self, now: Instant, grant: &Grant, signed: SignedGrant, rewire: &Rewire) {
        self.own = Some(Own { address: grant.address, name: grant.name.clone(), signed });
        self.tell_hello();
        self.remember(now, rewire);
        self.neighbourhood.handle_login(now, grant, rewire);
        self.neighbourhood.handle_home(now, true);
        self.names.handle_home(now, true);
        self.outputs.push_back(Output::LoggedIn);
    }

    fn on_rewired(&mut self, now: Instant, rewire: &Rewire) {
        self.remember(now, rewire);
        self.neighbourhood.handle_rewire(now, rewire);
    }

    fn remember(&mut self, now: Instant, rewire: &Rewire) {
        for record in &rewire.neighbours {
            self.names.handle_record(now, record);
        }
    }

    fn on_home_lost(&mut self, now: Instant) {
        self.neighbourhood.handle_home(now, false);
        self.names.handle_home(now, false);
    }

    fn on_logged_out(&mut self, now: Instant) {
        self.on_home_lost(now);
        self.neighbourhood.handle_logout(now);
        self.own = None;
        self.tell_hello();
    }

    /// Asks the resolver, telling it what is near
    pub(super) fn resolve(&mut self, now: Instant, subject: Subject, fresh: bool) {
        let local = self.local(&subject);
        self.names.handle_ask(now, subject, fresh, local);
    }

    /// What our own tables say
    fn local(&self, subject: &Subject) -> Option<Local> {
        match subject {
            Subject::Name(name) => {
                if let Some(own) = self.own.as_ref().filter(|own| own.name == *name) {
                    return Some(Local { name: own.name.clone(), address: own.address, record: None });
                }
                let (address, record) = self.neighbourhood.find(name)?;
                Some(Local { name: name.clone(), address, record })
            }
            Subject::ShortId(_) => None,
        }
    }

    /// Somebody's question is answered: the out-box's, a user's, or that of a path without names
    fn on_resolved(&mut self, now: Instant, subject: Subject, fresh: bool, answer: Result<Answer, Status>) {
        match subject {
            Subject::ShortId(short) => {
                let name = answer.ok().map(|answer| answer.name);
                self.on_named(short, name.as_ref());
            }
            Subject::Name(name) => {
                let target = answer.as_ref().map(Answer::target).map_err(|status| *status);
                self.outbox.handle_resolved(now, &name, fresh, target);
                // A look-up asks for a fresh answer; one from memory for a message that waits as well is not for it.
                if fresh && self.looking_up.remove(&name) {
                    self.outputs.push_back(Output::LookedUp { name, answer });
                }
            }
        }
    }
}
