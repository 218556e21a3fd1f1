use super::*;

/// The home of a peer is dead, and another supernode has taken up its session while nobody leads
fn taken_up_without_a_leader() -> (Several, SessionId) {
    let mut several = Several::of(3);
    several.enter(1, 1);
    let session = several.session(1);
    several.kill(1);
    several.lead(None);
    several.ask(2, 1, Some(session));
    several.take_said();
    (several, session)
}

#[test]
fn who_resumes_while_nobody_leads_goes_on_and_its_home_follows_later() {
    let mut several = Several::of(3);
    several.enter(1, 1);
    let (session, address) = (several.session(1), several.address(1));
    several.kill(1);
    several.lead(None);
    let link = several.ask(2, 1, Some(session));
    assert_eq!(several.take_said(), ["1: Granted"], "without a write");
    several.live(LEASE / 2, &[link]);
    assert_eq!((several.home(1), several.logged("LogIn")), (Some(id_of(1)), 1));
    several.lead(Some(0));
    several.wait(millis(1));
    assert_eq!((several.home(1), several.session(1), several.address(1)), (Some(id_of(2)), session, address));
    several.live(LEASE * 2, &[link]);
    assert_eq!((several.home(1), several.logged("Expire"), several.logged("Suspect")), (Some(id_of(2)), 0, 0));
    several.close(link);
    several.wait(millis(2_100));
    assert_eq!(several.logged("Suspect"), 1, "it is judged here by now");
}

/// Its home lives, but was alone for so long that it sent its peers on.
#[test]
fn home_that_nobody_led_ends_no_session_that_was_taken_up_elsewhere() {
    let mut several = Several::of(3);
    let home = several.enter(1, 1);
    let (session, address) = (several.session(1), several.address(1));
    several.lead(None);
    several.close(home);
    let link = several.ask(2, 1, Some(session));
    several.live(LEASE * 3, &[link]);
    assert_eq!(several.logged("Expire"), 0);
    several.lead(Some(0));
    several.live(LEASE * 2, &[link]);
    assert_eq!((several.home(1), several.session(1), several.address(1)), (Some(id_of(2)), session, address));
    assert_eq!(several.logged("Expire"), 0);
}

#[test]
fn who_resumes_at_home_while_nobody_leads_needs_no_move() {
    let mut several = Several::of(3);
    let link = several.enter(1, 1);
    several.lead(None);
    several.close(link);
    several.ask(1, 1, Some(several.session(1)));
    assert_eq!(several.take_said(), ["1: Granted"]);
    several.lead(Some(0));
    several.wait(millis(1_100));
    assert_eq!(several.logged("LogIn"), 1);
}

#[test]
fn session_that_was_over_before_its_home_could_move_ends() {
    let (mut several, session) = taken_up_without_a_leader();
    several.log.push((Command::Expire { session, home: id_of(1) }, None));
    several.settle();
    assert_eq!(several.take_said(), ["1: Refused 401 for 0 ms", "1: Close 401"]);

    let (mut several, session) = taken_up_without_a_leader();
    several.nodes[2].is_deaf = true;
    several.log.push((Command::Expire { session, home: id_of(1) }, None));
    several.lead(Some(0));
    several.wait(millis(1));
    assert_eq!(several.logged("LogIn"), 2, "its move is behind its end");
    several.nodes[2].is_deaf = false;
    several.settle();
    assert_eq!(several.take_said(), ["1: Refused 401 for 0 ms", "1: Close 401"]);
    assert_eq!(several.home(1), None, "and it does not begin again");
}

#[test]
fn peer_that_is_here_keeps_its_session_though_the_log_says_late_that_it_has_moved_away() {
    let mut several = Several::of(3);
    let link = several.enter(1, 1);
    let (session, address) = (several.session(1), several.address(1));
    // It had gone to the third one, and came back before the log had that.
    let away = several.ask(2, 1, None);
    several.close(away);
    let login = LogIn {
        name: name(1),
        key: ed(1).key(),
        session,
        resumes: Some(id_of(1)),
        offers: None,
        salt: [0; 16],
        locations: Locations::new(),
        home: id_of(2),
        right: Right::Owner,
    };
    several.take_said();
    several.log.push((Command::LogIn(login), None));
    several.settle();
    assert_eq!((several.take_said(), several.home(1)), (vec!["1: Probe".to_owned()], Some(id_of(2))));
    several.frame(link, Frame::ProbeReply(ProbeReply { sequence: 0 }));
    several.wait(millis(1));
    assert_eq!((several.home(1), several.session(1), several.address(1)), (Some(id_of(1)), session, address));
    several.live(LEASE * 2, &[link]);
    assert_eq!((several.home(1), several.logged("Suspect")), (Some(id_of(1)), 0));
}

