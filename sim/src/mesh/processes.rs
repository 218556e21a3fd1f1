//! Processes: how they start and end, and what their cores want done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kith_common::directory::Directory;
use kith_common::link::HelloTemplate;
use kith_common::link::permits::Permits;
use kith_common::names::REMEMBER;
use kith_common::peer::{Peer, PeerConfig, PeerOutput, STAY_AGE_MAX};
use kith_common::routing::forward::Forwarder;
use kith_common::routing::neighbourhood::NeighbourhoodConfig;
use kith_common::session::listening;
use kith_common::session::membership::MembershipConfig;
use kith_common::supernode::{LogEvent, Supernode, SupernodeConfig, SupernodeOutput};
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::{Locations, Role};
use kith_transport::stack::{Outbox, PAYLOADS, Stack};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::clock::Clock;
use super::costs::{COMMAND, REWIRE, TIMER};
use super::disk::{DiskDone, OUTBOX_BYTES_MAX};
use super::faults::Effect;
use super::log::Replica;
use super::node::{Disk, Identity, NodeId, PeerProcess, Process, SupernodeProcess, admission_of};
use super::opening::{ip_of, location_of};
use super::queue::Event;
use super::watch::Observation;
use super::world::{WRITE, World};

/// Outputs that one input may make in all, before it is taken for an endless loop
const OUTPUTS_MAX: usize = 100_000;

/// A supernode's number in the log
pub const fn replica(supernode: NodeId) -> Replica {
    Replica(supernode.index())
}

impl World {
    /// Starts the machine's process from what its disk holds
    pub fn start(&mut self, id: NodeId) {
        let (now, seed, limits) = (self.now(), self.config.seed, self.config.limits(id));
        if self.node(id).process.is_some() {
            return;
        }
        let node = self.node_mut(id);
        node.life += 1;
        node.is_up = true;
        node.clock = Clock::new(now, node.ppm);
        node.armed = None;
        node.permits = Permits::new(limits);
        let process = match node.disk {
            Disk::Peer(_) => Process::Peer(Box::new(self.start_peer(id))),
            Disk::Supernode => Process::Supernode(Box::new(self.start_supernode(id, seed))),
        };
        let node = self.node_mut(id);
        node.process = Some(process);
        if let (false, Some(peer)) = (node.wants_session, node.peer_mut()) {
            peer.stack.log_out(Instant::ZERO);
        }
        self.watch.see(now, id, &Observation::Started);
        if let Disk::Peer(disk) = &self.node(id).disk {
            let restored = disk.restored(now);
            self.watch.see(now, id, &Observation::Restored(&restored));
        }
        if self.config.is_supernode(id) {
            self.greet(id);
        }
        self.settle(id);
        if self.node(id).peer().is_some() && self.node(id).life == 1 {
            let wait = self.user_chance.wait(self.config.deed_every);
            self.queue.after(wait, Event::User(id));
        }
    }

