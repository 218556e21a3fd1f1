//! Who waits before it asks a supernode again, as one has stood still.

use std::time::Duration;

use kith_common::session::membership::Standing;
use kith_common::time::Instant;

use crate::mesh::node::Node;
use crate::mesh::world::World;

/// How long a peer may wait until it asks a supernode again that took its connection and did not answer (docs/protocol.md, "A
/// session with a supernode"): supernodes that stand still are of that kind, and the wait is longer than a lease
const WAIT_MAX: Duration = Duration::from_secs(60);

/// When a supernode last stood still
#[derive(Debug, Default)]
pub(super) struct Patience {
    stood_still: Option<Instant>,
}

impl Patience {
    /// Looks at all supernodes
    pub(super) fn step(&mut self, world: &World) {
        if world.supernodes().any(|node| node.process.is_some() && !node.runs()) {
            self.stood_still = Some(world.now());
        }
    }

    /// Whether this peer may still wait as a supernode stood still, `spare` longer than it is to
    pub(super) fn excuses(&self, world: &World, node: &Node, spare: Duration) -> bool {
        self.stood_still.is_some_and(|at| world.now() - at < WAIT_MAX + spare) && is_waiting(world, node)
    }
}

/// Whether the peer on this machine waits until it asks a supernode again, or for the answer of one
fn is_waiting(world: &World, node: &Node) -> bool {
    match node.peer().map(|peer| peer.core().standing()) {
        Some(Standing::Searching { next_try: Some(at), .. }) => at > world.local(node.id),
        Some(Standing::Joining { .. }) => true,
        _ => false,
    }
}
