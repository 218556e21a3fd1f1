//! Makes links: dials one node at all of its locations, and lets in who dials this one.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use kith_common::id::Key;
use kith_common::link::opening::{Greeting, check_key};
use kith_common::link::permits::Permit;
use kith_common::link::reason::{CloseReason, DialError, DialStage};
use kith_common::link::turns::Stage;
use kith_common::rate::Strangers;
use kith_common::wire::session::{Location, Purpose};
use libp2p::Multiaddr;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsStream;

use super::buffers::Buffered;
use super::connection::{self, Established, Room};
use super::handshake::{Duplex, greet_as_dialler, greet_as_listener, part};
use super::shared::Shared;
use super::tls::HandshakeError;
use super::tls::Tls;
use super::transport::{HEAD_START, Transport};
use super::turns::{Turns, is_in_vain};
use super::{Dial, Direction, HelloTemplate, LinkEvent, Opened};
use crate::location::from_wire;

/// Where links are made: what dials and lets in
pub(crate) struct Gate {
    room: Rc<Room>,
    key: Key,
    tls: Tls,
    pub(crate) transport: Transport,
    /// Borrowed within one call, never across an await
    hello: RefCell<HelloTemplate>,
    /// Where handshakes wait to be computed
    pub(crate) turns: Turns,
    /// Those whose handshake fails
    strangers: Strangers,
}

impl Gate {
    /// Must be called within the link thread's runtime
    pub(crate) fn new(room: Rc<Room>, key: Key, tls: Tls, hello: HelloTemplate) -> Self {
        let (turns, strangers) = (Turns::new(room.shared.clock, room.shared.rules.forwarding), Strangers::default());
        Self { room, key, tls, transport: Transport::new(), hello: RefCell::new(hello), turns, strangers }
    }

    /// Hellos say this from now on
    pub(crate) fn set_hello(&self, hello: HelloTemplate) {
        *self.hello.borrow_mut() = hello;
    }

    fn shared(&self) -> &Shared {
        &self.room.shared
    }
}

/// Dials, and either opens the link or says why not
pub(crate) async fn dial(gate: Rc<Gate>, dial: Dial) {
    let number = dial.number;
    match establish(&gate, dial).await {
        Ok(established) => connection::run(Rc::clone(&gate.room), established).await,
        Err(reason) => {
            tracing::info!(event = "dial_failed", dial = number, reason = reason.word(), detail = %reason);
            gate.shared().emit(LinkEvent::DialFailed { dial: number, reason }).await;
        }
    }
}

/// Lets in one connection; whoever it is has no link until it said hello
pub(crate) async fn admit(gate: Rc<Gate>, stream: TcpStream, ip: Option<IpAddr>) {
    let (visitor, put_out) = match gate.room.registry.enter(gate.shared().clock.now(), ip) {
        Ok(entered) => entered,
        Err(refusal) => {
            gate.shared().counters.refused_connections.add(1);
            tracing::debug!(event = "connection_refused", ip = ?ip, reason = %refusal);
            return;
        }
    };
    let accepted = tokio::select! {
        accepted = accept(&gate, stream, ip, &visitor.permit) => accepted,
        () = put_out.woken() => {
            gate.shared().counters.refused_connections.add(1);
            tracing::debug!(event = "connection_put_out", ip = ?ip, reason = "said nothing, and others want its place");
            return;
        }
    };
    match accepted {
        Ok(established) => {
            drop(visitor);
            connection::run(Rc::clone(&gate.room), established).await;
        }
        Err(reason) => {
            gate.shared().counters.failed_handshakes.add(1);
            let word = reason.word();
            match gate.strangers.count(gate.shared().clock.now()) {
                Some(count) => {
                    tracing::info!(event = "handshake_failed", count, ip = ?ip, reason = word, detail = %reason);
                }
                None => tracing::debug!(event = "handshake_failed", ip = ?ip, reason = word, detail = %reason),
            }
        }
    }
}

async fn accept(
    gate: &Rc<Gate>,
    stream: TcpStream,
    ip: Option<IpAddr>,
    permit: &Permit,
) -> Result<Established, DialError> {
    let handshake = async {
        // Nothing is computed, and no buffer is held, for a connection that says nothing.
        let first = stream.peek(&mut [0]).await;
        if first.map_err(|error| HandshakeError::Failed(error.to_string()))? > 0 {
            permit.on_first_byte();
        }
        gate.turns.by_turns(Stage::Arrived, compute(gate, stream)).await
    };
    let accepted = gate.shared().clock.within(gate.shared().rules.deadlines.handshake, handshake).await;
    let (mut stream, key) = handshake_result(gate, None, accepted)?;
    let template = gate.hello.borrow().clone();
    // Between the hellos: whoever may have no link hears why instead of a hello, so that its dial fails.
    let admit = |purpose| gate.room.registry.permits.incoming(ip, purpose).map_err(CloseReason::from);
    let greeting =
        greet_as_listener(&mut stream, &gate.shared().clock, template, &gate.shared().rules.deadlines, admit).await;
    let (greeting, permit) = or_part(gate, &mut stream, greeting).await?;
    Ok(established(gate, Box::new(stream), key, greeting, permit, Source { dial: None, location: None, ip }))
}

