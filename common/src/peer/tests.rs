//! Whole peers: what becomes of pings between them, and of what strangers send.

mod healing;
mod members;
mod paths;
mod removals;
mod supernode;
mod wires;
mod world;

use self::members::*;
use self::world::World;
use super::*;
use crate::crypto::Ed25519;
use crate::id::{MessageId, ShortId};
use crate::mail::{Fate, KnownAddress, Outcome, Reason, Stop};
use crate::names::Source;
use crate::status::Status;
use crate::wire::bounded::Bounded;
use crate::wire::content::{Choice, Message, PathHop, Payload, Reply, Signal};
use crate::wire::packet::{Class, PacketRef};
use crate::wire::session::{Listing, Report, Subject, Which};
use crate::wire::{Frame, PacketBytes};

const PING: Content = Content::Signal(Signal::Ping);

fn hop(n: u8) -> PathHop {
    PathHop { short: address(n).short(), relay: false, name: Some(name(n)) }
}

/// Over which links of its own a peer sent packets since the world last forgot, in their order
fn packets_over(world: &mut World, n: u8) -> Vec<LinkId> {
    let sent = &world.told(n).sent;
    sent.iter().filter(|(_, frame)| matches!(frame, Frame::Packet(_))).map(|(link, _)| *link).collect()
}

/// Hands a packet to a peer as its link layer would, and returns how much it had to say
fn hand(world: &mut World, to: u8, link: LinkId, from: Option<u8>, packet: &PacketBytes) -> usize {
    let now = world.now;
    world.core(to).handle_packet(now, link, from.map(address), &packet.as_ref());
    std::iter::from_fn(|| world.core(to).poll_output(now)).count()
}

#[test]
fn login_is_told_in_order_and_makes_routes() {
    let mut world = World::asleep(&[A]);
    assert_eq!(world.core(A).send(Instant::ZERO, name(B), PING, false), Err(NotLoggedIn));
    let core = world.core(A);
    assert_eq!((core.own(), core.home_link(), core.network()), (None, None, None));
    world.advance(Duration::ZERO);
    assert_eq!(world.told(A).words, ["logged in", "routes"]);
    let core = world.core(A);
    assert_eq!(core.own().map(|own| (own.address, own.name.clone())), Some((address(A), name(A))));
    assert_eq!((core.network(), core.key()), (Some(network()), ed(A).key()));
    assert!(matches!(core.standing(), Standing::LoggedIn { .. }) && core.routes().is_some());
}

#[test]
fn logout_takes_links_routes_and_grant_back() {
    let mut world = World::triangle();
    let now = world.now;
    world.core(A).log_out(now);
    world.run();
    assert_eq!(world.told(A).words, ["close", "logged out", "close", "close", "no routes"]);
    let core = world.core(A);
    assert_eq!((core.own(), core.home_link(), core.routes()), (None, None, None));
    assert_eq!(core.send(now, name(B), PING, false), Err(NotLoggedIn));
    assert_eq!(world.core(B).neighbourhood().live_links().count(), 1);
    world.core(A).log_in(now);
    world.advance(Duration::from_secs(1));
    assert!(world.core(A).own().is_some());
}

#[test]
fn ping_is_answered() {
    let mut world = World::triangle();
    let fate = world.send(A, B, PING).fate;
    assert_eq!((fate.status, fate.reason, fate.transmissions), (Status::Delivered, Reason::Replied, 1));
    assert!(fate.path.is_empty() && fate.words.is_empty());
    assert!(world.core(A).mail().is_idle() && world.core(B).mail().is_idle());
}

#[test]
fn ping_to_oneself_never_leaves() {
    let mut world = World::triangle();
    assert_eq!(world.send(A, A, PING).fate.status, Status::Delivered);
    assert!(world.told(A).sent.is_empty());
}

