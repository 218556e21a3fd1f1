//! Nodes that mean no good: over true links, with true handshakes, and with true grants where they have one.

mod links;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kith_common::crypto::Signer;
use kith_common::fuzzing::{self, Mutator};
use kith_common::id::Key;
use kith_common::session::listening;
use kith_common::session::membership::{Membership, MembershipConfig, MembershipOutput};
use kith_common::status::Status;
use kith_common::wire::Frame;
use kith_common::wire::grant::SignedGrant;
use kith_common::wire::session::{Location, Locations, Purpose, Role};
use kith_runtime::clock::Clock;
use kith_runtime::identity::Identity;
use kith_runtime::link::{CloseReason, HelloTemplate, LinkId};
use libp2p::futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::identity::Keypair;
use libp2p::tcp::tokio::TcpStream;
use libp2p::tls::TlsStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use self::links::{Event, Links};
use super::PATIENCE;

/// Frames in one connection, so that those behind the one that breaks it are few
const FRAMES_A_LINK: usize = 20;
/// From its last byte on, a connection that nothing has broken is given up by this side
const UNBROKEN: Duration = Duration::from_millis(250);

/// Frames that are nearly right
pub(crate) struct Mutants {
    mutator: Mutator,
    corpus: Vec<Vec<u8>>,
}

impl Mutants {
    pub(crate) fn new(seed: u64) -> Self {
        let frames = fuzzing::golden().expect("vectors").into_iter().filter(|vector| vector.name.starts_with("frame "));
        Self { mutator: Mutator::new(seed), corpus: frames.map(|vector| vector.bytes).collect() }
    }

    /// So many of them, one after the other
    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let mutant = self.mutator.mutate(&self.corpus);
            // A write that the system takes at once
            if bytes.len() + mutant.len() <= 60_000 {
                bytes.extend(mutant);
            }
        }
        bytes
    }
}

/// What came of the links that rubbish was poured over
#[derive(Debug, Default)]
pub(crate) struct Poured {
    pub(crate) frames: usize,
    pub(crate) links: usize,
    /// How they ended, as the hostile side saw it; the other side's byes with their status
    pub(crate) ends: BTreeMap<String, usize>,
}

impl Poured {
    fn count(&mut self, reason: &CloseReason) {
        let end = match reason {
            CloseReason::Bye { status, .. } => format!("bye {}", status.code()),
            other => other.word().to_owned(),
        };
        *self.ends.entry(end).or_default() += 1;
    }

    /// Links that the other side ended with a reason
    pub(crate) fn told(&self) -> usize {
        self.ends.iter().filter(|(end, _)| end.starts_with("bye")).map(|(_, count)| count).sum()
    }
}

/// A session in the wrong hands
pub(crate) struct LoggedIn {
    /// The link to the supernode
    pub(crate) home: LinkId,
    /// Where the neighbours listen
    pub(crate) neighbours: Vec<SocketAddr>,
}

/// A hostile node with links like everybody's
pub(crate) struct Hostile {
    identity: Identity,
    clock: Clock,
    links: Links,
    at_once: usize,
    dials: u64,
    /// How links have ended that nobody has asked for yet
    ended: BTreeMap<LinkId, CloseReason>,
}

impl Hostile {
    /// A node that opens so many links at once: members have one, or each replaces the one before
    pub(crate) fn new(seed: u8, at_once: usize) -> Self {
        let identity = Identity::from_seed([seed; 32]);
        let clock = Clock::start();
        let links = Links::new(identity.keypair(), clock, hello(None));
        Self { identity, clock, links, at_once, dials: 0, ended: BTreeMap::new() }
    }

    pub(crate) fn key(&self) -> Key {
        self.identity.key()
    }

    fn dial(&mut self, to: SocketAddr, purpose: Purpose) {
        self.dials += 1;
        self.links.dial(self.dials, to, purpose);
    }

    pub(crate) fn send(&self, link: LinkId, bytes: Vec<u8>) {
        self.links.write(link, bytes);
    }

    fn next(&mut self, limit: Duration) -> Option<Event> {
        let event = self.links.next(limit)?;
        if let Event::Closed { link, reason } = &event {
            self.ended.insert(*link, reason.clone());
        }
        Some(event)
    }

    /// Sends mutants until there were `frames`, over as many links as that takes
    pub(crate) fn pour(&mut self, mutants: &mut Mutants, to: SocketAddr, purpose: Purpose, frames: usize) -> Poured {
        let (mut poured, mut wanted) = (Poured::default(), frames.div_ceil(FRAMES_A_LINK));
        let mut open: BTreeMap<LinkId, Option<Instant>> = BTreeMap::new();
        let mut dialling = 0;
        let end = Instant::now() + PATIENCE;
        while wanted + dialling + open.len() > 0 {
            assert!(Instant::now() < end, "still {wanted} to dial, {dialling} dialling, {} open", open.len());
            while wanted > 0 && dialling + open.len() < self.at_once {
                self.dial(to, purpose);
                (wanted, dialling) = (wanted - 1, dialling + 1);
            }
            match self.next(UNBROKEN) {
                Some(Event::Opened(opened)) if opened.dial.is_some() => {
                    dialling -= 1;
                    self.send(opened.link, mutants.take(FRAMES_A_LINK));
                    poured.frames += FRAMES_A_LINK;
                    poured.links += 1;
                    open.insert(opened.link, Some(Instant::now()));
                }
                Some(Event::DialFailed { .. }) => (wanted, dialling) = (wanted + 1, dialling - 1),
                // Links that others opened to here count for nothing.
                Some(Event::Closed { link, reason }) if open.remove(&link).is_some() => poured.count(&reason),
                _ => {}
            }
            for (link, since) in &mut open {
                if since.take_if(|since| since.elapsed() > UNBROKEN).is_some() {
                    self.links.close(*link);
                }
            }
        }
        poured
    }