    fn random(&mut self) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(self.chance.number())
    }

    fn start_peer(&mut self, id: NodeId) -> PeerProcess {
        let now = self.now();
        let rng = self.random();
        let listening = listening([SocketAddr::new(ip_of(id).into(), self.port_of(id))]);
        let supernodes = self.config.supernodes().map(location_of).collect();
        let node = self.node_mut(id);
        let (name, local) = (node.name.clone(), node.clock.local(now));
        let Some(disk) = node.peer_disk() else { unreachable!("peers have peers' disks") };
        disk.boot += 1;
        disk.reopen();
        let outbox = Outbox { bytes_max: OUTBOX_BYTES_MAX, run: disk.boot, restored: disk.restored(now) };
        let (boot, network, identity) = (disk.boot.into(), disk.network, disk.identity.clone());
        let pins = disk.pins.clone();
        let learned = disk.supernodes.clone();
        let stay = disk.stay.clone().filter(|(_, at)| now.since(*at) <= STAY_AGE_MAX).map(|(stay, _)| stay);
        let remembered: Vec<_> =
            disk.names.values().map(|(record, learnt)| (record.clone(), now.since(*learnt))).collect();
        let session = MembershipConfig {
            name,
            supernodes,
            learned,
            network,
            secret: None,
            invite: None,
            external: Locations::default(),
            listening,
        };
        let config =
            PeerConfig { session, neighbourhood: NeighbourhoodConfig::default(), boot, remember: REMEMBER, stay };
        let core = Peer::new(local, config, identity.clone(), rng, remembered);
        self.owners.insert(core.key(), id);
        let mut stack = Stack::new(local, core, outbox, identity, Arc::clone(&self.provider), self.random());
        stack.restore_pins(pins);
        let hello = HelloTemplate { role: Role::Peer, boot, network, grant: None };
        let mut forwarder = Forwarder::new();
        for kind in PAYLOADS {
            forwarder.register(kind);
        }
        PeerProcess { stack, hello, forwarder, programs: Default::default() }
    }

    fn start_supernode(&mut self, id: NodeId, seed: u64) -> SupernodeProcess {
        let rng = self.random();
        let degree = Some(self.config.degree);
        let admission = Arc::new(admission_of(seed, replica(id), self.config.lease, &self.signed));
        let network = admission.network;
        let local = self.local(id);
        if !self.config.supernodes().any(|other| self.node(other).process.is_some()) {
            let opened = self.log.open();
            self.expect_disk(opened);
        }
        let directory = self.log.restore(replica(id));
        let directory = directory.unwrap_or_else(|fault| {
            self.watch.fail(self.queue.now(), "disk", fault);
            Directory::new(0)
        });
        let links_max = self.config.limits(id).links_max;
        let config = SupernodeConfig { id: replica(id).id(), admission, degree, links_max, contacts: Vec::new() };
        let core = Supernode::new(local, config, Identity::derive(seed, id.0, 0, &self.signed), rng, directory);
        let boot = self.node(id).life.into();
        let hello = HelloTemplate { role: Role::Supernode, boot, network: Some(network), grant: None };
        SupernodeProcess { core, hello }
    }

    /// The process ends at once; its streams end with a word of the system's, or (`dark`) without
    pub fn kill(&mut self, id: NodeId, dark: bool) -> bool {
        let node = self.node_mut(id);
        if node.process.take().is_none() {
            return false;
        }
        node.backlog = None;
        node.is_up = !dark;
        let ends = std::mem::take(&mut node.ends).into_values().chain(std::mem::take(&mut node.leaving).into_values());
        let ends: Vec<_> = ends.collect();
        node.touched.clear();
        node.greeters.clear();
        node.dials.clear();
        node.accepting.clear();
        // What was being written may have got there, or not.
        if self.config.is_supernode(id) {
            let survives = self.chance.happens(0.5);
            let crashed = self.log.crash(replica(id), survives);
            self.expect_disk(crashed);
        }
        for end in ends {
            if dark {
                self.net.forget_stalled(end.conn, end.side);
                self.net.close_end(end.conn, end.side);
            } else {
                self.hang_up(end.conn, end.side);
            }
        }
        self.watch.see(self.queue.now(), id, &Observation::Killed);
        true
    }

    /// A disk of this world does what it is asked for, or the world is wrong
    fn expect_disk<T>(&mut self, done: Result<T, String>) -> Option<T> {
        done.map_err(|fault| self.watch.fail(self.queue.now(), "disk", fault)).ok()
    }

    /// The cores' timers go off
    pub fn wake(&mut self, id: NodeId, life: u32) {
        let node = self.node(id);
        if node.life != life || !self.is_due(node.armed) || !self.takes(id, &Event::Wake { node: id, life }) {
            return;
        }
        self.processors.spend(TIMER);
        let local = self.local(id);
        let node = self.node_mut(id);
        node.armed = None;
        match &mut node.process {
            Some(Process::Peer(peer)) => peer.stack.handle_timeout(local),
            Some(Process::Supernode(supernode)) => supernode.core.handle_timeout(local),
            None => {}
        }
        self.settle(id);
    }

    /// Carries out what the cores of a process want, and plans their next timer
    pub fn settle(&mut self, id: NodeId) {
        for count in 0.. {
            if count > OUTPUTS_MAX {
                let reason = format!("{} has no end of outputs", self.node(id).name);
                return self.watch.fail(self.queue.now(), "bounds", reason);
            }
            let local = self.local(id);
            let is_done = match &mut self.node_mut(id).process {
                Some(Process::Peer(peer)) => match peer.stack.poll_output(local) {
                    Some(output) => {
                        self.on_stack(id, output);
                        false
                    }
                    None => true,
                },
                Some(Process::Supernode(supernode)) => match supernode.core.poll_output() {
                    Some(output) => {
                        self.on_supernode(id, output);
                        false
                    }
                    None => true,
                },
                None => return,
            };
            if is_done {
                break;
            }
        }
        self.attend_touched(id);
        self.rearm(id);
    }

    /// Whether a timer that is planned for `armed` has gone off: an event of one that was planned anew has nothing to do
    pub(super) fn is_due(&self, armed: Option<Instant>) -> bool {
        armed.is_some_and(|at| at <= self.now())
    }

    fn rearm(&mut self, id: NodeId) {
        let now = self.now();
        let node = self.node_mut(id);
        let next = match &node.process {
            Some(Process::Peer(peer)) => peer.stack.next_timeout(),
            Some(Process::Supernode(supernode)) => supernode.core.next_timeout(),
            None => None,
        };
        let Some(at) = next.map(|at| node.clock.truly(at).max(now)) else { return };
        if node.armed.is_none_or(|armed| at < armed) {
            node.armed = Some(at);
            let life = node.life;
            self.queue.at(at, Event::Wake { node: id, life });
        }
    }

    pub(super) fn on_peer(&mut self, id: NodeId, output: PeerOutput) {
        self.watch.see(self.queue.now(), id, &Observation::Peer(&output));
        match output {
            PeerOutput::SetHello(hello) => {
                if let Some(peer) = self.node_mut(id).peer_mut() {
                    peer.hello = hello;
                }
            }
            PeerOutput::Dial(dial) => self.dial(id, &dial),
            PeerOutput::Send { link, frame } => self.send_frame(id, link.0, &frame),
            PeerOutput::Transmit { packet, avoid } => self.originate(id, packet, &avoid),
            PeerOutput::Close { link, status, reason } => self.say_bye(id, link.0, status, reason),
            PeerOutput::SetPatience { link, silence } => {
                if let Some(end) = self.node_mut(id).ends.get_mut(&link.0) {
                    end.core.set_patience(silence);
                }
            }
            PeerOutput::Routes(routes) => self.set_routes(id, routes.map(|routes| *routes)),
            PeerOutput::PinNetwork(network) => {
                if let Some(disk) = self.node_mut(id).peer_disk() {
                    disk.network = Some(network);
                }
            }
            PeerOutput::Save(record) => {
                let now = self.now();
                if let Some(disk) = self.node_mut(id).peer_disk() {
                    disk.names.insert(record.name.clone(), (record, now));
                }
            }
            PeerOutput::Erase(name) => {
                if let Some(disk) = self.node_mut(id).peer_disk() {
                    disk.names.remove(&name);
                }
            }
            PeerOutput::KeepSupernodes(list) => {
                if let Some(disk) = self.node_mut(id).peer_disk() {
                    disk.supernodes = list.supernodes.into_vec();
                }
            }
            PeerOutput::KeepStay(stay) => {
                let now = self.now();
                if let Some(disk) = self.node_mut(id).peer_disk() {
                    disk.stay = Some((*stay, now));
                }
            }
            // That somebody is told something concerns the watch alone.
            _ => {}
        }
    }

    fn on_supernode(&mut self, id: NodeId, output: SupernodeOutput) {
        match output {
            SupernodeOutput::Send { link, frame } => {
                if matches!(frame, Frame::Rewire(_)) {
                    self.processors.spend(REWIRE);
                }
                self.send_frame(id, link.0, &frame);
            }
            SupernodeOutput::Close { link, status, reason } => self.say_bye(id, link.0, status, reason),
            SupernodeOutput::Propose(group) => {
                self.watch.see(self.queue.now(), id, &Observation::Proposed(&group));
                if self.must_agree() {
                    return self.propose_to_leader(id, group);
                }
                self.write_group(id, &group);
                self.log.propose(replica(id), group);
            }
            SupernodeOutput::Read if self.must_agree() => self.ask_leader(id),
            SupernodeOutput::Read => {
                let (local, readable) = (self.local(id), LogEvent::Readable(self.log.end()));
                if let Some(supernode) = self.node_mut(id).supernode_mut() {
                    supernode.core.handle_log(local, readable);
                }
            }
            SupernodeOutput::Dial(dial) => self.dial(id, &dial),
            SupernodeOutput::Snapshot(directory) => {
                let kept = self.log.keep(replica(id), &directory);
                self.expect_disk(kept);
            }
            SupernodeOutput::Answered { ticket, outcome } => {
                // If the disk was lost again meanwhile, the name may be the key's that was on it.
                let (name, number) = (self.node(NodeId(ticket as u32)).name.clone(), (ticket >> 32) as u32);
                if let Some((_, is_done)) = self.releasing.get_mut(&name).filter(|(of, _)| *of == number) {
                    *is_done |= outcome.is_some();
                }
            }
        }
    }

    /// A disk begins to write, or a peer's to read: a peer's does one thing after the other
    pub fn write(&mut self, node: NodeId, done: DiskDone) {
        let (life, write) = (self.node(node).life, self.node(node).write);
        if write > WRITE {
            self.net.count(Effect::SlowDisk);
        }
        let mut at = self.now() + self.chance.wait(write) + Duration::from_micros(200);
        if let Some(disk) = self.node_mut(node).peer_disk() {
            at = at.max(disk.done_at);
            disk.done_at = at;
        }
        self.queue.at(at, Event::Disk { node, life, done });
    }

    /// A disk is done
    pub fn handle_disk(&mut self, node: NodeId, life: u32, done: DiskDone) {
        if self.node(node).life != life || self.node(node).process.is_none() {
            return;
        }
        // A disk writes on while a process is paused; that it did is what the process hears later.
        if !self.takes(node, &Event::Disk { node, life, done: done.clone() }) {
            return;
        }
        match done {
            DiskDone::Appended => self.appended(node),
            // Late, it may come when there is nobody to hear it from.
            DiskDone::Learnt if !self.hears_log(node) => {}
            DiskDone::Learnt => self.learn(node),
            done => self.handle_boxes(node, done),
        }
        self.settle(node);
    }

    /// A group is on its proposer's disk: others hear of it when their disks have it too
    fn appended(&mut self, node: NodeId) {
        let life = self.node(node).life;
        if self.log.is_full(replica(node)) {
            // Before it writes, the thread of the log looks what of the group before is there after all.
            self.learn(node);
            let survives = self.chance.happens(0.2);
            let lost = self.log.lose(replica(node), survives);
            self.net.count(Effect::FullLog);
            let local = self.local(node);
            if let Some(supernode) = self.node_mut(node).supernode_mut() {
                lost.into_iter().for_each(|event| supernode.core.handle_log(local, event));
            }
            return;
        }
        self.log.commit(replica(node), life);
        self.learn(node);
        for other in self.config.supernodes().filter(|other| *other != node) {
            self.write(other, DiskDone::Learnt);
        }
    }

    /// A supernode that starts is told who leads, and what was committed without it
    fn greet(&mut self, node: NodeId) {
        if self.must_agree() {
            self.greet_several(node);
            return self.show_directory(node);
        }
        let local = self.local(node);
        if let Some(supernode) = self.node_mut(node).supernode_mut() {
            supernode.core.handle_log(local, LogEvent::LeaderChanged(Some(Replica::LEADER.id())));
        }
        self.learn(node);
    }

    fn learn(&mut self, node: NodeId) {
        let (local, life) = (self.local(node), self.node(node).life);
        if self.must_agree() && self.log.is_full(replica(node)) {
            return;
        }
        let is_replaced = self.is_replaced(node);
        let log = &mut self.log;
        let learnt = if is_replaced { log.replace(replica(node), life) } else { log.learn(replica(node), life) };
        let events = self.expect_disk(learnt).unwrap_or_default();
        self.processors.spend(COMMAND * events.len() as u32);
        if let Some(supernode) = self.node_mut(node).supernode_mut() {
            events.into_iter().for_each(|event| supernode.core.handle_log(local, event));
        }
        self.show_directory(node);
    }

    /// Lets the oracles see what a supernode has applied, or read at its start
    fn show_directory(&mut self, node: NodeId) {
        let mut watch = std::mem::take(&mut self.watch);
        if let Some(supernode) = self.node(node).supernode() {
            let (now, directory) = (self.queue.now(), supernode.core.directory());
            if !self.must_agree() {
                watch.see(now, node, &Observation::Agreed(directory));
            }
            watch.see(now, node, &Observation::Applied(directory));
        }
        self.watch = watch;
    }

    /// Lets the oracles see what several supernodes agree on
    pub(super) fn show_agreed(&mut self) {
        let mut watch = std::mem::take(&mut self.watch);
        if let Some(directory) = self.log.agreed() {
            watch.see(self.queue.now(), self.config.leader(), &Observation::Agreed(directory));
        }
        self.watch = watch;
    }
}
