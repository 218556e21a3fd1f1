//! End-to-end connections between two peers: QUIC, whose datagrams are the overlay's packets.
//!
//! Forwarders can neither read nor forge what passes; loss, reordering and congestion are QUIC's business (quinn-proto). What
//! is decided here is whom a connection is with (`identity`: both ends prove their own keys; `introductions`: and show their
//! grants), by which way its packets go
//! (`way`: another one when nothing comes back; `hops`: who has not carried anything), and how many connections there are.
//!
//! As every core it waits for nothing: time, chance and packets come in as arguments.
//!
//! ```text
//! handle_datagram ─► ┌───────────┐ ─► Effect::Transmit, into a packet (`packets`)
//! handle_timeout  ─► │ Transport │ ─► Effect::Check, of the directory
//! ask, answer …   ─► └───────────┘ ─► Effect::Asked, Done, Said, Ended
//! ```
//!
//! It is made of these, each of which knows only those before it:
//!
//! ```text
//! Endpoint (connections and their streams) ◄── Introductions (grants) ◄── Exchanges (questions and answers) ◄── Transport
//! ```
//!
//! [`stack`] puts it together with a [`Peer`](kith_common::peer::Peer), which knows where names are and has a way to them.

mod acked;
mod answering;
mod asking;
mod clock;
mod connection;
mod draws;
mod endpoint;
mod events;
mod exchanges;
mod hops;
mod identity;
mod introductions;
mod output;
mod packets;
mod pipes;
mod questions;
mod sayings;
#[cfg(any(test, feature = "seeded"))]
pub mod seeded;
pub mod settings;
pub mod stack;
mod strangers;
mod streams;
#[cfg(test)]
mod tests;
mod transport;
mod way;
mod writing;

pub use rustls::crypto::CryptoProvider;

pub use endpoint::{CODE_ROOM, Endpoint, EndpointParts, HALF_OPEN_MAX, Look};
pub use exchanges::{Exchanges, Heard};
pub use identity::IdentityError;
pub use introductions::{CODE_NOT_ALLOWED, CODE_NOT_SHOWN, HANDSHAKE_WAIT, INTRODUCTION_WAIT, Introductions, Told};
pub use output::{Arrival, ConnectionId, Datagram, Direction, End, Output, StreamId};
pub use packets::{datagram_of, label_of};
pub use pipes::{PipeId, PipeNews};
pub use questions::{CALL_BYTES_MAX, Fate, Full, HELD_BYTES_MAX, Kind, MESSAGE_BYTES_MAX, Question, WAITING_MAX};
pub use sayings::{NotSaid, PING_BYTES_MAX, PING_BYTES_MIN};
pub use settings::CONNECTIONS_MAX;
pub use stack::{Called, Stack, StackOutput};
pub use streams::{Gone, Read, StreamError};
pub use transport::{Effect, Transport};

/// What agrees on keys and seals packets in a product: *ring*, which draws from the system
pub fn provider() -> std::sync::Arc<CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}
