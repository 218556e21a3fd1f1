//! Faults as they happen, and as they end.

use std::time::Duration;

use kith_common::link::HelloTemplate;
use kith_common::link::open::DECODE_ERRORS_MAX;
use kith_common::link::reason::CloseReason;
use kith_common::wire::session::{Purpose, Role};
use kith_common::wire::{Frame, FrameKind};

use super::disk::DiskDone;
use super::faults::{Effect, Fault, OUTAGE_MIN, STALL_MIN};
use super::hellos::undecodable;
use super::net::{ConnId, EndState, Item, Side, Weather};
use super::node::{Disk, NodeId};
use super::processes::replica;
use super::queue::Event;
use super::users;
use super::watch::Observation;
use super::world::{WRITE, World};

impl World {
    /// Something breaks, unless faults are over
    pub fn handle_fault(&mut self, fault: Fault) {
        // What ends a fault happens in any case.
        let is_end = matches!(fault, Fault::Start(_) | Fault::Resume(_));
        if !is_end && !self.is_fault_phase {
            return;
        }
        self.watch.tell_fault(self.queue.now(), &fault);
        match fault {
            Fault::Cut(number, cut) => self.net.cut(number, cut),
            Fault::HalfOpen(choice) => self.break_link(choice, true),
            Fault::Reset(choice) => self.break_link(choice, false),
            Fault::Flap(node, half) => self.break_links_of(node, half),
            Fault::Crash(node, pause) => {
                if self.kill(node, false) {
                    let is_supernode = self.config.is_supernode(node);
                    self.net.count(match is_supernode {
                        true if pause >= OUTAGE_MIN => Effect::Outage,
                        true => Effect::SupernodeCrash,
                        false => Effect::Crash,
                    });
                    self.queue.after(pause, Event::Fault(Box::new(Fault::Start(node))));
                }
            }
            Fault::LeaderCrash(pause) => {
                if let Some(leader) = self.leading().filter(|leader| self.kill(*leader, false)) {
                    self.net.count(Effect::LeaderCrash);
                    self.queue.after(pause, Event::Fault(Box::new(Fault::Start(leader))));
                }
            }
            Fault::Blackout(pauses) => {
                for (number, pause) in pauses.into_iter().enumerate() {
                    if self.kill(NodeId(number as u32), false) {
                        self.net.count(Effect::Blackout);
                        self.queue.after(pause, Event::Fault(Box::new(Fault::Start(NodeId(number as u32)))));
                    }
                }
            }
            Fault::NoQuorum(nodes, pause) => {
                for node in nodes {
                    if self.kill(node, false) {
                        self.net.count(Effect::NoQuorum);
                        self.queue.after(pause, Event::Fault(Box::new(Fault::Start(node))));
                    }
                }
            }
            Fault::PowerCut(node, pause, keeps_disk) => {
                if self.kill(node, true) {
                    self.net.count(if keeps_disk { Effect::PowerCut } else { Effect::DiskLoss });
                    if !keeps_disk {
                        self.lose_disk(node);
                    }
                    self.queue.after(pause, Event::Fault(Box::new(Fault::Start(node))));
                }
            }
            Fault::Newcomer(is_named) => self.name_newcomer(is_named),
            Fault::CopyLog => self.log.copy(),
            Fault::LogBack(pause) => self.put_log_back(pause),
            Fault::Remove(node) => self.remove(node),
            Fault::Start(node) => self.start(node),
            Fault::Pause(node, pause) => {
                if self.node(node).runs() {
                    self.pause(node);
                    if self.config.is_supernode(node) && pause >= STALL_MIN {
                        self.net.count(Effect::Stall);
                    }
                    self.queue.after(pause, Event::Fault(Box::new(Fault::Resume(node))));
                }
            }
            Fault::Resume(node) => self.resume(node),
            Fault::Skew(node, ppm) => self.skew(node, ppm),
            Fault::Jump(node, by) => {
                let now = self.now();
                self.node_mut(node).clock.jump(now, by);
                self.count_at(node, Effect::Jump);
                self.set_off(node);
            }
            Fault::SlowDisk(node, write) => self.node_mut(node).write = write.max(WRITE),
            Fault::FullDisk(node, is_full) => {
                if let Some(disk) = self.node_mut(node).peer_disk() {
                    disk.is_full = is_full;
                }
            }
            Fault::FullLog(node, true) => self.log.fill(replica(node), true),
            Fault::FullLog(node, false) => self.make_room(node),
            Fault::OddHellos(hellos) => self.make_hellos_odd(hellos),
            Fault::Babble(choice) => self.babble(choice),
            Fault::Weather(weather) => self.net.weather = weather,
        }
    }

    /// The disk of a supernode takes something again, which its log's thread finds out, and what it holds after all
    fn make_room(&mut self, supernode: NodeId) {
        if self.log.is_full(replica(supernode)) {
            self.log.fill(replica(supernode), false);
            self.write(supernode, DiskDone::Learnt);
        }
    }

    /// The links of a peer with its neighbours break under both sides: all, or those with every other machine
    fn break_links_of(&mut self, node: NodeId, half: bool) {
        let broken = self.net.open().filter(|(_, conn)| {
            let ends = [Side::Dialler, Side::Listener].map(|side| conn.end(side).node);
            let other = if ends[0] == node { ends[1] } else { ends[0] };
            conn.purpose == Purpose::Neighbour && ends.contains(&node) && !(half && other.0.is_multiple_of(2))
        });
        for id in broken.map(|(id, _)| id).collect::<Vec<_>>() {
            self.net.count(Effect::Flap);
            self.break_stream(id, false);
        }
    }

