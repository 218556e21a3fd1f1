use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::lift::{self, Maps};
use crate::ring::Ring;
use crate::wire::session::{Location, Locations};

fn name(i: u32) -> Name {
    format!("peer-{i}").parse().unwrap()
}

fn key(i: u32) -> Key {
    let mut key = [0xee; 32];
    key[..4].copy_from_slice(&i.to_be_bytes());
    Key(key)
}

fn session(i: u32, stay: u8) -> SessionId {
    let mut id = [stay; 16];
    id[..4].copy_from_slice(&i.to_be_bytes());
    SessionId(id)
}

fn at_port(port: u32) -> Locations {
    let location: Location = format!("/ip4/10.0.0.1/tcp/{port}").try_into().unwrap();
    Bounded::truncated([location])
}

fn login(i: u32, stay: u8) -> LogIn {
    LogIn { name: name(i), key: key(i), session: session(i, stay), salt: [7; 16], locations: at_port(i) }
}

/// Feeds a directory commands at the next index
trait Feed {
    fn feed(&mut self, command: Command) -> Outcome;
    fn enter(&mut self, login: LogIn) -> LoggedIn;
}

impl Feed for Directory {
    fn feed(&mut self, command: Command) -> Outcome {
        self.apply(self.applied() + 1, &command).outcome
    }

    fn enter(&mut self, login: LogIn) -> LoggedIn {
        match self.feed(Command::LogIn(login)) {
            Outcome::LoggedIn(entered) => entered,
            other => panic!("{other:?}"),
        }
    }
}

fn of(peers: u32) -> Directory {
    let mut directory = Directory::new();
    for i in 0..peers {
        directory.enter(login(i, 0));
    }
    directory
}

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

fn address(directory: &Directory, i: u32) -> Address {
    directory.by_key(&key(i)).unwrap().address
}

fn suspect(i: u32) -> Command {
    Command::Suspect { session: session(i, 0), reason: SuspectReason::Reported }
}

#[test]
fn first_key_owns_the_name_and_others_conflict() {
    let mut directory = Directory::new();
    let entered: Vec<Outcome> =
        (0..20).map(|i| directory.feed(Command::LogIn(LogIn { name: name(99), ..login(i, 0) }))).collect();
    assert!(matches!(entered.first(), Some(Outcome::LoggedIn(_))));
    assert!(entered.iter().skip(1).all(|outcome| *outcome == refused(Refusal::NameTaken)));
    assert_eq!(Refusal::NameTaken.status(), Status::Conflict);
    assert_eq!((directory.accounts().len(), directory.sessions().len()), (1, 1));
}

#[test]
fn name_stays_its_keys_after_logout_until_it_is_released() {
    let mut directory = of(1);
    directory.feed(Command::LogOut { session: session(0, 0) });
    let other = LogIn { name: name(0), ..login(1, 0) };
    assert_eq!(directory.feed(Command::LogIn(other.clone())), refused(Refusal::NameTaken));
    assert_eq!(directory.feed(Command::Release { name: name(0) }), Outcome::Released);
    assert_eq!(directory.enter(other).entry, Entry::New);
    assert_eq!(directory.feed(Command::Release { name: name(5) }), refused(Refusal::UnknownName));
}

#[test]
fn release_ends_the_session() {
    let mut directory = of(3);
    let gone = address(&directory, 1);
    let outcome = directory.feed(Command::Release { name: name(1) });
    assert_eq!(outcome, Outcome::Ended(Ended { session: session(1, 0), name: name(1), key: key(1), address: gone }));
    assert_eq!(directory.look_up(&name(1)), Err(Status::NotFound));
    assert_eq!(directory.members().len(), 2);
}

#[test]
fn look_up_tells_unknown_from_gone() {
    let mut directory = of(2);
    assert_eq!(directory.look_up(&name(0)).map(|record| record.key), Ok(key(0)));
    assert_eq!(directory.look_up(&name(7)), Err(Status::NotFound));
    directory.feed(suspect(0));
    assert_eq!(directory.look_up(&name(0)), Err(Status::Gone));
    directory.feed(Command::Clear { session: session(0, 0) });
    assert!(directory.look_up(&name(0)).is_ok());
    directory.feed(Command::Expire { session: session(0, 0) });
    assert_eq!(directory.look_up(&name(0)), Err(Status::Gone));
}

