//! An ideal log behind the supernodes' port: one order for all of them, whoever proposes, and a disk for each.
//!
//! It is what replication has to come to, without the replication: a group of commands is in the order from the moment
//! when it is on the disk of whoever leads, and each supernode learns of it, in this order, when the world lets it look. A
//! single supernode leads for ever, and several elect ([`super::agreement`]). What was on its way to a disk when its
//! supernode was killed may have got there.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use kith_common::directory::{Command, Directory};
use kith_common::id::SupernodeId;
use kith_common::supernode::{LogEvent, Proposal};

/// Commands after which a supernode of the simulation takes a snapshot: often, so that restarts read some
const SNAPSHOT_EVERY: usize = 64;

/// A supernode of this log, counted from 0
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica(pub usize);

impl Replica {
    /// Who leads, if it is alone
    pub const LEADER: Self = Self(0);

    /// The number of its certificate: serials are counted from 1
    pub const fn id(self) -> SupernodeId {
        SupernodeId(self.0 as u64 + 1)
    }
}

/// A command in the order
#[derive(Clone, Debug)]
struct Entry {
    command: Command,
    /// Who proposed it, in which life, by which number of its own; `None`: a life that is over
    proposer: Option<(Replica, u32, u64)>,
}

/// What one supernode's disk holds
#[derive(Clone, Debug, Default)]
struct Disk {
    snapshot: Option<Vec<u8>>,
    /// The commands after the snapshot, each with its index, as they would be on a disk
    log: Vec<(u64, Vec<u8>)>,
    /// The last index on it
    last: u64,
    /// The group that is being written
    under_way: Vec<Proposal>,
    /// Whether it takes nothing
    is_full: bool,
}

/// The order, as far as some disk still lacks it, and all disks
#[derive(Clone, Debug)]
pub struct IdealLog {
    entries: VecDeque<Entry>,
    /// The last index that every disk has: of the entry before the first
    forgotten: u64,
    disks: Vec<Disk>,
    /// How often it was opened from disks that may be older ones
    incarnation: u32,
    /// What the order has made, where several supernodes agree on it: each of them may be behind
    agreed: Option<Box<Directory>>,
    /// The disks as they were when somebody copied them
    copy: Option<Box<Self>>,
}

impl IdealLog {
    /// An empty log of so many supernodes
    pub fn new(replicas: usize) -> Self {
        let disks = (0..replicas).map(|_| Disk::default()).collect();
        let agreed = (replicas > 1).then(|| Box::new(Directory::new(0)));
        Self { entries: VecDeque::new(), forgotten: 0, disks, incarnation: 0, agreed, copy: None }
    }

    /// Somebody copies what is on the disks, which need not be all that was committed
    pub fn copy(&mut self) {
        self.copy = None;
        let mut copy = Box::new(self.clone());
        copy.disks.iter_mut().for_each(|disk| disk.under_way.clear());
        self.copy = Some(copy);
    }

    /// The copy is put back, or (if there is none) an empty log begun, while no supernode runs
    pub fn go_back(&mut self) {
        let copy = self.copy.take().map_or_else(|| Self::new(self.disks.len()), |copy| *copy);
        *self = Self { incarnation: self.incarnation, ..copy };
    }

    /// A supernode opens the log that no other has open: nothing says that it is the one of before
    ///
    /// # Errors
    /// In words, if what was agreed on cannot be read back.
    pub fn open(&mut self) -> Result<(), String> {
        self.incarnation += 1;
        let Some(agreed) = &mut self.agreed else { return Ok(()) };
        let bytes = agreed.snapshot().map_err(|error| format!("no snapshot: {error}"))?;
        let opened = Directory::restore(self.incarnation, &bytes);
        **agreed = opened.map_err(|error| format!("the snapshot cannot be read: {error}"))?;
        Ok(())
    }

    /// What the order has made, where several supernodes agree on it
    pub fn agreed(&self) -> Option<&Directory> {
        self.agreed.as_deref()
    }

    /// A command is in the order; its proposer has this number for it, unless it is not to know
    pub fn put(&mut self, command: Command, proposer: Option<(Replica, u32, u64)>) {
        if let Some(agreed) = &mut self.agreed {
            agreed.apply(self.forgotten + self.entries.len() as u64 + 1, &command);
        }
        self.entries.push_back(Entry { command, proposer });
    }

    /// How many commands a supernode has not been told of
    pub fn lag(&self, at: Replica) -> u64 {
        self.end() - self.disks[at.0].last
    }

    /// Begins to write a group on the proposer's disk, which has nothing else to write
    pub fn propose(&mut self, at: Replica, group: Vec<Proposal>) {
        self.disks[at.0].under_way = group;
    }

    /// The group is on the proposer's disk, so it is in the order; it is for each supernode to [`Self::learn`]
    pub fn commit(&mut self, at: Replica, life: u32) {
        for Proposal { number, command } in std::mem::take(&mut self.disks[at.0].under_way) {
            self.put(command, Some((at, life, number)));
        }
    }

    /// A supernode's disk takes nothing any more, or takes again
    pub fn fill(&mut self, at: Replica, is_full: bool) {
        self.disks[at.0].is_full = is_full;
    }

