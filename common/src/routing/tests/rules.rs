//! The rules one by one, at a peer with a table made for each

use std::time::Duration;

use super::*;
use crate::wire::content::Choice;
use crate::wire::packet::DEAD_MAX;

const OWN: Address = Address(0x5000_0000_0000_0000);
const SOURCE: Address = Address(0x1000_0000_0000_0000);
const DESTINATION: Address = Address(0xaaaa_0000_0000_0000);
const MEMBERS: u64 = 1000;

/// Those beside `address` on the ring, to whom its links are down: they offer nothing, but leave no gap
fn beside(address: Address) -> [(Address, bool); 2] {
    [-1, 1].map(|side: i64| (Address(address.0.wrapping_add_signed(side << 40)), false))
}

fn address(n: u64) -> Address {
    Address(n << 56)
}

/// A place so near to the destination that going by it costs 2 hops and `hundredths`
fn near(hundredths: u64) -> Address {
    Address(DESTINATION.0 + hundredths * (u64::MAX / MEMBERS / 80))
}

fn view(n: u64, up: bool, table: &[Address]) -> NeighbourView {
    let address = address(n);
    let table = table.iter().map(|to| (*to, true)).chain(beside(address)).collect();
    NeighbourView { address, up, held: false, name: "v".parse().unwrap(), table, unseen: Arc::default() }
}

/// The view with one more entry in its table
fn also(view: NeighbourView, entry: (Address, bool)) -> NeighbourView {
    NeighbourView { table: view.table.iter().copied().chain([entry]).collect(), ..view }
}

fn routes(views: impl IntoIterator<Item = NeighbourView>) -> Routes {
    let silent = beside(OWN).map(|(address, up)| NeighbourView {
        address,
        up,
        held: false,
        name: "beside".parse().unwrap(),
        table: Arc::default(),
        unseen: Arc::default(),
    });
    Routes::new(OWN, 16, MEMBERS, 1, views.into_iter().chain(silent).collect())
}

/// A packet from `source` with these entries
fn packet(source: Address, entries: &[(Mark, Address)]) -> Vec<u8> {
    let mut bytes = new_packet(&header(source, DESTINATION, 7, TTL_DEFAULT), b"").unwrap();
    bytes[27] = entries.len() as u8;
    for (mark, who) in entries {
        bytes.push(*mark as u8);
        bytes.extend_from_slice(&who.short().0.to_le_bytes());
    }
    bytes
}

fn decide(routes: &Routes, bytes: &[u8], from: Option<Address>) -> Decision {
    let packet = PacketRef::parse(bytes).unwrap();
    let mut cache = RouteCache::new();
    let cold = routes.decide(&mut cache, &packet, from, Instant::ZERO);
    let warm = routes.decide(&mut cache, &packet, from, Instant::ZERO);
    assert_eq!(cold, warm);
    cold
}

/// Where this peer's own packet of that flow goes first
fn first_hop(
    routes: &Routes,
    cache: &mut RouteCache,
    destination: Address,
    flow: u64,
    avoid: &[Address],
) -> Option<(Address, Choice, Edit)> {
    let bytes = new_packet(&header(OWN, destination, flow, TTL_DEFAULT), b"").unwrap();
    match routes.first_hop(cache, &PacketRef::parse(&bytes).unwrap(), avoid, &[], Instant::ZERO) {
        Decision::Forward { to, edit, choice } => Some((to, choice, edit)),
        _ => None,
    }
}

/// Where a packet of another peer's goes that came by `way`, the last of whom gave it to us
fn next(routes: &Routes, way: &[Address]) -> Decision {
    let entries: Vec<(Mark, Address)> = way.iter().map(|who| (Mark::Way, *who)).collect();
    decide(routes, &packet(SOURCE, &entries), way.last().copied())
}

fn forward(n: u64, choice: Choice, edit: Edit) -> Decision {
    Decision::Forward { to: address(n), edit, choice }
}

