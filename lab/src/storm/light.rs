//! A light peer: an identity with a true session over a true link, and no links to others.
//!
//! It stands in the ring like everybody, and takes no link there. What it may do beside staying is asking for others, one
//! after the other.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kith_common::id::Name;
use kith_common::link::HelloTemplate;
use kith_common::link::limits::Deadlines;
use kith_common::link::opening::Opening;
use kith_common::session::membership::MembershipConfig;
use kith_common::status::Status;
use kith_common::wire::session::{Found, Listening, Locations, LookUp, Purpose, Role, Subject};
use kith_runtime::clock::Clock;
use kith_runtime::link::{DialError, DialStage};
use libp2p::tls::Config;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::board::Board;
pub(crate) use super::shell::Dialled;
use super::shell::{Dialler, Shell, Told};
use crate::draw::Draw;
use crate::wire::{self, Wire};

/// An answer that comes later is none: so long whoever asks waits
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// What makes one light peer
pub(super) struct Light {
    /// Its place on the board
    pub(super) place: usize,
    pub(super) shell: Shell,
    pub(super) board: Arc<Board>,
    /// What it asks for, if it asks
    pub(super) asking: Option<Asking>,
}

/// A light peer's questions: one after the other, whoever answers
pub(super) struct Asking {
    pub(super) every: Duration,
    /// Whom it asks for
    pub(super) names: Arc<[Name]>,
    pub(super) draw: Draw,
    next: Instant,
    query: u64,
    asked: Option<Instant>,
}

impl Asking {
    /// The first question comes after a random part of the time between two
    pub(super) fn new(every: Duration, names: Arc<[Name]>, mut draw: Draw) -> Self {
        let part = every.mul_f64(draw.below(1_000) as f64 / 1_000.0);
        Self { every, names, draw, next: Instant::now() + part, query: 0, asked: None }
    }

    /// The next question, and the time of the one after it
    fn question(&mut self) -> Option<LookUp> {
        let now = Instant::now();
        self.next = now + self.every;
        let name = self.names.get(self.draw.below(self.names.len()))?.clone();
        self.query += 1;
        self.asked = Some(now);
        Some(LookUp { query: self.query, ttl: 0, subject: Subject::Name(name), may_be_stale: false })
    }

    /// Whether this is an answer to the last question that came in time and is sure
    fn is_answer(&mut self, found: &Found) -> bool {
        let in_time = self.asked.take_if(|_| found.query == self.query).is_some_and(|at| at.elapsed() <= ANSWER_WAIT);
        in_time && found.status == Status::Delivered && !found.is_stale
    }
}

impl Light {
    /// Logs in, and stays, whatever happens, until `stop` says so; then it logs out
    pub(super) async fn live(self, mut stop: watch::Receiver<bool>) {
        let Self { place, mut shell, board, mut asking } = self;
        let (mut is_in, mut is_stopping) = (false, false);
        loop {
            while let Some(told) = shell.drain().await {
                match told {
                    Told::Dialled => board.tried(place),
                    Told::LoggedIn => {
                        is_in = true;
                        board.came_in(place, shell.home());
                    }
                    Told::Lost => {
                        is_in = false;
                        board.went_out(place);
                    }
                    Told::Refused => board.refused(place),
                    Told::Found(found) => {
                        if asking.as_mut().is_some_and(|asking| asking.is_answer(&found)) {
                            board.answered();
                        }
                    }
                    Told::LoggedOut => return,
                }
            }
            let next_question = asking.as_ref().map(|asking| asking.next);
            tokio::select! {
                event = shell.wait() => shell.take(event).await,
                // The sender is gone only with the storm itself.
                _ = stop.changed(), if !is_stopping => {
                    is_stopping = true;
                    shell.log_out();
                }
                () = at(next_question), if is_in && !is_stopping => {
                    if let Some(question) = asking.as_mut().and_then(Asking::question) {
                        shell.ask(question).await;
                    }
                }
            }
        }
    }
}

