//! The way of proposals to whoever leads, and back as committed or lost.
//!
//! The core gives one group at a time. It goes to the leader again and again, under the same numbers, until all of it
//! was applied here, or nobody has led for a while: the machine takes each number once, so asking again does no harm. But a
//! leader that is too slow to answer in time would write what it has once more for each time that it is asked. So the same
//! leader is asked again only while there are [`Retries`] left; else the group waits for what it was asked first.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kith_common::id::SupernodeId;
use kith_common::rate::Retries;
use kith_common::supernode::{LogEvent, Proposal};
use kith_common::wire::agreement::{COMMANDS_PER_ENTRY, ENTRY_BYTES_MAX, LogQuestion, LogReply, Proposals, Proposed};
use kith_runtime::sync::{self, Mistake, Mutex, MutexGuard, Notify, sleep, timeout_at};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::calls::{Calls, NoAnswer};
use crate::log::News;

/// So long a group is tried while there is a leader: less than a peer waits for the answer to its login
const PATIENCE: Duration = Duration::from_secs(8);

/// So long it waits for a leader: an election takes a second or two, and without a majority there will be none
const LEADERLESS: Duration = Duration::from_secs(4);

/// So long one try may take
const TRY: Duration = Duration::from_secs(3);

/// Times that a leader may be asked again before any was earned: an answer or two may be lost
const RETRIES_AT_FIRST: u32 = 3;

/// Between two tries: a leader that was asked too early knows more by then
const PAUSE: Duration = Duration::from_millis(50);

/// The numbers of the core's proposals of which it was not told what became; clones are the same one
///
/// There may be several groups: the core proposes the next one as soon as the last is applied, and whoever carried that may
/// still be at it. So each waits for its own numbers alone, and gives up no others.
#[derive(Clone, Debug, Default)]
pub(super) struct Outstanding {
    numbers: Arc<Mutex<BTreeSet<u64>>>,
    changed: Arc<Notify>,
}

/// The numbers of one group
type Group = BTreeSet<u64>;

impl Outstanding {
    fn numbers(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, group: &[Proposal]) -> Group {
        let group: Group = group.iter().map(|proposal| proposal.number).collect();
        self.numbers().extend(&group);
        group
    }

    /// The command of this number was applied; whether the core waits for it
    pub(super) fn settle(&self, number: u64) -> bool {
        let was_there = self.numbers().remove(&number);
        if was_there {
            self.changed.notify_waiters();
        }
        was_there
    }

    /// What is left of a group is lost
    fn give_up(&self, group: &Group) -> Vec<u64> {
        let mut numbers = self.numbers();
        if sync::makes(Mistake::GivesUpThoseOfOthers) {
            return std::mem::take(&mut *numbers).into_iter().collect();
        }
        group.iter().copied().filter(|number| numbers.remove(number)).collect()
    }

    /// Waits until all of a group is settled
    async fn settled(&self, group: &Group) {
        loop {
            if sync::makes(Mistake::LooksBeforeItListens) && self.are_settled(group) {
                return;
            }
            // It hears of every change from here on, so that none can come between the look and the wait.
            let changed = self.changed.notified();
            if !sync::makes(Mistake::LooksBeforeItListens) && self.are_settled(group) {
                return;
            }
            changed.await;
        }
    }

    fn are_settled(&self, group: &Group) -> bool {
        let numbers = self.numbers();
        !group.iter().any(|number| numbers.contains(number))
    }
}

/// How often a leader may be asked again that has not answered; clones are the same one
#[derive(Clone, Debug)]
pub(super) struct Patience(Arc<Mutex<Retries>>);

impl Patience {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Retries::new(RETRIES_AT_FIRST))))
    }

    fn retries(&self) -> MutexGuard<'_, Retries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `leader` may be asked, if one of before has not answered in time
    fn may_ask(&self, leader: SupernodeId, unanswered: Option<SupernodeId>) -> bool {
        unanswered != Some(leader) || self.retries().spend()
    }
}

