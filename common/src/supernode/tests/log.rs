//! What others propose, what the log loses, and who leads.

use std::collections::BTreeSet;

use super::*;

/// A login of this peer at another supernode
fn login_elsewhere(peer: u8, session: SessionId) -> Command {
    let (name, key, home) = (name(peer), ed(peer).key(), SupernodeId(2));
    Command::LogIn(LogIn {
        name,
        key,
        session,
        resumes: None,
        offers: None,
        salt: [peer; 16],
        locations: Locations::new(),
        home,
        right: Right::Anybody,
    })
}

#[test]
fn command_of_another_supernode_is_applied_and_its_session_is_not_judged_here() {
    let mut bench = Bench::of(2);
    bench.commit_one(login_elsewhere(3, SessionId([3; 16])), None);
    assert_eq!(bench.drain().into_iter().collect::<BTreeSet<_>>(), ["1: Rewire".into(), "2: Rewire".into()].into());
    assert_eq!(bench.core.directory().look_up(&name(3)).map(|record| record.key), Ok(ed(3).key()));
    bench.report(1, Report::LinkDown(bench.address(3)));
    assert_eq!(bench.wait(LEASE - millis(1)), [""; 0], "it is not even asked");
    assert_eq!(bench.wait(millis(1)), ["append Expire Expire"], "those of the two whose home this is");
}

#[test]
fn session_that_goes_on_at_another_supernode_ends_here() {
    let mut bench = Bench::of(2);
    bench.commit_one(login_elsewhere(1, bench.session(1)), None);
    assert_eq!(bench.drain(), ["1: Probe"], "whether its link is over is not known yet");
    assert_eq!(bench.wait(millis(2_500)), ["1: Close 401"], "it has not answered");
    bench.close(1);
    assert_eq!(bench.core.homes(), 1);
    assert!(!bench.wait(LEASE).contains(&"append Suspect".to_owned()));
    assert!(bench.core.directory().by_key(&ed(1).key()).is_some(), "its lease is its home's");
}

#[test]
fn numbers_of_a_group_may_be_answered_one_by_one_and_others_commands_between() {
    let mut bench = Bench::of(0);
    bench.ask(1, 1);
    bench.ask(2, 2);
    assert_eq!(bench.drain(), ["append LogIn LogIn", "1: Challenge", "2: Challenge"]);
    let [first, second] = <[Proposal; 2]>::try_from(std::mem::take(&mut bench.group)).unwrap();
    bench.ask(3, 3);
    bench.commit_one(first.command, Some(first.number));
    let said = bench.drain();
    assert!(said.contains(&"1: Granted".to_owned()) && !said.iter().any(|said| said.starts_with("append")), "{said:?}");
    bench.commit_one(login_elsewhere(9, SessionId([9; 16])), None);
    bench.drain();
    bench.commit_one(second.command, Some(second.number));
    let said = bench.drain();
    assert_eq!(said[0], "append LogIn", "the next group follows when all of the last one is answered");
    assert!(said.contains(&"2: Granted".to_owned()), "{said:?}");
}

#[test]
fn lost_login_is_answered_and_may_be_tried_again() {
    let mut bench = Bench::of(0);
    bench.ask(1, 1);
    bench.drain();
    assert_eq!(bench.lose(), ["1: Refused 503 for 1000 ms"]);
    assert!(bench.core.is_idle());
    bench.wait(millis(1_000));
    bench.frame(1, login(1, None));
    let said = bench.settle();
    assert!(said.contains(&"1: Granted".to_owned()), "{said:?}");
}

#[test]
fn lost_login_that_is_committed_all_the_same_is_suspected_like_a_peer_that_went_away() {
    let mut bench = Bench::of(0);
    bench.ask(1, 1);
    bench.drain();
    let Proposal { number, command } = bench.group.pop().unwrap();
    bench.core.handle_log(bench.now, LogEvent::Lost { number });
    bench.close(1);
    bench.drain();
    bench.commit_one(command, None);
    assert_eq!(bench.drain(), [""; 0]);
    assert_eq!(bench.wait(millis(2_000)), ["append Suspect"]);
}

