//! What calls, messages, pings and connections want, carried out or passed on.

use std::time::Duration;

use bytes::Bytes;
use kith_common::crypto::Signer;
use kith_common::id::{Address, Key, MessageId, Name};
use kith_common::mutant::{self, Mutant};
use kith_common::names::Answer;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::grant::Grant;

use super::called::Called;
use super::messages::{MessageFate, Trouble};
use super::pings::Pinged;
use super::{Outgoing, Stack, StackOutput};
use crate::output::{ConnectionId, StreamId};
use crate::questions::{Fate, Kind, Question};
use crate::transport::Effect;

/// What calls, messages and pings want, in this order
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Ask for the name; answered by `handle_resolved`
    Resolve { name: Name, fresh: bool },
    /// Ask the holder of this key; answered at once by `handle_asked`
    Ask { id: MessageId, key: Key, address: Address, question: Question, until: Instant },
    /// Make a connection, on which a grant will be shown
    Dial { key: Key, address: Address },
    /// The directory says that the holder of the key is there
    Moved { key: Key, address: Address },
    /// A question is given up
    Cancel { ticket: u64 },
    /// The directory says that the holder of the key has no session any more: there is nobody at the other end
    Close { key: Key },
    /// The end of a call
    Done(Called),
    /// A connection that was wanted once stands, or why not
    Reached(Called),
    /// Hold a connection, until `Release`; answered by `Met`, and by `NotHeld` if it cannot be
    Hold { id: MessageId, to: Name, patience: Duration },
    /// A connection is held no more
    Release { id: MessageId },
    /// The connection that is held stands, with the holder of this key
    Met { id: MessageId, key: Key },
    /// Whoever has answered to this name holds this key
    Relied { name: Name, key: Key },
    /// None can be held, or not any more
    NotHeld(Called),
    /// Say something that may get lost to the holder of this key
    Say { key: Key, bytes: Bytes },
    /// What has become of a series of pings
    Pinged(Pinged),
    /// Put a message on the disk; answered by `handle_stored`
    Store(Outgoing),
    /// Read it from there; answered by `handle_loaded`
    Load { sequence: u64 },
    /// Messages for somebody are not there yet, for this reason
    Delayed { to: Name, trouble: Trouble },
    /// The end of a message, which is stored under this sequence if it is
    Ended { fate: MessageFate, stored: Option<u64> },
}

