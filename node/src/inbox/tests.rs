use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use kith_common::id::{Address, Epoch, Key, MessageId};
use kith_common::mail::{OVERHEAD_BYTES, Place, SEEN_MAX};
use kith_common::status::Status;
use redb::StorageBackend;
use tempfile::TempDir;

use super::error::FORMAT;
use super::tables::{FORMAT_KEY, builder};
use super::*;

mod outbox;

const ROOM: u64 = 10_000;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn message(n: u8, bytes: usize) -> Incoming {
    let from = name(["alice", "bob"][usize::from(n % 2)]);
    let received = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_000 + u64::from(n));
    let (bytes, place) = (vec![n; bytes], Place::default());
    let (id, key, address) = (MessageId([n; 16]), Key([n % 2; 32]), Address(n.into()));
    let confirmed = !n.is_multiple_of(3);
    Incoming { message: Arrival { id, from, key, address, confirmed, place, bytes }, received }
}

fn sequences(kept: &[Kept]) -> Vec<Option<u64>> {
    let sequence = |kept: &Kept| if let Kept::New { sequence } = kept { Some(*sequence) } else { None };
    kept.iter().map(sequence).collect()
}

/// An in-box in a directory of its own
struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("inbox.redb")
    }

    fn open(&self) -> InboxFile {
        InboxFile::open(&self.path(), ROOM).unwrap()
    }
}

impl InboxFile {
    /// Keeps messages, in their order
    pub(super) fn keep(&mut self, batch: &[Incoming]) -> Result<Vec<Kept>, InboxError> {
        self.write_mail(&MailChanges { keep: batch.to_vec(), ..MailChanges::default() })
    }
}

fn list(inbox: &mut InboxFile) -> Vec<Stored> {
    inbox.list(&Selection::default()).unwrap()
}

#[test]
fn message_is_there_until_it_is_read_across_reopening() {
    let home = Home::new();
    let kept = home.open().keep(&[message(1, 5), message(2, 0)]).unwrap();
    assert_eq!(kept, [Kept::New { sequence: 1 }, Kept::New { sequence: 2 }]);
    let mut inbox = home.open();
    let expected =
        [(1, message(1, 5)), (2, message(2, 0))].map(|(sequence, message)| Stored { sequence, incoming: message });
    assert_eq!(list(&mut inbox), expected);
    assert_eq!(inbox.policy.totals(), Totals { messages: 2, bytes: 5 + 2 * OVERHEAD_BYTES, last: 2 });
    assert_eq!(inbox.remove(&[1, 1, 77]), Ok(1));
    drop(inbox);
    let mut inbox = home.open();
    assert_eq!(list(&mut inbox), expected[1..]);
    assert_eq!(inbox.policy.totals(), Totals { messages: 1, bytes: OVERHEAD_BYTES, last: 2 });
}

#[test]
fn duplicate_is_receipted_again_and_kept_once_even_after_reading_and_reopening() {
    let home = Home::new();
    let mut inbox = home.open();
    let batch = [message(1, 1), message(1, 1), message(3, 1)];
    assert_eq!(sequences(&inbox.keep(&batch).unwrap()), [Some(1), None, Some(2)]);
    assert_eq!(inbox.keep(&batch[..1]), Ok(vec![Kept::Duplicate]));
    assert_eq!(Kept::Duplicate.status(), Status::Delivered);
    inbox.remove(&[1, 2]).unwrap();
    drop(inbox);
    let mut inbox = home.open();
    assert_eq!(inbox.keep(&batch), Ok(vec![Kept::Duplicate; 3]));
    assert_eq!(inbox.policy.totals(), Totals { messages: 0, bytes: 0, last: 2 });
}

#[test]
fn id_used_by_another_sender_is_no_duplicate() {
    let home = Home::new();
    let mut other = message(1, 1);
    other.message.key = Key([9; 32]);
    assert_eq!(sequences(&home.open().keep(&[message(1, 1), other]).unwrap()), [Some(1), Some(2)]);
}

#[test]
fn sequence_is_never_given_twice() {
    let home = Home::new();
    let mut inbox = home.open();
    inbox.keep(&[message(1, 1), message(2, 1)]).unwrap();
    inbox.remove(&[1, 2]).unwrap();
    drop(inbox);
    assert_eq!(home.open().keep(&[message(3, 1)]), Ok(vec![Kept::New { sequence: 3 }]));
}

