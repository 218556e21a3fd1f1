//! How connections are, for people who look.

use std::time::Duration;

use kith_common::id::{Address, Key};
use kith_common::time::Instant;

use super::Endpoint;
use crate::output::ConnectionId;

/// How a connection is
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub connection: ConnectionId,
    /// The other end's, if it is proved or was dialled
    pub key: Option<Key>,
    /// Whether the other end has dialled
    pub is_theirs: bool,
    /// Whether both ends have proved their keys in a handshake
    pub is_connected: bool,
    pub begun: Instant,
    /// When something came last
    pub heard: Instant,
    /// There and back, once it is connected
    pub round_trip: Option<Duration>,
    /// Bytes of datagrams, with what was sent again
    pub sent: u64,
    pub received: u64,
    /// Packets that were sent and found to be lost
    pub lost: u64,
    /// Who has carried what was sent last
    pub first_hop: Option<Address>,
    /// Whether a supernode relays copies of what is sent
    pub is_relayed: bool,
    /// Ways that were left for others
    pub ways: u64,
}

impl Endpoint {
    /// All connections that are not over, from the oldest on
    pub fn look(&self, now: Instant) -> impl Iterator<Item = Look> {
        let present = self.connections.iter().filter(|(_, connection)| !connection.is_ended);
        present.map(move |(id, connection)| {
            let stats = connection.quic.stats();
            Look {
                connection: *id,
                key: connection.key,
                is_theirs: connection.is_theirs(),
                is_connected: connection.is_connected,
                begun: connection.begun,
                heard: connection.heard,
                round_trip: connection.is_connected.then(|| connection.quic.rtt()),
                sent: stats.udp_tx.bytes,
                received: stats.udp_rx.bytes,
                lost: stats.path.lost_packets,
                first_hop: connection.way.first_hop(),
                is_relayed: connection.way.is_relayed(now),
                ways: connection.ways,
            }
        })
    }
}
