//! What people do with the mesh.

use std::time::Duration;

use kith_common::id::{Key, MessageId, Name};
use kith_common::wire::bounded::{Bounded, Bytes, Text};
use kith_common::wire::content::Call;
use kith_transport::stack::{CALL_TIMEOUT, Plan};
use kith_transport::{PING_BYTES_MAX, PING_BYTES_MIN};

use super::node::NodeId;
use crate::chance::Chance;

/// One thing that a user does
#[derive(Clone, Debug)]
pub enum Deed {
    /// Sends something to somebody, for so long; `None`: it is to arrive now or never
    Send {
        to: Name,
        bytes: Vec<u8>,
        keep: Option<Duration>,
    },
    /// Takes the oldest message that waits back
    TakeBack,
    /// Asks somebody's peer whether it is there
    Ping {
        to: Name,
        /// Whether to trace the way there
        traced: bool,
    },
    /// Pings somebody again and again
    Pings(Name),
    /// Calls a function at somebody
    Call(Name),
    /// Calls once more what was called with this id
    Repeat {
        id: MessageId,
        to: Name,
        call: Call,
    },
    /// Opens a pipe to somebody, and lets so many bytes go there and back
    Pipe {
        to: Name,
        bytes: usize,
    },
    /// Says something to somebody that may get lost
    Say(Name),
    /// Asks where somebody is
    LookUp(Name),
    /// Takes whoever has this key for the holder of the name, if its owner says that it is the right one
    Trust {
        name: Name,
        key: Key,
    },
    /// Reads all that is in the in-box
    Read,
    /// Logs out, to come back after a while
    LogOut(Duration),
    LogIn,
}

impl Deed {
    /// Some message to somebody: mostly it may wait, as most receivers are there again soon
    pub(super) fn send(to: Name, chance: &mut Chance) -> Self {
        let bytes = bytes(chance);
        let keep = match chance.below(20) {
            0..=2 => None,
            3..=6 => Some(Duration::from_secs(600)),
            _ => Some(Duration::from_secs(120)),
        };
        Self::Send { to, bytes, keep }
    }
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
        match chance.below(40) {
            0..=1 => Deed::LookUp(somebody(chance)),
            2..=4 => Deed::Read,
            5 => Deed::Ping { to: nobody(chance), traced: false },
            6 => Deed::send(nobody(chance), chance),
            7..=8 => Deed::Ping { to: somebody(chance), traced: true },
            9 => Deed::Say(somebody(chance)),
            10..=11 => Deed::Call(somebody(chance)),
            12 => Deed::Ping { to: somebody(chance), traced: false },
            13 => Deed::Pings(somebody(chance)),
            14 => Deed::TakeBack,
            15..=16 => {
                let bytes = if chance.happens(0.1) { chance.below(400_000) } else { chance.below(20_000) };
                Deed::Pipe { to: somebody(chance), bytes: bytes as usize }
            }
            _ => Deed::send(somebody(chance), chance),
        }
    }
}

fn nobody(chance: &mut Chance) -> Name {
    let text = format!("nobody-{}", chance.below(4));
    text.parse().unwrap_or_else(|_| unreachable!("a short name of plain letters"))
}

/// The `number`-th call of a run, whose result is like no other's
pub(super) fn call(number: u64) -> Call {
    let argument = Bytes::try_from(number.to_le_bytes().to_vec()).unwrap_or_default();
    Call { function: Text::truncated("echo"), arguments: Bounded::truncated([argument]) }
}

/// The series of pings that is a run's `number`-th deed of its kind: quicker than a round trip, or slower; short, or long
pub(super) fn pings(number: u64) -> Plan {
    let (count, interval_ms) = match number % 3 {
        0 => (100, 10),
        1 => (20, 100),
        _ => (5, 1_000),
    };
    let size = match number % 5 {
        0 => PING_BYTES_MAX,
        1 => PING_BYTES_MIN,
        _ => 64,
    };
    Plan { count: Some(count), interval: Duration::from_millis(interval_ms), size, timeout: CALL_TIMEOUT }
}

/// What is said in the `number`-th saying of a run, and on which channel: like no other's
pub(super) fn saying(number: u64) -> (u16, Vec<u8>) {
    ((number % 7) as u16, stamp(&[7; 40], number))
}

/// Makes what the `number`-th message of a run says differ from all others, its length unchanged
pub(super) fn stamp(bytes: &[u8], number: u64) -> Vec<u8> {
    let number = number.to_le_bytes();
    let rest = bytes.iter().skip(number.len());
    number.iter().chain(rest).copied().collect()
}

/// The result of the only function that simulated peers have
pub fn echo(call: &Call) -> Vec<u8> {
    call.arguments.iter().flat_map(|argument| argument.iter().copied()).collect()
}

/// Mostly short, as messages are; a few are of many datagrams, and fewer fit into no in-box
fn bytes(chance: &mut Chance) -> Vec<u8> {
    let len = match chance.below(400) {
        0 => 60_000,
        1..=8 => 20_000,
        _ => 20 + chance.below(200),
    };
    vec![7; len as usize]
}
