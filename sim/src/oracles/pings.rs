//! A series of pings is what it says: each pong answers a ping that was sent, by whoever was pinged, once, and no sooner than
//! bytes can come there and back; its summary adds up, and its end comes in time.
//!
//! Source: the docs of `kith_transport`'s series, and ping(8)'s meaning of the same words. What is seen from outside: packets of
//! either that the other has taken, how far machines are from each other, and the time.
//!
//! QUIC drops a packet that comes twice, whatever has doubled it, so that nobody is answered twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::{Address, MessageId, Name};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::content::PayloadKind;
use kith_transport::stack::{Pinged, Plan, Pong, Tally};

use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::{machine_of, name_of};
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

/// Clocks may run a fiftieth fast or slow
const CLOCK: u32 = 45;
/// What a step, and a process that is woken late, add to the time of a series
const LATE: Duration = Duration::from_secs(9);

/// A hundred pings a second of so many bytes are less than a new connection may have under way
const SMALL_BYTES: usize = 64;

/// In so long a connection that nothing comes by has another way, or is known to be lost and made anew
const HEALING: Duration = Duration::from_secs(3);

/// A series that has no end yet
#[derive(Debug)]
struct Series {
    node: NodeId,
    to: Name,
    plan: Plan,
    begun: Instant,
    /// When its process was last seen not to run
    held: Instant,
    /// By how much its process's clock has jumped since
    jumped: Duration,
    answered: BTreeSet<u64>,
    least: Option<Duration>,
    most: Option<Duration>,
    reordered: u64,
}

impl Series {
    /// Pings that its process may have sent by its clock: of a series that begins at once
    fn sent_max(&self, now: Instant) -> u64 {
        let passed = now - self.begun + self.jumped;
        let due = 1 + ((passed + passed / CLOCK).as_micros() / self.plan.interval.as_micros()) as u64;
        self.plan.count.map_or(due, |count| count.min(due))
    }

    /// What it may take in all: its connection, its pings, and the last answer
    fn lasts_max(&self) -> Duration {
        let pings = u32::try_from(self.plan.count.unwrap_or_default()).unwrap_or(u32::MAX);
        let lasts = 2 * self.plan.timeout + self.plan.interval.saturating_mul(pings);
        lasts + lasts / CLOCK + LATE
    }
}

/// What came of a series
#[derive(Debug)]
struct Ended {
    node: NodeId,
    to: Name,
    begun: Instant,
    tally: Tally,
    /// In a mesh where all is well: what is sent until a connection that was there before has found its way anew, or is made
    /// anew; and all but one of more bytes than a new connection may have under way, as QUIC drops the oldest that wait
    may_be_lost: u64,
    reason: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Pings {
    series: BTreeMap<MessageId, Series>,
    ended: Vec<Ended>,
    /// Whose each place is, or was
    places: BTreeMap<Address, NodeId>,
    /// When each machine last took a packet of a connection that another one had sent
    taken: BTreeMap<(NodeId, NodeId), Instant>,
    distances: Vec<Duration>,
    core: u32,
    has_liars: bool,
}

impl Pings {
    /// Nothing is pinged yet
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self { core: config.core(), has_liars: config.liars > 0, ..Self::default() }
    }

    /// From one machine to another and back by the shortest way; nothing before it was looked at
    fn there_and_back(&self, one: NodeId, other: NodeId) -> Duration {
        let distance = |node: NodeId| self.distances.get(node.index()).copied().unwrap_or_default();
        if one == other { Duration::ZERO } else { 2 * (distance(one) + distance(other)) }
    }