    /// The operator puts the copy of the log back, and gives free again whatever names it gave free since
    fn put_log_back(&mut self, pause: Duration) {
        for supernode in self.config.supernodes() {
            self.kill(supernode, false);
            self.queue.after(pause, Event::Fault(Box::new(Fault::Start(supernode))));
        }
        self.log.go_back();
        self.agreement.handle_log_back();
        self.net.count(Effect::LogBack);
        self.watch.see(self.queue.now(), self.config.leader(), &Observation::LogWentBack);
        for number in self.config.supernodes..self.config.machines() {
            if let Disk::Peer(disk) = &self.node(NodeId(number)).disk
                && disk.number > 0
            {
                let disk_number = disk.number;
                self.await_release(NodeId(number), disk_number);
            }
        }
    }

    /// One end of a link hears what only a broken build, or an attacker, would say at the other
    fn babble(&mut self, choice: u64) {
        let open: Vec<_> = self.net.open().map(|(id, _)| id).collect();
        let Some(id) = open.get((choice % open.len().max(1) as u64) as usize).copied() else { return };
        // Bits above those that chose the link, or few links would leave no choice.
        let side = if choice >> 60 & 1 == 0 { Side::Dialler } else { Side::Listener };
        let hello = HelloTemplate { role: Role::Peer, boot: 0, network: None, grant: None };
        let hello = Frame::Hello(hello.hello(Purpose::Neighbour, self.chance.bytes())).to_bytes();
        // As often as a link bears.
        let bad = undecodable(FrameKind::Table).repeat(DECODE_ERRORS_MAX as usize);
        let bytes = hello.ok().filter(|_| choice >> 61 & 1 == 0).unwrap_or(bad);
        self.net.count(Effect::Babble);
        self.queue.after(Duration::ZERO, Event::Arrive(id, side, Item::Babble(bytes)));
    }

    /// A cut ends
    pub fn heal(&mut self, number: u64) {
        if let Some(effect) = self.net.heal(number) {
            self.watch.tell(self.now(), &format!("{effect}: over"));
            self.net.release(&mut self.queue);
        }
    }

    /// All faults end; what is permanent stays
    pub fn make_whole(&mut self) {
        self.watch.tell(self.now(), "all faults end");
        self.is_fault_phase = false;
        self.net.heal_all();
        self.net.weather = Weather::default();
        self.odd_hellos.clear();
        self.net.release(&mut self.queue);
        self.replace_removed();
        for number in 0..self.nodes.len() as u32 {
            let id = NodeId(number);
            self.resume(id);
            self.start(id);
            let ppm = self.node(id).ppm;
            self.skew(id, ppm);
            self.node_mut(id).write = WRITE;
            if self.config.is_supernode(id) {
                self.make_room(id);
            }
            if let Some(disk) = self.node_mut(id).peer_disk() {
                disk.is_full = false;
                disk.read_all();
            }
            if !self.config.is_supernode(id) && !self.node(id).wants_session {
                self.handle_deed(id, users::Deed::LogIn);
            }
        }
    }

    /// A process goes on: it finds everything that waited for it, and its timers late
    fn resume(&mut self, node: NodeId) {
        let Some(backlog) = self.node_mut(node).backlog.take() else { return };
        for event in backlog {
            if self.processors.are_limited() { self.wait_for_turn(node, event) } else { self.handle(event) }
        }
    }

    /// Counts what concerns a process, if there is one
    fn count_at(&mut self, node: NodeId, effect: Effect) {
        if self.node(node).process.is_some() {
            self.net.count(effect);
        }
    }

    fn skew(&mut self, node: NodeId, ppm: i64) {
        let now = self.now();
        if ppm != self.node(node).ppm {
            self.count_at(node, Effect::Skew);
        }
        self.node_mut(node).clock.set_rate(now, ppm);
        self.set_off(node);
    }

    /// Timers were planned by a clock that says something else now
    fn set_off(&mut self, node: NodeId) {
        let now = self.now();
        let machine = self.node_mut(node);
        let life = machine.life;
        let links: Vec<u64> = machine.ends.keys().copied().collect();
        machine.armed = Some(now);
        for end in machine.ends.values_mut() {
            end.armed = Some(now);
        }
        self.queue.at(now, Event::Wake { node, life });
        for link in links {
            self.queue.at(now, Event::LinkWake { node, life, link });
        }
    }

    /// Ends a link under both sides, or (`half`) under one of them only
    pub fn break_link(&mut self, choice: u64, half: bool) {
        let open: Vec<_> = self.net.open().map(|(id, _)| id).collect();
        let Some(id) = open.get((choice % open.len().max(1) as u64) as usize).copied() else { return };
        self.break_stream(id, half);
        if !half {
            self.net.count(Effect::Reset);
        }
    }

    /// This stream is over for its dialler, or for both sides
    pub fn break_stream(&mut self, id: ConnId, half: bool) {
        let Some(conn) = self.net.conn_mut(id) else { return };
        conn.black = half;
        let ends = [Side::Dialler, Side::Listener].map(|side| *conn.end(side));
        let told = if half { &ends[..1] } else { &ends[..] };
        let [one, other] = ends.map(|end| users::machine(end.node, self.config.supernodes));
        let what = if half { "is over, which only the first knows" } else { "is reset" };
        self.watch.tell(self.queue.now(), &format!("the stream between {one} and {other} {what}"));
        for end in told {
            if let EndState::Open(link) = end.state {
                self.handle_broken(end.node, end.life, link);
            }
        }
    }

    /// A stream has broken under one end: a paused process finds that later
    pub fn handle_broken(&mut self, node: NodeId, life: u32, link: u64) {
        if self.node(node).life == life && self.takes(node, &Event::Broken { node, life, link }) {
            self.close_link(node, link, CloseReason::Reset(std::io::ErrorKind::ConnectionReset));
        }
    }
}
