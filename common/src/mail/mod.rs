//! Every message has a fate.
//!
//! * [`outbox`] sends and sends again until it knows what became of a message: exactly one [`outbox::Fate`] each.
//! * [`seen`] tells a message from its duplicate; what was kept once is receipted again and not kept twice.
//!
//! The out-box asks where names are ([`outbox::Output::Resolve`]); whoever drives it carries the question to
//! [`names`](crate::names) and the answer back.

pub mod outbox;
pub mod seen;