/// Where a connection with the holder of a name leads from now on, if a supernode says so
pub(super) fn moved(answer: &Answer) -> Option<Wish> {
    let key = answer.key().filter(|_| answer.is_sure())?;
    Some(Wish::Moved { key, address: answer.address })
}

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    pub(super) fn on_wish(&mut self, now: Instant, wish: Wish) {
        match wish {
            Wish::Resolve { name, fresh } => self.on_resolve(now, name, fresh),
            Wish::Ask { id, key, question, .. } if key == self.peer.key() => match question.kind {
                Kind::Call => self.call_own(now, id, &question.body),
                Kind::Pipe => self.calls.handle_itself(now, &id),
                Kind::Message => {
                    let ticket = self.keep_own(question);
                    self.messages.handle_asked(now, &id, ticket);
                    ticket.into_iter().for_each(|ticket| self.messages.handle_left(ticket));
                }
            },
            Wish::Ask { id, key, question, .. } if self.peer.removed().contains(&key) => match question.kind {
                Kind::Call | Kind::Pipe => self.calls.handle_removed(now, &id),
                Kind::Message => self.messages.handle_removed(now, &id),
            },
            Wish::Dial { key, .. } if self.peer.removed().contains(&key) => {
                self.calls.handle_removed_key(now, &key);
                self.messages.handle_removed_key(now, &key);
            }
            Wish::Ask { id, key, address, question, until } => {
                let (transport, kind) = (self.transport.as_mut(), question.kind);
                let asked = transport.map(|transport| transport.ask(now, (key, address), question, until));
                let ticket = asked.and_then(Result::ok);
                match kind {
                    Kind::Call | Kind::Pipe => self.calls.handle_asked(now, id, key, ticket),
                    Kind::Message => self.messages.handle_asked(now, &id, ticket),
                }
            }
            Wish::Dial { key, address } => self.dial(now, key, address),
            Wish::Moved { key, address } => {
                if let Some(transport) = &mut self.transport {
                    transport.set_address(now, &key, address);
                }
            }
            Wish::Close { key } => {
                if let Some(transport) = &mut self.transport {
                    transport.close(now, &key, Status::Gone.code().into());
                }
            }
            Wish::Cancel { ticket } => {
                if let Some(transport) = &mut self.transport {
                    transport.cancel(now, ticket);
                }
            }
            Wish::Done(called) => self.outputs.push_back(StackOutput::Called(called)),
            Wish::Reached(called) => self.outputs.push_back(StackOutput::Reached(called)),
            Wish::Hold { id, to, patience } => self.on_hold(now, id, to, patience),
            Wish::Release { id } => self.calls.cancel(&id),
            Wish::Met { id, key } => self.pings.handle_met(now, &id, key),
            Wish::Relied { name, key } => self.rely(now, name, key),
            Wish::NotHeld(called) => self.pings.handle_not_held(now, &called),
            Wish::Say { key, bytes } => self.on_say(now, &key, bytes),
            Wish::Pinged(pinged) => self.outputs.push_back(StackOutput::Pinged(pinged)),
            Wish::Store(outgoing) => self.outputs.push_back(StackOutput::Store(outgoing)),
            Wish::Load { sequence } => self.outputs.push_back(StackOutput::Load { sequence }),
            Wish::Delayed { to, trouble } => self.outputs.push_back(StackOutput::Delayed { to, trouble }),
            Wish::Ended { fate, stored } => self.tell_ended(fate, stored),
        }
    }

    /// Where this peer itself is nobody else need be asked
    fn on_resolve(&mut self, now: Instant, name: Name, fresh: bool) {
        let Some(own) = self.peer.own().filter(|own| own.name == name) else {
            return self.peer.resolve(now, name, fresh);
        };
        let place = (self.peer.key(), own.address);
        self.calls.handle_own(now, &name, place);
        self.messages.handle_own(now, &name, place);
    }

    fn dial(&mut self, now: Instant, key: Key, address: Address) {
        let Some(transport) = &mut self.transport else { return };
        if let Some(grant) = transport.grant_of(&key) {
            let name = grant.name.clone();
            return self.handle_met(now, &key, &name);
        }
        if transport.dial(now, key, address).is_err() {
            self.calls.handle_ended(now, &key, &crate::End::Silent);
            self.messages.handle_ended(now, &key, &crate::End::Silent);
        }
    }

    /// Whoever holds this key has shown that it has this name
    pub(super) fn handle_met(&mut self, now: Instant, key: &Key, name: &Name) {
        self.calls.handle_met(now, key, name);
        self.messages.handle_met(now, key, name);
    }

    pub(super) fn on_effect(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Transmit(datagram) => self.transmit(&datagram),
            Effect::Check { connection, grant } => {
                let Some(transport) = &mut self.transport else { return };
                if self.peer.removed().contains(&grant.key) {
                    return transport.refuse(now, connection, Status::NotAllowed.code());
                }
                if self.trust.is_another(&grant.name, &grant.key) {
                    // Whether it has the name by now is the directory's to say, and then the user is told.
                    self.peer.resolve(now, grant.name.clone(), true);
                    return self.refuse_another(now, connection);
                }
                let (key, name, session) = (grant.key, grant.name.clone(), grant.session);
                let confirms = self.peer.confirms(&grant);
                let begun = self.checks.begin(now, connection, grant, confirms);
                self.note_sure(connection, confirms);
                let Some(transport) = &mut self.transport else { return };
                match begun {
                    None => {
                        transport.admit(now, connection, session);
                        self.keep_checked(now, connection);
                        self.handle_checked(now, connection, &key, &name);
                        self.handle_met(now, &key, &name);
                    }
                    Some(name) => self.peer.resolve(now, name, true),
                }
            }
            Effect::Asked { connection, stream, from, question } => {
                self.on_asked(now, (connection, stream), from, question);
            }
            Effect::Left { ticket } => self.messages.handle_left(ticket),
            Effect::Done { ticket, fate } => match self.calls.handle_fate(now, ticket, fate) {
                None => {}
                // It was given up while it was opened.
                Some(Fate::Opened(pipe)) => self.drop_pipe(now, pipe, Status::TimedOut),
                Some(fate) => self.messages.handle_fate(now, ticket, fate),
            },
            Effect::Said { connection } => self.on_said(now, connection),
            Effect::Pipe { pipe, news } => self.outputs.push_back(StackOutput::Pipe { pipe, news }),
            Effect::Ended { connection, key, end } => {
                self.piping.forget(connection);
                let with = self.checks.grant(connection).map(|grant| grant.name.to_string());
                tracing::debug!(event = "connection_ended", id = connection.0, with, reason = %end);
                self.checks.forget(connection);
                self.ways.remove(&connection);
                self.drop_unchecked(connection);
                if let Some(key) = key {
                    self.seeking.forget(&key);
                    self.trust.forget(&key);
                    self.calls.handle_ended(now, &key, &end);
                    self.messages.handle_ended(now, &key, &end);
                }
            }
        }
    }

    fn on_asked(&mut self, now: Instant, place: (ConnectionId, StreamId), from: Grant, question: Question) {
        let connection = place.0;
        // It may have been removed since it was let in, by what has come together with this.
        if self.peer.removed().contains(&from.key) && !mutant::is(Mutant::RemovedCallsEvaluated) {
            return self.close_removed(now);
        }
        if self.trust.is_another(&from.name, &from.key) {
            return self.refuse_another(now, connection);
        }
        let confirms = self.peer.confirms(&from);
        self.renew(now, connection, confirms);
        match question.kind {
            Kind::Call => self.on_call(now, place, from, &question),
            Kind::Pipe => self.on_pipe_asked(now, place, from, &question.body),
            // What is kept stays, so that its sender's name is looked at before.
            Kind::Message => {
                let is_unchecked = self.checks.is_asked(connection);
                self.on_message(now, place, from, question, is_unchecked);
            }
        }
    }
}
