//! What the tasks of a supernode's part in the agreement share, and what each of them asks of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kith_common::id::SupernodeId;
use kith_common::wire;
use kith_common::wire::agreement::{Change, Configuration, Configured, GONE_MAX, LogQuestion, LogReply};
use kith_common::wire::session::{Reason, SUPERNODES_MAX};
use kith_runtime::sync::Mutex;
use openraft::{ChangeMembers, RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::answers::refused;
use super::calls::Calls;
use super::lineage::Lineage;
use super::machine::AppliedTo;
use super::proposing::Batcher;
use super::pulse::{HEARTBEAT, voters_wanted};
use super::{Located, Raft, words};
use crate::log::disk::Disk;
use crate::log::store::Word;

/// A learner that lacks no more entries than these has kept up
const LAG_MAX: u64 = 64;

/// So long a change of the configuration is tried
const CHANGE: Duration = Duration::from_secs(15);

/// So long a backup may take: a million names are 200 MB
const BACKUP: Duration = Duration::from_secs(60);

/// So long another supernode may take to say whom it hears
const WHO_LEADS: Duration = Duration::from_millis(400);

/// So long the answer to a read is worth waiting for, here and at the leader that is asked; then an old answer is the
/// better one
pub(super) const READ: Duration = Duration::from_secs(1);

/// What the tasks of a member share
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) me: SupernodeId,
    pub(super) raft: Raft,
    pub(super) batcher: Batcher,
    pub(super) lineage: Lineage,
    pub(super) disk: Disk,
    pub(super) calls: Calls,
    pub(super) leader: watch::Receiver<Option<SupernodeId>>,
    pub(super) applied: watch::Receiver<AppliedTo>,
    pub(super) heard: Arc<Mutex<Option<Instant>>>,
    /// Set when this log is found to be an older copy of itself: nothing is agreed on with it
    pub(super) has_gone_back: Arc<AtomicBool>,
}

impl Shared {
    /// Who leads, as far as this supernode can tell
    pub(super) fn leader(&self) -> Option<SupernodeId> {
        *self.leader.borrow()
    }

    pub(super) fn leads(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }

    pub(super) fn is_configured(&self, id: SupernodeId) -> bool {
        self.raft.metrics().borrow().membership_config.membership().get_node(&id.0).is_some()
    }

    /// The leader has spoken
    pub(super) fn hear_leader(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.calls.forget_ahead();
    }

