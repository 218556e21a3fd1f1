//! Who was removed is out: of tables, of links, and unanswered.

use super::super::*;
use super::members::*;
use super::world::World;
use crate::crypto::Signer;
use crate::wire::Frame;
use crate::wire::content::{Message, Signal};
use crate::wire::packet::Class;

impl World {
    /// The supernode bars the key of `who`, and tells these peers
    pub(super) fn remove(&mut self, who: u8, told: &[u8]) {
        let before = self.removed.mark();
        assert!(self.removed.push(ed(who).key()));
        for n in told {
            let page = self.removed_after(&before);
            self.send_home(*n, Frame::Removed(page));
        }
        self.run();
    }

    /// To how many a peer has a link that is up
    fn live(&self, n: u8) -> usize {
        self.peers[&n].core.neighbourhood().live_links().count()
    }

    fn knows(&self, n: u8, removed: u8) -> bool {
        self.peers[&n].core.removed().contains(&ed(removed).key())
    }
}

#[test]
fn link_of_a_removed_peer_ends_and_no_other_is_taken() {
    let mut world = World::triangle();
    world.remove(C, &[A, B]);
    assert_eq!([A, B, C].map(|n| world.live(n)), [1, 1, 0]);
    // It dials again and again, by a grant that is good to whoever does not know better.
    world.lose_home();
    world.advance(Duration::from_secs(60));
    assert_eq!([A, B, C].map(|n| world.live(n)), [1, 1, 0]);
    let neighbours = world.peers[&A].core.neighbourhood().neighbours();
    assert_eq!(neighbours.iter().map(|n| n.name.clone()).collect::<Vec<_>>(), [name(B)], "it is in no table");
}

#[test]
fn ping_of_a_removed_peer_is_not_answered() {
    let mut world = World::triangle();
    let message = Message { id: MessageId([7; 16]), to: name(B), content: Content::Signal(Signal::Ping) };
    let packet = message_packet(C, &header(C, B, Class::Signal), &message);
    world.forget();
    world.relay(&packet);
    world.run();
    assert_eq!(world.told(B).sent.len(), 1, "before it was removed");
    world.remove(C, &[A, B]);
    world.forget();
    world.relay(&packet);
    world.run();
    assert!(world.told(B).sent.is_empty());
}

#[test]
fn peer_without_a_supernode_learns_of_removals_from_its_neighbours() {
    let mut world = World::new(&[A, B, C, 4], &[(A, B), (B, C), (C, 4)]);
    world.remove(4, &[A]);
    assert_eq!([A, B, C].map(|n| world.knows(n, 4)), [true, false, false]);
    assert_eq!(world.live(C), 2);
    world.lose_home();
    world.advance(Duration::from_secs(30));
    assert_eq!([A, B, C].map(|n| world.knows(n, 4)), [true; 3]);
    assert_eq!([A, B, C, 4].map(|n| world.live(n)), [2, 2, 2, 0], "the others have found each other, and not it");
}

#[test]
fn peer_that_logs_in_is_told_who_was_removed_before() {
    let mut world = World::asleep(&[A, B]);
    assert!(world.removed.push(ed(9).key()));
    world.advance(Duration::ZERO);
    assert!(world.knows(A, 9) && world.knows(B, 9));
}

#[test]
fn names_of_removed_peers_are_forgotten() {
    let mut world = World::triangle();
    let is_known =
        |world: &World| world.peers[&A].core.names().remembered(world.now).any(|(record, _)| record.name == name(C));
    assert!(is_known(&world));
    world.remove(C, &[A]);
    assert!(!is_known(&world));
}
