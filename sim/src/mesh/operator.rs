//! What the operator does: removes peers, and gives names free whose owners have lost their keys.

use std::time::Duration;

use kith_common::crypto::Signer;

use super::disk::PeerDisk;
use super::faults::Effect;
use super::node::{Disk, NodeId};
use super::queue::Event;
use super::users;
use super::watch::Observation;
use super::world::World;

/// The number of no disk: the answer to a removal frees no name
const NO_DISK: u32 = u32::MAX;

/// Messages that a removed peer sends, and how often: for some seconds longer than news of it may take
const TRIES: u32 = 20;
const TRY_EVERY: Duration = Duration::from_millis(500);

impl World {
    /// The operator bars the key on this machine for good, if a supernode takes commands
    pub(super) fn remove(&mut self, node: NodeId) {
        let Some(leader) = self.leading() else { return };
        let name = self.node(node).name.clone();
        self.watch.see(self.queue.now(), node, &Observation::Removing);
        self.net.count(Effect::Removal);
        self.removing.insert(node);
        if let Some(supernode) = self.node_mut(leader).supernode_mut() {
            supernode.core.remove(name, u64::from(NO_DISK) << 32 | u64::from(node.0));
        }
        self.settle(leader);
        self.try_what_it_can(node);
    }

    /// The removed peer sends and sends, as long as somebody may not have heard of it
    fn try_what_it_can(&mut self, node: NodeId) {
        for number in 1..=TRIES {
            let peers = u64::from(self.config.machines() - self.config.supernodes);
            let to = users::name_of(self.config.supernodes + self.user_chance.below(peers) as u32);
            let deed = users::Deed::send(to, &mut self.user_chance);
            self.queue.after(TRY_EVERY * number, Event::Deed(node, Box::new(deed)));
        }
    }

    /// Whoever has been removed starts anew as somebody else
    pub(super) fn replace_removed(&mut self) {
        for node in self.removing.clone() {
            self.kill(node, false);
            self.lose_disk(node);
            self.start(node);
        }
    }

    /// The operator gives a name free, as its owner has lost its key
    pub fn release(&mut self, of: NodeId) {
        let name = self.node(of).name.clone();
        let leader = self.leading();
        let Some((number, is_done)) = self.releasing.get(&name).copied() else { return };
        // Until the supernode has said that it is done, and who came first is the newcomer: it may die before.
        if is_done && leader.is_some() && !self.is_anothers(of) {
            self.releasing.remove(&name);
            return;
        }
        self.queue.after(Duration::from_secs(5), Event::Release(of));
        let Some(leader) = leader else { return };
        self.releasing.insert(name.clone(), (number, false));
        self.watch.see(self.queue.now(), of, &Observation::Released);
        if let Some(supernode) = self.node_mut(leader).supernode_mut() {
            supernode.core.release(name, u64::from(number) << 32 | u64::from(of.0));
        }
        self.settle(leader);
    }

    /// Whether this machine's name belongs to another key than its own: a login of the old key, which was under way as
    /// the name was given free, took it again
    fn is_anothers(&self, of: NodeId) -> bool {
        let Disk::Peer(disk) = &self.node(of).disk else { return false };
        let (own, name) = (disk.identity.key(), &self.node(of).name);
        self.directory().and_then(|directory| directory.account(name)).is_some_and(|account| account.key != own)
    }

    /// A new disk: another key, an empty in-box; the operator gives the name free after a while
    pub(super) fn lose_disk(&mut self, node: NodeId) {
        let (seed, signed) = (self.config.seed, self.signed.clone());
        let Disk::Peer(disk) = &mut self.node_mut(node).disk else { return };
        **disk = PeerDisk::new(seed, node, disk.number + 1, &signed);
        let number = disk.number;
        self.removing.remove(&node);
        self.watch.see(self.queue.now(), node, &Observation::DiskLost);
        self.await_release(node, number);
    }

    /// The name of this machine is to be given free for the key on its disk of this number
    pub(super) fn await_release(&mut self, node: NodeId, number: u32) {
        let name = self.node(node).name.clone();
        if self.releasing.insert(name, (number, false)).is_none() {
            self.queue.after(Duration::from_secs(5), Event::Release(node));
        }
    }
}
