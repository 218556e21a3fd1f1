//! Whole link threads over loopback: every wait is for a condition, with a deadline that only a failure reaches.

mod closing;
mod forwarding;
mod hostile;
mod opening;
mod queues;

use std::collections::VecDeque;
use std::time::Duration;

use kith_common::id::{Address, Key, Name};
use kith_common::status::Status;
use kith_common::wire::link::{Probe, ProbeReply};
use kith_common::wire::session::{Purpose, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use kith_common::link::opening::Greeting;

use super::handshake::greet_as_dialler;
use super::tls::Tls;
use super::*;
use crate::location::{port_of, to_wire};

const DEADLINE: Duration = Duration::from_secs(30);

fn template() -> HelloTemplate {
    HelloTemplate { role: Role::Peer, boot: 1, network: None, grant: None }
}

/// A link thread with the identity of `seed`, and its events
struct Node {
    identity: Identity,
    links: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    location: Location,
    seen: VecDeque<LinkEvent>,
    dials: u64,
}

impl Node {
    async fn start(seed: u8) -> Self {
        Self::start_with(seed, |_| {}).await
    }

    async fn start_with(seed: u8, change: impl FnOnce(&mut LinkConfig)) -> Self {
        let identity = Identity::from_seed([seed; 32]);
        let mut config = LinkConfig::of_peer(template(), Clock::start(), u64::from(seed));
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        change(&mut config);
        let (links, events) = spawn(config, &identity).unwrap();
        let location = Location::default();
        let mut node = Self { identity, links, events, location, seen: VecDeque::new(), dials: 0 };
        node.location = node
            .wait(|event| match event {
                LinkEvent::Listening(address) => Some(to_wire(address).unwrap()),
                _ => None,
            })
            .await;
        node
    }

    /// The first event that `pick` takes; the others are kept for later
    async fn wait<T>(&mut self, mut pick: impl FnMut(&LinkEvent) -> Option<T>) -> T {
        if let Some((at, picked)) = self.seen.iter().enumerate().find_map(|(i, event)| Some((i, pick(event)?))) {
            self.seen.remove(at);
            return picked;
        }
        loop {
            let event = tokio::time::timeout(DEADLINE, self.events.recv()).await;
            let event =
                event.unwrap_or_else(|_| panic!("never came; there were {:?}", self.seen)).expect("thread ended");
            match pick(&event) {
                Some(picked) => return picked,
                None => self.seen.push_back(event),
            }
        }
    }

    async fn dial(&mut self, key: Option<Key>, locations: Vec<Location>) -> u64 {
        self.dial_for(Purpose::Neighbour, key, locations).await
    }

    async fn dial_for(&mut self, purpose: Purpose, key: Option<Key>, locations: Vec<Location>) -> u64 {
        self.dials += 1;
        let number = self.dials;
        self.command(LinkCommand::Dial(Dial { number, key, locations, purpose })).await;
        number
    }

    async fn command(&self, command: LinkCommand) {
        tokio::time::timeout(DEADLINE, self.links.send(command)).await.expect("commands are taken").unwrap();
    }

    async fn send(&self, link: LinkId, frame: Frame) {
        self.command(LinkCommand::Send { link, frame }).await;
    }

    /// Sends packets of the node's own, and waits for what became of each
    async fn originate(&mut self, packets: Packets) -> Originated {
        self.command(LinkCommand::Originate(Outgoing { packets, avoid: Vec::new() })).await;
        self.wait(|event| match event {
            LinkEvent::Originated(originated) => Some(originated.clone()),
            _ => None,
        })
        .await
    }

    async fn opened(&mut self) -> Opened {
        self.wait(|event| match event {
            LinkEvent::Opened(opened) => Some(opened.as_ref().clone()),
            _ => None,
        })
        .await
    }

    async fn closed(&mut self, of: LinkId) -> CloseReason {
        self.wait(|event| match event {
            LinkEvent::Closed { link, reason } if *link == of => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    async fn dial_failed(&mut self, of: u64) -> DialError {
        self.wait(|event| match event {
            LinkEvent::DialFailed { dial, reason } if *dial == of => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    async fn frame(&mut self, of: LinkId) -> Frame {
        self.wait(|event| match event {
            LinkEvent::Frame { link, frame } if *link == of => Some(frame.clone()),
            _ => None,
        })
        .await
    }

    async fn undeliverable(&mut self) -> Undeliverable {
        self.wait(|event| match event {
            LinkEvent::Undeliverable(undeliverable) => Some(undeliverable.clone()),
            _ => None,
        })
        .await
    }

    fn counts(&self) -> Counts {
        self.links.counters().counts()
    }

    /// Waits until the counters are as `is_met` says
    async fn counted(&self, is_met: impl Fn(&Counts) -> bool) {
        let polled = async {
            while !is_met(&self.counts()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let met = tokio::time::timeout(DEADLINE, polled).await;
        assert!(met.is_ok(), "{:?}", self.counts());
    }
}

/// A link from `a` to `b`, as both see it
async fn link(a: &mut Node, b: &mut Node) -> (Opened, Opened) {
    let dial = a.dial(Some(b.identity.key()), vec![b.location.clone()]).await;
    let (near, far) = (a.opened().await, b.opened().await);
    assert_eq!(near.dial, Some(dial));
    (near, far)
}

/// The other side of a link with nothing behind it: it does what a test wants, well behaved or not
struct Raw {
    stream: TlsStream<TcpStream>,
}

impl Raw {
    /// Only the handshake
    async fn connect(seed: u8, to: &Node) -> Self {
        let stream = tcp(to).await;
        let tls = Tls::new(&Identity::from_seed([seed; 32]).keypair()).unwrap();
        let (stream, _) = tls.connect(stream, Some(to.identity.key())).await.unwrap();
        Self { stream }
    }

    /// The handshake and the hellos
    async fn open(seed: u8, to: &mut Node) -> (Self, LinkId) {
        let mut raw = Self::connect(seed, to).await;
        let greeting = raw.greet().await;
        let Greeting { theirs, .. } = greeting.unwrap();
        assert_eq!(theirs.role, Role::Peer);
        let opened = to.opened().await;
        assert_eq!(opened.key, Identity::from_seed([seed; 32]).key());
        (raw, opened.link)
    }

    async fn greet(&mut self) -> Result<Greeting, CloseReason> {
        let deadlines = Deadlines::default();
        greet_as_dialler(&mut self.stream, &Clock::start(), template(), Purpose::Neighbour, &deadlines).await
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn send(&mut self, frame: Frame) {
        self.write(&frame.to_bytes().unwrap()).await;
    }

    /// The next frame; `None` once the other side has closed
    async fn receive(&mut self) -> Option<Frame> {
        let received = async {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head).await.ok()?;
            let (kind, len) = kith_common::wire::parse_frame_header(head).unwrap();
            let mut body = vec![0; len];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(Frame::decode(kind, &body).unwrap())
        };
        tokio::time::timeout(DEADLINE, received).await.expect("nothing came")
    }

    /// The status of the bye that comes, after whatever else comes
    async fn receive_bye(&mut self) -> Option<Status> {
        loop {
            if let Frame::Bye(bye) = self.receive().await? {
                return Some(bye.status);
            }
        }
    }
}

async fn tcp(to: &Node) -> TcpStream {
    let port = port_of(&to.location.parse().unwrap()).unwrap();
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

fn probe(sequence: u32) -> Frame {
    Frame::Probe(Probe { sequence })
}

fn probe_reply(sequence: u32) -> Frame {
    Frame::ProbeReply(ProbeReply { sequence })
}

/// A frame that goes up to the driver
fn look_up(query: u64) -> Frame {
    let subject = kith_common::wire::session::Subject::Name("heidi".parse().unwrap());
    Frame::LookUp(kith_common::wire::session::LookUp { query, ttl: 1, subject, may_be_stale: false })
}
