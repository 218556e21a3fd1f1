//! What the peer and its connections want done, and have to tell.

use std::time::SystemTime;

use kith_common::peer::PeerOutput;
use kith_common::time::Instant;
use kith_runtime::link::{LinkCommand, Outgoing, Packets, Stopped};
use kith_transport::StackOutput;

use super::{Driver, DriverError};
use crate::inbox::Incoming;
use crate::inbox::worker::Outcome;

impl Driver {
    /// Drains the peer until it has no more to say
    pub(super) async fn drain(&mut self) -> Result<(), DriverError> {
        let now = self.clock.now();
        while let Some(output) = self.stack.poll_output(now) {
            if let Some(command) = self.on_output(now, output) {
                self.links.send(command).await.map_err(|Stopped| DriverError::LinksEnded)?;
            }
        }
        Ok(())
    }

    /// Carries out what is to be done here, and returns what is to be done by the links
    fn on_output(&mut self, now: Instant, output: StackOutput) -> Option<LinkCommand> {
        match output {
            StackOutput::Peer(output) => return self.on_peer(output),
            StackOutput::Evaluate { ticket, from, call, .. } => {
                self.evaluate(now, ticket, from.map(|grant| grant.name), &call);
            }
            StackOutput::Called(called) => self.on_called(now, called),
            StackOutput::PipeAsked { ticket, from, opening } => self.on_pipe_asked(now, ticket, &from, &opening),
            StackOutput::Pipe { pipe, news } => self.on_pipe(now, pipe, news),
            StackOutput::Pinged(pinged) => self.on_pinged(pinged),
            // No verb asks for a connection alone, or hears what is said on one.
            StackOutput::Reached(_) | StackOutput::Said { .. } => {}
            StackOutput::Pinned { name, key } => self.inbox.pin_key(name, key),
            // The core has traced it, and whoever wanted that name is told.
            StackOutput::KeyRefused { .. } => {}
            StackOutput::Keep { ticket, message } => {
                self.inbox.keep(ticket, Incoming { message, received: SystemTime::now() });
            }
            StackOutput::Store(outgoing) => self.store(now, outgoing),
            StackOutput::Load { sequence } => self.inbox.load(sequence),
            StackOutput::Delayed { to, trouble } => self.on_delayed(now, &to, &trouble),
            StackOutput::Ended { fate, stored } => self.on_ended(fate, stored),
        }
        None
    }

    fn on_peer(&mut self, output: PeerOutput) -> Option<LinkCommand> {
        match output {
            PeerOutput::SetHello(hello) => return Some(LinkCommand::SetHello(hello)),
            PeerOutput::Dial(dial) => return Some(LinkCommand::Dial(dial)),
            PeerOutput::Send { link, frame } => return Some(LinkCommand::Send { link, frame }),
            PeerOutput::Transmit { packet, avoid } => {
                return Some(LinkCommand::Originate(Outgoing { packets: Packets::from(&packet), avoid }));
            }
            PeerOutput::Close { link, status, reason } => {
                return Some(LinkCommand::Close { link, status, reason: reason.to_string() });
            }
            PeerOutput::SetPatience { link, silence } => return Some(LinkCommand::SetPatience { link, silence }),
            PeerOutput::Routes(routes) => return Some(LinkCommand::Routes(routes)),
            PeerOutput::PinNetwork(network) => self.inbox.pin(network),
            PeerOutput::KeepSupernodes(list) => self.inbox.keep_supernodes(list),
            PeerOutput::KeepStay(stay) => self.inbox.keep_stay(stay),
            PeerOutput::Save(record) => self.inbox.save(record),
            PeerOutput::Erase(name) => self.inbox.erase(name),
            PeerOutput::Done(outcome) => self.on_done(outcome),
            PeerOutput::LookedUp { name, answer } => {
                self.on_looked_up(&name, answer.as_ref().map_err(|status| *status))
            }
            PeerOutput::Listed { query, answer } => self.on_listed(query, answer),
            PeerOutput::LoggedIn => self.tell_what_to_type(),
            // The peer traces it with its reason; its connections have heard of the other already.
            PeerOutput::HomeLost { .. } | PeerOutput::Resolved { .. } | PeerOutput::PathNamed { .. } => {}
            PeerOutput::LoggedOut { .. } => self.on_logged_out(),
            PeerOutput::Event(event) => super::trace::trace(&event),
        }
        None
    }

    /// The disk has done what it was asked for, or could not
    pub(super) fn handle_outcome(&mut self, outcome: Outcome) {
        let now = self.clock.now();
        match outcome {
            Outcome::Kept { ticket, kept } => self.stack.handle_kept(now, ticket, kept),
            Outcome::Stored { sequence, id, is_stored } => self.handle_stored(now, sequence, &id, is_stored),
            Outcome::Ended { id } => self.handle_ended(&id),
            Outcome::Loaded { sequence, body } => self.stack.handle_loaded(now, sequence, body),
        }
    }
}
