//! What a neighbourhood is told, wants done, and has to tell.

use std::fmt;
use std::time::Duration;

use crate::id::{Address, Epoch, Key, Name};
use crate::link::{Direction, LinkId};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::grant::Grant;
use crate::wire::session::{Locations, Reason, Report};
use crate::wire::{Frame, FrameKind};

/// A link whose hellos have been exchanged
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub link: LinkId,
    /// The other side's key, as the transport proved it
    pub key: Key,
    pub direction: Direction,
    /// The other side's boot counter
    pub boot: u64,
    /// The other side's grant, if its signatures are good in our network
    pub grant: Option<Grant>,
}

/// What is to be done, or was decided
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeighbourhoodOutput {
    /// Dial this peer; answered by `handle_link_opened` or `handle_dial_failed`
    Dial {
        /// The key that the other end must prove
        key: Key,
        address: Address,
        locations: Locations,
    },
    /// Send `frame` on `link`
    Send {
        link: LinkId,
        frame: Frame,
    },
    /// Send what is queued and a `Bye`, then close; the link is forgotten already
    Close {
        link: LinkId,
        status: Status,
        reason: CloseReason,
    },
    /// Tell home (only said while it is reachable)
    Report(Report),
    /// The views, or the links behind them, are others now
    RoutesChanged,
    /// A link of this neighbour's is down, and with it whatever it was to carry; the routes that say so went before
    LossBeyond {
        neighbour: Address,
    },
    Event(Event),
}

macro_rules! reasons {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[$variant_doc])* $name,)* }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

reasons! {
    /// Why we close a link
    CloseReason {
        /// It is in no table of ours, and no rewire came that puts it there
        NotANeighbour = "not a neighbour of this peer",
        /// A rewire took it out of our table
        Rewired = "rewired: no longer a neighbour of this peer",
        /// Our address is another one now, and this link was opened under the old one
        Moved = "this peer has another address now",
        /// It showed no grant, or one that is not for its key
        NoGrant = "no good grant was shown",
        /// Another link with this peer is in use
        Duplicate = "another link with this peer is in use",
        /// It opened and then said nothing
        NoTable = "no table came",
        /// There are as many links as there may be
        TooMany = "too many links",
        /// It wants to be a guest under a name that is another peer's here
        OthersName = "its name is another peer's here",
        /// Its key was removed from the network for good
        Removed = "removed from the network for good",
        /// We have no session
        NotLoggedIn = "this peer is not logged in",
        LoggedOut = "this peer logs out",
    }
}

impl CloseReason {
    pub const fn status(self) -> Status {
        match self {
            Self::NotANeighbour | Self::Rewired | Self::Moved | Self::NoGrant | Self::OthersName | Self::Removed => {
                Status::NotAllowed
            }
            Self::Duplicate => Status::Conflict,
            Self::NoTable => Status::TimedOut,
            Self::TooMany => Status::SlowDown,
            Self::NotLoggedIn => Status::NotLoggedIn,
            Self::LoggedOut => Status::Gone,
        }
    }
}

reasons! {
    /// Why a frame changed nothing
    IgnoreReason {
        /// The link is closed, or was never opened
        UnknownLink = "unknown link",
        /// Its epoch is smaller than the last one's
        StaleTable = "older than the table before",
        /// A change before there was anything to change
        NoTable = "a delta before the table",
        /// A change to a link that the sender's table does not have
        UnknownAddress = "a delta for a link that is not in the table",
        /// Neighbours don't send that
        UnexpectedKind = "unexpected kind of frame",
        /// The number of this link is in use
        LinkInUse = "the number of the link is in use",
    }
}

reasons! {
    /// Why a rewire, or a part of it, was not applied
    RewireFault {
        /// Its epoch is no larger than the last one's
        NotNewer = "its epoch is not larger",
        /// There is no session that it could belong to
        NotLoggedIn = "not logged in",
        /// The grant is not for our key
        OtherKey = "the grant is for another key",
        /// The degree is odd or out of its bounds
        Degree = "its degree is odd, or not in 4 to 40",
        /// A record names ourselves
        Ourselves = "the record names ourselves",
        /// A record repeats a key or an address
        Repeated = "the record repeats a key or an address",
    }
}

