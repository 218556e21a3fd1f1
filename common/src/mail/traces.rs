//! What the packets of traced sends meet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{Address, MessageId};
use crate::time::Instant;
use crate::wire::content::{Choice, Hop};
use crate::wire::packet::ENTRIES_MAX;

/// What a traced message's packets met
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    packets: Vec<TracedPacket>,
}

/// One packet of a traced message
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedPacket {
    id: u64,
    sent: Instant,
    /// The neighbour that it was handed to
    pub first_hop: Address,
    /// Why routing chose this neighbour
    pub choice: Choice,
    /// Reports by the number of forwarders before, at most [`ENTRIES_MAX`]; unsigned
    pub hops: BTreeMap<u8, TracedHop>,
}

/// A forwarder's report
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedHop {
    /// As it was told
    pub hop: Hop,
    /// The time from the packet's start to the report's arrival
    pub rtt: Duration,
}

impl Trace {
    /// The packet that got farthest, the last of equals
    pub fn best(&self) -> Option<&TracedPacket> {
        self.packets.iter().max_by_key(|packet| packet.hops.len())
    }
}

/// Traces of sends that have no fate yet, and of no others: the out-box bounds them
#[derive(Debug, Default)]
pub(super) struct Traces(BTreeMap<MessageId, Trace>);

impl Traces {
    pub(super) fn begin(&mut self, id: MessageId) {
        self.0.insert(id, Trace::default());
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

    /// A forwarder's report on a packet of this message; the first of each place counts
    pub(super) fn handle_hop(&mut self, now: Instant, of: &MessageId, hop: Hop) {
        let Some(trace) = self.0.get_mut(of) else { return };
        let Some(packet) = trace.packets.iter_mut().find(|packet| packet.id == hop.packet) else { return };
        if packet.hops.len() < ENTRIES_MAX {
            let rtt = now.since(packet.sent);
            packet.hops.entry(hop.index).or_insert(TracedHop { hop, rtt });
        }
    }
}
