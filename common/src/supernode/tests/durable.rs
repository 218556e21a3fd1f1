use super::*;
use crate::directory::{Ended, Refusal};

#[test]
fn nobody_is_told_of_a_login_before_it_is_durable() {
    let mut bench = Bench::of(1);
    bench.ask(2, 2);
    assert_eq!(bench.drain(), ["append LogIn", "2: Challenge"]);
    assert_eq!((bench.core.directory().members().len(), bench.core.is_idle()), (1, false));
    assert_eq!(bench.wait(millis(500)), [""; 0]);
    let said = bench.durable();
    assert_eq!((said.len(), &*said[0]), (3, "2: Granted"), "{said:?}");
    assert!(["1: Rewire", "2: Rewire"].iter().all(|line| said.contains(&line.to_string())), "{said:?}");
    assert_eq!((bench.core.directory().members().len(), bench.core.is_idle()), (2, true));
}

#[test]
fn what_is_proposed_while_the_disk_writes_is_one_group_after_it() {
    let mut bench = Bench::of(0);
    bench.ask(1, 1);
    assert_eq!(bench.drain(), ["append LogIn", "1: Challenge"]);
    bench.ask(2, 2);
    bench.ask(3, 3);
    assert_eq!(bench.drain(), ["2: Challenge", "3: Challenge"]);
    assert_eq!(bench.durable(), ["append LogIn LogIn", "1: Granted", "1: Rewire"]);
    let said = bench.durable();
    assert!(["2: Granted", "3: Granted"].iter().all(|line| said.contains(&line.to_string())), "{said:?}");
    assert_eq!(bench.core.directory().applied(), 3);
}

#[test]
fn durable_without_a_group_changes_nothing() {
    let mut bench = Bench::of(1);
    assert_eq!(bench.durable(), [""; 0]);
    bench.ask(2, 2);
    bench.commit();
    bench.core.handle_log(bench.now, LogEvent::Lost { number: 99 });
    assert_eq!(bench.drain(), ["append LogIn", "2: Challenge"]);
    assert_eq!(bench.core.directory().members().len(), 1);
}

#[test]
fn snapshot_holds_what_was_durable_and_the_disk_goes_on_first() {
    let mut bench = Bench::of(0);
    bench.ask(1, 1);
    bench.drain();
    bench.ask(2, 2);
    bench.drain();
    bench.commit();
    bench.core.handle_log(bench.now, LogEvent::Grown);
    assert_eq!(bench.drain(), ["append LogIn", "1: Granted", "1: Rewire", "snapshot at 1"]);
}

#[test]
fn indices_go_on_where_the_log_ended() {
    let bench = Bench::of(3);
    let mut again = Bench::over(bench.core.directory().clone(), LEASE, None);
    assert_eq!(again.core.directory().applied(), 3);
    again.enter(4, 4);
    assert_eq!((again.core.directory().applied(), again.core.directory().epoch()), (4, Epoch::new(0, 4)));
}

#[test]
fn configured_degree_is_the_first_command() {
    let mut bench = Bench::over(Directory::new(0), LEASE, Some(8));
    assert_eq!(bench.drain(), ["append Configure"]);
    bench.durable();
    assert_eq!(bench.core.directory().degree(), 8);
    let mut again = Bench::over(bench.core.directory().clone(), LEASE, Some(8));
    assert_eq!((again.drain(), again.core.is_idle()), (vec![], true));
}

#[test]
fn release_ends_the_session_and_frees_the_name() {
    let mut bench = Bench::of(2);
    let ended = Ended { session: bench.session(1), name: name(1), key: ed(1).key(), address: bench.address(1) };
    bench.core.release(name(1), 41);
    assert_eq!(bench.drain(), ["append Release"]);
    bench.commit();
    let outputs = bench.outputs();
    let lines: Vec<_> = outputs.iter().map(line).collect();
    assert_eq!(lines, ["1: Refused 403 for 0 ms", "1: Close 403", "released 41: Ended", "2: Rewire"]);
    let answer = outputs.iter().find_map(|output| match output {
        SupernodeOutput::Answered { outcome, .. } => outcome.as_ref(),
        _ => None,
    });
    assert_eq!(answer, Some(&Outcome::Ended(ended)));
    assert_eq!(bench.core.directory().account(&name(1)), None);
}

#[test]
fn release_without_a_session_or_a_name_is_answered_too() {
    let mut bench = Bench::of(1);
    bench.frame(1, Frame::Logout(Logout { session: bench.session(1) }));
    bench.settle();
    bench.core.release(name(1), 1);
    bench.core.release(name(1), 2);
    bench.drain();
    bench.commit();
    let answers = bench.outputs().into_iter().filter_map(|output| match output {
        SupernodeOutput::Answered { ticket, outcome } => Some((ticket, outcome?)),
        _ => None,
    });
    let expected = [(1, Outcome::Released), (2, Outcome::Refused(Refusal::UnknownName))];
    assert_eq!(answers.collect::<Vec<_>>(), expected);
}