#[test]
fn forwarder_stands_on_the_path_and_reports_on_a_traced_packet() {
    let mut world = World::new(&[A, B, C], &[(A, C), (C, B)]);
    world.begin(A, B, PING, true);
    let Outcome { fate, trace } = world.told(A).done.pop().unwrap();
    assert_eq!((fate.status, &fate.path), (Status::Delivered, &vec![hop(C)]));
    let stop = |n, choice| Stop {
        name: Some(name(n)),
        address: Some(KnownAddress::Whole(address(n))),
        rtt: Some(Duration::ZERO),
        choice: Some(choice),
    };
    let expected = [stop(C, Choice::KnowsDestination), stop(B, Choice::Destination)];
    assert_eq!(trace.unwrap().way(&fate), expected);
    assert!(world.core(A).mail().is_idle());
    assert_eq!(world.send(A, B, PING).trace, None);
}

#[test]
fn reply_to_a_ping_that_came_again_takes_another_first_hop() {
    let mut world = World::triangle();
    world.lossy.insert((B, A));
    let id = world.begin(A, B, PING, false);
    let (direct, _) = world.link_between(B, A);
    assert_eq!(packets_over(&mut world, B), [direct]);
    assert!(world.told(A).done.is_empty());
    world.advance(Duration::from_millis(500));
    let Fate { id: of, status, transmissions, path, .. } = world.told(A).done.pop().unwrap().fate;
    assert_eq!((of, status, transmissions), (id, Status::Delivered, 2));
    assert_eq!(path, [hop(C)], "it went another way itself");
    let (detour, _) = world.link_between(B, C);
    assert_eq!(packets_over(&mut world, B), [direct, detour]);
}

#[test]
fn reply_goes_by_the_supernode_when_no_first_hop_is_left() {
    let mut world = World::new(&[A, B], &[(A, B)]);
    world.lossy.insert((B, A));
    world.begin(A, B, PING, false);
    world.advance(Duration::from_millis(500));
    assert_eq!(world.told(A).done.pop().unwrap().fate.status, Status::Delivered);
    let home = world.home_link(B);
    assert!(world.told(B).sent.iter().any(|(link, frame)| *link == home && matches!(frame, Frame::Relay(_))));
}

#[test]
fn ping_is_relayed_both_ways_when_the_mesh_is_cut() {
    let mut world = World::new(&[A, B, C], &[(B, C)]);
    let fate = world.send(A, B, PING).fate;
    assert_eq!((fate.status, fate.transmissions), (Status::Delivered, 2));
    let relay = PathHop { short: address(15).short(), relay: true, name: None };
    assert_eq!(fate.path, [relay]);
    let home = world.home_link(B);
    let sent = &world.told(B).sent;
    assert!(matches!(sent.as_slice(), [(link, Frame::Relay(_))] if *link == home), "{sent:?}");
    let asked = [B, B].map(|n| Subject::Name(name(n)));
    assert_eq!(world.look_ups, asked, "for the ping, and anew for the relay");
    assert!(world.told(A).looked_up.is_empty(), "no user asked");
}

#[test]
fn ping_leaves_again_at_once_when_its_first_hop_is_lost() {
    let mut world = World::triangle();
    world.lossy.insert((A, B));
    world.begin(A, B, PING, false);
    world.cut(A, B);
    let fate = world.told(A).done.pop().unwrap().fate;
    assert_eq!((fate.status, fate.transmissions, fate.elapsed), (Status::Delivered, 2, Duration::ZERO));
    assert_eq!(fate.path, [hop(C)]);
    assert!(world.reports.contains(&Report::LinkDown(address(B))));
}

#[test]
fn neither_mesh_nor_supernode_ends_with_503() {
    let mut world = World::new(&[A, B], &[(A, B)]);
    world.rewire(&[]);
    world.forget();
    world.lose_home();
    assert_eq!(world.told(A).words, ["home lost"]);
    assert!(world.core(A).own().is_some(), "the session outlives its link");
    world.begin(A, B, PING, false);
    world.advance(Duration::from_secs(2));
    let fate = world.told(A).done.pop().unwrap().fate;
    assert_eq!((fate.status, fate.reason), (Status::Unavailable, Reason::NoFirstHop));
}

