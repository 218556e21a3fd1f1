//! Why the in-box cannot do what it should.

use std::path::{Path, PathBuf};

use kith_common::mail::NotStored;
use kith_common::status::Status;
use kith_runtime::files;

use super::META_BYTES_MAX;

/// The form of the file; another one is refused
pub(super) const FORMAT: u64 = 4;
/// The form without pins, which get a table when it is opened
pub(super) const FORMAT_BEFORE_PINS: u64 = 3;
/// The form without an out-box, which gets one when it is opened
pub(super) const FORMAT_BEFORE_OUTBOX: u64 = 2;

/// Why the in-box cannot do what it should; nothing has been kept, removed or changed
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InboxError {
    /// Another process has the file; this one has not touched it
    #[error("{0} is in use: another kith runs with this home; stop it, or choose another with --home")]
    Locked(PathBuf),
    /// The disk or its quota is full. The next call tries again by itself
    #[error("the disk is full: free some space; what is in the in-box can still be read")]
    DiskFull,
    /// The disk fails. Every further call fails so until the daemon starts anew
    #[error("the in-box cannot be read or written: {0}; see to the disk, then start kith again")]
    Io(String),
    /// The file is not what was written
    #[error(
        "the in-box is damaged: {0}; put back a copy of {path}, or move it away and start kith again without its messages",
        path = .1.display()
    )]
    Corrupted(String, PathBuf),
    /// Another version wrote the file
    #[error("the in-box has format {0}, this kith knows {FORMAT}: {advice}", advice = advice(*.0))]
    Format(u64),
    /// A value of the `meta` table is over [`META_BYTES_MAX`]
    #[error("{0} bytes are more than the {META_BYTES_MAX} that fit")]
    MetaTooLarge(usize),
}

const fn advice(format: u64) -> &'static str {
    if format > FORMAT {
        "use the later version"
    } else {
        "read its messages by the version that wrote it, then move it away and start kith again"
    }
}

impl InboxError {
    /// The status of an answer that there cannot be for this reason
    pub(crate) const fn status(&self) -> Status {
        Status::Failed
    }

    /// What the sender of a message is told that could not be kept for this reason
    pub(crate) const fn not_stored(&self) -> NotStored {
        match self {
            Self::DiskFull => NotStored::DiskFull,
            _ => NotStored::DiskFailed,
        }
    }

    /// The error for one of redb's, about the file at `path`
    pub(super) fn of(error: redb::Error, path: &Path) -> Self {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        let damaged = |text: String| InboxError::Corrupted(text, path.to_owned());
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => InboxError::Locked(path.to_owned()),
            redb::Error::Io(error) if files::is_full(&error) => InboxError::DiskFull,
            redb::Error::Io(error) => match error.kind() {
                InvalidData | UnexpectedEof => damaged(error.to_string()),
                _ => InboxError::Io(error.to_string()),
            },
            redb::Error::Corrupted(text) => damaged(text),
            error @ (redb::Error::UpgradeRequired(_)
            | redb::Error::RepairAborted
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)) => damaged(error.to_string()),
            error => InboxError::Io(error.to_string()),
        }
    }
}

/// What goes wrong inside a transaction
pub(super) enum Fault {
    Redb(Box<redb::Error>),
    Damaged(String),
    Format(u64),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

impl Fault {
    /// The error for this fault, about the file at `path`
    pub(super) fn at(self, path: &Path) -> InboxError {
        match self {
            Self::Redb(error) => InboxError::of(*error, path),
            Self::Damaged(text) => InboxError::Corrupted(text, path.to_owned()),
            Self::Format(format) => InboxError::Format(format),
        }
    }
}