    /// The leader says that this supernode has acknowledged an entry: without it, it must end, and not start again
    pub(super) async fn handle_acknowledged(&self, leader: SupernodeId, entry: u64) -> LogReply {
        let (last, led_by) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            (metrics.last_log_index, metrics.current_leader)
        };
        if led_by != Some(leader.0) {
            return refused("the log knows another leader, or none");
        }
        if last.is_some_and(|last| last >= entry) {
            return refused("the entry is here");
        }
        let reason = "this log is an older copy of itself: it lacks what was acknowledged with it";
        tracing::error!(event = "log_gone_back", %leader, acknowledged = entry, last, reason);
        self.has_gone_back.store(true, Ordering::Relaxed);
        let noted = self.disk.say(Word::WentBack, wire::encode(&entry)).await;
        // It ends in any case, and is told the same after the next start.
        refused(&noted.err().unwrap_or_else(|| reason.to_owned()))
    }

    /// The index of the last command that is acknowledged anywhere, if this supernode leads
    pub(super) async fn read_here(&self, until: Instant) -> Option<u64> {
        let (read, _) = timeout_at(until, self.raft.get_read_log_id()).await.ok()?.ok()?;
        let wanted = read.map(|read| read.index);
        let mut applied = self.applied.clone();
        let applied = timeout_at(until, applied.wait_for(|applied| applied.entry >= wanted)).await.ok()?.ok()?;
        Some(applied.index)
    }

    /// Carries out a change, or has the leader do it, who must not be the one that asks
    pub(super) async fn change(&self, change: Change, asker: Option<SupernodeId>) -> LogReply {
        if self.leads() {
            return self.change_here(change).await;
        }
        match self.leader() {
            Some(leader) if Some(leader) != asker && leader != self.me => {
                let question = LogQuestion::Change(change);
                let reply = self.calls.ask(leader, question, Instant::now() + CHANGE).await;
                reply.unwrap_or_else(|error| refused(&format!("supernode {leader}, which leads: {error}")))
            }
            _ => LogReply::Leader(self.leader()),
        }
    }

    async fn change_here(&self, change: Change) -> LogReply {
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let changed = match change {
            Change::Add(Configured { id: SupernodeId(id), locations }) => {
                let node = Located(locations);
                match membership.get_node(&id) {
                    Some(known) if *known == node => return self.changed(),
                    Some(_) => {
                        let moved = ChangeMembers::SetNodes(BTreeMap::from([(id, node)]));
                        self.raft.change_membership(moved, true).await.map(drop)
                    }
                    None if self.applied.borrow().gone.contains(&id) => {
                        return never(
                            "it was taken out of the network for good: give it a new home, and a new certificate",
                        );
                    }
                    None if membership.nodes().count() >= SUPERNODES_MAX => {
                        return never(&format!("the network has {SUPERNODES_MAX} supernodes already"));
                    }
                    None => self.raft.add_learner(id, node, false).await.map(drop),
                }
            }
            Change::Remove { id: SupernodeId(id), leaves_one } => {
                if membership.get_node(&id).is_none() {
                    return self.changed();
                }
                if membership.nodes().count() == 1 {
                    return never("it is the only supernode of its network");
                }
                if self.applied.borrow().gone.len() >= GONE_MAX {
                    return never(&format!("the network has taken out {GONE_MAX} supernodes already"));
                }
                let voters: BTreeSet<u64> = membership.voter_ids().collect();
                if voters.contains(&id) {
                    let able = self.able_to_vote(&metrics).await;
                    let wanted = voters_wanted(self.me.0, &voters, &able, Some(id));
                    if wanted.len() == 1 && voters.len() > 1 && !leaves_one {
                        let reason = "one supernode would be left that decides alone: start another one first, with --join \
                                      in an empty home, and wait until it has kept up; or say --leave-one";
                        // A learner may keep up any moment.
                        let has_learner = membership.nodes().count() > voters.len();
                        return if has_learner { refused(reason) } else { never(reason) };
                    }
                    if let Err(error) = self.raft.change_membership(wanted, true).await {
                        return refused(&error.to_string());
                    }
                    if id == self.me.0 {
                        // Whoever leads from now on takes it out.
                        return LogReply::Leader(None);
                    }
                }
                let gone = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
                self.raft.change_membership(gone, true).await.map(drop)
            }
        };
        match changed {
            Ok(()) => self.changed(),
            Err(error) => refused(&error.to_string()),
        }
    }

    /// A snapshot of all that is applied by now
    pub(super) async fn backup(&self) -> Result<Vec<u8>, String> {
        let mut metrics = self.raft.metrics();
        let applied = metrics.borrow().last_applied;
        self.raft.trigger().snapshot().await.map_err(|error| error.to_string())?;
        let is_taken = metrics.wait_for(|metrics| metrics.snapshot >= applied);
        let taken = timeout_at(Instant::now() + BACKUP, is_taken).await;
        taken
            .map_err(|_| "the snapshot is not written in time; is the disk full?")?
            .map_err(|_| "the log has ended")?;
        let snapshot = self.raft.get_snapshot().await.map_err(|error| error.to_string())?;
        Ok(snapshot.ok_or("the log is empty")?.snapshot.into_inner())
    }

    /// Who the supernodes are by now
    fn changed(&self) -> LogReply {
        let configuration = words::configuration(self.raft.metrics().borrow().membership_config.membership());
        configuration.map_or_else(|error| refused(&error.to_string()), LogReply::Changed)
    }

    /// Learners that have kept up, and answer
    pub(super) async fn able_to_vote(&self, metrics: &RaftMetrics<u64, Located>) -> BTreeSet<u64> {
        let last = metrics.last_log_index.unwrap_or_default();
        let voters: BTreeSet<u64> = metrics.membership_config.membership().voter_ids().collect();
        let mut able = BTreeSet::new();
        for (id, matched) in metrics.replication.iter().flatten() {
            let has_kept_up = matched.is_some_and(|matched| matched.index + LAG_MAX >= last);
            if has_kept_up && !voters.contains(id) {
                let until = Instant::now() + WHO_LEADS;
                if self.calls.ask(SupernodeId(*id), LogQuestion::WhoLeads, until).await.is_ok() {
                    able.insert(*id);
                }
            }
        }
        able
    }

    /// Whether a majority of each group of voters answers, and could give this supernode their votes, and none of them hears
    /// a leader
    ///
    /// It is decided as soon as it can be: whoever is cut off without a word would keep everybody beyond their windows, in
    /// which others stand as well.
    ///
    /// Who is known to have more of the log gives no vote. openraft refuses it without taking over the candidate's term: if
    /// whoever lacks entries went on standing, its terms would run ahead of all who could win, for ever, as they stand more
    /// seldom than the first in rank and must have its vote, or each other's.
    pub(super) async fn may_stand(&self, groups: &[BTreeSet<u64>]) -> MayStand {
        let others: BTreeSet<u64> = groups.iter().flatten().copied().filter(|voter| *voter != self.me.0).collect();
        let until = Instant::now() + WHO_LEADS;
        let mut asked = JoinSet::new();
        for voter in others {
            let shared = self.clone();
            asked.spawn(
                async move { (voter, shared.calls.ask(SupernodeId(voter), LogQuestion::WhoLeads, until).await) },
            );
        }
        let are_most = |those: &BTreeSet<u64>| {
            let most_of = |group: &BTreeSet<u64>| group.intersection(those).count() > group.len() / 2;
            !groups.is_empty() && groups.iter().all(most_of)
        };
        let last = self.raft.metrics().borrow().last_log_index;
        let (mut agreeing, mut strangers) = (BTreeSet::from([self.me.0]), BTreeSet::new());
        loop {
            match () {
                () if are_most(&strangers) => return MayStand::Removed,
                () if are_most(&agreeing) => return MayStand::Yes,
                () => {}
            }
            match asked.join_next().await {
                Some(Ok((voter, Ok(LogReply::Leader(None))))) if self.calls.is_ahead(SupernodeId(voter), last) => {
                    tracing::debug!(event = "vote_not_sought", of = voter, reason = "it has more of the log");
                }
                Some(Ok((voter, Ok(LogReply::Leader(None))))) => drop(agreeing.insert(voter)),
                Some(Ok((_, Ok(LogReply::Leader(Some(leader)))))) => {
                    tracing::debug!(event = "not_standing", %leader, reason = "another voter hears the leader");
                    return MayStand::No;
                }
                Some(Ok((voter, Ok(LogReply::Stranger)))) => drop(strangers.insert(voter)),
                Some(_) => {}
                None => return MayStand::No,
            }
        }
    }
}

