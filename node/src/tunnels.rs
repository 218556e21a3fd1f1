//! Tunnels: what leaves the mesh at a peer, and what enters it there, as pipes.
//!
//! A program connects to an *entrance* of one peer: a port, a socket of the file system, or a SOCKS port. A task takes it
//! ([`serve`]), the driver opens a pipe for it, and at the other peer, where a rule exposes the destination to the first
//! one ([`Exposed`]), a connection is made ([`dial`]) that the pipe is joined with. Datagrams pass in frames ([`datagrams`]).

mod datagrams;
mod destination;
mod dial;
mod entrance;
mod exposed;
mod serve;
mod socks;
mod stream;

pub(crate) use self::destination::Destination;
pub(crate) use self::dial::dial;
pub(crate) use self::entrance::{Entrance, Forwarded};
pub(crate) use self::exposed::Exposed;
pub(crate) use self::serve::{Leads, hold, serve};

/// Tunnels of a peer: some for each machine of a large network; a table of them is no longer than an answer may be
pub(crate) const TUNNELS_MAX: usize = 512;

/// Tunnels that the configuration has, which come back with each start
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) forwarded: Vec<Forwarded>,
    /// Ports all of them
    pub(crate) socks: Vec<Entrance>,
    pub(crate) exposed: Vec<Exposed>,
}