/// The listener's side of a handshake, if its dialler is still there
async fn compute(gate: &Gate, stream: TcpStream) -> Result<(TlsStream<Buffered<TcpStream>>, Key), HandshakeError> {
    if is_in_vain(&stream) {
        gate.shared().counters.left_diallers.add(1);
        return Err(HandshakeError::Failed("the dialler has left".into()));
    }
    gate.turns.begun();
    gate.tls.accept(Buffered::new(stream, Rc::clone(&gate.shared().buffers))).await
}

async fn establish(gate: &Rc<Gate>, dial: Dial) -> Result<Established, DialError> {
    let _dialling = gate.room.registry.permits.dial().map_err(DialError::TooManyLinks)?;
    let Connected { mut stream, key, location, ip } = connect_any(gate, &dial).await?;
    let template = gate.hello.borrow().clone();
    let greeting =
        greet_as_dialler(&mut stream, &gate.shared().clock, template, dial.purpose, &gate.shared().rules.deadlines)
            .await;
    let greeting = or_part(gate, &mut stream, greeting).await?;
    // Links may have come in since the dial began, so the permit is taken now.
    let permit = gate.room.registry.permits.outgoing().map_err(DialError::TooManyLinks)?;
    let source = Source { dial: Some(dial.number), location: Some(location), ip };
    Ok(established(gate, stream, key, greeting, permit, source))
}

/// Where a link came from
struct Source {
    dial: Option<u64>,
    location: Option<Location>,
    ip: Option<IpAddr>,
}

fn established(
    gate: &Gate,
    stream: Box<dyn Duplex>,
    key: Key,
    greeting: Greeting,
    permit: Permit,
    source: Source,
) -> Established {
    let direction = if source.dial.is_some() { Direction::Outgoing } else { Direction::Incoming };
    let opened = kith_common::link::Opened {
        link: gate.room.registry.next_link(),
        direction,
        key,
        hello: greeting.theirs,
        own_nonce: greeting.own_nonce,
        dial: source.dial,
        remote_ip: source.ip,
    };
    let opened = Opened { opened, location: source.location, gauges: Default::default() };
    Established { stream, opened, permit }
}

/// The other side is told why before this node lets go of it.
async fn or_part<T>(gate: &Gate, stream: &mut impl Duplex, result: Result<T, CloseReason>) -> Result<T, DialError> {
    match result {
        Ok(value) => Ok(value),
        Err(reason) => {
            part(stream, &reason, gate.shared().rules.deadlines.bye).await;
            Err(DialError::Hello(reason))
        }
    }
}

fn handshake_result<S>(
    gate: &Gate,
    wanted: Option<&Key>,
    result: Option<Result<(S, Key), HandshakeError>>,
) -> Result<(S, Key), DialError> {
    let after = gate.shared().rules.deadlines.handshake;
    match result {
        Some(Ok((stream, key))) => check_key(&gate.key, wanted, &key).map(|()| (stream, key)),
        Some(Err(HandshakeError::OtherKey)) => Err(DialError::OtherKey),
        Some(Err(HandshakeError::Failed(reason))) => Err(DialError::Handshake(reason)),
        None => Err(DialError::TimedOut { stage: DialStage::Handshake, after }),
    }
}

struct Connected {
    stream: Box<dyn Duplex>,
    key: Key,
    location: Location,
    ip: Option<IpAddr>,
}

/// Tries all locations, each a head start after the one before; the first handshake wins
async fn connect_any(gate: &Rc<Gate>, dial: &Dial) -> Result<Connected, DialError> {
    let mut connections = JoinSet::new();
    for (i, location) in (0..).zip(&dial.locations) {
        let (gate, location, wanted) = (Rc::clone(gate), location.clone(), dial.key);
        let stage = if dial.purpose == Purpose::Home { Stage::Home } else { Stage::Begun };
        connections.spawn_local(async move {
            sleep(HEAD_START * i).await;
            connect(&gate, location, wanted, stage).await
        });
    }
    let mut failure = DialError::NoLocation;
    while let Some(connected) = connections.join_next().await {
        match connected {
            // Returning drops the others, and what they had of a connection with them.
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => failure = worse(failure, error),
            Err(error) => failure = worse(failure, DialError::Connect(error.to_string())),
        }
    }
    Err(failure)
}

async fn connect(
    gate: &Rc<Gate>,
    location: Location,
    wanted: Option<Key>,
    stage: Stage,
) -> Result<Connected, DialError> {
    let at: Multiaddr = from_wire(&location).map_err(|error| DialError::Connect(error.to_string()))?;
    let after = gate.shared().rules.deadlines.dial;
    let dialled = gate.shared().clock.within(after, gate.transport.dial(&at)).await;
    let dialled = dialled.ok_or(DialError::TimedOut { stage: DialStage::Connecting, after })?;
    let stream = dialled.map_err(|error| DialError::Connect(format!("{location}: {error}")))?;
    let ip = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
    let stream = Buffered::new(stream, Rc::clone(&gate.shared().buffers));
    let limit = gate.shared().rules.deadlines.handshake;
    let handshake = gate.turns.by_turns(stage, gate.tls.connect(stream, wanted));
    let connected = gate.shared().clock.within(limit, handshake).await;
    let (stream, key) = handshake_result(gate, wanted.as_ref(), connected)?;
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
