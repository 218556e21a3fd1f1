//! Some peers and their supernode in virtual time, over links without delay.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::rand_core::SeedableRng;

use super::super::*;
use super::members::*;
use super::supernode;
use super::wires::Wires;
use crate::id::Address;
use crate::link::reason::DialError;
use crate::link::{Dial, Direction, HelloTemplate, LinkEnd, Opened};
use crate::mail::Outcome;
use crate::names::{Answer, REMEMBER};
use crate::removed::RemovedKeys;
use crate::routing::forward::{Allowance, Forwarder};
use crate::session::listening;
use crate::status::Status;
use crate::wire::bounded::Bounded;
use crate::wire::content::{Message, PathHop, Reply};
use crate::wire::packet::{self, Class, Edit, PacketRef};
use crate::wire::session::{Listing, Purpose, Reason, Report, Role, Subject};
use crate::wire::{Frame, PacketBytes};

/// What a peer's shell was told, and not yet asked about by a test
#[derive(Default)]
pub(super) struct Told {
    pub(super) done: Vec<Outcome>,
    pub(super) named: Vec<(u64, Vec<PathHop>)>,
    pub(super) looked_up: Vec<(Name, Result<Answer, Status>)>,
    pub(super) listed: Vec<(u64, Result<Listing, Status>)>,
    /// Frames that left, hellos and the like left out
    pub(super) sent: Vec<(LinkId, Frame)>,
    /// Everything else of interest, in one word each
    pub(super) words: Vec<&'static str>,
    /// What is on its disk of its stay
    pub(super) stay: Option<Stay>,
}

pub(super) struct Node {
    pub(super) core: Peer<Ed>,
    pub(super) told: Told,
    hello: HelloTemplate,
    forwarder: Forwarder<LinkId>,
}

/// The node at an end of a link
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Peer(u8),
    /// The supernode's, of the link with this peer
    Supernode(u8),
}

#[expect(clippy::large_enum_variant, reason = "a few at a time")]
pub(super) enum Delivery {
    Opened(u8, Box<Opened>),
    DialFailed(u8, u64),
    Frame(LinkId, Frame),
    Closed(LinkId, LinkEnd),
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) peers: BTreeMap<u8, Node>,
    /// Pairs (from, to) on whose links packets vanish
    pub(super) lossy: BTreeSet<(u8, u8)>,
    /// Whether the supernode answers dials
    pub(super) is_home_up: bool,
    /// The records that the supernode knows beside those of the peers
    pub(super) strangers: Vec<Record>,
    /// Whom the supernode has removed
    pub(super) removed: RemovedKeys,
    /// What the supernode was asked and told
    pub(super) look_ups: Vec<Subject>,
    pub(super) reports: Vec<Report>,
    pub(super) links: BTreeMap<LinkId, End>,
    pub(super) queue: VecDeque<Delivery>,
    pub(super) epoch: u64,
}

/// The two ends of a link are an even number and the next
pub(super) fn far(link: LinkId) -> LinkId {
    LinkId(link.0 ^ 1)
}

impl World {
    /// Peers that are not linked yet, and not logged in
    pub(super) fn asleep(names: &[u8]) -> Self {
        let mut world = Self {
            now: Instant::ZERO,
            peers: BTreeMap::new(),
            lossy: BTreeSet::new(),
            is_home_up: true,
            strangers: Vec::new(),
            removed: RemovedKeys::default(),
            look_ups: Vec::new(),
            reports: Vec::new(),
            links: BTreeMap::new(),
            queue: VecDeque::new(),
            epoch: 1,
        };
        for n in names {
            world.peers.insert(*n, Node::new(*n, Instant::ZERO, None));
        }
        world
    }

    /// Peers that are logged in, with a link for each of `edges`
    pub(super) fn new(names: &[u8], edges: &[(u8, u8)]) -> Self {
        let mut world = Self::asleep(names);
        world.advance(Duration::ZERO);
        world.rewire(edges);
        let up: usize = world.peers.values().map(|node| node.core.neighbourhood().live_links().count()).sum();
        assert_eq!(up, 2 * edges.len());
        world.forget();
        world
    }

    /// Three peers, each linked to both others
    pub(super) fn triangle() -> Self {
        Self::new(&[A, B, C], &[(A, B), (B, C), (A, C)])
    }

    pub(super) fn core(&mut self, n: u8) -> &mut Peer<Ed> {
        &mut self.peers.get_mut(&n).unwrap().core
    }

