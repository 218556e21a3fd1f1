//! One supernode's part in the agreement: carries out what the driver wants, and keeps elections and voters going.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kith_common::id::SupernodeId;
use kith_common::wire;
use kith_common::wire::agreement::{LogAnswer, LogAsk, LogReply};
use kith_common::wire::session::Locations;
use kith_runtime::turning;
use openraft::{Config, RaftMetrics, ServerState, SnapshotPolicy};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::answers::{answer, refused};
use super::calls::Calls;
use super::entries::{Book, Entries};
use super::lineage::Lineage;
use super::machine::{Machine, SnapshotBytes, State, Wanted};
use super::proposing::{Batcher, Outstanding, Patience, Proposer};
use super::pulse::{self, Pulse, Verdict, View, voters_wanted};
use super::shared::{MayStand, Shared, change_somewhere, read};
use super::{Commands, Located, Raft, configured, words};
use crate::log::disk::Disk;
use crate::log::store::{TAKEN_OUT, Word};
use crate::log::{Job, News};

/// Commands after which a snapshot is taken: a second's work of a login storm, and read again in milliseconds
const SNAPSHOT_EVERY: u64 = 4096;

/// The usual size of a command. The log may grow to the size of the snapshot before it is cut, so that with a million
/// names the 100 MB of a snapshot are not written for every few kilobytes of log.
const COMMAND_BYTES_USUAL: u64 = 128;

/// … but to no more commands than these: a start reads them again, which takes up to some ten microseconds for each, and
/// must take a second or two, however many names there are
const TAIL_MAX: u64 = 1 << 16;

/// Entries that stay behind a snapshot: a supernode that was away for a moment needs no snapshot
const KEPT: u64 = 256;

/// Questions of other supernodes that are answered at once; each of sixteen has a handful under way
const ANSWERS_MAX: usize = 256;

/// What a member is made of
pub(in crate::log) struct MemberParts {
    pub(in crate::log) me: SupernodeId,
    pub(in crate::log) boot: u64,
    pub(in crate::log) state: State,
    pub(in crate::log) book: Book,
    /// The last command in the snapshot that is there, and its bytes
    pub(in crate::log) snapshot: (u64, u64),
    pub(in crate::log) disk: Disk,
    pub(in crate::log) news: mpsc::Sender<News>,
    pub(in crate::log) rng: ChaCha20Rng,
}

/// One supernode's part in the agreement, on a runtime of its own
pub(in crate::log) struct Member {
    shared: Shared,
    proposer: Proposer,
    entries: Entries,
    disk: Disk,
    news: mpsc::Sender<News>,
    wanted: Wanted,
    told_leader: watch::Sender<Option<SupernodeId>>,
    rng: ChaCha20Rng,
    pulse: Pulse,
    answers: Arc<Semaphore>,
    /// Whether the disk takes nothing
    is_full: bool,
    /// At which command the last snapshot was wanted
    snapshot_at: u64,
    /// How large the last one is
    snapshot_bytes: SnapshotBytes,
    /// Whether an election or a change of voters is under way
    standing: Option<tokio::task::JoinHandle<MayStand>>,
    voting: Option<tokio::task::JoinHandle<()>>,
    next_look_at_voters: Instant,
}

/// So long a supernode that was taken out tries to note it before it ends
const NOTING: Duration = Duration::from_secs(2);

/// What an operator reads whose supernode has an older copy of its log
const GONE_BACK: &str = "it is an older copy of itself, and lacks what was acknowledged with it: start another one in an \
                         empty home, with --join, wait until it has kept up, and take this one out";

/// How often the leader looks whether others should vote
const VOTERS_EVERY: Duration = Duration::from_secs(1);

