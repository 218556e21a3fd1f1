//! A fuzzer for machines that have none: the golden vectors, mutated, through every decoder.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use kith_common::directory::{Command, Directory, LogIn, Right, SNAPSHOT_VERSION};
use kith_common::fuzzing::{self, Mutator};
use kith_common::id::{Key, SessionId, SupernodeId};
use kith_common::wire::session::Locations;
use kith_common::wire::{FRAME_HEADER_BYTES, Frame, FrameKind, parse_frame_header};

const MUTANTS: usize = 200_000;
const SEED: u64 = 0x6b69_7468;

fn corpus() -> Vec<Vec<u8>> {
    fuzzing::golden().unwrap().into_iter().map(|vector| vector.bytes).collect()
}

/// To reproduce a failure: the seed above and the number of mutants until then
#[test]
fn mutated_vectors_never_break_a_decoder() {
    let corpus = corpus();
    let mut mutator = Mutator::new(SEED);
    for number in 0..MUTANTS {
        let mutant = mutator.mutate(&corpus);
        let broken = std::panic::catch_unwind(|| {
            fuzzing::frame(&mutant);
            fuzzing::packet(mutant.get(FRAME_HEADER_BYTES..).unwrap_or_default());
            fuzzing::payload(&mutant);
        });
        assert!(broken.is_ok(), "mutant {number} of seed {SEED:#x}: {mutant:02x?}");
    }
}

#[test]
fn snapshot_of_the_version_before_is_read_and_written_in_todays_form() {
    let mut snapshot = Directory::new(0).snapshot().unwrap();
    assert_eq!(std::mem::replace(&mut snapshot[0], SNAPSHOT_VERSION - 1), SNAPSHOT_VERSION);
    assert!(Directory::restore(0, &snapshot).is_ok());
    fuzzing::directory(&snapshot);
}

/// Signatures take time, so fewer; most mutants of other vectors end at the first field anyway
#[test]
fn mutated_grants_are_never_believed() {
    let grants: Vec<Vec<u8>> = corpus().into_iter().take(2).collect();
    let mut mutator = Mutator::new(SEED);
    for _ in 0..MUTANTS / 50 {
        fuzzing::grant(&mutator.mutate(&grants));
    }
}

/// Rubbish that no decoder accepts would test only the first lines of each
#[test]
fn mutants_reach_deep_enough_to_be_accepted_at_times() {
    let (corpus, mut mutator) = (corpus(), Mutator::new(SEED));
    let (mut accepted, mut refused) = (0, 0);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..20_000 {
        let mutant = mutator.mutate(&corpus);
        let Some((head, body)) = mutant.split_first_chunk::<FRAME_HEADER_BYTES>() else { continue };
        let Ok((kind, len)) = parse_frame_header(*head) else { continue };
        match body.get(..len).map(|body| Frame::decode(kind, body)) {
            Some(Ok(_)) => {
                accepted += 1;
                kinds.insert(kind);
            }
            _ => refused += 1,
        }
    }
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} accepted, {refused} refused");
    assert_eq!(kinds.len(), FrameKind::ALL.len());
}

#[test]
fn same_seed_makes_the_same_mutants() {
    let (corpus, mut one, mut two) = (corpus(), Mutator::new(1), Mutator::new(1));
    assert!((0..100).all(|_| one.mutate(&corpus) == two.mutate(&corpus)));
}

#[test]
fn mutated_commands_and_snapshots_never_break_a_directory() {
    let name = |n: u8| format!("peer-{n}").parse().unwrap();
    let log_in = |n: u8| {
        let (key, session, home) = (Key([n; 32]), SessionId([n; 16]), SupernodeId(1));
        Command::LogIn(LogIn {
            name: name(n),
            key,
            session,
            resumes: None,
            offers: Some(session),
            salt: [n; 16],
            locations: Locations::new(),
            home,
            right: Right::Anybody,
        })
    };
    let mut directory = Directory::new(0);
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    for n in 1..=3 {
        directory.apply(u64::from(n), &log_in(n));
        corpus.push(log_in(n).to_bytes().unwrap());
    }
    corpus.push(Command::Release { name: name(1) }.to_bytes().unwrap());
    corpus.push(directory.snapshot().unwrap());
    let mut mutator = Mutator::new(SEED);
    for number in 0..MUTANTS / 10 {
        let mutant = mutator.mutate(&corpus);
        let broken = std::panic::catch_unwind(|| fuzzing::directory(&mutant));
        assert!(broken.is_ok(), "mutant {number} of seed {SEED:#x}: {mutant:02x?}");
    }
}