#[test]
fn rejoin_within_the_lease_keeps_the_address_in_a_new_session() {
    let mut directory = of(5);
    let place = address(&directory, 2);
    directory.feed(suspect(2));
    let rejoined = directory.enter(LogIn { salt: [9; 16], locations: at_port(77), ..login(2, 1) });
    assert_eq!((rejoined.entry, rejoined.replaced), (Entry::Rejoined, Some(session(2, 0))));
    assert_eq!(rejoined.record.address, place);
    assert_eq!((rejoined.record.epoch, rejoined.record.locations), (directory.epoch(), at_port(77)));
    assert_eq!(directory.session(session(2, 0)), None);
    assert_eq!(directory.suspects().count(), 0);
    assert_eq!(directory.feed(Command::Expire { session: session(2, 0) }), refused(Refusal::NoSession));
}

#[test]
fn rejoin_after_the_lease_may_be_elsewhere() {
    let mut directory = of(5);
    let place = address(&directory, 2);
    directory.feed(Command::Expire { session: session(2, 0) });
    let entered = directory.enter(LogIn { salt: [9; 16], ..login(2, 1) });
    assert_eq!(entered.entry, Entry::New);
    assert_ne!(entered.record.address, place);
}

#[test]
fn session_taken_up_again_as_it_was_needs_no_place_in_the_log() {
    let mut directory = of(5);
    let began = directory.session(session(2, 0)).unwrap().epoch;
    let resumed = directory.answer(&Command::LogIn(login(2, 0)));
    let Some(Outcome::LoggedIn(LoggedIn { entry: Entry::Resumed, record, replaced: None, .. })) = resumed else {
        panic!("{resumed:?}")
    };
    assert_eq!(record.epoch, began);

    directory.feed(suspect(2));
    let again = Command::LogIn(login(2, 0));
    assert_eq!(directory.answer(&again), None);
    let Outcome::LoggedIn(resumed) = directory.feed(again) else { panic!() };
    assert_eq!((resumed.entry, resumed.record.epoch), (Entry::Resumed, began));
    assert!(directory.neighbourhood(resumed.record.address).is_some());
}

#[test]
fn key_in_session_cannot_enter_under_another_name() {
    let mut directory = of(1);
    let other = LogIn { name: name(8), ..login(0, 1) };
    assert_eq!(directory.feed(Command::LogIn(other.clone())), refused(Refusal::KeyInSession(name(0))));
    assert_eq!(directory.account(&name(8)), None);
    directory.feed(Command::LogOut { session: session(0, 0) });
    directory.enter(other);
    assert_eq!(directory.account(&name(0)).map(|account| account.session), Some(None));
}

#[test]
fn session_id_of_another_key_is_refused() {
    let mut directory = of(1);
    let thief = LogIn { session: session(0, 0), ..login(1, 0) };
    assert_eq!(directory.feed(Command::LogIn(thief)), refused(Refusal::SessionIdTaken));
}

#[test]
fn suspect_keeps_name_address_and_session_but_leaves_the_ring() {
    let mut directory = of(8);
    let place = address(&directory, 3);
    let applied = directory.apply(9, &suspect(3));
    assert_eq!(applied.outcome, Outcome::Suspected { address: place });
    assert!(applied.touched.contains(&place));
    assert_eq!((directory.ring().count(), directory.members().len(), directory.suspects().count()), (7, 8, 1));
    assert_eq!(directory.neighbourhood(place), None);
    assert!(directory.ring().all(|peer| !directory.are_neighbours(peer, place)));
    assert_eq!(directory.feed(suspect(3)), Outcome::Unchanged("it is suspected already"));
    assert_eq!(directory.feed(Command::Clear { session: session(3, 0) }), Outcome::Cleared { address: place });
    assert_eq!(directory.neighbourhood(place).map(|rewire| rewire.epoch), Some(Epoch(11)));
}

