//! Hellos that are not as they should be: a broken build says them, another protocol, a stranger, or a way that is slow.

use std::fmt;
use std::time::Duration;

use kith_common::wire::session::{Hello, Purpose};
use kith_common::wire::{Frame, FrameKind};

use super::faults::Effect;
use super::net::{ConnId, Item, Side};
use super::world::World;
use crate::chance::Chance;

/// What is wrong with a hello
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddHello {
    /// It comes so much later than it should, if anybody still waits for it
    Late(Duration),
    /// Its body is none
    Garbled,
    /// Another frame comes in its place
    Misplaced,
    /// It wants the link for something else than whom it comes from
    OtherPurpose,
}

impl OddHello {
    /// One that is late: on both sides of the 5 s that a hello has
    pub(super) fn late(chance: &mut Chance) -> Self {
        Self::Late(chance.wait(Duration::from_secs(5)))
    }

    /// One that is wrong
    pub(super) fn wrong(chance: &mut Chance) -> Self {
        *chance.pick(&[Self::Garbled, Self::Misplaced, Self::OtherPurpose]).unwrap_or(&Self::Garbled)
    }

    const fn effect(self) -> Effect {
        match self {
            Self::Late(_) => Effect::LateHello,
            Self::Garbled | Self::Misplaced | Self::OtherPurpose => Effect::WrongHello,
        }
    }

    fn instead_of(self, hello: Hello) -> Vec<u8> {
        match self {
            Self::Garbled => undecodable(FrameKind::Hello).to_vec(),
            Self::Misplaced => undecodable(FrameKind::Table).to_vec(),
            Self::Late(_) => Frame::Hello(hello).to_bytes().unwrap_or_default(),
            Self::OtherPurpose => {
                let purpose = match hello.purpose {
                    Purpose::Neighbour => Purpose::Home,
                    Purpose::Home | Purpose::Backbone => Purpose::Neighbour,
                };
                Frame::Hello(Hello { purpose, ..hello }).to_bytes().unwrap_or_default()
            }
        }
    }
}

/// A frame of this kind whose only byte begins none
pub(super) const fn undecodable(kind: FrameKind) -> [u8; 5] {
    [kind as u8, 1, 0, 0, 0xff]
}

impl fmt::Display for OddHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(by) => write!(f, "late by {by:.1?}"),
            Self::Garbled => f.write_str("garbled"),
            Self::Misplaced => f.write_str("another frame"),
            Self::OtherPurpose => f.write_str("for another purpose"),
        }
    }
}

/// Hellos that are not said so soon after a fault are as they should be: where nobody dials, nothing is broken
const ODD_FOR: Duration = Duration::from_secs(5);

impl World {
    /// The next hellos are not as they should be, whoever says them
    pub(super) fn make_hellos_odd(&mut self, hellos: Vec<OddHello>) {
        let until = self.now() + ODD_FOR;
        self.odd_hellos = hellos.into_iter().map(|odd| (until, odd)).collect();
    }

    /// Says a hello, as it is or as a fault would have it
    pub(super) fn say_hello(&mut self, id: ConnId, side: Side, hello: Frame) {
        let Frame::Hello(said) = &hello else { return self.say(id, side, &hello) };
        let now = self.now();
        let odd = self.odd_hellos.pop_front().filter(|(until, _)| now < *until);
        let Some((_, odd)) = odd else { return self.say(id, side, &hello) };
        self.net.count(odd.effect());
        let item = Item::Bytes(odd.instead_of(said.clone()));
        let late = if let OddHello::Late(by) = odd { by } else { Duration::ZERO };
        self.net.send_late(&mut self.queue, id, side, item, late);
    }
}
