//! What an out-box wants, and what it knows of others.

use super::Fate;
use crate::id::{Address, Key, MessageId, Name};

/// What the out-box wants of the mail around it
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mail) enum OutboxOutput {
    /// Find out where `name` is; answer with [`Outbox::handle_resolved`](super::Outbox::handle_resolved)
    Resolve {
        name: Name,
        /// Whether an answer from memory will not do, because one has just failed
        fresh: bool,
    },
    /// Put [`Outbox::message`](super::Outbox::message) into a packet of its own and hand it to a neighbour
    Transmit {
        id: MessageId,
        /// Counts up from 1
        transmission: u8,
        destination: Address,
        /// Neighbours that it was handed to before: any other is better
        avoid: Vec<Address>,
    },
    /// Put [`Outbox::message`](super::Outbox::message) into a packet of its own and hand it to the supernode in a relay frame
    Relay {
        id: MessageId,
        /// Counts up, together with those through the mesh
        transmission: u8,
        destination: Address,
    },
    /// The end of a send; there is no other
    Done(Fate),
}

/// Where a name is, as far as is known
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mail) struct Target {
    /// Where packets go
    pub(in crate::mail) address: Address,
    /// The key whose reply counts; `None`: any that shows a grant of that name
    pub(in crate::mail) key: Option<Key>,
}

/// A reply or a report that changes nothing, and why
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::mail) enum Ignored {
    /// No send waits for it: it came too late, twice, or unasked
    #[error("no send waits for it")]
    Unknown,
    /// Whoever replied has another name than the receiver
    #[error("it comes from another name")]
    OtherName,
    /// Whoever replied has the name but not the key
    #[error("it comes from another key")]
    OtherKey,
    /// The report names another destination than the packet had
    #[error("it names another destination")]
    OtherDestination,
}
