//! Links: authenticated byte streams with our frames straight on them, on a thread of their own.
//!
//! ```text
//!            driver (its own runtime)
//!     LinkCommand │        ▲ LinkEvent          both bounded
//! ────────────────┼────────┼─────────────────────────────────────────────
//!                 ▼        │                    the link thread
//!           command task   └───────────┬──────────────┐
//!                 │ queues             │              │
//!        ┌────────▼─────────┐   ┌──────┴─────┐ ┌──────┴─────┐
//!        │ writer of link A │   │ reader A   │ │ reader B   │ …   a supervisor each: deadlines, probes, the end
//!        └────────▲─────────┘   └──────┬─────┘ └──────┬─────┘
//!                 └── queues, in place ┴──────────────┘  `Routes::decide`: a packet never leaves the thread
//! ```
//!
//! From a connection to a link: `transport` (libp2p's TCP) → `tls` (TLS 1.3 with libp2p's certificate), computed by
//! `turns` → `handshake` (hellos) → `connection` with its `reader` and `writer`; `forward` decides packets.
//!
//! The thread tells of each link once that it [opened](LinkEvent::Opened) and once that it
//! [closed](LinkEvent::Closed), with everything else about it in between. A command for a link that is gone does
//! nothing: `Closed` is on its way, or was. A [`LinkCommand::Dial`] is answered by `Opened` or
//! [`DialFailed`](LinkEvent::DialFailed) with its `dial`, unless the thread ends. When the thread has ended, the
//! events end.

mod buffers;
mod connection;
mod counters;
mod dial;
mod forward;
mod handshake;
mod hub;
mod packets;
mod reader;
mod registry;
mod resolver;
mod shared;
mod state;
mod tls;
mod transport;
mod turns;
mod verifier;
mod wake;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use kith_common::crypto::Signer;
use kith_common::id::Address;
use kith_common::link::liveness::LivenessConfig;
use kith_common::link::open::HOME_SILENCE;
pub use kith_common::link::{Dial, Direction, HelloTemplate, LinkId};
use kith_common::peer;
pub use kith_common::routing::forward::{FirstHop, NewRoutes};
use kith_common::status::Status;
use kith_common::wire::Frame;
use kith_common::wire::content::{PayloadKind, Undeliverable};
use kith_common::wire::packet::PacketRef;
use kith_common::wire::session::Location;
use libp2p::Multiaddr;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

pub use counters::{Counter, Counters, Counts, LinkGauges};
pub use forward::Delivery;
pub use kith_common::link::limits::{Deadlines, Limits};
pub use kith_common::link::queue::QueueBounds;
pub use kith_common::link::reason::{CloseReason, DialError, DialStage, Slow};
pub use packets::Packets;
pub use tls::TlsError;

use crate::clock::Clock;
use crate::identity::Identity;
use crate::turning;

/// Names that are looked up at once: a resolver that hangs holds a thread for half a minute each
const LOOK_UPS_MAX: usize = 64;
/// Commands that wait for the link thread: it never waits itself, so they are few
const COMMANDS_MAX: usize = 1024;
/// Events that wait for the driver; beyond, data is dropped, and links wait before they read on
const EVENTS_MAX: usize = 4096;

/// How the link thread is set up
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Where to listen; port 0 lets the system choose, and `[::]` is every address of both families
    pub listen: Vec<Multiaddr>,
    /// What hellos say at first
    pub hello: HelloTemplate,
    /// Whether packets are forwarded here (a peer), or go up as frames (a supernode)
    pub forwarding: bool,
    /// What this node takes of what arrives for it; packets with any other payload are dropped and counted
    pub payloads: Vec<PayloadKind>,
    /// Bounds on connections
    pub limits: Limits,
    /// Bounds on what waits to be written
    pub queues: QueueBounds,
    /// Bounds on time
    pub deadlines: Deadlines,
    /// When to probe a neighbour, and when to give it up
    pub liveness: LivenessConfig,
    /// How long a home link may be silent, until [`LinkCommand::SetPatience`] says more
    pub home_silence: Duration,
    /// The process's clock
    pub clock: Clock,
    /// Of the random numbers that need not be secret: jitter, ids of reports
    pub seed: u64,
}