#[test]
fn new_address_keeps_away_from_suspects_too() {
    let mut directory = of(40);
    (0..20).for_each(|i| drop(directory.feed(suspect(i))));
    let members: Ring = directory.members().collect();
    let entered = directory.enter(login(40, 0));
    assert_eq!(entered.record.address, lift::choose_address(&key(40), &[7; 16], &members));
}

#[test]
fn renewal_is_logged_only_if_it_changes_something() {
    let mut directory = of(4);
    let same = Command::Renew { session: session(1, 0), locations: at_port(1) };
    assert_eq!(directory.answer(&same), Some(Outcome::Unchanged("the locations are the same")));
    let moved = Command::Renew { session: session(1, 0), locations: at_port(99) };
    assert_eq!(directory.answer(&moved), None);
    let applied = directory.apply(5, &moved);
    assert_eq!(applied.outcome, Outcome::Renewed);
    let place = address(&directory, 1);
    let tables = applied.touched.iter().filter(|peer| **peer != place).map(|peer| directory.neighbourhood(*peer));
    assert!(tables.flatten().all(|rewire| {
        let told = rewire.neighbours.iter().find(|record| record.address == place);
        rewire.epoch == Epoch(5) && told.is_some_and(|record| record.locations == at_port(99))
    }));
    let stranger = Command::Renew { session: session(1, 9), locations: at_port(99) };
    assert_eq!(directory.feed(stranger), refused(Refusal::NoSession));
    assert_eq!(Refusal::NoSession.status(), Status::NotLoggedIn);
}

#[test]
fn unreachable_pair_is_absent_to_each_other_until_one_logs_in_again() {
    let mut directory = of(12);
    let (a, b) = (address(&directory, 0), directory.mesh.neighbours(address(&directory, 0))[0]);
    let part = Command::UnreachablePair { reporter: a, other: b };
    assert_eq!(directory.feed(part.clone()), Outcome::Parted { dropped: vec![] });
    assert!(!directory.are_neighbours(a, b) && !directory.are_neighbours(b, a));
    assert_eq!(directory.feed(part), Outcome::Unchanged("the pair is known"));
    directory.enter(login(0, 1));
    assert!(directory.are_neighbours(a, b));
    assert_eq!(directory.pairs().count(), 0);
}

#[test]
fn unreachable_pair_expires_by_command() {
    let mut directory = of(12);
    let (a, b) = (address(&directory, 0), directory.mesh.neighbours(address(&directory, 0))[0]);
    directory.feed(Command::UnreachablePair { reporter: a, other: b });
    assert_eq!(directory.feed(Command::ExpirePair { a: b, b: a }), Outcome::Reunited);
    assert!(directory.are_neighbours(a, b));
    assert_eq!(directory.feed(Command::ExpirePair { a, b }), Outcome::Unchanged("the pair is gone already"));
}

#[test]
fn unreachable_pair_of_one_peer_or_of_nobody_is_refused() {
    let mut directory = of(2);
    let a = address(&directory, 0);
    let alone = Command::UnreachablePair { reporter: a, other: a };
    assert_eq!(directory.feed(alone), refused(Refusal::SamePeer));
    let nobody = Command::UnreachablePair { reporter: a, other: Address(1) };
    assert_eq!(directory.feed(nobody), refused(Refusal::UnknownAddress));
}

#[test]
fn full_directory_refuses_and_names_of_old_still_enter() {
    let limits = Limits { accounts: 3, sessions: 2, pairs: 2 };
    let mut directory = Directory::with_limits(limits);
    (0..2).for_each(|i| drop(directory.enter(login(i, 0))));
    assert_eq!(directory.feed(Command::LogIn(login(2, 0))), refused(Refusal::SessionsFull));
    assert_eq!(directory.account(&name(2)), None);
    directory.feed(Command::LogOut { session: session(0, 0) });
    directory.enter(login(2, 0));
    directory.feed(Command::LogOut { session: session(2, 0) });
    assert_eq!(directory.feed(Command::LogIn(login(3, 0))), refused(Refusal::AccountsFull));
    assert_eq!(directory.enter(login(0, 1)).entry, Entry::New);
    assert_eq!((Refusal::AccountsFull.status(), Refusal::SessionsFull.status()), (Status::SlowDown, Status::SlowDown));
}

