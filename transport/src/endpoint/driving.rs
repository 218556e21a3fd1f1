//! What QUIC wants sent, and what it has to tell.

use kith_common::mutant::{self, Mutant};
use kith_common::time::Instant;
use quinn_proto::Event;

use super::{Endpoint, avoided};
use crate::connection::Connection;
use crate::events::tell;
use crate::output::ConnectionId;

impl Endpoint {
    /// Tells what QUIC has to tell after an input; what it wants sent waits for [`Self::flush`]
    pub(crate) fn drive(&mut self, now: Instant, id: ConnectionId) {
        self.hear(now, id);
        self.unsent.insert(id);
    }

    /// Sends what QUIC wants sent since it was done last; whether anything may have come of it
    ///
    /// It is done when all that came together was taken in and answered: so what was written meanwhile, its acknowledgements and
    /// its ends share packets. Half of all packets went by themselves before.
    pub fn flush(&mut self, now: Instant) -> bool {
        let unsent = std::mem::take(&mut self.unsent);
        unsent.iter().for_each(|id| self.transmit(now, *id));
        !unsent.is_empty()
    }

    /// Sends what QUIC wants sent on one connection
    pub(crate) fn transmit(&mut self, now: Instant, id: ConnectionId) {
        let at = self.origin.quic(now);
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let avoid = avoided(&self.hops, now, &connection.way);
            let mut owed = connection.owed();
            let mut bytes = Vec::new();
            while connection.quic.poll_transmit(at, 1, &mut bytes).is_some() {
                connection.acked.probe(false);
                let bytes = std::mem::take(&mut bytes);
                let by_now = connection.owed();
                if by_now > owed {
                    owed = by_now;
                    connection.handle_sent(now, &bytes);
                }
                self.outputs.push_back(connection.send(now, id, avoid.clone(), bytes));
            }
            connection.acked.probe(false);
            if !self.hear(now, id) {
                break;
            }
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.next_timeout(self.origin) {
            Some(at) if self.due.moment(&id) == Some(at) => {}
            Some(at) => self.due.set(at, id),
            None => self.due.stop(&id),
        }
    }

    /// Tells what QUIC has to tell; whether its endpoint had an answer for it, by which there may be more to send
    fn hear(&mut self, now: Instant, id: ConnectionId) -> bool {
        let mut id = id;
        while let Some(event) = self.connections.get_mut(&id).and_then(|connection| connection.quic.poll()) {
            let is_connected = matches!(event, Event::Connected);
            let is_refused = is_connected && self.connections.get(&id).is_some_and(Connection::is_early_refused);
            if is_refused && !mutant::is(Mutant::EarlyRefusalUntold) {
                id = self.renew(id);
            }
            let Some(connection) = self.connections.get_mut(&id) else { return false };
            let end = tell(now, id, connection, event, &mut self.outputs);
            if let Some(end) = end.filter(|_| !connection.is_ended) {
                self.ended += 1;
                self.outputs.extend(connection.end(id, end));
            }
        }
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let mut is_answered = false;
        while let Some(event) = connection.quic.poll_endpoint_events() {
            let (handle, is_drained) = (connection.handle, event.is_drained());
            let answer = self.quic.handle_event(handle, event);
            if is_drained {
                self.forget(id);
                return false;
            }
            if let Some(answer) = answer {
                connection.quic.handle_event(answer);
                is_answered = true;
            }
        }
        is_answered
    }
}