fn joins_the_way() -> Edit {
    Edit { way: Some((Mark::Way, OWN.short())), ..Edit::default() }
}

fn tried() -> Edit {
    Edit { way: Some((Mark::Tried, OWN.short())), ..Edit::default() }
}

fn noting(dead: &[Address]) -> Edit {
    Edit { dead: dead.iter().map(|dead| dead.short()).collect(), ..joins_the_way() }
}

#[test]
fn packet_for_this_peer_is_delivered() {
    let routes = routes([view(1, true, &[])]);
    let bytes = new_packet(&header(address(1), OWN, 7, 0), b"").unwrap();
    assert_eq!(decide(&routes, &bytes, Some(address(1))), Decision::Deliver);
}

#[test]
fn destination_that_is_a_neighbour_is_the_next_hop() {
    let beside_it = also(view(2, true, &[DESTINATION]), (near(1), true));
    let direct = NeighbourView { address: DESTINATION, ..view(0, true, &[]) };
    let expected = Decision::Forward { to: DESTINATION, edit: joins_the_way(), choice: Choice::Destination };
    assert_eq!(next(&routes([direct, beside_it]), &[address(9)]), expected);
}

#[test]
fn next_hop_is_the_neighbour_that_has_a_link_to_the_destination() {
    let routes = routes([view(1, true, &[near(1)]), view(2, true, &[DESTINATION])]);
    assert_eq!(next(&routes, &[address(9)]), forward(2, Choice::KnowsDestination, joins_the_way()));
}

#[test]
fn next_hop_is_the_neighbour_whose_table_is_nearest_to_a_ball_of_the_destination() {
    let of_the_ball = Address(Maps::of_degree(16).iter().next().unwrap().apply(DESTINATION.0));
    let routes = |hundredths| routes([view(1, true, &[of_the_ball]), view(2, true, &[near(hundredths)])]);
    assert_eq!(next(&routes(90), &[address(9)]), forward(2, Choice::NearestBall(289), joins_the_way()));
    assert_eq!(next(&routes(110), &[address(9)]), forward(1, Choice::NearestBall(300), joins_the_way()));
}

#[test]
fn peer_that_had_the_packet_is_no_next_hop_and_no_second_one() {
    let routes = routes([view(1, true, &[near(1)]), view(2, true, &[near(2)]), view(3, true, &[near(5)])]);
    assert_eq!(next(&routes, &[address(9)]), forward(1, Choice::NearestBall(200), joins_the_way()));
    assert_eq!(next(&routes, &[address(1)]), forward(2, Choice::NearestBall(201), joins_the_way()));
    assert_eq!(next(&routes, &[near(1), address(9)]), forward(2, Choice::NearestBall(201), joins_the_way()));
    let entries = [(Mark::Tried, address(1)), (Mark::Dead, near(2)), (Mark::Way, address(9))];
    let decision = decide(&routes, &packet(SOURCE, &entries), Some(address(9)));
    assert_eq!(decision, forward(3, Choice::NearestBall(204), joins_the_way()));
}

#[test]
fn packet_goes_to_none_of_twenty_peers_that_had_it() {
    // As first and as second hops, those on the way and those that were tried.
    let visited: Vec<Address> = (2..22).map(address).collect();
    let through = |n| view(n, true, &[near(n)]);
    let views = (2..22).map(through).chain([view(1, true, &[address(3)]), view(30, true, &[near(90)])]);
    let way: Vec<(Mark, Address)> =
        visited.iter().map(|who| (if who.0 >> 56 < 12 { Mark::Tried } else { Mark::Way }, *who)).collect();
    let decision = decide(&routes(views), &packet(SOURCE, &way), visited.last().copied());
    assert!(matches!(decision, Decision::Forward { to, .. } if to == address(30)), "{decision:?}");
}

#[test]
fn source_is_no_next_hop_and_no_second_one() {
    let source = near(3);
    let routes =
        routes([NeighbourView { address: source, ..view(0, true, &[near(1)]) }, view(2, true, &[source, near(9)])]);
    let bytes = packet(source, &[]);
    assert_eq!(decide(&routes, &bytes, Some(source)), forward(2, Choice::NearestBall(208), joins_the_way()));
}

