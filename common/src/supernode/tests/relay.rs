use super::*;
use crate::session::admission::RELAYS_BURST;
use crate::wire::content::{Cause, Payload, Undeliverable};
use crate::wire::packet::{self, Class, Header, Mark, TTL_DEFAULT};
use crate::wire::{self, PacketBytes};

fn packet(source: Address, destination: Address, ttl: u8) -> Frame {
    let header = Header { destination, source, id: 77, ttl, class: Class::Data, congested: false, traced: false };
    Frame::Relay(PacketBytes::new(packet::new_packet(&header, b"hello").unwrap()).unwrap())
}

/// Packets among what the core says, with the links that they go to
fn packets(bench: &mut Bench) -> Vec<(u64, PacketBytes)> {
    let packet = |output: SupernodeOutput| match output {
        SupernodeOutput::Send { link, frame: Frame::Packet(packet) } => Some((link.0, packet)),
        _ => None,
    };
    bench.outputs().into_iter().filter_map(packet).collect()
}

/// The one report that the core gives `link` instead of a relay
fn given_back(bench: &mut Bench, link: u64) -> (Header, Undeliverable) {
    let packets = packets(bench);
    let [(to, packet)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(*to, link);
    let packet = packet.as_ref();
    let Payload::Undeliverable(report) = wire::decode(packet.payload()).unwrap() else { panic!("{packet:?}") };
    (*packet.header(), report)
}

#[test]
fn packet_is_relayed_to_the_home_link_and_its_way_says_so() {
    let mut bench = Bench::of(2);
    let (a, b) = (bench.address(1), bench.address(2));
    bench.frame(1, packet(a, b, TTL_DEFAULT));
    let relayed = packets(&mut bench);
    let [(2, relayed)] = &relayed[..] else { panic!("{relayed:?}") };
    let relayed = relayed.as_ref();
    assert_eq!((relayed.payload(), relayed.header().source, relayed.header().destination), (&b"hello"[..], a, b));
    let own = ShortId(u32::from_be_bytes(ed(SUPERNODE).key().0[..4].try_into().unwrap()));
    assert_eq!(relayed.entries().collect::<Vec<_>>(), [(Mark::Relay, own)]);
}

#[test]
fn packet_for_an_address_where_nobody_is_comes_back_with_410() {
    let mut bench = Bench::of(1);
    let (a, nobody) = (bench.address(1), Address(1));
    bench.frame(1, packet(a, nobody, TTL_DEFAULT));
    let (header, report) = given_back(&mut bench, 1);
    assert_eq!((header.source, header.destination, header.class), (nobody, a, Class::Signal));
    assert_eq!((report.packet, report.destination), (77, nobody));
    assert_eq!((report.status, report.cause), (Status::Gone, Cause::NoSession));
}

#[test]
fn packet_for_a_peer_whose_session_has_just_ended_comes_back_with_410() {
    let mut bench = Bench::of(2);
    let (a, b) = (bench.address(1), bench.address(2));
    bench.frame(2, Frame::Logout(Logout { session: bench.session(2) }));
    bench.settle();
    bench.frame(1, packet(a, b, TTL_DEFAULT));
    let (_, report) = given_back(&mut bench, 1);
    assert_eq!((report.destination, report.status, report.cause), (b, Status::Gone, Cause::NoSession));
}

#[test]
fn packet_for_a_peer_without_a_home_link_comes_back_with_503() {
    let mut bench = Bench::of(2);
    bench.close(2);
    bench.frame(1, packet(bench.address(1), bench.address(2), TTL_DEFAULT));
    let (_, report) = given_back(&mut bench, 1);
    assert_eq!((report.status, report.cause), (Status::Unavailable, Cause::NoSession));
}

#[test]
fn packet_for_a_peer_whose_link_closed_while_the_disk_writes_its_logout_comes_back_with_503() {
    let mut bench = Bench::of(2);
    let (a, b) = (bench.address(1), bench.address(2));
    bench.log_out_and_close(2, false);
    bench.frame(1, packet(a, b, TTL_DEFAULT));
    let (_, report) = given_back(&mut bench, 1);
    assert_eq!((report.status, report.cause), (Status::Unavailable, Cause::NoSession));
}

#[test]
fn packet_with_spent_ttl_comes_back_with_503() {
    let mut bench = Bench::of(2);
    bench.frame(1, packet(bench.address(1), bench.address(2), 0));
    let (_, report) = given_back(&mut bench, 1);
    assert_eq!((report.status, report.cause), (Status::Unavailable, Cause::TtlSpent));
}

#[test]
fn packets_over_the_rate_come_back_with_429() {
    let mut bench = Bench::of(2);
    let (a, b) = (bench.address(1), bench.address(2));
    for _ in 0..RELAYS_BURST {
        bench.frame(1, packet(a, b, TTL_DEFAULT));
    }
    assert_eq!(packets(&mut bench).iter().filter(|(link, _)| *link == 2).count(), RELAYS_BURST as usize);
    bench.frame(1, packet(a, b, TTL_DEFAULT));
    let (_, report) = given_back(&mut bench, 1);
    assert_eq!((report.status, report.cause), (Status::SlowDown, Cause::Congested));
}

#[test]
fn packet_from_anothers_address_is_dropped() {
    let mut bench = Bench::of(3);
    bench.frame(1, packet(bench.address(3), bench.address(2), TTL_DEFAULT));
    assert_eq!(bench.drain(), [""; 0]);
}
