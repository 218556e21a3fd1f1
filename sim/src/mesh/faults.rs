//! What breaks, when, and for how long.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kith_common::time::Instant;

use super::hellos::OddHello;
use super::net::{Cut, Weather};
use super::node::NodeId;
use super::queue::{Event, Queue};
use crate::chance::Chance;

macro_rules! effects {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A kind of fault, and what is counted each time that it bites
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Effect { $($(#[$doc])* $name,)* }

        impl Effect {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name on the command line
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

effects! {
    /// Frames that TCP had to send again
    Loss = "loss",
    /// Packets that arrived twice
    Duplication = "duplication",
    /// Packets that a full queue dropped
    Drop = "drop",
    /// Streams that opened after one that was dialled later
    Reordering = "reordering",
    /// Frames that vanished in a stream that only one side knows to be over
    HalfOpen = "half-open",
    /// Streams that were reset under both sides
    Reset = "reset",
    /// Links of one peer that were reset each few seconds, all of them or a half
    Flap = "flap",
    /// Frames that waited as one way between two machines was cut
    OneWay = "one-way",
    /// Frames that waited as the network was in two parts
    Partition = "partition",
    /// Frames that waited as one part could not reach the other, but was reached by it
    Asymmetric = "asymmetric",
    /// Frames that waited as two parts had only one machine in common
    Bridge = "bridge",
    /// Processes that were killed and came back with their disk
    Crash = "crash",
    /// Machines that went dark and came back with their disk
    PowerCut = "power-cut",
    /// Machines that came back without their disk
    DiskLoss = "disk-loss",
    /// Supernodes that were killed and came back
    SupernodeCrash = "supernode-crash",
    /// Supernodes that were killed while they led, and came back
    LeaderCrash = "leader-crash",
    /// Frames that waited as the way from one supernode to another was cut, or all its ways to the others
    SupernodeCut = "supernode-cut",
    /// All supernodes, killed at once
    Blackout = "blackout",
    /// Supernodes that the log named for a while, and that nobody could reach
    Newcomer = "newcomer",
    /// Supernodes that were all away, for minutes
    Outage = "outage",
    /// Supernodes that were away at once, so that those that were left could not agree on anything
    NoQuorum = "no-quorum",
    /// Logs of which an older copy was put back, or none, while their supernodes were down
    LogBack = "log-back",
    /// Peers that the operator removed for good, and that came back as others
    Removal = "removal",
    /// Frames that waited as some peers could reach no supernode, for longer than a lease and an answer last
    Exile = "exile",
    /// Events that waited for a paused process
    Pause = "pause",
    /// Supernodes that stood still for about a lease, as a machine does that is moved or sleeps
    Stall = "stall",
    /// Clocks that ran at a wrong rate
    Skew = "skew",
    Jump = "jump",
    /// Writes that took long
    SlowDisk = "slow-disk",
    /// Messages that a full disk refused
    FullDisk = "full-disk",
    /// Groups of commands that a full disk kept out of the log
    FullLog = "full-log",
    /// Links on which frames came that no process of ours would send
    Babble = "babble",
    /// Hellos that came late
    LateHello = "late-hello",
    /// Hellos that were none, or for another purpose than whom they came from
    WrongHello = "wrong-hello",
}

impl Effect {
    /// What may befall a mesh whose operator does not go back, as a restored log forgets what every oracle knows; nor are
    /// stalls usual, which would fill a dense run: nothing is repaired while a supernode stands still. Nobody is removed or
    /// exiled, no majority of supernodes is away for long, and no link comes and goes for half a minute
    pub fn usual() -> impl Iterator<Item = Self> {
        use Effect::{Exile, Flap, LogBack, NoQuorum, Outage, Removal, Stall};
        let is_usual = |effect: &Self| !matches!(effect, LogBack | Stall | Removal | Exile | Flap | Outage | NoQuorum);
        Self::ALL.iter().copied().filter(is_usual)
    }
}

impl Effect {
    /// Whether it befalls supernodes that are several, and nobody else
    pub const fn is_of_several(self) -> bool {
        matches!(self, Self::LeaderCrash | Self::SupernodeCut | Self::Blackout | Self::Newcomer | Self::NoQuorum)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Effect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.iter().map(|effect| effect.as_str()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().find(|effect| effect.as_str() == text);
        found.copied().ok_or_else(|| format!("no fault is called {text}; there are: {}", all()))
    }
}

#[derive(Clone, Debug)]
pub enum Fault {
    /// Ways are cut until healed
    Cut(u64, Cut),
    /// A link, chosen by this number, is over for one side
    HalfOpen(u64),
    /// A link, chosen by this number, is over for both sides
    Reset(u64),
    /// Links of this peer with its neighbours are over for both sides: all, or (`true`) those with every other machine
    Flap(NodeId, bool),
    /// The process is killed; it comes back after a while
    Crash(NodeId, Duration),
    /// The process of the supernode that leads is killed; it comes back after a while
    LeaderCrash(Duration),
    /// The processes of all supernodes are killed; each comes back after its while
    Blackout(Vec<Duration>),
    /// The processes of these supernodes are killed; they come back together after a while
    NoQuorum(Vec<NodeId>, Duration),
    /// The machine goes dark; it comes back after a while, with its disk or a new one
    PowerCut(NodeId, Duration, bool),
    /// The log names one more supernode, whose machine never comes up, or names it no more
    Newcomer(bool),
    /// Somebody copies the supernodes' log
    CopyLog,
    /// All supernodes are killed; they come back after a while, with the log as it was copied last
    LogBack(Duration),
    /// The operator removes the peer on this machine for good
    Remove(NodeId),
    Start(NodeId),
    /// The process stands still for a while
    Pause(NodeId, Duration),
    /// … and goes on
    Resume(NodeId),
    /// The clock runs fast by so many millionths
    Skew(NodeId, i64),
    Jump(NodeId, Duration),
    /// Writes take so long on average
    SlowDisk(NodeId, Duration),
    /// The disk takes nothing, or takes again
    FullDisk(NodeId, bool),
    /// The disk of a supernode's log takes nothing, or takes again
    FullLog(NodeId, bool),
    Weather(Weather),
    /// On a link, chosen by this number, frames come that no process of ours would send
    Babble(u64),
    /// The next hellos that anybody says are not as they should be
    OddHellos(Vec<OddHello>),
}

/// The machines that may break, and how
#[derive(Clone, Debug)]
pub struct Plan {
    pub kinds: BTreeSet<Effect>,
    /// Machines that are supernodes
    pub supernodes: u32,
    pub machines: u32,
    /// Mean time from one fault to the next
    pub every: Duration,
}

/// A supernode that stands still stalls from so long on: peers have then lost their home links
pub const STALL_MIN: Duration = Duration::from_secs(20);

/// Supernodes that are away for so long leave peers that crash meanwhile nobody to log in to
pub const OUTAGE_MIN: Duration = Duration::from_secs(150);

/// Supernodes that cannot agree are so few for so long at least, and at most
pub const NO_QUORUM: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(120)];

/// A peer that crashes while there is an outage is often away for longer than this
const LONG_CRASH_MIN: Duration = Duration::from_secs(60);

/// Then sessions of those who can reach no supernode are over, and so is what was said of them
const EXILE_MIN: Duration = Duration::from_secs(90);

/// Faults that come one by one; the rest is weather
const DRAWN: &[Effect] = &[
    Effect::HalfOpen,
    Effect::Reset,
    Effect::OneWay,
    Effect::Partition,
    Effect::Asymmetric,
    Effect::Bridge,
    Effect::Crash,
    Effect::PowerCut,
    Effect::DiskLoss,
    Effect::SupernodeCrash,
    Effect::Outage,
    Effect::NoQuorum,
    Effect::LogBack,
    Effect::Removal,
    Effect::Exile,
    Effect::Pause,
    Effect::Stall,
    Effect::Skew,
    Effect::Jump,
    Effect::SlowDisk,
    Effect::FullDisk,
    Effect::FullLog,
    Effect::Flap,
    Effect::Babble,
    Effect::LateHello,
    Effect::WrongHello,
    Effect::LeaderCrash,
    Effect::SupernodeCut,
    Effect::Blackout,
    Effect::Newcomer,
];

/// A peer whose links come and go loses them so many times
const FLAPS: u32 = 10;

/// A fault of hellos concerns so many of them: a dial that fails is made again, and should meet one, too
const HELLOS: usize = 4;

impl Plan {
    /// Plans the faults from `begin` to `end`: each kind at least once, then at random
    pub fn schedule(&self, chance: &mut Chance, queue: &mut Queue, begin: Instant, end: Instant) {
        let can_be = |kind: &Effect| self.kinds.contains(kind) && (self.supernodes > 1 || !kind.is_of_several());
        let kinds: Vec<Effect> = DRAWN.iter().copied().filter(can_be).collect();
        let has = |effect| self.kinds.contains(&effect);
        let weather = |chance: &mut Chance, is: bool, max: f64| if is { chance.unit() * max } else { 0.0 };
        let mut at = begin;
        let mut first: Vec<Effect> = kinds.clone();
        for i in (1..first.len()).rev() {
            first.swap(i, chance.index(i + 1));
        }
        let mut number = 0;
        while at < end {
            number += 1;
            if number % 8 == 1 {
                let loss = weather(chance, has(Effect::Loss), 0.04) + if has(Effect::Loss) { 0.005 } else { 0.0 };
                let duplication = weather(chance, has(Effect::Duplication), 0.05);
                let drop = weather(chance, has(Effect::Drop), 0.05);
                let reordering = weather(chance, has(Effect::Reordering), 0.3);
                let weather = Weather { loss, duplication, drop, reordering, ..Weather::default() };
                queue.at(at, Event::Fault(Box::new(Fault::Weather(weather))));
            }
            if let Some(kind) = first.pop().or_else(|| chance.pick(&kinds).copied()) {
                self.plan(chance, queue, at, number, kind);
            }
            at = at + chance.wait(self.every);
        }
    }

    fn plan(&self, chance: &mut Chance, queue: &mut Queue, at: Instant, number: u64, kind: Effect) {
        let peer = self.some_peer(chance);
        let long = chance.wait(Duration::from_secs(12)) + Duration::from_secs(3);
        let mut plan = |fault| queue.at(at, Event::Fault(Box::new(fault)));
        match kind {
            Effect::HalfOpen => (0..4).for_each(|_| plan(Fault::HalfOpen(chance.below(u64::MAX)))),
            Effect::Babble => plan(Fault::Babble(chance.below(u64::MAX))),
            Effect::LateHello => plan(Fault::OddHellos((0..HELLOS).map(|_| OddHello::late(chance)).collect())),
            Effect::WrongHello => plan(Fault::OddHellos((0..HELLOS).map(|_| OddHello::wrong(chance)).collect())),
            Effect::Reset => plan(Fault::Reset(chance.below(u64::MAX))),
            Effect::Flap => {
                let (half, beat) = (chance.happens(0.5), Duration::from_millis(2_000 + chance.below(3_000)));
                for flap in 0..FLAPS {
                    queue.at(at + beat * flap, Event::Fault(Box::new(Fault::Flap(peer, half))));
                }
            }
            Effect::OneWay | Effect::Partition | Effect::Asymmetric | Effect::Bridge => {
                plan(Fault::Cut(number, self.cut(chance, kind)));
                queue.at(at + long, Event::Heal(number));
            }
            // While all supernodes are away for long, so are some peers: else nobody needs to stand in for anybody.
            Effect::Crash if self.kinds.contains(&Effect::Outage) && chance.happens(0.5) => {
                plan(Fault::Crash(peer, LONG_CRASH_MIN + chance.wait(LONG_CRASH_MIN)));
            }
            Effect::Crash => plan(Fault::Crash(peer, chance.wait(Duration::from_secs(8)))),
            Effect::PowerCut => plan(Fault::PowerCut(peer, long, true)),
            Effect::DiskLoss => plan(Fault::PowerCut(peer, long, false)),
            Effect::SupernodeCrash => {
                let node = NodeId(chance.below(self.supernodes.into()) as u32);
                plan(Fault::Crash(node, chance.wait(Duration::from_secs(5))));
            }
            Effect::LeaderCrash => plan(Fault::LeaderCrash(chance.wait(Duration::from_secs(8)))),
            Effect::Blackout => {
                let waits = (0..self.supernodes).map(|_| chance.wait(Duration::from_secs(6))).collect();
                plan(Fault::Blackout(waits));
            }
            Effect::SupernodeCut => {
                plan(Fault::Cut(number, self.cut_supernodes(chance)));
                queue.at(at + long * 2, Event::Heal(number));
            }
            Effect::Newcomer => {
                plan(Fault::Newcomer(true));
                queue.at(at + long * 2, Event::Fault(Box::new(Fault::Newcomer(false))));
            }
            Effect::Outage => {
                let pause = OUTAGE_MIN + chance.wait(Duration::from_secs(30));
                (0..self.supernodes).for_each(|node| plan(Fault::Crash(NodeId(node), pause)));
            }
            Effect::NoQuorum => {
                let [least, most] = NO_QUORUM;
                let pause = least + (most - least).mul_f64(chance.unit());
                plan(Fault::NoQuorum(self.majority(chance), pause));
            }
            Effect::LogBack => {
                // Without a copy since the last time the log begins anew, as if it had been moved away.
                if chance.happens(0.75) {
                    plan(Fault::CopyLog);
                }
                let pause = chance.wait(Duration::from_secs(5));
                queue.at(at + long, Event::Fault(Box::new(Fault::LogBack(pause))));
            }
            Effect::Exile => {
                plan(Fault::Cut(number, self.cut(chance, kind)));
                queue.at(at + EXILE_MIN + long * 4, Event::Heal(number));
            }
            Effect::Removal => {
                plan(Fault::Remove(peer));
                // Its key is good for nothing any more; until then it tries what it can.
                queue.at(at + long * 2, Event::Fault(Box::new(Fault::PowerCut(peer, Duration::from_secs(1), false))));
            }
            Effect::Pause => {
                let node = self.some(chance);
                plan(Fault::Pause(node, chance.wait(Duration::from_secs(5))));
            }
            Effect::Stall => {
                let node = NodeId(chance.below(self.supernodes.into()) as u32);
                plan(Fault::Pause(node, STALL_MIN + chance.wait(STALL_MIN)));
            }
            Effect::Skew => plan(Fault::Skew(self.some(chance), 20_000 - chance.below(40_000) as i64)),
            Effect::Jump => plan(Fault::Jump(self.some(chance), chance.wait(Duration::from_secs(8)))),
            Effect::SlowDisk => {
                let node = self.some(chance);
                plan(Fault::SlowDisk(node, chance.wait(Duration::from_millis(800))));
                queue.at(at + long, Event::Fault(Box::new(Fault::SlowDisk(node, super::world::WRITE))));
            }
            Effect::FullDisk => {
                plan(Fault::FullDisk(peer, true));
                queue.at(at + long * 2, Event::Fault(Box::new(Fault::FullDisk(peer, false))));
            }
            Effect::FullLog => {
                let node = NodeId(chance.below(self.supernodes.into()) as u32);
                // It is slow as well, before it is full and as it gets room again.
                plan(Fault::SlowDisk(node, chance.wait(Duration::from_millis(100))));
                plan(Fault::FullLog(node, true));
                queue.at(at + long, Event::Fault(Box::new(Fault::FullLog(node, false))));
                let well = Fault::SlowDisk(node, super::world::WRITE);
                queue.at(at + long + Duration::from_secs(1), Event::Fault(Box::new(well)));
            }
            Effect::Loss | Effect::Duplication | Effect::Drop | Effect::Reordering => {}
        }
    }

    /// Between a supernode and another, in one direction or both, or between it and all others
    fn cut_supernodes(&self, chance: &mut Chance) -> Cut {
        let len = self.machines as usize;
        let one = chance.index(self.supernodes as usize);
        let other = (one + 1 + chance.index(self.supernodes as usize - 1)) % self.supernodes as usize;
        let from = (0..len).map(|i| i == one).collect();
        let all = chance.happens(0.3);
        let to = (0..len).map(|i| i == other || (all && i != one && i < self.supernodes as usize)).collect();
        let (both, effect) = (chance.happens(0.7), Effect::SupernodeCut);
        Cut { from, to, both, effect, is_permanent: false }
    }

    /// So many supernodes that those that are left, one at least, are no majority
    fn majority(&self, chance: &mut Chance) -> Vec<NodeId> {
        let left = 1 + chance.index((self.supernodes as usize - 1) / 2);
        let mut all: Vec<NodeId> = (0..self.supernodes).map(NodeId).collect();
        (0..left).for_each(|_| _ = all.swap_remove(chance.index(all.len())));
        all
    }

    fn some(&self, chance: &mut Chance) -> NodeId {
        NodeId(chance.below(self.machines.into()) as u32)
    }

    fn some_peer(&self, chance: &mut Chance) -> NodeId {
        NodeId(self.supernodes + chance.below(u64::from(self.machines - self.supernodes)) as u32)
    }

    fn cut(&self, chance: &mut Chance, effect: Effect) -> Cut {
        let len = self.machines as usize;
        if effect == Effect::OneWay {
            let is = |one: NodeId| (0..len).map(|i| i == one.index()).collect();
            let (one, other) = (self.some(chance), self.some(chance));
            let other = if one == other { NodeId((other.0 + 1) % self.machines) } else { other };
            return Cut { from: is(one), to: is(other), both: false, effect, is_permanent: false };
        }
        let share = 0.1 + 0.4 * chance.unit();
        let mut from: Vec<bool> = (0..len).map(|_| chance.happens(share)).collect();
        // Somebody must be cut off, or nothing is.
        if let Some(is) = from.get_mut(self.some_peer(chance).index()) {
            *is = true;
        }
        if effect == Effect::Exile {
            let to = (0..self.machines).map(|machine| machine < self.supernodes).collect();
            from.iter_mut().take(self.supernodes as usize).for_each(|is| *is = false);
            return Cut { from, to, both: true, effect, is_permanent: false };
        }
        let mut to: Vec<bool> = from.iter().map(|is| !is).collect();
        if effect == Effect::Bridge {
            let bridge = self.some_peer(chance).index();
            for side in [&mut from, &mut to] {
                if let Some(is) = side.get_mut(bridge) {
                    *is = false;
                }
            }
        }
        Cut { from, to, both: effect != Effect::Asymmetric, effect, is_permanent: false }
    }

    /// Ways that stay cut for ever: between machines of which neither is of the healthy core, in one direction each
    pub fn permanent(&self, chance: &mut Chance, queue: &mut Queue, at: Instant, core: u32) {
        let outside: Vec<u32> = (core..self.machines).collect();
        let len = self.machines as usize;
        let is = |one: u32| (0..len).map(|i| i == one as usize).collect::<Vec<bool>>();
        for (number, one) in outside.iter().enumerate() {
            for (again, other) in outside.iter().chain(chance.pick(&outside)).enumerate() {
                if one != other && chance.happens(0.4) {
                    let cut =
                        Cut { from: is(*one), to: is(*other), both: false, effect: Effect::OneWay, is_permanent: true };
                    let id = 1 << 40 | (number as u64) << 16 | again as u64;
                    queue.at(at, Event::Fault(Box::new(Fault::Cut(id, cut))));
                }
            }
        }
    }
}
