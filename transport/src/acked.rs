//! What the other end has acknowledged, and what is lost: QUIC tells its congestion controller, and nobody else.
//!
//! An acknowledgement that comes proves little: QUIC repeats what it has acknowledged before. So each packet is told once, with
//! the moment at which it was sent.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_common::mutant::{self, Mutant};
use kith_common::time::Instant;
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};

use crate::clock::{Origin, QuicInstant};

/// What became of something that was sent
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    /// One packet
    Acknowledged,
    /// Some packets at once, of which the last was sent then
    Lost,
}

/// When it was sent, how many bytes it had, and what became of it
pub(crate) type News = (Instant, u64, Became);

/// What became of what was sent, since it was asked for last; clones are the same one
///
/// One thread drives a connection: there is a lock only because QUIC wants its controllers to be fit for many.
#[derive(Clone, Debug)]
pub(crate) struct Acked {
    origin: Origin,
    news: Arc<Mutex<Vec<News>>>,
    is_probing: Arc<AtomicBool>,
}

impl Acked {
    pub(crate) fn new(origin: Origin) -> Self {
        Self { origin, news: Arc::default(), is_probing: Arc::default() }
    }

    /// Whether the next packet goes out however much is under way
    ///
    /// What was lost counts as under way until something newer is acknowledged; while that fills the window nothing newer is
    /// sent, and QUIC's own probes come half as often each time. So a probe that another way calls for passes the window.
    pub(crate) fn probe(&self, is_probing: bool) {
        self.is_probing.store(is_probing && !mutant::is(Mutant::ProbesWaitForWindow), Ordering::Relaxed);
    }

    /// In the order in which it came
    pub(crate) fn take(&self) -> Vec<News> {
        std::mem::take(&mut *self.news())
    }

    fn news(&self) -> MutexGuard<'_, Vec<News>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, sent: QuicInstant, bytes: u64, became: Became) {
        let sent = self.origin.ours(sent);
        self.news().push((sent, bytes, became));
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
        self.acked.note(sent, bytes, Became::Acknowledged);
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: QuicInstant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: QuicInstant, sent: QuicInstant, is_persistent: bool, lost_bytes: u64) {
        // A full queue on the way is told likewise, without a loss.
        if lost_bytes > 0 {
            self.acked.note(sent, lost_bytes, Became::Lost);
        }
        self.cubic.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.cubic.on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        if self.acked.is_probing.load(Ordering::Relaxed) { u64::MAX } else { self.cubic.window() }
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
