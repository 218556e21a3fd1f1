//! Makes links: dials one node at all of its locations, and lets in who dials this one.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use kith_common::id::Key;
use kith_common::link::limits::Refusal;
use kith_common::link::opening::{Greeting, check_key};
use kith_common::link::reason::{CloseReason, DialError};
use kith_common::status::Status;
use kith_common::wire::session::{Location, Reason};
use libp2p::Multiaddr;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::buffers::Buffered;
use super::connection::{self, Established};
use super::handshake::{Duplex, greet_as_dialler, greet_as_listener, part};
use super::hub::{Hub, Slot};
use super::tls::HandshakeError;
use super::{Dial, Direction, LinkEvent, Opened};
use crate::location::from_wire;

/// A location gets this head start before the next is tried beside it (RFC 8305 has 250 ms)
const HEAD_START: Duration = Duration::from_millis(250);

/// Dials, and either opens the link or says why not
pub(crate) async fn dial(hub: Rc<Hub>, dial: Dial) {
    let attempt = dial.attempt;
    match establish(&hub, dial).await {
        Ok(established) => connection::run(hub, established).await,
        Err(reason) => {
            tracing::info!(event = "dial_failed", attempt, reason = reason.word(), detail = %reason);
            hub.emit(LinkEvent::DialFailed { attempt, reason }).await;
        }
    }
}

/// Lets in one connection; whoever it is has no link until it said hello
pub(crate) async fn admit(hub: Rc<Hub>, stream: impl Duplex + 'static, ip: Option<IpAddr>) {
    let slot = match Slot::pending(&hub, ip) {
        Ok(slot) => slot,
        Err(refusal) => {
            hub.counters.refused_connections.add(1);
            tracing::debug!(event = "connection_refused", ip = ?ip, reason = %refusal);
            return;
        }
    };
    match accept(&hub, stream, ip).await {
        Ok(established) => {
            drop(slot);
            connection::run(hub, established).await;
        }
        Err(reason) => {
            hub.counters.failed_handshakes.add(1);
            tracing::info!(event = "handshake_failed", ip = ?ip, reason = reason.word(), detail = %reason);
        }
    }
}

async fn accept(hub: &Rc<Hub>, stream: impl Duplex + 'static, ip: Option<IpAddr>) -> Result<Established, DialError> {
    let stream = Buffered::new(stream, Rc::clone(&hub.buffers));
    let accepted = timeout(hub.rules.deadlines.handshake, hub.tls.accept(stream)).await;
    let (mut stream, key) = handshake_result(hub, None, accepted)?;
    let template = hub.hello.borrow().clone();
    // Between the hellos: whoever may have no link hears why instead of a hello, so that its dial fails.
    let admit = || Slot::incoming(hub, ip).map_err(too_many);
    let greeting = greet_as_listener(&mut stream, &hub.clock, template, &hub.rules.deadlines, admit).await;
    let (greeting, slot) = or_part(hub, &mut stream, greeting).await?;
    Ok(established(hub, Box::new(stream), key, greeting, slot, Source { attempt: None, location: None, ip }))
}

async fn establish(hub: &Rc<Hub>, dial: Dial) -> Result<Established, DialError> {
    let _dialling = Slot::dial(hub).map_err(DialError::TooManyLinks)?;
    let Connected { mut stream, key, location, ip } = connect_any(hub, &dial).await?;
    let template = hub.hello.borrow().clone();
    let greeting = greet_as_dialler(&mut stream, &hub.clock, template, dial.purpose, &hub.rules.deadlines).await;
    let greeting = or_part(hub, &mut stream, greeting).await?;
    // Links may have come in since the dial began, so the place is taken now.
    let slot = Slot::outgoing(hub).map_err(DialError::TooManyLinks)?;
    let source = Source { attempt: Some(dial.attempt), location: Some(location), ip };
    Ok(established(hub, stream, key, greeting, slot, source))
}

/// Where a link came from
struct Source {
    attempt: Option<u64>,
    location: Option<Location>,
    ip: Option<IpAddr>,
}

