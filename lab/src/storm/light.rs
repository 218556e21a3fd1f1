//! A light peer: an identity with a true session over a true link, and no links to others.
//!
//! What it does is the product's own [`Membership`]; this is the shell around it, small enough for thousands in one
//! process. It stands in the ring like everybody, and takes no link there.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kith_common::id::Key;
use kith_common::link::HelloTemplate;
use kith_common::link::limits::Deadlines;
use kith_common::link::opening::{Greeting, Opening};
use kith_common::link::reason::Slow;
use kith_common::session::membership::{Membership, MembershipConfig, MembershipOutput};
use kith_common::status::Status;
use kith_common::wire::link::ProbeReply;
use kith_common::wire::session::{Purpose, Reason, Role};
use kith_common::wire::{Bye, Frame};
use kith_runtime::clock::Clock;
use kith_runtime::identity::Identity;
use kith_runtime::link::{CloseReason, DialError};
use libp2p::tls::Config;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::board::Board;
use crate::wire::{self, Wire};

/// Longer than any of its waits: whoever has nothing to wait for looks after this long again
const IDLE: Duration = Duration::from_secs(3_600);

/// What makes one light peer
pub(super) struct Light {
    /// Its place on the board
    pub(super) place: usize,
    pub(super) identity: Identity,
    pub(super) tls: Config,
    pub(super) membership: MembershipConfig,
    pub(super) seed: u64,
    pub(super) clock: Clock,
    pub(super) board: Arc<Board>,
    /// Permits for handshakes
    pub(super) handshakes: Arc<Semaphore>,
}

/// Both hellos are exchanged
pub(crate) struct Dialled {
    pub(crate) key: Key,
    pub(crate) wire: Wire,
    pub(crate) greeting: Greeting,
}

type Dialling = Pin<Box<dyn Future<Output = Result<Dialled, DialError>> + Send>>;

/// The link with a supernode, by the number of its dial
enum Link {
    None,
    Dialling(u64, Dialling),
    Open(u64, Box<Wire>),
}

/// What a link has to tell
enum Event {
    Opened(u64, Box<Dialled>),
    Failed(u64, DialError),
    Frames(u64, Vec<Frame>),
    Closed(u64, CloseReason),
}

impl Link {
    /// What comes next; a call that is given up has taken nothing
    async fn next(&mut self) -> Event {
        match self {
            Self::None => std::future::pending().await,
            Self::Dialling(dial, dialling) => match dialling.await {
                Ok(dialled) => Event::Opened(*dial, Box::new(dialled)),
                Err(error) => Event::Failed(*dial, error),
            },
            Self::Open(dial, wire) => match wire.frames().await {
                Ok(frames) => Event::Frames(*dial, frames),
                Err(reason) => Event::Closed(*dial, reason),
            },
        }
    }

    /// Sends on the link that `dial` made, if it is that one
    async fn send(&mut self, dial: u64, frame: &Frame) -> Result<(), CloseReason> {
        let Self::Open(number, wire) = self else { return Ok(()) };
        if *number != dial {
            return Ok(());
        }
        match timeout(Deadlines::default().write, wire.send(frame)).await {
            Ok(sent) => sent.map_err(CloseReason::from),
            Err(_) => Err(CloseReason::Slow(Slow::Write)),
        }
    }

    /// Ends the link that `dial` made, with a last word if it can be said at once
    async fn close(&mut self, dial: u64, status: Status, reason: Reason) {
        match self {
            Self::Open(number, wire) if *number == dial => {
                // Whoever does not take it learns it from the end of the connection.
                let _ = timeout(Deadlines::default().bye, wire.send(&Frame::Bye(Bye { status, reason }))).await;
            }
            Self::Dialling(number, _) if *number == dial => {}
            _ => return,
        }
        *self = Self::None;
    }
}

impl Light {
    /// Logs in, and stays, whatever happens, until `stop` says so; then it logs out
    pub(super) async fn live(self, mut stop: watch::Receiver<bool>) {
        let Self { place, identity, tls, membership, seed, clock, board, handshakes } = self;
        let mut membership = Membership::new(membership, seed, clock.now());
        let (mut link, mut is_stopping) = (Link::None, false);
        loop {
            membership.handle_timeout(clock.now());
            while let Some(output) = membership.poll_output() {
                match output {
                    MembershipOutput::Dial { dial, locations } => {
                        board.tried(place);
                        link = Link::Dialling(
                            dial,
                            Box::pin(in_turn(Arc::clone(&handshakes), dial_one(tls.clone(), clock, locations))),
                        );
                    }
                    MembershipOutput::Send { dial, frame } => {
                        if let Err(reason) = link.send(dial, &frame).await {
                            link = Link::None;
                            closed(&mut membership, &clock, dial, &reason);
                        }
                    }
                    MembershipOutput::Close { dial, status, reason } => link.close(dial, status, reason).await,
                    MembershipOutput::LoggedIn { .. } => {
                        board.came_in(place, membership.chosen_home().map(|home| home.location));
                    }
                    MembershipOutput::Lost { .. } => board.went_out(place),
                    MembershipOutput::Refused { .. } => board.refused(place),
                    MembershipOutput::LoggedOut { .. } => return,
                    _ => {}
                }
            }
            let wait = membership.next_timeout().map_or(IDLE, |at| at.since(clock.now()));
            tokio::select! {
                event = link.next() => match event {
                    Event::Opened(dial, dialled) => {
                        let Dialled { key, wire, greeting } = *dialled;
                        link = Link::Open(dial, Box::new(wire));
                        membership.handle_opened(clock.now(), dial, key, greeting.own_nonce, &greeting.theirs);
                    }
                    Event::Failed(dial, error) => {
                        link = Link::None;
                        membership.handle_dial_failed(clock.now(), dial, error.status(), &error.to_string());
                    }
                    Event::Frames(dial, frames) => {
                        for frame in frames {
                            let Frame::Probe(probe) = frame else {
                                membership.handle_frame(clock.now(), dial, frame, &identity);
                                continue;
                            };
                            let reply = Frame::ProbeReply(ProbeReply { sequence: probe.sequence });
                            if let Err(reason) = link.send(dial, &reply).await {
                                link = Link::None;
                                closed(&mut membership, &clock, dial, &reason);
                            }
                        }
                    }
                    Event::Closed(dial, reason) => {
                        link = Link::None;
                        closed(&mut membership, &clock, dial, &reason);
                    }
                },
                // The sender is gone only with the storm itself.
                _ = stop.changed(), if !is_stopping => {
                    is_stopping = true;
                    membership.handle_logout(clock.now());
                }
                () = sleep(wait) => {}
            }
        }
    }
}

/// As the product's core is told of an end: the other side's word if there was one
fn closed(membership: &mut Membership, clock: &Clock, dial: u64, reason: &CloseReason) {
    match reason {
        CloseReason::Bye { status, reason } => membership.handle_closed(clock.now(), dial, *status, reason),
        other => membership.handle_closed(clock.now(), dial, Status::Unavailable, &other.to_string()),
    }
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
    let connected = timeout(dial + handshake, wire::connect(tls, at)).await;
    let connected = connected.map_err(|_| DialError::TimedOut { stage: "handshake", after: dial + handshake })?;
    let (peer, stream) = connected.map_err(|error| DialError::Connect(error.to_string()))?;
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