#[test]
fn pair_over_the_bound_drops_the_oldest() {
    let mut directory = Directory::with_limits(Limits { pairs: 2, ..LIMITS });
    (0..6).for_each(|i| drop(directory.enter(login(i, 0))));
    let pair = |i: u32, directory: &Directory| [address(directory, i), address(directory, i + 1)];
    for i in [4, 0] {
        let [reporter, other] = pair(i, &directory);
        directory.feed(Command::UnreachablePair { reporter, other });
    }
    let [oldest, [reporter, other]] = [pair(4, &directory), pair(2, &directory)];
    let outcome = directory.feed(Command::UnreachablePair { reporter, other });
    assert_eq!(outcome, Outcome::Parted { dropped: vec![Pair::of(oldest[0], oldest[1])] });
    assert_eq!(directory.pairs().count(), 2);
}

#[test]
fn pairs_of_one_peer_are_bounded_and_its_oldest_is_dropped() {
    let peers = PAIRS_PER_PEER_MAX as u32 + 2;
    let mut directory = of(peers);
    let first = address(&directory, 0);
    let mut outcomes = Vec::new();
    for i in 1..peers {
        let other = address(&directory, i);
        outcomes.push(directory.feed(Command::UnreachablePair { reporter: other, other: first }));
    }
    let dropped = vec![Pair::of(first, address(&directory, 1))];
    assert_eq!(outcomes.pop(), Some(Outcome::Parted { dropped }));
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Parted { dropped: vec![] }));
}

#[test]
fn command_of_an_index_that_was_applied_changes_nothing() {
    let mut directory = of(3);
    let before = directory.snapshot();
    let applied = directory.apply(3, &Command::LogOut { session: session(0, 0) });
    assert_eq!(applied, Applied { outcome: Outcome::Stale, touched: BTreeSet::new() });
    assert_eq!(directory.snapshot(), before);
}

#[test]
fn epoch_is_the_index_of_the_last_command_that_changed_a_table() {
    let mut directory = of(3);
    assert_eq!(directory.epoch(), Epoch(3));
    directory.feed(Command::LogOut { session: session(7, 7) });
    assert_eq!((directory.applied(), directory.epoch()), (4, Epoch(3)));
    directory.apply(90, &suspect(0));
    assert_eq!((directory.applied(), directory.epoch()), (90, Epoch(90)));
}

#[test]
fn degree_is_the_logs_and_its_change_touches_everybody() {
    let mut directory = of(9);
    assert_eq!(directory.feed(Command::Configure { degree: 5 }), refused(Refusal::Degree(5)));
    assert_eq!(directory.feed(Command::Configure { degree: 16 }), Outcome::Unchanged("that is the degree"));
    let applied = directory.apply(50, &Command::Configure { degree: 4 });
    assert_eq!((applied.outcome, applied.touched.len(), directory.degree()), (Outcome::Configured, 9, 4));
    let place = address(&directory, 0);
    assert_eq!(directory.neighbourhood(place).map(|rewire| (rewire.degree, rewire.members)), Some((4, 9)));
}

#[test]
fn peer_is_found_by_the_upper_half_of_its_address() {
    let directory = of(30);
    for session in directory.sessions() {
        assert_eq!(directory.by_short(session.address.short()), Some(session));
    }
    assert_eq!(directory.by_short(ShortId(0)), None);
}

#[test]
fn join_among_a_thousand_touches_a_neighbourhood_only() {
    let mut directory = of(1000);
    for i in 1000..1100 {
        let applied = directory.apply(u64::from(i) + 1, &Command::LogIn(login(i, 0)));
        assert!((8..=48).contains(&applied.touched.len()), "{}", applied.touched.len());
    }
}