#[test]
fn names_missing_on_a_path_are_asked_for_before_the_outcome_is_told() {
    let mut world = World::triangle();
    world.strangers.push(record(9));
    world.lossy.insert((A, B));
    let unnamed = |n: u8| PathHop { name: None, ..hop(n) };
    let id = world.begin(A, B, PING, false);
    world.forget();
    world.reply(B, A, id, vec![unnamed(C), unnamed(9), unnamed(8), unnamed(9)]);
    let fate = world.told(A).done.pop().unwrap().fate;
    assert_eq!(fate.path, [hop(C), hop(9), unnamed(8), hop(9)], "known near by, asked for, and known to nobody");
    let asked = [8, 9].map(|n| Subject::ShortId(address(n).short()));
    assert_eq!(world.look_ups, asked, "once each, and not for a neighbour");
    assert!(world.core(A).mail().is_idle());
}

#[test]
fn nobody_waits_for_names_that_nobody_can_be_asked_for() {
    let mut lonely = World::triangle();
    lonely.lossy.insert((A, B));
    let id = lonely.begin(A, B, PING, false);
    lonely.lose_home();
    let stranger = PathHop { short: ShortId(1), relay: false, name: None };
    let path = Bounded::truncated([stranger.clone()]);
    let reply = Reply { to: id, status: Status::Delivered, path, reason: Default::default() };
    let message = Message { id: MessageId([9; 16]), to: name(A), content: Content::Reply(reply) };
    let packet = message_packet(B, &header(B, A, Class::Signal), &message);
    let (link, _) = lonely.link_between(A, B);
    assert_eq!(hand(&mut lonely, A, link, Some(B), &packet), 1, "the outcome");
    assert!(lonely.core(A).mail().is_idle());
}

#[test]
fn name_that_is_not_here_is_404() {
    let mut world = World::triangle();
    let message = Message { id: MessageId([7; 16]), to: name(C), content: PING };
    let packet = message_packet(A, &header(A, B, Class::Signal), &message);
    let (link, _) = world.link_between(B, A);
    let now = world.now;
    world.core(B).handle_packet(now, link, Some(address(A)), &packet.as_ref());
    let Some(PeerOutput::Transmit { packet: reply, .. }) = world.core(B).poll_output(now) else { panic!() };
    assert_eq!(status_of(&reply.as_ref()), Status::NotFound);
    let fate = world.send(A, 9, PING).fate;
    assert_eq!((fate.status, fate.reason), (Status::NotFound, Reason::LookUp));
}

fn status_of(packet: &PacketRef<'_>) -> Status {
    let Ok(Payload::Message(signed)) = crate::wire::decode(packet.payload()) else { panic!() };
    let message = signed.verify(&signed.grant().verify(&network(), &Ed25519).unwrap(), &Ed25519).unwrap();
    let Content::Reply(reply) = message.content else { panic!() };
    reply.status
}

