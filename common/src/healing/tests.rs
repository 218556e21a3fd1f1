use super::*;
use crate::id::Epoch;
use crate::testing::{at_ms, peer_name};
use crate::wire::session::Locations;

fn record(n: u64) -> Record {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    let name = peer_name((n % 200) as u8);
    Record { name, key: Key(key), address: Address(n), epoch: Epoch::new(0, 1), locations: Locations::new() }
}

fn told(records: impl IntoIterator<Item = Record>) -> Records {
    Records { records: Bounded::truncated(records) }
}

/// A peer without a home that has asked one link for these
fn asking(places: &[u64]) -> Healer {
    let mut healer = Healer::default();
    healer.handle_home(at_ms(0), false);
    ask(&mut healer, places);
    healer
}

fn ask(healer: &mut Healer, places: &[u64]) {
    let question = AskRecords { places: Bounded::truncated(places.iter().copied().map(Address)) };
    healer.asked.insert(LinkId(1), (question, at_ms(5_000)));
}

#[test]
fn answer_counts_once_and_for_what_was_asked() {
    let mut healer = asking(&[1, 2]);
    let answer = told([record(2), record(3)]);
    assert_eq!(healer.handle_records(at_ms(1), LinkId(2), &answer, &Key([9; 32])), Err(Ignored::Unasked));
    assert_eq!(healer.handle_records(at_ms(1), LinkId(1), &answer, &Key([9; 32])), Ok(()));
    assert_eq!(healer.records.keys().collect::<Vec<_>>(), [&Address(2)]);
    assert!(healer.unknown.contains_key(&(LinkId(1), Address(1))), "it is not asked there again at once");
    assert_eq!(healer.handle_records(at_ms(1), LinkId(1), &answer, &Key([9; 32])), Err(Ignored::Unasked));
    ask(&mut healer, &[2]);
    let other = Record { key: Key([7; 32]), ..record(2) };
    healer.handle_records(at_ms(2), LinkId(1), &told([other]), &Key([9; 32])).unwrap();
    assert_eq!(healer.records.get(&Address(2)), Some(&record(2)), "the first word counts");
    ask(&mut healer, &[5]);
    healer.handle_records(at_ms(2), LinkId(1), &told([record(5)]), &record(5).key).unwrap();
    assert!(!healer.records.contains_key(&Address(5)), "that is this peer itself");
    healer.handle_home(at_ms(3), true);
    assert!(healer.records.is_empty() && healer.next_timeout().is_none());
    assert_eq!(healer.handle_records(at_ms(3), LinkId(1), &answer, &Key([9; 32])), Err(Ignored::Needless));
}

#[test]
fn records_are_bounded_and_who_is_missing_has_room() {
    let mut healer = asking(&[]);
    for n in 0..2 * KNOWN_MAX as u64 {
        healer.keep(Address(n), &record(n));
    }
    assert_eq!(healer.records.len(), KNOWN_MAX);
    let late = 3 * KNOWN_MAX as u64;
    healer.missing.insert(Address(late));
    healer.keep(Address(late), &record(late));
    assert!(healer.records.len() == KNOWN_MAX && healer.records.contains_key(&Address(late)));
}

#[test]
fn answers_are_no_longer_than_questions_and_not_too_many() {
    let mut healer = Healer::default();
    (0..40).for_each(|n| healer.keep(Address(n), &record(n)));
    let neighbourhood = Neighbourhood::new(Key([9; 32]), Default::default(), 1);
    let mut removed = RemovedKeys::default();
    assert!(removed.push(record(3).key));
    let question = AskRecords { places: Bounded::truncated([3, 4, 4, 99].map(Address)) };
    let answer = healer.answer(at_ms(0), &question, &neighbourhood, &removed);
    assert_eq!(answer, Some(told([record(4)])), "each once, and nobody who was removed");
    let answers = (0..100).filter(|_| healer.answer(at_ms(0), &question, &neighbourhood, &removed).is_some());
    assert_eq!(answers.count() as u32 + 1, ANSWERS_BURST);
    assert!(healer.answer(at_ms(0) + ANSWER_INTERVAL, &question, &neighbourhood, &removed).is_some());
}

#[test]
fn whoever_has_no_link_at_all_tries_again_soon_those_that_it_had_in_vain() {
    let failure = Failure { times: 4, at: at_ms(0), until: at_ms(0) + FAILED_FOR_MAX };
    let after = |wait: Duration| [true, false].map(|is_alone| failure.counts(at_ms(0) + wait, is_alone));
    assert_eq!(after(Duration::from_secs(9)), [true, true]);
    assert_eq!(after(FAILED_FOR_ALONE), [false, true]);
    assert_eq!(after(FAILED_FOR_MAX), [false, false]);
}