#[test]
fn command_bytes_are_as_published() {
    let id = SessionId([0xab; 16]);
    let login = LogIn {
        name: "alice".parse().unwrap(),
        key: Key([0x11; 32]),
        session: id,
        salt: [0x22; 16],
        locations: at_port(7401),
    };
    let ab = "ab".repeat(16);
    let location = "01001600".to_owned() + "2f6970342f31302e302e302e312f7463702f37343031";
    let vectors = [
        (Command::Configure { degree: 16 }, "010000000010".to_owned()),
        (
            Command::LogIn(login),
            format!("01010000000500616c696365{}{ab}{}{location}", "11".repeat(32), "22".repeat(16)),
        ),
        (Command::Renew { session: id, locations: at_port(7401) }, format!("0102000000{ab}{location}")),
        (Command::Suspect { session: id, reason: SuspectReason::Reported }, format!("0103000000{ab}00000000")),
        (Command::Suspect { session: id, reason: SuspectReason::HomeLost }, format!("0103000000{ab}01000000")),
        (Command::Suspect { session: id, reason: SuspectReason::Silent }, format!("0103000000{ab}02000000")),
        (Command::Clear { session: id }, format!("0104000000{ab}")),
        (
            Command::UnreachablePair { reporter: Address(1), other: Address(2) },
            "010500000001000000000000000200000000000000".to_owned(),
        ),
        (Command::ExpirePair { a: Address(1), b: Address(2) }, "010600000001000000000000000200000000000000".to_owned()),
        (Command::LogOut { session: id }, format!("0107000000{ab}")),
        (Command::Expire { session: id }, format!("0108000000{ab}")),
        (Command::Release { name: "alice".parse().unwrap() }, "01090000000500616c696365".to_owned()),
    ];
    for (command, expected) in vectors {
        let bytes = command.to_bytes().unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "{command:?}");
        assert_eq!(Command::from_bytes(&bytes), Ok(command));
    }
}

#[test]
fn damaged_commands_are_refused_with_their_fault() {
    use crate::wire::WireError;
    let bytes = Command::Configure { degree: 16 }.to_bytes().unwrap();
    assert_eq!(Command::from_bytes(&[]), Err(CommandError::Bytes(WireError::Malformed)));
    assert_eq!(Command::from_bytes(&[&[2], &bytes[1..]].concat()), Err(CommandError::Version(2)));
    assert_eq!(Command::from_bytes(&bytes[..5]), Err(CommandError::Bytes(WireError::Malformed)));
    assert_eq!(Command::from_bytes(&[&bytes[..], &[0]].concat()), Err(CommandError::Bytes(WireError::Trailing)));
    assert_eq!(Command::from_bytes(&[1; 2000]), Err(CommandError::Bytes(WireError::TooLong)));
}

#[test]
fn longest_command_is_within_its_bound() {
    let text = "x".repeat(100);
    let login = LogIn {
        name: "n".repeat(63).parse().unwrap(),
        locations: Bounded::truncated(std::iter::repeat_n(Location::truncated(&text), 9)),
        ..login(1, 1)
    };
    let bytes = Command::LogIn(login.clone()).to_bytes().unwrap();
    assert!(bytes.len() <= COMMAND_BYTES_MAX);
    assert_eq!(Command::from_bytes(&bytes), Ok(Command::LogIn(login)));
}

#[test]
fn snapshot_bytes_are_as_published() {
    let mut directory = Directory::new();
    directory.feed(Command::LogIn(LogIn { name: "alice".parse().unwrap(), ..login(0, 0) }));
    directory.feed(suspect(0));
    let hex: String = directory.snapshot().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let place = address(&directory, 0);
    let place: String = place.0.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let (zero, one, two) = ("00".repeat(8), format!("01{}", "00".repeat(7)), format!("02{}", "00".repeat(7)));
    let expected = [
        format!("01 2900 {two} {two} 10 {one} {one} {zero}"),
        format!("2700 0500616c696365 00000000{}", "ee".repeat(28)),
        format!("4b00 {} 0500616c696365 {place} {one} {two}", "00".repeat(16)),
        format!("01001300{} 01 00000000", "2f6970342f31302e302e302e312f7463702f30"),
    ];
    assert_eq!(hex, expected.concat().replace(' ', ""));
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut directory = of(6);
    let (a, b) = (address(&directory, 0), address(&directory, 1));
    directory.feed(Command::UnreachablePair { reporter: a, other: b });
    let bytes = directory.snapshot().unwrap();
    for len in 0..bytes.len() {
        assert!(Directory::restore(&bytes[..len]).is_err(), "cut after {len} bytes");
    }
    let longer = [&bytes[..], &[0, 0]].concat();
    assert_eq!(Directory::restore(&longer).err(), Some(RestoreError::Bytes(crate::wire::WireError::Trailing)));
    let newer = [&[9], &bytes[1..]].concat();
    assert_eq!(Directory::restore(&newer).err(), Some(RestoreError::Version(9)));
    let small = Limits { sessions: 5, ..LIMITS };
    let over = RestoreError::Inconsistent("more than a directory holds");
    assert_eq!(Directory::restore_within(small, &bytes).err(), Some(over));
}

