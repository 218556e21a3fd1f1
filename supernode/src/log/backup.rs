//! A copy of the directory in one file, and how a network goes on from it.
//!
//! | bytes | |
//! |---|---|
//! | 14 | `kith-backup-1` and a line's end |
//! | 32 | the network's id |
//! | 32 | SHA-256 over the network's id and what follows |
//! | … | a snapshot of the log |
//!
//! What is put back is older than what peers and other supernodes have seen. So nothing of it may be taken for that: the
//! log is another one, its epochs are of another incarnation, and its indices and entries go on far behind all that were given.

use std::io;
use std::path::{Path, PathBuf};

use kith_common::crypto;
use kith_common::id::{NetworkId, SupernodeId};
use kith_runtime::files;

use super::raft::{self, Restored};
use super::store::{Store, StoreError, Word, Write};

const MAGIC: &[u8; 14] = b"kith-backup-1\n";

/// What is read of a backup at most: a million names and as many sessions have a fifth of it
const BYTES_MAX: u64 = 1 << 30;

/// A backup cannot be written or put back; nothing was changed
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("{action} {}: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    #[error("{} is no backup of a Kith directory", .0.display())]
    NoBackup(PathBuf),
    #[error("{} is damaged: take another copy of it", .0.display())]
    Damaged(PathBuf),
    #[error("{} is of network {theirs}, and this home's certificate is for network {own}", path.display())]
    OtherNetwork { path: PathBuf, theirs: NetworkId, own: NetworkId },
    #[error("{} cannot be read: {fault}", path.display())]
    Meaningless { path: PathBuf, fault: String },
    /// There is something that it would take the place of
    #[error("this home has a directory, {}; move it away first, if the backup shall take its place", .0.display())]
    Present(PathBuf),
    /// Whoever was taken out never comes back, also by a backup
    #[error(
        "{} says that supernode {me}, whose certificate this home has, was taken out of the network for good: restore it into \
         an empty home, with a certificate of its own (`kith-supernode certify`)",
        path.display()
    )]
    TakenOut { path: PathBuf, me: SupernodeId },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes a snapshot of the log of `network` into a file, in place of what is there; returns how many bytes it has
///
/// # Errors
/// [`BackupError::Io`].
pub(crate) fn write(path: &Path, network: &NetworkId, snapshot: &[u8]) -> Result<u64, BackupError> {
    let check = crypto::sha256(&[&network.0, snapshot]);
    let bytes = [MAGIC.as_slice(), &network.0, &check, snapshot].concat();
    let written = files::replace(path, &bytes);
    written.map_err(|error| BackupError::Io { action: "write", path: path.to_owned(), error })?;
    Ok(bytes.len() as u64)
}

/// Makes the log of `home` of a backup: `me` is the only supernode of it, and all others must join anew
///
/// `drawn` are a lineage and an incarnation, drawn anew.
///
/// # Errors
/// [`BackupError`]; the home is as it was.
pub(crate) fn restore(
    home: &Path,
    path: &Path,
    network: &NetworkId,
    me: SupernodeId,
    drawn: (u64, u32),
) -> Result<u64, BackupError> {
    let present = home.join(super::FILE_NAME);
    if present.exists() {
        return Err(BackupError::Present(present));
    }
    let snapshot = read(path, network)?;
    let (lineage, incarnation) = drawn;
    let restored = raft::restore(&snapshot, me, incarnation);
    let meaningless = |fault| BackupError::Meaningless { path: path.to_owned(), fault };
    let Restored { last, snapshot, vote, purged, names, is_gone } = restored.map_err(meaningless)?;
    if is_gone {
        return Err(BackupError::TakenOut { path: path.to_owned(), me });
    }
    let lineage = kith_common::wire::encode(&lineage.max(1)).map_err(|error| meaningless(error.to_string()))?;
    let mut store = Store::open(home)?;
    store.write(&[
        Write::Snapshot(last, snapshot),
        Write::Purge(last, purged),
        Write::Say(Word::Vote, vote),
        Write::Say(Word::Lineage, lineage),
    ])?;
    Ok(names)
}

fn read(path: &Path, network: &NetworkId) -> Result<Vec<u8>, BackupError> {
    let read = files::read(path, BYTES_MAX);
    let (_, bytes) = read.map_err(|error| BackupError::Io { action: "read", path: path.to_owned(), error })?;
    let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or_else(|| BackupError::NoBackup(path.to_owned()))?;
    let damaged = || BackupError::Damaged(path.to_owned());
    let (theirs, rest) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
    let (check, snapshot) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
    if *check != crypto::sha256(&[theirs, snapshot]) {
        return Err(damaged());
    }
    if *theirs != network.0 {
        let theirs = NetworkId(*theirs);
        return Err(BackupError::OtherNetwork { path: path.to_owned(), theirs, own: *network });
    }
    Ok(snapshot.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId([7; 32]);

    #[test]
    fn file_that_lost_or_changed_a_byte_or_is_another_networks_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("backup");
        write(&path, &NETWORK, b"all names").unwrap();
        assert_eq!(read(&path, &NETWORK).unwrap(), b"all names");
        let other = read(&path, &NetworkId([8; 32])).unwrap_err();
        assert!(matches!(other, BackupError::OtherNetwork { .. }), "{other}");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(read(&path, &NETWORK).is_err(), "byte {at} changed");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(read(&path, &NETWORK).is_err(), "cut to {at}");
        }
    }
}