/// It must not be done, as long as nothing else is changed
fn never(reason: &str) -> LogReply {
    LogReply::Refused(Reason::truncated(reason))
}

/// What came of the question whom the others hear
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MayStand {
    Yes,
    No,
    /// A majority of those that voted with this supernode says that it is none any more
    Removed,
}

/// The index of the last command that is acknowledged anywhere, if that can be had
pub(super) async fn read(shared: &Shared) -> Option<u64> {
    let until = Instant::now() + READ;
    if shared.leads() {
        return shared.read_here(until).await;
    }
    match shared.calls.ask(shared.leader()?, LogQuestion::Read, until).await {
        Ok(LogReply::ReadAt(index)) => Some(index),
        _ => None,
    }
}

/// Has a change carried out by whoever leads, who may be another one meanwhile; a newcomer asks `via` another supernode
pub(super) async fn change_somewhere(
    shared: &Shared,
    change: Change,
    via: Option<SupernodeId>,
) -> Result<Configuration, String> {
    let until = Instant::now() + CHANGE;
    loop {
        let reply = match via {
            Some(via) => {
                let reply = shared.calls.ask(via, LogQuestion::Change(change.clone()), until).await;
                reply.unwrap_or_else(|error| refused(&format!("supernode {via}: {error}")))
            }
            None => shared.change(change.clone(), None).await,
        };
        let reason = match reply {
            LogReply::Changed(configuration) => return Ok(configuration),
            LogReply::Refused(reason) => return Err(reason.to_string()),
            LogReply::Failed(reason) => reason.to_string(),
            LogReply::Stranger => "this supernode is not in the network's configuration".to_owned(),
            LogReply::OtherLog => "its log is another one than this".to_owned(),
            _ => "nobody leads the log".to_owned(),
        };
        if Instant::now() > until {
            return Err(reason);
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}