#[test]
fn packets_that_are_not_to_be_believed_are_dropped() {
    let mut world = World::triangle();
    let (link, _) = world.link_between(B, A);
    let home = world.home_link(B);
    let message = Message { id: MessageId([7; 16]), to: name(B), content: PING };
    let good = header(A, B, Class::Signal);
    let genuine = message_packet(A, &good, &message);
    assert_eq!(hand(&mut world, B, link, Some(A), &genuine), 1, "the reply");
    assert_eq!(hand(&mut world, B, home, None, &genuine), 1, "relayed");
    let stranger = LinkId(1_000);
    assert_eq!(hand(&mut world, B, stranger, None, &genuine), 0, "neither a neighbour's nor the supernode's link");
    let elsewhere = message_packet(A, &header(A, C, Class::Signal), &message);
    assert_eq!(hand(&mut world, B, link, Some(A), &elsewhere), 0, "for another address");
    let forged = message_packet(A, &header(C, B, Class::Signal), &message);
    assert_eq!(hand(&mut world, B, link, Some(A), &forged), 0, "from another's address");
    let stolen = crate::wire::content::SignedMessage::sign(&message, signed_grant(A), &ed(C)).unwrap();
    let stolen = packet(&good, &Payload::Message(Box::new(stolen)));
    assert_eq!(hand(&mut world, B, link, Some(A), &stolen), 0, "signed by another than its grant names");
    let datagram = packet(&good, &Payload::Datagram(Default::default()));
    assert_eq!(hand(&mut world, B, link, Some(A), &datagram), 0, "a datagram");
    let garbage = PacketBytes::new(crate::wire::packet::new_packet(&good, &[0xff; 9]).unwrap()).unwrap();
    assert_eq!(hand(&mut world, B, link, Some(A), &garbage), 0, "no payload");
}

#[test]
fn reply_of_another_than_the_receiver_changes_nothing() {
    let mut world = World::triangle();
    world.lossy.insert((A, B));
    let id = world.begin(A, B, PING, false);
    world.reply(C, A, id, Vec::new());
    assert!(world.told(A).done.is_empty());
    world.reply(B, A, id, Vec::new());
    assert_eq!(world.told(A).done.pop().unwrap().fate.status, Status::Delivered);
}

#[test]
fn peer_that_stood_still_reads_before_it_blames_anybody() {
    let mut world = World::triangle();
    let due = world.core(A).session.next_timeout().unwrap();
    world.core(A).handle_timeout(due);
    // The answer to its renewal comes while it stands still, for far longer than anybody may take.
    world.now = due + Duration::from_secs(60);
    let now = world.now;
    world.core(A).handle_timeout(now);
    world.run();
    assert!(world.core(A).home_link().is_some());
    assert_eq!(world.reports, []);
}

#[test]
fn look_up_is_answered_once_for_all_who_asked() {
    let mut world = World::triangle();
    let now = world.now;
    for n in [B, B, 9] {
        world.core(A).look_up(now, name(n));
    }
    world.run();
    let told = std::mem::take(&mut world.told(A).looked_up);
    let answer = told[0].1.as_ref().unwrap();
    assert_eq!((&told[0].0, answer.source, &answer.record), (&name(B), Source::Supernode, &Some(record(B))));
    assert_eq!(told[1], (name(9), Err(Status::NotFound)));
    assert_eq!(told.len(), 2);
    assert_eq!(world.look_ups, [B, 9].map(|n| Subject::Name(name(n))));
}

#[test]
fn neighbours_are_asked_when_no_supernode_can_be() {
    let mut world = World::new(&[A, B, C, 4], &[(A, B), (B, C), (C, 4)]);
    world.lose_home();
    let now = world.now;
    world.core(A).look_up(now, name(4));
    world.run();
    let (asked, answer) = world.told(A).looked_up.pop().unwrap();
    let answer = answer.unwrap();
    assert_eq!((asked, answer.address, answer.source, answer.stale), (name(4), address(4), Source::Neighbours, true));
    let (to_a, _) = world.link_between(B, A);
    assert!(world.told(B).sent.iter().any(|(link, frame)| *link == to_a && matches!(frame, Frame::Found(_))));
}

#[test]
fn names_are_listed_by_the_supernode_and_by_nobody_else() {
    let mut world = World::triangle();
    let now = world.now;
    let first = world.core(A).list(now, Which::After(None));
    world.run();
    let told = std::mem::take(&mut world.told(A).listed);
    assert_eq!(told, [(first, Ok(Listing { names: 3, ..Listing::refused(first, Status::Delivered) }))]);
    world.lose_home();
    let second = world.core(A).list(now, Which::After(None));
    world.run();
    assert_eq!(world.told(A).listed, [(second, Err(Status::Unavailable))]);
}
