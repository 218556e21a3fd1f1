//! A log that can take so many commands a second and no more, as a disk or a quorum that is too slow for what is asked.

use std::time::Duration;

use kith_common::directory::Command;
use kith_common::supernode::Proposal;
use kith_common::time::Instant;

use super::disk::DiskDone;
use super::node::NodeId;
use super::queue::Event;
use super::world::{WRITE, World};
use crate::chance::Chance;

/// How the log is slow, and what it has taken since it is: a lone supernode's, or that of whoever leads
#[derive(Clone, Copy, Debug)]
pub struct SlowLog {
    /// One write takes this at least …
    pub least: Duration,
    /// … and this at most
    pub most: Duration,
    /// Commands that are in one write at most; a group has as many writes as it needs
    pub commands: usize,
    /// The next write takes so much longer
    pub stall: Duration,
    /// Until then it writes what it was given
    pub busy_until: Instant,
    /// Logins that it was given
    pub logins: u64,
    /// All other commands that it was given
    pub others: u64,
}

impl SlowLog {
    /// Commands a second that it can take
    pub fn commands_per_second(&self) -> f64 {
        self.commands as f64 / ((self.least + self.most) / 2).as_secs_f64()
    }

    /// How long it is until a group is written that it is given now
    fn write(&mut self, now: Instant, group: &[Proposal], chance: &mut Chance) -> Duration {
        let is_login = |proposal: &&Proposal| matches!(proposal.command, Command::LogIn(_));
        let logins = group.iter().filter(is_login).count();
        self.logins += logins as u64;
        self.others += (group.len() - logins) as u64;
        let (writes, span) = (group.len().div_ceil(self.commands.max(1)), self.most - self.least);
        let begin = self.busy_until.max(now) + std::mem::take(&mut self.stall);
        self.busy_until = (0..writes).fold(begin, |at, _| at + self.least + span.mul_f64(chance.unit()));
        (self.busy_until - now).max(WRITE)
    }
}

impl World {
    /// How long the log takes for a group, if it is slow
    pub(super) fn slow_write(&mut self, group: &[Proposal]) -> Option<Duration> {
        let now = self.now();
        let slow = self.slow_log.as_mut()?;
        Some(slow.write(now, group, &mut self.chance))
    }

    /// A lone supernode's disk begins to write a group
    pub(super) fn write_group(&mut self, node: NodeId, group: &[Proposal]) {
        let Some(wait) = self.slow_write(group) else { return self.write(node, DiskDone::Appended) };
        let life = self.node(node).life;
        self.queue.after(wait, Event::Disk { node, life, done: DiskDone::Appended });
    }
}
