//! Who the other end is in the network: each shows its grant in the first stream that it opens.
//!
//! TLS has proved the keys. A grant is a supernode's word for the name and the address of a key; it holds no time, so whoever
//! is new here is held against the directory as well, which is the shell's to ask. Until that is done nothing else that the
//! other end sends is looked at: its streams wait, within the bounds that QUIC sets them. Whom this peer has dialled the directory
//! has named by its key, so that it may be asked at once; what it asks itself waits as well.
//!
//! Whoever gets another address shows its new grant on the connections that it has, and the packets of the other ends follow.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::crypto::Verifier;
use kith_common::id::{NetworkId, SessionId};
use kith_common::time::{Instant, Timers};
use kith_common::wire;
use kith_common::wire::grant::{Grant, SignedGrant};

use crate::Endpoint;
use crate::output::{ConnectionId, Direction, Output, StreamId};
use crate::streams::Read;
use crate::writing::Writing;

/// What a stream begins with, if a grant is to follow
const GRANT: u8 = 1;

/// So long the other end may take to show its grant after it has proved its key, and the directory to be asked for it: a
/// round trip, and a few tries that are lost
pub const INTRODUCTION_WAIT: Duration = Duration::from_secs(10);

/// So long a dialled end may take to prove its key, and one that has begun with a ticket to end the handshake: among liars that drop half of all packets the slowest took 8.1 s
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(15);

/// Bytes of a grant with its certificate at most, and the one before them
const GRANT_BYTES_MAX: usize = 1024;

/// The other end's grant is not good, or shows somebody else
pub const CODE_NOT_ALLOWED: u64 = 403;
/// It has shown none in time
pub const CODE_NOT_SHOWN: u64 = 401;

/// Grants that one connection may show: as many sessions in a minute nobody has
const GRANTS_MAX: u32 = 64;

/// How far the other end is known
#[derive(Debug)]
struct Acquaintance {
    /// Whether the handshake is still under way, which has a deadline of its own that nothing the other end says moves
    is_early: bool,
    /// Whether it may be asked before it is known
    is_dialled: bool,
    /// Its streams with a grant that has not come as a whole
    reading: BTreeMap<StreamId, Vec<u8>>,
    /// How many grants it has shown
    shown: u32,
    /// The newest that it has shown, while the directory is asked for it
    pending: Option<Grant>,
    /// The one with which it was admitted
    grant: Option<Grant>,
    /// What was told of it before it was admitted
    waiting: Vec<Output>,
    /// The own grant on its way
    showing: Option<(StreamId, Writing)>,
    /// Whether the own grant waits for a stream
    is_to_show: bool,
}

/// What is told of a connection, once its other end is known
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// As the endpoint has said it
    Output(Output),
    /// The other end has shown a good grant, of another session than any before: whether that lasts is to be asked
    /// ([`Introductions::admit`], [`Introductions::refuse`])
    Met { connection: ConnectionId, grant: Grant },
}

/// Shows the own grant on all connections of an endpoint, and looks at those of others
pub struct Introductions<V> {
    network: NetworkId,
    verifier: V,
    own: SignedGrant,
    known: BTreeMap<ConnectionId, Acquaintance>,
    /// Until when handshakes must be done, and those be known that have shown nothing yet, or for which the directory is asked
    deadlines: Timers<ConnectionId>,
}

