//! What mail is lent, and by which way things come to it.

use crate::removed::RemovedKeys;
use crate::routing::neighbourhood::Neighbourhood;

/// What a peer lends its mail with an input that may need it
#[derive(Debug)]
pub struct Lent<'a, S> {
    /// Signs what leaves, and verifies what comes
    pub signer: &'a S,
    /// Knows the names of those near by, and whom a reply can be handed to
    pub neighbourhood: &'a Neighbourhood,
    /// Whose grants are good no more
    pub removed: &'a RemovedKeys,
}

/// How a packet came
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A neighbour forwarded it
    Mesh,
    /// The supernode relayed it
    Home,
    /// This peer sent it to itself
    Own,
}
