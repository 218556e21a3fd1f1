//! What each command does.

use std::collections::BTreeSet;

use super::*;
use crate::lift;
use crate::ring::Ring;

#[test]
fn first_key_owns_the_name_and_others_conflict() {
    let mut directory = Directory::new(0);
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
    directory.feed(Command::Clear { session: session(0, 0), home: HOME });
    assert!(directory.look_up(&name(0)).is_ok());
    directory.feed(Command::Expire { session: session(0, 0), home: HOME });
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
    assert_eq!(directory.feed(Command::Expire { session: session(2, 0), home: HOME }), refused(Refusal::NoSession));
}

#[test]
fn rejoin_after_the_lease_may_be_elsewhere() {
    let mut directory = of(5);
    let place = address(&directory, 2);
    directory.feed(Command::Expire { session: session(2, 0), home: HOME });
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
    assert_eq!(
        directory.feed(Command::Clear { session: session(3, 0), home: HOME }),
        Outcome::Cleared { address: place }
    );
    assert_eq!(directory.neighbourhood(place).map(|rewire| rewire.epoch), Some(Epoch::new(0, 11)));
}

#[test]
fn epochs_of_a_directory_read_back_are_of_the_new_incarnation() {
    let directory = of(3);
    let mut restored = Directory::restore(7, &directory.snapshot().unwrap()).unwrap();
    assert_eq!(restored.epoch(), Epoch::new(7, 3));
    let place = address(&restored, 1);
    assert_eq!(restored.neighbourhood(place).map(|rewire| rewire.epoch), Some(Epoch::new(7, 3)));
    assert_eq!(restored.look_up(&name(1)).map(|record| record.epoch), Ok(Epoch::new(7, 2)));
    restored.feed(suspect(2));
    assert_eq!(restored.neighbourhood(place).map(|rewire| rewire.epoch), Some(Epoch::new(7, 4)));
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
fn login_from_elsewhere_is_logged_and_neighbours_are_told() {
    let mut directory = of(4);
    let same = Command::LogIn(login(1, 0));
    assert!(matches!(directory.answer(&same), Some(Outcome::LoggedIn(LoggedIn { entry: Entry::Resumed, .. }))));
    let moved = Command::LogIn(LogIn { locations: at_port(99), ..login(1, 0) });
    assert_eq!(directory.answer(&moved), None);
    let applied = directory.apply(5, &moved);
    assert!(matches!(applied.outcome, Outcome::LoggedIn(LoggedIn { entry: Entry::Resumed, .. })));
    let place = address(&directory, 1);
    let tables = applied.touched.iter().filter(|peer| **peer != place).map(|peer| directory.neighbourhood(*peer));
    assert!(tables.flatten().all(|rewire| {
        let told = rewire.neighbours.iter().find(|record| record.address == place);
        rewire.epoch == Epoch::new(0, 5) && told.is_some_and(|record| record.locations == at_port(99))
    }));
    let stranger = Command::LogOut { session: session(1, 9) };
    assert_eq!(directory.feed(stranger), refused(Refusal::NoSession));
    assert_eq!(Refusal::NoSession.status(), Status::NotLoggedIn);
}

#[test]
fn session_is_at_home_where_its_peer_logged_in_last() {
    let mut directory = of(3);
    assert_eq!(directory.session(session(1, 0)).map(|session| session.home), Some(HOME));
    let elsewhere = LogIn { home: SupernodeId(2), resumes: Some(HOME), ..login(1, 0) };
    assert_eq!(directory.answer(&Command::LogIn(elsewhere.clone())), None);
    let epoch = directory.epoch();
    let moved = directory.apply(directory.applied() + 1, &Command::LogIn(elsewhere));
    assert!(matches!(&moved.outcome, Outcome::LoggedIn(moved) if moved.entry == Entry::Resumed), "{moved:?}");
    assert_eq!((moved.touched, directory.epoch()), (BTreeSet::new(), epoch), "nobody's table says where a home is");
    assert_eq!(directory.session(session(1, 0)).map(|session| session.home), Some(SupernodeId(2)));
    let restored = Directory::restore(0, &directory.snapshot().unwrap()).unwrap();
    assert_eq!(restored.session(session(1, 0)).map(|session| session.home), Some(SupernodeId(2)));
}

#[test]
fn home_that_a_session_has_left_judges_it_no_more() {
    let mut directory = of(3);
    directory.enter(LogIn { home: SupernodeId(2), resumes: Some(HOME), ..login(1, 0) });
    let (session, reason) = (session(1, 0), SuspectReason::HomeLost);
    let former = [
        Command::Suspect { session, home: HOME, reason },
        Command::Clear { session, home: HOME },
        Command::Expire { session, home: HOME },
    ];
    assert_eq!(former.map(|command| directory.feed(command)), [(); 3].map(|()| refused(Refusal::OtherHome)));
    let address = address(&directory, 1);
    let at_home = Command::Suspect { session, home: SupernodeId(2), reason };
    assert_eq!(directory.feed(at_home), Outcome::Suspected { address });
    directory.feed(Command::Expire { session, home: SupernodeId(2) });
    assert!(directory.session(session).is_none());
}

#[test]
fn of_two_homes_that_want_a_session_the_first_has_it() {
    let mut directory = of(3);
    let wanted = |home| Command::LogIn(LogIn { home: SupernodeId(home), resumes: Some(HOME), ..login(1, 0) });
    assert!(matches!(directory.feed(wanted(2)), Outcome::LoggedIn(_)));
    assert_eq!(directory.feed(wanted(3)), refused(Refusal::OtherHome));
    assert_eq!(directory.homes().collect::<Vec<_>>(), [(HOME, 2), (SupernodeId(2), 1)]);
    assert_eq!(directory.at_home(SupernodeId(2), None).collect::<Vec<_>>(), [session(1, 0)]);
    assert_eq!(directory.at_home(HOME, Some(session(0, 0))).collect::<Vec<_>>(), [session(2, 0)]);
    directory.feed(Command::LogOut { session: session(1, 0) });
    assert_eq!(directory.homes().collect::<Vec<_>>(), [(HOME, 2)]);
}

#[test]
fn session_that_is_over_is_not_taken_up_again() {
    let mut directory = of(3);
    let again = |stay| Command::LogIn(LogIn { resumes: Some(HOME), ..login(1, stay) });
    assert_eq!(directory.feed(again(1)), refused(Refusal::NoSession), "the key has another one");
    directory.feed(Command::LogOut { session: session(1, 0) });
    assert_eq!(directory.feed(again(0)), refused(Refusal::NoSession));
    assert_eq!(directory.members().count(), 2);
}

#[test]
fn session_that_is_offered_goes_on_if_it_is_the_present_one() {
    let mut directory = of(3);
    let offering = |of, stay| LogIn { home: SupernodeId(2), offers: Some(session(1, of)), ..login(1, stay) };
    let (address, epoch) = (address(&directory, 1), directory.epoch());
    let entered = directory.enter(offering(0, 7));
    assert_eq!((entered.session, entered.entry, entered.replaced), (session(1, 0), Entry::Resumed, None));
    assert_eq!((entered.record.address, directory.epoch()), (address, epoch), "nobody else is told anything");
    assert_eq!(directory.session(session(1, 0)).map(|session| session.home), Some(SupernodeId(2)));
    // It has moved to another location meanwhile.
    let moved = directory.enter(LogIn { locations: at_port(99), ..offering(0, 8) });
    assert_eq!((moved.session, moved.entry), (session(1, 0), Entry::Resumed));
    let other = directory.enter(offering(5, 6));
    assert_eq!((other.session, other.entry, other.replaced), (session(1, 6), Entry::Rejoined, Some(session(1, 0))));
    directory.feed(Command::LogOut { session: session(1, 6) });
    let late = directory.enter(offering(6, 7));
    assert_eq!((late.session, late.entry), (session(1, 7), Entry::New), "what is over does not begin again");
    let thief = LogIn { offers: Some(session(1, 7)), ..login(2, 1) };
    assert_eq!(directory.enter(thief).session, session(2, 1), "of another key it is nothing");
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
    let parted = directory.applied();
    assert_eq!(directory.feed(Command::ExpirePair { a: b, b: a, parted }), Outcome::Reunited);
    assert!(directory.are_neighbours(a, b));
    assert_eq!(directory.feed(Command::ExpirePair { a, b, parted }), Outcome::Unchanged("the pair is gone already"));
}

#[test]
fn late_end_of_a_term_brings_nobody_together_that_was_parted_since() {
    let mut directory = of(12);
    let (a, b) = (address(&directory, 0), directory.mesh.neighbours(address(&directory, 0))[0]);
    let part = Command::UnreachablePair { reporter: a, other: b };
    directory.feed(part.clone());
    let end = Command::ExpirePair { a, b, parted: directory.applied() };
    directory.feed(end.clone());
    directory.feed(part);
    assert_eq!(directory.feed(end), Outcome::Unchanged("the pair was parted again"));
    assert!(!directory.are_neighbours(a, b));
}

#[test]
fn nobody_is_parted_from_the_last_that_is_left() {
    let mut directory = of(4);
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| address(&directory, i));
    let part = |reporter, other| Command::UnreachablePair { reporter, other };
    assert_eq!([b, c].map(|x| directory.feed(part(x, a))), [(); 2].map(|()| Outcome::Parted { dropped: vec![] }));
    let unchanged = Outcome::Unchanged("one of the two has no other to try");
    assert_eq!([part(d, a), part(a, d)].map(|command| directory.feed(command)), [unchanged.clone(), unchanged]);
    assert_eq!(directory.mesh.neighbours(a), [d]);
    // With the last one goes the oldest of the pairs.
    directory.feed(suspect(3));
    assert_eq!(directory.mesh.neighbours(a), [b]);
    assert_eq!(directory.pairs().collect::<Vec<_>>(), [Pair::of(a, c)]);
}