impl Member {
    /// Takes up what the disk holds
    ///
    /// # Errors
    /// In words, what openraft says.
    pub(in crate::log) async fn start(parts: MemberParts) -> Result<Self, String> {
        let MemberParts { me, boot, state, book, snapshot: (snapshot_at, bytes), disk, news, mut rng } = parts;
        let config = Config {
            cluster_name: "kith".into(),
            heartbeat_interval: pulse::HEARTBEAT.as_millis() as u64,
            election_timeout_min: pulse::SILENCE.as_millis() as u64 - 1,
            election_timeout_max: pulse::SILENCE.as_millis() as u64,
            // A part of a snapshot may wait for the disk.
            install_snapshot_timeout: 10_000,
            snapshot_max_chunk_size: kith_common::wire::agreement::SNAPSHOT_PART_BYTES as u64,
            max_payload_entries: kith_common::wire::agreement::ENTRIES_PER_FRAME as u64,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: KEPT,
            replication_lag_threshold: KEPT,
            // The pulse says when.
            enable_elect: false,
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| error.to_string())?);
        let lineage = Lineage::new(book.lineage());
        let calls = Calls::new(lineage.clone(), news.clone());
        let (told_applied, applied) = watch::channel(state.applied_to());
        let snapshot_bytes = SnapshotBytes::new(AtomicU64::new(bytes));
        let outstanding = Outstanding::default();
        let wanted = Wanted::default();
        let entries = Entries::new(disk.clone(), book);
        let machine = Machine {
            me,
            boot,
            state,
            disk: disk.clone(),
            news: news.clone(),
            outstanding: outstanding.clone(),
            applied: told_applied,
            wanted: wanted.clone(),
            snapshot_bytes: snapshot_bytes.clone(),
        };
        let raft = Raft::new(me.0, config, calls.clone(), entries.clone(), machine).await;
        let raft = raft.map_err(|error| error.to_string())?;
        let batcher = Batcher::start({
            let raft = raft.clone();
            move |commands| {
                let raft = raft.clone();
                async move {
                    let written = raft.client_write(Commands(commands)).await;
                    if let Err(error) = &written {
                        tracing::debug!(event = "proposals_refused", reason = %error);
                    }
                    written.is_ok()
                }
            }
        });
        let (told_leader, leader) = watch::channel(None);
        let shared = Shared {
            me,
            raft,
            batcher: batcher.clone(),
            lineage,
            disk: disk.clone(),
            calls: calls.clone(),
            leader: leader.clone(),
            applied,
            heard: Arc::default(),
            has_gone_back: Arc::default(),
        };
        let patience = Patience::new();
        let proposer = Proposer { me, boot, outstanding, leader, batcher, calls, patience, news: news.clone() };
        let now = Instant::now();
        Ok(Self {
            shared,
            proposer,
            entries,
            disk,
            news,
            wanted,
            told_leader,
            pulse: Pulse::new(now, ChaCha20Rng::from_rng(&mut rng)),
            rng,
            answers: Arc::new(Semaphore::new(ANSWERS_MAX)),
            is_full: false,
            snapshot_at,
            snapshot_bytes,
            standing: None,
            voting: None,
            next_look_at_voters: now,
        })
    }

    /// The metrics that openraft keeps
    pub(in crate::log) fn metrics(&self) -> watch::Receiver<RaftMetrics<u64, Located>> {
        self.shared.raft.metrics()
    }

    /// Begins a network of this supernode alone, unless the log has begun
    ///
    /// # Errors
    /// In words, what openraft says.
    pub(in crate::log) async fn found(&mut self, locations: Locations) -> Result<(), String> {
        if self.shared.raft.is_initialized().await.map_err(|error| error.to_string())? {
            return Ok(());
        }
        self.shared.lineage.set(self.rng.next_u64().max(1), &self.disk).await?;
        let founder = BTreeMap::from([(self.shared.me.0, Located(locations))]);
        self.shared.raft.initialize(founder).await.map_err(|error| error.to_string())
    }

    /// Carries out what the driver wants, until it is gone or openraft has ended
    pub(in crate::log) async fn run(self, jobs: mpsc::UnboundedReceiver<Job>) {
        turning::watched("log", self.carry_out_all(jobs)).await;
    }

    async fn carry_out_all(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut beats = interval(pulse::BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => self.carry_out(job),
                    None => break,
                },
                _ = beats.tick() => {
                    if let Err(reason) = self.beat().await {
                        // A driver that is gone does not ask why.
                        let _ = self.news.send(News::Ended(reason)).await;
                        break;
                    }
                }
            }
        }
        self.entries.note_committed();
        // Whatever it still does, nobody waits for.
        let _ = self.shared.raft.shutdown().await;
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Propose(group) => {
                tokio::spawn(self.proposer.clone().propose(group, !self.is_full));
            }
            Job::Read => {
                let (shared, news) = (self.shared.clone(), self.news.clone());
                tokio::spawn(async move {
                    let index = read(&shared).await;
                    let _ = news.send(News::Read(index)).await;
                });
            }
            Job::Directory(directory) => {
                let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
                // A builder that is gone needs none.
                wanted.map(|wanted| wanted.send(directory));
            }
            Job::Asked(from, ask) => self.answer(from, *ask),
            Job::Answered(from, answer) => {
                let LogAnswer { number, reply } = *answer;
                self.shared.calls.answer(from, number, reply);
            }
            Job::Lost(whom) => {
                self.shared.calls.lose(whom);
                if self.shared.leader() == Some(whom) {
                    self.pulse.lose_leader(Instant::now());
                }
            }
            Job::Change { change, via, told } => {
                let (shared, news) = (self.shared.clone(), self.news.clone());
                tokio::spawn(async move {
                    let changed = change_somewhere(&shared, change, via).await;
                    if let (Ok(configuration), false) = (&changed, shared.is_configured(shared.me)) {
                        // A newcomer, whose log knows nobody yet: by this it reaches whoever leads.
                        let stored = words::stored(None, configuration);
                        let _ = news.send(News::Configured(configured(&stored))).await;
                    }
                    // An operator who has hung up does not need it.
                    let _ = told.send(changed.map(drop));
                });
            }
            Job::Disk(is_full) => self.is_full = is_full,
            Job::TryDisk => self.disk.try_again(),
            Job::Backup(told) => {
                let shared = self.shared.clone();
                tokio::spawn(async move {
                    // An operator who has hung up does not need it.
                    let _ = told.send(shared.backup().await);
                });
            }
        }
    }

    fn answer(&self, from: SupernodeId, ask: LogAsk) {
        let (shared, news) = (self.shared.clone(), self.news.clone());
        let LogAsk { number, lineage, question } = ask;
        let permit = Arc::clone(&self.answers).try_acquire_owned();
        tokio::spawn(async move {
            let reply = match permit {
                Ok(_held) => answer(&shared, from, lineage, question).await,
                Err(_) => refused("too many questions at once"),
            };
            // A driver that is gone tells nobody.
            if reply == LogReply::OtherLog {
                let _ = news.send(News::OtherLog(from)).await;
            }
            let _ = news.send(News::Answer { whom: from, answer: Box::new(LogAnswer { number, reply }) }).await;
        });
    }

    async fn beat(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let metrics = self.shared.raft.metrics().borrow().clone();
        metrics.running_state.as_ref().map_err(ToString::to_string)?;
        if self.shared.applied.borrow().gone.contains(&self.shared.me.0) {
            return Err(self.note_taken_out().await);
        }
        if self.shared.has_gone_back.load(Ordering::Relaxed) {
            return Err(GONE_BACK.to_owned());
        }
        if let Some(heard) = self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.pulse.hear(heard);
        }
        let voters: BTreeSet<u64> = metrics.membership_config.membership().voter_ids().collect();
        let view = View {
            me: self.shared.me.0,
            // Whoever led and was taken out is in openraft's eyes the last one that led.
            leader: metrics.current_leader.filter(|leader| *leader != self.shared.me.0 || self.shared.leads()),
            acknowledged: metrics.millis_since_quorum_ack.map(Duration::from_millis),
            voters: &voters,
        };
        let verdict = self.pulse.beat(now, &view);
        let leader = verdict.leader.map(SupernodeId);
        if self.told_leader.send_if_modified(|told| std::mem::replace(told, leader) != leader) {
            let _ = self.news.send(News::Leader(leader)).await;
        }
        let groups = metrics.membership_config.membership().get_joint_config().clone();
        self.stand(now, &verdict, groups).await?;
        self.look_at_voters(now, &metrics);
        self.look_at_size().await;
        Ok(())
    }

    /// This supernode is none any more, and says so at once if it is started again: by then it may reach nobody who would tell
    /// it. Returns what its operator reads.
    async fn note_taken_out(&self) -> String {
        let noted = self.disk.say(Word::TakenOut, wire::encode(&self.shared.me));
        // A full disk may take nothing for days.
        let noted = timeout(NOTING, noted).await;
        if let Err(reason) = noted.unwrap_or_else(|_| Err("the disk takes nothing in time".to_owned())) {
            // The next start is told by the others.
            tracing::warn!(event = "removal_not_noted", %reason);
        }
        TAKEN_OUT.to_owned()
    }

    /// Asks the others, and stands if they agree
    async fn stand(&mut self, now: Instant, verdict: &Verdict, groups: Vec<BTreeSet<u64>>) -> Result<(), String> {
        if let Some(standing) = self.standing.take_if(|standing| standing.is_finished()) {
            let may_stand = standing.await.unwrap_or(MayStand::No);
            if may_stand == MayStand::Removed {
                return Err(self.note_taken_out().await);
            }
            // Somebody may have been elected since it asked.
            let is_leaderless = verdict.leader.is_none();
            if may_stand == MayStand::Yes
                && is_leaderless
                && groups.iter().any(|group| group.contains(&self.shared.me.0))
            {
                tracing::info!(event = "standing_for_election", reason = "no leader is heard, and a majority answers");
                // openraft says by its metrics what came of it.
                let _ = self.shared.raft.trigger().elect().await;
            }
            self.pulse.handle_asked(now);
        } else if verdict.asks && self.standing.is_none() {
            let shared = self.shared.clone();
            self.standing = Some(tokio::spawn(async move { shared.may_stand(&groups).await }));
        }
        Ok(())
    }

    /// The leader gives votes to those that have kept up, and takes none away
    fn look_at_voters(&mut self, now: Instant, metrics: &RaftMetrics<u64, Located>) {
        let is_changing = self.voting.as_ref().is_some_and(|voting| !voting.is_finished());
        if metrics.state != ServerState::Leader || is_changing || now < self.next_look_at_voters {
            return;
        }
        self.next_look_at_voters = now + VOTERS_EVERY;
        let (shared, metrics) = (self.shared.clone(), metrics.clone());
        let membership = metrics.membership_config.membership().clone();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let is_joint = membership.get_joint_config().len() > 1;
        if !is_joint && membership.nodes().count() <= voters.len() {
            return;
        }
        self.voting = Some(tokio::spawn(async move {
            let able = shared.able_to_vote(&metrics).await;
            let wanted = voters_wanted(shared.me.0, &voters, &able, None);
            if wanted == voters && !is_joint {
                return;
            }
            tracing::info!(event = "voters_changed", before = ?voters, voters = ?wanted, reason = "they have kept up");
            if let Err(error) = shared.raft.change_membership(wanted, true).await {
                tracing::warn!(event = "voters_unchanged", reason = %error);
            }
        }));
    }

    /// Wants a snapshot once the log has grown
    async fn look_at_size(&mut self) {
        let applied = self.shared.applied.borrow().index;
        if applied.saturating_sub(self.snapshot_at) < tail_behind(self.snapshot_bytes.load(Ordering::Relaxed)) {
            return;
        }
        self.snapshot_at = applied;
        // If it has ended, its metrics say so.
        let _ = self.shared.raft.trigger().snapshot().await;
    }
}

/// After how many commands behind a snapshot of so many bytes the next one is taken
fn tail_behind(bytes: u64) -> u64 {
    (bytes / COMMAND_BYTES_USUAL).clamp(SNAPSHOT_EVERY, TAIL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_behind_a_snapshot_grows_with_it_but_never_beyond_what_a_start_reads_in_time() {
        let mb = 1_000_000;
        assert_eq!([0, mb / 2].map(tail_behind), [SNAPSHOT_EVERY; 2]);
        assert_eq!(tail_behind(4 * mb), 31_250);
        assert_eq!([100 * mb, u64::MAX].map(tail_behind), [TAIL_MAX; 2]);
    }
}
