//! What operators ask of the supernodes themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kith_common::id::SupernodeId;
use kith_common::status::Status;
use kith_common::supernode::SupernodeStanding;
use kith_common::wire::agreement::Change;
use kith_runtime::control::server::Reply;
use kith_runtime::control::supernode::{
    BackupAnswer, MembersAnswer, RemoveSupernodeAnswer, SupernodeMember, SupernodeRole,
};

use super::Driver;
use crate::log::{Standing, backup};

impl Driver {
    pub(super) fn tell_members(&self, reply: Reply) {
        let sessions: BTreeMap<SupernodeId, usize> = self.core.directory().homes().collect();
        let Standing { term, last_entry, is_changing, lags, .. } = self.log.standing();
        let supernodes =
            self.core.supernodes().map(|SupernodeStanding { entry, link, load, rtt, .. }| SupernodeMember {
                serial: entry.id.0,
                role: match entry.is_voter {
                    true if self.core.leader() == Some(entry.id) => SupernodeRole::Leader,
                    true => SupernodeRole::Voter,
                    false => SupernodeRole::Learner,
                },
                here: entry.id == self.id,
                locations: entry.locations.iter().map(ToString::to_string).collect(),
                linked: link.is_some(),
                rtt_us: rtt.map(|rtt| rtt.as_micros() as u64),
                load,
                sessions: sessions.get(&entry.id).copied().unwrap_or_default() as u64,
                lag: lags.get(&entry.id).copied(),
            });
        reply.finish(
            Status::Delivered,
            &MembersAnswer { term, entries: last_entry, changing: is_changing, supernodes: supernodes.collect() },
        );
    }

    pub(super) fn remove_supernode(&self, serial: u64, leaves_one: bool, reply: Reply) {
        let hint = || Some("kith-supernode members".into());
        if !self.core.supernodes().any(|standing| standing.entry.id.0 == serial) {
            return reply.refuse(Status::NotFound, format!("no supernode has the serial {serial}"), hint());
        }
        let changed = self.log.change(Change::Remove { id: SupernodeId(serial), leaves_one }, None);
        tokio::spawn(async move {
            match changed.await {
                Ok(Ok(())) => reply.finish(Status::Delivered, &RemoveSupernodeAnswer { serial }),
                Ok(Err(reason)) => reply.refuse(Status::Unavailable, reason, hint()),
                Err(_) => reply.refuse(Status::Unavailable, "the daemon is ending", None),
            }
        });
    }

    pub(super) fn back_up(&self, path: PathBuf, reply: Reply) {
        let (snapshot, network) = (self.log.backup(), self.admission.network);
        tokio::spawn(async move {
            let snapshot = match snapshot.await {
                Ok(Ok(snapshot)) => snapshot,
                Ok(Err(reason)) => return reply.refuse(Status::Unavailable, reason, None),
                Err(_) => return reply.refuse(Status::Unavailable, "the daemon is ending", None),
            };
            let file = path.clone();
            // The disk may take its time, and the loop must not wait for it.
            let written = tokio::task::spawn_blocking(move || backup::write(&file, &network, &snapshot)).await;
            match written {
                Ok(Ok(bytes)) => reply.finish(Status::Delivered, &BackupAnswer { path, bytes }),
                Ok(Err(error)) => reply.refuse(Status::Failed, error.to_string(), None),
                Err(error) => reply.refuse(Status::Failed, error.to_string(), None),
            }
        });
    }
}
