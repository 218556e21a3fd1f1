use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use kith_common::directory::{LogIn, Right, SuspectReason};
use kith_common::id::{Key, SessionId, SupernodeId};
use kith_common::wire::bounded::Bounded;
use redb::StorageBackend;
use tempfile::TempDir;

use super::*;

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn session(i: u32) -> SessionId {
    let mut id = [1; 16];
    id[..4].copy_from_slice(&i.to_be_bytes());
    SessionId(id)
}

fn login(i: u32) -> Command {
    let mut key = [2; 32];
    key[..4].copy_from_slice(&i.to_be_bytes());
    let locations = Bounded::truncated([format!("/ip4/10.0.0.1/tcp/{i}").try_into().unwrap()]);
    let name = format!("peer-{i}").parse().unwrap();
    let (session, right) = (session(i), Right::Anybody);
    Command::LogIn(LogIn { name, key: Key(key), session, salt: [3; 16], locations, home: SupernodeId(1), right })
}

fn logins(range: Range<u32>) -> Vec<Command> {
    range.map(login).collect()
}

fn open(home: &TempDir) -> (Store, Directory) {
    Store::open(home.path(), 0).unwrap()
}

fn fault(home: &TempDir) -> Fault {
    Store::open(home.path(), 0).unwrap_err().fault
}

fn append(store: &mut Store, directory: &mut Directory, commands: &[Command]) {
    let indices = store.append(commands).unwrap();
    for (index, command) in indices.zip(commands) {
        directory.apply(index, command);
    }
}

fn bytes_of(directory: &Directory) -> Vec<u8> {
    directory.snapshot().unwrap()
}

/// A log of two batches, one of them in a snapshot, closed; and the directory that it makes
fn written(home: &TempDir) -> Vec<u8> {
    let (mut store, mut directory) = open(home);
    append(&mut store, &mut directory, &logins(0..20));
    store.snapshot(&directory).unwrap();
    append(&mut store, &mut directory, &logins(20..30));
    bytes_of(&directory)
}

