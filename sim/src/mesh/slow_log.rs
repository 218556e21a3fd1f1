//! A log that can take so many commands a second and no more, as a disk or a quorum that is too slow for what is asked.

use std::time::Duration;

use kith_common::directory::Command;
use kith_common::supernode::Proposal;

use super::node::{DiskDone, NodeId};
use super::queue::Event;
use super::world::{WRITE, World};

/// How a lone supernode's log is slow, and what it has taken since it is
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
}

impl World {
    /// A lone supernode's disk begins to write a group
    pub(super) fn write_group(&mut self, node: NodeId, group: &[Proposal]) {
        let Some(slow) = &mut self.slow_log else { return self.write(node, DiskDone::Appended) };
        let is_login = |proposal: &&Proposal| matches!(proposal.command, Command::LogIn(_));
        let logins = group.iter().filter(is_login).count();
        slow.logins += logins as u64;
        slow.others += (group.len() - logins) as u64;
        let (writes, least, span) = (group.len().div_ceil(slow.commands.max(1)), slow.least, slow.most - slow.least);
        let stall = std::mem::take(&mut slow.stall);
        let wait = (0..writes).fold(stall, |wait, _| wait + least + span.mul_f64(self.chance.unit()));
        let life = self.node(node).life;
        self.queue.after(wait.max(WRITE), Event::Disk { node, life, done: DiskDone::Appended });
    }
}