    pub(super) fn told(&mut self, n: u8) -> &mut Told {
        &mut self.peers.get_mut(&n).unwrap().told
    }

    /// Whatever the shells were told until now is of no interest
    pub(super) fn forget(&mut self) {
        self.peers.values_mut().for_each(|node| node.told = Told::default());
        self.look_ups.clear();
    }

    /// A send that has its outcome at once
    pub(super) fn send(&mut self, from: u8, to: u8, content: Content) -> Outcome {
        let id = self.begin(from, to, content, false);
        let outcome = self.told(from).done.pop().expect("an outcome");
        assert_eq!((outcome.fate.id, &outcome.fate.to), (id, &name(to)));
        outcome
    }

    /// A send, and all that follows from it at once
    pub(super) fn begin(&mut self, from: u8, to: u8, content: Content, traced: bool) -> MessageId {
        let now = self.now;
        let id = self.core(from).send(now, name(to), content, traced).unwrap();
        self.run();
        id
    }

    /// What `from` replies to `message` of `to`'s, on their way through the supernode
    pub(super) fn reply(&mut self, from: u8, to: u8, message: MessageId, path: Vec<PathHop>) {
        let (status, path) = (Status::Delivered, Bounded::truncated(path));
        let reply = Content::Reply(Reply { to: message, status, path, reason: Default::default() });
        let message = Message { id: MessageId([9; 16]), to: name(to), content: reply };
        let packet = message_packet(from, &header(from, to, Class::Signal), &message);
        self.relay(&packet);
        self.run();
    }

    /// Links of the mesh are to be these
    pub(super) fn rewire(&mut self, edges: &[(u8, u8)]) {
        self.epoch += 1;
        let names: Vec<u8> = self.peers.keys().copied().collect();
        for n in names {
            let rewire = self.rewire_of(n, edges);
            self.send_home(n, Frame::Rewire(rewire));
        }
        self.run();
        // Head starts of dials, and the patience of links that are left.
        self.advance(Duration::from_secs(6));
    }

    /// The supernode is gone, and with it every link to it
    pub(super) fn lose_home(&mut self) {
        self.is_home_up = false;
        let ends: Vec<LinkId> =
            self.links.iter().filter(|(_, end)| matches!(end, End::Supernode(_))).map(|(link, _)| *link).collect();
        for link in ends {
            self.end(far(link), LinkEnd::Lost(Reason::truncated("gone")));
        }
        self.run();
    }

    /// A peer is gone without a word
    pub(super) fn kill(&mut self, n: u8) {
        let is_its_own = |(_, end): &(&LinkId, &End)| **end == End::Peer(n);
        let ends: Vec<LinkId> = self.links.iter().filter(is_its_own).map(|(link, _)| *link).collect();
        self.peers.remove(&n);
        for link in ends {
            self.links.remove(&link);
            self.end(far(link), LinkEnd::Lost(Reason::truncated("gone")));
        }
        self.run();
    }

    /// The link between two peers breaks
    pub(super) fn cut(&mut self, a: u8, b: u8) {
        let (near, _) = self.link_between(a, b);
        self.queue.push_back(Delivery::Closed(near, LinkEnd::Lost(Reason::truncated("cut"))));
        self.queue.push_back(Delivery::Closed(far(near), LinkEnd::Lost(Reason::truncated("cut"))));
        self.run();
    }

    /// The link from `a` to `b`: its end at `a`, and that at `b`
    pub(super) fn link_between(&self, a: u8, b: u8) -> (LinkId, LinkId) {
        let live = self.peers[&a].core.neighbourhood().live_links();
        let near = live.filter(|(to, _)| *to == address(b)).map(|(_, link)| link).next().expect("a link");
        (near, far(near))
    }

    pub(super) fn home_link(&self, n: u8) -> LinkId {
        self.peers[&n].core.home_link().expect("a session")
    }