#[test]
fn neighbour_whose_link_is_down_is_noted_if_it_would_have_been_chosen() {
    let routes = routes([view(1, false, &[near(1)]), view(2, true, &[near(5)]), view(3, false, &[near(9)])]);
    let choice = Choice::NearestBall(204);
    assert_eq!(next(&routes, &[address(9)]), forward(2, choice, noting(&[address(1)])));
    let entries = [(Mark::Dead, address(1)), (Mark::Way, address(9))];
    let decision = decide(&routes, &packet(SOURCE, &entries), Some(address(9)));
    assert_eq!(decision, forward(2, choice, joins_the_way()), "noted once");
}

#[test]
fn link_of_a_neighbours_that_is_down_offers_no_way() {
    let partly_down = also(view(1, true, &[near(9)]), (near(1), false));
    let routes = routes([partly_down, view(2, true, &[near(5)])]);
    assert_eq!(next(&routes, &[address(9)]), forward(2, Choice::NearestBall(204), joins_the_way()));
}

#[test]
fn packet_notes_no_more_dead_than_its_bound_leaves_besides_the_destination() {
    let views = (1..30).map(|n| view(n, n == 29, &[near(n)]));
    let Decision::Forward { to, edit, .. } = next(&routes(views), &[address(99)]) else { panic!("not forwarded") };
    assert_eq!((to, edit.dead.len()), (address(29), DEAD_MAX - 2));
}

#[test]
fn tie_is_broken_by_the_flow() {
    let routes = routes([view(1, true, &[near(1)]), view(2, true, &[near(1)]), view(3, true, &[near(1)])]);
    let mut cache = RouteCache::new();
    let mut first_hop = |flow| first_hop(&routes, &mut cache, DESTINATION, flow, &[]).unwrap().0;
    let chosen: Vec<Address> = (0..300).map(&mut first_hop).collect();
    for n in 1..4 {
        let share = chosen.iter().filter(|chosen| **chosen == address(n)).count();
        assert!((60..140).contains(&share), "{share} of 300 by {n}");
    }
    assert_eq!(chosen, (0..300).map(first_hop).collect::<Vec<_>>());
}

#[test]
fn packet_with_nobody_left_to_try_goes_back_and_is_tried() {
    let routes = routes([view(1, true, &[]), view(2, true, &[near(3)])]);
    assert_eq!(next(&routes, &[address(9), address(2)]), Decision::Back { to: address(2), edit: tried() });
}

#[test]
fn packet_given_back_goes_to_the_next_best_and_this_peer_is_on_its_way_once() {
    let routes = routes([view(1, true, &[near(1)]), view(2, true, &[near(2)]), view(9, true, &[])]);
    let entries = [(Mark::Way, address(9)), (Mark::Way, OWN), (Mark::Tried, address(1))];
    let decision = decide(&routes, &packet(SOURCE, &entries), Some(address(1)));
    assert_eq!(decision, forward(2, Choice::NearestBall(201), Edit::default()));
}

#[test]
fn packet_given_back_with_nobody_left_goes_on_back_along_its_way() {
    let give_back = Edit { give_back: Some(OWN.short()), ..Edit::default() };
    let views = || [view(1, true, &[near(1)]), view(9, true, &[]), view(0x10, true, &[])];
    let entries = [(Mark::Way, address(9)), (Mark::Way, OWN), (Mark::Tried, address(1))];
    let decision = decide(&routes(views()), &packet(SOURCE, &entries), Some(address(1)));
    assert_eq!(decision, Decision::Back { to: address(9), edit: give_back.clone() });
    let decision = decide(&routes(views()), &packet(SOURCE, &entries[1..]), Some(address(1)));
    assert_eq!(decision, Decision::Back { to: SOURCE, edit: give_back });
    let mut views = views();
    views[1].up = false;
    let decision = decide(&routes(views), &packet(SOURCE, &entries), Some(address(1)));
    assert_eq!(decision, Decision::Undeliverable { cause: Cause::NoCandidate }, "the way back is cut");
}

