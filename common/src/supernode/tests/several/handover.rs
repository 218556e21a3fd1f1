use super::*;

/// The second one, at which peer 1 is at home on the link that is returned, hears nobody lead any more
fn unled() -> (Several, LinkId) {
    let mut several = Several::of(3);
    let link = several.enter(1, 1);
    several.wait(millis(2_000));
    several.nodes[1].core.handle_log(several.now, LogEvent::LeaderChanged(None));
    several.nodes[1].is_deaf = true;
    (several, link)
}

#[test]
fn who_hears_from_others_that_somebody_leads_sends_its_peers_on_and_takes_nobody_in() {
    let (mut several, link) = unled();
    let session = several.session(1);
    several.wait(millis(3_900));
    assert_eq!(several.take_said(), [""; 0]);
    several.wait(millis(1_200));
    assert_eq!(several.take_said(), ["1: Close 503"]);
    assert!(!several.links.contains_key(&link));
    several.ask(1, 1, Some(session));
    assert_eq!(several.take_said(), ["1: Refused 503 for 1000 ms"]);
    several.ask(2, 1, Some(session));
    assert_eq!((several.take_said(), several.home(1)), (vec!["1: Granted".to_owned()], Some(id_of(2))));
    several.nodes[1].is_deaf = false;
    several.nodes[1].core.handle_log(several.now, LogEvent::LeaderChanged(Some(id_of(0))));
    several.enter(1, 2);
}

#[test]
fn who_came_while_others_could_not_be_heard_is_sent_on_when_they_say_again_that_somebody_leads() {
    let (mut several, _) = unled();
    let session = several.session(1);
    several.wait(millis(5_100));
    assert_eq!(several.take_said(), ["1: Close 503"]);
    several.cut(1, 0);
    several.cut(1, 2);
    several.wait(millis(1_100));
    several.ask(1, 1, Some(session));
    assert_eq!(several.take_said(), ["1: Granted"]);
    several.cut.clear();
    several.wait(millis(12_000));
    assert_eq!(several.take_said(), ["1: Close 503"]);
}

#[test]
fn who_hears_nobody_sends_its_peers_on_once_well_before_their_sessions_end() {
    let (mut several, _) = unled();
    several.cut(1, 0);
    several.cut(1, 2);
    several.wait(LEASE * 2 / 3 - millis(100));
    assert_eq!(several.take_said(), [""; 0]);
    several.wait(millis(1_200));
    assert_eq!(several.take_said(), ["1: Close 503"]);
    several.ask(1, 1, Some(several.session(1)));
    assert_eq!(several.take_said(), ["1: Granted"], "it has found nobody else");
    several.wait(LEASE);
    assert_eq!(several.take_said(), [""; 0]);
}

#[test]
fn who_sees_a_majority_waits_for_its_election() {
    let mut several = Several::of(3);
    several.enter(1, 1);
    several.kill(0);
    several.lead(None);
    several.wait(LEASE - millis(1_000));
    assert_eq!(several.take_said(), [""; 0]);
}
