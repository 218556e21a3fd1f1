//! What the other end has acknowledged: QUIC tells its congestion controller, and nobody else.
//!
//! An acknowledgement that comes proves little: QUIC repeats what it has acknowledged before. So the moment is kept at which
//! the latest of all acknowledged packets was sent.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kith_common::time::Instant;
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};

use crate::clock::{Origin, QuicInstant};

/// When the latest packet that was acknowledged had been sent; clones are the same one
#[derive(Clone, Debug)]
pub(crate) struct Acked {
    origin: Origin,
    /// In microseconds, and one more; 0: nothing was
    sent_at: Arc<AtomicU64>,
}

impl Acked {
    pub(crate) fn new(origin: Origin) -> Self {
        Self { origin, sent_at: Arc::default() }
    }

    /// `None`: nothing was acknowledged
    pub(crate) fn sent_at(&self) -> Option<Instant> {
        self.sent_at.load(Ordering::Relaxed).checked_sub(1).map(Instant::from_micros)
    }

    fn note(&self, sent: QuicInstant) {
        self.sent_at.fetch_max(self.origin.ours(sent).as_micros() + 1, Ordering::Relaxed);
    }
}

/// Makes CUBIC, and is told along with it
impl ControllerFactory for Acked {
    fn build(self: Arc<Self>, now: QuicInstant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Watched { cubic: Arc::new(CubicConfig::default()).build(now, mtu), acked: (*self).clone() })
    }
}

struct Watched {
    cubic: Box<dyn Controller>,
    acked: Acked,
}

impl Controller for Watched {
    fn on_sent(&mut self, now: QuicInstant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: QuicInstant, sent: QuicInstant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.acked.note(sent);
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: QuicInstant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: QuicInstant, sent: QuicInstant, is_persistent: bool, lost_bytes: u64) {
        self.cubic.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.cubic.on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { cubic: self.cubic.clone_box(), acked: self.acked.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
