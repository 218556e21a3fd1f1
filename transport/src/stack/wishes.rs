//! What calls and connections want, carried out or passed on.

use kith_common::crypto::Signer;
use kith_common::id::{Address, Key};
use kith_common::mutant::{self, Mutant};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::content::Call;
use kith_common::wire::grant::Grant;
use kith_common::wire::{self, WireError};

use super::calls::Wish;
use super::evaluating::Caller;
use super::{Stack, StackOutput};
use crate::output::{ConnectionId, StreamId};
use crate::questions::{Kind, Question};
use crate::transport::Effect;

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    pub(super) fn on_wish(&mut self, now: Instant, wish: Wish) {
        match wish {
            Wish::Resolve { name, fresh } => self.peer.resolve(now, name, fresh),
            Wish::Ask { id, key, .. } if self.peer.removed().contains(&key) => self.calls.handle_removed(now, &id),
            Wish::Dial { key, .. } if self.peer.removed().contains(&key) => self.calls.handle_removed_key(now, &key),
            Wish::Ask { id, key, address, question, until } => {
                let transport = self.transport.as_mut();
                let asked = transport.map(|transport| transport.ask(now, (key, address), question, until));
                self.calls.handle_asked(now, id, key, asked.and_then(Result::ok));
            }
            Wish::Dial { key, address } => self.dial(now, key, address),
            Wish::Moved { key, address } => {
                if let Some(transport) = &mut self.transport {
                    transport.set_address(now, &key, address);
                }
            }
            Wish::Cancel { ticket } => {
                if let Some(transport) = &mut self.transport {
                    transport.cancel(now, ticket);
                }
            }
            Wish::Done(called) => self.outputs.push_back(StackOutput::Called(called)),
        }
    }

    fn dial(&mut self, now: Instant, key: Key, address: Address) {
        let Some(transport) = &mut self.transport else { return };
        if let Some(grant) = transport.grant_of(&key) {
            let name = grant.name.clone();
            return self.calls.handle_met(now, &key, &name);
        }
        if transport.dial(now, key, address).is_err() {
            self.calls.handle_ended(now, &key, &crate::End::Silent);
        }
    }

    pub(super) fn on_effect(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Transmit(datagram) => self.transmit(&datagram),
            Effect::Check { connection, grant } => {
                let Some(transport) = &mut self.transport else { return };
                if self.peer.removed().contains(&grant.key) {
                    return transport.refuse(now, connection, Status::NotAllowed.code());
                }
                let (key, name, session) = (grant.key, grant.name.clone(), grant.session);
                let confirms = self.peer.confirms(&grant);
                match self.checks.begin(now, connection, grant, confirms) {
                    None => {
                        transport.admit(now, connection, session);
                        self.calls.handle_met(now, &key, &name);
                    }
                    Some(name) => self.peer.resolve(now, name, true),
                }
            }
            Effect::Asked { connection, stream, from, question } => {
                self.on_asked(now, (connection, stream), from, &question);
            }
            Effect::Done { ticket, fate } => self.calls.handle_fate(now, ticket, fate),
            // Nobody says anything so far that may get lost.
            Effect::Said { connection } => {
                while self.transport.as_mut().and_then(|transport| transport.take_said(connection)).is_some() {}
            }
            Effect::Ended { connection, key, end } => {
                let with = self.checks.grant(connection).map(|grant| grant.name.to_string());
                tracing::debug!(event = "connection_ended", id = connection.0, with, reason = %end);
                self.checks.forget(connection);
                if let Some(key) = key {
                    self.calls.handle_ended(now, &key, &end);
                }
            }
        }
    }

    fn on_asked(&mut self, now: Instant, place: (ConnectionId, StreamId), from: Grant, question: &Question) {
        let (connection, stream) = place;
        // It may have been removed since it was let in, by what has come together with this.
        if self.peer.removed().contains(&from.key) && !mutant::is(Mutant::RemovedCallsEvaluated) {
            return self.close_removed(now);
        }
        let confirms = self.peer.confirms(&from);
        if let Some(name) = self.checks.renew(now, connection, confirms) {
            self.peer.resolve(now, name, true);
        }
        let call = match question.kind {
            Kind::Call => wire::decode::<Call>(&question.body),
            // Messages travel in packets of their own.
            Kind::Message => Err(WireError::Malformed),
        };
        match call.map(|call| (call, self.evaluating.begin(Caller::Other(connection, stream)))) {
            Ok((call, Some(ticket))) => {
                let from = Some(Box::new(from));
                self.outputs.push_back(StackOutput::Evaluate { ticket, from, call });
            }
            Ok((_, None)) => {
                self.answer(now, place, Status::SlowDown, b"too many calls wait at the receiver");
            }
            Err(_) => self.answer(now, place, Status::Malformed, b"that is no call"),
        }
    }
}
