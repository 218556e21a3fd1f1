//! What the packets of traced sends meet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Fate, IN_FLIGHT_MAX, Outcome, Reason};
use crate::id::{Address, MessageId, Name, ShortId};
use crate::time::{Instant, Timers};
use crate::wire::content::{Choice, Hop, PathHop};
use crate::wire::packet::ENTRIES_MAX;

/// What a traced ping's packets met
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    began: Instant,
    packets: Vec<TracedPacket>,
}

/// One packet of a traced ping
#[derive(Clone, Debug, PartialEq, Eq)]
struct TracedPacket {
    id: u64,
    sent: Instant,
    first_hop: FirstHop,
    /// Reports by the number of forwarders before, at most [`ENTRIES_MAX`]; unsigned
    hops: BTreeMap<u8, TracedHop>,
}

/// To whom a packet was handed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstHop {
    /// Routing has not said yet
    Unknown,
    /// The neighbour, and why routing chose it
    Neighbour(Address, Choice),
    /// The supernode
    Home,
}

/// A forwarder's report
#[derive(Clone, Debug, PartialEq, Eq)]
struct TracedHop {
    /// As it was told
    hop: Hop,
    /// The time from the packet's start to the report's arrival
    rtt: Duration,
}

/// Somebody on the way of a traced ping
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Who; `None` for a supernode, and for somebody whose name could not be found out
    pub name: Option<Name>,
    /// Its address, or as much of it as a packet holds; `None` for the destination, if the last forwarder's report is missing
    pub address: Option<KnownAddress>,
    /// From here to there and back; `None` if its report is lost, or was slower than the answer
    pub rtt: Option<Duration>,
    /// Why the one before chose it; `None` if that one's report is missing
    pub choice: Option<Choice>,
}

/// An address, or as much of it as is known
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownAddress {
    Whole(Address),
    Upper(ShortId),
}

impl Trace {
    /// The way of the one packet that was answered; without an answer, of the one that got farthest
    ///
    /// The receiver has seen the way, and signed what it saw: so an answer that overtakes a report makes no hop vanish, and
    /// reports of other packets of the same ping are left out.
    pub fn way(&self, fate: &Fate) -> Vec<Stop> {
        if fate.reason == Reason::Replied { self.answered(fate) } else { self.farthest() }
    }

    /// The packet that was answered
    fn went(&self, path: &[PathHop]) -> Option<&TracedPacket> {
        let went = self.packets.iter().filter(|packet| packet.may_have_gone(path));
        went.max_by_key(|packet| packet.hops.len())
    }

    fn answered(&self, fate: &Fate) -> Vec<Stop> {
        let packet = self.went(&fate.path);
        let mut next = packet.and_then(TracedPacket::chosen);
        let mut stops = Vec::new();
        for (index, hop) in fate.path.iter().enumerate() {
            let report = packet.and_then(|packet| packet.report(index));
            let address = match (report, next) {
                (Some(report), _) => KnownAddress::Whole(report.hop.address),
                (None, Some((address, _))) if address.short() == hop.short => KnownAddress::Whole(address),
                (None, _) => KnownAddress::Upper(hop.short),
            };
            let choice = if hop.relay { Some(Choice::Relay) } else { next.map(|(_, choice)| choice) };
            stops.push(Stop {
                name: hop.name.clone(),
                address: Some(address),
                rtt: report.map(|report| report.rtt),
                choice,
            });
            next = report.map(|report| (report.hop.next, report.hop.choice));
        }
        // A supernode has the destination's link, and asks no routing.
        let is_relayed = fate.path.last().is_some_and(|hop| hop.relay);
        let late = packet.map_or(Duration::ZERO, |packet| packet.sent.since(self.began));
        stops.push(Stop {
            name: Some(fate.to.clone()),
            address: next.map(|(address, _)| KnownAddress::Whole(address)),
            rtt: Some(fate.elapsed.saturating_sub(late)),
            choice: if is_relayed { Some(Choice::Destination) } else { next.map(|(_, choice)| choice) },
        });
        stops
    }

    fn farthest(&self) -> Vec<Stop> {
        let Some(packet) = self.packets.iter().max_by_key(|packet| packet.hops.len()) else { return Vec::new() };
        let mut next = packet.chosen();
        let mut stops = Vec::new();
        for TracedHop { hop, rtt } in packet.hops.values() {
            // Where a report is missing, nobody says why this one was chosen.
            let choice = next.filter(|(address, _)| *address == hop.address).map(|(_, choice)| choice);
            let address = Some(KnownAddress::Whole(hop.address));
            stops.push(Stop { name: Some(hop.name.clone()), address, rtt: Some(*rtt), choice });
            next = Some((hop.next, hop.choice));
        }
        stops
    }
}

