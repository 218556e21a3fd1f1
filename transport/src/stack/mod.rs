//! A peer with its connections: the cores below put together, and what passes between them.
//!
//! ```text
//!   messages, calls and pings of users, what others send, call and say
//!             │
//! ┌─ Stack ───▼────────────────────────────┐
//! │ messages: the out-box                  │
//! │ calls: where, and how often, to ask    │
//! │ pings, saying: what may get lost       │
//! │ keeping, evaluating: what has come     │
//! │ results: of what others have called    │
//! │ checks: whose session lasts            │
//! │ trust: whose key a name must have      │
//! │ ┌───────────┐  names, keys  ┌────────┐ │
//! │ │ Transport │◄──────────────│  Peer  │ │
//! │ │           │──────────────►│        │ │
//! │ └───────────┘  datagrams    └────────┘ │
//! └────────────────────────────────────────┘
//! ```
//!
//! Here is only the wiring. What concerns the peer alone goes to it directly ([`Stack::peer_mut`]); whatever may be the
//! connections' business as well comes by here: packets and what became of them, and the end of a session.

mod called;
mod calling;
mod calls;
mod checks;
mod doubts;
mod driving;
mod evaluating;
mod keeping;
mod messages;
mod naming;
mod pings;
mod piping;
mod results;
mod saying;
mod seeking;
mod sending;
mod session;
#[cfg(test)]
mod tests;
mod trust;
mod wishes;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kith_common::crypto::Signer;
use kith_common::id::{Address, Key, MessageId, Name, ShortId};
use kith_common::link::LinkId;
use kith_common::mail::{self, Origin};
use kith_common::mutant::{self, Mutant};
use kith_common::peer::{self, Peer, PeerOutput};
use kith_common::routing::forward::FirstHop;
use kith_common::status::Status;
use kith_common::time::{Instant, earliest};
use kith_common::wire::content::{Call, Cause, Opening, Payload, PayloadKind, Undeliverable};
use kith_common::wire::grant::{Grant, SignedGrant};
use kith_common::wire::packet::{Mark, PacketRef};
use kith_common::wire::{self, PacketBytes};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use rustls::crypto::CryptoProvider;
use smallvec::SmallVec;

pub use self::called::{Called, Why};
pub use self::calls::{CALL_TIME_MAX, CALL_TIMEOUT, CALLS_MAX, NotBegun};
pub use self::checks::GOOD_FOR;
pub use self::evaluating::EVALUATING_MAX;
pub use self::keeping::STORING_MAX;
pub use self::messages::{MessageFate, NOW_OR_NEVER, Restored, Trouble, Waiting};
pub use self::pings::{INTERVAL_MAX, INTERVAL_MIN, NotPinged, Pinged, Plan, Pong, SERIES_MAX, TIMEOUT_MAX, Tally};
pub use self::piping::PIPES_MAX;
pub use self::results::{REMEMBERED_FOR, RESULT_BYTES_MAX};
pub use self::trust::{PINS_MAX, Pin, TooManyPins};

use self::calls::Calls;
use self::checks::Checks;
use self::evaluating::Evaluating;
use self::keeping::Keeping;
use self::messages::Messages;
use self::naming::Naming;
use self::pings::Pings;
use self::piping::Piping;
use self::seeking::Seeking;
use self::trust::Trust;
use crate::output::{Arrival, ConnectionId, StreamId};
use crate::pipes::{PipeId, PipeNews};
use crate::questions::Question;
use crate::transport::Transport;
use crate::{Look, datagram_of, label_of};

/// What a peer with connections takes of what arrives: the forwarder is to deliver packets of these kinds
pub const PAYLOADS: [PayloadKind; 4] = {
    let [first, second, third] = peer::PAYLOADS;
    [first, second, third, PayloadKind::Datagram]
};

/// This peer has logged out: its connections end
pub const CODE_LEFT: u64 = 410;

