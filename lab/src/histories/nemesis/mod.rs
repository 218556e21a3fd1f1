//! What happens to supernodes while clients write their history: one thing after the other, each undone again.
//!
//! Each says whether it bit, by what the supernodes themselves show: a fault that nobody notices proves nothing.

mod clock;
mod disk;
mod partition;
mod process;
mod replace;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

pub(super) use self::disk::BYTES as DISK_BYTES;
use self::partition::Shape;
use super::client::Shared;
use super::history::Micros;
use crate::draw::Draw;
use crate::error::LabError;
use crate::mesh::Lab;
use crate::names;

/// From one fault to the next, once the last one is mended
const CALM: Duration = Duration::from_secs(2);
/// How often it is looked whether a fault has bitten
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What happens to supernodes while a history is made
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Faults {
    /// Nothing
    None,
    /// Any of them, the leader as often as not, is killed, stopped or paused for half a second to six
    Any,
    /// The leader is killed, and started once the others have another one
    KillLeader,
    /// One of them is cut off from the others, in both directions or in one, or two hear each other only through a third
    Partition,
    /// The disk of one of them is full for a while
    FullDisk,
    /// The time of day of one of them jumps by an hour, forth or back
    Clock,
    /// The one that is there longest is replaced by a new one
    Members,
    /// All of these, as far as this machine can
    All,
}

impl Faults {
    /// What can happen if these are wanted, each once, in this order
    pub(super) fn nemeses(wanted: &[Self]) -> Vec<Self> {
        let all = [Self::Any, Self::KillLeader, Self::Partition, Self::FullDisk, Self::Clock, Self::Members];
        let is_wanted = |fault: &Self| wanted.contains(fault) || wanted.contains(&Self::All);
        all.into_iter().filter(is_wanted).collect()
    }
}

/// One fault
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Broken {
    pub(crate) kind: &'static str,
    pub(crate) what: String,
    /// When, since the history began
    pub(crate) at_s: f64,
    /// The longest time without a write that was acknowledged, from then until the next fault
    pub(crate) without_write_s: f64,
    /// Whether the supernodes showed it
    pub(crate) bit: bool,
    /// Why it could not be done or undone
    pub(crate) failed: Option<String>,
    #[serde(skip)]
    pub(super) at: Micros,
}

/// What was done, and whether it bit
struct Done {
    what: String,
    bit: bool,
}

/// Whoever breaks the supernodes of a lab
pub(super) struct Breaker<'a> {
    lab: &'a Lab,
    shared: Arc<Shared>,
    draw: Draw,
    /// Those that are supernodes at present, whether they run or not; who is there longest comes first
    supernodes: Vec<String>,
    /// How many there ever were
    count: usize,
    /// By how many seconds the time of day is wrong at each that was told so
    offsets: Vec<(String, i64)>,
}

impl<'a> Breaker<'a> {
    pub(super) fn new(lab: &'a Lab, shared: Arc<Shared>, supernodes: usize, seed: u64) -> Self {
        let names = (0..supernodes).map(names::supernode).collect();
        let draw = Draw::of(seed, "faults");
        Self { lab, shared, draw, supernodes: names, count: supernodes, offsets: Vec::new() }
    }

    /// Breaks and mends until it is over, or `rounds` times; what was done
    pub(super) fn run(mut self, nemeses: &[Faults], rounds: usize) -> Vec<Broken> {
        let mut faults = Vec::new();
        while faults.len() < rounds && !self.wait(CALM) {
            let Some(nemesis) = nemeses.get(self.draw.below(nemeses.len())) else { return faults };
            let at = self.shared.now();
            let (kind, done) = self.strike(*nemesis);
            let (what, bit, failed) = match done {
                Ok(done) => (done.what, done.bit, None),
                Err(error) => (kind.to_owned(), false, Some(error.to_string())),
            };
            if self.shared.is_over() && !bit && failed.is_none() {
                // It was cut short, and might have bitten.
                break;
            }
            let broken = Broken { kind, what, at_s: at as f64 / 1e6, without_write_s: 0.0, bit, failed, at };
            self.lab.progress().say(&broken.line());
            faults.push(broken);
        }
        self.shared.end();
        faults
    }

    fn strike(&mut self, nemesis: Faults) -> (&'static str, Result<Done, LabError>) {
        match nemesis {
            Faults::None | Faults::All | Faults::Any => self.process(),
            Faults::KillLeader => (process::KILL_LEADER, self.kill_leader()),
            Faults::Partition => {
                let shape = Shape::drawn(&mut self.draw, self.supernodes.len());
                (shape.kind(), self.partition(shape))
            }
            Faults::FullDisk => (disk::KIND, self.full_disk()),
            Faults::Clock => (clock::KIND, self.clock()),
            Faults::Members => (replace::KIND, self.replace()),
        }
    }

