//! Names that nobody has used become free; names that are used never do.

use super::*;

fn minutes(directory: &mut Directory, count: u64) -> Vec<Name> {
    let mut all = Vec::new();
    for _ in 0..count {
        match directory.feed(Command::Minute) {
            Outcome::Passed { freed } => all.extend(freed),
            Outcome::Unchanged(_) => break,
            other => panic!("{other:?}"),
        }
    }
    all
}

fn leave(directory: &mut Directory, i: u32, stay: u8) {
    directory.feed(Command::LogOut { session: session(i, stay) });
}

fn enter(directory: &mut Directory, i: u32, stay: u8) -> Outcome {
    directory.feed(Command::LogIn(login(i, stay)))
}

#[test]
fn name_that_was_taken_and_never_used_is_free_after_its_term() {
    let mut directory = Directory::new(0);
    assert!(!directory.counts_minutes());
    enter(&mut directory, 1, 0);
    leave(&mut directory, 1, 0);
    assert_eq!((directory.unused(), directory.counts_minutes()), (1, true));
    assert_eq!(minutes(&mut directory, UNUSED_TERM - 1), []);
    assert!(directory.account(&name(1)).is_some());
    let bytes = directory.snapshot().unwrap();
    let mut restored = Directory::restore(0, &bytes).unwrap();
    for directory in [&mut directory, &mut restored] {
        assert_eq!(minutes(directory, 1), [name(1)]);
        assert_eq!((directory.account(&name(1)), directory.counts_minutes()), (None, false));
    }
    assert_eq!(restored.snapshot().unwrap(), directory.snapshot().unwrap());
}

#[test]
fn name_is_kept_if_its_owner_came_back_or_stayed_or_is_here() {
    let mut directory = Directory::new(0);
    for i in 1..=4 {
        enter(&mut directory, i, 0);
    }
    // The first comes back, the second to the session that it has, the third stays for a day, the fourth for ever.
    leave(&mut directory, 1, 0);
    enter(&mut directory, 1, 1);
    leave(&mut directory, 1, 1);
    enter(&mut directory, 2, 1);
    leave(&mut directory, 2, 1);
    assert_eq!(minutes(&mut directory, UNUSED_STAY), []);
    leave(&mut directory, 3, 0);
    assert_eq!(directory.unused(), 1);
    assert_eq!(minutes(&mut directory, UNUSED_TERM), []);
    leave(&mut directory, 4, 0);
    assert_eq!((directory.accounts().len(), directory.counts_minutes()), (4, false));
}

#[test]
fn released_or_barred_name_is_on_trial_no_more() {
    let mut directory = Directory::new(0);
    enter(&mut directory, 1, 0);
    enter(&mut directory, 2, 0);
    directory.feed(Command::Release { name: name(1) });
    directory.feed(Command::Remove { name: name(2) });
    assert_eq!((directory.unused(), directory.counts_minutes()), (0, false));
    assert_eq!(minutes(&mut directory, UNUSED_TERM), []);
    assert!(directory.account(&name(2)).is_some(), "nobody else comes under it");
}

#[test]
fn snapshot_of_the_version_before_has_names_that_were_all_used() {
    let mut directory = Directory::new(0);
    enter(&mut directory, 1, 0);
    enter(&mut directory, 1, 1);
    let now = directory.snapshot().unwrap();
    // What differs is the version, and a zero behind each name's key.
    let mut before = now.clone();
    before[0] = 4;
    let head = 1 + 2 + 65;
    let account = usize::from(u16::from_le_bytes([now[head], now[head + 1]]));
    before.remove(head + 2 + account - 1);
    before[head] -= 1;
    assert_eq!(Directory::restore(0, &before).unwrap().snapshot().unwrap(), now);
}