/// What carries a group to the leader
#[derive(Clone)]
pub(super) struct Proposer {
    pub(super) me: SupernodeId,
    pub(super) boot: u64,
    pub(super) outstanding: Outstanding,
    pub(super) leader: watch::Receiver<Option<SupernodeId>>,
    pub(super) batcher: Batcher,
    pub(super) calls: Calls,
    pub(super) patience: Patience,
    pub(super) news: mpsc::Sender<News>,
}

impl Proposer {
    /// Carries a group to whoever leads, and tells what became of it; `is_writable`: whether this disk takes anything
    pub(super) async fn propose(mut self, group: Vec<Proposal>, is_writable: bool) {
        let outstanding = self.outstanding.clone();
        let numbers = outstanding.begin(&group);
        self.patience.retries().earn();
        let deadline = Instant::now() + PATIENCE;
        if is_writable {
            tokio::select! {
                biased;
                // What is applied need not be carried any further, whatever became of the leader's answer.
                () = outstanding.settled(&numbers) => {}
                () = self.carry_all(&group, &numbers, deadline) => {}
            }
        }
        let lost = outstanding.give_up(&numbers);
        if !lost.is_empty() {
            let events = lost.into_iter().map(|number| LogEvent::Lost { number }).collect();
            // A driver that is gone waits for nothing.
            let _ = self.news.send(News::Events(events)).await;
        }
    }

    /// Carries a group until it is applied here, or that is past hoping for
    async fn carry_all(&mut self, group: &[Proposal], numbers: &Group, deadline: Instant) {
        for part in self.parts(group) {
            if !self.carry(&part, deadline).await {
                return;
            }
        }
        // They come back in the order of the log; where this supernode is cut off by now, that may be long.
        let _ = timeout_at(deadline, self.outstanding.settled(numbers)).await;
    }

    /// The group in parts of one entry each; a command without bytes is left out, and so is lost
    fn parts(&self, group: &[Proposal]) -> Vec<Proposals> {
        let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
        for Proposal { number, command } in group {
            let command = command.to_bytes().ok().and_then(|bytes| bytes.try_into().ok());
            let Some(command) = command else {
                tracing::error!(event = "command_unwritable", number, reason = "it is longer than any command may be");
                continue;
            };
            let proposed = Proposed { proposer: self.me, boot: self.boot, number: *number, command };
            let size = size(&proposed);
            if part.len() == COMMANDS_PER_ENTRY || bytes + size > ENTRY_BYTES_MAX {
                parts.push(Proposals::truncated(std::mem::take(&mut part)));
                bytes = 0;
            }
            bytes += size;
            part.push(proposed);
        }
        if !part.is_empty() {
            parts.push(Proposals::truncated(part));
        }
        parts
    }

    /// Whether a part is committed before the deadline
    async fn carry(&mut self, part: &Proposals, deadline: Instant) -> bool {
        let (mut leaderless, mut unanswered) = (Instant::now(), None);
        while Instant::now() < deadline {
            let leader = *self.leader.borrow_and_update();
            let Some(leader) = leader else {
                if leaderless.elapsed() > LEADERLESS {
                    return false;
                }
                let _ = timeout_at(Instant::now() + PAUSE * 2, self.leader.changed()).await;
                continue;
            };
            leaderless = Instant::now();
            if !self.patience.may_ask(leader, unanswered) {
                tracing::debug!(event = "group_not_repeated", leader = leader.0, reason = "it has not answered yet");
                // It will be applied, or somebody else leads, or time is over.
                let _ = timeout_at(deadline, self.leader.changed()).await;
                sleep(PAUSE).await;
                continue;
            }
            match self.ask(leader, part, deadline.min(Instant::now() + TRY)).await {
                Asked::Committed => return true,
                Asked::Refused => unanswered = None,
                Asked::Unanswered => unanswered = Some(leader),
            }
            sleep(PAUSE).await;
        }
        false
    }

