//! A peer's end-to-end connections as one core: asked for by key, dialled when they are first used, and shared by all that
//! uses them.
//!
//! Where somebody is, and whether a session that was shown still lasts, the shell asks the directory. A connection is the
//! same whoever has dialled it; where two peers dial each other at once there are two, of which each end uses the one that it
//! had first, and the other falls silent.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kith_common::crypto::{Signer, Verifier};
use kith_common::id::{Address, Key, Name, NetworkId, SessionId};
use kith_common::time::{Instant, earliest};
use kith_common::wire::grant::{Grant, SignedGrant};

use crate::exchanges::{Exchanges, Heard};
use crate::identity::IdentityError;
use crate::introductions::{Introductions, Told};
use crate::output::{Arrival, ConnectionId, Datagram, End, Output, StreamId};
use crate::pipes::{PipeId, PipeNews, Pipes};
use crate::questions::{Fate, Full, Question};
use crate::sayings::NotSaid;
use crate::streams::{Gone, Read, StreamError};
use crate::{Endpoint, EndpointParts, Look};

/// What is to be done, and what has happened
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put it into a packet
    Transmit(Datagram),
    /// Ask the directory whether the session of this grant lasts, for [`Transport::admit`] or [`Transport::refuse`]
    Check { connection: ConnectionId, grant: Grant },
    /// Somebody asks; answered by [`Transport::answer`]
    Asked {
        connection: ConnectionId,
        stream: StreamId,
        /// Who asks, by the grant with which it was admitted
        from: Grant,
        question: Question,
    },
    /// The own message of this ticket has left: from now on it may have been heard
    Left { ticket: u64 },
    /// The own question of this ticket has its fate
    Done { ticket: u64, fate: Fate },
    /// The other end has said something that could have got lost ([`Transport::take_said`])
    Said { connection: ConnectionId },
    /// Something has happened to a pipe
    Pipe { pipe: PipeId, news: PipeNews },
    /// A connection is over
    Ended { connection: ConnectionId, key: Option<Key>, end: End },
}

/// A peer's connections, and what passes on them
pub struct Transport<V> {
    endpoint: Endpoint,
    introductions: Introductions<V>,
    exchanges: Exchanges,
    pipes: Pipes,
    /// The connection that is used with each key
    by_key: BTreeMap<Key, ConnectionId>,
    keys: BTreeMap<ConnectionId, Key>,
    effects: VecDeque<Effect>,
}

