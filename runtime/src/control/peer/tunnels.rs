//! What is answered of tunnels.

use kith_common::id::Name;
use serde::{Deserialize, Serialize};

/// Pipes that one [`TunnelsAnswer`] shows at most: its line is no longer than 256 KiB
pub const TUNNEL_PIPES_MAX: usize = 512;

/// The line before the last of `forward`, `socks` and `expose`: it stands until the asker hangs up
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelLine {
    pub tunnel: u64,
    /// Where programs come to, with the port that the system has chosen if it was to
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// Ends `forward`, `socks` and `expose`, where the daemon ends
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelAnswer {
    pub tunnel: u64,
}

/// Answers `tunnels`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelsAnswer {
    /// In the order in which they were asked for, those of the configuration first
    pub tunnels: Vec<Tunnel>,
    /// What is open, the first [`TUNNEL_PIPES_MAX`]
    pub pipes: Vec<OpenPipe>,
    /// How many are open
    pub open: u64,
}

/// An entrance, or what is exposed
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    pub tunnel: u64,
    #[serde(flatten)]
    pub leads: TunnelLeads,
    /// Whether it is in the configuration, and comes back after a restart
    pub kept: bool,
    /// Where it stands
    pub state: TunnelState,
    /// Why it does not listen, or why its last pipe could not be opened
    pub reason: Option<String>,
    /// Pipes that are open
    pub open: u64,
    /// Pipes that were opened since the daemon has started
    pub opened: u64,
    /// Pipes that could not be opened
    pub failed: u64,
    /// Bytes that programs of this machine have written into its pipes
    pub sent: u64,
    /// Bytes that they were given
    pub received: u64,
}

/// Where a tunnel leads
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TunnelLeads {
    /// From a port or a socket here to a destination at a peer
    Forward { at: String, name: Name, destination: String },
    /// From a port here to whatever peer's port is asked for
    Socks { at: String },
    /// From the mesh to destinations here, as a rule says
    Expose { rule: String },
}

/// Where a tunnel stands
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelState {
    /// It is about to listen
    Starting,
    /// It takes programs, or peers, in
    Open,
    /// It cannot listen, and goes on trying
    Troubled,
}

/// A pipe that is open
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPipe {
    pub pipe: u64,
    /// The tunnel by which it has come, if it has
    pub tunnel: Option<u64>,
    /// Whose the other end is
    pub with: Name,
    /// Its channel, or where it leads
    pub channel: String,
    pub sent: u64,
    pub received: u64,
}