    /// Time passes, and everything that is due happens
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        self.run();
        while let Some(due) = self.peers.values().filter_map(|node| node.core.next_timeout()).min() {
            if due > end {
                break;
            }
            let now = self.now.max(due);
            self.now = now;
            self.peers.values_mut().for_each(|node| node.core.handle_timeout(now));
            self.run();
        }
        self.now = end;
    }

    /// Until nobody has anything to do at this moment
    pub(super) fn run(&mut self) {
        loop {
            let now = self.now;
            let mut outputs = Vec::new();
            for (n, node) in &mut self.peers {
                outputs.extend(std::iter::from_fn(|| node.core.poll_output(now)).map(|output| (*n, output)));
            }
            let is_quiet = outputs.is_empty();
            for (n, output) in outputs {
                self.on_output(n, output);
            }
            match self.queue.pop_front() {
                Some(delivery) => self.deliver(delivery),
                None if is_quiet => return,
                None => {}
            }
        }
    }

    fn on_output(&mut self, n: u8, output: PeerOutput) {
        let now = self.now;
        let node = self.peers.get_mut(&n).unwrap();
        match output {
            PeerOutput::SetHello(hello) => node.hello = hello,
            PeerOutput::Dial(dial) => self.dial(n, &dial),
            PeerOutput::Send { link, frame } => {
                if matches!(frame, Frame::Relay(_) | Frame::Found(_)) {
                    node.told.sent.push((link, frame.clone()));
                }
                self.queue.push_back(Delivery::Frame(far(link), frame));
            }
            PeerOutput::Transmit { packet, avoid } => self.originate(n, packet, &avoid),
            PeerOutput::Close { link, status, reason } => {
                node.told.words.push("close");
                self.end(far(link), LinkEnd::Bye(status, reason));
            }
            PeerOutput::Routes(routes) => {
                node.told.words.push(if routes.is_some() { "routes" } else { "no routes" });
                self.drive(n, LinkId(u64::MAX), |forwarder, wires| {
                    forwarder.set_routes(wires, routes.map(|routes| *routes), now);
                });
            }
            PeerOutput::PathNamed { ticket, path } => node.told.named.push((ticket, path)),
            PeerOutput::PinNetwork(network) => assert_eq!(network, self::network()),
            PeerOutput::Done(outcome) => node.told.done.push(outcome),
            PeerOutput::LookedUp { name, answer } => node.told.looked_up.push((name, answer)),
            PeerOutput::Listed { query, answer } => node.told.listed.push((query, answer)),
            PeerOutput::KeepStay(stay) => node.told.stay = Some(*stay),
            PeerOutput::LoggedIn => node.told.words.push("logged in"),
            PeerOutput::HomeLost { .. } => node.told.words.push("home lost"),
            PeerOutput::LoggedOut { .. } => node.told.words.push("logged out"),
            PeerOutput::Resolved { .. }
            | PeerOutput::SetPatience { .. }
            | PeerOutput::Save(_)
            | PeerOutput::Erase(_)
            | PeerOutput::KeepSupernodes(_)
            | PeerOutput::Event(_) => {}
        }
    }

    fn dial(&mut self, from: u8, dial: &Dial) {
        let to = match dial.purpose {
            Purpose::Home => self.is_home_up.then_some(End::Supernode(from)),
            Purpose::Backbone => None,
            Purpose::Neighbour => self.peers.keys().find(|n| Some(ed(**n).key()) == dial.key).copied().map(End::Peer),
        };
        let Some(to) = to else { return self.queue.push_back(Delivery::DialFailed(from, dial.number)) };
        let near = LinkId(self.links.keys().next_back().map_or(0, |last| last.0 + 1));
        self.links.extend([(near, End::Peer(from)), (far(near), to)]);
        let (own_nonce, remote_ip) = ([near.0 as u8; 32], None);
        let ours = self.peers[&from].hello.hello(dial.purpose, own_nonce);
        let (key, hello) = match to {
            End::Peer(n) => (ed(n).key(), self.peers[&n].hello.hello(dial.purpose, [near.0 as u8 + 1; 32])),
            End::Supernode(_) => {
                let hello = HelloTemplate { role: Role::Supernode, boot: 1, network: Some(network()), grant: None };
                (ed(SUPERNODE).key(), hello.hello(dial.purpose, supernode::NONCE))
            }
        };
        if let End::Peer(n) = to {
            let (link, direction, key) = (far(near), Direction::Incoming, ed(from).key());
            let (own_nonce, dial) = (hello.nonce, None);
            let opened = Opened { link, direction, key, hello: ours, own_nonce, dial, remote_ip };
            self.queue.push_back(Delivery::Opened(n, Box::new(opened)));
        }
        let (link, direction, dial) = (near, Direction::Outgoing, Some(dial.number));
        let opened = Opened { link, direction, key, hello, own_nonce, dial, remote_ip };
        self.queue.push_back(Delivery::Opened(from, Box::new(opened)));
        if let End::Supernode(_) = to {
            self.challenge(near, own_nonce, ed(from).key());
        }
    }

    /// The end `link` of a link hears why it is over
    fn end(&mut self, link: LinkId, end: LinkEnd) {
        self.queue.push_back(Delivery::Closed(link, end));
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.now;
        match delivery {
            Delivery::Opened(n, opened) => self.core(n).handle_opened(now, &opened),
            Delivery::DialFailed(n, dial) => {
                self.core(n).handle_dial_failed(now, dial, &DialError::Connect("nobody answers".into()));
            }
            Delivery::Closed(link, end) => {
                if let Some(End::Peer(n)) = self.links.remove(&link) {
                    self.core(n).handle_closed(now, link, &end);
                }
            }
            Delivery::Frame(link, frame) => match (self.links.get(&link).copied(), frame) {
                (Some(End::Peer(n)), Frame::Packet(packet)) => self.forward(n, link, &packet),
                (Some(End::Peer(n)), frame) => self.core(n).handle_frame(now, link, frame),
                (Some(End::Supernode(n)), frame) => self.at_supernode(n, frame),
                (None, _) => {}
            },
        }
    }

    /// What a peer's link layer does with a packet that came over `link`
    fn forward(&mut self, n: u8, link: LinkId, packet: &PacketBytes) {
        let now = self.now;
        if let Some(End::Peer(from)) = self.links.get(&far(link))
            && self.lossy.contains(&(*from, n))
        {
            return;
        }
        self.drive(n, link, |forwarder, wires| {
            let from = forwarder.neighbour_on(link);
            forwarder.handle_packet(wires, &packet.as_ref(), from, &mut Allowance::new(), now);
        });
    }

    /// Lets a peer's forwarder do something with what came over `link`; what it sent for that
    fn drive(
        &mut self,
        n: u8,
        link: LinkId,
        run: impl FnOnce(&mut Forwarder<LinkId>, &mut Wires),
    ) -> Vec<(LinkId, PacketBytes)> {
        let now = self.now;
        let node = self.peers.get_mut(&n).unwrap();
        let mut wires = Wires::default();
        run(&mut node.forwarder, &mut wires);
        let from = node.forwarder.neighbour_on(link);
        for packet in &wires.delivered {
            node.core.handle_packet(now, link, from, &packet.as_ref());
        }
        for report in &wires.returned {
            node.core.handle_undeliverable(now, report);
        }
        for (link, packet) in &wires.pushed {
            self.queue.push_back(Delivery::Frame(far(*link), Frame::Packet(packet.clone())));
        }
        wires.pushed
    }

    fn originate(&mut self, n: u8, packet: PacketBytes, avoid: &[Address]) {
        let (now, mut first_hop) = (self.now, None);
        let sent = self.drive(n, LinkId(u64::MAX), |forwarder, wires| {
            first_hop = forwarder.originate(wires, &packet.as_ref(), avoid, now);
        });
        let node = self.peers.get_mut(&n).unwrap();
        node.told.sent.extend(sent.into_iter().map(|(link, packet)| (link, Frame::Packet(packet))));
        match first_hop {
            Some(first_hop) => node.core.handle_sent(packet.as_ref().header().id, &first_hop),
            None => node.core.handle_unsent(now, packet),
        }
    }

    pub(super) fn pass(&mut self, link: LinkId, packet: &PacketRef<'_>, edit: &Edit) {
        let mut bytes = Vec::new();
        packet::emit_forwarded(packet, edit, &mut bytes).unwrap();
        self.queue.push_back(Delivery::Frame(far(link), Frame::Packet(PacketBytes::new(bytes).unwrap())));
    }
}

impl Node {
    /// A process that starts, with what is on its disk of its last stay
    pub(super) fn new(n: u8, now: Instant, stay: Option<Stay>) -> Self {
        let session = MembershipConfig {
            name: name(n),
            supernodes: vec!["/supernode".to_owned()],
            learned: Vec::new(),
            network: stay.is_some().then(network),
            secret: None,
            invite: None,
            external: Default::default(),
            listening: listening(["192.0.2.7:7401".parse().unwrap()]),
        };
        let config =
            PeerConfig { session, neighbourhood: NeighbourhoodConfig::default(), boot: 1, remember: REMEMBER, stay };
        let rng = ChaCha20Rng::from_seed([n; 32]);
        let mut forwarder = Forwarder::new();
        PAYLOADS.into_iter().for_each(|kind| forwarder.register(kind));
        Self {
            core: Peer::new(now, config, ed(n), rng, []),
            told: Told::default(),
            hello: HelloTemplate { role: Role::Peer, boot: 1, network: None, grant: None },
            forwarder,
        }
    }
}