#[test]
fn logout_is_answered_once_it_is_durable_and_is_no_loss() {
    let mut bench = Bench::of(2);
    bench.frame(1, Frame::Logout(Logout { session: bench.session(1) }));
    assert_eq!(bench.drain(), ["append LogOut"]);
    assert_eq!(bench.durable(), ["1: LoggedOut", "1: Close 200", "2: Rewire"]);
    bench.close(1);
    assert_eq!(bench.wait(millis(5_000)), [""; 0]);
    assert!(bench.core.directory().account(&name(1)).is_some_and(|account| account.session.is_none()));
}

#[test]
fn tables_go_to_everybody_whom_a_change_touched() {
    let mut bench = Bench::of(3);
    bench.ask(4, 4);
    bench.drain();
    bench.commit();
    let outputs = bench.outputs();
    let new = bench.address(4);
    let told = rewires(&outputs);
    assert_eq!(told.iter().map(|(link, _)| *link).collect::<std::collections::BTreeSet<_>>(), [1, 2, 3, 4].into());
    for (link, rewire) in told.iter().filter(|(link, _)| *link != 4) {
        assert!(rewire.neighbours.iter().any(|record| record.address == new), "{link}");
        assert_eq!(rewire.epoch, bench.core.directory().epoch());
    }
}

#[test]
fn lease_without_a_renewal_ends_the_session() {
    let mut bench = Bench::of(1);
    assert_eq!(bench.wait(LEASE - millis(1)), [""; 0]);
    assert_eq!(bench.wait(millis(1)), ["append Expire"]);
    assert_eq!(bench.durable(), ["1: Refused 401 for 0 ms", "1: Close 401"]);
    assert!(bench.core.directory().account(&name(1)).is_some_and(|account| account.session.is_none()));
    assert_eq!((bench.core.homes(), bench.core.links()), (0, 1));
}

#[test]
fn lease_that_ends_while_the_disk_is_slow_is_named_once() {
    let mut bench = Bench::of(1);
    bench.ask(2, 2);
    assert!(bench.drain().contains(&"append LogIn".to_owned()));
    bench.wait(LEASE + millis(5_000));
    let said = bench.durable();
    assert!(said.contains(&"append Expire".to_owned()), "{said:?}");
    assert!(!bench.wait(millis(5_000)).contains(&"append Expire".to_owned()));
    let said = bench.durable();
    assert!(!said.iter().any(|said| said.contains("Expire")), "{said:?}");
}

#[test]
fn end_of_a_lease_that_waits_for_the_disk_is_taken_back_when_the_peer_renews() {
    let mut bench = Bench::of(1);
    bench.ask(2, 2);
    assert!(bench.drain().contains(&"append LogIn".to_owned()));
    bench.wait(LEASE);
    let renew = Renew { session: bench.session(1), epoch: bench.core.directory().epoch() };
    bench.frame(1, Frame::Renew(renew));
    assert_eq!(bench.drain(), ["1: Renewed"]);
    assert!(!bench.durable().iter().any(|said| said.starts_with("append")));
    assert!(bench.core.directory().session(renew.session).is_some());
}

/// A peer without a link, and a disk that is slow
fn away_while_the_disk_is_slow() -> (Bench, SessionId) {
    let mut bench = Bench::of(1);
    let session = bench.session(1);
    bench.close(1);
    bench.wait(millis(5_000));
    bench.settle();
    assert_eq!(bench.suspects(), [session]);
    bench.ask(2, 2);
    assert!(bench.drain().contains(&"append LogIn".to_owned()));
    (bench, session)
}

fn come_back(bench: &mut Bench, session: SessionId) {
    bench.open(3, 1);
    bench.frame(3, login(1, Some(session)));
    bench.drain();
}

/// Once the disk has caught up the peer has its session again, and no end of it was written
#[track_caller]
fn assert_goes_on(bench: &mut Bench, session: SessionId) {
    let said = bench.settle();
    assert!(said.contains(&"3: Granted".to_owned()) && !said.iter().any(|said| said.contains("Expire")), "{said:?}");
    assert_eq!(bench.session(1), session);
}

/// Once the disk has caught up the peer has another session
#[track_caller]
fn assert_begins_anew(bench: &mut Bench, session: SessionId) {
    assert!(bench.settle().contains(&"3: Granted".to_owned()));
    assert_ne!(bench.session(1), session);
}

