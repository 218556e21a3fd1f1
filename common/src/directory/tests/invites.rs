//! Who may take a name in a network of invites, and when an invite ends.

use super::*;
use crate::id::InviteId;
use crate::invite::Token;

fn token(i: u32) -> Token {
    let mut token = [9; 16];
    token[..4].copy_from_slice(&i.to_be_bytes());
    Token(token)
}

fn invite(i: u32, uses: u32, minutes: Option<u32>) -> Command {
    Command::Invite { token: token(i), name: None, uses, minutes }
}

fn by(right: Right, i: u32) -> Command {
    Command::LogIn(LogIn { right, ..login(i, 0) })
}

fn invited(i: u32) -> Right {
    Right::Invite(token(i).id())
}

#[test]
fn newcomer_needs_an_invite_and_an_owner_none() {
    let mut directory = Directory::new(0);
    assert_eq!(directory.feed(by(Right::Owner, 1)), refused(Refusal::NotInvited));
    assert_eq!(directory.feed(by(invited(0), 1)), refused(Refusal::InviteUnknown));
    assert_eq!(directory.feed(invite(0, 1, None)), Outcome::Invited(token(0)));
    assert!(matches!(directory.feed(by(invited(0), 1)), Outcome::LoggedIn(_)));
    assert_eq!(directory.feed(by(invited(0), 2)), refused(Refusal::InviteSpent));
    directory.feed(Command::LogOut { session: session(1, 0) });
    assert!(matches!(directory.feed(by(Right::Owner, 1)), Outcome::LoggedIn(_)), "the name is its own");
    let renamed = LogIn { name: name(7), right: Right::Owner, ..login(2, 0) };
    assert_eq!(directory.feed(Command::LogIn(renamed)), refused(Refusal::NotInvited));
}

#[test]
fn owner_that_comes_again_by_its_invite_uses_it_no_second_time() {
    let mut directory = Directory::new(0);
    directory.feed(invite(0, 2, None));
    for stay in 0..5 {
        let entered = directory.feed(Command::LogIn(LogIn { right: invited(0), ..login(1, stay) }));
        assert!(matches!(entered, Outcome::LoggedIn(_)));
        directory.feed(Command::LogOut { session: session(1, stay) });
    }
    assert_eq!(directory.invite(&token(0).id()).unwrap().uses, 1);
}

#[test]
fn name_that_was_released_needs_an_invite_again() {
    let mut directory = Directory::new(0);
    directory.feed(invite(0, 1, None));
    directory.feed(by(invited(0), 1));
    directory.feed(Command::Release { name: name(1) });
    assert_eq!(directory.feed(by(Right::Owner, 1)), refused(Refusal::NotInvited));
    assert_eq!(directory.feed(by(invited(0), 1)), refused(Refusal::InviteSpent));
}

#[test]
fn invite_for_a_name_is_good_for_no_other() {
    let mut directory = Directory::new(0);
    directory.feed(Command::Invite { token: token(0), name: Some(name(1)), uses: 1, minutes: None });
    assert_eq!(directory.feed(by(invited(0), 2)), refused(Refusal::InviteForOther(name(1))));
    assert!(matches!(directory.feed(by(invited(0), 1)), Outcome::LoggedIn(_)));
}

#[test]
fn invite_lasts_its_minutes_and_the_one_that_had_begun() {
    let mut directory = Directory::new(0);
    assert_eq!(directory.feed(Command::Minute), Outcome::Unchanged("nothing ends"));
    directory.feed(invite(0, 9, Some(2)));
    for minute in 0..3 {
        assert!(matches!(directory.feed(by(invited(0), minute)), Outcome::LoggedIn(_)), "minute {minute}");
        assert_eq!(directory.feed(Command::Minute), Outcome::Passed { freed: vec![] });
    }
    assert_eq!(directory.feed(by(invited(0), 8)), refused(Refusal::InviteExpired));
}

#[test]
fn invites_are_bounded_and_those_that_are_over_make_room() {
    let mut directory = Directory::new(0);
    assert_eq!(directory.feed(invite(0, 0, None)), refused(Refusal::InviteForNobody));
    for i in 0..INVITES_MAX as u32 {
        directory.feed(invite(i, 1, None));
    }
    assert_eq!(directory.feed(invite(9_999, 1, None)), refused(Refusal::InvitesFull));
    directory.feed(by(invited(7), 1));
    assert_eq!(directory.feed(invite(9_999, 1, None)), Outcome::Invited(token(9_999)));
    assert_eq!(directory.invites().count(), INVITES_MAX);
    assert_eq!(directory.invite(&token(7).id()), None, "used up, and in the way");
}

#[test]
fn minutes_matter_as_long_as_a_good_invite_ends_by_them() {
    let mut directory = Directory::new(0);
    let check = |directory: &Directory| {
        let ends = directory.invites().any(|invite| invite.until.is_some());
        assert_eq!(directory.invites.has_ending(), ends);
        let restored = Directory::restore(0, &directory.snapshot().unwrap()).unwrap();
        assert_eq!(restored.invites.has_ending(), ends);
        ends
    };
    directory.feed(invite(0, 1, None));
    assert!(!check(&directory), "it ends by its use");
    directory.feed(invite(1, 2, Some(3)));
    directory.feed(by(invited(1), 1));
    assert!(check(&directory));
    directory.feed(by(invited(1), 2));
    assert!(!check(&directory), "it is used up");
    directory.feed(invite(2, 9, Some(1)));
    directory.feed(Command::Minute);
    assert!(check(&directory));
    directory.feed(Command::Minute);
    assert!(!check(&directory), "it has expired");
}

#[test]
fn snapshot_keeps_invites_and_minutes() {
    let mut directory = Directory::new(0);
    directory.feed(invite(0, 3, Some(1)));
    directory.feed(Command::Invite { token: token(1), name: Some(name(1)), uses: 1, minutes: None });
    directory.feed(Command::Minute);
    directory.feed(by(invited(0), 2));
    let bytes = directory.snapshot().unwrap();
    let mut restored = Directory::restore(0, &bytes).unwrap();
    assert_eq!(restored.snapshot().unwrap(), bytes);
    assert_eq!(restored.feed(Command::Minute), Outcome::Passed { freed: vec![] });
    assert_eq!(restored.feed(by(invited(0), 3)), refused(Refusal::InviteExpired));
    assert!(matches!(restored.feed(by(invited(1), 1)), Outcome::LoggedIn(_)));
}

#[test]
fn id_of_a_token_is_as_published() {
    assert_eq!(format!("{:?}", Token([1; 16]).id()), format!("{:?}", InviteId(EXPECTED)));
}

/// Computed by another program: the first 8 bytes of SHA-256("kith/invite-id/1\0" ‖ 01 × 16)
const EXPECTED: [u8; 8] = [0xd9, 0x70, 0x18, 0x5d, 0xd0, 0xec, 0x33, 0xae];