#[test]
fn source_with_nobody_left_gives_up() {
    let routes = routes([view(1, true, &[near(1)])]);
    let entries = [(Mark::Tried, address(1))];
    let decision = decide(&routes, &packet(OWN, &entries), Some(address(1)));
    assert_eq!(decision, Decision::Undeliverable { cause: Cause::NoCandidate });
    let nobody = Decision::Undeliverable { cause: Cause::NoCandidate };
    assert_eq!(decide(&super::rules::routes([]), &packet(OWN, &[]), None), nobody);
}

#[test]
fn packet_from_a_relay_is_not_given_back_to_it() {
    let routes = routes([view(1, true, &[])]);
    let supernode = address(0x77);
    let decision = decide(&routes, &packet(SOURCE, &[(Mark::Relay, supernode)]), Some(supernode));
    assert_eq!(decision, Decision::Undeliverable { cause: Cause::NoCandidate });
}

#[test]
fn packet_without_hops_or_room_is_undeliverable() {
    let routes = routes([view(1, true, &[near(1)])]);
    let spent = Decision::Undeliverable { cause: Cause::TtlSpent };
    let bytes = new_packet(&header(SOURCE, DESTINATION, 7, 0), b"").unwrap();
    assert_eq!(decide(&routes, &bytes, Some(SOURCE)), spent);
    let full = [(Mark::Way, address(9)); ENTRIES_MAX];
    assert_eq!(decide(&routes, &packet(SOURCE, &full), Some(address(9))), spent);
}

#[test]
fn packet_that_was_here_before_is_undeliverable() {
    let routes = routes([view(1, true, &[near(1)])]);
    let nobody = Decision::Undeliverable { cause: Cause::NoCandidate };
    assert_eq!(next(&routes, &[OWN, address(9)]), nobody);
    let entries = [(Mark::Tried, OWN), (Mark::Way, address(9))];
    assert_eq!(decide(&routes, &packet(SOURCE, &entries), Some(address(9))), nobody);
}

#[test]
fn packet_whose_source_or_way_cannot_be_is_dropped() {
    let routes = routes([view(1, true, &[near(1)])]);
    let dropped = |source, entries: &[(Mark, Address)], from| match decide(&routes, &packet(source, entries), from) {
        Decision::Drop(DropReason::ForgedSource) => "forged source",
        Decision::Drop(DropReason::ForgedWay) => "forged way",
        other => panic!("{other:?}"),
    };
    let way = [(Mark::Way, address(9))];
    assert_eq!(dropped(SOURCE, &[], Some(address(9))), "forged source");
    assert_eq!(dropped(SOURCE, &[(Mark::Tried, address(3))], Some(address(9))), "forged source");
    assert_eq!(dropped(OWN, &[], Some(address(9))), "forged source");
    assert_eq!(dropped(OWN, &way, Some(address(9))), "forged source");
    assert_eq!(dropped(SOURCE, &way, Some(address(8))), "forged way");
    let to_us = new_packet(&header(SOURCE, OWN, 7, 9), b"").unwrap();
    assert_eq!(decide(&routes, &to_us, Some(address(9))), Decision::Drop(DropReason::ForgedSource));
}

#[test]
fn destination_whose_link_is_down_is_noted_once_and_given_up_at_the_second_note() {
    let destination = NeighbourView { address: DESTINATION, ..view(0, false, &[]) };
    let routes = routes([destination, view(1, true, &[near(1)]), view(2, true, &[near(2)])]);
    let choice = Choice::NearestBall(200);
    assert_eq!(next(&routes, &[address(9)]), forward(1, choice, noting(&[DESTINATION])));
    let entries = [(Mark::Dead, DESTINATION), (Mark::Way, OWN), (Mark::Tried, address(1))];
    let again = decide(&routes, &packet(SOURCE, &entries), Some(address(1)));
    assert_eq!(again, forward(2, Choice::NearestBall(201), Edit::default()), "our own note");
    let entries = [(Mark::Dead, DESTINATION), (Mark::Way, address(9))];
    assert_eq!(decide(&routes, &packet(SOURCE, &entries), Some(address(9))), DESTINATION_DOWN);
}