impl TracedPacket {
    fn report(&self, index: usize) -> Option<&TracedHop> {
        self.hops.get(&u8::try_from(index).ok()?)
    }

    const fn chosen(&self) -> Option<(Address, Choice)> {
        match self.first_hop {
            FirstHop::Neighbour(address, choice) => Some((address, choice)),
            FirstHop::Unknown | FirstHop::Home => None,
        }
    }

    /// Whether nothing that is known of this packet speaks against this way
    fn may_have_gone(&self, path: &[PathHop]) -> bool {
        let is_at = |index: usize, address: Address| path.get(index).is_some_and(|hop| hop.short == address.short());
        let is_first = match self.first_hop {
            FirstHop::Unknown => true,
            FirstHop::Neighbour(address, _) => path.is_empty() || is_at(0, address),
            FirstHop::Home => path.first().is_some_and(|hop| hop.relay),
        };
        is_first && self.hops.iter().all(|(index, report)| is_at(usize::from(*index), report.hop.address))
    }
}

/// How long reports of an answered packet are waited for at most, and at least: the way of a report is not that of the answer
const LATE_MAX: Duration = Duration::from_secs(1);
const LATE_MIN: Duration = Duration::from_millis(50);

/// As many times what the answer took
const LATE_FACTOR: u32 = 4;

/// Outcomes that wait for reports at most: as many as there may be sends under way. One more is told as it is
const LATE_TRACES_MAX: usize = IN_FLIGHT_MAX;

/// Traces of sends that have no fate yet, which the out-box bounds, and of answered ones that still wait for reports
#[derive(Debug, Default)]
pub(super) struct Traces {
    open: BTreeMap<MessageId, Trace>,
    /// Answered, with reports missing
    late: BTreeMap<MessageId, Outcome>,
    deadlines: Timers<MessageId>,
    /// Those of `late` that wait for nothing more
    complete: VecDeque<MessageId>,
    of_packet: BTreeMap<u64, MessageId>,
}

impl Traces {
    pub(super) fn begin(&mut self, now: Instant, id: MessageId) {
        self.open.insert(id, Trace { began: now, packets: Vec::new() });
    }

    /// Whether forwarders are to report on this ping's packets
    pub(super) fn is_traced(&self, id: &MessageId) -> bool {
        self.open.contains_key(id)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.late.is_empty() && self.of_packet.is_empty()
    }

    /// A packet of this ping leaves now, to the supernode if it is `relayed`; of interest if it is traced
    ///
    /// A report may be back before routing has said whom it chose.
    pub(super) fn handle_packed(&mut self, now: Instant, of: &MessageId, id: u64, relayed: bool) {
        if let Some(trace) = self.open.get_mut(of) {
            let first_hop = if relayed { FirstHop::Home } else { FirstHop::Unknown };
            trace.packets.push(TracedPacket { id, sent: now, first_hop, hops: BTreeMap::new() });
            self.of_packet.insert(id, *of);
        }
    }

    /// A packet was handed to a neighbour
    pub(super) fn handle_sent(&mut self, id: u64, first_hop: Address, choice: Choice) {
        if let Some(packet) = self.packet_mut(id) {
            packet.first_hop = FirstHop::Neighbour(first_hop, choice);
            self.note_complete(id);
        }
    }

    /// Nobody took a packet
    pub(super) fn handle_unsent(&mut self, id: u64) {
        let Some(trace) = self.trace_of(id) else { return };
        trace.packets.retain(|packet| packet.id != id);
        self.note_complete(id);
        self.of_packet.remove(&id);
    }

    /// A forwarder's report on a packet; the first of each number of forwarders before it counts
    pub(super) fn handle_hop(&mut self, now: Instant, hop: Hop) {
        let Some(packet) = self.packet_mut(hop.packet) else { return };
        if packet.hops.len() < ENTRIES_MAX {
            let (number, rtt) = (hop.packet, now.since(packet.sent));
            packet.hops.entry(hop.index).or_insert(TracedHop { hop, rtt });
            self.note_complete(number);
        }
    }

    /// A send has its fate; it is told at once, unless it waits for what the answer has overtaken
    pub(super) fn handle_fate(&mut self, now: Instant, fate: Fate) {
        let (id, elapsed) = (fate.id, fate.elapsed);
        let outcome = Outcome { trace: self.open.remove(&id), fate };
        if is_incomplete(&outcome) && self.late.len() < LATE_TRACES_MAX {
            self.deadlines.set(now + (elapsed * LATE_FACTOR).clamp(LATE_MIN, LATE_MAX), id);
        } else {
            self.complete.push_back(id);
        }
        self.late.insert(id, outcome);
    }

