//! Who is told of a packet, and of which packets nobody is.

use super::*;
use crate::id::ShortId;
use crate::status::Status;
use crate::wire::bounded::Bounded;
use crate::wire::content::{Hop, Payload};
use crate::wire::packet::ENTRIES_MAX;
use crate::wire::{decode, encode};

impl Node {
    /// The report that alone was queued, and for whom
    fn report(&mut self) -> (Address, Payload) {
        let [(to, bytes)] = &self.pushed()[..] else { panic!("one packet") };
        let packet = PacketRef::parse(bytes).unwrap();
        let header = packet.header();
        assert_eq!((header.source, header.class, header.traced), (HERE, Class::Signal, false));
        assert!(header.id > 1_000_000, "an id of its own");
        assert_eq!(packet.entries().count(), 0);
        assert_eq!(header.destination, *to, "the source is a neighbour here");
        (*to, decode(packet.payload()).unwrap())
    }
}

fn spent(header: Header) -> Header {
    Header { ttl: 0, ..header }
}

fn path(undeliverable: &Undeliverable) -> Vec<ShortId> {
    undeliverable.path.iter().map(|hop| hop.short).collect()
}

fn some_report() -> Vec<u8> {
    let undeliverable = Undeliverable {
        packet: 1,
        destination: C,
        status: Status::Unavailable,
        cause: Cause::NoCandidate,
        path: Bounded::new(),
    };
    encode(&Payload::Undeliverable(undeliverable)).unwrap()
}

#[test]
fn source_of_an_undeliverable_packet_is_told_the_way_so_far() {
    let mut node = Node::new();
    let header = spent(Header { source: C, ..header(NOBODY) });
    node.forward(&packet(&header, b"lost", &[(Mark::Relay, FAR), (Mark::Tried, NOBODY), (Mark::Way, A)]), A);
    let (to, Payload::Undeliverable(undeliverable)) = node.report() else { panic!("undeliverable") };
    assert_eq!((to, undeliverable.packet, undeliverable.destination), (C, 9, NOBODY));
    assert_eq!((undeliverable.status, undeliverable.cause), (Status::Unavailable, Cause::TtlSpent));
    assert_eq!(path(&undeliverable), [FAR, A, HERE].map(Address::short));
    assert_eq!(undeliverable.path.iter().map(|hop| hop.relay).collect::<Vec<_>>(), [true, false, false]);
    node.assert_counts(&[(Count::Undeliverable, 1)]);
}

#[test]
fn report_is_never_reported_on() {
    let mut node = Node::new();
    let signal = Header { class: Class::Signal, ..header(C) };
    node.forward(&packet(&spent(signal), &some_report(), &[]), A);
    node.assert_counts(&[(Count::Undeliverable, 1), (Count::DroppedReports, 1)]);
    let traced = Header { traced: true, ..signal };
    node.forward(&packet(&traced, &some_report(), &[]), A);
    assert_eq!(node.pushed().len(), 1, "it goes on, and its source does not hear of it");
    node.forward(&packet(&spent(signal), b"no report", &[]), A);
    assert!(matches!(node.report().1, Payload::Undeliverable(_)), "other signals are reported on");
}

#[test]
fn report_that_finds_no_way_is_dropped() {
    let mut node = Node::new();
    node.links.ended.insert(A);
    node.forward(&packet(&spent(header(NOBODY)), b"lost", &[]), A);
    node.links.ended.clear();
    node.links.full.insert(A);
    node.forward(&packet(&spent(header(NOBODY)), b"lost", &[]), A);
    node.assert_counts(&[(Count::Undeliverable, 2), (Count::DroppedReports, 2)]);
    assert!(node.is_limbo_empty() && node.links.returned.is_empty());
}

#[test]
fn reports_are_bounded_by_the_allowance() {
    let mut node = Node::new();
    let lost = packet(&spent(header(NOBODY)), b"lost", &[]);
    for _ in 0..REPORTS_PER_SECOND + 50 {
        node.forward(&lost, A);
    }
    assert_eq!(node.pushed().len(), REPORTS_PER_SECOND as usize);
    node.assert_counts(&[(Count::Undeliverable, u64::from(REPORTS_PER_SECOND) + 50), (Count::DroppedReports, 50)]);
    let traced = packet(&Header { traced: true, ..header(C) }, b"where", &[]);
    node.forward(&traced, A);
    assert_eq!(node.pushed().len(), 1, "the packet goes on, its hop goes unreported");
    node.forward_at(&traced, Some(A), NOW + Duration::from_secs(1));
    assert_eq!(node.pushed().len(), 2);
}

#[test]
fn packets_let_out_of_limbo_cause_no_more_reports_than_a_links() {
    let mut node = Node::new();
    let wait = |node: &mut Node, since| {
        node.links.ended.insert(C);
        for _ in 0..2 * REPORTS_PER_SECOND {
            node.forward_at(&packet(&Header { traced: true, ..header(C) }, b"where", &[]), Some(A), since);
        }
        node.links.ended.clear();
        node.pushed()
    };
    let reports = |node: &mut Node| node.pushed().iter().filter(|(to, _)| *to == A).count();
    let (count, second) = (u64::from(REPORTS_PER_SECOND), Duration::from_secs(1));
    assert!(wait(&mut node, NOW).is_empty());
    node.release(NOW);
    assert_eq!(reports(&mut node), REPORTS_PER_SECOND as usize);
    node.assert_counts(&[(Count::Forwarded, 2 * count), (Count::DroppedReports, count)]);
    assert!(node.allowance.take(NOW), "what a link may cause is its own");
    // More routes are no more reports: time alone is.
    assert!(wait(&mut node, NOW).is_empty());
    node.release(NOW);
    assert_eq!(reports(&mut node), 0);
    assert!(wait(&mut node, NOW + second).is_empty());
    node.release(NOW + second);
    assert_eq!(reports(&mut node), REPORTS_PER_SECOND as usize);
}