    /// Whether a supernode's disk takes nothing
    pub fn is_full(&self, at: Replica) -> bool {
        self.disks[at.0].is_full
    }

    /// Whether the order holds what a supernode has not been told; with one supernode this is what it was told is lost
    pub fn is_ahead_of(&self, at: Replica) -> bool {
        self.disks[at.0].last < self.end()
    }

    /// The index of the last command in the order
    pub fn end(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    /// The group was not written: what its proposer is told. It may be on the disk after all (`survives`), which is found
    /// out with the next one, or when there is room, as a store does that opens its file anew.
    pub fn lose(&mut self, at: Replica, survives: bool) -> Vec<LogEvent> {
        let group = std::mem::take(&mut self.disks[at.0].under_way);
        let lost = group.iter().map(|proposal| LogEvent::Lost { number: proposal.number }).collect();
        if survives {
            group.into_iter().for_each(|Proposal { command, .. }| self.put(command, None));
        }
        lost
    }

    /// A supernode is killed, whose group may have got to its disk (`survives`) or not
    ///
    /// # Errors
    /// In words, if a command cannot be written.
    pub fn crash(&mut self, at: Replica, survives: bool) -> Result<(), String> {
        let group = std::mem::take(&mut self.disks[at.0].under_way);
        if survives {
            group.into_iter().for_each(|Proposal { command, .. }| self.put(command, None));
            self.write(at)?;
        }
        Ok(())
    }

    /// What a supernode has not been told of, in the order, and on its disk from now on; its own commands have their
    /// numbers in the life that proposed them
    ///
    /// # Errors
    /// In words, if a command cannot be written.
    pub fn learn(&mut self, at: Replica, life: u32) -> Result<Vec<LogEvent>, String> {
        let before = self.disks[at.0].last;
        let number = |entry: &Entry| match entry.proposer {
            Some((replica, of, number)) if (replica, of) == (at, life) => Some(number),
            _ => None,
        };
        let told = (before + 1..).zip(self.entries.iter().skip((before - self.forgotten) as usize));
        let committed = |(index, entry): (u64, &Entry)| {
            let (command, number) = (entry.command.clone(), number(entry));
            LogEvent::Committed { index, command, number }
        };
        let mut events: Vec<LogEvent> = told.map(committed).collect();
        self.write(at)?;
        if !events.is_empty() && self.disks[at.0].log.len() >= SNAPSHOT_EVERY {
            events.push(LogEvent::Grown);
        }
        Ok(events)
    }

    /// What a supernode is told in place of commands that it has not been told of: the whole directory, and that those of
    /// its own are lost
    ///
    /// # Errors
    /// In words, if a command cannot be written, or the disk not be read.
    pub fn replace(&mut self, at: Replica, life: u32) -> Result<Vec<LogEvent>, String> {
        let own = self.entries.iter().skip((self.disks[at.0].last - self.forgotten) as usize);
        let own = own.filter_map(|entry| entry.proposer.filter(|(by, of, _)| (*by, *of) == (at, life)));
        let lost: Vec<LogEvent> = own.map(|(_, _, number)| LogEvent::Lost { number }).collect();
        self.write(at)?;
        let directory = self.restore(at)?;
        Ok([LogEvent::Replaced(Box::new(directory))].into_iter().chain(lost).collect())
    }

    /// Puts what a disk lacks of the order on it
    fn write(&mut self, at: Replica) -> Result<(), String> {
        let disk = &mut self.disks[at.0];
        for entry in self.entries.iter().skip((disk.last - self.forgotten) as usize) {
            let bytes = entry.command.to_bytes().map_err(|error| format!("a command cannot be written: {error}"))?;
            disk.last += 1;
            disk.log.push((disk.last, bytes));
        }
        let everywhere = self.disks.iter().map(|disk| disk.last).min().unwrap_or_default();
        self.entries.drain(..(everywhere - self.forgotten) as usize);
        self.forgotten = everywhere;
        Ok(())
    }

    /// Keeps a directory that a supernode made of what it was told, and cuts the commands in it from its disk
    ///
    /// # Errors
    /// In words, if it cannot be written.
    pub fn keep(&mut self, at: Replica, directory: &Directory) -> Result<(), String> {
        let bytes = directory.snapshot().map_err(|error| format!("no snapshot: {error}"))?;
        let disk = &mut self.disks[at.0];
        disk.snapshot = Some(bytes);
        disk.log.retain(|(index, _)| *index > directory.applied());
        Ok(())
    }

    /// The directory that a supernode finds on its disk at a start
    ///
    /// # Errors
    /// In words, if snapshot or log cannot be read.
    pub fn restore(&self, at: Replica) -> Result<Directory, String> {
        let disk = &self.disks[at.0];
        let restored = disk.snapshot.as_deref().map(|bytes| Directory::restore(self.incarnation, bytes)).transpose();
        let restored = restored.map_err(|error| format!("the snapshot cannot be read: {error}"))?;
        let mut directory = restored.unwrap_or_else(|| Directory::new(self.incarnation));
        for (index, bytes) in &disk.log {
            let command = Command::from_bytes(bytes).map_err(|error| format!("a command cannot be read: {error}"))?;
            directory.apply(*index, &command);
        }
        Ok(directory)
    }
}
