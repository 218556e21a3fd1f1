//! Questions to other supernodes, and openraft's way to them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kith_common::id::SupernodeId;
use kith_common::wire::agreement::{Ballot, LogAsk, LogQuestion, LogReply, SnapshotPart};
use kith_common::wire::bounded::{Bounded, Text};
use kith_runtime::sync::{self, Mistake, Mutex, MutexGuard, timeout_at};
use openraft::SnapshotSegmentId;
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::lineage::Lineage;
use super::{Located, LogId, Types, words};
use crate::log::News;

/// When a supernode that cannot be reached is tried again: its link is dialled by others, and may be there any moment
const UNREACHABLE: Duration = Duration::from_millis(100);

/// So long it is believed that a supernode has more of the log: it may have been started anew, without what was not on its
/// disk yet, before anybody saw its link go. Meanwhile three voters have stood in all their windows.
const AHEAD: Duration = Duration::from_secs(10);

/// So often a follower is told that its log has gone back, until it has ended: it may not have heard the first time
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Why there is no answer
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("there is no link to it")]
    Unreachable,
    #[error("it did not answer in time")]
    TimedOut,
}

/// The questions that wait for an answer; clones are the same ones
///
/// A question waits until its deadline at most, and whoever asks bounds how many there are: openraft has one append, one
/// vote and one snapshot for each supernode, the core one group and one read.
#[derive(Clone)]
pub(super) struct Calls {
    lineage: Lineage,
    news: mpsc::Sender<News>,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    next_number: u64,
    waiting: BTreeMap<u64, (SupernodeId, oneshot::Sender<LogReply>)>,
    /// Who had entries that are not in the own log, when it was asked for its vote
    ahead: BTreeMap<SupernodeId, Ahead>,
    /// What each follower has said to have on its disk
    acknowledged: BTreeMap<SupernodeId, Acknowledged>,
}

/// The last entry that a follower has acknowledged
struct Acknowledged {
    /// To the leader of this term: another one may have it cut entries off
    ballot: Ballot,
    entry: LogId,
    told_at: Option<Instant>,
}

/// What is known of a supernode that has more of the log
struct Ahead {
    /// Up to where the own log went then
    own_last: Option<u64>,
    at: Instant,
}

impl Calls {
    pub(super) fn new(lineage: Lineage, news: mpsc::Sender<News>) -> Self {
        Self { lineage, news, book: Arc::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What another supernode answers
    ///
    /// # Errors
    /// [`NoAnswer`]: it may have done all the same what it was asked.
    pub(super) async fn ask(
        &self,
        whom: SupernodeId,
        question: LogQuestion,
        until: Instant,
    ) -> Result<LogReply, NoAnswer> {
        let (reply, is_answered) = oneshot::channel();
        let number = {
            let mut book = self.book();
            let number = book.next_number;
            book.next_number += 1;
            number
        };
        // openraft drops what takes too long: the question must not stay behind.
        let _forgotten = Forget { calls: self, number };
        let ask = Box::new(LogAsk { number, lineage: self.lineage.get(), question });
        let ask = self.news.send(News::Ask { whom, ask });
        if sync::makes(Mistake::AsksBeforeItWaits) {
            ask.await.map_err(|_| NoAnswer::Unreachable)?;
            self.book().waiting.insert(number, (whom, reply));
        } else {
            self.book().waiting.insert(number, (whom, reply));
            ask.await.map_err(|_| NoAnswer::Unreachable)?;
        }
        match timeout_at(until, is_answered).await {
            Ok(Ok(reply)) => {
                if reply == LogReply::OtherLog {
                    // A driver that is gone tells nobody.
                    let _ = self.news.send(News::OtherLog(whom)).await;
                }
                Ok(reply)
            }
            Ok(Err(_)) => Err(NoAnswer::Unreachable),
            Err(_) => Err(NoAnswer::TimedOut),
        }
    }

    /// An answer came from a supernode; one that nobody waits for is dropped
    pub(super) fn answer(&self, from: SupernodeId, number: u64, reply: LogReply) {
        let mut book = self.book();
        if book.waiting.get(&number).is_some_and(|(whom, _)| *whom == from)
            && let Some((_, waiting)) = book.waiting.remove(&number)
        {
            // Whoever waited may have been dropped.
            let _ = waiting.send(reply);
        }
    }

    /// The link to a supernode is gone, or there was none: whoever waits for its answers waits for nothing
    ///
    /// It may have ended before its last entries were on its disk, so what it had is not known any more.
    pub(super) fn lose(&self, whom: SupernodeId) {
        let mut book = self.book();
        book.waiting.retain(|_, (waiting, _)| *waiting != whom);
        book.ahead.remove(&whom);
    }

    /// Whether a supernode is known to have more of the log than this one, whose log goes up to `last`: it gives it no vote
    pub(super) fn is_ahead(&self, whom: SupernodeId, last: Option<u64>) -> bool {
        let is_so = |ahead: &Ahead| ahead.own_last == last && ahead.at.elapsed() < AHEAD;
        self.book().ahead.get(&whom).is_some_and(is_so)
    }

    /// A follower has all entries up to this one on its disk
    fn note_acknowledged(&self, whom: SupernodeId, ballot: Ballot, entry: Option<LogId>) {
        let Some(entry) = entry else { return };
        let mut book = self.book();
        let known = book.acknowledged.get_mut(&whom).filter(|known| known.ballot == ballot);
        match known {
            Some(known) => known.entry = known.entry.max(entry),
            None => drop(book.acknowledged.insert(whom, Acknowledged { ballot, entry, told_at: None })),
        }
    }

    /// What a follower has acknowledged, if that is gone now that it says to be without `without`, and it is to be told
    ///
    /// In one term nobody has cut off what the leader has sent: its log is an older copy of itself.
    fn gone_back(&self, whom: SupernodeId, ballot: Ballot, without: Option<LogId>) -> Option<GoneBack> {
        let mut book = self.book();
        let known = book.acknowledged.get_mut(&whom)?;
        if known.ballot != ballot || without.is_none_or(|without| without > known.entry) {
            return None;
        }
        let is_to_be_told = known.told_at.is_none_or(|at| at.elapsed() >= TELL_AGAIN);
        if is_to_be_told {
            known.told_at = Some(Instant::now());
        }
        Some(GoneBack { acknowledged: known.entry, is_to_be_told })
    }

    /// Somebody leads, by whose word the logs change
    pub(super) fn forget_ahead(&self) {
        self.book().ahead.clear();
    }

    fn note_vote(&self, whom: SupernodeId, own_last: Option<LogId>, last: Option<LogId>) {
        let mut book = self.book();
        if last > own_last {
            book.ahead.insert(whom, Ahead { own_last: own_last.map(|own| own.index), at: Instant::now() });
        } else {
            book.ahead.remove(&whom);
        }
    }
}

/// A follower's log is older than what it has acknowledged
struct GoneBack {
    acknowledged: LogId,
    is_to_be_told: bool,
}

struct Forget<'a> {
    calls: &'a Calls,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.calls.book().waiting.remove(&self.number);
    }
}

