//! Paths of receipts: who is on them, by name.

use super::members::*;
use super::world::World;
use super::*;

const TICKET: u64 = 7;

fn unnamed(n: u8) -> PathHop {
    PathHop { name: None, ..hop(n) }
}

/// What a peer was told of a path that it was to name
fn name_path(world: &mut World, n: u8, path: &[PathHop]) -> Vec<(u64, Vec<PathHop>)> {
    world.core(n).name_path(TICKET, path.to_vec());
    world.run();
    std::mem::take(&mut world.told(n).named)
}

#[test]
fn hops_near_by_are_named_at_once_and_without_a_question() {
    let mut world = World::triangle();
    let relay = PathHop { relay: true, ..unnamed(15) };
    let told = name_path(&mut world, A, &[unnamed(C), relay.clone(), hop(9)]);
    assert_eq!(told, [(TICKET, vec![hop(C), relay, hop(9)])]);
    assert_eq!(name_path(&mut world, A, &[]), [(TICKET, vec![])]);
    assert_eq!(world.look_ups, []);
}

#[test]
fn supernode_is_asked_for_the_others_and_the_path_is_told_once() {
    let mut world = World::triangle();
    world.strangers.push(record(9));
    let told = name_path(&mut world, A, &[unnamed(9), unnamed(C), unnamed(8), unnamed(9)]);
    assert_eq!(told, [(TICKET, vec![hop(9), hop(C), unnamed(8), hop(9)])], "8 is nobody");
    assert_eq!(world.look_ups, [8, 9].map(|n| Subject::ShortId(address(n).short())));
    world.advance(Duration::from_secs(60));
    assert!(world.told(A).named.is_empty() && world.core(A).mail().is_idle());
}

#[test]
fn paths_that_wait_for_one_name_are_all_told_by_it() {
    let mut world = World::triangle();
    world.strangers.push(record(9));
    for ticket in 1..=3 {
        world.core(A).name_path(ticket, vec![unnamed(9)]);
    }
    world.run();
    assert_eq!(world.told(A).named, [1, 2, 3].map(|ticket| (ticket, vec![hop(9)])));
    assert_eq!(world.look_ups.len(), 1);
}

#[test]
fn without_a_supernode_nobody_is_asked() {
    let mut world = World::triangle();
    world.strangers.push(record(9));
    world.lose_home();
    world.forget();
    assert_eq!(name_path(&mut world, A, &[unnamed(9), unnamed(C)]), [(TICKET, vec![unnamed(9), hop(C)])]);
    assert!(world.core(A).mail().is_idle());
}

#[test]
fn path_is_told_when_the_supernode_is_lost_meanwhile() {
    let mut world = World::triangle();
    world.strangers.push(record(9));
    let now = world.now;
    world.core(A).name_path(TICKET, vec![unnamed(9)]);
    // The question is out, and its answer is lost with the link.
    while world.core(A).poll_output(now).is_some() {}
    world.lose_home();
    world.advance(Duration::from_secs(10));
    assert_eq!(world.told(A).named, [(TICKET, vec![unnamed(9)])]);
}
