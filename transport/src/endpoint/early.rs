//! What is said before the handshake is done (0-RTT), to somebody with whom there was a connection before.
//!
//! A ticket of that connection seals it, and names both keys. A listener keeps its tickets in memory and takes each once, so that
//! what a forwarder plays again is not heard a second time. One that has started anew knows none of them; nor does one take a ticket
//! that many newer ones have pushed out, that a forwarder has spent with a copy of the first packet, or whose age by the two clocks
//! differs by more than a minute. Then the connection goes on without it, and for its users it is another one: they say it again,
//! under the same ids, as what has spent the ticket may have been the first packet itself, just before the listener ended.

use kith_common::id::Key;

use super::Endpoint;
use crate::output::{ConnectionId, End, Output};

impl Endpoint {
    /// A connection is being made, and there is a ticket: whoever uses it need not wait
    pub(super) fn begin_early(&mut self, id: ConnectionId, key: Key) {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.is_early()) else { return };
        connection.is_told = true;
        self.outputs.push_back(Output::Connected { connection: id, key, is_theirs: false, is_early: true });
    }

    /// Whether the handshake is still under way: what is said by then may be said again by somebody else, or not be heard
    pub(crate) fn is_early(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.is_early())
    }

    /// The other end has not taken the ticket, and QUIC has dropped what was said early: under which number the connection goes on,
    /// which is to be told of
    pub(super) fn renew(&mut self, id: ConnectionId) -> ConnectionId {
        let Some(mut connection) = self.connections.remove(&id) else { return id };
        self.due.stop(&id);
        self.outputs.push_back(Output::Ended { connection: id, end: End::Forgotten });
        self.last_id += 1;
        let new = ConnectionId(self.last_id);
        tracing::debug!(
            event = "early_refused",
            id = id.0,
            goes_on_as = new.0,
            reason = "the other end has not taken the ticket: it may have started anew"
        );
        self.by_handle.insert(connection.handle, new);
        self.by_label.insert(connection.way.label(), new);
        connection.is_told = false;
        connection.owed.clear();
        // Its other tickets are of no more use.
        connection.key.iter().for_each(|key| self.identity.forget_tickets(key));
        self.connections.insert(new, connection);
        self.unsent.insert(new);
        new
    }
}
