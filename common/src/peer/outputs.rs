//! What a peer wants done, and has to tell.

use std::time::Duration;

use super::Stay;
use crate::id::{Address, Name, NetworkId};
use crate::link::{Dial, HelloTemplate, LinkId};
use crate::mail::Outcome;
use crate::names::Answer;
use crate::routing::forward::NewRoutes;
use crate::routing::neighbourhood::Event;
use crate::status::Status;
use crate::wire::content::PathHop;
use crate::wire::session::{Listing, Reason, Record, Supernodes};
use crate::wire::{Frame, PacketBytes};

/// Something for the shell to do or to tell, in this order
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerOutput {
    /// Hellos say this from now on
    SetHello(HelloTemplate),
    /// Make a link; answered by `handle_opened` or `handle_dial_failed` with its number
    Dial(Dial),
    /// Send `frame` on `link`; a link that is gone drops it
    Send {
        link: LinkId,
        frame: Frame,
    },
    /// Send this packet by the forwarder's [`originate`](crate::routing::forward::Forwarder::originate); answered, then or
    /// later, by `handle_sent` with the packet's id, or by `handle_unsent` with the packet itself
    Transmit {
        /// Of this peer's own
        packet: PacketBytes,
        /// First hops to take only if no other has a way
        avoid: Vec<Address>,
    },
    /// Say why, once everything before is sent, and end the link
    Close {
        link: LinkId,
        /// The reason as a code
        status: Status,
        /// The reason in words
        reason: Reason,
    },
    /// This link may be silent for so long from now on
    SetPatience {
        link: LinkId,
        silence: Duration,
    },
    /// Forward by these from now on; `None`: by none
    Routes(Option<Box<NewRoutes>>),
    /// Keep this network's id: from now on no other is accepted
    PinNetwork(NetworkId),
    /// Keep this list of supernodes for the next start, in place of the one before
    KeepSupernodes(Supernodes),
    /// Keep this stay for the next start, with the time of day, in place of the one before
    KeepStay(Box<Stay>),
    /// Write it to disk, with the time of day, under its name
    Save(Record),
    /// Erase the record of this name from the disk
    Erase(Name),
    /// The end of a send; there is no other
    Done(Outcome),
    /// The answer to [`Peer::name_path`](super::Peer::name_path)
    PathNamed {
        /// As it was asked with
        ticket: u64,
        /// With the names of those on it as far as they could be found
        path: Vec<PathHop>,
    },
    /// The answer to all who look `name` up
    LookedUp {
        /// What was asked for
        name: Name,
        /// 404, 410, 429 or 503 if there is none
        answer: Result<Answer, Status>,
    },
    /// The answer to [`Peer::resolve`](super::Peer::resolve), and to what was asked for pings
    Resolved {
        /// What was asked for
        name: Name,
        /// Whether memory alone did not do
        fresh: bool,
        /// 404, 410, 429 or 503 if there is none
        answer: Result<Answer, Status>,
    },
    /// The answer to [`Peer::list`](super::Peer::list)
    Listed {
        /// The number that it returned
        query: u64,
        /// 429 or 503 if there is none
        answer: Result<Listing, Status>,
    },
    /// There is a session, and a supernode on the other end of its link
    LoggedIn,
    /// The link to the supernode is lost; another one is looked for
    HomeLost {
        reason: Reason,
    },
    /// There is no session any more, and none is looked for
    LoggedOut {
        reason: Reason,
    },
    Event(Event),
}
