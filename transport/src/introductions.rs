//! Who the other end is in the network: each shows its grant in the first stream that it opens.
//!
//! TLS has proved the keys. A grant is a supernode's word for the name and the address of a key; it holds no time, so whoever
//! is new here is held against the directory as well, which is the shell's to ask. Until that is done nothing else that the
//! other end sends is looked at: its streams wait, within the bounds that QUIC sets them. Whom this peer has dialled it has had
//! from the directory, key and all, so that nothing is left to be asked.
//!
//! Whoever gets another address shows its new grant on the connections that it has, and the packets of the other ends follow.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::crypto::Verifier;
use kith_common::id::NetworkId;
use kith_common::time::{Instant, earliest};
use kith_common::wire;
use kith_common::wire::grant::{Grant, SignedGrant};

use crate::Endpoint;
use crate::output::{ConnectionId, Direction, Output, StreamId};
use crate::streams::{Read, StreamError};

/// What a stream begins with, if a grant is to follow
const GRANT: u8 = 1;

/// So long the other end may take to show its grant after it has proved its key, and the directory to be asked for it: a
/// round trip, and a few tries that are lost
pub const INTRODUCTION_WAIT: Duration = Duration::from_secs(10);

/// Bytes of a grant with its certificate at most, and the one before them
const GRANT_BYTES_MAX: usize = 1024;

/// The other end's grant is not good, or shows somebody else
pub const CODE_NOT_ALLOWED: u64 = 403;
/// It has shown none in time
pub const CODE_NOT_SHOWN: u64 = 401;

/// How far the other end is known
#[derive(Debug)]
struct Acquaintance {
    /// Until when it must be known
    until: Instant,
    /// Its streams with a grant that has not come as a whole
    reading: BTreeMap<StreamId, Vec<u8>>,
    /// The newest grant that it has shown
    grant: Option<Grant>,
    is_admitted: bool,
    /// What was told of it before it was admitted
    waiting: Vec<Output>,
}

/// What is told of a connection, once its other end is known
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// As the endpoint has said it
    Output(Output),
    /// The other end has shown a good grant, which is its first here, or is of another session than the one before: whether
    /// that lasts is to be asked ([`Introductions::admit`], [`Introductions::refuse`])
    Met { connection: ConnectionId, grant: Grant },
    /// Whom this peer has dialled has shown its first grant
    Shown { connection: ConnectionId },
}

/// Shows the own grant on all connections of an endpoint, and looks at those of others
pub struct Introductions<V> {
    network: NetworkId,
    verifier: V,
    own: SignedGrant,
    known: BTreeMap<ConnectionId, Acquaintance>,
}

impl<V: Verifier> Introductions<V> {
    /// Nobody is known yet; `own` is the grant of the present session
    pub const fn new(network: NetworkId, verifier: V, own: SignedGrant) -> Self {
        Self { network, verifier, own, known: BTreeMap::new() }
    }

    /// The peer has another session: all other ends are shown its grant
    pub fn set_own(&mut self, now: Instant, endpoint: &mut Endpoint, own: SignedGrant) {
        if own == self.own {
            return;
        }
        self.own = own;
        for connection in self.known.keys().copied().collect::<Vec<_>>() {
            self.show(now, endpoint, connection);
        }
    }

    /// A connection that takes no stream, or no byte of it, by now is one that is over, or as good as that: it ends by silence
    fn show(&self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId) {
        let Ok(mut bytes) = wire::encode(&self.own) else { return };
        bytes.insert(0, GRANT);
        let Ok(Some(stream)) = endpoint.open(connection, Direction::One) else {
            return tracing::debug!(event = "grant_not_shown", connection = connection.0, reason = "no stream is left");
        };
        let written = endpoint.write(now, connection, stream, &bytes);
        if written.is_ok_and(|written| written == bytes.len()) {
            // What was written goes out with its end.
            let _: Result<(), StreamError> = endpoint.finish(now, connection, stream);
        } else {
            let _: Result<(), _> = endpoint.reset(now, connection, stream, CODE_NOT_SHOWN);
        }
    }

    /// The endpoint tells something that is not for the mesh: what follows for those who use its connections
    pub fn handle_output(&mut self, now: Instant, endpoint: &mut Endpoint, output: Output) -> Option<Told> {
        match output {
            Output::Send(_) | Output::WayChanged { .. } => Some(Told::Output(output)),
            Output::Connected { connection, is_theirs, .. } => {
                let until = now + INTRODUCTION_WAIT;
                let (reading, is_admitted) = (BTreeMap::new(), !is_theirs);
                let known = Acquaintance { until, reading, grant: None, is_admitted, waiting: Vec::new() };
                self.known.insert(connection, known);
                self.show(now, endpoint, connection);
                self.pass(connection, output)
            }
            Output::Ended { connection, .. } => {
                // Who was never told of a connection need not hear of its end, unless it has asked for it.
                self.known.remove(&connection);
                Some(Told::Output(output))
            }
            Output::Readable { connection, stream } if self.is_reading(connection, stream) => {
                self.read(now, endpoint, connection, stream)
            }
            // Whatever else there is has streams on which both write.
            Output::Opened { connection, stream, direction: Direction::One } => {
                self.known.get_mut(&connection)?.reading.insert(stream, Vec::new());
                self.read(now, endpoint, connection, stream)
            }
            Output::Opened { connection, .. }
            | Output::Readable { connection, .. }
            | Output::Writable { connection, .. }
            | Output::Finished { connection, .. }
            | Output::Stopped { connection, .. }
            | Output::Room { connection, .. }
            | Output::Heard { connection } => self.pass(connection, output),
        }
    }

