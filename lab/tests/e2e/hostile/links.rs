//! Links by hand: with true handshakes and true hellos, and then with whatever bytes somebody gives them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kith_common::id::Key;
use kith_common::link::opening::{Greeting, Opening};
use kith_common::link::{Direction, HelloTemplate, LinkId, Opened};
use kith_common::status::Status;
use kith_common::wire::link::ProbeReply;
use kith_common::wire::session::{Purpose, Reason};
use kith_common::wire::{Bye, Frame};
use kith_lab::wire::{self, Wire};
use kith_runtime::clock::Clock;
use kith_runtime::link::{CloseReason, Deadlines};
use libp2p::identity::Keypair;
use libp2p::tls::Config;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// From a dial to both hellos, as honest nodes have it
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// What happens to links
#[expect(clippy::large_enum_variant, reason = "a few at a time")]
pub(super) enum Event {
    Opened(Box<Opened>),
    DialFailed {
        reason: String,
    },
    /// No probe: those are answered here, so that nobody ends a link for its silence
    Frame {
        link: LinkId,
        frame: Frame,
    },
    Closed {
        link: LinkId,
        reason: CloseReason,
    },
}

enum Order {
    Write(Vec<u8>),
    Close,
}

/// Many links of one hostile node; they end with it
pub(super) struct Links {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    /// Where others find it
    pub(super) port: u16,
    runtime: Runtime,
}

struct Shared {
    pair: Keypair,
    clock: Clock,
    hello: Mutex<HelloTemplate>,
    orders: Mutex<BTreeMap<LinkId, UnboundedSender<Order>>>,
    opened: AtomicU64,
    events: Sender<Event>,
}

impl Links {
    pub(super) fn new(pair: Keypair, clock: Clock, hello: HelloTemplate) -> Self {
        let (told, events) = channel();
        let (hello, orders, opened) = (Mutex::new(hello), Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { pair, clock, hello, orders, opened, events: told });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        runtime.spawn(listen(Arc::clone(&shared), listener));
        Self { shared, events, port, runtime }
    }

    pub(super) fn set_hello(&self, hello: HelloTemplate) {
        *self.shared.hello.lock().expect("no panic") = hello;
    }

    /// Answered by [`Event::Opened`] with this number, or by [`Event::DialFailed`]
    pub(super) fn dial(&self, dial: u64, to: SocketAddr, purpose: Purpose) {
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            if let Err(reason) = shared.run_dialled(dial, to, purpose).await {
                shared.tell(Event::DialFailed { reason });
            }
        });
    }

    pub(super) fn write(&self, link: LinkId, bytes: Vec<u8>) {
        self.shared.order(link, Order::Write(bytes));
    }

    pub(super) fn close(&self, link: LinkId) {
        self.shared.order(link, Order::Close);
    }

    pub(super) fn next(&self, limit: Duration) -> Option<Event> {
        self.events.recv_timeout(limit).ok()
    }
}

/// What libp2p's own hand does TLS with
pub(super) fn tls(pair: &Keypair) -> Config {
    Config::new(pair).expect("a certificate")
}

async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((tcp, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // Whoever came with no link has told the reason to nobody here who would want it.
        tokio::spawn(async move { shared.run_accepted(tcp).await.ok() });
    }
}

impl Shared {
    fn tell(&self, event: Event) {
        // The test may be over.
        self.events.send(event).ok();
    }

    /// A link that is gone takes no orders
    fn order(&self, link: LinkId, order: Order) {
        if let Some(orders) = self.orders.lock().expect("no panic").get(&link) {
            orders.send(order).ok();
        }
    }