    /// The next outcome that waits for nothing more, or has waited for long enough; ask after every input
    pub(super) fn poll(&mut self, now: Instant) -> Option<Outcome> {
        let id = self.complete.pop_front().or_else(|| self.deadlines.take_due(now))?;
        self.deadlines.stop(&id);
        let outcome = self.late.remove(&id)?;
        for packet in outcome.trace.iter().flat_map(|trace| &trace.packets) {
            self.of_packet.remove(&packet.id);
        }
        Some(outcome)
    }

    /// When to call [`Self::poll`] without any input
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next_timeout()
    }

    /// The trace that a packet belongs to
    fn trace_of(&mut self, packet: u64) -> Option<&mut Trace> {
        let of = self.of_packet.get(&packet)?;
        let late = self.late.get_mut(of).and_then(|outcome| outcome.trace.as_mut());
        self.open.get_mut(of).or(late)
    }

    fn packet_mut(&mut self, id: u64) -> Option<&mut TracedPacket> {
        self.trace_of(id)?.packets.iter_mut().find(|packet| packet.id == id)
    }

    fn note_complete(&mut self, packet: u64) {
        let Some(id) = self.of_packet.get(&packet) else { return };
        let waits = self.deadlines.moment(id).is_some();
        if waits && self.late.get(id).is_some_and(|outcome| !is_incomplete(outcome)) {
            self.deadlines.stop(id);
            self.complete.push_back(*id);
        }
    }
}

