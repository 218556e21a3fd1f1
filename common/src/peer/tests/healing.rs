//! The mesh without a supernode: stand-ins, and peers that come back.

use super::members::*;
use super::world::{Node, World};
use super::*;
use crate::session::membership::Standing;

const D: u8 = 4;

/// Four in a row; in a ring of four of degree 4 everybody is everybody's neighbour
fn row() -> World {
    World::new(&[A, B, C, D], &[(A, B), (B, C), (C, D)])
}

fn live(world: &World) -> [usize; 4] {
    [A, B, C, D].map(|n| world.peers.get(&n).map_or(0, |node| node.core.neighbourhood().live_links().count()))
}

/// Starts a peer anew with what is on its disk
fn restart(world: &mut World, n: u8) {
    let stay = world.told(n).stay.take().expect("a stay");
    world.kill(n);
    world.peers.insert(n, Node::new(n, world.now, Some(stay)));
}

#[test]
fn peers_without_a_home_link_with_whoever_the_tables_should_have() {
    let mut world = row();
    world.lose_home();
    world.advance(Duration::from_secs(2));
    assert_eq!(live(&world), [1, 2, 2, 1], "another home may be found in a moment");
    world.advance(Duration::from_secs(20));
    assert_eq!(live(&world), [3; 4]);
    let sent = world.send(A, D, PING);
    assert_eq!((sent.fate.status, sent.fate.path.len()), (Status::Delivered, 0), "straight there");
}

#[test]
fn gap_that_a_dead_peer_leaves_is_closed_without_a_supernode() {
    let mut world = row();
    world.lose_home();
    // So short that nobody could ask ahead: the one in the middle is all that connects them.
    world.advance(Duration::from_secs(4));
    world.kill(B);
    world.advance(Duration::from_secs(30));
    assert_eq!(live(&world), [2, 0, 2, 2]);
    assert_eq!(world.send(A, D, PING).fate.status, Status::Delivered);
}

#[test]
fn with_a_home_its_table_counts_again() {
    let mut world = row();
    world.lose_home();
    world.advance(Duration::from_secs(30));
    assert_eq!(live(&world), [3; 4]);
    world.is_home_up = true;
    world.advance(Duration::from_secs(30));
    world.rewire(&[(A, B), (B, C), (C, D)]);
    world.advance(Duration::from_secs(10));
    assert_eq!(live(&world), [1, 2, 2, 1]);
}

#[test]
fn peer_that_starts_without_a_supernode_comes_back_among_its_last_neighbours() {
    let mut world = World::asleep(&[A, B, C, D]);
    world.advance(Duration::ZERO);
    world.rewire(&[(A, B), (B, C), (C, D)]);
    world.advance(Duration::from_secs(20));
    world.lose_home();
    restart(&mut world, D);
    world.advance(Duration::from_secs(4));
    assert!(world.peers[&D].core.own().is_none(), "a supernode may answer yet");
    world.advance(Duration::from_secs(20));
    assert!(world.peers[&D].core.is_guest());
    assert_eq!(live(&world), [3, 2, 3, 2], "as the tables of four should be");
    assert_eq!(world.send(D, A, PING).fate.status, Status::Delivered);
    world.is_home_up = true;
    world.advance(Duration::from_secs(60));
    assert!(!world.peers[&D].core.is_guest());
    assert!(matches!(world.peers[&D].core.standing(), Standing::LoggedIn { .. }));
}

#[test]
fn peer_that_was_told_to_leave_does_not_come_back_as_a_guest() {
    let mut world = row();
    let now = world.now;
    world.core(D).log_out(now);
    world.advance(Duration::from_secs(1));
    world.lose_home();
    world.advance(Duration::from_secs(60));
    assert!(world.peers[&D].core.own().is_none());
}

#[test]
fn stay_of_another_name_or_key_is_not_used() {
    for (of, is_back) in [(D, true), (C, false)] {
        let mut world = World::asleep(&[A, B, C, D]);
        world.advance(Duration::ZERO);
        world.rewire(&[(A, B), (B, C), (C, D)]);
        world.advance(Duration::from_secs(20));
        let stay = world.told(of).stay.take();
        world.lose_home();
        world.kill(D);
        world.peers.insert(D, Node::new(D, world.now, stay));
        world.advance(Duration::from_secs(30));
        assert_eq!(world.peers[&D].core.own().is_some(), is_back);
    }
}

#[test]
fn who_was_removed_neither_stands_in_nor_comes_back() {
    let mut world = World::asleep(&[A, B, C, D]);
    world.advance(Duration::ZERO);
    world.rewire(&[(A, B), (B, C), (C, D)]);
    world.advance(Duration::from_secs(20));
    let stay = world.told(D).stay.take();
    world.remove(D, &[A, B, C]);
    world.lose_home();
    world.kill(D);
    world.peers.insert(D, Node::new(D, world.now, stay));
    world.advance(Duration::from_secs(60));
    assert_eq!(live(&world), [2, 2, 2, 0]);
}

#[test]
fn stays_are_written_now_and_then_and_not_with_each_table() {
    let mut world = World::asleep(&[A, B]);
    world.advance(Duration::ZERO);
    assert!(world.told(A).stay.take().is_some(), "at once");
    for _ in 0..5 {
        let rewire = world.rewire_of(A, &[(A, B)]);
        world.epoch += 1;
        world.send_home(A, crate::wire::Frame::Rewire(rewire));
        world.run();
    }
    assert_eq!(world.told(A).stay, None);
    world.advance(Duration::from_secs(11));
    assert!(world.told(A).stay.take().is_some_and(|stay| stay.rewire.epoch.index == world.epoch - 1));
}
