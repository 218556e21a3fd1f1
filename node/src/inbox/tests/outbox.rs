//! The out-box on disk, and the fates that are remembered.

use redb::{ReadableDatabase, ReadableTableMetadata};

use super::super::outbox::{FATE_OF, FATES, FATES_MAX};
use super::*;

const NOW: u64 = 1_700_000_000;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn letter(n: u8, bytes: usize) -> Letter {
    let (id, to, body) = (MessageId([n; 16]), name("heidi"), vec![n; bytes]);
    Letter { sequence: n.into(), id, to, begun: at(NOW), until: at(NOW + 60), body }
}

fn fate(n: u8, status: Status) -> PastFate {
    let (why, elapsed) = (format!("why {n}"), Duration::from_micros(n.into()));
    PastFate { id: MessageId([n; 16]), to: name("heidi"), status, why, attempts: 2, elapsed, at: at(NOW + 1) }
}

fn stored(letters: &[Letter]) -> MailChanges {
    MailChanges { store: letters.to_vec(), ..MailChanges::default() }
}

fn ended(ended: &[(u64, PastFate)]) -> MailChanges {
    MailChanges { end: ended.to_vec(), ..MailChanges::default() }
}

#[test]
fn message_waits_across_reopening_until_it_has_its_fate() {
    let home = Home::new();
    home.open().write_mail(&stored(&[letter(1, 5), letter(2, 0)])).unwrap();
    let mut inbox = home.open();
    let waiting = inbox.waiting(at(NOW + 10)).unwrap();
    let seen: Vec<_> = waiting.iter().map(|waiting| (waiting.sequence, waiting.bytes)).collect();
    assert_eq!(seen, [(1, 5), (2, 0)]);
    assert_eq!((waiting[0].age, waiting[0].left), (Duration::from_secs(10), Duration::from_secs(50)));
    assert_eq!((waiting[0].id, &waiting[0].to), (MessageId([1; 16]), &name("heidi")));
    assert_eq!((inbox.letter(1), inbox.letter(9)), (Ok(Some(vec![1; 5])), Ok(None)));
    assert_eq!(inbox.fate(&MessageId([1; 16])), Ok(None));
    inbox.write_mail(&ended(&[(1, fate(1, Status::Delivered))])).unwrap();
    assert_eq!(inbox.fate(&MessageId([1; 16])), Ok(Some(fate(1, Status::Delivered))));
    // What comes next takes it along to the disk.
    inbox.write_mail(&stored(&[letter(3, 1)])).unwrap();
    drop(inbox);
    let mut inbox = home.open();
    let waiting = inbox.waiting(at(NOW)).unwrap();
    assert_eq!(waiting.iter().map(|waiting| waiting.sequence).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(inbox.fate(&MessageId([1; 16])), Ok(Some(fate(1, Status::Delivered))));
}

#[test]
fn clock_that_jumps_gives_no_message_more_time_than_it_had() {
    let home = Home::new();
    home.open().write_mail(&stored(&[letter(1, 1)])).unwrap();
    let left = |now| {
        let waiting = home.open().waiting(at(now)).unwrap();
        (waiting[0].age.as_secs(), waiting[0].left.as_secs())
    };
    assert_eq!([left(0), left(NOW + 60), left(NOW + 90)], [(0, 60), (60, 0), (90, 0)]);
}

#[test]
fn oldest_fates_are_forgotten_at_the_bound_and_a_later_one_of_the_same_message_is_not() {
    let home = Home::new();
    let mut inbox = home.open();
    let many = |from: u64, to: u64| {
        let numbered = |n: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_le_bytes());
            (n, PastFate { id: MessageId(id), ..fate(0, Status::Delivered) })
        };
        ended(&(from..to).map(numbered).collect::<Vec<_>>())
    };
    inbox.write_mail(&many(0, FATES_MAX)).unwrap();
    inbox.write_mail(&many(0, 1)).unwrap();
    inbox.write_mail(&many(FATES_MAX, FATES_MAX + 9)).unwrap();
    let db = inbox.db.as_ref().unwrap().begin_read().unwrap();
    let (fates, index) = (db.open_table(FATES).unwrap().len(), db.open_table(FATE_OF).unwrap().len());
    assert_eq!((fates.unwrap(), index.unwrap()), (FATES_MAX, FATES_MAX));
    let known = |n: u64| many(n, n + 1).end[0].1.id;
    assert!(inbox.fate(&known(0)).unwrap().is_some(), "told twice, the second time late");
    assert!(inbox.fate(&known(5)).unwrap().is_none() && inbox.fate(&known(10)).unwrap().is_some());
}

