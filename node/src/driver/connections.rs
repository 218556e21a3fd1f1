//! Connections, for people who look.

use kith_common::id::Address;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_runtime::cli::short;
use kith_runtime::control;
use kith_runtime::control::peer::{Connection, ConnectionsAnswer, Direction};
use kith_runtime::control::server::Reply;
use kith_runtime::identity::peer_id_of;
use kith_transport::Look;

use super::Driver;

impl Driver {
    pub(super) fn tell_connections(&self, now: Instant, reply: Reply) {
        let told = |(look, name): (Look, Option<_>)| Connection {
            name,
            peer_id: look.key.and_then(|key| peer_id_of(&key)).map(|id| id.to_string()),
            direction: if look.is_theirs { Direction::Incoming } else { Direction::Outgoing },
            connected: look.is_connected,
            since_s: (now - look.begun).as_secs(),
            silent_s: (now - look.heard).as_secs(),
            rtt_us: look.round_trip.map(|time| time.as_micros() as u64),
            bytes_out: look.sent,
            bytes_in: look.received,
            lost: look.lost,
            first_hop: look.first_hop.map(|hop| self.neighbour_at(hop)),
            relayed: look.is_relayed,
            ways: look.ways,
        };
        let connections = self.stack.look(now).map(told).collect();
        reply.finish(Status::Delivered, &ConnectionsAnswer { connections });
    }

    /// A neighbour's name, or the upper half of its address
    fn neighbour_at(&self, address: Address) -> String {
        let neighbours = self.stack.peer().neighbourhood().neighbours();
        let known = neighbours.into_iter().find(|neighbour| neighbour.address == address);
        known.map_or_else(|| short(&control::address(address)).to_owned(), |neighbour| neighbour.name.to_string())
    }
}
