//! A grant from far away: whose name it is decides the directory, not the grant.

use super::super::*;
use super::members::*;
use super::world::World;
use crate::crypto::Signer;
use crate::id::Address;
use crate::mail::CONFIRM_WAIT;
use crate::wire::content::Message;
use crate::wire::packet::Class;
use crate::wire::session::{Record, Subject};

/// Somebody who is in no table near by
const FAR: u8 = 9;

impl World {
    /// A message of a stranger's comes, by the supernode if there is one; what the receiver kept of it, and whether as confirmed
    fn receive(&mut self, id: u8) -> Option<bool> {
        let data = Content::Data(b"hello".to_vec().try_into().unwrap());
        let message = Message { id: MessageId([id; 16]), to: name(B), content: data };
        let packet = message_packet(FAR, &header(FAR, B, Class::Data), &message);
        // Nobody replies to a stranger: there is no way to it.
        self.peers.get_mut(&B).unwrap().is_disk_stuck = true;
        let (now, home) = (self.now, self.peers[&B].core.home_link());
        let (link, from) = home.map_or_else(|| (self.link_between(B, A).0, Some(address(A))), |home| (home, None));
        self.core(B).handle_packet(now, link, from, &packet.as_ref());
        self.run();
        self.told(B).kept.pop().map(|(_, message)| message.confirmed)
    }
}

#[test]
fn sender_of_whom_the_directory_knows_is_confirmed_by_one_question_a_lease() {
    let mut world = World::triangle();
    world.strangers = vec![record(FAR)];
    world.forget();
    assert_eq!([1, 2, 3].map(|id| world.receive(id)), [Some(true); 3]);
    assert_eq!(world.look_ups, [Subject::Name(name(FAR))]);
    world.advance(Duration::from_secs(30));
    assert_eq!(world.receive(4), Some(true));
    assert_eq!(world.look_ups.len(), 2);
}

#[test]
fn message_under_a_name_that_is_anothers_now_or_nobodys_is_not_kept() {
    let mut world = World::triangle();
    world.strangers = vec![Record { key: ed(8).key(), ..record(FAR) }];
    assert_eq!(world.receive(1), None);
    let mut world = World::triangle();
    assert_eq!(world.receive(1), None);
}

#[test]
fn message_of_a_session_that_ended_is_kept_as_unconfirmed() {
    let mut world = World::triangle();
    world.strangers = vec![Record { address: Address(77), ..record(FAR) }];
    assert_eq!(world.receive(1), Some(false));
}

#[test]
fn without_a_supernode_the_last_answer_holds_and_who_was_never_confirmed_is_marked() {
    let mut world = World::triangle();
    world.lose_home();
    assert_eq!(world.receive(1), Some(false));
    let mut world = World::triangle();
    world.strangers = vec![record(FAR)];
    assert_eq!(world.receive(1), Some(true));
    world.lose_home();
    world.advance(Duration::from_secs(100));
    assert_eq!(world.receive(2), Some(true));
}

#[test]
fn neighbours_are_confirmed_by_the_table_without_a_question() {
    let mut world = World::triangle();
    let data = Content::Data(b"hello".to_vec().try_into().unwrap());
    world.forget();
    world.send(A, B, data);
    assert!(world.told(B).kept.iter().all(|(_, message)| message.confirmed));
    assert_eq!(world.look_ups, []);
    assert!(CONFIRM_WAIT < crate::mail::SEND_TIMEOUT);
}
