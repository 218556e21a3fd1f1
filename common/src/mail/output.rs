//! What mail wants done, and has to tell.

use std::fmt;

use super::{Fate, Fingerprint, Offer, Place, Trace};
use crate::id::{Address, Key, MessageId, Name};
use crate::wire::PacketBytes;
use crate::wire::content::PathHop;
use crate::wire::session::Subject;

/// Something to do or to tell, in this order
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailOutput {
    /// Find out where, or who, `subject` is; answered by [`Mail::handle_resolved`](super::Mail::handle_resolved)
    Resolve {
        /// A receiver's name, or the short id of somebody on a path
        subject: Subject,
        /// Whether an answer from memory will not do, because one has just failed
        fresh: bool,
    },
    /// Decide on the first hop of this packet and hand it over; answered, then or later, by
    /// [`Mail::handle_sent`](super::Mail::handle_sent) with the packet's id, or by
    /// [`Mail::handle_unsent`](super::Mail::handle_unsent) with the packet itself
    Transmit {
        /// Never to this peer itself
        packet: PacketBytes,
        /// Neighbours that were handed such a packet before: any other is better
        avoid: Vec<Address>,
    },
    /// Hand this packet to the supernode in a relay frame; answered by
    /// [`Mail::handle_unsent`](super::Mail::handle_unsent) if there is no link to it, else not at all
    Relay {
        /// Never to this peer itself
        packet: PacketBytes,
    },
    /// The end of a send; there is no other
    Done(Outcome),
    /// The answer to [`Mail::name_path`](super::Mail::name_path)
    PathNamed {
        ticket: u64,
        /// With the names of those on it as far as they could be found
        path: Vec<PathHop>,
    },
}

/// A message for the in-box, as it came over a connection
#[derive(Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The sender's id for it
    pub id: MessageId,
    pub from: Name,
    pub key: Key,
    /// The sender's place when it came
    pub address: Address,
    /// Whether the directory has confirmed that name, key and place belong together
    pub confirmed: bool,
    pub place: Place,
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, from, key, address, confirmed, place, bytes } = self;
        let bytes = bytes.len();
        write!(f, "Arrival({id} of {from}, {key}, at {address}, confirmed {confirmed}, {place:?}, {bytes} bytes)")
    }
}

impl Arrival {
    /// What the in-box has to know of it
    pub fn offer(&self) -> Offer {
        let (fingerprint, bytes) = (Fingerprint::of(&self.key, &self.id), self.bytes.len() as u64);
        Offer { fingerprint, place: self.place, bytes }
    }
}

/// What became of a send
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its end, with the names of those on its path as far as they could be found
    pub fate: Fate,
    /// What the packets of a traced send met
    pub trace: Option<Trace>,
}