    fn judge_pong(&self, now: Instant, node: NodeId, pong: &Pong) -> Result<(), String> {
        let Some(series) = self.series.get(&pong.series).filter(|series| series.node == node) else {
            return Err(format!("an answer to a ping that nobody has sent: {pong:?}"));
        };
        let (to, sequence, time) = (&series.to, pong.sequence, pong.time);
        let sent_max = series.sent_max(now);
        if !(1..=sent_max).contains(&sequence) {
            return Err(format!("{to} is said to have answered ping {sequence} of {sent_max}"));
        }
        if pong.is_duplicate || series.answered.contains(&sequence) {
            return Err(format!("ping {sequence} to {to} is answered twice"));
        }
        if pong.bytes != series.plan.size {
            return Err(format!("a ping of {} bytes to {to} is answered with {}", series.plan.size, pong.bytes));
        }
        let is_overtaken = series.answered.last().is_some_and(|last| *last > sequence);
        if pong.is_reordered != is_overtaken || pong.is_late != (time > series.plan.timeout) {
            return Err(format!("ping {sequence} to {to} is answered otherwise than it is said: {pong:?}"));
        }
        let Some(other) = machine_of(to) else {
            return Err(format!("{to} has answered a ping, which is nobody's name"));
        };
        let least = self.there_and_back(node, other);
        if time + time / CLOCK + Duration::from_micros(1) < least {
            return Err(format!("{to} has answered ping {sequence} in {time:?}, and is {least:?} away and back"));
        }
        let sent = Instant::from_micros(now.as_micros().saturating_sub((time + time / CLOCK).as_micros() as u64 + 1));
        let has_taken = |by: NodeId, of: NodeId| self.taken.get(&(by, of)).is_some_and(|at| *at >= sent);
        if node != other && !(has_taken(other, node) && has_taken(node, other)) {
            return Err(format!("ping {sequence} is answered, and {to} has taken nothing since, or has said nothing"));
        }
        Ok(())
    }

    fn note_pong(&mut self, pong: &Pong) {
        let Some(series) = self.series.get_mut(&pong.series) else { return };
        series.reordered += u64::from(series.answered.last().is_some_and(|last| *last > pong.sequence));
        series.answered.insert(pong.sequence);
        series.least = Some(series.least.map_or(pong.time, |least| least.min(pong.time)));
        series.most = Some(series.most.map_or(pong.time, |most| most.max(pong.time)));
    }

    fn judge_end(
        &self,
        now: Instant,
        node: NodeId,
        id: &MessageId,
        tally: &Tally,
        status: Status,
    ) -> Result<(), String> {
        let Some(series) = self.series.get(id).filter(|series| series.node == node) else {
            return Err("a series of pings ends that nobody has begun, or for the second time".into());
        };
        let (to, answered) = (&series.to, series.answered.len() as u64);
        let counted = (tally.received, tally.duplicates, tally.reordered, tally.least, tally.most);
        if counted != (answered, 0, series.reordered, series.least, series.most) {
            return Err(format!("{answered} pings to {to} were answered, and the summary says otherwise: {tally:?}"));
        }
        let is_between = tally.least <= tally.mean() && tally.mean() <= tally.most;
        if tally.lost() + tally.received != tally.sent || tally.sent > series.sent_max(now) || !is_between {
            return Err(format!("the summary of pings to {to} does not add up: {tally:?}"));
        }
        if (status == Status::Delivered) != (answered > 0) {
            return Err(format!("{answered} pings to {to} were answered, and their asker is told {status}"));
        }
        Ok(())
    }
}

