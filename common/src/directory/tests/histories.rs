//! Random histories, against the definition.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::lift::{self, Maps};
use crate::ring::Ring;

/// One step of a random history; peers are numbers below a dozen
#[derive(Clone, Debug)]
enum Step {
    LogIn { peer: u32, as_name: u32, stay: u8, port: u32 },
    Suspect(u32),
    Clear(u32),
    Part(u32, u32),
    Unite(u32, u32),
    LogOut(u32),
    Release(u32),
    Configure(u8),
}

const PEERS: u32 = 14;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = 0..PEERS;
    let step = prop_oneof![
        30 => (peer.clone(), any::<u8>(), 0..2u32).prop_map(|(peer, stay, port)| Step::LogIn { peer, as_name: peer, stay: stay % 3, port }),
        2 => (peer.clone(), peer.clone()).prop_map(|(peer, as_name)| Step::LogIn { peer, as_name, stay: 0, port: 0 }),
        8 => peer.clone().prop_map(Step::Suspect),
        5 => peer.clone().prop_map(Step::Clear),
        16 => (peer.clone(), peer.clone()).prop_map(|(a, b)| Step::Part(a, b)),
        4 => (peer.clone(), peer.clone()).prop_map(|(a, b)| Step::Unite(a, b)),
        5 => peer.clone().prop_map(Step::LogOut),
        1 => peer.prop_map(Step::Release),
        1 => prop_oneof![Just(4), Just(6), Just(16)].prop_map(Step::Configure),
    ];
    prop::collection::vec(step, 1..80)
}

fn command(directory: &Directory, step: &Step) -> Command {
    let present = |peer: u32| directory.by_key(&key(peer)).map_or(session(peer, 0xff), |session| session.id);
    let place = |peer: u32| directory.by_key(&key(peer)).map_or(Address(u64::from(peer)), |session| session.address);
    match step {
        Step::LogIn { peer, as_name, stay, port } => {
            let salt = [directory.applied() as u8; 16];
            Command::LogIn(LogIn { name: name(*as_name), salt, locations: at_port(*port), ..login(*peer, *stay) })
        }
        Step::Suspect(peer) => {
            Command::Suspect { session: present(*peer), home: HOME, reason: SuspectReason::HomeLost }
        }
        Step::Clear(peer) => Command::Clear { session: present(*peer), home: HOME },
        Step::Part(a, b) => Command::UnreachablePair { reporter: place(*a), other: place(*b) },
        Step::Unite(a, b) => {
            let pair = Pair::of(place(*a), place(*b));
            Command::ExpirePair { a: pair.low, b: pair.high, parted: directory.parted_at(pair).unwrap_or_default() }
        }
        Step::LogOut(peer) => Command::LogOut { session: present(*peer) },
        Step::Release(peer) => Command::Release { name: name(*peer) },
        Step::Configure(degree) => Command::Configure { degree: *degree },
    }
}