reasons! {
    /// Why more than half of a table changed at once
    UpsetReason {
        /// Our address is another one now, so all neighbours may be others
        OwnAddressChanged = "own address changed",
        /// Nothing that we know of explains it
        Rewire = "a rewire replaced them",
    }
}

/// What happened, for the log and the tests
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rewire was applied
    Rewired {
        epoch: Epoch,
        members: u64,
        kept: usize,
        joined: usize,
        left: usize,
    },
    /// … and changed more than half of the table, which is what an eclipse looks like
    Upset {
        epoch: Epoch,
        left: usize,
        of: usize,
        reason: UpsetReason,
    },
    /// A rewire changed nothing
    RewireIgnored {
        epoch: Epoch,
        reason: RewireFault,
    },
    /// A record of a rewire was left out
    RecordIgnored {
        epoch: Epoch,
        address: Address,
        reason: RewireFault,
    },
    /// An unknown peer with a good grant waits for a rewire that makes it a neighbour
    UnknownPeerWaited {
        link: LinkId,
        name: Name,
        address: Address,
    },
    /// An unknown peer with a good grant was accepted, as no home is reachable to tell
    GuestAccepted {
        link: LinkId,
        name: Name,
        address: Address,
    },
    /// A peer that home has not named is wanted, as no home is reachable to say who stands in for those that are gone
    StandsIn {
        name: Name,
        address: Address,
    },
    /// A neighbour's link is up, `after` it began to be wanted or went down
    LinkUp {
        link: LinkId,
        name: Name,
        address: Address,
        direction: Direction,
        after: Duration,
    },
    /// A neighbour's link is up, and was lost so often soon after it was that it carries for others only when it has been up
    /// for `held`
    HeldBack {
        link: LinkId,
        name: Name,
        address: Address,
        losses: u32,
        held: Duration,
    },
    /// A link that was held back has lasted, and carries like others
    TakenAgain {
        link: LinkId,
        name: Name,
        address: Address,
    },
    /// A neighbour's last link is down
    LinkDown {
        name: Name,
        address: Address,
        reason: Reason,
    },
    /// We closed a link
    LinkClosed {
        link: LinkId,
        key: Key,
        reason: CloseReason,
    },
    DialFailed {
        name: Name,
        address: Address,
        failures: u32,
        reason: Reason,
    },
    /// A neighbour's link was not up in time; old links don't wait for it any longer
    GaveUp {
        name: Name,
        address: Address,
        reason: Reason,
    },
    /// All links are down
    Isolated,
    /// A frame changed nothing
    FrameIgnored {
        link: LinkId,
        kind: FrameKind,
        reason: IgnoreReason,
    },
    /// An input of the shell's changed nothing
    LinkIgnored {
        link: LinkId,
        reason: IgnoreReason,
    },
    /// Timers ran late by this much, so the others' time limits began anew
    HeldUp {
        late: Duration,
    },
}

/// How a neighbour's link is
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// In use
    Up,
    /// A dial is out, or a link opens
    Dialling,
    /// Between dials
    Down {
        /// Why the last link or the last dial ended
        reason: Reason,
        redial_at: Option<Instant>,
    },
    /// In use, and closed once the new ones are up
    Leaving,
}

/// One neighbour, for people
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourStatus {
    pub name: Name,
    pub key: Key,
    pub address: Address,
    /// Where it listens; none of a guest
    pub locations: Locations,
    /// How its link is
    pub state: LinkStatus,
    pub since: Instant,
    /// The link in use
    pub link: Option<LinkId>,
    /// Until when it is held back, if it is
    pub held_until: Option<Instant>,
    pub direction: Option<Direction>,
    /// Whether it is in the table; a guest and a leaving one are not
    pub is_wanted: bool,
}