impl<V: Verifier> Introductions<V> {
    /// Nobody is known yet; `own` is the grant of the present session
    pub fn new(network: NetworkId, verifier: V, own: SignedGrant) -> Self {
        Self { network, verifier, own, known: BTreeMap::new(), deadlines: Timers::default() }
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

    /// A connection is being made: whoever does not prove its key in time is dialled anew, as what is left of an earlier try at the
    /// other end may answer all that comes and never finish
    pub fn begin(&mut self, now: Instant, connection: ConnectionId) {
        self.deadlines.set(now + HANDSHAKE_WAIT, connection);
    }

    /// Shows the own grant on a stream of its own, or as soon as there is one
    fn show(&mut self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId) {
        let Some(known) = self.known.get_mut(&connection) else { return };
        let Ok(mut bytes) = wire::encode(&self.own) else { return };
        bytes.insert(0, GRANT);
        known.is_to_show = true;
        let Ok(Some(stream)) = endpoint.open(connection, Direction::One) else { return };
        (known.showing, known.is_to_show) = (Some((stream, Writing::new(bytes))), false);
        self.write(now, endpoint, connection);
    }

    fn write(&mut self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId) {
        let Some(known) = self.known.get_mut(&connection) else { return };
        let Some((stream, writing)) = &mut known.showing else { return };
        // Whoever wants none of it has ended the connection, or will.
        if writing.write(now, endpoint, (connection, *stream)).unwrap_or(true) {
            known.showing = None;
        }
    }

    /// The endpoint tells something that is not for the mesh: what follows for those who use its connections
    pub fn handle_output(&mut self, now: Instant, endpoint: &mut Endpoint, output: Output) -> Option<Told> {
        match output {
            Output::Connected { connection, is_theirs, is_early, .. } => {
                let known = Acquaintance {
                    is_early,
                    is_dialled: !is_theirs,
                    reading: BTreeMap::new(),
                    shown: 0,
                    pending: None,
                    grant: None,
                    waiting: Vec::new(),
                    showing: None,
                    is_to_show: false,
                };
                self.known.insert(connection, known);
                self.deadlines.set(now + if is_early { HANDSHAKE_WAIT } else { INTRODUCTION_WAIT }, connection);
                self.show(now, endpoint, connection);
                self.pass(connection, output)
            }
            Output::Confirmed { connection } => {
                if let Some(known) = self.known.get_mut(&connection) {
                    known.is_early = false;
                    if known.grant.is_some() && known.pending.is_none() {
                        self.deadlines.stop(&connection);
                    } else {
                        self.deadlines.set(now + INTRODUCTION_WAIT, connection);
                    }
                }
                self.pass(connection, output)
            }
            Output::Ended { connection, .. } => {
                self.forget(connection);
                Some(Told::Output(output))
            }
            // Whatever else there is has streams on which both write.
            Output::Opened { connection, stream, direction: Direction::One } => {
                self.known.get_mut(&connection)?.reading.insert(stream, Vec::new());
                self.read(now, endpoint, connection, stream)
            }
            Output::Readable { connection, stream } if stream.is_one_way() => {
                self.read(now, endpoint, connection, stream)
            }
            Output::Writable { connection, stream } if stream.is_one_way() => {
                self.write(now, endpoint, connection);
                None
            }
            Output::Finished { stream, .. } | Output::Stopped { stream, .. } if stream.is_one_way() => None,
            Output::Room { connection, direction: Direction::One } => {
                if self.known.get(&connection).is_some_and(|known| known.is_to_show) {
                    self.show(now, endpoint, connection);
                }
                None
            }
            Output::Send(_) | Output::WayChanged { .. } => Some(Told::Output(output)),
            Output::Opened { connection, .. }
            | Output::Readable { connection, .. }
            | Output::Writable { connection, .. }
            | Output::Finished { connection, .. }
            | Output::Stopped { connection, .. }
            | Output::Room { connection, .. }
            | Output::Heard { connection } => self.pass(connection, output),
        }
    }

    /// Tells it, or keeps it until the other end is admitted
    fn pass(&mut self, connection: ConnectionId, output: Output) -> Option<Told> {
        let known = self.known.get_mut(&connection)?;
        let is_theirs = matches!(output, Output::Opened { .. } | Output::Heard { .. });
        if known.grant.is_some() || (known.is_dialled && !is_theirs) {
            return Some(Told::Output(output));
        }
        // What is there to be read on a stream is looked at when that is told; and that there are datagrams is told once.
        let is_heard = |output: &Output| matches!(output, Output::Heard { .. });
        let is_needless =
            matches!(output, Output::Readable { .. }) || (is_heard(&output) && known.waiting.iter().any(is_heard));
        if !is_needless {
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
                Ok(Read::Bytes(_)) => {
                    self.close(now, endpoint, connection, CODE_NOT_ALLOWED, "its grant is too long");
                    return None;
                }
                // Another one may come, and must in time.
                Err(_) => {
                    known.reading.remove(&stream);
                    return None;
                }
            }
        }
        let bytes = known.reading.remove(&stream)?;
        known.shown += 1;
        if known.shown > GRANTS_MAX {
            self.close(now, endpoint, connection, CODE_NOT_ALLOWED, "it has shown more grants than anybody has");
            return None;
        }
        let Some(bytes) = bytes.strip_prefix(&[GRANT]) else {
            self.close(now, endpoint, connection, CODE_NOT_ALLOWED, "it has opened a stream of an unknown kind");
            return None;
        };
        match self.judge(endpoint, connection, bytes) {
            Ok(grant) => self.meet(now, connection, grant),
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

    fn meet(&mut self, now: Instant, connection: ConnectionId, grant: Grant) -> Option<Told> {
        let known = self.known.get_mut(&connection)?;
        // An older session's grant, which came late, takes back nothing.
        let is_old = |before: &Grant| grant.epoch < before.epoch || grant.session == before.session;
        if known.grant.as_ref().is_some_and(is_old) || known.pending.as_ref().is_some_and(is_old) {
            return None;
        }
        known.pending = Some(grant.clone());
        if !known.is_early {
            self.deadlines.set(now + INTRODUCTION_WAIT, connection);
        }
        Some(Told::Met { connection, grant })
    }

    /// The directory knows this session: packets go to its address, and what has waited is told. Another session that was shown
    /// meanwhile is asked for by itself.
    pub fn admit(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        connection: ConnectionId,
        session: SessionId,
    ) -> Vec<Output> {
        let Some(known) = self.known.get_mut(&connection) else { return Vec::new() };
        let Some(grant) = known.pending.take_if(|pending| pending.session == session) else { return Vec::new() };
        endpoint.set_address(now, connection, grant.address);
        endpoint.set_admitted(connection);
        known.grant = Some(grant);
        if !known.is_early {
            self.deadlines.stop(&connection);
        }
        std::mem::take(&mut known.waiting)
    }

    /// The directory does not know it, or knows its name as another's: the connection ends with `code`
    pub fn refuse(&mut self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId, code: u64) {
        self.close(now, endpoint, connection, code, "it is not whom its grant says, or not any more");
    }

    fn close(&mut self, now: Instant, endpoint: &mut Endpoint, connection: ConnectionId, code: u64, reason: &str) {
        tracing::info!(event = "end_refused", connection = connection.0, code, reason);
        self.forget(connection);
        endpoint.close(now, connection, code);
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.known.remove(&connection);
        self.deadlines.stop(&connection);
    }

    /// The grant with which the other end was admitted
    pub fn grant_of(&self, connection: ConnectionId) -> Option<&Grant> {
        self.known.get(&connection)?.grant.as_ref()
    }

    /// Ends connections whose other ends are not known in time
    pub fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        while let Some(connection) = self.deadlines.take_due(now) {
            self.close(now, endpoint, connection, CODE_NOT_SHOWN, "it is not known in time who is there");
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next_timeout()
    }
}