impl<V: Verifier> Transport<V> {
    /// Without a connection, in the session of `own`
    ///
    /// # Errors
    /// [`IdentityError`]: the provider lacks what QUIC needs.
    pub fn new<S: Signer + Send + Sync + 'static>(
        parts: EndpointParts<S>,
        network: NetworkId,
        verifier: V,
        own: SignedGrant,
    ) -> Result<Self, IdentityError> {
        Ok(Self {
            endpoint: Endpoint::new(parts)?,
            introductions: Introductions::new(network, verifier, own),
            exchanges: Exchanges::default(),
            pipes: Pipes::default(),
            by_key: BTreeMap::new(),
            keys: BTreeMap::new(),
            effects: VecDeque::new(),
        })
    }

    /// The peer has another session: the other ends are shown its grant
    pub fn set_own(&mut self, now: Instant, own: SignedGrant) {
        self.introductions.set_own(now, &mut self.endpoint, own);
        self.settle(now);
    }

    /// Asks whoever holds `key`, who is at `address`, until a deadline
    ///
    /// # Errors
    /// [`Full`]: it is not asked.
    pub fn ask(
        &mut self,
        now: Instant,
        (key, address): (Key, Address),
        question: Question,
        until: Instant,
    ) -> Result<u64, Full> {
        let connection = self.connection(now, key, address)?;
        let asked = self.exchanges.ask(now, &mut self.endpoint, connection, &question, until);
        self.settle(now);
        asked
    }

    /// Makes a connection with whoever holds `key`, who is at `address`, if there is none
    ///
    /// # Errors
    /// [`Full`]: there is none.
    pub fn dial(&mut self, now: Instant, key: Key, address: Address) -> Result<(), Full> {
        let dialled = self.connection(now, key, address);
        self.settle(now);
        dialled.map(|_| ())
    }

    fn connection(&mut self, now: Instant, key: Key, address: Address) -> Result<ConnectionId, Full> {
        if let Some(connection) = self.by_key.get(&key).copied() {
            self.endpoint.set_dialled_address(now, connection, address);
            return Ok(connection);
        }
        let dialled = self.endpoint.connect(now, key, address);
        let connection = dialled.map_err(|reason| {
            tracing::warn!(event = "not_dialled", %address, %reason);
            Full
        })?;
        self.by_key.insert(key, connection);
        self.keys.insert(connection, key);
        self.introductions.begin(now, connection);
        Ok(connection)
    }

    /// Whether a connection with this key is there, or is being made
    pub fn is_connected(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    /// With whom there are connections, or are being made; one key may be there twice
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// Whether a supernode is to relay copies of what goes by the way with this label
    pub fn is_relayed(&self, now: Instant, label: u32) -> bool {
        self.endpoint.is_relayed(now, label)
    }

    /// Connections that are not over, those that are being made among them
    pub fn connections(&self) -> usize {
        self.endpoint.len()
    }

    /// How each connection is, and who is at its other end, once that is known
    pub fn look(&self, now: Instant) -> impl Iterator<Item = (Look, Option<Name>)> {
        let name = |look: &Look| self.introductions.grant_of(look.connection).map(|grant| grant.name.clone());
        self.endpoint.look(now).map(move |look| {
            let name = name(&look);
            (look, name)
        })
    }

    /// Who is at the other end of the connection with this key, once it was admitted
    pub fn grant_of(&self, key: &Key) -> Option<&Grant> {
        self.introductions.grant_of(*self.by_key.get(key)?)
    }

    /// Gives a question up: its fate is not told any more
    pub fn cancel(&mut self, now: Instant, ticket: u64) {
        self.exchanges.cancel(now, &mut self.endpoint, ticket);
        self.settle(now);
    }

    /// Answers somebody's question; one that was given up needs no answer
    pub fn answer(&mut self, now: Instant, place: (ConnectionId, StreamId), status: u16, body: &[u8]) {
        self.exchanges.answer(now, &mut self.endpoint, place, status, body);
        self.settle(now);
    }

    /// Whether whoever has asked on this stream still waits for the answer
    pub fn is_awaited(&self, place: (ConnectionId, StreamId)) -> bool {
        self.exchanges.is_awaited(place)
    }

    /// The directory knows this session, which was shown on a connection
    pub fn admit(&mut self, now: Instant, connection: ConnectionId, session: SessionId) {
        for output in self.introductions.admit(now, &mut self.endpoint, connection, session) {
            self.handle_told(now, Told::Output(output));
        }
        self.settle(now);
    }

    /// It does not, or knows its name as another's: the connection ends with this status
    pub fn refuse(&mut self, now: Instant, connection: ConnectionId, status: u16) {
        self.introductions.refuse(now, &mut self.endpoint, connection, status.into());
        self.settle(now);
    }

    /// Ends all connections with this key; the other ends hear `code`
    pub fn close(&mut self, now: Instant, key: &Key, code: u64) {
        let with_key = self.keys.iter().filter(|(_, of)| *of == key);
        for connection in with_key.map(|(connection, _)| *connection).collect::<Vec<_>>() {
            self.endpoint.close(now, connection, code);
        }
        self.settle(now);
    }

    /// Ends all connections; the other ends hear `code`
    pub fn close_all(&mut self, now: Instant, code: u64) {
        for connection in self.endpoint.connections.keys().copied().collect::<Vec<_>>() {
            self.endpoint.close(now, connection, code);
        }
        self.settle(now);
    }

    /// The directory says where the holder of a key is by now
    pub fn set_address(&mut self, now: Instant, key: &Key, address: Address) {
        if let Some(connection) = self.by_key.get(key) {
            self.endpoint.set_address(now, *connection, address);
            self.settle(now);
        }
    }

    /// … and so the other end of one connection
    pub fn set_address_of(&mut self, now: Instant, connection: ConnectionId, address: Address) {
        self.endpoint.set_address(now, connection, address);
        self.settle(now);
    }

    /// A packet's payload has come; of which connection, if one: [`Effect::Ended`] will tell of its end
    pub fn handle_datagram(&mut self, now: Instant, arrival: &Arrival, bytes: &[u8]) -> Option<ConnectionId> {
        let connection = self.endpoint.handle_datagram(now, arrival, bytes);
        self.settle(now);
        connection
    }

    /// A neighbour has taken a packet with this label
    pub fn handle_sent(&mut self, label: u32, first_hop: Address) {
        self.endpoint.handle_sent(label, first_hop);
    }

    /// The mesh says that a packet with this label did not arrive
    pub fn handle_undeliverable(&mut self, now: Instant, label: u32) {
        self.endpoint.handle_undeliverable(now, label);
        self.settle(now);
    }

    /// The link to this neighbour is lost, and with it whatever it had not passed on
    pub fn handle_first_hop_lost(&mut self, now: Instant, neighbour: Address) {
        self.endpoint.handle_first_hop_lost(now, neighbour);
        self.settle(now);
    }

    /// Whether a connection's present way has this label
    pub fn has_label(&self, label: u32) -> bool {
        self.endpoint.by_label(label).is_some()
    }

    /// With whom the connection is whose present way has this label
    pub fn key_by_label(&self, label: u32) -> Option<Key> {
        self.endpoint.key_of(self.endpoint.by_label(label)?)
    }

    /// Time has passed
    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.introductions.handle_timeout(now, &mut self.endpoint);
        self.exchanges.handle_timeout(now, &mut self.endpoint);
        self.pipes.handle_timeout(now, &mut self.endpoint);
        self.settle(now);
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        let known = earliest(self.introductions.next_timeout(), self.exchanges.next_timeout());
        earliest(self.endpoint.next_timeout(), earliest(known, self.pipes.next_timeout()))
    }

    /// Sends what waits to be sent, when all that came together was taken in; whether anything may have come of it
    pub fn flush(&mut self, now: Instant) -> bool {
        let has_flushed = self.endpoint.flush(now);
        self.settle(now);
        has_flushed
    }

    /// The next thing to do, or that has happened; once there is nothing, [`Self::flush`] makes more
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The connection on which the holder of this key is known, if one stands
    pub fn standing_with(&self, key: &Key) -> Option<ConnectionId> {
        let is_known = |connection: &ConnectionId| self.introductions.grant_of(*connection).is_some();
        // The one that is used may just be made, where both have dialled at once.
        let used = self.by_key.get(key).copied().filter(is_known);
        used.or_else(|| self.keys.iter().find(|(id, of)| *of == key && is_known(id)).map(|(id, _)| *id))
    }

    /// The connection on which somebody is known by this name, if one stands
    pub fn standing_at(&self, name: &Name) -> Option<ConnectionId> {
        let is_so = |connection: &&ConnectionId| self.grant_on(**connection).is_some_and(|grant| grant.name == *name);
        self.keys.keys().find(is_so).copied()
    }

    /// The keys of those who are known by this name
    pub fn known_as(&self, name: &Name) -> impl Iterator<Item = &Key> {
        let is_so = |connection: &ConnectionId| self.grant_on(*connection).is_some_and(|grant| grant.name == *name);
        self.keys.iter().filter(move |(connection, _)| is_so(connection)).map(|(_, key)| key)
    }

    /// Who is at the other end of a connection, once it was admitted
    pub fn grant_on(&self, connection: ConnectionId) -> Option<&Grant> {
        self.introductions.grant_of(connection)
    }

    /// Says something that may get lost to whoever is known at the other end of a connection
    ///
    /// # Errors
    /// [`NotSaid`]
    pub fn say(&mut self, now: Instant, connection: ConnectionId, bytes: Bytes) -> Result<(), NotSaid> {
        if self.grant_on(connection).is_none() {
            return Err(NotSaid::NoConnection);
        }
        let most = self.endpoint.fitting(connection).ok_or(NotSaid::NoConnection)?;
        if bytes.len() > most {
            return Err(NotSaid::TooLong { most });
        }
        let said = self.endpoint.say(now, connection, bytes);
        self.settle(now);
        said.map_err(|Gone| NotSaid::NoConnection)
    }

    /// Pipes that are not over
    pub fn pipes(&self) -> usize {
        self.pipes.len()
    }

    /// Somebody takes the pipe that was asked for ([`Effect::Asked`])
    ///
    /// # Errors
    /// [`Gone`]: whoever has asked has given it up.
    pub fn open_pipe(&mut self, now: Instant, place: (ConnectionId, StreamId)) -> Result<PipeId, Gone> {
        let (early, head) = self.exchanges.open(place).ok_or(Gone)?;
        let pipe = self.pipes.begin(now, &mut self.endpoint, place, early, head);
        self.settle(now);
        Ok(pipe)
    }

    /// Reads what is next in a pipe, `max` bytes at most
    ///
    /// # Errors
    /// [`StreamError`]: nothing more is to be read.
    pub fn read_pipe(&mut self, now: Instant, pipe: PipeId, max: usize) -> Result<Read, StreamError> {
        let read = self.pipes.read(now, &mut self.endpoint, pipe, max);
        self.settle(now);
        read
    }

    /// Writes as much of `bytes` as there is room for; once that is not all, [`PipeNews::Writable`] tells of room
    ///
    /// # Errors
    /// [`StreamError`]: nothing was written.
    pub fn write_pipe(&mut self, now: Instant, pipe: PipeId, bytes: &[u8]) -> Result<usize, StreamError> {
        let written = self.pipes.write(now, &mut self.endpoint, pipe, bytes);
        self.settle(now);
        written
    }

    /// Nothing more is written into a pipe; [`PipeNews::Arrived`] follows, unless the other end gives it up
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn finish_pipe(&mut self, now: Instant, pipe: PipeId) -> Result<(), StreamError> {
        let finished = self.pipes.finish(now, &mut self.endpoint, pipe);
        self.settle(now);
        finished
    }

    /// Gives up what was written into a pipe and has not arrived: the other end hears `code` where it reads
    pub fn reset_pipe(&mut self, now: Instant, pipe: PipeId, code: u64) {
        self.pipes.reset(now, &mut self.endpoint, pipe, code);
        self.settle(now);
    }

    /// Reads nothing more of a pipe: the other end hears `code` where it writes
    pub fn stop_pipe(&mut self, now: Instant, pipe: PipeId, code: u64) {
        self.pipes.stop(now, &mut self.endpoint, pipe, code);
        self.settle(now);
    }

    /// The next of what was said on a connection
    pub fn take_said(&mut self, connection: ConnectionId) -> Option<Bytes> {
        self.endpoint.take_said(connection)
    }

    /// Hands on what each part says until none says anything more
    fn settle(&mut self, now: Instant) {
        loop {
            while let Some(output) = self.endpoint.poll_output() {
                if let Some(told) = self.introductions.handle_output(now, &mut self.endpoint, output) {
                    self.handle_told(now, told);
                }
            }
            if let Some((pipe, news)) = self.pipes.poll() {
                self.effects.push_back(Effect::Pipe { pipe, news });
            } else if let Some(heard) = self.exchanges.poll() {
                self.handle_heard(now, heard);
            } else {
                return;
            }
        }
    }

    fn handle_told(&mut self, now: Instant, told: Told) {
        let output = match told {
            Told::Met { connection, grant } => return self.effects.push_back(Effect::Check { connection, grant }),
            Told::Output(output) => output,
        };
        match output {
            Output::Send(datagram) => return self.effects.push_back(Effect::Transmit(datagram)),
            Output::Heard { connection } => return self.effects.push_back(Effect::Said { connection }),
            Output::Connected { connection, key, is_early, .. } => {
                self.keys.insert(connection, key);
                self.use_it(key, connection, !is_early);
            }
            Output::Confirmed { connection } => {
                if let Some(key) = self.keys.get(&connection).copied() {
                    self.use_it(key, connection, true);
                }
            }
            _ => {}
        }
        if self.pipes.handle_output(now, &mut self.endpoint, &output) {
            return;
        }
        self.exchanges.handle_output(now, &mut self.endpoint, &output);
        if let Output::Ended { connection, end } = output {
            let key = self.keys.remove(&connection);
            if let Some(key) = key.filter(|key| self.by_key.get(key) == Some(&connection)) {
                // Where both have dialled at once there may be another one.
                match self.keys.iter().find(|(_, of)| **of == key).map(|(other, _)| *other) {
                    Some(other) => _ = self.by_key.insert(key, other),
                    None => _ = self.by_key.remove(&key),
                }
            }
            self.effects.push_back(Effect::Ended { connection, key, end });
        }
    }

    /// It is used with this key from now on, unless another one is: but one whose handshake is not done may never come to be, and
    /// gives way to one whose handshake is
    fn use_it(&mut self, key: Key, connection: ConnectionId, is_confirmed: bool) {
        let used = *self.by_key.entry(key).or_insert(connection);
        if is_confirmed && self.endpoint.is_early(used) {
            self.by_key.insert(key, connection);
        }
    }

    fn handle_heard(&mut self, now: Instant, heard: Heard) {
        match heard {
            Heard::Opened { ticket, place, early } => {
                let pipe = self.pipes.begin(now, &mut self.endpoint, place, early, Vec::new());
                self.effects.push_back(Effect::Done { ticket, fate: Fate::Opened(pipe) });
            }
            Heard::Left { ticket } => self.effects.push_back(Effect::Left { ticket }),
            Heard::Done { ticket, fate } => self.effects.push_back(Effect::Done { ticket, fate }),
            Heard::Asked { connection, stream, question } => {
                // Without a grant it is over: its streams were told after it was admitted.
                if let Some(from) = self.introductions.grant_of(connection).cloned() {
                    self.effects.push_back(Effect::Asked { connection, stream, from, question });
                }
            }
        }
    }
}
