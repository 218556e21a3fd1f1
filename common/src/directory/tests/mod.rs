//! The directory command by command, its bytes, and random histories of it.

mod bytes;
mod commands;
mod histories;
mod invites;
mod lists;
mod tables;
mod unused;

use super::*;
use crate::id::SupernodeId;
use crate::wire::session::{Location, Locations};

const HOME: SupernodeId = SupernodeId(1);

fn name(i: u32) -> Name {
    format!("peer-{i}").parse().unwrap()
}

fn key(i: u32) -> Key {
    let mut key = [0xee; 32];
    key[..4].copy_from_slice(&i.to_be_bytes());
    Key(key)
}

fn session(i: u32, stay: u8) -> SessionId {
    let mut id = [stay; 16];
    id[..4].copy_from_slice(&i.to_be_bytes());
    SessionId(id)
}

fn at_port(port: u32) -> Locations {
    let location: Location = format!("/ip4/10.0.0.1/tcp/{port}").try_into().unwrap();
    Bounded::truncated([location])
}

fn login(i: u32, stay: u8) -> LogIn {
    LogIn {
        name: name(i),
        key: key(i),
        session: session(i, stay),
        resumes: None,
        offers: None,
        salt: [7; 16],
        locations: at_port(i),
        home: HOME,
        right: Right::Anybody,
    }
}

/// Feeds a directory commands at the next index
trait Feed {
    fn feed(&mut self, command: Command) -> Outcome;
    fn enter(&mut self, login: LogIn) -> LoggedIn;
}

impl Feed for Directory {
    fn feed(&mut self, command: Command) -> Outcome {
        self.apply(self.applied() + 1, &command).outcome
    }

    fn enter(&mut self, login: LogIn) -> LoggedIn {
        match self.feed(Command::LogIn(login)) {
            Outcome::LoggedIn(entered) => entered,
            other => panic!("{other:?}"),
        }
    }
}

fn of(peers: u32) -> Directory {
    let mut directory = Directory::new(0);
    for i in 0..peers {
        directory.enter(login(i, 0));
    }
    directory
}

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

fn address(directory: &Directory, i: u32) -> Address {
    directory.by_key(&key(i)).unwrap().address
}

fn suspect(i: u32) -> Command {
    Command::Suspect { session: session(i, 0), home: HOME, reason: SuspectReason::Reported }
}