/// Changes the tables behind the store's back
fn tamper(home: &TempDir, change: impl FnOnce(&WriteTransaction)) {
    let db = Database::open(home.path().join(FILE_NAME)).unwrap();
    let transaction = db.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn reopened_log_holds_what_was_appended() {
    let home = home();
    let (mut store, mut directory) = open(&home);
    assert_eq!((store.last, directory.applied()), (0, 0));
    append(&mut store, &mut directory, &logins(0..3));
    append(&mut store, &mut directory, &[]);
    let suspect = Command::Suspect { session: session(1), reason: SuspectReason::HomeLost };
    append(&mut store, &mut directory, &[suspect, login(3)]);
    assert_eq!(store.last, 5);
    drop(store);
    let (store, again) = open(&home);
    assert_eq!((store.last, bytes_of(&again)), (5, bytes_of(&directory)));
}

#[test]
fn log_goes_on_after_a_snapshot_where_it_was() {
    let home = home();
    let expected = written(&home);
    let (mut store, directory) = open(&home);
    assert_eq!((store.last, bytes_of(&directory)), (30, expected));
    assert_eq!(store.append(&logins(30..31)).unwrap(), 31..32);
}

#[test]
fn snapshot_is_due_after_so_many_commands_and_cuts_the_log() {
    let home = home();
    let (mut store, mut directory) = open(&home);
    let every = SNAPSHOT_EVERY as u32;
    append(&mut store, &mut directory, &logins(0..50));
    // Refusals are commands too, and keep the directory of this test small.
    append(&mut store, &mut directory, &vec![Command::LogOut { session: session(999) }; every as usize - 51]);
    assert!(!store.is_snapshot_due());
    append(&mut store, &mut directory, &logins(50..51));
    assert!(store.is_snapshot_due());
    store.snapshot(&directory).unwrap();
    assert!(!store.is_snapshot_due());
    drop(store);
    tamper(&home, |transaction| assert_eq!(transaction.open_table(LOG).unwrap().iter().unwrap().count(), 0));
    let (store, again) = open(&home);
    assert_eq!((store.last, bytes_of(&again)), (SNAPSHOT_EVERY, bytes_of(&directory)));
}

#[test]
fn large_snapshot_is_due_when_the_log_has_grown_to_its_size() {
    let home = home();
    let (mut store, _) = open(&home);
    (store.last, store.snapshot_bytes) = (SNAPSHOT_EVERY, 1 << 20);
    assert!(!store.is_snapshot_due());
    store.last = 8192;
    assert!(store.is_snapshot_due());
}

#[test]
fn second_supernode_in_the_same_home_is_refused_with_the_way_out() {
    let home = home();
    let (store, _) = open(&home);
    let error = Store::open(home.path(), 0).unwrap_err();
    assert!(matches!(error.fault, Fault::Locked));
    let text = error.to_string();
    assert!(text.contains(FILE_NAME) && text.contains("another supernode") && text.contains("--home"), "{text}");
    drop(store);
    open(&home);
}

#[test]
fn home_that_is_not_there_is_an_error() {
    let error = Store::open(Path::new("/nonexistent/kith"), 0).unwrap_err();
    assert!(matches!(error.fault, Fault::Io(_)), "{error}");
}

#[test]
fn file_is_its_owners_alone() {
    let home = home();
    open(&home);
    let mode = std::fs::metadata(home.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn log_of_another_version_is_refused() {
    let home = home();
    written(&home);
    tamper(&home, |transaction| {
        transaction.open_table(META).unwrap().insert("format", 1).unwrap();
    });
    let refused = Store::open(home.path(), 0).unwrap_err();
    assert!(matches!(refused.fault, Fault::Version(_)));
    let way_out = "(format 1, this is format 3); start that version, or move the file away to begin without any names";
    assert!(refused.to_string().ends_with(way_out), "{refused}");
    tamper(&home, |transaction| {
        transaction.open_table(META).unwrap().insert("format", FORMAT).unwrap();
        transaction.open_table(LOG).unwrap().insert(31, checked(31, &[9, 9]).as_slice()).unwrap();
    });
    assert!(matches!(fault(&home), Fault::Version(_)));
}

#[test]
fn damaged_entries_are_named() {
    let entry = |index: u64, value: Vec<u8>| {
        let home = home();
        written(&home);
        tamper(&home, |transaction| {
            transaction.open_table(LOG).unwrap().insert(index, value.as_slice()).unwrap();
        });
        fault(&home).to_string()
    };
    let good = login(77).to_bytes().unwrap();
    let mut flipped = checked(31, &good);
    flipped[20] ^= 1;
    assert!(entry(31, flipped).contains("the check of entry 31 is wrong"));
    assert!(entry(31, checked(30, &good)).contains("the check of entry 31 is wrong"));
    assert!(entry(31, vec![1]).contains("the check of entry 31 is wrong"));
    assert!(entry(33, checked(33, &good)).contains("entry 33 follows on 30"));
    assert!(entry(31, checked(31, &good[..9])).contains("no command"));
}

#[test]
fn damaged_snapshot_is_named() {
    let home = home();
    written(&home);
    tamper(&home, |transaction| {
        transaction.open_table(SNAPSHOT).unwrap().insert(20, [0; 50].as_slice()).unwrap();
    });
    assert!(fault(&home).to_string().contains("the snapshot's check is wrong"));
}

#[test]
fn file_of_something_else_is_refused_and_left_alone() {
    let home = home();
    let path = home.path().join(FILE_NAME);
    std::fs::write(&path, b"supernodes keep no diary").unwrap();
    assert!(matches!(fault(&home), Fault::Damaged(_)));
    assert_eq!(std::fs::read(&path).unwrap(), b"supernodes keep no diary");
}

#[test]
fn file_with_a_torn_end_is_an_error_or_complete() {
    let home = home();
    let expected = written(&home);
    let path = home.path().join(FILE_NAME);
    let whole = std::fs::read(&path).unwrap();
    for cut in [1, 100, 4096, whole.len() / 2, whole.len() - 4096, whole.len() - 400, whole.len() - 10] {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        match Store::open(home.path(), 0) {
            Ok((_, directory)) => assert_eq!(bytes_of(&directory), expected, "cut by {cut}"),
            Err(error) => assert!(matches!(error.fault, Fault::Damaged(_)), "cut by {cut}: {error}"),
        }
    }
}

#[test]
fn flipped_bits_are_an_error_or_without_effect() {
    let home = home();
    let expected = written(&home);
    let path = home.path().join(FILE_NAME);
    let whole = std::fs::read(&path).unwrap();
    for at in (0..512).step_by(5).chain((512..whole.len()).step_by(4099)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        match Store::open(home.path(), 0) {
            Ok((_, directory)) => assert_eq!(bytes_of(&directory), expected, "bit flipped at {at}"),
            Err(StoreError { fault: Fault::Damaged(_) | Fault::Version(_), .. }) => (),
            Err(error) => panic!("bit flipped at {at}: {error}"),
        }
    }
}

/// A disk in memory that notes every write, and fails on demand
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    bytes: Vec<u8>,
    ops: Vec<Op>,
    room: Option<u64>,
    /// What every write fails with
    full: Option<io::ErrorKind>,
    sync_fails: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Len(u64),
    Write(u64, Vec<u8>),
    Sync,
}

impl DiskState {
    fn takes(&self) -> io::Result<()> {
        self.full.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn carry_out(&mut self, op: Op) {
        match &op {
            Op::Len(len) => self.bytes.resize(*len as usize, 0),
            Op::Write(at, data) => self.bytes[*at as usize..][..data.len()].copy_from_slice(data),
            Op::Sync => (),
        }
        self.ops.push(op);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let bytes = disk.bytes.get(offset as usize..).and_then(|bytes| bytes.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.room.is_some_and(|room| len > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.takes()?;
        disk.carry_out(Op::Len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.sync_fails {
            return Err(io::Error::other("the disk has failed"));
        }
        disk.carry_out(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.takes()?;
        disk.carry_out(Op::Write(offset, data.to_vec()));
        Ok(())
    }
}

impl Disk {
    /// From now on every write fails so, or none does
    pub(crate) fn fill(&self, full: Option<io::ErrorKind>) {
        self.0.lock().unwrap().full = full;
    }

    pub(crate) fn open(&self) -> Result<(Store, Directory), Fault> {
        let disk = self.clone();
        let opener = move |check| Ok(builder(check).create_with_backend(disk.clone())?);
        Store::open_with(PathBuf::from("disk"), Box::new(opener), 0)
    }

    /// The disk as it was after its first `count` operations
    fn after(ops: &[Op], count: usize) -> Self {
        let mut state = DiskState::default();
        ops[..count].iter().for_each(|op| state.carry_out(op.clone()));
        Self(Arc::new(Mutex::new(state)))
    }

    fn ops(&self) -> Vec<Op> {
        self.0.lock().unwrap().ops.clone()
    }
}

#[test]
fn log_cut_off_at_any_write_holds_all_that_was_acknowledged() {
    let disk = Disk::default();
    let (mut store, mut directory) = disk.open().unwrap();
    // How many operations had been made when a state was acknowledged, and that state.
    let mut acknowledged = vec![(disk.ops().len(), bytes_of(&directory))];
    for batch in 0..6 {
        append(&mut store, &mut directory, &logins(batch * 5..batch * 5 + 5));
        acknowledged.push((disk.ops().len(), bytes_of(&directory)));
        if batch == 3 {
            store.snapshot(&directory).unwrap();
        }
    }
    std::mem::forget(store);
    let ops = disk.ops();
    assert!(ops.iter().filter(|op| matches!(op, Op::Sync)).count() >= 7, "each batch is waited for");
    for count in acknowledged[0].0..=ops.len() {
        let (_, found) = Disk::after(&ops, count).open().unwrap();
        let known = acknowledged.iter().rposition(|(made, _)| *made <= count).unwrap();
        let next = acknowledged.get(known + 1).map(|(_, state)| state);
        let found = bytes_of(&found);
        assert!(found == acknowledged[known].1 || Some(&found) == next, "after {count} of {} operations", ops.len());
    }
}

/// A second batch on its way to the disk: all operations, how many are the first one's, and the state before and after
struct Second {
    ops: Vec<Op>,
    begun: usize,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Second {
    fn written() -> Self {
        let disk = Disk::default();
        let (mut store, mut directory) = disk.open().unwrap();
        append(&mut store, &mut directory, &logins(0..20));
        let (begun, before) = (disk.ops().len(), bytes_of(&directory));
        append(&mut store, &mut directory, &logins(20..40));
        let after = bytes_of(&directory);
        std::mem::forget(store);
        Self { ops: disk.ops(), begun, before, after }
    }
}

#[test]
fn writes_that_reach_the_disk_out_of_order_lose_nothing_acknowledged() {
    let Second { ops, begun, before, after } = Second::written();
    let first_sync = begun + ops[begun..].iter().position(|op| matches!(op, Op::Sync)).unwrap();
    for lost in begun..first_sync {
        let arrived = |(at, op): (usize, &Op)| (at != lost || matches!(op, Op::Len(_))).then(|| op.clone());
        let arrived: Vec<Op> = ops[..first_sync].iter().enumerate().filter_map(arrived).collect();
        let found = bytes_of(&Disk::after(&arrived, arrived.len()).open().unwrap().1);
        assert!(found == before || found == after, "operation {lost} lost");
    }
}

#[test]
fn last_write_torn_in_the_middle_loses_nothing_acknowledged() {
    let Second { ops, begun, before, after } = Second::written();
    for torn in begun..ops.len() {
        let Op::Write(at, data) = &ops[torn] else { continue };
        for part in [1, data.len() / 2, data.len() - 1] {
            let broken = Disk::after(&ops, torn);
            broken.0.lock().unwrap().carry_out(Op::Write(*at, data[..part].to_vec()));
            let found = bytes_of(&broken.open().unwrap().1);
            assert!(found == before || found == after, "operation {torn} torn after {part} bytes");
        }
    }
}

#[test]
fn full_disk_is_waited_for_and_loses_nothing_acknowledged() {
    let disk = Disk::default();
    let (mut store, mut directory) = disk.open().unwrap();
    append(&mut store, &mut directory, &logins(0..10));
    disk.0.lock().unwrap().room = Some(disk.len().unwrap());
    let error = loop {
        let next = directory.applied() as u32;
        let commands = logins(next..next + 500);
        match store.append(&commands) {
            Ok(indices) => indices.zip(&commands).for_each(|(index, command)| drop(directory.apply(index, command))),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.fault, Fault::Full), "{error}");
    assert!(error.to_string().contains("the disk is full; make room"));
    assert!(error.is_passing() && store.append(&logins(0..1)).unwrap_err().is_passing());
    disk.0.lock().unwrap().room = None;
    // The batch that failed may be there after all, and nothing else is.
    for (index, command) in store.reopen().unwrap() {
        directory.apply(index, &command);
    }
    append(&mut store, &mut directory, &logins(90_000..90_010));
    drop(store);
    assert_eq!(bytes_of(&disk.open().unwrap().1), bytes_of(&directory));
}

#[test]
fn failed_sync_stops_the_store() {
    let disk = Disk::default();
    let (mut store, mut directory) = disk.open().unwrap();
    append(&mut store, &mut directory, &logins(0..10));
    disk.0.lock().unwrap().sync_fails = true;
    let error = store.append(&logins(10..11)).unwrap_err();
    assert!(matches!(error.fault, Fault::Io(_)), "{error}");
    assert!(error.to_string().contains("the disk has failed"), "{error}");
    disk.0.lock().unwrap().sync_fails = false;
    assert!(matches!(store.append(&logins(10..11)).unwrap_err().fault, Fault::Stopped));
    assert!(matches!(store.snapshot(&directory).unwrap_err().fault, Fault::Stopped));
    assert_eq!(store.last, 10);
}

#[test]
fn file_without_bytes_is_refused_and_left_as_it_is() {
    let home = home();
    written(&home);
    let path = home.path().join(FILE_NAME);
    std::fs::write(&path, "").unwrap();
    let fault = fault(&home);
    assert!(matches!(fault, Fault::Emptied) && fault.to_string().contains("put back a copy"), "{fault}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}
