//! Links that are not open yet: dials, and the hellos on streams that stand.

use std::net::{IpAddr, Ipv4Addr};

use kith_common::id::Key;
use kith_common::link::limits::Deadlines;
use kith_common::link::open::{Link, Rules};
use kith_common::link::opening::{Greeting, Opening, check_key};
use kith_common::link::permits::Permit;
use kith_common::link::reason::{CloseReason, DialError, DialStage};
use kith_common::link::turns::is_computed;
use kith_common::link::{Dial, Direction, HelloTemplate, LinkId, Opened};
use kith_common::routing::forward::Allowance;
use kith_common::session::home_silence;
use kith_common::wire::session::Location;
use kith_common::wire::{Bye, Frame, WireError, next_frame};

use super::costs::CLIENT_HELLO;
use super::net::{ConnEnd, ConnId, EndState, Item, Side};
use super::node::{End, NodeId, Process};
use super::queue::Event;
use super::watch::Observation;
use super::world::World;

/// The port that supernodes listen on; peers take one that is free, as they start
const PORT: u16 = 4001;
/// Ports of peers, one after the other
const PORTS: u32 = 4_096;
/// Starts after which a peer finds its port taken: so it is mostly found where it was, and somebody with a new key too
const STARTS_PER_PORT: u32 = 2;

/// A stream that stands, before the other side's hello
#[derive(Debug)]
pub struct Greeter {
    opening: Opening,
    /// The other side's key, as the handshake proved
    key: Key,
    /// A listener's permit among those who have not said hello; a dialler's is its dial's
    permit: Option<Permit>,
}

/// The IP address of a machine
pub(super) fn ip_of(node: NodeId) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + node.0)
}

/// Where a supernode can be dialled
pub(super) fn location_of(supernode: NodeId) -> String {
    format!("/ip4/{}/tcp/{PORT}", ip_of(supernode))
}

/// Which machine this leads to, and to which port of it
fn place_at(location: &Location) -> Option<(NodeId, u16)> {
    let (ip, port) = (location.split('/').nth(2)?, location.split('/').nth(4)?);
    let ip: Ipv4Addr = ip.parse().ok()?;
    Some((NodeId(ip.to_bits().checked_sub(0x0a00_0000)?), port.parse().ok()?))
}

impl World {
    /// The port that the process on this machine listens on
    pub fn port_of(&self, node: NodeId) -> u16 {
        let turn = self.node(node).life / STARTS_PER_PORT % PORTS;
        if self.config.is_supernode(node) { PORT } else { PORT + turn as u16 }
    }

    /// Whether a process listens at this location
    pub fn is_listened_at(&self, location: &Location) -> bool {
        let place = place_at(location).filter(|(node, _)| node.0 < self.config.machines());
        place.is_some_and(|(node, port)| self.node(node).runs() && self.port_of(node) == port)
    }

    /// Carries out a process's wish for a link
    pub fn dial(&mut self, node: NodeId, dial: &Dial) {
        let life = self.node(node).life;
        let machines = self.nodes.len() as u32;
        let to = dial.locations.iter().filter_map(place_at).find(|(to, _)| to.0 < machines);
        let Some(to) = to else { return self.tell_dial_failed(node, dial.number, &DialError::NoLocation) };
        let permit = match self.node(node).permits.dial() {
            Ok(permit) => permit,
            Err(links) => return self.tell_dial_failed(node, dial.number, &DialError::TooManyLinks(links)),
        };
        let from = ConnEnd { node, life, state: EndState::Opening };
        let conn = self.net.dial(&mut self.queue, from, to, (dial.number, dial.key, dial.purpose));
        self.node_mut(node).dials.insert(conn, permit);
        self.queue.after(Deadlines::default().dial, Event::DialTimeout(conn));
    }

    /// A dial's SYN leaves
    pub fn handle_syn(&mut self, conn: ConnId, tries: u32) {
        let Some(dialled) = self.net.conn(conn) else { return };
        let (dialler, to, port) = (dialled.end(Side::Dialler).state, dialled.end(Side::Listener).node, dialled.port);
        // Who has given up sends no more of them, and nobody else has ever heard of this dial.
        if dialler == EndState::Closed {
            return self.net.close_end(conn, Side::Listener);
        }
        let node = self.node(to);
        let (is_up, listens) = (node.is_up, node.process.is_some() && self.port_of(to) == port);
        self.net.handle_syn(&mut self.queue, conn, tries, is_up, listens);
    }