impl LinkConfig {
    /// A peer's: nothing listens yet
    pub fn of_peer(hello: HelloTemplate, clock: Clock, seed: u64) -> Self {
        Self {
            listen: Vec::new(),
            hello,
            forwarding: true,
            payloads: peer::PAYLOADS.to_vec(),
            limits: Limits::default(),
            queues: QueueBounds::default(),
            deadlines: Deadlines::default(),
            liveness: LivenessConfig::default(),
            home_silence: HOME_SILENCE,
            clock,
            seed,
        }
    }

    /// A supernode's, whose links may be silent for `home_silence`: nothing listens yet
    pub fn of_supernode(hello: HelloTemplate, home_silence: Duration, clock: Clock, seed: u64) -> Self {
        let (limits, queues) = (Limits::of_supernode(), QueueBounds::of_supernode());
        let peer = Self::of_peer(hello, clock, seed);
        Self { forwarding: false, payloads: Vec::new(), limits, queues, home_silence, ..peer }
    }
}

/// What the driver tells the link thread
#[derive(Debug)]
pub enum LinkCommand {
    /// Hellos say this from now on
    SetHello(HelloTemplate),
    /// Make a link
    Dial(Dial),
    /// Queue a frame; a full queue drops it with a count, or ends the link if it is control
    Send {
        /// Over which link
        link: LinkId,
        /// What
        frame: Frame,
    },
    /// Send packets of this node's own; answered by [`LinkEvent::Originated`]
    Originate(Outgoing),
    /// Say why, once everything before is written, and end the link
    Close {
        /// Which
        link: LinkId,
        /// The reason as a code
        status: Status,
        /// The reason in words
        reason: String,
    },
    /// A link may be silent for so long from now on
    SetPatience {
        /// Which
        link: LinkId,
        /// Before it is held for dead
        silence: Duration,
    },
    /// Forward by these routes from now on; `None`: by none (logged out)
    Routes(Option<Box<NewRoutes>>),
    /// End all links and then the thread
    Shutdown,
}

/// Packets that start here
///
/// Users' messages take this door, and whatever else this node sends. Nothing waits for room: the answer says of each
/// packet if its first hop's queue was full, and whoever sends more than a few keeps a window, as the next queue on the
/// way drops as well.
#[derive(Debug)]
pub struct Outgoing {
    /// At most 64 KiB together, for the sake of what comes behind them
    pub packets: Packets,
    /// First hops to take only if no other has a way
    pub avoid: Vec<Address>,
}

/// What became of packets that start here
///
/// Packets of one command mostly take one first hop, so the answer to thousands of them is as short as that to one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Originated {
    /// The packets of the command, given back so that nobody has to keep a copy
    pub packets: Packets,
    /// What became of them, in their order
    pub runs: Vec<Run>,
}

/// What became of some packets one after the other
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many they are: 1 or more
    pub packets: usize,
    /// Where all of them went first; `None`: there is nobody to hand them to, and they were not sent
    pub first_hop: Option<FirstHop>,
}

impl Originated {
    /// Each packet with the first hop that it took
    pub fn iter(&self) -> impl Iterator<Item = (PacketRef<'_>, Option<FirstHop>)> {
        let first_hops = self.runs.iter().flat_map(|run| std::iter::repeat_n(run.first_hop, run.packets));
        self.packets.iter().zip(first_hops)
    }

    /// How many packets were not sent
    pub fn unsent(&self) -> usize {
        self.runs.iter().filter(|run| run.first_hop.is_none()).map(|run| run.packets).sum()
    }

    /// The next packet of the command had this fate
    #[inline]
    pub(crate) fn push(&mut self, first_hop: Option<FirstHop>) {
        match self.runs.last_mut() {
            Some(run) if run.first_hop == first_hop => run.packets += 1,
            _ => self.runs.push(Run { packets: 1, first_hop }),
        }
    }
}