#[test]
fn full_in_box_refuses_with_429_until_something_is_read_and_then_keeps_the_resend() {
    let mut inbox = Home::new().open();
    let size = 4_000;
    let mut small = message(4, 100);
    small.message.key = Key([4; 32]);
    let kept = inbox.keep(&[message(1, size), message(2, size), message(3, size), small]).unwrap();
    assert_eq!(sequences(&kept), [Some(1), Some(2), None, Some(3)], "a small one of somebody else still fits");
    assert_eq!((kept[2], kept[2].status()), (Kept::Full, Status::SlowDown));
    inbox.remove(&[1]).unwrap();
    assert_eq!(inbox.keep(&[message(3, size)]), Ok(vec![Kept::New { sequence: 4 }]));
    assert!(inbox.policy.totals().bytes <= ROOM);
}

#[test]
fn message_that_can_never_fit_is_413() {
    let mut inbox = Home::new().open();
    let room = (ROOM - OVERHEAD_BYTES) as usize;
    let kept = inbox.keep(&[message(1, room + 1), message(2, room)]).unwrap();
    assert_eq!((kept[0], kept[0].status()), (Kept::TooLarge, Status::TooLarge));
    assert_eq!(sequences(&kept), [None, Some(1)]);
}

#[test]
fn list_is_by_sender_from_a_sequence_on_and_bounded() {
    let mut inbox = InboxFile::open(&Home::new().path(), BYTES_MAX_DEFAULT).unwrap();
    let batch: Vec<Incoming> = (0..40).map(|n| message(n, 50_000)).collect();
    inbox.keep(&batch).unwrap();
    let mut listed = |from: Option<&str>, after, limit| -> Vec<u64> {
        let selection = Selection { from: from.map(name), after, limit };
        inbox.list(&selection).unwrap().iter().map(|stored| stored.sequence).collect()
    };
    assert_eq!(listed(Some("alice"), 36, None), [37, 39]);
    assert_eq!(listed(None, 10, Some(2)), [11, 12]);
    assert_eq!(listed(None, 40, None), [0; 0]);
    assert_eq!(listed(None, u64::MAX, None), [0; 0]);
    let first: Vec<u64> = (1..=21).collect();
    assert_eq!(listed(None, 0, None), first, "a list ends after {LIST_BYTES_MAX} bytes");
}

#[test]
fn followers_are_told_of_every_change() {
    let mut inbox = Home::new().open();
    let mut totals = inbox.watch();
    assert!(!totals.has_changed().unwrap());
    inbox.keep(&[message(1, 7)]).unwrap();
    assert_eq!(*totals.borrow_and_update(), Totals { messages: 1, bytes: 7 + OVERHEAD_BYTES, last: 1 });
    inbox.keep(&[message(1, 7)]).unwrap();
    assert!(!totals.has_changed().unwrap(), "a duplicate changes nothing");
    inbox.remove(&[1]).unwrap();
    assert!(totals.has_changed().unwrap());
}

#[test]
fn window_of_seen_messages_on_disk_has_its_bound() {
    let mut inbox = InboxFile::open(&Home::new().path(), BYTES_MAX_DEFAULT).unwrap();
    let numbered = |n: usize| {
        let mut numbered = message(1, 0);
        numbered.message.id = MessageId((n as u128).to_be_bytes());
        numbered
    };
    for start in (0..SEEN_MAX + 3).step_by(8_192) {
        let batch: Vec<Incoming> = (start..(start + 8_192).min(SEEN_MAX + 3)).map(numbered).collect();
        let kept = inbox.keep(&batch).unwrap();
        let Kept::New { sequence: first } = kept[0] else { panic!("{:?}", kept[0]) };
        let sequences: Vec<u64> = (first..first + batch.len() as u64).collect();
        inbox.remove(&sequences).unwrap();
    }
    let loaded = inbox.read(|transaction| load(transaction, BYTES_MAX_DEFAULT)).unwrap();
    assert_eq!((loaded.seen().len(), loaded.totals().last), (SEEN_MAX, SEEN_MAX as u64 + 3));
    assert!(loaded.seen().iter().eq(inbox.policy.seen().iter()), "disk and memory agree");
    let plan = inbox.policy.plan([2, 3].map(|n| numbered(n).message.offer()));
    assert!(matches!(plan.kept(), [Kept::New { .. }, Kept::Duplicate]), "{plan:?}");
}