#[test]
fn own_packet_that_came_back_is_told_to_this_node_whatever_is_allowed() {
    let mut node = Node::new();
    node.set_routes(routes(2, &[A]), NOW);
    while node.allowance.take(NOW) {}
    let own = Header { source: HERE, traced: true, ..header(FAR) };
    node.forward(&packet(&own, b"mine", &[(Mark::Tried, A)]), A);
    let [undeliverable] = &node.links.returned[..] else { panic!("one") };
    assert_eq!((undeliverable.packet, undeliverable.destination), (9, FAR));
    assert_eq!((undeliverable.cause, path(undeliverable)), (Cause::NoCandidate, Vec::new()));
    assert!(node.links.pushed.is_empty());
    node.assert_counts(&[(Count::Undeliverable, 1)]);
}

#[test]
fn own_packet_that_came_back_and_meets_a_full_queue_is_told_to_this_node() {
    let mut node = Node::new();
    node.links.full.insert(C);
    let own = Header { source: HERE, ..header(C) };
    node.forward(&packet(&own, b"mine", &[(Mark::Tried, A)]), A);
    assert_eq!(node.links.returned.iter().map(|returned| returned.cause).collect::<Vec<_>>(), [Cause::Congested]);
    node.assert_counts(&[(Count::DroppedDataQueue, 1)]);
}

#[test]
fn full_queue_is_told_to_the_source_of_data_alone() {
    let mut node = Node::new();
    node.links.full.insert(C);
    node.forward(&packet(&header(C), b"data", &[]), A);
    let (to, Payload::Undeliverable(undeliverable)) = node.report() else { panic!("undeliverable") };
    assert_eq!((to, undeliverable.cause), (A, Cause::Congested));
    assert_eq!(path(&undeliverable), [HERE.short()]);
    node.forward(&packet(&Header { class: Class::Signal, ..header(C) }, b"signal", &[]), A);
    assert!(node.pushed().is_empty());
    node.assert_counts(&[(Count::DroppedDataQueue, 1), (Count::DroppedSignalQueue, 1)]);
}

#[test]
fn full_trailer_is_as_good_as_a_spent_ttl() {
    let mut node = Node::new();
    let mut entries = vec![(Mark::Tried, NOBODY); ENTRIES_MAX - 1];
    entries.push((Mark::Way, A));
    let full = packet(&Header { source: C, ..header(FAR) }, b"", &entries);
    node.forward(&full, A);
    let (to, Payload::Undeliverable(undeliverable)) = node.report() else { panic!("undeliverable") };
    assert_eq!((to, undeliverable.cause), (C, Cause::TtlSpent));
    node.links.trailer_full.insert(C);
    node.forward(&packet(&header(C), b"", &[]), A);
    let (to, Payload::Undeliverable(undeliverable)) = node.report() else { panic!("undeliverable") };
    assert_eq!((to, undeliverable.cause), (A, Cause::TtlSpent));
    node.assert_counts(&[(Count::Undeliverable, 2)]);
}

#[test]
fn path_of_a_report_is_cut_at_its_bound() {
    let mut node = Node::new();
    let mut entries = vec![(Mark::Way, FAR); ENTRIES_MAX - 1];
    entries.push((Mark::Way, A));
    node.forward(&packet(&Header { source: C, ..header(FAR) }, b"", &entries), A);
    let (_, Payload::Undeliverable(undeliverable)) = node.report() else { panic!("undeliverable") };
    assert_eq!(undeliverable.path.len(), ENTRIES_MAX);
}

#[test]
fn traced_packet_is_reported_with_its_next_hop() {
    let mut node = Node::new();
    let traced = Header { source: C, traced: true, ..header(A) };
    node.forward(&packet(&traced, b"where", &[(Mark::Tried, NOBODY), (Mark::Way, FAR), (Mark::Way, C)]), C);
    let pushed = node.pushed();
    let [(next, _), report] = &pushed[..] else { panic!("the packet, then the report") };
    assert_eq!(*next, A);
    node.links.pushed = vec![report.clone()];
    let (to, Payload::Hop(hop)) = node.report() else { panic!("a hop") };
    let name = "here".parse().unwrap();
    let choice = Choice::Destination;
    assert_eq!((to, hop), (C, Hop { packet: 9, index: 2, name, address: HERE, next: A, choice }));
    node.assert_counts(&[(Count::Forwarded, 1)]);
}

#[test]
fn traced_packet_that_is_given_back_is_reported_too() {
    let mut node = Node::new();
    node.set_routes(routes(2, &[A]), NOW);
    node.forward(&packet(&Header { traced: true, ..header(FAR) }, b"?", &[]), A);
    node.links.pushed.remove(0);
    let (_, Payload::Hop(hop)) = node.report() else { panic!("a hop") };
    assert_eq!((hop.index, hop.next, hop.choice), (0, A, Choice::Back));
}
