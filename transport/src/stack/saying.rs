//! What may get lost, said and heard on connections: an application's bytes, pings, and their pongs.

use std::time::Duration;

use bytes::Bytes;
use kith_common::crypto::Signer;
use kith_common::id::{Key, MessageId, Name};
use kith_common::mail::NotLoggedIn;
use kith_common::status::Status;
use kith_common::time::Instant;

use super::called::{Called, Why};
use super::pings::{NotPinged, Plan, SERIES_MAX, pongs};
use super::{Stack, StackOutput};
use crate::output::ConnectionId;
use crate::sayings::{APP_HEAD, NotSaid, Saying, app, parsed};

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// Makes a connection with somebody, if none stands, by a moment: [`StackOutput::Reached`] says with 200 that one does, else
    /// why not. It lasts as long as both ends want it, and [`IDLE`](crate::settings::IDLE) after the last thing that was heard.
    ///
    /// # Errors
    /// [`NotLoggedIn`]: nothing more is told of it.
    pub fn reach(&mut self, now: Instant, to: Name, until: Instant) -> Result<MessageId, NotLoggedIn> {
        let is_own = self.peer.own().ok_or(NotLoggedIn)?.name == to;
        let id = self.random_id();
        if is_own {
            let called = Called::at_once(id, to, Status::Malformed, Why::Own);
            self.outputs.push_back(StackOutput::Reached(called));
        } else {
            self.calls.reach(now, id, to, until);
            self.settle(now);
        }
        Ok(id)
    }

    /// Says something to somebody with whom a connection stands: it arrives at once or never, and later ones may arrive before it.
    /// Where more waits to be sent than [`DATAGRAMS_BYTES_MAX`](crate::settings::DATAGRAMS_BYTES_MAX), the oldest is dropped.
    ///
    /// # Errors
    /// [`NotSaid`]: nothing was said.
    pub fn say(&mut self, now: Instant, to: &Name, channel: u16, bytes: &[u8]) -> Result<(), NotSaid> {
        let transport = self.transport.as_mut().ok_or(NotSaid::NoConnection)?;
        let connection = transport.standing_at(to).ok_or(NotSaid::NoConnection)?;
        let said = transport.say(now, connection, app(channel, bytes));
        self.settle(now);
        said.map_err(|reason| match reason {
            NotSaid::TooLong { most } => NotSaid::TooLong { most: most.saturating_sub(APP_HEAD) },
            NotSaid::NoConnection => NotSaid::NoConnection,
        })
    }

    /// Begins a series of pings, of which [`StackOutput::Pinged`] tells under this id, its end last
    ///
    /// # Errors
    /// [`NotPinged`]: nothing more is told of it.
    pub fn ping(&mut self, now: Instant, to: Name, plan: Plan) -> Result<MessageId, NotPinged> {
        let is_own = self.peer.own().ok_or(NotPinged::NotLoggedIn)?.name == to;
        plan.check()?;
        if self.pings.len() >= SERIES_MAX {
            return Err(NotPinged::TooMany);
        }
        let id = self.random_id();
        self.pings.begin(now, id, to, plan, is_own);
        self.settle(now);
        Ok(id)
    }

    /// Ends a series of pings before its time; its end is told. Whether there was one.
    pub fn end_pings(&mut self, now: Instant, id: &MessageId) -> bool {
        let was_there = self.pings.contains(id);
        self.pings.end(id);
        self.settle(now);
        was_there
    }

    /// A connection is wanted for a series of pings, until it is given up
    pub(super) fn on_hold(&mut self, now: Instant, id: MessageId, to: Name, patience: Duration) {
        if self.peer.own().is_some() {
            return self.calls.hold(now, id, to, patience);
        }
        self.pings.handle_not_held(now, &Called::at_once(id, to, Status::NotLoggedIn, Why::LoggedOut));
    }

    /// A ping is due; where it cannot leave it is lost as others are
    pub(super) fn on_say(&mut self, now: Instant, key: &Key, bytes: Bytes) {
        let Some(transport) = &mut self.transport else { return };
        let said = match transport.standing_with(key) {
            Some(connection) => transport.say(now, connection, bytes),
            None => Err(NotSaid::NoConnection),
        };
        if let Err(reason) = said {
            tracing::debug!(event = "ping_lost", %reason);
        }
    }

    /// Hears what was said on a connection
    pub(super) fn on_said(&mut self, now: Instant, connection: ConnectionId) {
        let mut ignored = 0_u64;
        loop {
            let Some(transport) = &mut self.transport else { return };
            let Some(said) = transport.take_said(connection) else { break };
            let Some(from) = transport.grant_on(connection) else { return };
            // It may have been removed since it was let in, by what has come together with this.
            if self.peer.removed().contains(&from.key) {
                return self.close_removed(now);
            }
            if self.trust.is_another(&from.name, &from.key) {
                return self.refuse_another(now, connection);
            }
            let key = from.key;
            match parsed(&said) {
                Some(Saying::Ping { pong }) => {
                    // As many as pings, and as long: where they find no room the oldest are dropped, and nobody else's.
                    pongs(pong).for_each(|pong| _ = transport.say(now, connection, pong));
                }
                Some(Saying::Pong { number }) => match self.pings.handle_pong(now, &key, number, said.len()) {
                    Some(series) => self.calls.handle_heard(&series),
                    None => ignored += 1,
                },
                Some(Saying::App { channel, bytes }) => {
                    let confirms = self.peer.confirms(from);
                    self.outputs.push_back(StackOutput::Said { from: from.name.clone(), channel, bytes });
                    self.renew(now, connection, confirms);
                }
                None => ignored += 1,
            }
        }
        if ignored > 0 {
            let from = self.checks.grant(connection).map(|grant| grant.name.to_string());
            tracing::debug!(event = "sayings_ignored", from, ignored, reason = "neither understood nor waited for");
        }
    }

    /// Whoever says or asks something is held against the directory, where its last answer is too old
    pub(super) fn renew(&mut self, now: Instant, connection: ConnectionId, confirms: bool) {
        if let Some(name) = self.checks.renew(now, connection, confirms) {
            self.peer.resolve(now, name, true);
        }
        self.note_sure(connection, confirms);
    }
}
