use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use tempfile::TempDir;

use super::*;

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn entry(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes().repeat(1 + number as usize % 3)
}

fn entries(numbers: Range<u64>) -> Write {
    Write::Append(numbers.start, numbers.map(entry).collect())
}

fn open(home: &TempDir) -> Store {
    Store::open(home.path()).unwrap()
}

fn fault(home: &TempDir) -> Fault {
    Store::open(home.path()).unwrap_err().fault
}

/// All that a log has
type Content = (Vec<(u64, Vec<u8>)>, Option<(u64, Vec<u8>)>, [Option<Vec<u8>>; 3]);

fn content(store: &mut Store) -> Result<Content, StoreError> {
    let words = [store.word(Word::Vote)?, store.word(Word::Committed)?, store.word(Word::Purged)?];
    Ok((store.entries(0..u64::MAX)?, store.snapshot()?, words))
}

/// A log with some of everything, closed
fn written(home: &TempDir) -> Content {
    let mut store = open(home);
    store.write(&[entries(1..31), Write::Say(Word::Vote, b"three".into())]).unwrap();
    store.write(&[Write::Snapshot(20, vec![7; 40_000]), Write::Purge(10, b"ten".into())]).unwrap();
    content(&mut store).unwrap()
}

fn tamper(home: &TempDir, change: impl FnOnce(&WriteTransaction)) {
    let db = Database::open(home.path().join(FILE_NAME)).unwrap();
    let transaction = db.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn new_log_is_empty() {
    assert_eq!(content(&mut open(&home())).unwrap(), (vec![], None, [None, None, None]));
}

#[test]
fn what_was_written_is_there_again() {
    let home = home();
    let before = written(&home);
    let (kept, snapshot, words) = &before;
    assert_eq!(kept.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (11..31).collect::<Vec<_>>());
    assert!(kept.iter().all(|(number, bytes)| *bytes == entry(*number)));
    assert_eq!(snapshot.as_ref().map(|(last, bytes)| (*last, bytes.len())), Some((20, 40_000)));
    assert_eq!(words, &[Some(b"three".to_vec()), None, Some(b"ten".to_vec())]);
    let mut store = open(&home);
    assert_eq!(content(&mut store).unwrap(), before);
    assert_eq!(store.entries(15..17).unwrap(), [(15, entry(15)), (16, entry(16))]);
    assert_eq!((store.last().unwrap(), store.entries(31..90).unwrap()), (Some(30), vec![]));
}

#[test]
fn entries_from_a_number_on_go_and_others_take_their_place() {
    let home = home();
    written(&home);
    let mut store = open(&home);
    store.write(&[Write::Truncate(25), Write::Append(25, vec![b"another".into()])]).unwrap();
    assert_eq!((store.last().unwrap(), store.entries(25..99).unwrap()), (Some(25), vec![(25, b"another".to_vec())]));
}

#[test]
fn writes_that_are_made_again_leave_the_same_behind() {
    let home = home();
    let before = written(&home);
    let mut store = open(&home);
    store.write(&[entries(20..31), Write::Snapshot(20, vec![7; 40_000]), Write::Purge(10, b"ten".into())]).unwrap();
    assert_eq!(content(&mut store).unwrap(), before);
}

#[test]
fn second_supernode_in_the_same_home_is_refused_with_the_way_out() {
    let home = home();
    let store = open(&home);
    let error = Store::open(home.path()).unwrap_err();
    assert!(matches!(error.fault, Fault::Locked));
    let text = error.to_string();
    assert!(text.contains(FILE_NAME) && text.contains("another supernode") && text.contains("--home"), "{text}");
    drop(store);
    open(&home);
}

#[test]
fn home_that_is_not_there_is_an_error() {
    let error = Store::open(Path::new("/nonexistent/kith")).unwrap_err();
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
    tamper(&home, |transaction| drop(transaction.open_table(META).unwrap().insert("format", 3).unwrap()));
    let refused = Store::open(home.path()).unwrap_err();
    assert!(matches!(refused.fault, Fault::Version(_)));
    let way_out = "(format 3, this is format 4); start that version, or move the file away to begin without any names";
    assert!(refused.to_string().ends_with(way_out), "{refused}");
}

#[test]
fn damage_is_named() {
    let found = |change: &dyn Fn(&WriteTransaction)| {
        let home = home();
        written(&home);
        tamper(&home, change);
        content(&mut open(&home)).unwrap_err().to_string()
    };
    let put = |number: u64, value: Vec<u8>| {
        found(&move |transaction| {
            transaction.open_table(ENTRIES).unwrap().insert(number, value.as_slice()).unwrap();
        })
    };
    let mut flipped = checked(31, b"good");
    flipped[9] ^= 1;
    assert!(put(31, flipped).contains("the check of entry 31 is wrong"));
    assert!(put(31, checked(30, b"good")).contains("the check of entry 31 is wrong"));
    assert!(put(31, vec![1]).contains("the check of entry 31 is wrong"));
    assert!(put(33, checked(33, b"good")).contains("entry 33 follows on 30"));
    let snapshot = found(&|transaction| drop(transaction.open_table(SNAPSHOT).unwrap().insert(20, [0; 50].as_slice())));
    assert!(snapshot.contains("the snapshot's check is wrong"));
    let word = found(&|transaction| drop(transaction.open_table(WORDS).unwrap().insert("vote", [0; 50].as_slice())));
    assert!(word.contains("the check of the word \"vote\" is wrong"));
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

/// A log that was changed behind our backs is as it was, or refused for a fault with a way out
fn is_whole_or_refused(home: &TempDir, expected: &Content, what: &str) {
    let found = Store::open(home.path()).and_then(|mut store| content(&mut store));
    match found {
        Ok(found) => assert_eq!(&found, expected, "{what}"),
        Err(StoreError { fault: Fault::Damaged(_) | Fault::Version(_), .. }) => (),
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn file_with_a_torn_end_is_an_error_or_complete() {
    let home = home();
    let expected = written(&home);
    let path = home.path().join(FILE_NAME);
    let whole = std::fs::read(&path).unwrap();
    for cut in [1, 100, 4096, whole.len() / 2, whole.len() - 4096, whole.len() - 400, whole.len() - 10] {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        is_whole_or_refused(&home, &expected, &format!("cut by {cut}"));
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
        is_whole_or_refused(&home, &expected, &format!("bit flipped at {at}"));
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

    /// From now on nothing that is to be durable is
    pub(crate) fn fail(&self) {
        self.0.lock().unwrap().sync_fails = true;
    }

    pub(crate) fn open(&self) -> Result<Store, Fault> {
        let disk = self.clone();
        let opener = move |check| Ok(builder(check).create_with_backend(disk.clone())?);
        Store::open_with(PathBuf::from("disk"), Box::new(opener))
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
    let mut store = disk.open().unwrap();
    // How many operations had been made when a state was acknowledged, and that state.
    let mut acknowledged = vec![(disk.ops().len(), content(&mut store).unwrap())];
    for batch in 0..6 {
        let mut writes = vec![entries(batch * 5 + 1..batch * 5 + 6)];
        if batch == 3 {
            writes.extend([Write::Snapshot(12, vec![1; 9_000]), Write::Purge(10, b"ten".into())]);
        }
        store.write(&writes).unwrap();
        acknowledged.push((disk.ops().len(), content(&mut store).unwrap()));
    }
    std::mem::forget(store);
    let ops = disk.ops();
    assert!(ops.iter().filter(|op| matches!(op, Op::Sync)).count() >= 6, "each batch is waited for");
    for count in acknowledged[0].0..=ops.len() {
        let found = content(&mut Disk::after(&ops, count).open().unwrap()).unwrap();
        let known = acknowledged.iter().rposition(|(made, _)| *made <= count).unwrap();
        let next = acknowledged.get(known + 1).map(|(_, state)| state);
        assert!(found == acknowledged[known].1 || Some(&found) == next, "after {count} of {} operations", ops.len());
    }
}

/// A second batch on its way to the disk: all operations, how many are the first one's, and the state before and after
struct Second {
    ops: Vec<Op>,
    begun: usize,
    before: Content,
    after: Content,
}

impl Second {
    fn written() -> Self {
        let disk = Disk::default();
        let mut store = disk.open().unwrap();
        store.write(&[entries(1..21)]).unwrap();
        let (begun, before) = (disk.ops().len(), content(&mut store).unwrap());
        store.write(&[entries(21..41), Write::Say(Word::Vote, b"one".into())]).unwrap();
        let after = content(&mut store).unwrap();
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
        let found = content(&mut Disk::after(&arrived, arrived.len()).open().unwrap()).unwrap();
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
            let found = content(&mut broken.open().unwrap()).unwrap();
            assert!(found == before || found == after, "operation {torn} torn after {part} bytes");
        }
    }
}

#[test]
fn full_disk_is_waited_for_and_loses_nothing_acknowledged() {
    let disk = Disk::default();
    let mut store = disk.open().unwrap();
    store.write(&[entries(1..11)]).unwrap();
    disk.0.lock().unwrap().room = Some(disk.len().unwrap());
    let mut next = 11;
    let error = loop {
        match store.write(&[entries(next..next + 500)]) {
            Ok(()) => next += 500,
            Err(error) => break error,
        }
    };
    assert!(matches!(error.fault, Fault::Full), "{error}");
    assert!(error.to_string().contains("the disk is full; make room"));
    assert!(error.is_passing() && store.write(&[entries(next..next + 500)]).unwrap_err().is_passing());
    disk.0.lock().unwrap().room = None;
    // Whether the batch that failed is there after all or not, it may be written again.
    store.write(&[entries(next..next + 500)]).unwrap();
    drop(store);
    let found = disk.open().unwrap().entries(0..u64::MAX).unwrap();
    assert!(found.iter().map(|(number, _)| *number).eq(1..next + 500));
}

#[test]
fn failed_sync_stops_the_store() {
    let disk = Disk::default();
    let mut store = disk.open().unwrap();
    store.write(&[entries(1..11)]).unwrap();
    disk.0.lock().unwrap().sync_fails = true;
    let error = store.write(&[entries(11..12)]).unwrap_err();
    assert!(matches!(error.fault, Fault::Io(_)), "{error}");
    assert!(error.to_string().contains("the disk has failed"), "{error}");
    disk.0.lock().unwrap().sync_fails = false;
    assert!(matches!(store.write(&[entries(11..12)]).unwrap_err().fault, Fault::Stopped));
    assert!(matches!(store.touch().unwrap_err().fault, Fault::Stopped));
}
