//! Open links of processes: the product's own core, with a simulated stream in place of a socket.

use kith_common::link::LinkId;
use kith_common::link::open::{Received, SendError};
use kith_common::link::reason::CloseReason;
use kith_common::status::Status;
use kith_common::wire::session::Reason;
use kith_common::wire::{FRAME_HEADER_BYTES, Frame, FrameKind, PacketBytes, next_frame};

use super::costs::{FRAME, READ, TIMER, WRITE};
use super::net::{ConnId, EndState, Item, Side};
use super::node::{NodeId, Process};
use super::queue::Event;
use super::watch::Observation;
use super::world::World;

impl World {
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
        if is_alive && !self.is_ready(end.node) {
            return self.hold(end.node, Event::Arrive(id, side, item));
        }
        self.begin_turn(end.node);
        match (item, end.state) {
            _ if !is_alive || end.state == EndState::Closed => self.reset(id, side),
            (Item::Bytes(bytes), EndState::Opening) => self.handle_first(id, side, &bytes),
            (Item::Bytes(bytes), EndState::Open(link)) => self.handle_bytes(end.node, link, &bytes, false),
            (Item::Babble(bytes), EndState::Open(link)) => self.handle_bytes(end.node, link, &bytes, true),
            (Item::Fin, EndState::Open(link)) => {
                self.close_link(end.node, link, CloseReason::Reset(std::io::ErrorKind::UnexpectedEof));
            }
            (Item::Fin, EndState::Opening) => self.handle_lost_opening(id, side),
            (Item::Fin, EndState::Closed) => self.net.close_end(id, side),
            // Whoever says its last words reads on, but does not listen.
            (_, EndState::Leaving(_)) | (Item::Babble(_), _) | (Item::Bytes(_), EndState::Closed) => {}
        }
    }

    /// Nobody is at this end any more: the other side is told, once
    pub(super) fn reset(&mut self, id: ConnId, side: Side) {
        let other = self.net.conn(id).map(|conn| conn.end(side.other()).state);
        if other.is_some_and(|state| state != EndState::Closed) {
            self.hang_up(id, side);
        } else {
            self.net.close_end(id, side);
        }
    }

    /// The end of the stream, at this side, behind what is under way
    pub(super) fn hang_up(&mut self, id: ConnId, side: Side) {
        self.net.send(&mut self.queue, id, side, Item::Fin);
        self.net.close_end(id, side);
    }

    fn handle_bytes(&mut self, node: NodeId, link: u64, bytes: &[u8], is_babble: bool) {
        let now = self.local(node);
        self.processors.spend_on_bytes(READ, bytes.len());
        if let Some(end) = self.node_mut(node).ends.get_mut(&link) {
            end.core.on_received(now);
        }
        let mut rest = bytes;
        while let Some(end) = self.nodes[node.index()].ends.get_mut(&link).filter(|end| !end.core.is_ending()) {
            let (kind, body) = match next_frame(rest) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    end.core.close(CloseReason::Protocol(error));
                    break;
                }
            };
            self.processors.spend(FRAME);
            rest = rest.get(FRAME_HEADER_BYTES + body.len()..).unwrap_or_default();
            match end.core.handle_frame(now, kind, body, &self.chunks) {
                Received::Packet(packet) => match PacketBytes::new(packet.bytes().to_vec()) {
                    Ok(packet) => self.hand_up(node, link, Frame::Packet(packet)),
                    Err(error) => self.watch.fail(self.queue.now(), "wire", format!("a packet that was one: {error}")),
                },
                Received::Frame(frame) => self.hand_up(node, link, frame),
                Received::Nothing => self.show_own(node, link, kind, body),
                Received::Undecodable { error, .. } if !is_babble => {
                    self.watch.fail(self.queue.now(), "wire", format!("a {kind:?} does not decode: {error}"));
                }
                Received::Undecodable { errors, .. } => {
                    self.watch.see(self.queue.now(), node, &Observation::Undecodable { link, errors });
                }
            }
        }
        self.attend(node, link);
    }

    /// Lets the oracles see a frame that the link keeps to itself
    fn show_own(&mut self, node: NodeId, link: u64, kind: FrameKind, body: &[u8]) {
        if let Ok(frame) = Frame::decode(kind, body) {
            self.watch.see(self.queue.now(), node, &Observation::Received { link, frame: &frame });
        }
    }

    fn hand_up(&mut self, node: NodeId, link: u64, frame: Frame) {
        let now = self.local(node);
        self.watch.see(self.queue.now(), node, &Observation::Received { link, frame: &frame });
        match (&mut self.node_mut(node).process, frame) {
            (Some(Process::Peer(_)), Frame::Packet(packet)) => self.forward(node, link, &packet),
            (Some(Process::Peer(peer)), frame) => peer.stack.peer_mut().handle_frame(now, LinkId(link), frame),
            (Some(Process::Supernode(supernode)), frame) => supernode.core.handle_frame(now, LinkId(link), frame),
            (None, _) => {}
        }
        self.settle(node);
    }

    /// Queues a frame on a link; it leaves when the process has nothing more to do at this moment
    pub fn send_frame(&mut self, node: NodeId, link: u64, frame: &Frame) {
        let Self { nodes, chunks, processors, .. } = self;
        let Some(end) = nodes[node.index()].ends.get_mut(&link) else { return };
        processors.spend(FRAME);
        match end.core.send(frame, chunks) {
            Ok(()) => self.watch.see(self.queue.now(), node, &Observation::Sent { link, frame }),
            Err(SendError::Ending | SendError::Full(_)) => {}
            Err(SendError::Wire(error)) => {
                self.watch.fail(self.queue.now(), "wire", format!("{:?}: {error}", frame.kind()));
            }
        }
        self.node_mut(node).touched.insert(link);
    }

    /// A process ends a link with a good-bye
    pub fn say_bye(&mut self, node: NodeId, link: u64, status: Status, reason: Reason) {
        let machine = self.node_mut(node);
        if let Some(end) = machine.ends.get_mut(&link) {
            end.core.close(CloseReason::Local { status, reason });
            machine.touched.insert(link);
        }
    }

    /// Something that the process did not do ends a link
    pub(super) fn close_link(&mut self, node: NodeId, link: u64, reason: CloseReason) {
        if let Some(end) = self.node_mut(node).ends.get_mut(&link) {
            end.core.close(reason);
        }
        self.attend(node, link);
    }

    /// Does for all links that the process has touched what their cores want
    pub(super) fn attend_touched(&mut self, node: NodeId) {
        while let Some(link) = self.node_mut(node).touched.pop_first() {
            self.attend(node, link);
        }
    }

    /// Does what a link's core wants: writes, sets the timer, or ends the link
    pub(super) fn attend(&mut self, node: NodeId, link: u64) {
        let Some(end) = self.node(node).ends.get(&link) else { return };
        if end.core.is_ending() {
            return self.end_link(node, link);
        }
        self.write_out(node, link);
        self.rearm_link(node, link);
    }

    /// Gives the stream what waits, as long as it takes it
    fn write_out(&mut self, node: NodeId, link: u64) {
        let now = self.local(node);
        let Self { nodes, chunks, net, queue, watch, processors, .. } = self;
        let machine = &mut nodes[node.index()];
        let Some(end) = machine.ends.get_mut(&link).or_else(|| machine.leaving.get_mut(&link)) else { return };
        while !end.is_stuck {
            let Some(batch) = end.core.take_batch(now, chunks) else { return };
            processors.spend_on_bytes(WRITE, batch.len());
            // Copied, as what is under way would keep large chunks from others.
            let is_taken = net.send(queue, end.conn, end.side, Item::Bytes(batch.as_slice().into()));
            end.is_stuck = !is_taken;
            watch.see(queue.now(), node, &Observation::Written { link, frames: &batch, is_taken });
            chunks.put(batch);
            if !end.is_stuck {
                end.core.on_written(now, false);
            }
        }
    }

    /// The stream has taken what it had no room for before
    pub fn handle_written(&mut self, id: ConnId, side: Side) {
        let Some(end) = self.net.conn(id).map(|conn| *conn.end(side)) else { return };
        let (EndState::Open(link) | EndState::Leaving(link)) = end.state else { return };
        if self.node(end.node).life != end.life || !self.takes(end.node, &Event::Written(id, side)) {
            return;
        }
        let now = self.local(end.node);
        let machine = self.node_mut(end.node);
        let stuck = machine.ends.get_mut(&link).or_else(|| machine.leaving.get_mut(&link));
        let Some(stuck) = stuck.filter(|end| end.is_stuck) else { return };
        stuck.is_stuck = false;
        stuck.core.on_written(now, true);
        match end.state {
            EndState::Leaving(_) => self.say_last_words(end.node, link),
            _ => self.attend(end.node, link),
        }
    }

    /// A link is over at this end: the process is told, then come the last words
    fn end_link(&mut self, node: NodeId, link: u64) {
        let now = self.local(node);
        let Some(mut end) = self.node_mut(node).ends.remove(&link) else { return };
        let Some(reason) = end.core.ending().cloned() else { return };
        self.watch.see(self.queue.now(), node, &Observation::Closed { link, reason: &reason });
        let why = reason.link_end();
        match &mut self.node_mut(node).process {
            Some(Process::Peer(peer)) => peer.stack.peer_mut().handle_closed(now, LinkId(link), &why),
            Some(Process::Supernode(supernode)) => supernode.core.handle_closed(now, LinkId(link), &why.reason()),
            None => {}
        }
        match end.core.begin_farewell(now) {
            Some(by) => {
                if let Some(conn) = self.net.conn_mut(end.conn) {
                    conn.end_mut(end.side).state = EndState::Leaving(link);
                }
                end.leave_at = Some(by);
                self.node_mut(node).leaving.insert(link, end);
                self.say_last_words(node, link);
            }
            None => self.hang_up(end.conn, end.side),
        }
        self.settle(node);
    }

    /// Writes what is left, and lets go of the stream once that is done
    fn say_last_words(&mut self, node: NodeId, link: u64) {
        self.write_out(node, link);
        let Some(end) = self.node(node).leaving.get(&link) else { return };
        if end.core.is_finished() && !end.is_stuck {
            return self.leave(node, link);
        }
        let life = self.node(node).life;
        let at = end.leave_at.map(|by| self.node(node).clock.truly(by));
        if let Some(at) = at {
            self.queue.at(at, Event::LinkWake { node, life, link });
        }
    }

    fn leave(&mut self, node: NodeId, link: u64) {
        if let Some(end) = self.node_mut(node).leaving.remove(&link) {
            self.hang_up(end.conn, end.side);
        }
    }

    /// A link's timer goes off
    pub fn wake_link(&mut self, node: NodeId, life: u32, link: u64) {
        if self.node(node).life != life {
            return;
        }
        if let Some(end) = self.node(node).leaving.get(&link) {
            let is_over = end.leave_at.is_none_or(|by| by <= self.local(node));
            if self.takes(node, &Event::LinkWake { node, life, link }) {
                // The other side has had its time: what it did not take by now is lost.
                if is_over { self.leave(node, link) } else { self.say_last_words(node, link) }
            }
            return;
        }
        let armed = self.node(node).ends.get(&link).and_then(|end| end.armed);
        if !self.is_due(armed) || !self.takes(node, &Event::LinkWake { node, life, link }) {
            return;
        }
        let now = self.local(node);
        let Self { nodes, chunks, processors, .. } = self;
        let Some(end) = nodes[node.index()].ends.get_mut(&link) else { return };
        end.armed = None;
        processors.spend(TIMER);
        end.core.handle_timeout(now, chunks);
        self.attend(node, link);
    }

    /// Plans the link's next timer, if it is earlier than the one that is planned
    fn rearm_link(&mut self, node: NodeId, link: u64) {
        let machine = &mut self.nodes[node.index()];
        let (clock, life) = (machine.clock, machine.life);
        let Some(end) = machine.ends.get_mut(&link) else { return };
        let Some(at) = end.core.next_timeout().map(|at| clock.truly(at)) else { return };
        if end.armed.is_none_or(|armed| at < armed) {
            end.armed = Some(at);
            self.queue.at(at, Event::LinkWake { node, life, link });
        }
    }
}
