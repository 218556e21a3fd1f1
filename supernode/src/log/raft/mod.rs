//! Agreement on the log by Raft, with openraft: what is here is its store, its network, and when to stand for election.
//!
//! ```text
//! driver ── proposals, reads, changes ─► member ─► openraft ─► entries ─► disk
//!   ▲                                      │           │
//!   └────── events, questions ◄── machine ◄┘           └─► calls ─► links to the other supernodes
//! ```
//!
//! `member` is one supernode's part in it: it carries out what the driver wants, by what its tasks have in `shared`. `entries` is the log that openraft
//! writes, `machine` what committed entries become, `calls` how questions travel, `answers` what others' questions come
//! to, `lineage` which log it is, `pulse` who stands for election and who votes, `words` how openraft's values look on the wire.

mod answers;
mod calls;
mod entries;
mod lineage;
mod machine;
mod member;
mod proposing;
mod pulse;
mod shared;
#[cfg(test)]
mod tests;
mod words;

use std::io::Cursor;

use kith_common::id::SupernodeId;
use kith_common::wire::agreement::Proposals;
use kith_common::wire::session::Locations;
use openraft::RaftMetrics;

use super::Standing;

pub(super) use self::machine::{Recovered, Restored, restore};
pub(super) use self::member::{Member, MemberParts};

openraft::declare_raft_types!(
    /// What Raft is about here
    pub(super) Types:
        D = Commands,
        R = (),
        NodeId = u64,
        Node = Located,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(super) type Raft = openraft::Raft<Types>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type Entry = openraft::Entry<Types>;
pub(super) type Membership = openraft::Membership<u64, Located>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, Located>;
pub(super) type StorageError = openraft::StorageError<u64>;

/// What an entry holds; nothing of it is printed, as it may be logged
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Commands(pub(super) Proposals);

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} commands", self.0.len())
    }
}

/// Where a supernode can be dialled
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Located(pub(super) Locations);

/// Who the supernodes are: id, locations, whether it votes
pub(super) fn configured(stored: &StoredMembership) -> Vec<(SupernodeId, Locations, bool)> {
    let membership = stored.membership();
    let votes = |id: &u64| membership.get_joint_config().iter().any(|group| group.contains(id));
    membership.nodes().map(|(id, Located(at))| (SupernodeId(*id), at.clone(), votes(id))).collect()
}

/// How it stands, for people
pub(super) fn standing(metrics: &RaftMetrics<u64, Located>) -> Standing {
    let last_entry = metrics.last_log_index.unwrap_or_default();
    let replicated = metrics.replication.iter().flatten();
    Standing {
        term: metrics.current_term,
        last_entry,
        applied_entry: metrics.last_applied.map_or(0, |applied| applied.index),
        is_changing: metrics.membership_config.membership().get_joint_config().len() > 1,
        lags: replicated
            .map(|(id, matched)| {
                (SupernodeId(*id), last_entry.saturating_sub(matched.map_or(0, |matched| matched.index)))
            })
            .collect(),
    }
}
