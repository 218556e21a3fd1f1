//! What openraft wants of a store.

use kith_common::directory::Directory;
use kith_common::id::SupernodeId;
use kith_common::supernode::LogEvent;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::log::News;
use crate::log::disk::Disk;
use crate::log::raft::entries::Entries;
use crate::log::raft::machine::{AppliedTo, Machine, Recovered, SnapshotBytes, Wanted};
use crate::log::raft::proposing::Outstanding;
use crate::log::raft::{StorageError, Types};
use crate::log::store::Store;

struct Builder;

impl StoreBuilder<Types, Entries, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Entries, Machine), StorageError> {
        let home = tempfile::tempdir().unwrap();
        let mut store = Store::open(home.path()).unwrap();
        let me = SupernodeId(0);
        let Recovered { state, book, directory, .. } = Recovered::read(&mut store, me).unwrap();
        let (news, told) = mpsc::channel(1024);
        let disk = Disk::start(store, news.clone()).unwrap();
        let wanted = Wanted::default();
        tokio::spawn(stand_in(told, directory, wanted.clone()));
        let machine = Machine {
            me,
            boot: 1,
            state,
            disk: disk.clone(),
            news,
            outstanding: Outstanding::default(),
            applied: watch::channel(AppliedTo::default()).0,
            wanted,
            snapshot_bytes: SnapshotBytes::default(),
        };
        Ok((home, Entries::new(disk, book), machine))
    }
}

/// In the place of the core
async fn stand_in(mut told: mpsc::Receiver<News>, mut directory: Directory, wanted: Wanted) {
    while let Some(news) = told.recv().await {
        match news {
            News::Replaced(other) => directory = *other,
            News::Events(events) => {
                for event in events {
                    match event {
                        LogEvent::Committed { index, command, .. } => drop(directory.apply(index, &command)),
                        LogEvent::Grown => {
                            let wanted = wanted.lock().unwrap().take();
                            wanted.map(|wanted| wanted.send(Box::new(directory.clone())));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

#[test]
fn store_is_as_openraft_wants_it() {
    Suite::test_all(Builder).unwrap();
}