#[test]
fn suspect_that_comes_back_is_not_kept_apart_from_everybody() {
    let mut directory = of(3);
    let [a, b, c] = [0, 1, 2].map(|i| address(&directory, i));
    directory.feed(Command::UnreachablePair { reporter: a, other: b });
    directory.feed(suspect(0));
    directory.feed(Command::UnreachablePair { reporter: a, other: c });
    let touched =
        directory.apply(directory.applied() + 1, &Command::Clear { session: session(0, 0), home: HOME }).touched;
    assert_eq!((touched, directory.mesh.neighbours(a)), ([a, b, c].into(), vec![b]));
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
    let limits = Limits { accounts: 3, sessions: 2, pairs: 2, removed: 2 };
    let mut directory = Directory::with_limits(0, limits);
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
    let mut directory = Directory::with_limits(0, Limits { pairs: 2, ..LIMITS });
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
    // One more, who is left for the first.
    let mut directory = of(peers + 1);
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
    assert_eq!(directory.epoch(), Epoch::new(0, 3));
    directory.feed(Command::LogOut { session: session(7, 7) });
    assert_eq!((directory.applied(), directory.epoch()), (4, Epoch::new(0, 3)));
    directory.apply(90, &suspect(0));
    assert_eq!((directory.applied(), directory.epoch()), (90, Epoch::new(0, 90)));
}