/// Every table with all that it says, computed from the definition
fn tables(directory: &Directory) -> BTreeMap<Address, (u8, Vec<Record>, Vec<Address>)> {
    let ring: Ring = directory.ring().collect();
    let absent: BTreeSet<(Address, Address)> =
        directory.pairs().flat_map(|Pair { low, high }| [(low, high), (high, low)]).collect();
    let graph = lift::graph(&ring, &Maps::of_degree(directory.degree()), &absent);
    let record = |address: &Address| directory.by_address(*address).unwrap().record();
    let apart = |x: Address| {
        absent.iter().filter(|(from, other)| *from == x && ring.contains(*other)).map(|(_, other)| *other).collect()
    };
    let table = |x, links: &BTreeSet<Address>| (directory.degree(), links.iter().map(record).collect(), apart(x));
    graph.iter().map(|(x, links)| (*x, table(*x, links))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn touched_are_the_peers_whose_tables_changed(steps in steps()) {
        let mut directory = Directory::new(0);
        directory.feed(Command::Configure { degree: 4 });
        for step in &steps {
            let before = tables(&directory);
            let epoch = directory.epoch();
            let command = command(&directory, step);
            let had_pairs = directory.pairs().next().is_some();
            let index = directory.applied() + 1;
            let applied = directory.apply(index, &command);
            let after = tables(&directory);
            let changed: BTreeSet<Address> = before.keys().chain(after.keys()).copied()
                .filter(|x| before.get(x) != after.get(x)).collect();
            prop_assert!(applied.touched.is_superset(&changed), "{command:?} missed some of {changed:?}");
            let mut idle = &applied.touched - &changed;
            if let Outcome::LoggedIn(LoggedIn { record, .. }) = &applied.outcome {
                // Whoever enters again may know what its table says, and is sent it all the same.
                idle.remove(&record.address);
            }
            prop_assert!(had_pairs || idle.is_empty(), "{command:?} touched {idle:?} in vain");
            prop_assert_eq!(directory.epoch(), if applied.touched.is_empty() { epoch } else { Epoch::new(0, index) });
            for x in &applied.touched {
                prop_assert_eq!(directory.neighbourhood(*x).is_none_or(|rewire| rewire.epoch == Epoch::new(0, index)), true);
            }
            for (x, (_, records, apart)) in &after {
                let rewire = directory.neighbourhood(*x).unwrap();
                prop_assert_eq!(&rewire.neighbours[..], &records[..]);
                prop_assert_eq!(&rewire.apart[..], &apart[..]);
                prop_assert!(!records.is_empty() || after.len() == 1, "{command:?} leaves {x} nobody to try");
            }
            prop_assert!(directory.sessions().all(|session| directory.neighbourhood(session.address).is_some() == session.suspect.is_none()));
        }
    }

    #[test]
    fn answer_without_the_log_is_the_outcome_with_it(steps in steps()) {
        let mut directory = Directory::new(0);
        for step in &steps {
            let command = command(&directory, step);
            let answer = directory.answer(&command);
            let before = contents(&directory);
            let applied = directory.apply(directory.applied() + 1, &command);
            if let Some(answer) = answer {
                prop_assert_eq!(&applied, &Applied { outcome: answer, touched: BTreeSet::new() });
                prop_assert_eq!(contents(&directory), before);
            } else {
                prop_assert!(!matches!(applied.outcome, Outcome::Refused(_) | Outcome::Unchanged(_) | Outcome::Stale));
                prop_assert_ne!(contents(&directory), before);
            }
        }
    }

    #[test]
    fn directory_restored_from_a_snapshot_goes_on_as_the_original(steps in steps(), cut in any::<prop::sample::Index>()) {
        let mut original = Directory::new(0);
        let cut = cut.index(steps.len());
        for step in &steps[..cut] {
            original.feed(command(&original, step));
        }
        let bytes = original.snapshot().unwrap();
        let mut restored = Directory::restore(0, &bytes).unwrap();
        prop_assert_eq!(restored.snapshot().unwrap(), bytes);
        for step in &steps[cut..] {
            let command = Command::from_bytes(&command(&original, step).to_bytes().unwrap()).unwrap();
            let index = original.applied() + 1;
            prop_assert_eq!(restored.apply(index, &command), original.apply(index, &command));
            prop_assert_eq!(tables(&restored), tables(&original));
        }
        prop_assert_eq!(restored.snapshot(), original.snapshot());
    }

    #[test]
    fn junk_never_panics(junk in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let _ = Command::from_bytes(&junk);
        let _ = Directory::restore(0, &[&[SNAPSHOT_VERSION], &junk[..]].concat());
        let mut bytes = of(4).snapshot().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(directory) = Directory::restore(0, &bytes) {
            prop_assert_eq!(directory.snapshot().unwrap(), bytes);
        }
    }
}

/// The snapshot without the index of the last command
fn contents(directory: &Directory) -> Vec<u8> {
    Directory { applied: 0, ..directory.clone() }.snapshot().unwrap()
}