/// At that time, or never
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Dials at any time with this certificate, as soon as there is a permit for it
pub(super) fn in_turn_with(tls: Config, clock: Clock, handshakes: Arc<Semaphore>) -> Dialler {
    Box::new(move |locations| Box::pin(in_turn(Arc::clone(&handshakes), dial_one(tls.clone(), clock, locations))))
}

/// Dials as soon as there is a permit for it
async fn in_turn(
    handshakes: Arc<Semaphore>,
    dial: impl Future<Output = Result<Dialled, DialError>>,
) -> Result<Dialled, DialError> {
    // The semaphore is never closed.
    let _permit = handshakes.acquire().await.map_err(|error| DialError::Connect(error.to_string()))?;
    dial.await
}

/// What a light peer of this name is configured with
pub(crate) fn membership(name: Name, supernodes: Vec<String>) -> MembershipConfig {
    MembershipConfig {
        name,
        supernodes,
        learned: Vec::new(),
        network: None,
        secret: None,
        invite: None,
        external: Locations::default(),
        listening: Listening::default(),
    }
}

/// Dials one location after the other until one has both hellos
pub(crate) async fn dial_one(tls: Config, clock: Clock, locations: Vec<String>) -> Result<Dialled, DialError> {
    let mut last = DialError::NoLocation;
    for at in locations.iter().filter_map(|location| socket_of(location)) {
        match open(tls.clone(), clock, at).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn open(tls: Config, clock: Clock, at: SocketAddr) -> Result<Dialled, DialError> {
    let Deadlines { dial, handshake, hello, .. } = Deadlines::default();
    let timed_out = |stage, after| move |_| DialError::TimedOut { stage, after };
    let refused = |error: std::io::Error| DialError::Connect(error.to_string());
    let tcp = timeout(dial, TcpStream::connect(at)).await.map_err(timed_out(DialStage::Connecting, dial))?;
    let connected = timeout(handshake, wire::connect_on(tls, tcp.map_err(refused)?)).await;
    let (peer, stream) = connected.map_err(timed_out(DialStage::Handshake, handshake))?.map_err(refused)?;
    let failed = |text: String| DialError::Handshake(text);
    let key = wire::key_of(&peer).ok_or_else(|| failed("a key of another kind".into()))?;
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| failed(error.to_string()))?;
    let template = HelloTemplate { role: Role::Peer, boot: 1, network: None, grant: None };
    let (opening, first) = Opening::dial(clock.now(), template, Purpose::Home, nonce, &Deadlines::default());
    let mut wire = Wire::new(stream);
    let exchanged = async {
        wire.send(&first).await?;
        wire.receive().await
    };
    let exchanged = timeout(hello, exchanged).await.map_err(|_| DialError::Hello(Opening::TOO_LATE))?;
    let (kind, body) = exchanged.map_err(|error| DialError::Hello(error.into()))?;
    let (greeting, _) = opening.handle_frame(kind, &body).map_err(DialError::Hello)?;
    Ok(Dialled { key, wire, greeting })
}

/// Where a location leads that needs no resolver
fn socket_of(location: &str) -> Option<SocketAddr> {
    let mut parts = location.split('/').skip(1);
    let (family, ip, tcp, port) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_one = ["ip4", "ip6"].contains(&family) && tcp == "tcp";
    is_one.then_some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn location_of_either_family_is_a_socket() {
        assert_eq!(socket_of("/ip4/127.0.0.1/tcp/7400"), Some("127.0.0.1:7400".parse().expect("one")));
        assert_eq!(socket_of("/ip6/::1/tcp/7400"), Some("[::1]:7400".parse().expect("one")));
        for other in ["", "/dns/hub/tcp/7400", "/ip4/127.0.0.1/udp/7400", "/ip4/127.0.0.1"] {
            assert_eq!(socket_of(other), None, "{other}");
        }
    }
}