#[test]
fn every_epoch_is_of_the_new_incarnation() {
    let mut directory = of(3);
    assert_eq!(directory.feed(Command::Incarnate { incarnation: 0 }), Outcome::Unchanged("that is the incarnation"));
    assert_eq!(directory.feed(Command::Incarnate { incarnation: 7 }), Outcome::Incarnated);
    assert_eq!(directory.epoch(), Epoch::new(7, directory.applied()));
    assert!(directory.sessions().all(|session| session.epoch.incarnation == 7 && session.rewired.incarnation == 7));
    let before = directory.epoch();
    directory.feed(suspect(0));
    assert!(directory.epoch() > before, "epochs go on in it");
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
fn removed_key_is_out_for_good_and_its_name_is_nobody_elses() {
    let mut directory = of(4);
    let gone = address(&directory, 1);
    assert_eq!(directory.feed(Command::Remove { name: name(9) }), refused(Refusal::UnknownName));
    let removed = directory.apply(directory.applied() + 1, &Command::Remove { name: name(1) });
    assert!(matches!(removed.outcome, Outcome::Ended(Ended { address, .. }) if address == gone));
    let others: Vec<Address> = directory.ring().collect();
    assert!(!others.contains(&gone));
    assert!(others.iter().all(|other| removed.touched.contains(other)), "four are all linked: each is told");
    assert_eq!(directory.feed(Command::Remove { name: name(1) }), Outcome::Unchanged("it is removed already"));

    let own = Command::LogIn(login(1, 1));
    let renamed = Command::LogIn(LogIn { name: name(7), ..login(1, 1) });
    let stranger = Command::LogIn(LogIn { name: name(1), ..login(8, 0) });
    assert_eq!(directory.feed(own.clone()), refused(Refusal::Removed));
    assert_eq!(directory.feed(renamed.clone()), refused(Refusal::Removed));
    assert_eq!(directory.feed(stranger), refused(Refusal::NameTaken));
    directory.feed(Command::Release { name: name(1) });
    let bytes = directory.snapshot().unwrap();
    let mut restored = Directory::restore(0, &bytes).unwrap();
    assert_eq!(restored.snapshot().unwrap(), bytes);
    for command in [own, renamed] {
        assert_eq!(restored.feed(command), refused(Refusal::Removed), "whoever has the name, and after a snapshot");
    }
}

#[test]
fn who_is_logged_out_can_be_removed_and_bars_are_bounded() {
    let mut directory = Directory::with_limits(0, Limits { removed: 1, ..LIMITS });
    directory.enter(login(1, 0));
    directory.enter(login(2, 0));
    directory.feed(Command::LogOut { session: session(1, 0) });
    assert_eq!(directory.feed(Command::Remove { name: name(1) }), Outcome::Removed);
    assert_eq!(directory.feed(Command::Remove { name: name(2) }), refused(Refusal::RemovedFull));
    assert!(directory.by_key(&key(2)).is_some(), "nothing has changed");
}