/// Something for the shell to do or to tell, in this order
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StackOutput {
    /// As the peer wants it
    Peer(PeerOutput),
    /// Evaluate a function; answered, once, by [`Stack::handle_evaluated`]. A call that is repeated is evaluated once, so that
    /// there is one of these for each
    Evaluate {
        /// Repeated in the answer
        ticket: u64,
        /// The call's, as its caller has given it
        id: MessageId,
        /// Who calls, by the grant with which it was let in; `None`: this peer itself
        from: Option<Box<Grant>>,
        /// Its name and arguments are whatever the caller chose
        call: Call,
    },
    /// The end of a call, or of the question for a pipe; there is no other
    Called(Called),
    /// Somebody asks for a pipe; answered, once, by [`Stack::take_pipe`] or [`Stack::refuse_pipe`]
    PipeAsked {
        /// Repeated in the answer
        ticket: u64,
        /// Who asks, by the grant with which it was let in
        from: Box<Grant>,
        /// What it is for is whatever the other end chose
        opening: Opening,
    },
    /// Something has happened to a pipe
    Pipe { pipe: PipeId, news: PipeNews },
    /// A connection that was [wanted](Stack::reach) stands, or why there is none
    Reached(Called),
    /// What has become of a [series of pings](Stack::ping)
    Pinged(Pinged),
    /// Somebody with whom a connection stands has [said](Stack::say) this, known by that name
    Said { from: Name, channel: u16, bytes: Bytes },
    /// Whoever has this name must have this key from now on: remember it for [`Stack::restore_pins`]
    Pinned { name: Name, key: Key },
    /// A name that must have one key was found with another, and whoever has that is not let in
    KeyRefused { name: Name, key: Key, pinned: Key },
    /// Put a message into the in-box; answered, once, by [`Stack::handle_kept`]
    Keep {
        /// Repeated in the answer
        ticket: u64,
        /// As it came: whether it is a duplicate is the in-box's to say
        message: mail::Arrival,
    },
    /// Put a message into the out-box; answered, once, by [`Stack::handle_stored`]
    Store(Outgoing),
    /// Read what a message says from the out-box; answered, once, by [`Stack::handle_loaded`]
    Load { sequence: u64 },
    /// Messages for somebody are not there yet, for this reason
    Delayed { to: Name, trouble: Trouble },
    /// The end of a message; there is no other
    Ended {
        fate: MessageFate,
        /// It is, or is being, stored in the out-box under this sequence: take it out, some time, and remember its fate
        stored: Option<u64>,
    },
}

/// A message for the out-box
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number, which is given once
    pub sequence: u64,
    pub id: MessageId,
    pub to: Name,
    pub body: Vec<u8>,
    /// When its time is over
    pub until: Instant,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, id, to, body, .. } = self;
        write!(f, "Outgoing({sequence}: {id} to {to}, {} bytes)", body.len())
    }
}

/// A message with the stream on which it has come, and whose it is by the grant that was shown
type Unchecked = ((ConnectionId, StreamId), Grant, Question);

/// The way that a packet took: few have many hops
type Way = SmallVec<[(Mark, ShortId); 4]>;

/// What the out-box on disk says at the start, and how large it may be
#[derive(Clone, Debug)]
pub struct Outbox {
    /// Bytes of all that wait, overheads included
    pub bytes_max: u64,
    /// How often this peer has started with this disk: sequences of later runs are larger
    pub run: u32,
    pub restored: Vec<Restored>,
}

