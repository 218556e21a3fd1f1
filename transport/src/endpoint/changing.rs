//! Another way for a connection, and what goes by it at once.

use kith_common::mutant::{self, Mutant};
use kith_common::time::Instant;

use super::{Endpoint, avoided};
use crate::output::{ConnectionId, Output};
use crate::way::Cause;

impl Endpoint {
    /// Another way, by which what is owed goes at once: its acknowledgement shows QUIC what else is lost
    pub(super) fn change_way(&mut self, now: Instant, id: ConnectionId, cause: Cause) {
        if self.present(id).is_err() {
            return self.drive(now, id);
        }
        let label = self.new_label(id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        self.by_label.remove(&connection.way.label());
        let left = connection.way.change(now, label);
        // What anybody may say of a way is not to the debit of who has carried it.
        match (cause, left) {
            (Cause::Silent, Some(hop)) => self.hops.handle_silent(now, hop),
            (Cause::Lossy, Some(hop)) => self.hops.handle_lossy(now, hop),
            _ => {}
        }
        connection.ways += 1;
        let changes = connection.way.changes();
        tracing::debug!(event = "way_changed", id = id.0, changes, ?left, reason = cause.text());
        self.outputs.push_back(Output::WayChanged { connection: id, changes });
        let is_half_open = connection.is_half_open();
        // A stranger's address may be somebody else's: that gets no more than QUIC allows, unless a supernode vouches for it.
        if !is_half_open || connection.is_heard_by_relay {
            // What has come is not acknowledged twice: something new shows whether it has. Who follows another may owe nothing.
            let is_owed = cause != Cause::Followed || !connection.owed.is_empty();
            if !is_half_open && is_owed {
                connection.quic.ping();
                connection.acked.probe(true);
            }
            self.send_again(now, id);
        }
        self.drive(now, id);
    }

    /// What is owed goes by the present way
    pub(super) fn send_again(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let avoid = avoided(&self.hops, now, &connection.way);
        if mutant::is(Mutant::OwedNotSentAgain) {
            return;
        }
        let most = if connection.is_half_open() { usize::from(connection.again_left) } else { usize::MAX };
        let again = connection.owed.iter().rev().take(most);
        let again: Vec<Output> =
            again.map(|(_, bytes)| connection.send(now, id, avoid.clone(), bytes.clone())).collect();
        connection.again_left = connection.again_left.saturating_sub(again.len().try_into().unwrap_or(u8::MAX));
        self.outputs.extend(again);
    }
}
