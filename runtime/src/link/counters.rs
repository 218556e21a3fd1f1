//! What the link thread counts: for status, for tests, and for whoever wonders where a packet went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kith_common::time::Instant;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of the whole link thread, since its start
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)* }

        /// [`Counters`] at one moment
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// All of them now; each is exact, together they may be a few frames apart
            pub fn counts(&self) -> Counts {
                Counts { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Frames read
    frames_in,
    /// Bytes read, after decryption
    bytes_in,
    /// Bytes written, before encryption
    bytes_out,
    /// Writes; bytes over writes is how well frames are gathered
    writes,
    /// Packets for this node
    delivered,
    /// Packets of this node's own, handed to a first hop
    originated,
    /// Packets passed on
    forwarded,
    /// Packets given back to where they came from
    given_back,
    /// Packets that nobody was left to try for
    undeliverable,
    /// Frames that could not be decoded
    decode_errors,
    /// Connections refused before the handshake, by a limit
    refused_connections,
    /// Handshakes and hellos that failed
    failed_handshakes,
    /// Of these, those that were not computed, as their diallers had left
    left_diallers,
    /// Links opened
    opened,
    /// Links closed
    closed,
    /// Dropped: the data queue of the next hop was full
    dropped_data_queue,
    /// Dropped: the signal queue of the next hop was full
    dropped_signal_queue,
    /// Dropped: this node takes its packets too slowly
    dropped_delivery,
    /// Dropped: the link to the next hop had just ended, and too much waited already
    dropped_no_link,
    /// Dropped: they came over a link that is not a neighbour's
    dropped_not_neighbour,
    /// Dropped: for this node, which takes nothing of their kind
    dropped_no_receiver,
    /// Dropped: what it says of its source or of its way cannot be true
    dropped_forged,
    /// Dropped: a packet about a packet, over its rate or without a way
    dropped_reports,
}

/// A number that only grows
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Its value
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one link tells of itself, readable from any thread
#[derive(Debug, Default)]
pub struct LinkGauges {
    /// Bytes read, after decryption
    pub bytes_in: Counter,
    /// Bytes written, before encryption
    pub bytes_out: Counter,
    rtt_micros: AtomicU64,
    /// The moment in microseconds; 0: it is not silent
    silent_since: AtomicU64,
}

impl LinkGauges {
    /// Since when the other side owes an answer, if it has missed one
    pub fn silent_since(&self) -> Option<Instant> {
        Some(self.silent_since.load(Ordering::Relaxed)).filter(|micros| *micros > 0).map(Instant::from_micros)
    }

    pub(crate) fn set_silent_since(&self, since: Option<Instant>) {
        let micros = since.map_or(0, |since| since.as_micros().max(1));
        // Nearly always it is not silent, and stays so: then a read of the core's own cache line is all that it costs.
        if self.silent_since.load(Ordering::Relaxed) != micros {
            self.silent_since.store(micros, Ordering::Relaxed);
        }
    }

    /// The smoothed round trip; `None` before the first answered probe
    pub fn rtt(&self) -> Option<Duration> {
        match self.rtt_micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        self.rtt_micros.store(micros.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_a_copy_of_the_counters() {
        let counters = Counters::default();
        counters.forwarded.add(3);
        assert_eq!(counters.counts(), Counts { forwarded: 3, ..Counts::default() });
    }

    #[test]
    fn round_trip_is_unknown_until_set() {
        let gauges = LinkGauges::default();
        assert_eq!(gauges.rtt(), None);
        gauges.set_rtt(Duration::from_nanos(10));
        assert_eq!(gauges.rtt(), Some(Duration::from_micros(1)));
    }

    #[test]
    fn silence_is_told_until_a_byte_comes() {
        let gauges = LinkGauges::default();
        assert_eq!(gauges.silent_since(), None);
        gauges.set_silent_since(Some(Instant::from_micros(7)));
        assert_eq!(gauges.silent_since(), Some(Instant::from_micros(7)));
        gauges.set_silent_since(None);
        assert_eq!(gauges.silent_since(), None);
    }
}
