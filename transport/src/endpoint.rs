//! All connections of one peer.

mod changing;
mod driving;
mod early;
mod looking;
mod room;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kith_common::crypto::Signer;
use kith_common::id::{Address, Key};
use kith_common::mutant::{self, Mutant};
use kith_common::time::{Instant, Timers};
use quinn_proto::{
    ClientConfig, ConnectionEvent, ConnectionHandle, DatagramEvent, EcnCodepoint, EndpointConfig, Incoming,
    ServerConfig, ValidationTokenConfig, VarInt,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustls::crypto::CryptoProvider;

pub use self::looking::Look;
use crate::acked::Acked;
use crate::clock::Origin;
use crate::connection::{Connection, Wanted};
use crate::draws::{Names, drawn};
use crate::hops::FirstHops;
use crate::identity::{Identity, IdentityError, Told, server_name};
use crate::output::{Arrival, ConnectionId, Datagram, End, Output};
use crate::settings::{CONNECTIONS_MAX, DATAGRAM_BYTES, transport};
use crate::strangers::Strangers;
use crate::way::{Cause, Way};

/// Connections that are over stay until late packets have had their answer, some round trips; as many of these, and nobody
/// else is let in until some are gone
const ENDED_MAX: usize = CONNECTIONS_MAX;

/// Bytes that may wait for a connection that is not taken up yet; each is taken up at once
const INCOMING_BYTES: u64 = 64 * 1024;

/// Why a connection makes room for another
pub const CODE_ROOM: u64 = 429;

/// QUIC sees all packets of a connection come from one place: where the other end is by now is the directory's to say, and
/// its grant's, and no business of QUIC's path validation
const ELSEWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 1);

/// Of these, such as have come and have proved no key: a handshake takes two round trips
pub const HALF_OPEN_MAX: usize = 128;

/// Datagrams that a stranger is sent again which it has not acknowledged, over ways of the mesh and a supernode: a side of a
/// handshake is two or three, over three ways
const AGAIN_MAX: u8 = 8;

/// What an endpoint is made of
pub struct EndpointParts<S> {
    pub signer: Arc<S>,
    /// Agrees on keys and seals packets; its random numbers are the handshake's
    pub provider: Arc<CryptoProvider>,
    /// Nobody else may know it; the same after a restart, so that others hear at once that their connections are forgotten
    pub reset_secret: [u8; 32],
    /// For what is drawn here: labels of ways and names of connections
    pub rng: ChaCha20Rng,
}

/// All connections of a peer, as a core: see the [crate]
pub struct Endpoint {
    quic: quinn_proto::Endpoint,
    identity: Identity,
    /// Of those that come
    server: ServerConfig,
    clock: Arc<Told>,
    origin: Origin,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    by_handle: BTreeMap<ConnectionHandle, ConnectionId>,
    /// By the labels of their ways
    by_label: BTreeMap<u32, ConnectionId>,
    due: Timers<ConnectionId>,
    /// Those that may have something to send
    unsent: BTreeSet<ConnectionId>,
    hops: FirstHops,
    strangers: Strangers,
    last_id: u64,
    ended: usize,
    rng: ChaCha20Rng,
    outputs: VecDeque<Output>,
}

/// A connection that was just begun
struct New {
    handle: ConnectionHandle,
    quic: quinn_proto::Connection,
    acked: Acked,
    address: Address,
    key: Option<Key>,
    /// What it began with, if the other end has dialled
    arrival: Option<Arrival>,
}

