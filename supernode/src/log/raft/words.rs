//! openraft's values as they look on the wire and on the disk, and back.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::id::SupernodeId;
use kith_common::wire::agreement::{Ballot, Configuration, Configured, EntryContent, Position};
use kith_common::wire::bounded::Bounded;
use kith_common::wire::{self, WireError, agreement};
use openraft::{CommittedLeaderId, EntryPayload};

use super::{Commands, Entry, Located, LogId, Membership, StoredMembership, Vote};

pub(super) fn position(id: &LogId) -> Position {
    let leader = SupernodeId(id.leader_id.node_id);
    Position { term: id.leader_id.term, leader, entry: id.index }
}

pub(super) fn log_id(position: &Position) -> LogId {
    LogId::new(CommittedLeaderId::new(position.term, position.leader.0), position.entry)
}

pub(super) fn ballot(vote: &Vote) -> Ballot {
    let candidate = SupernodeId(vote.leader_id.node_id);
    Ballot { term: vote.leader_id.term, candidate, is_elected: vote.committed }
}

pub(super) fn vote(ballot: &Ballot) -> Vote {
    let Ballot { term, candidate: SupernodeId(candidate), is_elected } = *ballot;
    if is_elected { Vote::new_committed(term, candidate) } else { Vote::new(term, candidate) }
}

/// The configuration that a membership is
///
/// # Errors
/// [`WireError::TooLong`] if it has more supernodes than a network may have, or more groups of voters than two.
pub(super) fn configuration(membership: &Membership) -> Result<Configuration, WireError> {
    let bounded = |_| WireError::TooLong;
    let mut groups = Vec::new();
    for group in membership.get_joint_config() {
        let voters: Vec<SupernodeId> = group.iter().copied().map(SupernodeId).collect();
        groups.push(Bounded::try_from(voters).map_err(bounded)?);
    }
    let nodes = membership.nodes();
    let supernodes = nodes.map(|(id, Located(at))| Configured { id: SupernodeId(*id), locations: at.clone() });
    let supernodes = Bounded::try_from(supernodes.collect::<Vec<_>>()).map_err(bounded)?;
    Ok(Configuration { voters: Bounded::try_from(groups).map_err(bounded)?, supernodes })
}

pub(super) fn membership(configuration: &Configuration) -> Membership {
    let groups = configuration.voters.iter();
    let groups: Vec<BTreeSet<u64>> = groups.map(|group| group.iter().map(|voter| voter.0).collect()).collect();
    let nodes = configuration.supernodes.iter().map(|Configured { id, locations }| (id.0, Located(locations.clone())));
    Membership::new(groups, nodes.collect::<BTreeMap<_, _>>())
}

/// A configuration, and where it stands in the log
pub(super) fn stored(at: Option<&Position>, configuration: &Configuration) -> StoredMembership {
    StoredMembership::new(at.map(log_id), membership(configuration))
}

/// An entry as it goes over the wire
///
/// # Errors
/// As [`configuration`].
pub(super) fn entry(entry: &Entry) -> Result<agreement::Entry, WireError> {
    let content = match &entry.payload {
        EntryPayload::Blank => EntryContent::Blank,
        EntryPayload::Normal(Commands(commands)) => EntryContent::Commands(commands.clone()),
        EntryPayload::Membership(membership) => EntryContent::Configuration(configuration(membership)?),
    };
    Ok(agreement::Entry { at: position(&entry.log_id), content })
}

pub(super) fn raft_entry(entry: agreement::Entry) -> Entry {
    let payload = match entry.content {
        EntryContent::Blank => EntryPayload::Blank,
        EntryContent::Commands(commands) => EntryPayload::Normal(Commands(commands)),
        EntryContent::Configuration(configuration) => EntryPayload::Membership(membership(&configuration)),
    };
    Entry { log_id: log_id(&entry.at), payload }
}

/// An entry's bytes
///
/// # Errors
/// As [`configuration`].
pub(super) fn entry_bytes(raft: &Entry) -> Result<Vec<u8>, WireError> {
    wire::encode(&entry(raft)?)
}

/// The entry that [`entry_bytes`] wrote
///
/// # Errors
/// [`WireError`] if they are of none.
pub(super) fn entry_of(bytes: &[u8]) -> Result<Entry, WireError> {
    wire::decode::<agreement::Entry>(bytes).map(raft_entry)
}