#[test]
fn lost_logout_ends_the_link_and_the_session_is_suspected() {
    let mut bench = Bench::of(2);
    bench.frame(1, Frame::Logout(Logout { session: bench.session(1) }));
    assert_eq!(bench.drain(), ["append LogOut"]);
    assert_eq!(bench.lose(), ["1: Refused 503 for 1000 ms", "1: Close 503"]);
    bench.close(1);
    assert_eq!(bench.wait(millis(2_000)), ["append Suspect"]);
    assert_eq!((bench.core.homes(), bench.core.links()), (1, 1));
}

#[test]
fn lost_release_is_answered() {
    let mut bench = Bench::of(1);
    bench.core.release(name(1), 41);
    bench.drain();
    assert_eq!(bench.lose(), ["released 41: lost"]);
    assert!(bench.core.directory().account(&name(1)).is_some());
}

#[test]
fn lost_suspicion_is_proposed_again_unless_the_peer_is_back() {
    let mut bench = Bench::of(2);
    let [first, second] = [1, 2].map(|peer| bench.session(peer));
    bench.close(1);
    bench.close(2);
    assert_eq!(bench.wait(millis(2_000)), ["append Suspect Suspect"]);
    bench.lose();
    bench.open(3, 2);
    bench.frame(3, login(2, Some(second)));
    bench.settle();
    assert_eq!(bench.wait(millis(1_000)), ["append Suspect"]);
    bench.settle();
    assert_eq!(bench.suspects(), [first]);
}

#[test]
fn lost_end_of_a_lease_and_lost_degree_are_proposed_again() {
    let mut bench = Bench::over(Directory::new(0), LEASE, Some(8));
    bench.drain();
    bench.lose();
    assert_eq!(bench.wait(millis(1_000)), ["append Configure"]);
    bench.durable();
    assert_eq!(bench.core.directory().degree(), 8);

    let mut bench = Bench::of(1);
    assert_eq!(bench.wait(LEASE), ["append Expire"]);
    bench.lose();
    assert_eq!(bench.wait(millis(1_000)), ["append Expire"]);
    bench.durable();
    assert_eq!(bench.core.directory().members().len(), 0);
}

#[test]
fn who_leads_is_what_the_log_said_last() {
    let mut bench = Bench::of(0);
    assert_eq!(bench.core.leader(), None);
    bench.core.handle_log(bench.now, LogEvent::LeaderChanged(Some(SupernodeId(2))));
    bench.ask(1, 1);
    assert_eq!(bench.drain(), ["append LogIn", "1: Challenge"], "proposals go to the log, whoever leads");
    bench.core.handle_log(bench.now, LogEvent::LeaderChanged(None));
    assert_eq!(bench.core.leader(), None);
}

#[test]
fn index_may_leave_some_out_and_one_that_was_applied_changes_nothing() {
    let mut bench = Bench::of(1);
    let applied = bench.core.directory().applied();
    bench.index += 5;
    bench.commit_one(login_elsewhere(3, SessionId([3; 16])), None);
    assert_eq!(bench.core.directory().applied(), applied + 6);
    bench.index -= 2;
    bench.commit_one(Command::Release { name: name(3) }, None);
    assert!(bench.core.directory().account(&name(3)).is_some());
}

#[test]
fn restored_sessions_of_other_homes_have_no_lease_here() {
    let mut bench = Bench::of(1);
    bench.commit_one(login_elsewhere(3, SessionId([3; 16])), None);
    let mut again = Bench::over(bench.core.directory().clone(), LEASE, None);
    assert_eq!(again.wait(LEASE), ["append Expire"], "that of peer 1, whose home this is");
}

#[test]
fn login_that_was_lost_and_is_there_does_not_take_back_the_suspicion_of_its_peer() {
    let mut bench = Bench::of(2);
    let session = bench.session(1);
    bench.report(2, Report::LinkDown(bench.address(1)));
    bench.wait(millis(1_500));
    bench.settle();
    assert_eq!(bench.suspects(), [session]);
    bench.open(3, 1);
    bench.frame(3, login(1, Some(session)));
    bench.drain();
    let command = bench.group[0].command.clone();
    bench.lose();
    bench.close(3);
    bench.commit_one(command, None);
    assert_eq!(bench.suspects(), [], "as the login says");
    bench.settle();
    assert_eq!(bench.suspects(), [session], "as nothing was heard on its home link");
}