fn established(
    hub: &Hub,
    stream: Box<dyn Duplex>,
    key: Key,
    greeting: Greeting,
    slot: Slot,
    source: Source,
) -> Established {
    let direction = if source.attempt.is_some() { Direction::Outgoing } else { Direction::Incoming };
    let opened = kith_common::link::Opened {
        link: hub.next_link(),
        direction,
        key,
        hello: greeting.theirs,
        own_nonce: greeting.own_nonce,
        attempt: source.attempt,
        remote_ip: source.ip,
    };
    let opened = Opened { opened, location: source.location, gauges: Default::default() };
    Established { stream, opened, slot }
}

/// The other side is told why before this node lets go of it.
async fn or_part<T>(hub: &Hub, stream: &mut impl Duplex, result: Result<T, CloseReason>) -> Result<T, DialError> {
    match result {
        Ok(value) => Ok(value),
        Err(reason) => {
            part(stream, &reason, hub.rules.deadlines.bye).await;
            Err(DialError::Hello(reason))
        }
    }
}

fn too_many(refusal: Refusal) -> CloseReason {
    CloseReason::Local { status: Status::SlowDown, reason: Reason::truncated(&refusal.to_string()) }
}

fn handshake_result<S>(
    hub: &Hub,
    wanted: Option<&Key>,
    result: Result<Result<(S, Key), HandshakeError>, tokio::time::error::Elapsed>,
) -> Result<(S, Key), DialError> {
    let after = hub.rules.deadlines.handshake;
    match result {
        Ok(Ok((stream, key))) => check_key(&hub.key, wanted, &key).map(|()| (stream, key)),
        Ok(Err(HandshakeError::OtherKey)) => Err(DialError::OtherKey),
        Ok(Err(HandshakeError::Failed(reason))) => Err(DialError::Handshake(reason)),
        Err(_) => Err(DialError::TimedOut { stage: "handshake", after }),
    }
}

struct Connected {
    stream: Box<dyn Duplex>,
    key: Key,
    location: Location,
    ip: Option<IpAddr>,
}

/// Tries all locations, each a head start after the one before; the first handshake wins
async fn connect_any(hub: &Rc<Hub>, dial: &Dial) -> Result<Connected, DialError> {
    let mut attempts = JoinSet::new();
    for (i, location) in (0..).zip(&dial.locations) {
        let (hub, location, wanted) = (Rc::clone(hub), location.clone(), dial.key);
        attempts.spawn_local(async move {
            sleep(HEAD_START * i).await;
            connect(&hub, location, wanted).await
        });
    }
    let mut failure = DialError::NoLocation;
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            // Returning drops the others, and what they had of a connection with them.
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => failure = worse(failure, error),
            Err(error) => failure = worse(failure, DialError::Connect(error.to_string())),
        }
    }
    Err(failure)
}

async fn connect(hub: &Rc<Hub>, location: Location, wanted: Option<Key>) -> Result<Connected, DialError> {
    let at: Multiaddr = from_wire(&location).map_err(|error| DialError::Connect(error.to_string()))?;
    let after = hub.rules.deadlines.dial;
    let dialled = timeout(after, hub.transport.dial(at)).await;
    let dialled = dialled.map_err(|_| DialError::TimedOut { stage: "connecting", after })?;
    let stream = dialled.map_err(|error| DialError::Connect(format!("{location}: {error}")))?;
    let ip = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
    let stream = Buffered::new(stream, Rc::clone(&hub.buffers));
    let connected = timeout(hub.rules.deadlines.handshake, hub.tls.connect(stream, wanted)).await;
    let (stream, key) = handshake_result(hub, wanted.as_ref(), connected)?;
    Ok(Connected { stream: Box::new(stream), key, location, ip })
}

/// Of two failures the one that says more: who answered over who did not
fn worse(a: DialError, b: DialError) -> DialError {
    const fn weight(error: &DialError) -> u8 {
        match error {
            DialError::NoLocation => 0,
            DialError::TimedOut { .. } => 1,
            DialError::Connect(_) => 2,
            DialError::Handshake(_) => 3,
            _ => 4,
        }
    }
    match (a, b) {
        (DialError::Connect(a), DialError::Connect(b)) if a != b => DialError::Connect(format!("{a}; {b}")),
        (a, b) if weight(&b) > weight(&a) => b,
        (a, _) => a,
    }
}
