//! What other supernodes' questions come to.

use kith_common::id::SupernodeId;
use kith_common::wire::agreement::{Change, LogQuestion, LogReply, SnapshotPart};
use kith_common::wire::bounded::Text;
use kith_common::wire::session::Reason;
use openraft::SnapshotMeta;
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest};
use tokio::time::Instant;

use super::lineage::Mismatch;
use super::shared::{READ, Shared};
use super::words;

/// A directory of so many bytes is not taken over: a million names and as many sessions have a fifth of it
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// Answers what `from` asks
///
/// Whoever shows a certificate of the network may ask what Raft asks, as a follower may not have heard of a new supernode
/// yet; what is asked of a leader is for those that are in the configuration, but for a newcomer's wish to be in it.
pub(super) async fn answer(shared: &Shared, from: SupernodeId, lineage: u64, question: LogQuestion) -> LogReply {
    match shared.lineage.check(lineage, &question, &shared.disk).await {
        Ok(()) => {}
        Err(Mismatch::OtherLog) => return LogReply::OtherLog,
        Err(Mismatch::Unwritable(reason)) => return refused(&reason),
    }
    match question {
        LogQuestion::Append { ballot, after, committed, entries } => {
            let request = AppendEntriesRequest {
                vote: words::vote(&ballot),
                prev_log_id: after.as_ref().map(words::log_id),
                leader_commit: committed.as_ref().map(words::log_id),
                entries: entries.into_vec().into_iter().map(words::raft_entry).collect(),
            };
            match shared.raft.append_entries(request).await {
                Ok(AppendEntriesResponse::HigherVote(vote)) => LogReply::Outvoted(words::ballot(&vote)),
                Ok(response) => {
                    shared.hear_leader();
                    match response {
                        AppendEntriesResponse::PartialSuccess(at) => {
                            LogReply::AppendedUpTo(at.as_ref().map(words::position))
                        }
                        AppendEntriesResponse::Conflict => LogReply::Conflict,
                        _ => LogReply::Appended,
                    }
                }
                Err(error) => failed(&error),
            }
        }
        // A serial that has voted, and was put into another home without its log, must not vote for whoever lacks what it had.
        LogQuestion::Vote { .. } if shared.lineage.get() == 0 => refused("there is no log here yet"),
        LogQuestion::Vote { ballot, last } => {
            let request = VoteRequest::new(words::vote(&ballot), last.as_ref().map(words::log_id));
            match shared.raft.vote(request).await {
                Ok(response) => LogReply::Voted {
                    ballot: words::ballot(&response.vote),
                    is_granted: response.vote_granted,
                    last: response.last_log_id.as_ref().map(words::position),
                },
                Err(error) => failed(&error),
            }
        }
        LogQuestion::Snapshot(part) => take_part(shared, part).await,
        // Whoever was taken out may not know it; but a supernode that is behind may not know a new one either.
        LogQuestion::WhoLeads if !shared.is_configured(from) && shared.leader().is_some() => LogReply::Stranger,
        LogQuestion::WhoLeads => LogReply::Leader(shared.leader()),
        LogQuestion::Propose(commands) if shared.is_configured(from) => {
            if !shared.leads() {
                return LogReply::Leader(shared.leader());
            }
            if shared.batcher.write(commands).await { LogReply::Committed } else { LogReply::Leader(shared.leader()) }
        }
        LogQuestion::Read if shared.is_configured(from) => {
            if !shared.leads() {
                return LogReply::Leader(shared.leader());
            }
            match shared.read_here(Instant::now() + READ).await {
                Some(index) => LogReply::ReadAt(index),
                None => LogReply::Leader(shared.leader()),
            }
        }
        LogQuestion::Change(change) => {
            let is_newcomer = matches!(&change, Change::Add(configured) if configured.id == from);
            if !is_newcomer && !shared.is_configured(from) {
                return LogReply::Stranger;
            }
            shared.change(change, Some(from)).await
        }
        LogQuestion::Acknowledged(position) => shared.handle_acknowledged(from, position.entry).await,
        LogQuestion::Propose(_) | LogQuestion::Read => LogReply::Stranger,
    }
}

async fn take_part(shared: &Shared, part: SnapshotPart) -> LogReply {
    if part.offset.saturating_add(part.bytes.len() as u64) > SNAPSHOT_BYTES_MAX {
        return refused("the directory is larger than any may be");
    }
    let last = part.last.as_ref().map(words::log_id);
    let applied = shared.raft.metrics().borrow().last_applied;
    if let (Some(last), Some(applied)) = (last, applied)
        && last.index <= applied.index
        && last > applied
    {
        // openraft would take it for news, and lose what is committed (its issue 1892).
        tracing::error!(
            event = "snapshot_refused",
            entry = last.index,
            applied = applied.index,
            reason = "it contradicts what is committed"
        );
        return refused("the snapshot contradicts what is committed here: is that another network's log?");
    }
    let last_membership = words::stored(part.configured_at.as_ref(), &part.configuration);
    let meta = SnapshotMeta { last_log_id: last, last_membership, snapshot_id: part.name.to_string() };
    let request = InstallSnapshotRequest {
        vote: words::vote(&part.ballot),
        meta,
        offset: part.offset,
        data: part.bytes.into_vec(),
        done: part.is_last,
    };
    match shared.raft.install_snapshot(request).await {
        Ok(response) => {
            shared.hear_leader();
            LogReply::PartTaken { ballot: words::ballot(&response.vote) }
        }
        Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
            LogReply::PartMisplaced { name: Text::truncated(&mismatch.expect.id), offset: mismatch.expect.offset }
        }
        Err(error @ RaftError::Fatal(_)) => failed(&error),
    }
}

fn failed(error: &impl ToString) -> LogReply {
    refused(&error.to_string())
}

/// It was not done, and may be another time
pub(super) fn refused(reason: &str) -> LogReply {
    LogReply::Failed(Reason::truncated(reason))
}
