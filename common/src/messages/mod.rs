//! Every message has a fate.
//!
//! * [`outbox`] sends and sends again until it knows what became of a message: exactly one [`outbox::Fate`] each.
//! * [`names`] finds out where a name is: from the tables near by, from memory, from the supernode, from a flood.
//! * [`seen`] tells a message from its duplicate; what was kept once is receipted again and not kept twice.
//!
//! The out-box asks ([`outbox::Output::Resolve`]), the resolver answers ([`names::Output::Resolved`]); the shell carries
//! the one to the other, and both to the links.

pub mod names;
pub mod outbox;
pub mod seen;
