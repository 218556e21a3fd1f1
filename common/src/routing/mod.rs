//! Forwarding: from a packet and a peer's own knowledge to the next hop.
//!
//! A peer knows its own table and its neighbours' tables, with one bit a link that says whether it is up. [`Routes`] is
//! an immutable snapshot of that; [`Routes::decide`] says what becomes of a packet, and [`RouteCache`] remembers by
//! destination what was worked out, until the next snapshot. [`forward`] carries decisions out.
//!
//! A decision goes, in this order:
//!
//! 1. the destination is a neighbour: there;
//! 2. the neighbour that has a link to the destination, or whose table comes nearest to the *ball* of the destination
//!    (the places a few maps away from it), never one that had the packet before;
//! 3. nobody is left: one hop back;
//! 4. nor is there a way back, or the hops are spent, or the destination is known to be down: undeliverable.
//!
//! A destination is *missed* by a peer whose link to it is down, and by one beside whose place on the ring it would be
//! if it were there. A packet goes to such peers first, as one of them may have lost its own link only; at the second
//! that misses it, it comes back, so that packets for the dead do not search the whole mesh.
//!
//! The packet's trailer is its memory (`wire::packet`): who had it, which of them are on the present way, and who was
//! found dead. So a packet never goes round, whatever each peer on its way believes.

mod ball;
mod cache;
mod decide;
pub mod forward;
pub mod neighbourhood;
mod routes;
mod trail;

pub use cache::{COLD_DECISIONS_PER_SECOND, DESTINATIONS_MAX, RouteCache};
pub use decide::Decision;
pub use routes::{NeighbourView, Routes};
pub use trail::DropReason;

#[cfg(test)]
mod tests;