    /// Logs in as everybody does, and shows its grant from now on
    pub(crate) fn log_in(&mut self, supernode: SocketAddr, name: &str) -> LoggedIn {
        let config = MembershipConfig {
            name: name.parse().expect("a name"),
            supernodes: vec![location_of(supernode).to_string()],
            learned: Vec::new(),
            network: None,
            secret: None,
            invite: None,
            external: Locations::default(),
            listening: listening([SocketAddr::from(([127, 0, 0, 1], self.links.port))]),
        };
        let mut session = Membership::new(config, 1, self.clock.now());
        let (mut home, end) = (None, Instant::now() + PATIENCE);
        loop {
            assert!(Instant::now() < end, "not logged in: {:?}", session.standing());
            session.handle_timeout(self.clock.now());
            while let Some(output) = session.poll_output() {
                match (output, home) {
                    (MembershipOutput::Dial { .. }, _) => self.dial(supernode, Purpose::Home),
                    (MembershipOutput::Send { frame, .. }, Some(link)) => {
                        self.links.write(link, frame.to_bytes().expect("a frame"));
                    }
                    (MembershipOutput::LoggedIn { signed, rewire, .. }, Some(home)) => {
                        self.links.set_hello(hello(Some(signed)));
                        let neighbours = rewire.neighbours.iter();
                        let neighbours = neighbours.filter_map(|record| record.locations.first().map(socket));
                        return LoggedIn { home, neighbours: neighbours.collect() };
                    }
                    _ => {}
                }
            }
            let now = self.clock.now();
            match self.next(Duration::from_millis(20)) {
                Some(Event::Opened(opened)) if opened.dial.is_some() => {
                    home = Some(opened.link);
                    session.handle_opened(now, 1, opened.key, opened.own_nonce, &opened.hello);
                }
                Some(Event::Frame { link, frame }) if home == Some(link) => {
                    session.handle_frame(now, 1, frame, &self.identity);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn open(&mut self, to: SocketAddr, purpose: Purpose) -> LinkId {
        self.dial(to, purpose);
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no link");
            match self.next(UNBROKEN) {
                Some(Event::Opened(opened)) if opened.dial == Some(self.dials) => return opened.link,
                Some(Event::DialFailed { reason, .. }) => panic!("no link: {reason}"),
                _ => {}
            }
        }
    }

    /// Waits until the other side has ended `link`; how
    pub(crate) fn wait_closed(&mut self, link: LinkId) -> CloseReason {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(reason) = self.ended.remove(&link) {
                return reason;
            }
            assert!(Instant::now() < end, "{link:?} is still open");
            self.next(UNBROKEN);
        }
    }

    /// Sends mutants over a link that is open already, and ends it if they have not
    pub(crate) fn pour_over(&mut self, mutants: &mut Mutants, link: LinkId) -> CloseReason {
        self.send(link, mutants.take(FRAMES_A_LINK));
        self.links.close(link);
        self.wait_closed(link)
    }
}

fn hello(grant: Option<SignedGrant>) -> HelloTemplate {
    HelloTemplate { role: Role::Peer, boot: 1, network: None, grant }
}

fn location_of(to: SocketAddr) -> Location {
    let text = format!("/ip4/{}/tcp/{}", to.ip(), to.port());
    text.try_into().expect("a location")
}

fn socket(location: &Location) -> SocketAddr {
    let parts: Vec<&str> = location.split('/').collect();
    format!("{}:{}", parts[2], parts[4]).parse().expect("an address and a port")
}

/// A TLS connection by libp2p's own hand, with nothing behind it: bytes go out as they are given
pub(crate) struct RawLink {
    runtime: Runtime,
    stream: TlsStream<TcpStream>,
}

impl RawLink {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let pair = Keypair::generate_ed25519();
        let (_, stream) = runtime.block_on(kith_lab::wire::connect(links::tls(&pair), to)).expect("a handshake");
        Self { runtime, stream }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        self.runtime.block_on(written).expect("written");
    }

    /// Reads to the end of the stream; the status of the bye, if there was one
    pub(crate) fn read_bye(&mut self) -> Option<Status> {
        let mut bytes = Vec::new();
        let end = self.runtime.block_on(async { timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await });
        // A reset is an end as well; only silence is not.
        drop(end.expect("the connection is still open"));
        frames(&bytes).into_iter().find_map(|frame| match frame {
            Frame::Bye(bye) => Some(bye.status),
            _ => None,
        })
    }
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let (kind, len) = kith_common::wire::parse_frame_header(*head).expect("a frame");
        frames.push(Frame::decode(kind, &rest[..len]).expect("a frame"));
        bytes = &rest[len..];
    }
    frames
}
