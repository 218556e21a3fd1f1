//! What the packets of traced sends meet.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Fate, Reason};
use crate::id::{Address, MessageId, Name, ShortId};
use crate::time::Instant;
use crate::wire::content::{Choice, Hop, PathHop};
use crate::wire::packet::ENTRIES_MAX;

/// What a traced message's packets met
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    began: Instant,
    packets: Vec<TracedPacket>,
}

/// One packet of a traced message
#[derive(Clone, Debug, PartialEq, Eq)]
struct TracedPacket {
    id: u64,
    sent: Instant,
    /// The neighbour that it was handed to
    first_hop: Address,
    /// Why routing chose this neighbour
    choice: Choice,
    /// Reports by the number of forwarders before, at most [`ENTRIES_MAX`]; unsigned
    hops: BTreeMap<u8, TracedHop>,
}

/// A forwarder's report
#[derive(Clone, Debug, PartialEq, Eq)]
struct TracedHop {
    /// As it was told
    hop: Hop,
    /// The time from the packet's start to the report's arrival
    rtt: Duration,
}

/// Somebody on the way of a traced message
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
    /// reports of other packets of the same message are left out.
    pub fn way(&self, fate: &Fate) -> Vec<Stop> {
        if fate.reason == Reason::Replied { self.answered(fate) } else { self.farthest() }
    }

    fn answered(&self, fate: &Fate) -> Vec<Stop> {
        let went = self.packets.iter().filter(|packet| packet.may_have_gone(&fate.path));
        let packet = went.max_by_key(|packet| packet.hops.len());
        let mut next = packet.map(|packet| (packet.first_hop, packet.choice));
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
        let mut next = Some((packet.first_hop, packet.choice));
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

    /// Whether nothing that is known of this packet speaks against this way
    fn may_have_gone(&self, path: &[PathHop]) -> bool {
        let is_at = |index: usize, address: Address| path.get(index).is_some_and(|hop| hop.short == address.short());
        let is_first = path.is_empty() || is_at(0, self.first_hop);
        is_first && self.hops.iter().all(|(index, report)| is_at(usize::from(*index), report.hop.address))
    }
}

/// Traces of sends that have no fate yet, and of no others: the out-box bounds them
#[derive(Debug, Default)]
pub(super) struct Traces(BTreeMap<MessageId, Trace>);

impl Traces {
    pub(super) fn begin(&mut self, now: Instant, id: MessageId) {
        self.0.insert(id, Trace { began: now, packets: Vec::new() });
    }

    /// Whether forwarders are to report on this message's packets
    pub(super) fn is_traced(&self, id: &MessageId) -> bool {
        self.0.contains_key(id)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The message has its fate
    pub(super) fn take(&mut self, id: &MessageId) -> Option<Trace> {
        self.0.remove(id)
    }

    /// A packet of this message left; of interest if it is traced
    pub(super) fn handle_sent(&mut self, now: Instant, of: &MessageId, id: u64, first_hop: Address, choice: Choice) {
        if let Some(trace) = self.0.get_mut(of) {
            trace.packets.push(TracedPacket { id, sent: now, first_hop, choice, hops: BTreeMap::new() });
        }
    }

    /// A forwarder's report on a packet of this message; the first of each address counts
    pub(super) fn handle_hop(&mut self, now: Instant, of: &MessageId, hop: Hop) {
        let Some(trace) = self.0.get_mut(of) else { return };
        let Some(packet) = trace.packets.iter_mut().find(|packet| packet.id == hop.packet) else { return };
        if packet.hops.len() < ENTRIES_MAX {
            let rtt = now.since(packet.sent);
            packet.hops.entry(hop.index).or_insert(TracedHop { hop, rtt });
        }
    }
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
            body: Default::default(),
        }
    }

    /// Packet 1 goes by 2 and 3 and is lost there; packet 2, half a second later, goes by 4 and 5 and is answered
    fn trace(reports: &[(u64, Hop)]) -> Trace {
        let (mut traces, id) = (Traces::default(), MessageId([1; 16]));
        traces.begin(BEGAN, id);
        traces.handle_sent(after(0), &id, 1, at(2), Choice::NearestBall(290));
        traces.handle_sent(after(500), &id, 2, at(4), Choice::NearestBall(310));
        for (ms, hop) in reports {
            traces.handle_hop(after(*ms), &id, hop.clone());
        }
        traces.take(&id).unwrap()
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