    /// The stream stands, and its handshake is done: both sides wait for a hello, and the dialler says its own
    pub fn handle_connected(&mut self, id: ConnId) {
        let Some(conn) = self.net.conn(id) else { return };
        let (dialler, listener) = (*conn.end(Side::Dialler), conn.end(Side::Listener).node);
        // Who has given up has said so to the other side.
        if dialler.state != EndState::Opening || !self.takes(dialler.node, &Event::Connected(id)) {
            return;
        }
        if !self.processors.are_limited() {
            return self.shake_hands(id);
        }
        self.processors.spend(CLIENT_HELLO);
        let until = self.now() + Deadlines::default().handshake;
        let ip = Some(IpAddr::V4(ip_of(dialler.node)));
        match self.node(listener).permits.pending(self.local(listener), ip) {
            Ok(permit) => {
                // What the dialler says first lies there already, whenever this process comes to read it.
                permit.on_first_byte();
                drop(self.node_mut(listener).accepting.insert(id, permit));
            }
            Err(refusal) => return self.fail_dial(id, &DialError::Handshake(refusal.to_string())),
        }
        if let Some(conn) = self.net.conn_mut(id) {
            conn.shaking = Some(until);
        }
        self.hold(listener, Event::Accept(listener, id));
    }

    /// The listener has its turn, with its side of a handshake to do
    pub fn handle_accept(&mut self, listener: NodeId, id: ConnId) {
        if !self.takes(listener, &Event::Accept(listener, id)) {
            return;
        }
        // Whoever was killed meanwhile has nobody waiting any more.
        if self.node_mut(listener).accepting.remove(&id).is_none() {
            return;
        }
        let conn = self.net.conn(id).filter(|conn| conn.end(Side::Dialler).state == EndState::Opening);
        let dialler = conn.map(|conn| conn.end(Side::Dialler).node);
        let has_left = dialler.is_none();
        if !is_computed(has_left) {
            return self.processors.drop_handshake();
        }
        let now = self.now();
        self.processors.shake_hands(has_left);
        self.node_mut(listener).waiting.handle_begun(now);
        if let Some(dialler) = dialler {
            self.hold(dialler, Event::Answered(id));
        }
    }

    /// The dialler has the other side's answer, with its own side of a handshake to do
    pub fn handle_answered(&mut self, id: ConnId) {
        let Some(conn) = self.net.conn(id) else { return };
        let dialler = *conn.end(Side::Dialler);
        if dialler.state != EndState::Opening || !self.takes(dialler.node, &Event::Answered(id)) {
            return;
        }
        if let Some(conn) = self.net.conn_mut(id) {
            conn.shaking = None;
        }
        self.processors.shake_hands(false);
        self.shake_hands(id);
    }

    /// Both sides have proved their keys: they wait for a hello, and the dialler says its own
    fn shake_hands(&mut self, id: ConnId) {
        let Some(conn) = self.net.conn(id) else { return };
        let (dialler, listener, wanted, purpose) =
            (*conn.end(Side::Dialler), conn.end(Side::Listener).node, conn.key, conn.purpose);
        let life = self.node(listener).life;
        let Some((own, template)) = self.speaker(dialler.node, dialler.life) else { return self.net.remove(id) };
        let Some((proved, answers)) = self.speaker(listener, life) else {
            return self.fail_dial(id, &DialError::Handshake("the other side is gone".into()));
        };
        if let Some(conn) = self.net.conn_mut(id) {
            conn.end_mut(Side::Listener).life = life;
        }
        let ip = Some(IpAddr::V4(ip_of(dialler.node)));
        let permit = match self.node(listener).permits.pending(self.local(listener), ip) {
            Ok(permit) => permit,
            // Whoever has no permit for a stream drops it without a word.
            Err(refusal) => return self.fail_dial(id, &DialError::Handshake(refusal.to_string())),
        };
        // Its handshake is done, so that it has spoken, and nobody here comes and is silent.
        permit.on_first_byte();
        if let Err(error) = check_key(&own, wanted.as_ref(), &proved) {
            return self.fail_dial(id, &error);
        }
        let (deadlines, nonces) = (Deadlines::default(), [self.chance.bytes(), self.chance.bytes()]);
        let (opening, hello) = Opening::dial(self.local(dialler.node), template, purpose, nonces[0], &deadlines);
        self.await_hello(id, Side::Dialler, dialler.node, Greeter { opening, key: proved, permit: None });
        let opening = Opening::listen(self.local(listener), answers, nonces[1], &deadlines);
        self.await_hello(id, Side::Listener, listener, Greeter { opening, key: own, permit: Some(permit) });
        self.say_hello(id, Side::Dialler, hello);
    }

