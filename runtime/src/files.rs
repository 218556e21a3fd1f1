//! Files of a home: for their owner alone, whole or not there, and on the disk together with the directory that names
//! them; and a little room that is kept back for the day on which the disk is full.
//!
//! A path in a home is never followed where it is a symbolic link: what a node writes stays in its home.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kith_common::crypto;
use rustix::fs::{FallocateFlags, OFlags};

/// The file that only takes up room
const RESERVE_FILE: &str = "reserve";

/// What a start on a full disk needs, with as much again: the number of the start, the lock, a redb file's repair
pub(crate) const RESERVE_BYTES: u64 = 256 * 1024;

/// What must be free for a start to be taken for one on a disk with room: the largest thing that it writes, many times
const PROBE_BYTES: u64 = 64 * 1024;

/// Whether the system refused as the disk, or somebody's share of it, is full, or a file as large as one can be there:
/// what goes away when somebody makes room
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Makes a file, to be read and written by its owner alone
///
/// # Errors
/// [`io::Error`], also where anything is at `path` already.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file that is there, to be read and written
///
/// # Errors
/// [`io::Error`], also for a symbolic link.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(no_follow()).open(path)
}

/// The bytes of a file that is there, `max` of them at most
///
/// # Errors
/// [`io::Error`], also for a symbolic link.
pub fn read(path: &Path, max: u64) -> io::Result<(File, Vec<u8>)> {
    let file = OpenOptions::new().read(true).custom_flags(no_follow()).open(path)?;
    let mut bytes = Vec::new();
    (&file).take(max).read_to_end(&mut bytes)?;
    Ok((file, bytes))
}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

/// Makes a directory for its owner alone, and those above it that are not there; all of them are on the disk then
///
/// # Errors
/// [`io::Error`]; some of them may be there.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Another process was faster, and it syncs what it makes.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.and_then(|()| sync_parent(path)),
    }
}

/// Makes sure that a name, once given, changed or taken, is so after a power cut, too
///
/// # Errors
/// [`io::Error`]
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes the file at `path`, which nobody else makes, out of what `fill` puts into an empty one: it is there whole or
/// not at all, whatever happens meanwhile
///
/// # Errors
/// That of `fill`, or of the system; nothing is left behind.
pub(crate) fn create_whole<T, E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(File) -> Result<T, E>,
) -> Result<T, E> {
    let draft = draft_of(path);
    remove_if_there(&draft)?;
    let filled = create_new(&draft).map_err(E::from).and_then(fill).and_then(|value| {
        fs::rename(&draft, path)?;
        sync_parent(path)?;
        Ok(value)
    });
    if filled.is_err() {
        // The reason that counts is why it was not filled.
        let _ = remove_if_there(&draft);
    }
    filled
}

/// What `open` makes of the file at `path`; where none is there, one is made out of what `fill` puts into an empty one,
/// as by `create_whole`
///
/// So a file without bytes is none that a start was killed at: somebody, or a power cut, took what was in it.
///
/// # Errors
/// That of `open` or `fill`, that of the system, or what `emptied` says of a file without bytes; the file is as it was.
pub fn open_or_create<T, E: From<io::Error>>(
    path: &Path,
    open: impl FnOnce(File) -> Result<T, E>,
    fill: impl FnOnce(File) -> Result<T, E>,
    emptied: impl FnOnce() -> E,
) -> Result<T, E> {
    let file = match self::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return create_whole(path, fill),
        file => file?,
    };
    if file.metadata()?.len() == 0 { Err(emptied()) } else { open(file) }
}

/// Replaces the file at `path`, if there is one, by one with these bytes: the old one or the new one is there
///
/// On a full disk the bytes are written over the old ones, where they take no room that the file has not: a few bytes
/// are in one sector, which is written whole or not at all.
///
/// # Errors
/// [`io::Error`]; the old file is as it was, and nothing is left behind.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let replaced = create_whole(path, |mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    match replaced {
        Err(error) if is_full(&error) => overwrite(path, bytes).map_err(|_| error),
        replaced => replaced,
    }
}

fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = open(path)?;
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// The name under which a file is made: one a file, so that a start that failed leaves one at most
fn draft_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A line with a check, so that one that has changed on the disk is not taken for another one
pub fn with_check(text: &str) -> String {
    format!("{text} {}\n", check_of(text))
}

/// The text of a line that [`with_check`] made; none if it is another
pub fn checked(line: &[u8]) -> Option<&str> {
    let (text, check) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.rsplit_once(' ')?;
    (check == check_of(text)).then_some(text)
}

