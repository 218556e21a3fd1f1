//! What the cores want done.

use kith_common::messages::names::{self, Answer};
use kith_common::messages::outbox;
use kith_common::routing::neighbourhood;
use kith_common::session::peer as session;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::grant::{Grant, SignedGrant};
use kith_common::wire::session::{Location, Purpose, Rewire, Subject};

use super::packets::Origin;
use super::{DialFor, Driver, Own};
use crate::link::{Dial, LinkCommand};

impl Driver {
    /// Drains every core until none has more to say, then tells the links
    pub(super) async fn drain(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        loop {
            if let Some(output) = self.session.poll_output() {
                self.on_session(now, output);
            } else if let Some(output) = self.neighbourhood.poll_output() {
                self.on_neighbourhood(output);
            } else if std::mem::take(&mut self.are_routes_stale) {
                // Once for all that changed, and before anything is sent by them.
                self.publish_routes();
            } else if let Some(output) = self.outbox.poll_output() {
                self.on_outbox(now, output);
            } else if let Some(output) = self.names.poll_output() {
                self.on_names(now, output);
            } else {
                break;
            }
        }
        for command in std::mem::take(&mut self.commands) {
            self.links.send(command).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn on_session(&mut self, now: Instant, output: session::Output) {
        use session::Output;
        match output {
            Output::Dial { attempt, supernode } => self.dial_home(now, attempt, &supernode),
            Output::Send { attempt, frame } => self.send_home(attempt, frame),
            Output::Close { attempt, status, reason } => self.close_home(attempt, status, &reason),
            Output::PinNetwork(network) => self.inbox.pin(network),
            Output::LoggedIn { grant, signed, rewire, .. } => self.on_logged_in(now, grant, signed, rewire),
            Output::Rewired(rewire) => self.on_rewired(now, rewire),
            // Why it is ignored, if it is, is traced by the resolver.
            Output::Found(found) => _ = self.names.handle_found(now, names::Answerer::Supernode, &found),
            Output::Packet(packet) => self.handle_packet(now, Origin::Home, &packet.as_ref()),
            Output::Lost { .. } => self.on_home_lost(now),
            // The session itself traces it with its reason.
            Output::Refused { .. } => {}
            Output::LoggedOut { reason } => self.on_logged_out(now, &reason),
        }
    }

    fn on_neighbourhood(&mut self, output: neighbourhood::Output) {
        use neighbourhood::Output;
        match output {
            Output::Dial { key, locations, .. } => {
                let attempt = self.dial(DialFor::Neighbour(key));
                let (key, locations, purpose) = (Some(key), locations.into_vec(), Purpose::Neighbour);
                self.commands.push(LinkCommand::Dial(Dial { attempt, key, locations, purpose }));
            }
            Output::Send { link, frame } => self.send(link, frame),
            Output::Close { link, status, reason } => self.close(link, status, &reason.to_string()),
            Output::Report(report) => {
                if let Some(home) = self.home_link() {
                    self.send(home, Frame::Report(report));
                }
            }
            Output::RoutesChanged => self.are_routes_stale = true,
            Output::Event(event) => super::trace::trace(&event),
        }
    }

    fn on_outbox(&mut self, now: Instant, output: outbox::Output) {
        use outbox::Output;
        match output {
            Output::Resolve { name, fresh } => self.resolve(now, Subject::Name(name), fresh),
            Output::Transmit { id, attempt, destination, avoid } => {
                self.transmit(now, id, attempt, destination, &avoid);
            }
            Output::Relay { id, attempt, destination } => self.relay(now, id, attempt, destination),
            Output::Done(fate) => self.on_fate(now, fate),
        }
    }

    fn on_names(&mut self, now: Instant, output: names::Output) {
        use names::Output;
        match output {
            Output::Resolved { subject, fresh, answer } => self.on_resolved(now, &subject, fresh, answer),
            Output::Ask(look_up) => {
                if let Some(home) = self.home_link() {
                    self.send(home, Frame::LookUp(look_up));
                }
            }
            Output::Flood { except, look_up } => {
                let links: Vec<_> = self.neighbourhood.live_links().filter(|(to, _)| Some(*to) != except).collect();
                for (_, link) in links {
                    self.send(link, Frame::LookUp(look_up.clone()));
                }
            }
            Output::Answer { to, found } => {
                if let Some(link) = self.link_to(to) {
                    self.send(link, Frame::Found(found));
                }
            }
            Output::Save(record) => self.inbox.save(record),
            Output::Erase(name) => self.inbox.erase(name),
        }
    }

    fn dial_home(&mut self, now: Instant, attempt: u64, supernode: &str) {
        match Location::try_from(supernode.to_owned()) {
            Ok(location) => {
                let dial = Dial {
                    attempt: self.dial(DialFor::Home(attempt)),
                    key: None,
                    locations: vec![location],
                    purpose: Purpose::Home,
                };
                self.commands.push(LinkCommand::Dial(dial));
            }
            Err(reason) => self.session.handle_dial_failed(now, attempt, Status::Malformed, reason),
        }
    }

    fn send_home(&mut self, attempt: u64, frame: Frame) {
        if let Some(home) = self.home.as_ref().filter(|home| home.attempt == attempt) {
            let link = home.link;
            self.send(link, frame);
        }
    }

    fn close_home(&mut self, attempt: u64, status: Status, reason: &str) {
        self.dials.retain(|_, dial| !matches!(dial, DialFor::Home(of) if *of == attempt));
        if let Some(home) = self.home.take_if(|home| home.attempt == attempt) {
            self.close(home.link, status, reason);
        }
    }

    fn on_logged_in(&mut self, now: Instant, grant: Grant, signed: SignedGrant, rewire: Rewire) {
        let (address, name) = (grant.address, grant.name.clone());
        self.own = Some(Own { address, name, signed });
        self.tell_hello();
        self.remember(now, &rewire);
        self.neighbourhood.handle_login(now, &grant, &rewire);
        self.neighbourhood.handle_home(now, true);
        self.names.handle_home(now, true);
    }

    fn on_rewired(&mut self, now: Instant, rewire: Rewire) {
        self.remember(now, &rewire);
        self.neighbourhood.handle_rewire(now, &rewire);
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

    fn on_logged_out(&mut self, now: Instant, reason: &str) {
        tracing::info!(event = "logged_out", reason);
        self.on_home_lost(now);
        self.neighbourhood.handle_logout(now);
        self.own = None;
        self.tell_hello();
        self.on_logout_done();
    }

    fn on_resolved(&mut self, now: Instant, subject: &Subject, fresh: bool, answer: Result<Answer, Status>) {
        if let Subject::Name(name) = subject {
            let target = answer.as_ref().map(Answer::target).map_err(|status| *status);
            self.outbox.handle_resolved(now, name, fresh, target);
        }
        self.answer_resolved(subject, fresh, answer);
    }
}