#[test]
fn what_is_to_be_stored_and_what_is_kept_share_one_fate() {
    let disk = Disk::default();
    disk.set_room(usize::MAX);
    let mut inbox = disk.open();
    disk.set_room(0);
    let changes = MailChanges { keep: vec![message(1, 1)], store: vec![letter(1, 1)], ..MailChanges::default() };
    assert_eq!(inbox.write_mail(&changes), Err(InboxError::DiskFull));
    disk.set_room(usize::MAX);
    assert_eq!(inbox.waiting(at(NOW)).unwrap(), []);
    assert_eq!(inbox.write_mail(&changes).unwrap(), [Kept::New { sequence: 1 }]);
    assert_eq!(inbox.waiting(at(NOW)).unwrap().len(), 1);
}

#[test]
fn file_without_an_out_box_and_pins_gets_them() {
    let home = Home::new();
    home.open().keep(&[message(1, 1)]).unwrap();
    let mut inbox = home.open();
    inbox
        .write(|transaction| {
            transaction.delete_table(super::super::outbox::OUTBOX)?;
            transaction.delete_table(FATES)?;
            transaction.delete_table(FATE_OF)?;
            transaction.delete_table(super::super::tables::PINS)?;
            transaction.open_table(META)?.insert(FORMAT_KEY, 2_u64.to_le_bytes().as_slice())?;
            Ok(())
        })
        .unwrap();
    drop(inbox);
    let mut inbox = home.open();
    assert_eq!((list(&mut inbox).len(), inbox.waiting(at(NOW)).unwrap().len()), (1, 0));
    inbox.write_mail(&stored(&[letter(1, 1)])).unwrap();
    let (name, key) = ("dave".parse().unwrap(), Key([7; 32]));
    inbox.write_names(&[NameChange::Pin(name, key)], at(NOW)).unwrap();
    assert_eq!(home_waiting(inbox, &home), 1);
    assert_eq!(home.open().pins().unwrap().len(), 1);
}

fn home_waiting(inbox: InboxFile, home: &Home) -> usize {
    drop(inbox);
    home.open().waiting(at(NOW)).unwrap().len()
}

#[test]
fn file_gives_back_its_space_once_its_messages_were_read() {
    let home = Home::new();
    let mut inbox = InboxFile::open(&home.path(), 1 << 30).unwrap();
    let large: Vec<Incoming> = (0..6).map(|n| message(n, 4 << 20)).collect();
    inbox.keep(&large).unwrap();
    let full = fs::metadata(home.path()).unwrap().len();
    assert_eq!(inbox.remove(&[1, 2, 3, 4, 5, 6]), Ok(6));
    let empty = fs::metadata(home.path()).unwrap().len();
    assert!(full >= 24 << 20 && empty < full / 4, "{full} bytes, then {empty}");
}

#[test]
fn fate_that_is_all_that_is_ever_written_of_a_message_is_waited_for() {
    let home = Home::new();
    let mut inbox = home.open();
    inbox.write_mail(&stored(&[letter(1, 1)])).unwrap();
    inbox.write_mail(&ended(&[(1, fate(1, Status::Delivered))])).unwrap();
    assert_eq!(inbox.undurable, 1, "whoever forgets it sends the message again");
    let changes = MailChanges { is_all: true, ..ended(&[(2, fate(2, Status::Delivered))]) };
    inbox.write_mail(&changes).unwrap();
    assert_eq!(inbox.undurable, 0);
    assert_eq!(inbox.fate(&MessageId([2; 16])).unwrap(), Some(fate(2, Status::Delivered)));
}