/// One step of a random history; peers are numbers below a dozen
#[derive(Clone, Debug)]
enum Step {
    LogIn { peer: u32, as_name: u32, stay: u8, port: u32 },
    Renew { peer: u32, port: u32 },
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
        2 => (peer.clone(), 0..2u32).prop_map(|(peer, port)| Step::Renew { peer, port }),
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
        Step::Renew { peer, port } => Command::Renew { session: present(*peer), locations: at_port(*port) },
        Step::Suspect(peer) => Command::Suspect { session: present(*peer), reason: SuspectReason::HomeLost },
        Step::Clear(peer) => Command::Clear { session: present(*peer) },
        Step::Part(a, b) => Command::UnreachablePair { reporter: place(*a), other: place(*b) },
        Step::Unite(a, b) => Command::ExpirePair { a: place(*a), b: place(*b) },
        Step::LogOut(peer) => Command::LogOut { session: present(*peer) },
        Step::Release(peer) => Command::Release { name: name(*peer) },
        Step::Configure(degree) => Command::Configure { degree: *degree },
    }
}

/// Every table with all that it says, computed from the definition
fn tables(directory: &Directory) -> BTreeMap<Address, (u8, Vec<Record>)> {
    let ring: Ring = directory.ring().collect();
    let absent: BTreeSet<(Address, Address)> =
        directory.pairs().flat_map(|Pair { low, high }| [(low, high), (high, low)]).collect();
    let graph = lift::graph(&ring, &Maps::of_degree(directory.degree()), &absent);
    let record = |address: &Address| directory.by_address(*address).unwrap().record();
    graph.into_iter().map(|(x, links)| (x, (directory.degree(), links.iter().map(record).collect()))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn touched_are_the_peers_whose_tables_changed(steps in steps()) {
        let mut directory = Directory::new();
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
            prop_assert_eq!(directory.epoch(), if applied.touched.is_empty() { epoch } else { Epoch(index) });
            for x in &applied.touched {
                prop_assert_eq!(directory.neighbourhood(*x).is_none_or(|rewire| rewire.epoch == Epoch(index)), true);
            }
            for (x, (_, records)) in &after {
                let rewire = directory.neighbourhood(*x).unwrap();
                prop_assert_eq!(&rewire.neighbours[..], &records[..]);
            }
            prop_assert!(directory.sessions().all(|session| directory.neighbourhood(session.address).is_some() == session.suspect.is_none()));
        }
    }

    #[test]
    fn answer_without_the_log_is_the_outcome_with_it(steps in steps()) {
        let mut directory = Directory::new();
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
        let mut original = Directory::new();
        let cut = cut.index(steps.len());
        for step in &steps[..cut] {
            original.feed(command(&original, step));
        }
        let bytes = original.snapshot().unwrap();
        let mut restored = Directory::restore(&bytes).unwrap();
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
        let _ = Directory::restore(&[&[SNAPSHOT_VERSION], &junk[..]].concat());
        let mut bytes = of(4).snapshot().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(directory) = Directory::restore(&bytes) {
            prop_assert_eq!(directory.snapshot().unwrap(), bytes);
        }
    }
}

/// The snapshot without the index of the last command
fn contents(directory: &Directory) -> Vec<u8> {
    Directory { applied: 0, ..directory.clone() }.snapshot().unwrap()
}
