//! Users act.

use std::time::Duration;

use kith_common::crypto::Signer;
use kith_common::id::{Address, Key, Name};
use kith_common::mail::SEND_TIMEOUT;
use kith_common::wire::content::{Content, Signal};
use kith_transport::stack::CALL_TIMEOUT;

use super::faults::Effect;
use super::node::{Disk, NodeId};
use super::queue::Event;
use super::users::{Deed, Habits, call, machine_of, pings, saying, stamp};
use super::watch::Observation;
use super::world::World;

/// A fate comes within the out-box's time and what it takes to name those on the path; the rest is for slow clocks
pub(super) const FATE_WAIT: Duration = Duration::from_secs(SEND_TIMEOUT.as_secs() + 10);

/// How long it takes to ask the owner of a name whether a key is his
const ASKED_FOR: Duration = Duration::from_secs(5);

/// Things that are said at once
const SAYINGS: u32 = 3;

impl World {
    /// A user's time has come
    pub fn handle_user(&mut self, node: NodeId) {
        let wait = self.user_chance.wait(self.config.deed_every);
        self.queue.after(wait, Event::User(node));
        // Whoever logs out while all supernodes are away for minutes is gone as long.
        let may_leave = self.is_fault_phase && !self.config.kinds.contains(&Effect::Outage);
        let habits = Habits { every: self.config.deed_every, logouts: if may_leave { 0.03 } else { 0.0 } };
        let (first, end) = (self.config.supernodes, self.config.machines());
        let deed = habits.draw(&mut self.user_chance, first, end);
        self.handle_deed(node, deed);
    }

    /// A user does something; a paused or dead process does not take it
    pub fn handle_deed(&mut self, node: NodeId, deed: Deed) {
        if let Deed::LogIn = deed {
            self.node_mut(node).wants_session = true;
        }
        if let Some(backlog) = &mut self.node_mut(node).backlog {
            // Whoever types a command at a paused process waits for it.
            return backlog.push_back(Event::Deed(node, Box::new(deed)));
        }
        if self.node(node).process.is_none() {
            return;
        }
        // Pipes last for minutes, in which nobody says anything.
        if self.user_chance.happens(0.3) {
            self.resume_programs(node);
        }
        let local = self.local(node);
        match deed {
            Deed::Send { to, bytes, keep } => {
                self.sends += 1;
                let bytes = stamp(&bytes, self.sends);
                let source = self.node(node).place().unwrap_or(Address(0));
                let Some(peer) = self.node_mut(node).peer_mut() else { return };
                let id = peer.stack.send(local, to.clone(), bytes.clone(), keep);
                let seen = Observation::Sending { id, to: &to, bytes: &bytes, keep, source };
                self.watch.see(self.queue.now(), node, &seen);
            }
            Deed::TakeBack => {
                let Some(peer) = self.node_mut(node).peer_mut() else { return };
                let oldest = peer.stack.waiting(local).next().map(|waiting| waiting.id);
                oldest.map(|id| peer.stack.take_back(local, &id));
            }
            Deed::Ping { to, traced } => {
                let Some(peer) = self.node_mut(node).peer_mut() else { return };
                let ping = Content::Signal(Signal::Ping);
                if let Ok(id) = peer.stack.peer_mut().send(local, to.clone(), ping, traced) {
                    let source = self.node(node).place().unwrap_or(Address(0));
                    self.watch.see(self.queue.now(), node, &Observation::Asked { id, to: &to, source });
                }
            }
            Deed::Call(to) => {
                self.sends += 1;
                self.call(node, None, to, call(self.sends));
            }
            Deed::Repeat { id, to, call } => self.call(node, Some(id), to, call),
            Deed::Pipe { to, bytes } => self.open_pipe(node, &to, bytes),
            Deed::Pings(to) => {
                self.sends += 1;
                let plan = pings(self.sends);
                let Some(peer) = self.node_mut(node).peer_mut() else { return };
                if let Ok(id) = peer.stack.ping(local, to.clone(), plan) {
                    self.watch.see(self.queue.now(), node, &Observation::Pinging { id, to: &to, plan: &plan });
                }
            }
            Deed::Say(to) => {
                let Some(peer) = self.node_mut(node).peer_mut() else { return };
                if let Ok(id) = peer.stack.reach(local, to.clone(), local + CALL_TIMEOUT) {
                    self.watch.see(self.queue.now(), node, &Observation::Reaching { id, to: &to });
                }
            }
            Deed::LookUp(name) => {
                if let Some(peer) = self.node_mut(node).peer_mut() {
                    peer.stack.peer_mut().look_up(local, name);
                }
            }
            Deed::Trust { name, key } => self.trust(node, name, key),
            Deed::Read => {
                if let Some(disk) = self.node_mut(node).peer_disk() {
                    disk.read_all();
                }
            }
            Deed::LogOut(pause) => {
                self.node_mut(node).wants_session = false;
                self.watch.see(self.queue.now(), node, &Observation::Wants(false));
                if let Some(peer) = self.node_mut(node).peer_mut() {
                    peer.stack.log_out(local);
                }
                self.queue.after(pause, Event::Deed(node, Box::new(Deed::LogIn)));
            }
            Deed::LogIn => {
                self.watch.see(self.queue.now(), node, &Observation::Wants(true));
                if let Some(peer) = self.node_mut(node).peer_mut() {
                    peer.stack.peer_mut().log_in(local);
                }
            }
        }
        self.settle(node);
    }

    /// A name was found with another key than before: its owner is asked, by other ways than the mesh, and says it
    pub(super) fn ask_owner(&mut self, node: NodeId, name: Name, key: Key) {
        self.watch.see(self.queue.now(), node, &Observation::KeyRefused { name: &name, key });
        let wait = self.user_chance.wait(ASKED_FOR);
        self.queue.after(wait, Event::Deed(node, Box::new(Deed::Trust { name, key })));
    }

    fn trust(&mut self, node: NodeId, name: Name, key: Key) {
        let owner = machine_of(&name).filter(|owner| owner.index() < self.config.machines() as usize);
        let Some(Disk::Peer(disk)) = owner.map(|owner| &self.node(owner).disk) else { return };
        if disk.identity.key() != key {
            return;
        }
        let local = self.local(node);
        let Some(peer) = self.node_mut(node).peer_mut() else { return };
        if peer.stack.pin(local, name.clone(), key).is_ok() {
            self.on_trusted(node, name, key);
        }
    }

    /// A connection that a user has wanted stands: a few things are said at once on it
    pub(super) fn say_some(&mut self, node: NodeId, to: &Name) {
        let local = self.local(node);
        for _ in 0..SAYINGS {
            self.sends += 1;
            let (channel, bytes) = saying(self.sends);
            let Some(peer) = self.node_mut(node).peer_mut() else { return };
            if peer.stack.say(local, to, channel, &bytes).is_ok() {
                let seen = Observation::Saying { to, channel, bytes: &bytes };
                self.watch.see(self.queue.now(), node, &seen);
            }
        }
    }
}
