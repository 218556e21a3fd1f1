//! What a peer wants done, and has to tell.

use crate::id::{Address, Key, MessageId, Name, NetworkId};
use crate::link::{Dial, HelloTemplate, LinkId, NewRoutes};
use crate::mail::outbox::Fate;
use crate::names::Answer;
use crate::peer::Trace;
use crate::routing::neighbourhood::Event;
use crate::status::Status;
use crate::wire::Frame;
use crate::wire::bounded::Bytes;
use crate::wire::content::{Call, DATA_BYTES_MAX};
use crate::wire::session::{Reason, Record};

/// Something for the shell to do or to tell, in this order
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Hellos say this from now on
    SetHello(HelloTemplate),
    /// Make a link; answered by `handle_opened` or `handle_dial_failed` with its attempt
    Dial(Dial),
    /// Send `frame` on `link`; a link that is gone drops it
    Send {
        /// Where
        link: LinkId,
        /// What
        frame: Frame,
    },
    /// Say why, once everything before is sent, and end the link
    Close {
        /// Which
        link: LinkId,
        /// The reason as a code
        status: Status,
        /// The reason in words
        reason: Reason,
    },
    /// Forward by these from now on; `None`: by none
    Routes(Option<Box<NewRoutes>>),
    /// Put a message into the in-box; answered by `handle_kept`
    Keep {
        /// Repeated in the answer
        ticket: u64,
        /// What
        message: Arrival,
    },
    /// Evaluate a function; answered by `handle_evaluated`
    Evaluate {
        /// Repeated in the answer
        ticket: u64,
        /// Which, of what
        call: Call,
    },
    /// Keep this network's id: from now on no other is accepted
    PinNetwork(NetworkId),
    /// Write it to disk, with the time of day, under its name
    Save(Record),
    /// Erase the record of this name from the disk
    Erase(Name),
    /// The end of a send; there is no other
    Done(Outcome),
    /// The answer to all who look `name` up
    LookedUp {
        /// What was asked for
        name: Name,
        /// 404, 410, 429 or 503 if there is none
        answer: Result<Answer, Status>,
    },
    /// There is a session, and a supernode on the other end of its link
    LoggedIn,
    /// The link to the supernode is lost; another one is looked for
    HomeLost {
        /// Why
        reason: Reason,
    },
    /// There is no session any more, and none is looked for
    LoggedOut {
        /// How it ended
        reason: Reason,
    },
    /// Trace this
    Event(Event),
}

/// A verified message for the in-box
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The sender's id for it
    pub id: MessageId,
    /// The sender's name
    pub from: Name,
    /// The sender's key
    pub key: Key,
    /// The sender's place now
    pub address: Address,
    /// What it says
    pub bytes: Bytes<DATA_BYTES_MAX>,
}

/// What became of a send
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its end, with the names of those on its path as far as they could be found
    pub fate: Fate,
    /// Of a traced send, what its packets met
    pub trace: Option<Trace>,
}
