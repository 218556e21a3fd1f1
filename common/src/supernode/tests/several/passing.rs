use super::*;
use crate::wire::content::{Cause, Payload};
use crate::wire::packet::{self, Class, Header, Mark, TTL_DEFAULT};
use crate::wire::{self, PacketBytes};

fn relay(several: &Several, from: u8, to: Address) -> Frame {
    let (source, class) = (several.address(from), Class::Data);
    let header = Header { destination: to, source, id: 7, ttl: TTL_DEFAULT, class, congested: false, traced: false };
    Frame::Relay(PacketBytes::new(packet::new_packet(&header, b"hello").unwrap()).unwrap())
}

/// Drives what is under way, and keeps the packets that peers get
fn packets(several: &mut Several, link: LinkId, frame: Frame) -> Vec<(u8, PacketBytes)> {
    let End::Peer { at, .. } = several.links[&link] else { panic!("{link:?}") };
    several.nodes[at].core.handle_frame(several.now, link, frame);
    let mut got = Vec::new();
    for _ in 0..9 {
        for node in 0..several.nodes.len() {
            while let Some(output) = several.nodes[node].core.poll_output() {
                match output {
                    SupernodeOutput::Send { link, frame: Frame::Packet(packet) }
                        if matches!(several.links.get(&link), Some(End::Peer { .. })) =>
                    {
                        let End::Peer { peer, .. } = several.links[&link] else { panic!("{link:?}") };
                        got.push((peer, packet));
                    }
                    output => several.carry_out(node, output),
                }
            }
        }
        while let Some((link, frame)) = several.frames.pop_front() {
            several.arrive(link, frame);
        }
    }
    got
}

/// The reason why the one packet among these was given back
fn cause(got: &[(u8, PacketBytes)]) -> (u8, Status, Cause) {
    let [(peer, packet)] = got else { panic!("{got:?}") };
    let Payload::Undeliverable(report) = wire::decode(packet.as_ref().payload()).unwrap() else { panic!("{packet:?}") };
    (*peer, report.status, report.cause)
}

#[test]
fn packet_for_a_peer_of_another_home_goes_by_that_and_says_so() {
    let mut several = Several::of(3);
    let link = several.enter(1, 1);
    several.enter(2, 2);
    let frame = relay(&several, 1, several.address(2));
    let got = packets(&mut several, link, frame);
    let [(2, packet)] = &got[..] else { panic!("{got:?}") };
    let short = |node: usize| short_id_of(&ed(key_of(node)).key());
    let way: Vec<_> = packet.as_ref().entries().collect();
    assert_eq!(
        (packet.as_ref().payload(), way),
        (&b"hello"[..], [(1, ()), (2, ())].map(|(node, ())| (Mark::Relay, short(node))).to_vec())
    );
    assert_eq!(packet.as_ref().header().ttl, TTL_DEFAULT - 2);
}

#[test]
fn what_its_home_cannot_hand_over_comes_back_and_goes_no_farther() {
    let mut several = Several::of(3);
    let link = several.enter(1, 1);
    let other = several.enter(2, 2);
    let to = several.address(2);
    several.close(other);
    let frame = relay(&several, 1, to);
    assert_eq!(cause(&packets(&mut several, link, frame)), (1, Status::Unavailable, Cause::NoSession));
    // The third one has not heard yet that the peer is at home at the first by now.
    several.nodes[1].is_deaf = true;
    several.ask(0, 2, Some(several.session(2)));
    several.take_said();
    let frame = relay(&several, 1, to);
    assert_eq!(cause(&packets(&mut several, link, frame)), (1, Status::Unavailable, Cause::NoSession));
}

#[test]
fn packet_for_a_home_that_is_gone_comes_back() {
    let mut several = Several::of(3);
    let link = several.enter(1, 1);
    several.enter(2, 2);
    let to = several.address(2);
    several.kill(2);
    let frame = relay(&several, 1, to);
    assert_eq!(cause(&packets(&mut several, link, frame)), (1, Status::Unavailable, Cause::NoSession));
}

#[test]
fn what_is_given_back_to_a_peer_that_has_left_is_dropped() {
    let mut several = Several::of(2);
    let link = several.enter(0, 1);
    let other = several.enter(1, 2);
    several.close(other);
    let frame = relay(&several, 1, several.address(2));
    several.close(link);
    several.last_link += 1;
    // As if it were under way on the links between the supernodes when its source left.
    let between = several.core(1).backbone_to(id_of(0)).unwrap();
    several.frames.push_back((between, frame));
    several.settle();
    assert_eq!(several.take_said(), [""; 0]);
}

