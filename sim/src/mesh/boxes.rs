//! Messages between a peer's core and its disk: the in-box, and the out-box.

use std::time::Duration;

use kith_common::id::{Key, Name};
use kith_common::mail::{Kept, NotStored};
use kith_common::status::Status;
use kith_transport::stack::{Outgoing, StackOutput};

use super::disk::{DiskDone, Keeping, Row};
use super::faults::Effect;
use super::node::NodeId;
use super::queue::Event;
use super::users;
use super::watch::Observation;
use super::world::World;

/// What is to leave the out-box waits so long for another write to go along with
const ERASE_WAIT: Duration = Duration::from_secs(1);

impl World {
    /// Carries out what a peer with its connections wants
    pub(super) fn on_stack(&mut self, id: NodeId, output: StackOutput) {
        match output {
            StackOutput::Peer(output) => self.on_peer(id, output),
            StackOutput::Evaluate { ticket, id: of, from, call } => {
                self.evaluate(id, ticket, of, from.as_deref(), &call);
            }
            StackOutput::Called(called) => {
                let is_pipe = self.on_pipe_called(id, &called);
                let is_honest = |id| !self.config.is_liar(id);
                if called.status == Status::Delivered
                    && !is_pipe
                    && is_honest(id)
                    && users::machine_of(&called.to).is_some_and(is_honest)
                {
                    self.call_waits.push(called.elapsed);
                }
                self.watch.see(self.queue.now(), id, &Observation::Called(&called));
            }
            StackOutput::PipeAsked { ticket, opening, .. } => self.on_pipe_asked(id, ticket, &opening),
            StackOutput::Pipe { pipe, news } => self.on_pipe(id, pipe, &news),
            StackOutput::Pinged(pinged) => self.watch.see(self.queue.now(), id, &Observation::Pinged(&pinged)),
            StackOutput::Reached(called) => {
                self.watch.see(self.queue.now(), id, &Observation::Reached(&called));
                if called.status == Status::Delivered {
                    self.say_some(id, &called.to);
                }
            }
            StackOutput::Said { from, channel, bytes } => {
                let seen = Observation::Said { from: &from, channel, bytes: &bytes };
                self.watch.see(self.queue.now(), id, &seen);
            }
            StackOutput::Pinned { name, key } => self.on_trusted(id, name, key),
            StackOutput::KeyRefused { name, key, .. } => self.ask_owner(id, name, key),
            StackOutput::Keep { ticket, message } => {
                self.watch.see(self.queue.now(), id, &Observation::Keeping(&message));
                let keeping = Keeping { ticket, id: message.id, offer: message.offer() };
                self.write(id, DiskDone::Keep(Box::new(keeping)));
            }
            StackOutput::Store(Outgoing { sequence, id: message, to, body, until }) => {
                let (begun, until) = (self.now(), self.node(id).clock.truly(until));
                let row = Row { id: message, to, body, begun, until };
                self.write(id, DiskDone::Store(sequence, Box::new(row)));
            }
            StackOutput::Load { sequence } => self.write(id, DiskDone::Load(sequence)),
            StackOutput::Delayed { to, trouble } => {
                let seen = Observation::Delayed { to: &to, trouble: &trouble };
                self.watch.see(self.queue.now(), id, &seen);
            }
            StackOutput::Ended { fate, stored } => {
                self.watch.see(self.queue.now(), id, &Observation::Ended(&fate));
                let disk = self.node_mut(id).peer_disk();
                if stored.zip(disk).is_some_and(|(sequence, disk)| disk.let_go(sequence)) {
                    self.erase_soon(id);
                }
            }
        }
    }

    /// Whoever has this name must have this key from now on, after a start as well
    pub(super) fn on_trusted(&mut self, node: NodeId, name: Name, key: Key) {
        self.watch.see(self.queue.now(), node, &Observation::Trusts { name: &name, key });
        if let Some(disk) = self.node_mut(node).peer_disk() {
            disk.pins.insert(name, key);
        }
    }

    fn erase_soon(&mut self, node: NodeId) {
        let life = self.node(node).life;
        self.queue.after(ERASE_WAIT, Event::Disk { node, life, done: DiskDone::Erase });
    }

    /// A peer's disk is done
    pub(super) fn handle_boxes(&mut self, node: NodeId, done: DiskDone) {
        let (now, local) = (self.now(), self.local(node));
        let Some(disk) = self.node_mut(node).peer_disk() else { return };
        match done {
            DiskDone::Keep(keeping) => {
                let Keeping { ticket, id, offer } = *keeping;
                let kept = disk.keep(offer);
                if kept.is_err() {
                    self.net.count(Effect::FullDisk);
                }
                let status = kept.map_or_else(NotStored::status, Kept::status);
                let is_new = matches!(kept, Ok(Kept::New { .. }));
                self.watch.see(now, node, &Observation::Kept { id, status, is_new });
                if let Some(peer) = self.node_mut(node).peer_mut() {
                    peer.stack.handle_kept(local, ticket, kept);
                }
            }
            DiskDone::Store(sequence, row) => {
                let id = row.id;
                let is_stored = disk.store(sequence, *row);
                if !is_stored {
                    self.net.count(Effect::FullDisk);
                }
                self.watch.see(now, node, &Observation::Stored { id, is_stored });
                if let Some(peer) = self.node_mut(node).peer_mut() {
                    peer.stack.handle_stored(local, sequence, is_stored);
                }
            }
            DiskDone::Load(sequence) => {
                let body = disk.load(sequence);
                if let Some(peer) = self.node_mut(node).peer_mut() {
                    peer.stack.handle_loaded(local, sequence, body);
                }
            }
            DiskDone::Erase => {
                if disk.erase() {
                    self.erase_soon(node);
                }
            }
            DiskDone::Appended | DiskDone::Learnt => {}
        }
    }
}