    fn nonce_and_hello(&self) -> ([u8; 32], HelloTemplate) {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).expect("random bytes");
        (nonce, self.hello.lock().expect("no panic").clone())
    }

    async fn run_dialled(&self, dial: u64, to: SocketAddr, purpose: Purpose) -> Result<(), String> {
        let opening = async {
            let (peer, stream) = wire::connect(tls(&self.pair), to).await.map_err(text)?;
            let mut wire = Wire::new(stream);
            let (nonce, template) = self.nonce_and_hello();
            let (opening, hello) = Opening::dial(self.clock.now(), template, purpose, nonce, &Deadlines::default());
            wire.send(&hello).await.map_err(text)?;
            let (kind, body) = wire.receive().await.map_err(text)?;
            let (greeting, _) = opening.handle_frame(kind, &body).map_err(text)?;
            Ok::<_, String>((wire::key_of(&peer).expect("a key of the network's kind"), wire, greeting))
        };
        let (key, wire, greeting) = timeout(OPEN_LIMIT, opening).await.map_err(text)??;
        self.run(key, wire, greeting, Some(dial)).await;
        Ok(())
    }

    async fn run_accepted(&self, tcp: tokio::net::TcpStream) -> Result<(), String> {
        let opening = async {
            let (peer, stream) = wire::accept(tls(&self.pair), tcp).await.map_err(text)?;
            let mut wire = Wire::new(stream);
            let (nonce, template) = self.nonce_and_hello();
            let opening = Opening::listen(self.clock.now(), template, nonce, &Deadlines::default());
            let (kind, body) = wire.receive().await.map_err(text)?;
            let (greeting, hello) = opening.handle_frame(kind, &body).map_err(text)?;
            if let Some(hello) = hello {
                wire.send(&hello).await.map_err(text)?;
            }
            Ok::<_, String>((wire::key_of(&peer).expect("a key of the network's kind"), wire, greeting))
        };
        let (key, wire, greeting) = timeout(OPEN_LIMIT, opening).await.map_err(text)??;
        self.run(key, wire, greeting, None).await;
        Ok(())
    }

    async fn run(&self, key: Key, mut wire: Wire, greeting: Greeting, dial: Option<u64>) {
        let link = LinkId(self.opened.fetch_add(1, Ordering::Relaxed) + 1);
        let (orders, orders_in) = unbounded_channel();
        self.orders.lock().expect("no panic").insert(link, orders);
        let direction = if dial.is_some() { Direction::Outgoing } else { Direction::Incoming };
        let Greeting { theirs: hello, own_nonce } = greeting;
        let opened = Opened { link, direction, key, hello, own_nonce, dial, remote_ip: None };
        self.tell(Event::Opened(Box::new(opened)));
        let reason = self.talk(link, &mut wire, orders_in).await;
        self.orders.lock().expect("no panic").remove(&link);
        self.tell(Event::Closed { link, reason });
    }

    async fn talk(&self, link: LinkId, wire: &mut Wire, mut orders: UnboundedReceiver<Order>) -> CloseReason {
        loop {
            let written = tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Write(bytes)) => wire.write(&bytes).await,
                    Some(Order::Close) | None => {
                        let (status, reason) = (Status::Delivered, Reason::truncated("enough"));
                        wire.send(&Frame::Bye(Bye { status, reason: reason.clone() })).await.ok();
                        return CloseReason::Local { status, reason };
                    }
                },
                frames = wire.frames() => match frames {
                    Ok(frames) => self.answer(link, wire, frames).await,
                    Err(reason) => return reason,
                },
            };
            if let Err(error) = written {
                // The other side may have said why.
                let word = timeout(OPEN_LIMIT, wire.last_word()).await.ok().flatten();
                return word.unwrap_or_else(|| error.into());
            }
        }
    }

    async fn answer(&self, link: LinkId, wire: &mut Wire, frames: Vec<Frame>) -> io::Result<()> {
        for frame in frames {
            match frame {
                Frame::Probe(probe) => wire.send(&Frame::ProbeReply(ProbeReply { sequence: probe.sequence })).await?,
                frame => self.tell(Event::Frame { link, frame }),
            }
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
