use super::*;
use crate::id::{Epoch, SessionId};
use crate::wire::session::Renew;

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

/// Whether the renewal on `link` is answered with the word that the supernode is cut off
fn is_told_to_look(several: &mut Several, link: LinkId, session: SessionId) -> bool {
    several.take_said();
    several.frame(link, Frame::Renew(Renew { session, epoch: Epoch::default() }));
    let said = several.take_all_said();
    let is_told = said.contains(&"1: Renewed, cut off".to_owned());
    assert!(is_told || said.contains(&"1: Renewed".to_owned()), "{said:?}");
    is_told
}

#[test]
fn who_hears_nobody_keeps_its_peers_and_tells_them_to_look_until_it_hears_enough_again() {
    let (mut several, link) = unled();
    let session = several.session(1);
    several.cut(1, 0);
    several.cut(1, 2);
    assert!(!is_told_to_look(&mut several, link, session), "an election may be under way");
    several.wait(LEASE / 6 + millis(1_100));
    assert!(is_told_to_look(&mut several, link, session));
    several.wait(LEASE);
    assert!(is_told_to_look(&mut several, link, session));
    assert_eq!(several.take_said(), [""; 0]);
    several.cut.clear();
    several.nodes[1].is_deaf = false;
    several.nodes[1].core.handle_log(several.now, LogEvent::LeaderChanged(Some(id_of(0))));
    assert!(!is_told_to_look(&mut several, link, session));
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