fn check_of(text: &str) -> String {
    let [a, b, c, d, ..] = crypto::sha256(&[text.as_bytes()]);
    [a, b, c, d].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// At a start: keeps room back in `home`, or gives back what was kept if the disk is full
///
/// A full disk is no error: a daemon that starts on one can say so, and people can read and remove what filled it.
pub(crate) fn settle_reserve(home: &Path) {
    let probe = home.join(".probe");
    let has_room = create_whole_of_room(&probe, PROBE_BYTES);
    // A probe that stays would be tried again, and replaced, at the next start.
    let _ = remove_if_there(&probe);
    match has_room {
        Ok(()) => hold_reserve(home),
        Err(error) if is_full(&error) => release_reserve(home),
        Err(reason) => tracing::warn!(event = "reserve_not_held", %reason),
    }
}

/// Keeps [`RESERVE_BYTES`] back in `home`, unless they are or the disk has no room for them
pub(crate) fn hold_reserve(home: &Path) {
    let path = home.join(RESERVE_FILE);
    if path.exists() {
        return;
    }
    if let Err(reason) = create_whole_of_room(&path, RESERVE_BYTES) {
        tracing::warn!(event = "reserve_not_held", %reason);
    }
}

/// Gives the room back that was kept in `home`, as the disk is full; nothing if there is none
pub fn release_reserve(home: &Path) {
    match fs::remove_file(home.join(RESERVE_FILE)) {
        Ok(()) => tracing::warn!(event = "reserve_released", bytes = RESERVE_BYTES, reason = "the disk is full"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!(event = "disk_full", reason = "and nothing is kept back any more: make room");
        }
        Err(reason) => tracing::warn!(event = "reserve_not_released", %reason),
    }
}

fn create_whole_of_room(path: &Path, bytes: u64) -> io::Result<()> {
    create_whole(path, |file| {
        // Written ones take room on file systems that keep no empty blocks.
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP) => (&file).write_all(&vec![0; usize::try_from(bytes).unwrap_or(0)]),
            done => Ok(done?),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn file_is_replaced_whole_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("boot");
        replace(&path, b"12").unwrap();
        replace(&path, b"3").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"3");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["boot"]);
    }

    #[test]
    fn file_that_cannot_be_filled_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        // What a start left that was killed is no reason for the next one to fail.
        fs::write(draft_of(&path), "half").unwrap();
        let failed = create_whole(&path, |_| Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)));
        assert!(is_full(&failed.unwrap_err()));
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn file_is_made_where_none_is_and_one_without_bytes_is_told_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let opened = || {
            let fill = |mut file: File| file.write_all(b"new").map(|()| "made");
            open_or_create(&path, |_| Ok("found"), fill, || io::Error::other("emptied"))
        };
        assert_eq!(opened().unwrap(), "made");
        assert_eq!(opened().unwrap(), "found");
        fs::write(&path, "").unwrap();
        assert_eq!(opened().unwrap_err().to_string(), "emptied");
        assert_eq!(fs::read(&path).unwrap(), b"", "it is left as it is");
    }

    #[test]
    fn bytes_are_written_over_the_old_ones_where_no_file_can_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("boot");
        fs::write(&path, "1234").unwrap();
        overwrite(&path, b"56").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"56");
    }

    #[test]
    fn disk_quota_and_file_may_be_full_and_other_faults_are_none_of_that() {
        // As Linux says it: no space, over the quota, too large a file; then an I/O error, and a disk that is read-only.
        let is_full = [28, 122, 27, 5, 30].map(|code| is_full(&io::Error::from_raw_os_error(code)));
        assert_eq!(is_full, [true, true, true, false, false]);
    }

    #[test]
    fn symbolic_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(open(&link).is_err() && read(&link, 9).is_err() && create_new(&link).is_err());
        replace(&link, b"ours").unwrap();
        assert_eq!((fs::read(&target).unwrap(), fs::read(&link).unwrap()), (b"theirs".to_vec(), b"ours".to_vec()));
    }

    #[test]
    fn line_that_has_changed_has_a_wrong_check() {
        let line = with_check("7 kith").into_bytes();
        assert_eq!(checked(&line), Some("7 kith"));
        for at in 0..line.len() {
            let mut changed = line.clone();
            changed[at] ^= 1;
            assert_eq!(checked(&changed), None, "byte {at}");
            assert_eq!(checked(&line[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn room_is_kept_back_once_and_given_back() {
        let home = tempfile::tempdir().unwrap();
        settle_reserve(home.path());
        settle_reserve(home.path());
        assert_eq!(names(home.path()), [RESERVE_FILE]);
        assert_eq!(fs::metadata(home.path().join(RESERVE_FILE)).unwrap().len(), RESERVE_BYTES);
        release_reserve(home.path());
        release_reserve(home.path());
        assert!(names(home.path()).is_empty());
    }

    #[test]
    fn directories_are_made_for_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        create_directory(&path).unwrap();
        create_directory(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
