//! What people do with the mesh.

use std::time::Duration;

use kith_common::id::Name;
use kith_common::wire::bounded::{Bounded, Bytes, Text};
use kith_common::wire::content::{Call, Content, Signal};

use super::node::NodeId;
use crate::chance::Chance;

/// One thing that a user does
#[derive(Clone, Debug)]
pub enum Deed {
    /// Sends something to somebody
    Send {
        to: Name,
        content: Content,
        /// Whether to trace its way
        traced: bool,
    },
    /// Calls a function at somebody
    Call(Name),
    /// Asks where somebody is
    LookUp(Name),
    /// Reads all that is in the in-box
    Read,
    /// Logs out, to come back after a while
    LogOut(Duration),
    LogIn,
}

/// How often users do what
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Mean time from one deed of a user to the next
    pub every: Duration,
    /// Share of deeds that are logouts
    pub logouts: f64,
}

pub fn name_of(node: u32) -> Name {
    let text = format!("peer-{node}");
    text.parse().unwrap_or_else(|_| unreachable!("a short name of plain letters"))
}

/// The machine of the peer that is called so; none has a name that nobody has
pub fn machine_of(name: &Name) -> Option<NodeId> {
    name.as_str().strip_prefix("peer-")?.parse().ok().map(NodeId)
}

/// What people call this machine, where so many are supernodes
pub(super) fn machine(node: NodeId, supernodes: u32) -> String {
    if node.0 < supernodes { format!("supernode-{}", node.0) } else { name_of(node.0).to_string() }
}

impl Habits {
    /// The next thing that a user does, among peers numbered `first..end`
    pub fn draw(&self, chance: &mut Chance, first: u32, end: u32) -> Deed {
        let somebody = |chance: &mut Chance| name_of(first + chance.below(u64::from(end - first)) as u32);
        if chance.happens(self.logouts) {
            return Deed::LogOut(chance.wait(Duration::from_secs(20)));
        }
        match chance.below(20) {
            0 => Deed::LookUp(somebody(chance)),
            1 => Deed::Read,
            2 => Deed::Send { to: nobody(chance), content: ping(), traced: false },
            3..=4 => Deed::Send { to: somebody(chance), content: ping(), traced: true },
            5 => Deed::Call(somebody(chance)),
            6 => Deed::Send { to: somebody(chance), content: ping(), traced: false },
            _ => Deed::Send { to: somebody(chance), content: data(chance), traced: false },
        }
    }
}

fn nobody(chance: &mut Chance) -> Name {
    let text = format!("nobody-{}", chance.below(4));
    text.parse().unwrap_or_else(|_| unreachable!("a short name of plain letters"))
}

const fn ping() -> Content {
    Content::Signal(Signal::Ping)
}

/// The `number`-th call of a run, whose result is like no other's
pub(super) fn call(number: u64) -> Call {
    let argument = Bytes::try_from(number.to_le_bytes().to_vec()).unwrap_or_default();
    Call { function: Text::truncated("echo"), arguments: Bounded::truncated([argument]) }
}

/// Makes the `number`-th content of a run differ from all others, its length unchanged if it is data
pub(super) fn stamp(content: Content, number: u64) -> Content {
    let number = number.to_le_bytes();
    match content {
        Content::Data(bytes) => {
            let rest = bytes.iter().skip(number.len());
            let stamped: Vec<u8> = number.iter().chain(rest).copied().collect();
            Content::Data(Bytes::try_from(stamped).unwrap_or_default())
        }
        other => other,
    }
}

/// The result of the only function that simulated peers have
pub fn echo(call: &Call) -> Vec<u8> {
    call.arguments.iter().flat_map(|argument| argument.iter().copied()).collect()
}

/// Mostly short, as messages are
pub fn data(chance: &mut Chance) -> Content {
    let len = if chance.happens(0.02) { 20_000 } else { 20 + chance.below(200) };
    Content::Data(Bytes::try_from(vec![7; len as usize]).unwrap_or_default())
}