#[test]
fn names_and_meta_come_back_with_their_age() {
    let home = Home::new();
    let record = |of: &str, n| {
        let (name, key, address) = (name(of), Key([n; 32]), Address(n.into()));
        Record { name, key, address, epoch: Epoch::new(0, 1), locations: Default::default() }
    };
    let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    let mut inbox = home.open();
    let (save, erase) = (|of, n| NameChange::Save(Box::new(record(of, n))), |of| NameChange::Erase(name(of)));
    inbox.write_names(&[save("alice", 1), save("bob", 2)], at(100)).unwrap();
    inbox.write_names(&[save("alice", 3), erase("bob"), erase("nobody")], at(200)).unwrap();
    inbox.set_meta("network", b"id").unwrap();
    assert_eq!(inbox.set_meta("network", &[0; META_BYTES_MAX + 1]), Err(InboxError::MetaTooLarge(META_BYTES_MAX + 1)));
    drop(inbox);
    let mut inbox = home.open();
    assert_eq!(inbox.names(at(260)), Ok(vec![(record("alice", 3), Duration::from_secs(60))]));
    assert_eq!(inbox.names(at(199)), Ok(vec![(record("alice", 3), Duration::MAX)]), "its clock was wrong");
    assert_eq!(inbox.meta("network"), Ok(Some(b"id".to_vec())));
    assert_eq!(inbox.meta("other"), Ok(None));
}