/// openraft's connections: every one of them is the one link
impl RaftNetworkFactory<Types> for Calls {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, _: &Located) -> Connection {
        Connection { calls: self.clone(), target: SupernodeId(target) }
    }
}

/// openraft's way to one supernode
pub(super) struct Connection {
    calls: Calls,
    target: SupernodeId,
}

type Failure<E> = RPCError<u64, Located, E>;

impl Connection {
    async fn ask<E: std::error::Error>(
        &self,
        question: LogQuestion,
        option: &RPCOption,
    ) -> Result<LogReply, Failure<E>> {
        let until = Instant::now() + option.hard_ttl();
        match self.calls.ask(self.target, question, until).await {
            Ok(LogReply::Failed(reason)) => Err(failed(&reason)),
            Ok(reply) => Ok(reply),
            Err(error @ NoAnswer::Unreachable) => Err(RPCError::Unreachable(Unreachable::new(&error))),
            Err(error @ NoAnswer::TimedOut) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }
}

impl Connection {
    /// openraft must not hear of it: it takes for granted that what was acknowledged stays, and would count on it on
    async fn refuse_gone_back(&self, gone_back: GoneBack, option: &RPCOption) -> Failure<RaftError<u64>> {
        let GoneBack { acknowledged, is_to_be_told } = gone_back;
        if is_to_be_told {
            let reason = "its log is older than what it has acknowledged: start another one in an empty home with --join, wait until it has kept up, and take this one out";
            tracing::error!(event = "log_gone_back", id = %self.target, acknowledged = acknowledged.index, reason);
            // Whatever it answers, it is asked again as long as it says that it lacks what it had.
            let told = self.ask(LogQuestion::Acknowledged(words::position(&acknowledged)), option).await;
            let _: Result<LogReply, Failure<RaftError<u64>>> = told;
        }
        // openraft asks again at once after any other failure.
        RPCError::Unreachable(Unreachable::new(&io::Error::other("its log has gone back")))
    }
}

fn failed<E: std::error::Error>(reason: &str) -> Failure<E> {
    RPCError::Network(NetworkError::new(&io::Error::other(reason.to_owned())))
}

fn unexpected<E: std::error::Error>(reply: &LogReply) -> Failure<E> {
    failed(&format!("unexpected answer: {reply:?}"))
}

impl RaftNetwork<Types> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure<RaftError<u64>>> {
        let entries: Result<Vec<_>, _> = request.entries.iter().map(words::entry).collect();
        let entries = entries.map_err(|error| failed(&error.to_string()))?;
        let (ballot, last) = (words::ballot(&request.vote), request.entries.last().map(|entry| entry.log_id));
        let question = LogQuestion::Append {
            ballot,
            after: request.prev_log_id.as_ref().map(words::position),
            committed: request.leader_commit.as_ref().map(words::position),
            entries: Bounded::try_from(entries).map_err(|error| failed(&error.to_string()))?,
        };
        match self.ask(question, &option).await? {
            LogReply::Appended => {
                self.calls.note_acknowledged(self.target, ballot, last.or(request.prev_log_id));
                Ok(AppendEntriesResponse::Success)
            }
            LogReply::AppendedUpTo(at) => {
                let at = at.as_ref().map(words::log_id);
                self.calls.note_acknowledged(self.target, ballot, at);
                Ok(AppendEntriesResponse::PartialSuccess(at))
            }
            LogReply::Conflict => match self.calls.gone_back(self.target, ballot, request.prev_log_id) {
                Some(gone_back) => Err(self.refuse_gone_back(gone_back, &option).await),
                None => Ok(AppendEntriesResponse::Conflict),
            },
            LogReply::Outvoted(ballot) => Ok(AppendEntriesResponse::HigherVote(words::vote(&ballot))),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<RaftError<u64, InstallSnapshotError>>> {
        let InstallSnapshotRequest { vote, meta, offset, data, done } = request;
        let configuration = words::configuration(meta.last_membership.membership());
        let part = SnapshotPart {
            ballot: words::ballot(&vote),
            last: meta.last_log_id.as_ref().map(words::position),
            configured_at: meta.last_membership.log_id().as_ref().map(words::position),
            configuration: configuration.map_err(|error| failed(&error.to_string()))?,
            name: Text::truncated(&meta.snapshot_id),
            offset,
            bytes: data.try_into().map_err(|error: kith_common::wire::bounded::TooMany| failed(&error.to_string()))?,
            is_last: done,
        };
        match self.ask(LogQuestion::Snapshot(part), &option).await? {
            LogReply::PartTaken { ballot } => Ok(InstallSnapshotResponse { vote: words::vote(&ballot) }),
            LogReply::PartMisplaced { name, offset: expected } => {
                let expect = SnapshotSegmentId { id: name.to_string(), offset: expected };
                let got = SnapshotSegmentId { id: meta.snapshot_id, offset };
                let mismatch = InstallSnapshotError::SnapshotMismatch(SnapshotMismatch { expect, got });
                Err(RPCError::RemoteError(RemoteError::new(self.target.0, RaftError::APIError(mismatch))))
            }
            reply => Err(unexpected(&reply)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failure<RaftError<u64>>> {
        let last = request.last_log_id.as_ref().map(words::position);
        match self.ask(LogQuestion::Vote { ballot: words::ballot(&request.vote), last }, &option).await? {
            LogReply::Voted { ballot, is_granted, last } => {
                let last = last.as_ref().map(words::log_id);
                self.calls.note_vote(self.target, request.last_log_id, last);
                Ok(VoteResponse::new(words::vote(&ballot), last, is_granted))
            }
            reply => Err(unexpected(&reply)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE))
    }
}

#[cfg(test)]
#[cfg(feature = "schedules")]
mod schedules;

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;

    use super::*;

    #[test]
    fn whoever_has_more_of_the_log_is_ahead_until_that_may_have_changed() {
        let (news, _told) = mpsc::channel(1);
        let calls = Calls::new(Lineage::new(1), news);
        let at = |term, index| Some(LogId::new(CommittedLeaderId::new(term, 1), index));
        let (one, other) = (SupernodeId(1), SupernodeId(2));
        calls.note_vote(one, at(2, 7), at(2, 8));
        calls.note_vote(other, at(2, 7), at(1, 9));
        assert!(calls.is_ahead(one, Some(7)));
        assert!(!calls.is_ahead(other, Some(7)), "entries of an older term do not count");
        assert!(!calls.is_ahead(one, Some(8)), "the own log has grown");
        calls.note_vote(one, at(2, 7), at(2, 7));
        assert!(!calls.is_ahead(one, Some(7)), "by its own word");
        for forget in [|calls: &Calls| calls.lose(SupernodeId(1)), Calls::forget_ahead] {
            calls.note_vote(one, at(2, 7), at(3, 2));
            assert!(calls.is_ahead(one, Some(7)));
            forget(&calls);
            assert!(!calls.is_ahead(one, Some(7)));
        }
    }
}
