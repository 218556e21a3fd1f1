//! Those that look at the world: the oracles, the trace's hash, and the teller of stories.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use kith_common::directory::Directory;
use kith_common::id::{Address, Key, MessageId, Name};
use kith_common::link::Opened;
use kith_common::link::reason::CloseReason;
use kith_common::mail;
use kith_common::peer::PeerOutput;
use kith_common::routing::forward::Count;
use kith_common::status::Status;
use kith_common::supernode::Proposal;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::content::Call;
use kith_common::wire::grant::Grant;
use kith_common::wire::packet::{Edit, PacketRef};
use kith_common::wire::session::Purpose;
use kith_transport::Called;
use kith_transport::stack::{MessageFate, Pinged, Plan, Restored, Trouble};

use super::config::MeshConfig;
use super::faults::Fault;
use super::net::Item;
use super::node::NodeId;
use super::oracle::{Operations, Oracle};
use super::queue::Event;
use super::story::{self, Story};
use super::world::World;

/// Something that can be seen from outside the cores
#[derive(Debug)]
pub enum Observation<'a> {
    /// A process has started
    Started,
    /// A process was killed
    Killed,
    /// The log is as it was some time ago, and no supernode runs
    LogWentBack,
    /// A link is there
    Opened {
        /// As the process is told
        opened: &'a Opened,
        /// Who is at the other end
        other: NodeId,
        /// At the dialler's end: who was to answer, and for what
        wanted: Option<(Option<Key>, Purpose)>,
    },
    /// A link is over at this end
    Closed {
        link: u64,
        reason: &'a CloseReason,
    },
    /// A frame came that does not decode, the n-th of its link
    Undecodable {
        link: u64,
        errors: u32,
    },
    /// Whole frames are given to a link's stream
    Written {
        link: u64,
        frames: &'a [u8],
        /// Whether they are under way, and do not wait for it to be free
        is_taken: bool,
    },
    Received {
        link: u64,
        frame: &'a Frame,
    },
    /// A frame of this process's own left; packets that a peer's forwarder decides are `Forwarded`
    Sent {
        link: u64,
        frame: &'a Frame,
    },
    /// A peer's core wants or tells this
    Peer(&'a PeerOutput),
    /// A packet came to a peer
    Arrived {
        /// As it came
        packet: &'a PacketRef<'a>,
    },
    /// A packet was sent, passed on or given back
    Forwarded {
        here: Address,
        to: Address,
        /// As it came
        packet: &'a PacketRef<'a>,
        edit: &'a Edit,
        /// The frame that left
        after: &'a [u8],
    },
    /// A packet that was passed on arrives twice
    Duplicated {
        packet: &'a PacketRef<'a>,
    },
    /// A packet has reached its destination
    Delivered {
        packet: &'a PacketRef<'a>,
    },
    /// A message is to be put into the in-box
    Keeping(&'a mail::Arrival),
    /// An in-box has decided about a message
    Kept {
        id: MessageId,
        /// What the sender is told
        status: Status,
        /// Whether it is there since now
        is_new: bool,
    },
    /// A user has sent a message
    Sending {
        id: MessageId,
        to: &'a Name,
        bytes: &'a [u8],
        /// For how long it may wait; `None`: it is to arrive now or never
        keep: Option<Duration>,
        source: Address,
    },
    /// A message is on its sender's disk, and its user is told so; or there is no room
    Stored {
        id: MessageId,
        is_stored: bool,
    },
    /// A process that starts finds these messages in its out-box
    Restored(&'a [Restored]),
    /// A disk is lost, and another one is empty
    DiskLost,
    /// Messages for somebody are not there yet
    Delayed {
        to: &'a Name,
        trouble: &'a Trouble,
    },
    /// A message has its fate
    Ended(&'a MessageFate),
    /// A user asks a peer whether it is there
    Asked {
        id: MessageId,
        to: &'a Name,
        source: Address,
    },
    /// A user has called a function, or has repeated a call
    Calling {
        id: MessageId,
        to: &'a Name,
        call: &'a Call,
        source: Address,
    },
    /// A user asks for a pipe, through which so many bytes are to go there and back
    Opening {
        id: MessageId,
        to: &'a Name,
        /// Of the pipe, in the whole run
        number: u64,
        len: usize,
        source: Address,
    },
    /// The program that has opened it writes the rest from now on
    PipeResumed {
        number: u64,
    },
    /// A program has read this from a pipe
    PipeRead {
        number: u64,
        is_opener: bool,
        bytes: &'a [u8],
    },
    /// … and that there is nothing more
    PipeAll {
        number: u64,
        is_opener: bool,
    },
    /// A pipe is over at one end
    PipeEnded {
        number: u64,
        is_opener: bool,
        /// Whether both halves were closed in order
        is_whole: bool,
    },
    /// A peer's function is asked for, by itself or by whoever was let in with this grant
    Evaluating {
        id: MessageId,
        from: Option<&'a Grant>,
        call: &'a Call,
    },
    /// A call has its end
    Called(&'a Called),
    /// A user has begun a series of pings
    Pinging {
        id: MessageId,
        to: &'a Name,
        plan: &'a Plan,
    },
    /// Something has become of it
    Pinged(&'a Pinged),
    /// A user wants a connection, to say something on it that may get lost
    Reaching {
        id: MessageId,
        to: &'a Name,
    },
    /// It stands, or why not
    Reached(&'a Called),
    /// … and is said this
    Saying {
        to: &'a Name,
        channel: u16,
        bytes: &'a [u8],
    },
    /// … which is heard
    Said {
        from: &'a Name,
        channel: u16,
        bytes: &'a [u8],
    },
    /// A peer, or its user, has taken this key for that of a name
    Trusts {
        name: &'a Name,
        key: Key,
    },
    /// A name that must have one key was found with another
    KeyRefused {
        name: &'a Name,
        key: Key,
    },
    /// A supernode gives its log commands
    Proposed(&'a [Proposal]),
    /// Something is committed: this is what all supernodes will know in the end
    Agreed(&'a Directory),
    /// Enough supernodes hear each other to agree on something, or so few do by now that nothing can come into the log
    Quorum(bool),
    /// A supernode has applied commands; this is its directory now
    Applied(&'a Directory),
    /// The operator asks to remove this machine's peer for good
    Removing,
    /// The operator gives this machine's name free
    Released,
    /// Its user wants the peer to be logged in, or not
    Wants(bool),
}

impl Observation<'_> {
    /// A packet that starts here, to whom it went, and what was changed: a message, or a report on another packet
    pub fn own_packet(&self) -> Option<(&PacketRef<'_>, Address, &Edit)> {
        match self {
            Self::Forwarded { here, to, packet, edit, .. }
                if packet.header().source == *here && packet.entries().len() == 0 =>
            {
                Some((packet, *to, edit))
            }
            _ => None,
        }
    }
}

/// What an oracle saw that must not be
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub at: Instant,
    pub oracle: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:?} {}: {}", self.at, self.oracle, self.what)
    }
}

/// The oracles and what they have found
#[derive(Default)]
pub struct Watch {
    oracles: Vec<Box<dyn Oracle>>,
    violation: Option<Violation>,
    hash: DefaultHasher,
    events: u64,
    counts: BTreeMap<Count, u64>,
    fates: BTreeMap<Status, u64>,
    story: Option<Story>,
    supernodes: u32,
}

impl Watch {
    /// Of a run like this
    pub fn new(config: &MeshConfig, oracles: Vec<Box<dyn Oracle>>) -> Self {
        Self {
            oracles,
            story: config.story.clone().map(|about| Story::new(about, config.supernodes)),
            supernodes: config.supernodes,
            ..Self::default()
        }
    }

    /// Whether something was wrong: nothing after it means anything
    pub const fn is_over(&self) -> bool {
        self.violation.is_some()
    }

    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// How many lines the story has of what it is about, if one is told
    pub fn told(&self) -> Option<u64> {
        self.story.as_ref().map(Story::told)
    }

    /// A number that stands for everything that happened
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// How many events there were
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// What became of packets
    pub const fn counts(&self) -> &BTreeMap<Count, u64> {
        &self.counts
    }

    /// What people were told of their messages and calls
    pub const fn fates(&self) -> &BTreeMap<Status, u64> {
        &self.fates
    }

    /// What people did with the directory, as far as the oracles have judged it
    pub fn judged(&self) -> Operations {
        self.oracles.iter().map(|oracle| oracle.judged()).sum()
    }

    /// Counts what became of a packet
    pub fn count(&mut self, count: Count) {
        *self.counts.entry(count).or_default() += 1;
    }

    /// An event is about to happen
    pub fn note(&mut self, now: Instant, event: &Event) {
        self.events += 1;
        (now.as_micros(), std::mem::discriminant(event)).hash(&mut self.hash);
        match event {
            Event::Wake { node, .. } | Event::LinkWake { node, .. } | Event::User(node) => node.hash(&mut self.hash),
            Event::Arrive(conn, side, item) => {
                (conn, side).hash(&mut self.hash);
                if let Item::Bytes(bytes) | Item::Babble(bytes) = item {
                    bytes.hash(&mut self.hash);
                }
            }
            _ => {}
        }
    }

    /// Something was seen at a machine
    pub fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) {
        if self.is_over() {
            return;
        }
        let status = match seen {
            Observation::Peer(PeerOutput::Done(outcome)) => Some(outcome.fate.status),
            Observation::Called(called) => Some(called.status),
            Observation::Ended(fate) => Some(fate.status),
            _ => None,
        };
        if let Some(status) = status {
            *self.fates.entry(status).or_default() += 1;
        }
        if let Some(story) = &mut self.story {
            story.tell(now, node, seen);
        }
        for oracle in &mut self.oracles {
            if let Err(what) = oracle.see(now, node, seen) {
                let what = format!("{}: {what}", super::users::machine(node, self.supernodes));
                self.violation = Some(Violation { at: now, oracle: oracle.name(), what });
                return;
            }
        }
    }

    /// Time to look at everything
    pub fn step(&mut self, world: &World) {
        self.ask(world, |oracle, world| oracle.step(world));
    }

    /// Everything has been whole for one lease and 15 s, and nobody is being tried again
    pub fn whole(&mut self, world: &World) {
        self.ask(world, |oracle, world| oracle.whole(world));
    }

    /// Whatever was sent last has had its time
    pub fn end(&mut self, world: &World) {
        self.ask(world, |oracle, world| oracle.end(world));
    }

    fn ask(&mut self, world: &World, question: impl Fn(&mut dyn Oracle, &World) -> Result<(), String>) {
        for oracle in &mut self.oracles {
            if self.violation.is_none()
                && let Err(what) = question(&mut **oracle, world)
            {
                self.violation = Some(Violation { at: world.now(), oracle: oracle.name(), what });
            }
        }
    }

    /// The world itself has found something wrong
    pub fn fail(&mut self, at: Instant, oracle: &'static str, what: String) {
        self.violation.get_or_insert(Violation { at, oracle, what });
    }

    pub fn tell_fault(&mut self, now: Instant, fault: &Fault) {
        for oracle in &mut self.oracles {
            oracle.fault(now, fault);
        }
        if let Some(story) = &self.story {
            story.tell_fault(now, fault);
        }
    }

    /// What oracles need not know happens to the whole world
    pub fn tell(&self, now: Instant, what: &str) {
        if self.story.is_some() {
            story::tell_all(now, what);
        }
    }
}

/// Whether this packet carries that message, which is signed and opaque: but its id is 16 random bytes of it
pub fn carries(packet: &PacketRef<'_>, id: &MessageId) -> bool {
    packet.payload().windows(id.0.len()).any(|bytes| bytes == id.0)
}