    async fn ask(&self, leader: SupernodeId, part: &Proposals, until: Instant) -> Asked {
        if leader == self.me {
            return match timeout_at(until, self.batcher.write(part.clone())).await {
                Ok(true) => Asked::Committed,
                Ok(false) => Asked::Refused,
                Err(_) => Asked::Unanswered,
            };
        }
        match self.calls.ask(leader, LogQuestion::Propose(part.clone()), until).await {
            Ok(LogReply::Committed) => Asked::Committed,
            Err(NoAnswer::TimedOut) => Asked::Unanswered,
            // It has said no, or its link is gone, and whoever leads will be somebody else.
            Ok(_) | Err(NoAnswer::Unreachable) => Asked::Refused,
        }
    }
}

/// Bytes that a command takes in an entry
fn size(proposed: &Proposed) -> usize {
    3 * size_of::<u64>() + size_of::<u16>() + proposed.command.len()
}

/// What came of asking a leader
enum Asked {
    Committed,
    /// The log has not taken it, and may be asked again
    Refused,
    /// It may be at it
    Unanswered,
}

/// What a leader was given by one supernode, and waits for the next entry
struct Waiting {
    commands: Proposals,
    written: oneshot::Sender<bool>,
}

/// Makes one entry of what many supernodes propose while the last entry is written
#[derive(Clone)]
pub(super) struct Batcher {
    waiting: mpsc::UnboundedSender<Waiting>,
}

impl Batcher {
    /// Starts it; it ends with the last of its clones. `write` makes one entry, and says whether that is committed.
    pub(super) fn start<W: Future<Output = bool> + Send>(
        write: impl Fn(Proposals) -> W + Send + Sync + 'static,
    ) -> Self {
        let (waiting, mut incoming) = mpsc::unbounded_channel::<Waiting>();
        sync::spawn(async move {
            let mut next = None;
            loop {
                let first = match next.take() {
                    Some(first) => first,
                    None => match incoming.recv().await {
                        Some(first) => first,
                        None => return,
                    },
                };
                let (commands, writers) = gather(first, &mut incoming, &mut next);
                let is_written = sync::makes(Mistake::AnswersWithoutWriting) || write(commands).await;
                // Whoever waited may have given up, and asks again.
                for writer in writers {
                    let _ = writer.send(is_written);
                }
            }
        });
        Self { waiting }
    }

    /// Whether the commands are committed; if not, they may be later
    ///
    /// Each supernode has one group under way, so that few wait here.
    pub(super) async fn write(&self, commands: Proposals) -> bool {
        let (written, is_written) = oneshot::channel();
        self.waiting.send(Waiting { commands, written }).is_ok() && is_written.await.unwrap_or(false)
    }
}

/// As much of what waits as fits into one entry
fn gather(
    first: Waiting,
    incoming: &mut mpsc::UnboundedReceiver<Waiting>,
    next: &mut Option<Waiting>,
) -> (Proposals, Vec<oneshot::Sender<bool>>) {
    let mut commands = first.commands.into_vec();
    let mut bytes: usize = commands.iter().map(size).sum();
    let mut writers = vec![first.written];
    while let Ok(waiting) = incoming.try_recv() {
        bytes += waiting.commands.iter().map(size).sum::<usize>();
        if commands.len() + waiting.commands.len() > COMMANDS_PER_ENTRY || bytes > ENTRY_BYTES_MAX {
            *next = Some(waiting);
            break;
        }
        commands.append(&mut waiting.commands.into_vec());
        writers.push(waiting.written);
    }
    (Proposals::truncated(commands), writers)
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leader_that_does_not_answer_is_asked_again_a_few_times_and_another_one_at_once() {
        let patience = Patience::new();
        let [silent, other] = [SupernodeId(1), SupernodeId(2)];
        assert!((0..20).all(|_| patience.may_ask(silent, None)), "a first try is free");
        let again = (0..20).filter(|_| patience.clone().may_ask(silent, Some(silent))).count();
        assert_eq!(again, RETRIES_AT_FIRST as usize);
        assert!(patience.may_ask(other, Some(silent)));
        (0..20).for_each(|_| patience.retries().earn());
        assert_eq!((0..20).filter(|_| patience.may_ask(silent, Some(silent))).count(), 2, "a tenth of the groups");
    }
}