    fn is_reading(&self, connection: ConnectionId, stream: StreamId) -> bool {
        self.known.get(&connection).is_some_and(|known| known.reading.contains_key(&stream))
    }

    /// Tells it, or keeps it until the other end is admitted
    fn pass(&mut self, connection: ConnectionId, output: Output) -> Option<Told> {
        let known = self.known.get_mut(&connection)?;
        if known.is_admitted {
            return Some(Told::Output(output));
        }
        // Each kind once for each stream: QUIC bounds these, and what is told again is the same.
        if !known.waiting.contains(&output) {
            known.waiting.push(output);
        }
        None
    }

    /// Reads what has come of a grant
    fn read(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        connection: ConnectionId,
        stream: StreamId,
    ) -> Option<Told> {
        let known = self.known.get_mut(&connection)?;
        let bytes = known.reading.get_mut(&stream)?;
        loop {
            match endpoint.read(now, connection, stream, GRANT_BYTES_MAX) {
                Ok(Read::Bytes(more)) if bytes.len() + more.len() <= GRANT_BYTES_MAX => bytes.extend_from_slice(&more),
                Ok(Read::Nothing) => return None,
                Ok(Read::End) => break,
                Ok(Read::Bytes(_)) | Err(_) => {
                    self.close(now, endpoint, connection, CODE_NOT_ALLOWED, "its grant is too long, or was given up");
                    return None;
                }
            }
        }
        let bytes = known.reading.remove(&stream)?;
        let Some(bytes) = bytes.strip_prefix(&[GRANT]) else {
            self.close(now, endpoint, connection, CODE_NOT_ALLOWED, "it has opened a stream of an unknown kind");
            return None;
        };
        match self.judge(endpoint, connection, bytes) {
            Ok(grant) => self.meet(now, endpoint, connection, grant),
            Err(reason) => {
                self.close(now, endpoint, connection, CODE_NOT_ALLOWED, &reason);
                None
            }
        }
    }

    fn judge(&self, endpoint: &Endpoint, connection: ConnectionId, bytes: &[u8]) -> Result<Grant, String> {
        let signed: SignedGrant = wire::decode(bytes).map_err(|error| error.to_string())?;
        let grant = signed.verify(&self.network, &self.verifier).map_err(|error| error.to_string())?;
        match endpoint.key_of(connection) {
            Some(key) if key == grant.key => Ok(grant),
            _ => Err("it names another key than the one that was proved".to_owned()),
        }
    }

    fn meet(&mut self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId, grant: Grant) -> Option<Told> {
        let known = self.known.get_mut(&connection)?;
        // An older session's grant, which came late, takes back nothing.
        if known.grant.as_ref().is_some_and(|newer| grant.epoch < newer.epoch) {
            return None;
        }
        let before = known.grant.replace(grant.clone()).map(|before| before.session);
        endpoint.set_address(now, connection, grant.address);
        match before {
            // The directory has named it just now.
            None if known.is_admitted => Some(Told::Shown { connection }),
            Some(session) if session == grant.session => None,
            _ => Some(Told::Met { connection, grant }),
        }
    }

    /// The directory knows the session of the grant that was shown: what has waited is told
    pub fn admit(&mut self, connection: ConnectionId) -> Vec<Output> {
        let Some(known) = self.known.get_mut(&connection) else { return Vec::new() };
        known.is_admitted = true;
        std::mem::take(&mut known.waiting)
    }

    /// The directory does not know it, or knows its name as another's: the connection ends with `code`
    pub fn refuse(&mut self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId, code: u64) {
        self.close(now, endpoint, connection, code, "the directory does not know its session");
    }

    fn close(&mut self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId, code: u64, reason: &str) {
        tracing::info!(event = "end_refused", connection = connection.0, code, reason);
        self.known.remove(&connection);
        endpoint.close(now, connection, code);
    }

    /// The other end's newest grant
    pub fn grant_of(&self, connection: ConnectionId) -> Option<&Grant> {
        self.known.get(&connection)?.grant.as_ref()
    }

    /// Ends connections whose other ends are not known in time
    pub fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        let late = self.known.iter().filter(|(_, known)| !known.is_admitted && known.until <= now);
        for connection in late.map(|(connection, _)| *connection).collect::<Vec<_>>() {
            self.close(now, endpoint, connection, CODE_NOT_SHOWN, "it is not known in time who is there");
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        let waiting = self.known.values().filter(|known| !known.is_admitted);
        waiting.map(|known| Some(known.until)).fold(None, earliest)
    }
}
