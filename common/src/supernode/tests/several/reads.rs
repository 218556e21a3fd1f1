use super::*;
use crate::wire::session::{LookUp, Subject};

fn look_up(several: &mut Several, link: LinkId, query: u64, of: u8, may_be_stale: bool) {
    let subject = Subject::Name(name(of));
    several.frame(link, Frame::LookUp(LookUp { query, ttl: 0, subject, may_be_stale }));
}

#[test]
fn answer_waits_until_its_supernode_has_heard_what_was_committed() {
    let mut several = Several::of(2);
    let link = several.enter(1, 1);
    several.nodes[1].is_deaf = true;
    several.enter(0, 2);
    look_up(&mut several, link, 1, 2, false);
    assert_eq!(several.take_said(), [""; 0]);
    look_up(&mut several, link, 2, 2, true);
    assert_eq!(several.take_said(), ["1: Found 2 404 stale"], "an old answer would do");
    several.nodes[1].is_deaf = false;
    several.settle();
    assert_eq!(several.take_said(), ["1: Found 1 200"]);
}

#[test]
fn answer_that_cannot_be_sure_is_marked_within_a_second() {
    let mut several = Several::of(2);
    let link = several.enter(1, 1);
    several.are_reads_held = true;
    look_up(&mut several, link, 1, 1, false);
    several.wait(millis(999));
    assert_eq!(several.take_said(), [""; 0]);
    several.wait(millis(1));
    assert_eq!(several.take_said(), ["1: Found 1 200 stale"]);
    // That read is still under way: nobody else's answer can be sure.
    several.are_reads_held = false;
    look_up(&mut several, link, 2, 1, false);
    several.nodes[1].core.handle_log(several.now, LogEvent::Unreadable);
    several.settle();
    assert_eq!(several.take_said(), ["1: Found 2 200"]);
}

#[test]
fn nobody_waits_while_nobody_leads() {
    let mut several = Several::of(2);
    let link = several.enter(1, 1);
    several.are_reads_held = true;
    look_up(&mut several, link, 1, 1, false);
    several.lead(None);
    assert_eq!(several.take_said(), ["1: Found 1 200 stale"]);
    look_up(&mut several, link, 2, 1, false);
    assert_eq!(several.take_said(), ["1: Found 2 200 stale"]);
}

#[test]
fn refusal_is_the_logs_among_several_and_none_is_said_while_nobody_leads() {
    let mut several = Several::of(2);
    several.enter(0, 1);
    let take = |several: &mut Several| {
        several.last_link += 1;
        let link = LinkId(several.last_link);
        several.links.insert(link, End::Peer { at: 1, peer: 2 });
        several.open(1, link, 2, Role::Peer, Purpose::Home, None);
        let handshake = handshake_of(NETWORK, [2, key_of(1)], [2, key_of(1)]);
        let login = Login {
            signature: ed(2).sign(&handshake.login_bytes(&name(1))),
            name: name(1),
            secret_proof: None,
            external: Locations::new(),
            listening: Default::default(),
            resume: None,
            invite: None,
        };
        several.frame(link, Frame::Login(login));
        several.take_said()
    };
    let logged = several.log.len();
    assert_eq!(take(&mut several), ["2: Refused 409 for 0 ms"]);
    assert_eq!(several.log.len(), logged + 1);
    several.lead(None);
    assert_eq!(take(&mut several), ["2: Refused 503 for 1000 ms"]);
}