#[test]
fn packet_does_not_go_again_to_who_gave_it_back_from_the_destinations_place() {
    let direct = NeighbourView { address: DESTINATION, ..view(0, true, &[]) };
    let routes = routes([direct, view(1, true, &[near(1)]), view(2, true, &[near(2)])]);
    let new_place = address(7);
    let entries = [(Mark::Way, OWN), (Mark::Tried, new_place)];
    let noting = Edit { dead: noting(&[DESTINATION]).dead, ..Edit::default() };
    let elsewhere = decide(&routes, &packet(SOURCE, &entries), Some(DESTINATION));
    assert_eq!(elsewhere, forward(1, Choice::NearestBall(200), noting), "whoever held the place has another now");
    let entries = [(Mark::Way, OWN), (Mark::Dead, DESTINATION), (Mark::Tried, new_place), (Mark::Tried, address(1))];
    let still = decide(&routes, &packet(SOURCE, &entries), Some(address(1)));
    assert_eq!(still, forward(2, Choice::NearestBall(201), Edit::default()), "nor when another gives it back");
}

#[test]
fn packet_does_not_go_again_to_a_neighbour_that_gave_it_back_from_another_place() {
    let routes = routes([view(1, true, &[near(1)]), view(2, true, &[near(2)])]);
    let new_place = address(7);
    let entries = [(Mark::Way, OWN), (Mark::Tried, new_place)];
    let noting = Edit { dead: noting(&[address(1)]).dead, ..Edit::default() };
    let elsewhere = decide(&routes, &packet(SOURCE, &entries), Some(address(1)));
    assert_eq!(elsewhere, forward(2, Choice::NearestBall(201), noting));
    let entries = [(Mark::Way, OWN), (Mark::Dead, address(1)), (Mark::Tried, new_place), (Mark::Tried, address(2))];
    let back = decide(&routes, &packet(SOURCE, &entries), Some(address(2)));
    assert!(!matches!(back, Decision::Forward { .. }), "nor when another gives it back: {back:?}");
}

#[test]
fn neighbour_that_misses_the_destination_is_asked_first_and_believed_beside_a_note() {
    let missing = |n| also(view(n, true, &[]), (DESTINATION, false));
    let asked = forward(1, Choice::NearestBall(175), joins_the_way());
    assert_eq!(next(&routes([missing(1), view(3, true, &[near(1)])]), &[address(9)]), asked);
    let hearsay = next(&routes([missing(1), missing(2)]), &[address(9)]);
    assert!(matches!(hearsay, Decision::Forward { choice: Choice::NearestBall(175), .. }), "{hearsay:?}");
    let noted = packet(SOURCE, &[(Mark::Dead, DESTINATION), (Mark::Way, address(9))]);
    let decide = |views: Vec<NeighbourView>| decide(&routes(views), &noted, Some(address(9)));
    assert_eq!(decide(vec![missing(1)]), DESTINATION_DOWN);
    let knows = forward(3, Choice::KnowsDestination, joins_the_way());
    assert_eq!(decide(vec![missing(1), view(3, true, &[DESTINATION])]), knows);
    let nobody_there = NeighbourView {
        table: [(address(0xa9), true), (address(0xac), true)].into(),
        address: address(0xab),
        ..view(0, true, &[])
    };
    assert_eq!(decide(vec![nobody_there]), DESTINATION_DOWN);
    let silent = NeighbourView { up: false, ..missing(1) };
    assert_eq!(decide(vec![silent]), Decision::Back { to: address(9), edit: tried() });
}

