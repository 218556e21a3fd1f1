//! What the peer wants done, and has to tell.

use std::time::SystemTime;

use kith_common::peer::Output;
use kith_common::time::Instant;
use kith_runtime::link::{LinkCommand, Stopped};

use super::{Driver, DriverError};
use crate::inbox::Incoming;
use crate::inbox::worker::Outcome;

impl Driver {
    /// Drains the peer until it has no more to say
    pub(super) async fn drain(&mut self) -> Result<(), DriverError> {
        let now = self.clock.now();
        while let Some(output) = self.peer.poll_output(now) {
            if let Some(command) = self.on_output(now, output) {
                self.links.send(command).await.map_err(|Stopped| DriverError::LinksEnded)?;
            }
        }
        Ok(())
    }

    /// Carries out what is to be done here, and returns what is to be done by the links
    fn on_output(&mut self, now: Instant, output: Output) -> Option<LinkCommand> {
        match output {
            Output::SetHello(hello) => return Some(LinkCommand::SetHello(hello)),
            Output::Dial(dial) => return Some(LinkCommand::Dial(dial)),
            Output::Send { link, frame } => return Some(LinkCommand::Send { link, frame }),
            Output::Close { link, status, reason } => {
                return Some(LinkCommand::Close { link, status, reason: reason.to_string() });
            }
            Output::Routes(routes) => return Some(LinkCommand::Routes(routes)),
            Output::Keep { ticket, message } => {
                self.inbox.keep(ticket, Incoming { message, received: SystemTime::now() });
            }
            Output::Evaluate { ticket, call } => {
                let outcome = self.functions.evaluate(&call, SystemTime::now());
                self.peer.handle_evaluated(now, ticket, outcome.status, outcome.body);
            }
            Output::PinNetwork(network) => self.inbox.pin(network),
            Output::Save(record) => self.inbox.save(record),
            Output::Erase(name) => self.inbox.erase(name),
            Output::Done(outcome) => self.on_done(outcome),
            Output::LookedUp { name, answer } => self.on_looked_up(&name, answer.as_ref().map_err(|status| *status)),
            // The peer traces both with their reasons.
            Output::LoggedIn | Output::HomeLost { .. } => {}
            Output::LoggedOut { .. } => self.on_logged_out(),
            Output::Event(event) => super::trace::trace(&event),
        }
        None
    }

    /// A message is on disk, or was refused, or could not be put there
    pub(super) fn handle_kept(&mut self, Outcome { ticket, kept }: Outcome) {
        self.peer.handle_kept(self.clock.now(), ticket, kept);
    }
}