    /// Who speaks at an end, and what its hellos say; `None`: that process runs no more
    fn speaker(&self, node: NodeId, life: u32) -> Option<(Key, HelloTemplate)> {
        let node = self.node(node);
        match node.process.as_ref().filter(|_| node.life == life)? {
            Process::Peer(peer) => Some((peer.core().key(), peer.hello.clone())),
            Process::Supernode(supernode) => Some((supernode.core.key(), supernode.hello.clone())),
        }
    }

    fn await_hello(&mut self, id: ConnId, side: Side, node: NodeId, greeter: Greeter) {
        let at = self.node(node).clock.truly(greeter.opening.next_timeout());
        self.node_mut(node).greeters.insert((id, side), greeter);
        self.queue.at(at, Event::HelloTimeout(id, side));
    }

    /// Sends a frame that is no link's
    pub(super) fn say(&mut self, id: ConnId, side: Side, frame: &Frame) {
        match frame.to_bytes() {
            Ok(bytes) => drop(self.net.send(&mut self.queue, id, side, Item::Bytes(bytes))),
            Err(error) => self.watch.fail(self.queue.now(), "wire", format!("{:?}: {error}", frame.kind())),
        }
    }

    /// Nobody listens there
    pub fn handle_refused(&mut self, id: ConnId) {
        let Some(end) = self.net.conn(id).map(|conn| *conn.end(Side::Dialler)) else { return };
        if self.node(end.node).life != end.life || self.takes(end.node, &Event::Refused(id)) {
            self.fail_dial(id, &DialError::Connect("connection refused".into()));
        }
    }

    /// A dial has had its time, unless the stream stands
    pub fn handle_dial_timeout(&mut self, id: ConnId) {
        let Some(end) = self.net.conn(id).map(|conn| *conn.end(Side::Dialler)) else { return };
        let stands = self.node(end.node).greeters.contains_key(&(id, Side::Dialler));
        if stands || end.state != EndState::Opening {
            return;
        }
        let shaking = self.net.conn(id).and_then(|conn| conn.shaking);
        if let Some(until) = shaking.filter(|until| *until > self.now()) {
            return self.queue.at(until, Event::DialTimeout(id));
        }
        if self.node(end.node).life != end.life || self.takes(end.node, &Event::DialTimeout(id)) {
            let stage = if shaking.is_some() { DialStage::Handshake } else { DialStage::Connecting };
            self.fail_dial(id, &DialError::TimedOut { stage, after: Deadlines::default().dial });
        }
    }

    /// A hello has had its time
    pub fn handle_hello_timeout(&mut self, id: ConnId, side: Side) {
        let Some(end) = self.net.conn(id).map(|conn| *conn.end(side)) else { return };
        if !self.node(end.node).greeters.contains_key(&(id, side))
            || !self.takes(end.node, &Event::HelloTimeout(id, side))
        {
            return;
        }
        let (now, clock) = (self.local(end.node), self.node(end.node).clock);
        let Some(greeter) = self.node(end.node).greeters.get(&(id, side)) else { return };
        let (over, due) = (greeter.opening.handle_timeout(now), greeter.opening.next_timeout());
        match over {
            Err(reason) => self.part(id, side, &reason),
            // The clock has been set back since this was planned.
            Ok(()) if due > now => self.queue.at(clock.truly(due), Event::HelloTimeout(id, side)),
            Ok(()) => {}
        }
    }

    /// What comes first on a stream decides whether it becomes a link
    pub(super) fn handle_first(&mut self, id: ConnId, side: Side, bytes: &[u8]) {
        let Some(end) = self.net.conn(id).map(|conn| *conn.end(side)) else { return };
        let Some(greeter) = self.node_mut(end.node).greeters.remove(&(id, side)) else { return self.reset(id, side) };
        let first = next_frame(bytes).and_then(|frame| frame.ok_or(WireError::Malformed));
        let said =
            first.map_err(CloseReason::Protocol).and_then(|(kind, body)| greeter.opening.handle_frame(kind, body));
        let (greeting, answer) = match said {
            Ok(said) => said,
            Err(reason) => return self.part(id, side, &reason),
        };
        let permits = &self.node(end.node).permits;
        let permit = match side {
            Side::Dialler => match permits.outgoing() {
                Ok(permit) => permit,
                Err(links) => return self.fail_dial(id, &DialError::TooManyLinks(links)),
            },
            // Between the hellos: whoever may have no link hears why instead of a hello.
            Side::Listener => match permits.incoming(self.remote_ip(id, side), greeting.theirs.purpose) {
                Ok(permit) => permit,
                Err(refusal) => return self.part(id, side, &refusal.into()),
            },
        };
        // Given back only now, as by the product: an opening holds two permits for a moment.
        drop(greeter.permit);
        self.node_mut(end.node).dials.remove(&id);
        if let Some(hello) = answer {
            self.say_hello(id, side, hello);
        }
        self.open(id, side, (greeter.key, greeting, permit));
    }

