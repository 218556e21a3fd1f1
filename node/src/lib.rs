//! The peer: a library around the cores, and the kith command.

pub mod clock;
pub mod identity;
pub mod link;
pub mod location;