/// What the link thread tells the driver
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "frames are moved once; a box would cost more than the copy")]
pub enum LinkEvent {
    /// An address at which this node now listens: one for each interface
    Listening(Multiaddr),
    /// One of these that this machine has no longer
    AddressExpired(Multiaddr),
    /// A listener is gone for good
    ListenerClosed {
        /// Why
        reason: String,
    },
    /// A link is there
    Opened(Box<Opened>),
    /// No link came of a dial
    DialFailed {
        /// Of the dial
        dial: u64,
        /// Why
        reason: DialError,
    },
    /// A frame came that is not the link thread's own: no hello, bye, probe, nor (where it forwards) packet
    Frame {
        /// Over which link
        link: LinkId,
        /// What
        frame: Frame,
    },
    /// Packets for this node, of a kind that it takes
    Deliver(Delivery),
    /// What became of the packets of one [`LinkCommand::Originate`]
    Originated(Originated),
    /// A packet of this node's own came back, and nobody is left to try
    Undeliverable(Undeliverable),
    /// A link is gone
    Closed {
        /// Which
        link: LinkId,
        /// Why
        reason: CloseReason,
    },
}

/// A new link, and what the shell alone knows of it
#[derive(Clone, Debug)]
pub struct Opened {
    /// What the cores are told
    pub opened: kith_common::link::Opened,
    /// Where it was dialled
    pub location: Option<Location>,
    /// Its counts and its round trip
    pub gauges: Arc<LinkGauges>,
}

impl Deref for Opened {
    type Target = kith_common::link::Opened;

    fn deref(&self) -> &Self::Target {
        &self.opened
    }
}

/// The link thread has ended, or is about to; the command was not carried out
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link thread has ended")]
pub struct Stopped;

/// The link thread could not start; nothing is left of it
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No certificate
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No thread, or no runtime in it
    #[error("cannot start the link thread: {0}")]
    Thread(#[from] io::Error),
    /// An address is taken, or not this machine's
    #[error("cannot listen at {address}: {reason}")]
    Listen {
        /// Where
        address: Multiaddr,
        /// What the system says
        reason: String,
    },
    /// It ended before it began
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// To tell the link thread what to do; the thread ends when the last handle is dropped
#[derive(Clone, Debug)]
pub struct LinkHandle {
    commands: mpsc::Sender<LinkCommand>,
    counters: Arc<Counters>,
}

impl LinkHandle {
    /// Gives a command; waits only for the link thread, which waits for nobody
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn send(&self, command: LinkCommand) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// Gives a command from outside a runtime
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn blocking_send(&self, command: LinkCommand) -> Result<(), Stopped> {
        self.commands.blocking_send(command).map_err(|_| Stopped)
    }

    /// What the link thread has counted
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Starts the link thread; when this returns, it listens
///
/// # Errors
/// [`SpawnError`] says what failed.
pub fn spawn(config: LinkConfig, identity: &Identity) -> Result<(LinkHandle, mpsc::Receiver<LinkEvent>), SpawnError> {
    let tls = tls::Tls::new(&identity.keypair())?;
    let key = identity.key();
    let counters = Arc::new(Counters::default());
    let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
    let (events, events_out) = mpsc::channel(EVENTS_MAX);
    let (started, has_started) = std::sync::mpsc::sync_channel(1);
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(LOOK_UPS_MAX).enable_all().build()?;
    let handle = LinkHandle { commands, counters: Arc::clone(&counters) };
    std::thread::Builder::new().name("kith-links".into()).spawn(move || {
        runtime.block_on(LocalSet::new().run_until(turning::watched("kith-links", async move {
            let listen = config.listen.clone();
            let hub = hub::Hub::new(config, key, tls, counters, events);
            let listening = hub.listen(&listen);
            let goes_on = listening.is_ok();
            // If nobody waits for the answer, nobody holds a handle, and the commands end at once.
            drop(started.send(listening));
            if goes_on {
                hub.run(commands_in).await;
            }
        })));
    })?;
    has_started.recv().unwrap_or(Err(SpawnError::Stopped(Stopped)))?;
    Ok((handle, events_out))
}
