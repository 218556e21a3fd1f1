//! What the peer wants done, and has to tell.

use std::time::SystemTime;

use kith_common::mail::Arrival;
use kith_common::peer::Output;
use kith_common::time::Instant;
use kith_runtime::link::{LinkCommand, Stopped};

use super::{Driver, DriverError};
use crate::inbox::worker::Outcome;
use crate::inbox::{InboxError, Incoming, Kept};

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
            Output::Keep { ticket, message } => self.inbox.keep(ticket, incoming(message)),
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

    /// A message is on disk, or could not be put there
    pub(super) fn handle_kept(&mut self, Outcome { ticket, kept }: Outcome) {
        let (status, reason) = match &kept {
            Ok(kept) => (kept.status(), kept_reason(*kept)),
            Err(error) => (error.status(), failure(error)),
        };
        self.peer.handle_kept(self.clock.now(), ticket, status, reason);
    }
}

fn incoming(message: Arrival) -> Incoming {
    let Arrival { id, from, key, address, bytes } = message;
    Incoming { id, from, key, address, received: SystemTime::now(), bytes }
}

fn kept_reason(kept: Kept) -> &'static str {
    match kept {
        Kept::New { .. } | Kept::Duplicate => "",
        Kept::Full => "the receiver's in-box is full: its owner has to read some messages first",
        Kept::TooLarge => "larger than the receiver's whole in-box",
    }
}

/// What the sender is told of a disk that is not its own
const fn failure(error: &InboxError) -> &'static str {
    match error {
        InboxError::DiskFull => "the receiver's disk is full",
        _ => "the receiver's in-box has failed",
    }
}