/// Whether somebody on the way of the answered packet has not reported yet, or routing has not said to whom it gave it
fn is_incomplete(outcome: &Outcome) -> bool {
    let Outcome { fate, trace: Some(trace) } = outcome else { return false };
    let forwarders = fate.path.iter().filter(|hop| !hop.relay).count();
    let went = trace.went(&fate.path);
    let is_incomplete =
        went.is_some_and(|packet| packet.first_hop == FirstHop::Unknown || packet.hops.len() < forwarders);
    fate.reason == Reason::Replied && is_incomplete
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    const BEGAN: Instant = Instant::from_micros(1_000_000);

    fn at(n: u64) -> Address {
        Address(n << 32 | n)
    }

    fn after(ms: u64) -> Instant {
        BEGAN + Duration::from_millis(ms)
    }

    fn on_path(n: u64) -> PathHop {
        PathHop { short: at(n).short(), relay: false, name: Some(name(n)) }
    }

    fn name(n: u64) -> Name {
        format!("peer-{n}").parse().unwrap()
    }

    fn report(packet: u64, index: u8, n: u64, next: u64) -> Hop {
        Hop { packet, index, name: name(n), address: at(n), next: at(next), choice: Choice::KnowsDestination }
    }

    fn answered(path: Vec<PathHop>) -> Fate {
        Fate {
            id: MessageId([1; 16]),
            to: name(9),
            status: Status::Delivered,
            path,
            elapsed: Duration::from_millis(700),
            transmissions: 2,
            reason: Reason::Replied,
            words: Default::default(),
        }
    }

    /// Packet 1 goes by 2 and 3 and is lost there; packet 2, half a second later, goes by 4 and 5 and is answered
    fn trace(reports: &[(u64, Hop)]) -> Trace {
        let (mut traces, id) = (Traces::default(), MessageId([1; 16]));
        traces.begin(BEGAN, id);
        traces.handle_packed(after(0), &id, 1, false);
        traces.handle_sent(1, at(2), Choice::NearestBall(290));
        traces.handle_packed(after(500), &id, 2, false);
        for (ms, hop) in reports {
            traces.handle_hop(after(*ms), hop.clone());
        }
        // Routing may say it later than the forwarders.
        traces.handle_sent(2, at(4), Choice::NearestBall(310));
        traces.open.remove(&id).unwrap()
    }

    /// Answered after 700 ms, with these reports before
    fn late(reports: &[Hop]) -> Traces {
        let (mut traces, id) = (Traces::default(), MessageId([1; 16]));
        traces.begin(BEGAN, id);
        traces.handle_packed(BEGAN, &id, 2, false);
        reports.iter().for_each(|hop| traces.handle_hop(after(600), hop.clone()));
        traces.handle_fate(after(700), answered(vec![on_path(4), on_path(5)]));
        traces
    }

    #[test]
    fn answer_waits_for_the_reports_that_it_has_overtaken_and_for_routing() {
        let mut traces = late(&[report(2, 0, 4, 5)]);
        assert_eq!((traces.poll(after(700)), traces.next_timeout()), (None, Some(after(1700))));
        traces.handle_sent(2, at(4), Choice::NearestBall(310));
        assert_eq!(traces.poll(after(700)), None);
        traces.handle_hop(after(705), report(2, 1, 5, 9));
        let Outcome { fate, trace } = traces.poll(after(705)).unwrap();
        let way = trace.unwrap().way(&fate);
        let rtts: Vec<_> = way.iter().map(|stop| stop.rtt.map(|rtt| rtt.as_millis())).collect();
        assert_eq!(rtts, [Some(600), Some(705), Some(700)]);
        assert!(way.iter().all(|stop| stop.choice.is_some()));
        assert!(traces.is_empty() && traces.next_timeout().is_none());
    }

    #[test]
    fn report_that_is_lost_is_waited_for_a_second_at_most() {
        let mut traces = late(&[report(2, 0, 4, 5)]);
        assert_eq!(traces.poll(after(1699)), None);
        assert!(traces.poll(after(1700)).is_some() && traces.is_empty());
        traces.handle_hop(after(1701), report(2, 1, 5, 9));
        assert_eq!((traces.poll(after(1701)), traces.next_timeout()), (None, None));
    }

    #[test]
    fn packet_that_nobody_took_is_not_the_one_that_was_answered() {
        let (mut traces, id) = (Traces::default(), MessageId([1; 16]));
        traces.begin(BEGAN, id);
        for number in [1, 2, 3] {
            traces.handle_packed(BEGAN, &id, number, false);
        }
        traces.handle_sent(1, at(9), Choice::Destination);
        traces.handle_unsent(2);
        traces.handle_fate(after(700), answered(Vec::new()));
        assert_eq!(traces.poll(after(700)), None, "the third may have been it");
        traces.handle_unsent(3);
        let Outcome { fate, trace } = traces.poll(after(700)).unwrap();
        assert_eq!(trace.unwrap().way(&fate)[0].choice, Some(Choice::Destination));
        assert!(traces.is_empty());
    }

    #[test]
    fn outcome_past_the_bound_does_not_wait() {
        let mut traces = Traces::default();
        for n in 0..=LATE_TRACES_MAX as u64 {
            let id = MessageId(u128::from(n).to_be_bytes());
            traces.begin(BEGAN, id);
            traces.handle_packed(BEGAN, &id, n, false);
            traces.handle_fate(after(700), Fate { id, ..answered(vec![on_path(4)]) });
        }
        assert!(traces.poll(after(700)).is_some() && traces.poll(after(700)).is_none());
    }

    fn names(stops: &[Stop]) -> Vec<String> {
        stops.iter().map(|stop| stop.name.as_ref().map_or("?".to_owned(), ToString::to_string)).collect()
    }

    #[test]
    fn answer_is_one_packets_way_however_far_another_one_came() {
        let lost = [(10, report(1, 0, 2, 3)), (20, report(1, 1, 3, 6)), (30, report(1, 2, 6, 7))];
        let way = trace(&[&lost[..], &[(510, report(2, 0, 4, 5)), (520, report(2, 1, 5, 9))]].concat())
            .way(&answered(vec![on_path(4), on_path(5)]));
        assert_eq!(names(&way), ["peer-4", "peer-5", "peer-9"]);
        let rtts: Vec<_> = way.iter().map(|stop| stop.rtt.map(|rtt| rtt.as_millis())).collect();
        assert_eq!(rtts, [Some(10), Some(20), Some(200)], "each from this packet's start");
        assert_eq!(way[0].choice, Some(Choice::NearestBall(310)));
        assert_eq!(way[2], Stop { address: Some(KnownAddress::Whole(at(9))), ..way[2].clone() });
    }

    #[test]
    fn answer_that_overtakes_a_report_makes_no_hop_vanish() {
        let way = trace(&[(510, report(2, 0, 4, 5))]).way(&answered(vec![on_path(4), on_path(5)]));
        assert_eq!(names(&way), ["peer-4", "peer-5", "peer-9"]);
        assert_eq!((way[1].rtt, way[1].choice), (None, Some(Choice::KnowsDestination)));
        assert_eq!(way[1].address, Some(KnownAddress::Whole(at(5))), "as the forwarder before says");
        assert_eq!((way[2].address, way[2].choice), (None, None));
        let way = trace(&[]).way(&answered(vec![on_path(4), on_path(5)]));
        assert_eq!(way[1].address, Some(KnownAddress::Upper(at(5).short())));
    }

    #[test]
    fn relay_is_a_stop_of_the_way() {
        let relay = PathHop { short: at(8).short(), relay: true, name: None };
        let way = trace(&[]).way(&answered(vec![relay]));
        assert_eq!(names(&way), ["?", "peer-9"]);
        assert_eq!((way[0].choice, way[1].choice), (Some(Choice::Relay), Some(Choice::Destination)));
    }

    #[test]
    fn without_an_answer_the_packet_that_came_farthest_is_shown() {
        let lost = Fate { status: Status::TimedOut, reason: Reason::NoReply, ..answered(Vec::new()) };
        let way = trace(&[(10, report(1, 0, 2, 3)), (20, report(1, 1, 3, 6)), (510, report(2, 0, 4, 5))]).way(&lost);
        assert_eq!(names(&way), ["peer-2", "peer-3"]);
    }
}