impl Endpoint {
    /// No connection yet
    ///
    /// # Errors
    /// [`IdentityError`]: the provider lacks what QUIC needs.
    pub fn new<S: Signer + Send + Sync + 'static>(parts: EndpointParts<S>) -> Result<Self, IdentityError> {
        let EndpointParts { signer, provider, reset_secret, mut rng } = parts;
        let clock = Arc::new(Told::default());
        let identity = Identity::new(&signer, &provider, &clock)?;
        let mut config = EndpointConfig::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &reset_secret)));
        let names = Names::new(ChaCha20Rng::from_rng(&mut rng));
        config.cid_generator(move || Box::new(names.clone())).rng_seed(Some(drawn(&mut rng)));
        // Each place has a pause of its own.
        config.min_reset_interval(Duration::ZERO);
        // A size that QUIC allows; the default is that of a packet of UDP.
        let _: Result<_, _> = config.max_udp_payload_size(DATAGRAM_BYTES);
        let token_key = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &[]).extract(&drawn::<32>(&mut rng));
        let mut server = ServerConfig::new(identity.listener.clone(), Arc::new(token_key));
        server
            .migration(false)
            .time_source(Arc::<Told>::clone(&clock))
            .max_incoming(CONNECTIONS_MAX)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(INCOMING_BYTES);
        // Tokens would be good for everybody, as all come from one place.
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0);
        server.validation_token_config(tokens);
        let quic = quinn_proto::Endpoint::new(Arc::new(config), Some(Arc::new(server.clone())), false, None);
        Ok(Self {
            quic,
            identity,
            server,
            clock,
            origin: Origin::arbitrary(),
            connections: BTreeMap::new(),
            by_handle: BTreeMap::new(),
            by_label: BTreeMap::new(),
            due: Timers::default(),
            unsent: BTreeSet::new(),
            hops: FirstHops::default(),
            strangers: Strangers::default(),
            last_id: 0,
            ended: 0,
            rng,
            outputs: VecDeque::new(),
        })
    }

    /// Dials whoever holds `key` at `address`; [`Output::Connected`] or [`Output::Ended`] says what came of it
    ///
    /// # Errors
    /// In words, if QUIC refuses to try.
    pub fn connect(&mut self, now: Instant, key: Key, address: Address) -> Result<ConnectionId, String> {
        self.clock.tell(now);
        self.make_room(now);
        let mut config = ClientConfig::new(self.identity.dialler.clone());
        let first = quinn_proto::ConnectionId::new(&drawn::<16>(&mut self.rng));
        let acked = Acked::new(self.origin);
        config.transport_config(transport(acked.clone())).initial_dst_cid_provider(Arc::new(move || first));
        let at = self.origin.quic(now);
        let dialled = self.quic.connect(at, config, ELSEWHERE, &server_name(&key));
        let (handle, quic) = dialled.map_err(|error| error.to_string())?;
        let id = self.insert(now, New { handle, quic, acked, address, key: Some(key), arrival: None });
        self.begin_early(id, key);
        Ok(id)
    }

    fn insert(&mut self, now: Instant, new: New) -> ConnectionId {
        let New { handle, quic, acked, address, key, arrival } = new;
        self.last_id += 1;
        let id = ConnectionId(self.last_id);
        let connection = Connection {
            quic,
            handle,
            address,
            key,
            is_told: false,
            is_connected: false,
            is_admitted: false,
            again_left: AGAIN_MAX,
            acked_at: None,
            is_ended: false,
            way: Way::new(now, self.new_label(id)),
            acked,
            acked_until: None,
            their_labels: arrival.iter().map(|arrival| arrival.label).collect(),
            is_heard_by_relay: arrival.is_some_and(|arrival| arrival.is_relayed),
            begun: now,
            heard: now,
            ways: 0,
            owed: VecDeque::new(),
        };
        self.connections.insert(id, connection);
        self.by_handle.insert(handle, id);
        self.drive(now, id);
        id
    }

    /// A packet's payload has come; of which connection, if it is one that was not over and whose other end's key is proved by now:
    /// of that [`Output::Ended`] will tell
    pub fn handle_datagram(&mut self, now: Instant, arrival: &Arrival, bytes: &[u8]) -> Option<ConnectionId> {
        self.clock.tell(now);
        let ecn = if arrival.is_congested { EcnCodepoint::Ce } else { EcnCodepoint::Ect0 };
        let mut answer = Vec::new();
        let at = self.origin.quic(now);
        let event = self.quic.handle(at, ELSEWHERE, None, Some(ecn), BytesMut::from(bytes), &mut answer);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let id = self.by_handle.get(&handle).copied()?;
                let is_present = self.present(id).is_ok();
                self.handle_event(now, arrival, id, event);
                return Some(id).filter(|id| is_present && self.is_told(*id));
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                return self.accept(now, arrival, incoming).filter(|id| self.is_told(*id));
            }
            Some(DatagramEvent::Response(_)) if self.strangers.is_answered(now, arrival.source) => {
                self.answer(arrival, answer);
            }
            None | Some(DatagramEvent::Response(_)) => {}
        }
        None
    }

    fn handle_event(&mut self, now: Instant, arrival: &Arrival, id: ConnectionId, event: ConnectionEvent) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let heard = connection.handle_event(now, arrival, event);
        heard.thanks_to.into_iter().for_each(|hop| self.hops.handle_heard(now, hop));
        match heard.wants {
            Some(Wanted::Way(cause)) => self.change_way(now, id, cause),
            Some(Wanted::Again) => {
                self.send_again(now, id);
                self.drive(now, id);
            }
            None => self.drive(now, id),
        }
    }

    fn is_told(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.is_told)
    }

    fn accept(&mut self, now: Instant, arrival: &Arrival, incoming: Incoming) -> Option<ConnectionId> {
        let source = arrival.source;
        self.make_room(now);
        self.bound_half_open(now);
        if self.connections.len() >= CONNECTIONS_MAX + ENDED_MAX {
            tracing::debug!(event = "connection_ignored", %source, reason = "too many have ended just now");
            self.quic.ignore(incoming);
            return None;
        }
        let mut answer = Vec::new();
        let (acked, mut server) = (Acked::new(self.origin), self.server.clone());
        server.transport_config(transport(acked.clone()));
        match self.quic.accept(incoming, self.origin.quic(now), &mut answer, Some(Arc::new(server))) {
            Ok((handle, quic)) => {
                let new = New { handle, quic, acked, address: source, key: None, arrival: Some(*arrival) };
                Some(self.insert(now, new))
            }
            Err(error) => {
                tracing::debug!(event = "connection_refused", %source, reason = %error.cause);
                if error.response.is_some() {
                    self.answer(arrival, answer);
                }
                None
            }
        }
    }

    /// To somebody without a connection
    fn answer(&mut self, Arrival { source: to, is_relayed, .. }: &Arrival, bytes: Vec<u8>) {
        let (to, is_relayed, label) = (*to, *is_relayed, self.rng.next_u32());
        let (connection, avoid) = (None, Vec::new());
        self.outputs.push_back(Output::Send(Datagram { connection, to, label, avoid, is_relayed, bytes }));
    }

    /// Where the other end is by now, as its grant or the directory says
    pub fn set_address(&mut self, now: Instant, id: ConnectionId, address: Address) {
        if mutant::is(Mutant::NewPlaceIgnored) {
            return;
        }
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.address != address) else {
            return;
        };
        connection.address = address;
        if connection.way.change_at(Duration::ZERO).is_some() {
            self.change_way(now, id, Cause::Moved);
        }
    }

    /// Where whoever is being dialled is to be found by now: who has answered says so itself
    pub(crate) fn set_dialled_address(&mut self, now: Instant, id: ConnectionId, address: Address) {
        let is_dialling = |connection: &Connection| !connection.is_theirs() && !connection.is_connected;
        if self.connections.get(&id).is_some_and(is_dialling) {
            self.set_address(now, id, address);
        }
    }

    /// A label that no other connection's way has
    fn new_label(&mut self, id: ConnectionId) -> u32 {
        loop {
            let label = self.rng.next_u32();
            if let Entry::Vacant(entry) = self.by_label.entry(label) {
                entry.insert(id);
                return label;
            }
        }
    }

    /// A neighbour has taken what was sent by the way of this label; an older way's is no news
    pub fn handle_sent(&mut self, label: u32, first_hop: Address) {
        if let Some(connection) = self.by_label.get(&label).and_then(|id| self.connections.get_mut(id)) {
            connection.way.handle_carried(first_hop);
        }
    }

    /// The mesh says that what went by the way of this label did not arrive; an older way's end is no news
    pub fn handle_undeliverable(&mut self, now: Instant, label: u32) {
        let Some(id) = self.by_label.get(&label).copied() else { return };
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.way.is_worth_changing(now, connection.quic.rtt()) {
            self.change_way(now, id, Cause::Told);
        }
    }

    /// The link to this neighbour is lost, and with it whatever it had not passed on: what is owed goes by another at once
    pub fn handle_first_hop_lost(&mut self, now: Instant, neighbour: Address) {
        let lost = self.connections.iter().filter(|(_, connection)| connection.way.is_owed_by(neighbour));
        for id in lost.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.change_way(now, id, Cause::HopLost);
        }
    }

    /// The connection whose present way has this label
    pub fn by_label(&self, label: u32) -> Option<ConnectionId> {
        self.by_label.get(&label).copied()
    }

    /// Whether a supernode is to relay copies of what goes by the way with this label
    pub fn is_relayed(&self, now: Instant, label: u32) -> bool {
        let connection = self.by_label(label).and_then(|id| self.connections.get(&id));
        connection.is_some_and(|connection| connection.way.is_relayed(now))
    }

    /// Who is at the other end is known: it goes after strangers where room must be made
    pub(crate) fn set_admitted(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_admitted = true;
        }
    }

    /// Time has passed
    pub fn handle_timeout(&mut self, now: Instant) {
        self.clock.tell(now);
        while let Some(id) = self.due.take_due(now) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let at = self.origin.quic(now);
            if connection.quic.poll_timeout().is_some_and(|due| due <= at) {
                connection.quic.handle_timeout(at);
                connection.handle_news(now);
            }
            if connection.way.is_lossy() {
                self.change_way(now, id, Cause::Lossy);
                continue;
            }
            if connection.change_at().is_some_and(|at| at <= now) {
                self.change_way(now, id, Cause::Silent);
            } else {
                self.drive(now, id);
            }
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        // What is not sent yet has set no timer either.
        if self.unsent.is_empty() { self.due.next_timeout() } else { Some(Instant::ZERO) }
    }

    /// The next thing to do, or that has happened; once there is nothing, [`Self::flush`] makes more
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Connections that are not over
    pub fn len(&self) -> usize {
        self.connections.len() - self.ended
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The other end's key, as it was dialled or has been proved
    pub fn key_of(&self, id: ConnectionId) -> Option<Key> {
        self.connections.get(&id)?.key
    }

    /// Ends a connection; the other end hears `code`
    pub fn close(&mut self, now: Instant, id: ConnectionId, code: u64) {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.is_ended) else { return };
        connection.quic.close(self.origin.quic(now), varint(code), Bytes::new());
        self.ended += 1;
        self.outputs.extend(connection.end(id, End::ClosedHere { code }));
        self.drive(now, id);
    }

    fn forget(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.by_handle.remove(&connection.handle);
        self.by_label.remove(&connection.way.label());
        self.due.stop(&id);
        self.ended -= usize::from(connection.is_ended);
    }
}

/// Whom a way is not to begin with, if others lead there
fn avoided(hops: &FirstHops, now: Instant, way: &Way) -> Vec<Address> {
    let others = hops.avoided(now).filter(|hop| !way.tried().contains(hop));
    way.tried().iter().copied().chain(others).collect()
}

/// A code that QUIC can carry; ours are three digits
pub(crate) fn varint(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}
