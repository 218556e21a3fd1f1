//! Links of processes: how they open, what comes over them, and how they end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use kith_common::link::liveness::{self, Liveness};
use kith_common::link::{Dial, Direction, LinkEnd, LinkId, Opened};
use kith_common::routing::forward::Allowance;
use kith_common::status::Status;
use kith_common::wire::link::ProbeReply;
use kith_common::wire::session::{Hello, Location, Purpose, Reason};
use kith_common::wire::{Bye, FRAME_HEADER_BYTES, Frame, Priority, parse_frame_header};

use super::net::{ConnEnd, ConnId, EndState, Item, Side};
use super::node::{End, NodeId, Process};
use super::queue::Event;
use super::watch::Observation;
use super::world::World;

/// How long a dial may take, as in the peer's link layer
const DIAL_WAIT: Duration = Duration::from_secs(5);
/// The port that supernodes listen on; peers take one that is free, as they start
const PORT: u16 = 4001;
/// Ports of peers, one after the other with each start
const PORTS: u32 = 4_096;

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
    pub(super) fn port_of(&self, node: NodeId) -> u16 {
        let is_supernode = self.config.is_supernode(node);
        if is_supernode { PORT } else { PORT + (self.node(node).life % PORTS) as u16 }
    }

    /// Carries out a process's wish for a link
    pub fn dial(&mut self, node: NodeId, dial: &Dial) {
        let life = self.node(node).life;
        let machines = self.nodes.len() as u32;
        let to = dial.locations.iter().filter_map(place_at).find(|(to, _)| to.0 < machines);
        let Some(to) = to else {
            return self.tell_dial_failed(node, dial.attempt, Status::Unavailable, "no such address");
        };
        let from = ConnEnd { node, life, state: EndState::Opening };
        let conn = self.net.dial(&mut self.queue, from, to, (dial.attempt, dial.key, dial.purpose));
        self.queue.after(DIAL_WAIT, Event::DialTimeout(conn));
    }

    /// A dial's SYN leaves
    pub fn handle_syn(&mut self, conn: ConnId, tries: u32) {
        let Some(to) = self.net.conn(conn).map(|conn| conn.end(Side::Listener).node) else { return };
        let node = self.node(to);
        let (is_up, runs, port) = (node.is_up, node.process.is_some(), self.port_of(to));
        let listens = runs && self.net.conn(conn).is_some_and(|conn| conn.port == port);
        self.net.handle_syn(&mut self.queue, conn, tries, is_up, listens);
    }

    /// The stream stands: the dialler says hello
    pub fn handle_connected(&mut self, id: ConnId) {
        let Some(conn) = self.net.conn(id) else { return };
        let (end, purpose, listener) = (*conn.end(Side::Dialler), conn.purpose, conn.end(Side::Listener).node);
        if !self.takes(end.node, &Event::Connected(id)) {
            return;
        }
        let Some(hello) = self.hello(end, purpose) else { return self.net.remove(id) };
        let life = self.node(listener).life;
        if let Some(conn) = self.net.conn_mut(id) {
            conn.end_mut(Side::Listener).life = life;
            conn.nonce = hello.nonce;
        }
        self.send_item(id, Side::Dialler, Item::Hello(Box::new(hello)), Priority::Control);
    }

    fn hello(&mut self, end: ConnEnd, purpose: Purpose) -> Option<Hello> {
        let node = self.node(end.node);
        let template = match node.process.as_ref().filter(|_| node.life == end.life)? {
            Process::Peer(peer) => peer.hello.clone(),
            Process::Supernode(supernode) => supernode.hello.clone(),
        };
        let nonce = self.chance.bytes();
        Some(template.hello(purpose, nonce))
    }

    /// No link comes of a dial
    pub fn fail_dial(&mut self, id: ConnId, reason: &str) {
        let Some(conn) = self.net.conn(id) else { return };
        let (end, attempt) = (*conn.end(Side::Dialler), conn.attempt);
        if end.state != EndState::Opening {
            return;
        }
        if self.node(end.node).life == end.life && !self.takes(end.node, &Event::DialTimeout(id)) {
            return;
        }
        // Whoever is at the other end learns of it by the end of the stream.
        self.send_item(id, Side::Dialler, Item::Fin, Priority::Control);
        self.net.close_end(id, Side::Dialler);
        if self.node(end.node).life == end.life {
            self.tell_dial_failed(end.node, attempt, Status::Unavailable, reason);
        }
    }

    fn tell_dial_failed(&mut self, node: NodeId, attempt: u64, status: Status, reason: &str) {
        let now = self.local(node);
        if let Some(peer) = self.node_mut(node).peer_mut() {
            peer.core.handle_dial_failed(now, attempt, status, reason);
        }
        self.settle(node);
    }

    /// Something reaches one end of a stream
    pub fn handle_arrival(&mut self, id: ConnId, side: Side, item: Item) {
        let Some(conn) = self.net.conn(id) else { return };
        let (end, is_black) = (*conn.end(side), conn.black);
        if is_black {
            return;
        }
        if !self.node(end.node).is_up {
            // Nobody answers, but of a stream that neither side has any more nothing is kept.
            if matches!(item, Item::Fin) {
                self.net.close_end(id, side);
            }
            return;
        }
        let is_alive = self.node(end.node).life == end.life && self.node(end.node).process.is_some();
        if is_alive && self.node(end.node).backlog.is_some() {
            self.takes(end.node, &Event::Arrive(id, side, item));
            return;
        }
        match (item, end.state) {
            _ if !is_alive || end.state == EndState::Closed => self.reset(id, side),
            (Item::Hello(hello), EndState::Opening) => self.open(id, side, *hello),
            (Item::Frame(bytes), EndState::Open(link)) => self.handle_bytes(end.node, link, &bytes),
            (Item::Fin, EndState::Open(link)) => {
                let reason = Reason::truncated("closed by the other side");
                self.close_link(end.node, link, &LinkEnd::Lost(reason));
            }
            (Item::Fin, EndState::Opening) if side == Side::Dialler => self.fail_dial(id, "closed by the other side"),
            (Item::Fin, _) => self.net.close_end(id, side),
            // A frame before the hello, or a second hello: no process of ours sends such.
            (Item::Hello(_) | Item::Frame(_), _) => {}
        }
    }

    /// Nobody is at this end any more: the other side is told, once
    fn reset(&mut self, id: ConnId, side: Side) {
        let other = self.net.conn(id).map(|conn| conn.end(side.other()).state);
        self.net.close_end(id, side);
        if other.is_some_and(|state| state != EndState::Closed) {
            self.send_item(id, side, Item::Fin, Priority::Control);
        }
    }

    /// The other side's hello is here
    fn open(&mut self, id: ConnId, side: Side, hello: Hello) {
        let Some(conn) = self.net.conn(id) else { return };
        let (end, other, wanted) = (*conn.end(side), *conn.end(side.other()), conn.key);
        let (purpose, attempt) = (conn.purpose, (side == Side::Dialler).then_some(conn.attempt));
        let conn_nonce = conn.nonce;
        // Proved by the handshake, so it is the key of whatever answered there.
        let Some(key) = self.key_of(other) else { return };
        if side == Side::Dialler && wanted.is_some_and(|wanted| wanted != key) {
            self.fail_dial(id, "somebody else answers there");
            return;
        }
        let own_nonce = if side == Side::Listener {
            let Some(own) = self.hello(end, purpose) else { return };
            let nonce = own.nonce;
            self.send_item(id, side, Item::Hello(Box::new(own)), Priority::Control);
            nonce
        } else {
            conn_nonce
        };
        let seed = self.chance.number();
        let now = self.local(end.node);
        let node = self.node_mut(end.node);
        node.links += 1;
        let link = node.links;
        let liveness = Liveness::new(liveness::Config::default(), now, seed);
        node.ends.insert(link, End { conn: id, side, liveness, armed: None, reports: Allowance::new() });
        if let Some(conn) = self.net.conn_mut(id) {
            conn.end_mut(side).state = EndState::Open(link);
        }
        self.net.note_opened(id, end.node);
        let direction = if side == Side::Dialler { Direction::Outgoing } else { Direction::Incoming };
        let remote_ip = Some(IpAddr::V4(ip_of(other.node)));
        let opened = Opened { link: LinkId(link), direction, key, hello, own_nonce, attempt, remote_ip };
        self.watch.see(self.queue.now(), end.node, &Observation::Opened { link, other: other.node, direction });
        match &mut self.node_mut(end.node).process {
            Some(Process::Peer(peer)) => peer.core.handle_opened(now, &opened),
            Some(Process::Supernode(supernode)) => supernode.core.handle_opened(now, &opened),
            None => {}
        }
        self.rearm_link(end.node, link);
        self.settle(end.node);
    }

    fn key_of(&self, end: ConnEnd) -> Option<kith_common::id::Key> {
        match self.node(end.node).process.as_ref()? {
            Process::Peer(peer) => Some(peer.core.key()),
            Process::Supernode(supernode) => Some(supernode.core.key()),
        }
    }

    fn handle_bytes(&mut self, node: NodeId, link: u64, bytes: &[u8]) {
        let now = self.local(node);
        let Some(end) = self.node_mut(node).ends.get_mut(&link) else { return };
        end.liveness.on_received(now);
        let decoded = bytes
            .split_first_chunk::<FRAME_HEADER_BYTES>()
            .map(|(head, body)| parse_frame_header(*head).and_then(|(kind, _)| Frame::decode(kind, body)));
        match decoded {
            Some(Ok(frame)) => self.handle_frame(node, link, frame),
            other => self.watch.fail(self.queue.now(), "wire", format!("a frame does not decode: {other:?}")),
        }
    }

    fn handle_frame(&mut self, node: NodeId, link: u64, frame: Frame) {
        let now = self.local(node);
        self.watch.see(self.queue.now(), node, &Observation::Received { link, frame: &frame });
        match frame {
            Frame::Bye(Bye { status, reason }) => return self.close_link(node, link, &LinkEnd::Bye(status, reason)),
            Frame::Probe(probe) => {
                let reply = Frame::ProbeReply(ProbeReply { sequence: probe.sequence });
                self.send_frame(node, link, &reply);
                return self.rearm_link(node, link);
            }
            Frame::ProbeReply(reply) => {
                if let Some(end) = self.node_mut(node).ends.get_mut(&link) {
                    end.liveness.handle_probe_reply(now, reply.sequence);
                }
                if self.node(node).peer().is_some() {
                    return self.rearm_link(node, link);
                }
                self.reach_supernode(node, link, Frame::ProbeReply(reply));
            }
            Frame::Packet(packet) if self.node(node).peer().is_some() => {
                self.forward(node, link, &packet);
            }
            frame => match &mut self.node_mut(node).process {
                Some(Process::Peer(peer)) => peer.core.handle_frame(now, LinkId(link), frame),
                _ => self.reach_supernode(node, link, frame),
            },
        }
        self.rearm_link(node, link);
        self.settle(node);
    }

    fn reach_supernode(&mut self, node: NodeId, link: u64, frame: Frame) {
        let now = self.local(node);
        if let Some(supernode) = self.node_mut(node).supernode_mut() {
            supernode.core.handle_frame(now, LinkId(link), frame);
        }
    }

    /// Queues a frame on a link; whatever finds no room is dropped, or ends the link if it is control
    pub fn send_frame(&mut self, node: NodeId, link: u64, frame: &Frame) {
        let bytes = match frame.to_bytes() {
            Ok(bytes) => bytes,
            Err(error) => return self.watch.fail(self.queue.now(), "wire", format!("{:?}: {error}", frame.kind())),
        };
        self.watch.see(self.queue.now(), node, &Observation::Sent { link, frame });
        self.send_bytes(node, link, bytes, frame.priority(), !matches!(frame, Frame::Probe(_) | Frame::ProbeReply(_)));
    }

    /// Queues the bytes of a frame
    pub fn send_bytes(&mut self, node: NodeId, link: u64, bytes: Vec<u8>, priority: Priority, wants_answer: bool) {
        let now = self.local(node);
        let Some(end) = self.node_mut(node).ends.get_mut(&link) else { return };
        let (conn, side) = (end.conn, end.side);
        if wants_answer {
            end.liveness.on_sent(now);
        }
        let sent = self.net.send(&mut self.queue, conn, side, Item::Frame(bytes), priority);
        if sent.is_err() && priority == Priority::Control {
            let reason = Reason::truncated("it does not read what keeps the mesh together");
            self.close_link(node, link, &LinkEnd::Lost(reason));
        }
        self.rearm_link(node, link);
    }

    fn send_item(&mut self, conn: ConnId, side: Side, item: Item, priority: Priority) {
        // Hellos and ends are few and small: they are always within the bound.
        let _ = self.net.send(&mut self.queue, conn, side, item, priority);
    }

    /// A process ends a link with a good-bye
    pub fn say_bye(&mut self, node: NodeId, link: u64, status: Status, reason: Reason) {
        if !self.node(node).ends.contains_key(&link) {
            return;
        }
        self.send_frame(node, link, &Frame::Bye(Bye { status, reason: reason.clone() }));
        self.close_link(node, link, &LinkEnd::Lost(reason));
    }

    /// A link is over at this end: the process is told
    pub fn close_link(&mut self, node: NodeId, link: u64, why: &LinkEnd) {
        let now = self.local(node);
        let Some(end) = self.node_mut(node).ends.remove(&link) else { return };
        self.send_item(end.conn, end.side, Item::Fin, Priority::Control);
        self.net.close_end(end.conn, end.side);
        self.watch.see(self.queue.now(), node, &Observation::Closed { link, why });
        match &mut self.node_mut(node).process {
            Some(Process::Peer(peer)) => peer.core.handle_closed(now, LinkId(link), why),
            Some(Process::Supernode(supernode)) => {
                let reason = why.reason();
                supernode.core.handle_closed(now, LinkId(link), &reason);
            }
            None => {}
        }
        self.settle(node);
    }

    /// A link's timer goes off
    pub fn wake_link(&mut self, node: NodeId, life: u32, link: u64) {
        let armed = self.node(node).ends.get(&link).and_then(|end| end.armed);
        let is_due = self.node(node).life == life && self.is_due(armed);
        if !is_due || !self.takes(node, &Event::LinkWake { node, life, link }) {
            return;
        }
        let now = self.local(node);
        let Some(end) = self.node_mut(node).ends.get_mut(&link) else { return };
        end.armed = None;
        end.liveness.handle_timeout(now);
        while let Some(output) = self.node_mut(node).ends.get_mut(&link).and_then(|end| end.liveness.poll_output()) {
            match output {
                liveness::Output::SendProbe(probe) => self.send_frame(node, link, &Frame::Probe(probe)),
                liveness::Output::Down { unanswered } => {
                    let reason = format!("silent for {:.1} s", unanswered.as_secs_f32());
                    return self.close_link(node, link, &LinkEnd::Lost(Reason::truncated(&reason)));
                }
            }
        }
        self.rearm_link(node, link);
    }

    /// Plans the link's next timer, if it is earlier than the one that is planned
    pub fn rearm_link(&mut self, node: NodeId, link: u64) {
        let machine = &mut self.nodes[node.index()];
        let (clock, life) = (machine.clock, machine.life);
        let Some(end) = machine.ends.get_mut(&link) else { return };
        let Some(at) = end.liveness.next_timeout().map(|at| clock.truly(at)) else { return };
        if end.armed.is_none_or(|armed| at < armed) {
            end.armed = Some(at);
            self.queue.at(at, Event::LinkWake { node, life, link });
        }
    }
}