impl Oracle for Pings {
    fn name(&self) -> &'static str {
        "pings"
    }

    fn fault(&mut self, _: Instant, fault: &Fault) {
        if let Fault::Jump(node, by) = fault {
            self.series.values_mut().filter(|series| series.node == *node).for_each(|series| series.jumped += *by);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Agreed(directory) => {
                let sessions = directory.sessions();
                let places = sessions.filter_map(|session| Some((session.address, machine_of(&session.name)?)));
                self.places.extend(places);
            }
            Observation::Delivered { packet } if PayloadKind::of(packet) == Some(PayloadKind::Datagram) => {
                if let Some(from) = self.places.get(&packet.header().source) {
                    self.taken.insert((node, *from), now);
                }
            }
            Observation::Pinging { id, to, plan } => {
                let series = Series {
                    node,
                    to: (*to).clone(),
                    plan: **plan,
                    begun: now,
                    held: now,
                    jumped: Duration::ZERO,
                    answered: BTreeSet::new(),
                    least: None,
                    most: None,
                    reordered: 0,
                };
                self.series.insert(*id, series);
            }
            Observation::Pinged(Pinged::Answered(pong)) => {
                self.judge_pong(now, node, pong)?;
                self.note_pong(pong);
            }
            Observation::Pinged(Pinged::Troubled { series, .. }) if !self.series.contains_key(series) => {
                return Err("a series of pings that is over has trouble".into());
            }
            Observation::Pinged(Pinged::Ended { series, tally, status, reason, .. }) => {
                self.judge_end(now, node, series, tally, *status)?;
                let series = self.series.remove(series);
                // That this is true the oracle of fates sees with calls.
                if let Some(Series { node, to, plan, begun, .. }) =
                    series.filter(|_| !matches!(status, Status::AnotherKey | Status::NotAllowed))
                {
                    let healing = (HEALING.as_micros() / plan.interval.as_micros()) as u64;
                    let may_be_lost = if plan.size > SMALL_BYTES { tally.sent } else { healing };
                    self.ended.push(Ended { node, to, begun, tally: *tally, may_be_lost, reason: reason.clone() });
                }
            }
            Observation::Killed => self.series.retain(|_, series| series.node != node),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if self.distances.is_empty() {
            self.distances = world.nodes.iter().map(|node| world.net.distance(node.id)).collect();
        }
        let now = world.now();
        for series in self.series.values_mut() {
            if !world.node(series.node).runs() {
                series.held = now;
            }
            if now - series.held > series.lasts_max() {
                let (from, to, age) = (name_of(series.node.0), &series.to, now - series.begun);
                return Err(format!(
                    "{from} has pinged {to} for {age:?}, and there is no end of it: {:?}",
                    series.plan
                ));
            }
        }
        Ok(())
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        let Some(settled) = world.settled.filter(|_| !self.has_liars) else { return Ok(()) };
        let names: BTreeSet<Name> = (world.config.supernodes..self.core).map(name_of).collect();
        let is_whole = |one: &&Ended| one.begun >= settled && one.node.0 < self.core && names.contains(&one.to);
        let wants = |one: &&Ended| world.node(one.node).wants_session;
        for Ended { node, to, tally, may_be_lost, reason, .. } in self.ended.iter().filter(is_whole).filter(wants) {
            if tally.lost() > *may_be_lost || tally.received == 0 {
                let from = name_of(node.0);
                return Err(format!("{from} has pinged {to} in a whole mesh, and got {tally:?}: {reason:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: u8) -> Pings {
        let plan = Plan { count: Some(9), interval: Duration::from_secs(1), size: 64, timeout: Duration::from_secs(9) };
        let series = Series {
            node: NodeId(1),
            to: name_of(2),
            plan,
            begun: Instant::ZERO,
            held: Instant::ZERO,
            jumped: Duration::ZERO,
            answered: BTreeSet::from([2]),
            least: None,
            most: None,
            reordered: 0,
        };
        let distances = vec![Duration::from_millis(number.into()); 3];
        let now = Instant::ZERO + Duration::from_secs(5);
        let taken = [((NodeId(1), NodeId(2)), now), ((NodeId(2), NodeId(1)), now)].into();
        Pings { series: [(MessageId([1; 16]), series)].into(), distances, taken, ..Pings::default() }
    }

    #[test]
    fn pong_that_cannot_be_is_objected_to_in_words() {
        let now = Instant::ZERO + Duration::from_secs(5);
        let good = Pong {
            series: MessageId([1; 16]),
            sequence: 3,
            bytes: 64,
            time: Duration::from_millis(40),
            is_duplicate: false,
            is_reordered: false,
            is_late: false,
        };
        let pings = place(10);
        assert_eq!(pings.judge_pong(now, NodeId(1), &good), Ok(()));
        let soon = Duration::from_millis(30);
        let table = [
            (Pong { series: MessageId([2; 16]), ..good.clone() }, "nobody has sent"),
            (Pong { sequence: 0, ..good.clone() }, "ping 0 of 6"),
            (Pong { sequence: 7, ..good.clone() }, "ping 7 of 6"),
            (Pong { sequence: 2, ..good.clone() }, "answered twice"),
            (Pong { bytes: 63, ..good.clone() }, "answered with 63"),
            (Pong { sequence: 1, ..good.clone() }, "otherwise than it is said"),
            (Pong { is_late: true, ..good.clone() }, "otherwise than it is said"),
            (Pong { time: soon, ..good.clone() }, "is 40ms away and back"),
        ];
        for (pong, words) in table {
            let said = pings.judge_pong(now, NodeId(1), &pong);
            assert!(said.as_ref().is_err_and(|said| said.contains(words)), "{words}: {said:?}");
        }
        let silent = Pings { taken: BTreeMap::new(), ..place(10) };
        assert!(silent.judge_pong(now, NodeId(1), &good).is_err_and(|said| said.contains("has taken nothing")));
    }
}