/// A peer with its connections
pub struct Stack<S> {
    peer: Peer<S>,
    /// Since the first session; without one it has no connection
    transport: Option<Transport<S>>,
    signer: S,
    provider: Arc<CryptoProvider>,
    calls: Calls,
    messages: Messages,
    pings: Pings,
    checks: Checks,
    seeking: Seeking,
    trust: Trust,
    evaluating: Evaluating,
    keeping: Keeping,
    naming: Naming,
    piping: Piping,
    /// Messages whose senders' sessions are being checked; their bytes are counted with those that wait for the disk
    unchecked: BTreeMap<ConnectionId, Vec<Unchecked>>,
    /// That the last packet of each connection took which is not over
    ways: BTreeMap<ConnectionId, Way>,
    /// Of the present session
    own: Option<SignedGrant>,
    /// How many removed keys were looked at
    removed: usize,
    rng: ChaCha20Rng,
    outputs: VecDeque<StackOutput>,
}

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// A peer that has no connection yet; `signer` holds its key, and `provider` agrees on keys and seals packets
    pub fn new(
        now: Instant,
        peer: Peer<S>,
        outbox: Outbox,
        signer: S,
        provider: Arc<CryptoProvider>,
        rng: ChaCha20Rng,
    ) -> Self {
        let mut messages = Messages::new(outbox.bytes_max, outbox.run);
        messages.restore(now, outbox.restored);
        Self {
            peer,
            transport: None,
            signer,
            provider,
            calls: Calls::default(),
            messages,
            pings: Pings::default(),
            checks: Checks::default(),
            seeking: Seeking::default(),
            trust: Trust::default(),
            evaluating: Evaluating::default(),
            keeping: Keeping::default(),
            naming: Naming::default(),
            piping: Piping::default(),
            unchecked: BTreeMap::new(),
            ways: BTreeMap::new(),
            own: None,
            removed: 0,
            rng,
            outputs: VecDeque::new(),
        }
    }

    pub const fn peer(&self) -> &Peer<S> {
        &self.peer
    }

    /// For what concerns the peer alone: everything that this type has no method for
    pub const fn peer_mut(&mut self) -> &mut Peer<S> {
        &mut self.peer
    }

    /// Calls that have no end yet, at most [`CALLS_MAX`]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Pipes that are not over
    pub fn pipes(&self) -> usize {
        self.transport.as_ref().map_or(0, Transport::pipes)
    }

    /// Connections that are not over
    pub fn connections(&self) -> usize {
        self.transport.as_ref().map_or(0, Transport::connections)
    }

    /// How each connection is, and whom its other end's grant names, once it has shown one
    pub fn look(&self, now: Instant) -> impl Iterator<Item = (Look, Option<Name>)> {
        self.transport.iter().flat_map(move |transport| transport.look(now))
    }

    fn random_id(&mut self) -> MessageId {
        let mut id = MessageId([0; 16]);
        self.rng.fill_bytes(&mut id.0);
        id
    }

    fn answer(&mut self, now: Instant, place: (ConnectionId, StreamId), status: Status, body: &[u8]) {
        if let Some(transport) = &mut self.transport {
            transport.answer(now, place, status.code(), body);
            self.settle(now);
        }
    }

    /// Somebody wants to be logged out: whoever has a connection hears that it ends, and then the supernode
    pub fn log_out(&mut self, now: Instant) {
        self.close_all(now);
        self.peer.log_out(now);
    }

    fn close_all(&mut self, now: Instant) {
        self.calls.handle_logout(now);
        self.messages.handle_logout(now);
        self.pings.handle_logout();
        if let Some(transport) = &mut self.transport {
            transport.close_all(now, CODE_LEFT);
        }
        // Before the session ends, without which nothing is sent.
        self.flush(now);
    }

    /// A packet that ends here, from the neighbour `from`; from `None` only the home link's is believed
    pub fn handle_packet(&mut self, now: Instant, link: LinkId, from: Option<Address>, packet: &PacketRef<'_>) {
        let header = packet.header();
        match PayloadKind::of(packet) {
            Some(PayloadKind::Datagram) => {
                let is_own = self.peer.own().is_some_and(|own| own.address == header.destination);
                let transport = self.transport.as_mut().filter(|_| is_own);
                let Some((transport, bytes)) = transport.zip(datagram_of(packet)) else {
                    let source = header.source;
                    return tracing::debug!(event = "packet_dropped", reason = "no datagram of this session", %source);
                };
                if let Some(origin) = self.peer.origin(link, from) {
                    let (source, label, is_congested) = (header.source, label_of(header.id), header.congested);
                    let arrival = Arrival { source, label, is_congested, is_relayed: origin == Origin::Home };
                    if let Some(connection) = transport.handle_datagram(now, &arrival, bytes) {
                        self.note_way(connection, packet);
                    }
                    self.settle(now);
                }
            }
            Some(PayloadKind::Undeliverable) => match wire::decode::<Payload>(packet.payload()) {
                Ok(Payload::Undeliverable(report)) if self.is_datagram(report.packet) => {
                    match self.peer.origin(link, from) {
                        // It is the copy that the supernode could not relay: that says nothing of the way through the mesh.
                        Some(Origin::Home) => self.doubt_relay(now, &report),
                        Some(_) => self.doubt(now, report.packet),
                        None => {}
                    }
                }
                _ => self.peer.handle_packet(now, link, from, packet),
            },
            _ => self.peer.handle_packet(now, link, from, packet),
        }
    }

    /// Receipts say which way what they answer has taken, be it the first that comes on a connection
    fn note_way(&mut self, connection: ConnectionId, packet: &PacketRef<'_>) {
        if mutant::is(Mutant::FirstWayForgotten) && self.checks.grant(connection).is_none() {
            return;
        }
        let way = self.ways.entry(connection).or_default();
        if !way.iter().copied().eq(packet.way()) {
            way.clear();
            way.extend(packet.way());
        }
    }

    /// Whether a packet of this peer's own with this id carries, by its present way, what a connection has sent
    fn is_datagram(&self, packet: u64) -> bool {
        self.transport.as_ref().is_some_and(|transport| transport.has_label(label_of(packet)))
    }

    /// The answer to [`PeerOutput::Transmit`]: the packet with this id was handed to a neighbour
    pub fn handle_sent(&mut self, packet: u64, first_hop: &FirstHop) {
        match &mut self.transport {
            Some(transport) if transport.has_label(label_of(packet)) => {
                transport.handle_sent(label_of(packet), first_hop.to);
            }
            _ => self.peer.handle_sent(packet, first_hop),
        }
    }

    /// The answer to [`PeerOutput::Transmit`]: there was nobody to hand this packet to
    pub fn handle_unsent(&mut self, now: Instant, packet: PacketBytes) {
        let is_datagram = PayloadKind::of(&packet.as_ref()) == Some(PayloadKind::Datagram);
        if !is_datagram {
            return self.peer.handle_unsent(now, packet);
        }
        let id = packet.as_ref().header().id;
        // Its copy has gone there already.
        let has_copy = self.transport.as_ref().is_some_and(|transport| transport.is_relayed(now, label_of(id)));
        if !has_copy && !self.peer.relay(packet) {
            self.doubt(now, id);
        }
    }

    /// A packet of this peer's own is with somebody who cannot pass it on, or came back with nobody left to try
    pub fn handle_undeliverable(&mut self, now: Instant, report: &Undeliverable) {
        if self.is_datagram(report.packet) {
            self.doubt(now, report.packet);
        } else {
            self.peer.handle_undeliverable(now, report);
        }
    }

    /// The mesh says that a datagram did not arrive
    fn doubt(&mut self, now: Instant, packet: u64) {
        let Some(transport) = &mut self.transport else { return };
        let label = label_of(packet);
        let key = transport.key_by_label(label);
        transport.handle_undeliverable(now, label);
        if let Some(key) = key {
            self.calls.handle_undeliverable(now, &key, false);
            self.messages.handle_undeliverable(now, &key, false);
            self.seek(now, key);
        }
        self.settle(now);
    }

    /// The supernode says that it could not relay a datagram
    fn doubt_relay(&mut self, now: Instant, report: &Undeliverable) {
        let key = self.transport.as_ref().and_then(|transport| transport.key_by_label(label_of(report.packet)));
        if let Some(key) = key.filter(|_| report.cause == Cause::NoSession) {
            self.calls.handle_undeliverable(now, &key, true);
            self.messages.handle_undeliverable(now, &key, true);
            self.settle(now);
        }
    }

    /// Carries out what is due; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        self.peer.handle_timeout(now);
        self.calls.handle_timeout(now);
        self.messages.handle_timeout(now);
        self.evaluating.handle_timeout(now);
        self.pings.handle_timeout(now, &mut self.rng);
        // What has its fate must not leave after that.
        self.settle(now);
        if let Some(transport) = self.transport.as_mut().filter(|transport| transport.next_timeout() <= Some(now)) {
            transport.handle_timeout(now);
        }
        self.settle(now);
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        let transport = self.transport.as_ref().and_then(Transport::next_timeout);
        let own = earliest(self.calls.next_timeout(), self.messages.next_timeout());
        earliest(self.peer.next_timeout(), earliest(earliest(own, self.pings.next_timeout()), transport))
    }
}