#[test]
fn second_login_of_a_key_waits_for_the_word_of_its_sessions_home() {
    let mut several = Several::of(2);
    let link = several.enter(0, 1);
    several.ask(1, 1, None);
    assert_eq!(several.take_said(), ["1: Probe"]);
    several.frame(link, Frame::ProbeReply(ProbeReply { sequence: 0 }));
    assert_eq!(several.take_said(), ["1: Refused 409 for 10000 ms"]);
    assert_eq!(several.home(1), Some(id_of(0)));
}

#[test]
fn silent_holder_at_another_home_gives_way() {
    let mut several = Several::of(2);
    several.enter(0, 1);
    let session = several.session(1);
    several.ask(1, 1, None);
    several.take_said();
    several.wait(millis(2_499));
    assert_eq!(several.take_said(), [""; 0]);
    several.wait(millis(1));
    let mut said = several.take_said();
    said.sort_unstable();
    assert_eq!(said, ["1: Close 401", "1: Granted", "1: Refused 401 for 0 ms"]);
    assert_eq!(several.home(1), Some(id_of(1)));
    assert_ne!(several.session(1), session);
}

#[test]
fn holder_whose_home_cannot_be_asked_or_says_nothing_gives_way() {
    let mut several = Several::of(3);
    several.enter(1, 1);
    several.cut(1, 2);
    several.ask(2, 1, None);
    assert!(several.take_said().contains(&"1: Granted".to_owned()), "at once");

    let mut several = Several::of(3);
    several.enter(1, 1);
    several.cut.insert((1, 2));
    several.ask(2, 1, None);
    several.wait(millis(3_499));
    assert!(!several.take_said().contains(&"1: Granted".to_owned()));
    several.wait(millis(1));
    assert!(several.take_said().contains(&"1: Granted".to_owned()));
}

#[test]
fn own_session_at_another_home_needs_no_word() {
    let mut several = Several::of(2);
    let link = several.enter(0, 1);
    several.ask(1, 1, Some(several.session(1)));
    let mut said = several.take_said();
    said.sort_unstable();
    assert_eq!(said, ["1: Granted", "1: Probe"], "of the link that it has given up, too, which may not be known yet");
    several.close(link);
    several.wait(LEASE / 2);
    assert_eq!(several.home(1), Some(id_of(1)));
}

#[test]
fn what_is_reported_of_a_peer_goes_to_its_home_which_asks_it() {
    let mut several = Several::of(2);
    let link = several.enter(0, 1);
    several.enter(1, 2);
    let of = several.address(2);
    several.frame(link, Frame::Report(Report::LinkDown(of)));
    assert_eq!(several.take_said(), ["2: Probe"]);
    several.wait(millis(1_500));
    assert_eq!(several.logged("Suspect"), 1);
    let home = several.log.iter().find_map(|(command, by)| match command {
        Command::Suspect { home, .. } => Some((*home, by.map(|(node, _)| node))),
        _ => None,
    });
    assert_eq!(home, Some((id_of(1), Some(1))));
}

#[test]
fn isolated_peer_has_the_homes_of_its_neighbours_asked() {
    let mut several = Several::of(2);
    let link = several.enter(0, 1);
    several.enter(1, 2);
    several.enter(0, 3);
    several.frame(link, Frame::Report(Report::Isolated));
    let mut said = several.take_said();
    said.sort_unstable();
    assert_eq!(said, ["2: Probe", "3: Probe"]);
}

#[test]
fn who_is_unreachable_is_judged_by_its_home_or_by_the_reporters_if_that_is_gone() {
    let mut several = Several::of(3);
    let link = several.enter(1, 1);
    let other = several.enter(2, 2);
    several.enter(1, 3);
    let of = several.address(2);
    several.close(other);
    several.frame(link, Frame::Report(Report::Unreachable(of)));
    assert_eq!(several.logged("UnreachablePair"), 0, "its home has lost it, too");
    several.kill(2);
    several.frame(link, Frame::Report(Report::LinkDown(of)));
    assert_eq!(several.logged("Suspect"), 0);
    several.frame(link, Frame::Report(Report::Unreachable(of)));
    assert_eq!(several.logged("UnreachablePair"), 1);
}