#[test]
fn ranking_is_worked_out_anew_for_a_packet_that_had_all_that_was_remembered() {
    let routes = routes([view(1, true, &[near(1), near(2), near(3), near(40)])]);
    let (mut cache, way) = (RouteCache::new(), [near(1), near(2), near(3), address(9)]);
    let bytes = packet(SOURCE, &way.map(|who| (Mark::Way, who)));
    let mut decide = |bytes: &[u8]| {
        let packet = PacketRef::parse(bytes).unwrap();
        routes.decide(&mut cache, &packet, Some(address(9)), Instant::ZERO)
    };
    decide(&packet(SOURCE, &[(Mark::Way, address(9))]));
    assert_eq!(decide(&bytes), forward(1, Choice::NearestBall(239), joins_the_way()));
    assert_eq!(cache.cold_decisions(), 2);
}

#[test]
fn decision_over_the_budget_looks_at_a_small_ball_and_is_not_remembered() {
    let known = routes([view(1, true, &[near(1)])]);
    let routes = Routes::new(OWN, 16, 10_000, 1, known.views().to_vec());
    let (mut cache, destination) = (RouteCache::new(), |n: u64| Address(DESTINATION.0 + (n << 40)));
    let mut decide = |n, now| {
        let bytes = new_packet(&header(address(2), destination(n), 7, 9), b"").unwrap();
        let decision = routes.decide(&mut cache, &PacketRef::parse(&bytes).unwrap(), Some(address(2)), now);
        (matches!(decision, Decision::Forward { .. }), cache.ranked(destination(n), 1).is_some())
    };
    for n in 0..u64::from(COLD_DECISIONS_PER_SECOND) {
        assert_eq!(decide(n, Instant::ZERO), (true, true));
    }
    assert_eq!(decide(1000, Instant::ZERO), (true, false));
    assert_eq!(decide(1000, Instant::ZERO + Duration::from_millis(2)), (true, true));
}

#[test]
fn cached_ranking_ends_with_its_snapshot() {
    let old = routes([view(1, true, &[near(1)]), view(2, true, &[near(2)])]);
    let new = Routes::new(OWN, 16, MEMBERS, 2, vec![view(1, false, &[near(1)]), view(2, true, &[near(2)])]);
    let mut cache = RouteCache::new();
    let mut first_hop = |routes: &Routes| {
        let hop = first_hop(routes, &mut cache, DESTINATION, 7, &[]);
        hop.map(|(to, ..)| to)
    };
    assert_eq!(first_hop(&old), Some(address(1)));
    assert_eq!(first_hop(&new), Some(address(2)));
}

#[test]
fn first_hop_avoids_those_tried_while_there_are_others() {
    let direct = NeighbourView { address: DESTINATION, ..view(0, true, &[]) };
    let routes = routes([direct, view(1, true, &[near(1)]), view(2, true, &[near(2)])]);
    let mut cache = RouteCache::new();
    let mut first_hop = |avoid: &[Address]| {
        let hop = first_hop(&routes, &mut cache, DESTINATION, 7, avoid);
        hop.map(|(to, choice, edit)| (to, choice, edit == Edit::default()))
    };
    assert_eq!(first_hop(&[]), Some((DESTINATION, Choice::Destination, true)));
    assert_eq!(first_hop(&[DESTINATION]), Some((address(1), Choice::NearestBall(200), true)));
    assert_eq!(first_hop(&[DESTINATION, address(1)]), Some((address(2), Choice::NearestBall(201), true)));
    let all = [DESTINATION, address(1), address(2)];
    assert_eq!(first_hop(&all), Some((DESTINATION, Choice::Destination, true)));
    assert_eq!(self::first_hop(&routes, &mut cache, OWN, 7, &[]), None);
}

fn held(view: NeighbourView) -> NeighbourView {
    NeighbourView { held: true, ..view }
}