#[test]
fn names_past_the_bound_are_left_out() {
    let mut inbox = Home::new().open();
    let record = |n: usize| {
        let (name, key) = (name(&format!("n{n}")), Key([0; 32]));
        Record { name, key, address: Address(n as u64), epoch: Epoch::new(0, 1), locations: Default::default() }
    };
    let save = |n| NameChange::Save(Box::new(record(n)));
    let records: Vec<_> = (0..RECORDS_MAX + 1).map(save).collect();
    inbox.write_names(&records, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(inbox.names(SystemTime::UNIX_EPOCH).unwrap().len(), RECORDS_MAX);
    inbox.write_names(&[NameChange::Erase(name("n7")), save(RECORDS_MAX)], SystemTime::UNIX_EPOCH).unwrap();
    let names = inbox.names(SystemTime::UNIX_EPOCH).unwrap();
    assert!(
        names.len() == RECORDS_MAX && names.iter().any(|(there, _)| *there == record(RECORDS_MAX)),
        "room was made"
    );
}

#[test]
fn file_is_for_its_owner_alone() {
    let home = Home::new();
    let _inbox = home.open();
    assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn file_in_use_is_said_to_be_so() {
    let home = Home::new();
    let _inbox = home.open();
    assert_eq!(InboxFile::open(&home.path(), ROOM).unwrap_err(), InboxError::Locked(home.path()));
}

#[test]
fn directory_that_is_missing_is_an_error() {
    let home = Home::new();
    assert!(matches!(InboxFile::open(&home.path().join("no/inbox"), ROOM), Err(InboxError::Io(_))));
}

#[test]
fn file_of_another_format_is_refused_with_what_to_do() {
    for (format, advice) in [(FORMAT + 1, "use the later version"), (1, "then move it away")] {
        let home = Home::new();
        home.open().set_meta(FORMAT_KEY, &format.to_le_bytes()).unwrap();
        let error = InboxFile::open(&home.path(), ROOM).unwrap_err();
        assert_eq!(error, InboxError::Format(format));
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[test]
fn file_that_is_no_database_is_refused_and_left_alone() {
    let home = Home::new();
    fs::write(home.path(), "my diary".repeat(1_000)).unwrap();
    assert!(matches!(InboxFile::open(&home.path(), ROOM), Err(InboxError::Corrupted(..))));
    assert_eq!(fs::read(home.path()).unwrap(), "my diary".repeat(1_000).as_bytes());
}

#[test]
fn damaged_file_is_reported_or_repaired_and_never_panics() {
    let home = Home::new();
    let messages: Vec<Incoming> = (0..20).map(|n| message(n, 200)).collect();
    home.open().keep(&messages).unwrap();
    let good = fs::read(home.path()).unwrap();
    let mut refused = 0;
    for at in (0..good.len()).step_by(997) {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        fs::write(home.path(), &bad).unwrap();
        match InboxFile::open(&home.path(), ROOM) {
            Ok(mut inbox) => assert!(list(&mut inbox).iter().all(|stored| messages.contains(&stored.incoming))),
            Err(InboxError::Corrupted(..)) => refused += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(refused > 0, "some of the bytes mattered");
    fs::write(home.path(), &good[..good.len() / 2]).unwrap();
    assert!(matches!(InboxFile::open(&home.path(), ROOM), Err(InboxError::Corrupted(..))));
}

/// A disk in memory with a number of bytes that can be set, and a switch to break it
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    bytes: Vec<u8>,
    room: usize,
    broken: bool,
}

impl DiskState {
    fn fault(&self, end: usize) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the disk is broken"));
        }
        if end > self.room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let disk = self.0.lock().unwrap();
        let start = offset as usize;
        out.copy_from_slice(disk.bytes.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut disk = self.0.lock().unwrap();
        disk.fault(len as usize)?;
        disk.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.lock().unwrap().fault(0)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut disk = self.0.lock().unwrap();
        let (start, end) = (offset as usize, offset as usize + data.len());
        disk.fault(end)?;
        disk.bytes[start..end].copy_from_slice(data);
        Ok(())
    }
}

impl Disk {
    pub(super) fn open(&self) -> InboxFile {
        let disk = self.clone();
        let opener = move |check| Ok(builder(check).create_with_backend(disk.clone())?);
        InboxFile::open_with(Path::new("disk"), BYTES_MAX_DEFAULT, Box::new(opener)).unwrap()
    }

    pub(super) fn set_room(&self, bytes: usize) {
        self.0.lock().unwrap().room = bytes;
    }

    fn set_broken(&self, broken: bool) {
        self.0.lock().unwrap().broken = broken;
    }
}

#[test]
fn full_disk_keeps_nothing_more_and_loses_nothing_and_goes_on_when_there_is_room() {
    let disk = Disk::default();
    disk.set_room(1 << 20);
    let mut inbox = disk.open();
    let size = 50_000;
    let mut kept = 0;
    let error = loop {
        match inbox.keep(&[message(kept, size)]) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.clone(), error.status()), (InboxError::DiskFull, Status::Failed));
    assert!(kept > 2);
    let there =
        |inbox: &mut InboxFile| list(inbox).iter().map(|stored| stored.incoming.message.id.0[0]).collect::<Vec<_>>();
    assert_eq!(there(&mut inbox), (0..kept).collect::<Vec<_>>(), "it can be read");
    assert_eq!(inbox.policy.totals().messages, u64::from(kept));
    assert_eq!(inbox.keep(&[message(kept, size)]), Err(InboxError::DiskFull));
    assert_eq!(inbox.keep(&[message(0, size)]), Ok(vec![Kept::Duplicate]));

    disk.set_room(8 << 20);
    let sequence = u64::from(kept) + 1;
    assert_eq!(inbox.keep(&[message(kept, size)]), Ok(vec![Kept::New { sequence }]), "the resend is new");
    drop(inbox);
    assert_eq!(there(&mut disk.open()), (0..=kept).collect::<Vec<_>>());
}

#[test]
fn broken_disk_fails_every_call_until_a_new_start() {
    let disk = Disk::default();
    disk.set_room(8 << 20);
    let mut inbox = disk.open();
    inbox.keep(&[message(1, 10)]).unwrap();
    disk.set_broken(true);
    for _ in 0..2 {
        assert!(matches!(inbox.keep(&[message(2, 10)]), Err(InboxError::Io(_))));
    }
    assert_eq!(inbox.policy.totals().messages, 1);
    drop(inbox);
    disk.set_broken(false);
    assert_eq!(list(&mut disk.open()).len(), 1);
}

#[test]
fn what_the_in_box_prints_shows_no_content() {
    let mut inbox = Home::new().open();
    let mut canary = message(1, 0);
    canary.message.bytes = b"canary".to_vec();
    inbox.keep(&[canary]).unwrap();
    let printed = format!("{inbox:?} {:?}", list(&mut inbox));
    assert!(printed.contains("6 bytes") && !printed.contains("canary") && !printed.contains("99, 97, 110"));
}

#[test]
fn file_without_bytes_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("inbox.redb");
    drop(InboxFile::open(&path, BYTES_MAX_DEFAULT).unwrap());
    std::fs::write(&path, "").unwrap();
    let error = InboxFile::open(&path, BYTES_MAX_DEFAULT).unwrap_err();
    assert!(matches!(&error, InboxError::Corrupted(why, _) if why.contains("no bytes")), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}