#[test]
fn session_that_a_supernode_has_not_heard_of_yet_goes_on_there() {
    let mut several = Several::of(3);
    several.nodes[2].is_deaf = true;
    several.enter(1, 1);
    let (session, address) = (several.session(1), several.address(1));
    several.kill(1);
    several.take_said();
    several.ask(2, 1, Some(session));
    several.nodes[2].is_deaf = false;
    several.settle();
    assert_eq!(several.take_said().last().unwrap(), "1: Granted");
    assert_eq!((several.session(1), several.address(1), several.home(1)), (session, address, Some(id_of(2))));
}

#[test]
fn login_that_the_log_loses_goes_on_if_it_resumes() {
    let mut several = Several::of(3);
    several.enter(1, 1);
    let session = several.session(1);
    several.kill(1);
    // Those who are left have not noticed that the leader is gone, too.
    several.nodes[0].is_up = false;
    several.ask(2, 1, Some(session));
    assert_eq!(several.take_said(), ["1: Granted"]);
    several.ask(2, 2, None);
    assert_eq!(several.take_said(), ["2: Refused 503 for 1000 ms"]);
}

#[test]
fn resumption_takes_nothing_from_a_budget() {
    let mut several = Several::of(2);
    let link = several.enter(1, 1);
    let session = several.session(1);
    several.close(link);
    let before = several.core(1).budgets(several.now).map(|budget| budget.least_left);
    several.ask(1, 1, Some(session));
    assert_eq!(several.core(1).budgets(several.now).map(|budget| budget.least_left), before);
}

#[test]
fn login_that_resumes_what_has_just_ended_is_another_session() {
    let mut several = Several::of(2);
    several.enter(1, 1);
    let (session, address) = (several.session(1), several.address(1));
    several.nodes[0].is_deaf = true;
    several.log.push((Command::LogOut { session }, None));
    several.settle();
    several.ask(0, 1, Some(session));
    several.nodes[0].is_deaf = false;
    several.settle();
    assert_eq!(several.take_said().last().unwrap(), "1: Granted");
    assert!(several.session(1) != session && several.address(1) != address);
}

#[test]
fn directory_in_place_of_what_was_missed_ends_moves_and_rewires() {
    let mut several = Several::of(2);
    let links: Vec<_> = (1..=4).map(|peer| several.enter(1, peer)).collect();
    several.live(millis(1_000), &links);
    several.said.clear();
    several.nodes[1].is_deaf = true;
    let [first, second] = [1, 2].map(|peer| several.session(peer));
    several.log.push((Command::LogOut { session: first }, None));
    several.settle();
    several.ask(0, 2, Some(second));
    several.wait(millis(100));
    several.take_said();
    several.said.clear();
    let directory = several.core(0).directory().clone();
    several.nodes[1].heard = several.log.len();
    several.nodes[1].core.handle_log(several.now, LogEvent::Replaced(Box::new(directory)));
    several.settle();
    let mut said = several.take_said();
    said.sort_by_key(|said| said.starts_with('2'));
    assert_eq!(said, ["1: Refused 401 for 0 ms", "1: Close 401", "2: Probe"]);
    several.close(links[1]);
    several.said.clear();
    several.wait(GATHER);
    let mut rewires: Vec<_> = several.said.iter().filter(|said| said.ends_with("Rewire")).cloned().collect();
    rewires.sort_unstable();
    assert_eq!(rewires, ["3: Rewire", "4: Rewire"]);
    several.live(LEASE * 2, &links[2..]);
    assert_eq!((several.home(3), several.home(4)), (Some(id_of(1)), Some(id_of(1))), "they are judged as before");
    assert_eq!((several.core(1).homes(), several.logged("Suspect")), (2, 0));
}