    /// One of the supernodes, the leader as often as not
    fn any(&mut self) -> String {
        let leader = self.lab.leader().ok().map(|leader| leader.name);
        let any = self.supernodes.get(self.draw.below(self.supernodes.len())).cloned();
        leader.filter(|_| self.draw.below(2) == 0).or(any).unwrap_or_default()
    }

    fn others(&self, than: &str) -> Vec<String> {
        self.supernodes.iter().filter(|name| *name != than).cloned().collect()
    }

    /// From `from_ms` milliseconds up to `to_ms`
    fn span(&mut self, from_ms: usize, to_ms: usize) -> Duration {
        Duration::from_millis((from_ms + self.draw.below(to_ms.saturating_sub(from_ms))) as u64)
    }

    /// Waits for so long, and looks meanwhile whether the fault shows
    fn watch(&self, span: Duration, shows: impl Fn(&Lab) -> bool) -> bool {
        let (until, mut bit) = (Instant::now() + span, false);
        while Instant::now() < until {
            bit = bit || shows(self.lab);
            thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
        bit
    }

    /// Waits until the fault shows, or for so long; whether it does
    fn watch_until(&self, limit: Duration, shows: impl Fn(&Lab) -> bool) -> bool {
        let until = Instant::now() + limit;
        while Instant::now() < until && !self.shared.wait(LOOK_EVERY) {
            if shows(self.lab) {
                return true;
            }
        }
        false
    }

    /// Waits until all agree again, three times out of four: the next fault may come while too few do
    fn settle(&mut self) -> Result<(), LabError> {
        let waits = self.draw.below(4) > 0 && !self.shared.is_over();
        if waits { self.lab.wait_agreed().map(drop) } else { Ok(()) }
    }

    /// Waits; whether it is over
    fn wait(&self, span: Duration) -> bool {
        self.shared.wait(span)
    }
}

impl Broken {
    fn line(&self) -> String {
        let ending = match (&self.failed, self.bit) {
            (Some(error), _) => format!(": FAILED: {error}"),
            (None, false) => ": nobody noticed".to_owned(),
            (None, true) => String::new(),
        };
        format!("{:.1} s: {}{ending}", self.at_s, self.what)
    }
}

/// How often there was a fault of each kind, how often it bit, and how often it could not be done or undone
pub(super) fn counts(faults: &[Broken]) -> Vec<Count> {
    let mut counts: Vec<Count> = Vec::new();
    for fault in faults {
        let one = Count { kind: fault.kind, faults: 1, bit: fault.bit.into(), failed: fault.failed.is_some().into() };
        match counts.iter_mut().find(|count| count.kind == fault.kind) {
            Some(count) => count.add(&one),
            None => counts.push(one),
        }
    }
    counts.sort_by_key(|count| count.kind);
    counts
}

/// Of one kind of faults
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub(crate) kind: &'static str,
    pub(crate) faults: usize,
    pub(crate) bit: usize,
    pub(crate) failed: usize,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.faults += other.faults;
        self.bit += other.bit;
        self.failed += other.failed;
    }

    /// Whether it was of use, and left nothing behind
    pub(super) const fn held(&self) -> bool {
        self.bit > 0 && self.failed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_each_of_them_once_and_none_is_none() {
        assert_eq!(Faults::nemeses(&[Faults::None]), []);
        assert_eq!(Faults::nemeses(&[Faults::Clock, Faults::Any, Faults::Clock]), [Faults::Any, Faults::Clock]);
        assert_eq!(Faults::nemeses(&[Faults::All, Faults::Clock]).len(), 6);
    }

    #[test]
    fn kind_of_fault_that_never_bit_or_once_failed_did_not_hold() {
        let fault = |kind, bit, failed: bool| {
            let failed = failed.then(|| "why".to_owned());
            Broken { kind, what: kind.to_owned(), at_s: 0.0, without_write_s: 0.0, bit, failed, at: 0 }
        };
        let faults =
            [fault("b", true, false), fault("a", false, false), fault("b", false, false), fault("c", true, true)];
        let counts = counts(&faults);
        let held: Vec<(&str, usize, bool)> = counts.iter().map(|count| (count.kind, count.bit, count.held())).collect();
        assert_eq!(held, [("a", 0, false), ("b", 1, true), ("c", 1, false)]);
    }
}
