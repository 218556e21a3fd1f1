//! Who goes where there would be more connections than there may be.

use kith_common::time::Instant;

use super::{CODE_ROOM, Endpoint, HALF_OPEN_MAX};
use crate::settings::CONNECTIONS_MAX;

impl Endpoint {
    /// As many as there may be: the one goes that was heard longest ago, those without a proved key first
    pub(super) fn make_room(&mut self, now: Instant) {
        if self.len() < CONNECTIONS_MAX {
            return;
        }
        let present = self.connections.iter().filter(|(_, connection)| !connection.is_ended);
        let idlest = present.min_by_key(|(_, connection)| (connection.standing(), connection.heard));
        if let Some(id) = idlest.map(|(id, _)| *id) {
            tracing::info!(
                event = "connection_makes_room",
                id = id.0,
                max = CONNECTIONS_MAX,
                reason = "it was heard longest ago"
            );
            self.close(now, id, CODE_ROOM);
        }
    }

    /// Strangers that have proved nothing: the oldest goes, of whom nobody was told first, as a ticket is a key's proof until it is
    /// spent
    pub(super) fn bound_half_open(&mut self, now: Instant) {
        let half_open =
            self.connections.iter().filter(|(_, connection)| connection.is_half_open() && !connection.is_ended);
        let first = half_open.clone().min_by_key(|(id, connection)| (connection.is_told, **id)).map(|(id, _)| *id);
        if half_open.count() >= HALF_OPEN_MAX
            && let Some(first) = first
        {
            self.close(now, first, CODE_ROOM);
        }
    }
}
