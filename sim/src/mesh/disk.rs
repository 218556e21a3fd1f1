//! What a peer's disk holds, and what it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::id::{Key, MessageId, Name, NetworkId};
use kith_common::mail::{Inbox, Kept, NotStored, Offer, SenderTag};
use kith_common::peer::Stay;
use kith_common::time::Instant;
use kith_common::wire::session::{Record, SupernodeRecord};
use kith_transport::stack::Restored;

use super::node::{Identity, NodeId, Signed};

/// What a peer's disk holds
#[derive(Debug)]
pub struct PeerDisk {
    /// Of which new disk it is: a lost disk takes the key with it
    pub number: u32,
    /// The private key
    pub identity: Identity,
    /// Starts so far
    pub boot: u32,
    /// The network that it belongs to
    pub network: Option<NetworkId>,
    /// The supernodes that its home told of last
    pub supernodes: Vec<SupernodeRecord>,
    /// How it was in the network last, and the time of day when that was written
    pub stay: Option<(Stay, Instant)>,
    /// Where names were, each with the time of day when that was learnt
    pub names: BTreeMap<Name, (Record, Instant)>,
    /// The key that each name must have
    pub pins: BTreeMap<Name, Key>,
    inbox: Inbox,
    /// What is in the in-box: whose, and how long
    unread: Vec<(SenderTag, u64)>,
    /// What is in the out-box, by its sequence
    outbox: BTreeMap<u64, Row>,
    /// What the process wants out of the out-box, and is there still
    erasing: BTreeSet<u64>,
    /// Whether it takes nothing any more
    pub is_full: bool,
    /// When it is done with all that it was asked for: it does one thing after the other
    pub done_at: Instant,
}

/// What an in-box of the simulation holds: some sixty short messages, so that it is full at times
const INBOX_BYTES_MAX: u64 = 24 * 1024;

/// … and what an out-box does: more short messages for one receiver than are ever under way at once
pub const OUTBOX_BYTES_MAX: u64 = 256 * 1024;

/// A message in the out-box
#[derive(Clone, Debug)]
pub struct Row {
    pub id: MessageId,
    pub to: Name,
    pub body: Vec<u8>,
    /// The time of day when its user sent it
    pub begun: Instant,
    /// The time of day when its time is over
    pub until: Instant,
}

impl PeerDisk {
    /// An empty disk
    pub fn new(seed: u64, node: NodeId, number: u32, signed: &Signed) -> Self {
        Self {
            number,
            identity: Identity::derive(seed, node.0, number, signed),
            boot: 0,
            network: None,
            supernodes: Vec::new(),
            stay: None,
            names: BTreeMap::new(),
            pins: BTreeMap::new(),
            inbox: Inbox::new(INBOX_BYTES_MAX),
            unread: Vec::new(),
            outbox: BTreeMap::new(),
            erasing: BTreeSet::new(),
            is_full: false,
            done_at: Instant::ZERO,
        }
    }

    /// Keeps a message as the in-box says, unless it is new and the disk is full
    pub fn keep(&mut self, offer: Offer) -> Result<Kept, NotStored> {
        self.erase();
        let plan = self.inbox.plan([offer]);
        if self.is_full && !plan.is_empty() {
            return Err(NotStored::DiskFull);
        }
        let kept = self.inbox.handle_stored(plan).pop().ok_or(NotStored::DiskFailed)?;
        if matches!(kept, Kept::New { .. }) {
            self.unread.push((offer.fingerprint.sender(), offer.bytes));
        }
        Ok(kept)
    }

    /// Puts a message into the out-box, unless the disk is full
    pub fn store(&mut self, sequence: u64, row: Row) -> bool {
        self.erase();
        if self.is_full {
            self.erasing.remove(&sequence);
            return false;
        }
        self.outbox.insert(sequence, row);
        true
    }

    /// What a message in the out-box says
    pub fn load(&self, sequence: u64) -> Option<Vec<u8>> {
        self.outbox.get(&sequence).map(|row| row.body.clone())
    }

    /// A message is to leave the out-box with one of the next writes, or never if the process dies before; whether nothing else
    /// waited for that
    pub fn let_go(&mut self, sequence: u64) -> bool {
        let is_first = self.erasing.is_empty();
        self.erasing.insert(sequence);
        is_first
    }

    /// Takes out of the out-box what is to leave it; whether something that is not there yet is left
    pub fn erase(&mut self) -> bool {
        let Self { outbox, erasing, .. } = self;
        erasing.retain(|sequence| outbox.remove(sequence).is_none());
        !erasing.is_empty()
    }

    /// What a process that starts at this time of day finds in the out-box
    pub fn restored(&self, now: Instant) -> Vec<Restored> {
        let rows = self.outbox.iter().map(|(sequence, row)| Restored {
            sequence: *sequence,
            id: row.id,
            to: row.to.clone(),
            bytes: row.body.len() as u64,
            age: now - row.begun,
            left: row.until - now,
        });
        rows.collect()
    }

    /// A process opens both boxes as they lie on the disk, the in-box as [`Inbox::restore`] would find it there
    pub fn reopen(&mut self) {
        let seen: Vec<_> = self.inbox.seen().iter().collect();
        self.inbox = Inbox::restore(INBOX_BYTES_MAX, seen, self.unread.iter().copied());
        self.erasing.clear();
    }

    /// Its owner reads all messages
    pub fn read_all(&mut self) {
        self.inbox.handle_removed(self.unread.drain(..));
    }
}

/// What a disk was asked for
#[derive(Clone, Debug)]
pub enum DiskDone {
    /// The group of commands under way
    Appended,
    /// What other supernodes have put into the log
    Learnt,
    /// This message is to be kept
    Keep(Box<Keeping>),
    /// This message is to be in the out-box, under this sequence
    Store(u64, Box<Row>),
    /// What the message in the out-box with this sequence says
    Load(u64),
    /// What is to leave the out-box
    Erase,
}

/// A message on its way to the disk
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The core's number for it
    pub ticket: u64,
    /// The sender's id for it
    pub id: MessageId,
    /// What the in-box has to know of it
    pub offer: Offer,
}