    /// The IP address of the machine at the other end
    fn remote_ip(&self, id: ConnId, side: Side) -> Option<IpAddr> {
        self.net.conn(id).map(|conn| IpAddr::V4(ip_of(conn.end(side.other()).node)))
    }

    /// The other side's hello is here
    fn open(&mut self, id: ConnId, side: Side, (key, greeting, permit): (Key, Greeting, Permit)) {
        let remote_ip = self.remote_ip(id, side);
        let Some(conn) = self.net.conn(id) else { return };
        let (end, other, wanted) = (*conn.end(side), conn.end(side.other()).node, (conn.key, conn.purpose));
        let dial = (side == Side::Dialler).then_some(conn.dial);
        let rules = match self.config.is_supernode(end.node) {
            true => Rules::of_supernode(home_silence(self.config.lease)),
            false => Rules::of_peer(),
        };
        let (now, seed) = (self.local(end.node), self.chance.number());
        let core = Link::new(&rules, greeting.theirs.purpose, now, seed);
        let node = self.node_mut(end.node);
        node.links += 1;
        let link = node.links;
        let end_of_link = End {
            conn: id,
            side,
            core,
            armed: None,
            reports: Allowance::new(),
            is_stuck: false,
            permit,
            leave_at: None,
        };
        node.ends.insert(link, end_of_link);
        if let Some(conn) = self.net.conn_mut(id) {
            conn.end_mut(side).state = EndState::Open(link);
        }
        self.net.note_opened(id, end.node);
        let direction = if side == Side::Dialler { Direction::Outgoing } else { Direction::Incoming };
        let Greeting { theirs: hello, own_nonce } = greeting;
        let opened = Opened { link: LinkId(link), direction, key, hello, own_nonce, dial, remote_ip };
        let wanted = (side == Side::Dialler).then_some(wanted);
        self.watch.see(self.queue.now(), end.node, &Observation::Opened { opened: &opened, other, wanted });
        match &mut self.node_mut(end.node).process {
            Some(Process::Peer(peer)) => peer.stack.peer_mut().handle_opened(now, &opened),
            Some(Process::Supernode(supernode)) => supernode.core.handle_opened(now, &opened),
            None => {}
        }
        self.settle(end.node);
        self.attend(end.node, link);
    }

    /// There will be no link: the other side hears why
    fn part(&mut self, id: ConnId, side: Side, reason: &CloseReason) {
        let Some(end) = self.net.conn(id).map(|conn| *conn.end(side)) else { return };
        self.node_mut(end.node).greeters.remove(&(id, side));
        if let Some((status, reason)) = reason.farewell() {
            self.say(id, side, &Frame::Bye(Bye { status, reason }));
        }
        if side == Side::Dialler {
            return self.fail_dial(id, &DialError::Hello(reason.clone()));
        }
        self.hang_up(id, side);
    }

    /// The stream of a link that is not open has ended
    pub(super) fn handle_lost_opening(&mut self, id: ConnId, side: Side) {
        self.part(id, side, &CloseReason::Reset(std::io::ErrorKind::UnexpectedEof));
    }

    /// No link comes of a dial
    fn fail_dial(&mut self, id: ConnId, error: &DialError) {
        let Some(conn) = self.net.conn(id) else { return };
        let (end, dial) = (*conn.end(Side::Dialler), conn.dial);
        if end.state != EndState::Opening {
            return;
        }
        let node = self.node_mut(end.node);
        node.greeters.remove(&(id, Side::Dialler));
        node.dials.remove(&id);
        // Whoever is at the other end learns of it by the end of the stream.
        self.hang_up(id, Side::Dialler);
        if self.node(end.node).life == end.life {
            self.tell_dial_failed(end.node, dial, error);
        }
    }

    fn tell_dial_failed(&mut self, node: NodeId, dial: u64, error: &DialError) {
        let now = self.local(node);
        match &mut self.node_mut(node).process {
            Some(Process::Peer(peer)) => peer.stack.peer_mut().handle_dial_failed(now, dial, error),
            Some(Process::Supernode(supernode)) => {
                supernode.core.handle_dial_failed(now, dial, error.status(), &error.to_string());
            }
            None => {}
        }
        self.settle(node);
    }
}
