//! What is answered of connections.

use kith_common::id::Name;
use serde::{Deserialize, Serialize};

/// Answers `connections`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsAnswer {
    /// From the oldest on; two ends may have two, of which they use one
    pub connections: Vec<Connection>,
}

/// A connection with another peer, from end to end
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Whom the other end's grant names; none: it is not known yet
    pub name: Option<Name>,
    /// Its key, as libp2p writes it; none: it is not proved yet
    pub peer_id: Option<String>,
    /// Who has dialled
    pub direction: super::Direction,
    /// Whether the handshake is done
    pub connected: bool,
    pub since_s: u64,
    /// For how long nothing has come
    pub silent_s: u64,
    pub rtt_us: Option<u64>,
    /// Bytes of datagrams, with what was sent again
    pub bytes_out: u64,
    pub bytes_in: u64,
    /// Packets that were found to be lost
    pub lost: u64,
    /// The neighbour that has carried what was sent last; its name, or the upper half of its address
    pub first_hop: Option<String>,
    /// Whether a supernode relays copies of what is sent
    pub relayed: bool,
    /// How often it has changed its way
    pub ways: u64,
}