#[test]
fn link_that_is_held_back_carries_for_others_only_where_nobody_else_is_left() {
    let routes = routes([held(view(1, true, &[near(1)])), view(2, true, &[near(50)]), held(view(3, true, &[near(2)]))]);
    assert_eq!(next(&routes, &[address(9)]), forward(2, Choice::NearestBall(249), joins_the_way()));
    let tried = |more: &[(Mark, Address)]| packet(SOURCE, &[&[(Mark::Way, OWN)], more].concat());
    let hop = |more: &[(Mark, Address)], from| match decide(&routes, &tried(more), Some(from)) {
        Decision::Forward { to, .. } => Some(to),
        _ => None,
    };
    let second = (Mark::Tried, address(2));
    assert_eq!(hop(&[second], address(2)), Some(address(1)), "rather than to give it back");
    assert_eq!(hop(&[second, (Mark::Tried, address(1))], address(1)), Some(address(3)));
}

#[test]
fn peer_whose_link_is_held_back_is_reached_by_it_but_for_what_starts_here_and_has_another_way() {
    let direct = held(NeighbourView { address: DESTINATION, ..view(0, true, &[]) });
    let others = routes([direct.clone(), view(1, true, &[DESTINATION])]);
    let expected = Decision::Forward { to: DESTINATION, edit: joins_the_way(), choice: Choice::Destination };
    assert_eq!(next(&others, &[address(9)]), expected, "or those who hold it back would pass it round");
    let first = |routes: &Routes| first_hop(routes, &mut RouteCache::new(), DESTINATION, 7, &[]).map(|(to, ..)| to);
    assert_eq!(first(&others), Some(address(1)));
    assert_eq!(first(&routes([direct, view(1, true, &[near(1)])])), Some(DESTINATION));
}

#[test]
fn views_over_the_bound_are_left_out() {
    let views = (1..=100).map(|n| view(n, true, &[])).collect();
    let routes = Routes::new(OWN, 16, MEMBERS, 0, views);
    assert_eq!(routes.views().len(), crate::wire::session::NEIGHBOURS_MAX);
    assert!(routes.view(address(1)).is_some() && routes.view(address(100)).is_none());
    assert_eq!(routes.view_by_short(address(5).short()), routes.view(address(5)));
    assert_eq!(routes.view_by_short(ShortId(5)), None);
}

#[test]
fn peer_that_never_reached_the_destination_is_no_witness_of_its_death() {
    let noted = packet(SOURCE, &[(Mark::Dead, DESTINATION), (Mark::Way, address(9))]);
    let on = view(1, true, &[near(1)]);
    let down = NeighbourView { address: DESTINATION, ..view(0, false, &[]) };
    let own = routes([down, on.clone()]);
    assert_eq!(decide(&own, &noted, Some(address(9))), DESTINATION_DOWN);
    let forwards = |routes: &Routes| matches!(decide(routes, &noted, Some(address(9))), Decision::Forward { .. });
    assert!(forwards(&own.with_unseen([DESTINATION].into())), "what a peer has never seen it cannot miss");
    let missing =
        NeighbourView { unseen: [DESTINATION].into(), ..also(view(2, true, &[near(2)]), (DESTINATION, false)) };
    assert!(forwards(&routes([missing, on])), "and nor can a neighbour");
}

#[test]
fn destination_that_had_no_other_link_is_given_up_at_once() {
    let first = packet(SOURCE, &[(Mark::Way, address(9))]);
    let down =
        |table: &[(Address, bool)]| NeighbourView { address: DESTINATION, table: table.into(), ..view(0, false, &[]) };
    let by =
        |table: &[(Address, bool)]| decide(&routes([down(table), view(1, true, &[near(1)])]), &first, Some(address(9)));
    assert_eq!(by(&[(OWN, true), (address(3), false)]), DESTINATION_DOWN);
    assert!(matches!(by(&[(OWN, true), (address(3), true)]), Decision::Forward { .. }), "somebody else may reach it");
    assert!(matches!(by(&[]), Decision::Forward { .. }), "it never said who is linked to it");
}
