//! What is answered of links.

use std::fmt;

use kith_common::id::Name;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighboursAnswer {
    /// The epoch of the newest table
    pub epoch: u64,
    /// Sorted by address
    pub neighbours: Vec<Neighbour>,
}

/// A link that is there, or is wanted
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    pub name: Name,
    /// Its place on the ring
    pub address: String,
    /// Its key as libp2p writes it
    pub peer_id: String,
    /// Whether it is up
    pub state: LinkState,
    /// Why it is not up, or is held back though it is
    pub reason: Option<String>,
    /// Smoothed round-trip time, once measured
    pub rtt_us: Option<u64>,
    pub direction: Option<Direction>,
    /// Where the other side is
    pub location: Option<String>,
    /// How long it has been in this state
    pub since_s: u64,
    /// Received over this link
    pub bytes_in: u64,
    /// Sent over this link
    pub bytes_out: u64,
}

/// How a link is
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It carries packets
    Up,
    /// It is being opened
    Dialling,
    /// It broke or could not be opened; it is tried again
    Down,
    /// It is in no table any more and closes when the new ones are up
    Leaving,
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Dialling => "dialling",
            Self::Down => "down",
            Self::Leaving => "leaving",
        })
    }
}

/// Who opened a link
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Outgoing,
    Incoming,
}
