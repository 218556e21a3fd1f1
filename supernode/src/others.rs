//! The other supernodes of the network, as this home remembers them beside the log.
//!
//! A supernode has voted, and has said that entries are on its disk, and the others count on both. One that goes on without
//! its log would vote again and have nothing of what was counted on, so that an acknowledged login could be lost without a
//! word. The log itself cannot say that it is missing; so a list of the others stands beside it, and whoever has such a list
//! and no log does not start.

use std::io;
use std::path::{Path, PathBuf};

use kith_common::id::SupernodeId;
use kith_common::wire::session::Locations;
use kith_runtime::files;

/// The list in the supernode's home: a line for each of the others, with its serial and where it is
pub(crate) const FILE_NAME: &str = "supernodes";

/// Sixteen lines of four long locations have a third of it
const BYTES_MAX: u64 = 64 * 1024;

/// The log of one of several supernodes is gone
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: the log is gone, and this is one of several supernodes, which count on what was in it; its list of the others says: \
     {others}. Start another one in an empty home, with --join; when `kith-supernode members` shows it without a lag, say there \
     kith-supernode remove --supernode {me}. If all of them have lost their logs: kith-supernode restore FILE",
    log.display()
)]
pub(crate) struct LogLost {
    log: PathBuf,
    me: SupernodeId,
    others: String,
}

/// Refuses to go on without a log, if there are others
///
/// # Errors
/// [`LogLost`], which says who they are, and what to do.
pub(crate) fn refuse_without_log(home: &Path, me: SupernodeId, log: &Path) -> Result<(), LogLost> {
    let list = match files::read(&home.join(FILE_NAME), BYTES_MAX) {
        Ok((_, bytes)) => String::from_utf8_lossy(&bytes).lines().collect::<Vec<_>>().join("; "),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => format!("({error})"),
    };
    Err(LogLost { log: log.to_owned(), me, others: list })
}

/// The list of the others, and what of it is on the disk
#[derive(Debug)]
pub(crate) struct Others {
    path: PathBuf,
    me: SupernodeId,
    /// What the file says; `None`: not known, so that it is written
    written: Option<String>,
}

impl Others {
    pub(crate) fn new(home: &Path, me: SupernodeId) -> Self {
        Self { path: home.join(FILE_NAME), me, written: None }
    }

    /// The log says who the supernodes are. A list that cannot be written is written with the next change, or the next start.
    pub(crate) fn keep(&mut self, supernodes: &[(SupernodeId, Locations, bool)]) {
        // Before the log names it nobody counts on it.
        if !supernodes.iter().any(|(id, _, _)| *id == self.me) {
            return;
        }
        let line = |(id, locations, _): &(SupernodeId, Locations, bool)| {
            let locations: Vec<String> = locations.iter().map(ToString::to_string).collect();
            format!("{id} {}\n", locations.join(" "))
        };
        let list: String = supernodes.iter().filter(|(id, _, _)| *id != self.me).map(line).collect();
        if self.written.as_ref() == Some(&list) {
            return;
        }
        match self.write(&list) {
            Ok(()) => self.written = Some(list),
            Err(reason) => tracing::warn!(event = "supernodes_not_noted", path = %self.path.display(), %reason),
        }
    }

    fn write(&self, list: &str) -> io::Result<()> {
        if !list.is_empty() {
            return files::replace(&self.path, list.as_bytes());
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_common::wire::session::Location;

    use super::*;

    const ME: SupernodeId = SupernodeId(1);

    fn supernodes(ids: &[u64]) -> Vec<(SupernodeId, Locations, bool)> {
        let at = |id: &u64| Locations::truncated([Location::truncated(&format!("/ip4/127.0.0.1/tcp/{id}"))]);
        ids.iter().map(|id| (SupernodeId(*id), at(id), true)).collect()
    }

    #[test]
    fn without_its_log_one_of_several_does_not_start_and_says_who_the_others_are() {
        let home = tempfile::tempdir().unwrap();
        let refused = || refuse_without_log(home.path(), ME, &home.path().join("log")).map_err(|lost| lost.to_string());
        let mut others = Others::new(home.path(), ME);
        assert_eq!(refused(), Ok(()), "it has never been one of several");
        others.keep(&supernodes(&[2, 3]));
        assert_eq!(refused(), Ok(()), "it has heard of others, and is none of them yet");
        others.keep(&supernodes(&[1, 2, 3]));
        let reason = refused().unwrap_err();
        for part in ["2 /ip4/127.0.0.1/tcp/2; 3 /ip4", "remove --supernode 1", "restore FILE"] {
            assert!(reason.contains(part), "{reason}");
        }
        others.keep(&supernodes(&[1]));
        assert_eq!(refused(), Ok(()), "it is alone again, and nobody counts on it");
    }
}