#[test]
fn end_of_a_lease_that_waits_for_the_disk_is_taken_back_when_the_peer_logs_in() {
    let (mut bench, session) = away_while_the_disk_is_slow();
    bench.wait(LEASE);
    come_back(&mut bench, session);
    assert_goes_on(&mut bench, session);
}

#[test]
fn lease_that_ends_while_a_login_waits_for_the_disk_begins_anew_with_it() {
    let (mut bench, session) = away_while_the_disk_is_slow();
    bench.wait(LEASE - millis(8_000));
    come_back(&mut bench, session);
    bench.wait(millis(5_000));
    assert_goes_on(&mut bench, session);
}

#[test]
fn session_whose_end_is_on_its_way_to_the_disk_is_not_resumed_and_its_id_not_used_again() {
    let (mut bench, session) = away_while_the_disk_is_slow();
    bench.wait(LEASE);
    assert!(bench.durable().contains(&"append Expire".to_owned()));
    come_back(&mut bench, session);
    assert_begins_anew(&mut bench, session);
}

#[test]
fn session_whose_name_is_being_given_free_is_not_resumed() {
    let (mut bench, session) = away_while_the_disk_is_slow();
    bench.core.release(name(1), 7);
    come_back(&mut bench, session);
    assert_begins_anew(&mut bench, session);
}

#[test]
fn unreachable_pair_is_parted_until_its_term_ends() {
    let mut bench = Bench::with(3, LONG_LEASE, None);
    let (a, b) = (bench.address(1), bench.address(2));
    bench.report(1, Report::Unreachable(b));
    assert_eq!(bench.drain(), ["append UnreachablePair"]);
    bench.commit();
    let told = rewires(&bench.outputs());
    let others = |link| {
        let (_, rewire) = told.iter().find(|(at, _)| *at == link).unwrap();
        rewire.neighbours.iter().map(|record| record.address).collect::<Vec<_>>()
    };
    assert!(!others(1).contains(&b) && !others(2).contains(&a));

    // Half of each term is left to chance.
    for longest in [PAIR_TERM_MIN * 2, PAIR_TERM_MIN * 4] {
        assert_eq!(bench.wait(longest / 2 - millis(1)), [""; 0]);
        assert_eq!(bench.wait(longest / 2 + millis(1)), ["append ExpirePair"]);
        bench.settle();
        assert!(bench.core.directory().are_neighbours(a, b));
        bench.report(1, Report::Unreachable(b));
        bench.settle();
    }
    assert_eq!(bench.wait(PAIR_TERM_MAX), ["append ExpirePair"]);
    bench.settle();
    assert_eq!(bench.wait(PAIR_TERM_MAX), [""; 0]);
}

#[test]
fn pair_that_a_login_ended_before_its_term_is_not_expired() {
    let mut bench = Bench::with(2, LONG_LEASE, None);
    bench.report(1, Report::Unreachable(bench.address(2)));
    bench.settle();
    bench.close(2);
    bench.enter(3, 2);
    assert_eq!(bench.core.directory().pairs().count(), 0);
    assert_eq!(bench.wait(PAIR_TERM_MAX + millis(1)), [""; 0]);
}

#[test]
fn changes_that_come_together_make_one_rewire_for_each_peer() {
    let mut bench = Bench::of(3);
    let gone = [1, 2].map(|peer| bench.address(peer));
    for peer in [1, 2] {
        bench.frame(peer, Frame::Logout(Logout { session: bench.session(peer as u8) }));
    }
    bench.drain();
    while !bench.group.is_empty() {
        for Proposal { number, command } in std::mem::take(&mut bench.group) {
            bench.commit_untold(command, Some(number));
        }
        bench.outputs();
    }
    bench.now = bench.now + GATHER;
    bench.core.handle_timeout(bench.now);
    let told = rewires(&bench.outputs());
    assert_eq!(told.iter().map(|(link, _)| *link).collect::<Vec<_>>(), [3]);
    assert!(told.iter().all(|(_, rewire)| rewire.neighbours.iter().all(|record| !gone.contains(&record.address))));
}

#[test]
fn log_is_given_no_more_than_a_groups_commands_in_one_go() {
    let mut bench = Bench::of(0);
    for ticket in 0..(2 * GROUP_FIRST + GROUP_MAX) as u64 + 1 {
        bench.core.release(name(1), ticket);
    }
    let mut sizes = Vec::new();
    while !bench.core.is_idle() {
        bench.outputs();
        sizes.push(bench.group.len());
        bench.commit();
    }
    assert_eq!(sizes, [GROUP_FIRST, GROUP_FIRST, GROUP_MAX, 1], "nobody knows at first how fast it is");
}
