//! What each task of the link thread is lent: the rules, buffers, counts, and the way to the driver.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use kith_common::link::chunks::Chunks;
use kith_common::link::open::Rules;
use kith_common::wire::Priority;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::LinkEvent;
use super::buffers::Buffers;
use super::counters::Counters;
use crate::clock::Clock;

/// The floor that all tasks stand on: it knows of no link
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// How all links of this thread behave
    pub(crate) rules: Rules,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) chunks: Chunks,
    pub(crate) counters: Arc<Counters>,
    rng: RefCell<ChaCha8Rng>,
    events: mpsc::Sender<LinkEvent>,
}

impl Shared {
    pub(crate) fn new(
        clock: Clock,
        rules: Rules,
        seed: u64,
        counters: Arc<Counters>,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        Self {
            clock,
            rules,
            buffers: Rc::default(),
            chunks: Chunks::default(),
            counters,
            rng: RefCell::new(ChaCha8Rng::seed_from_u64(seed)),
            events,
        }
    }

    /// Tells the driver; false if it is gone
    pub(crate) async fn emit(&self, event: LinkEvent) -> bool {
        self.events.send(event).await.is_ok()
    }

    /// Tells the driver if there is room; else the event is given back
    pub(crate) fn try_emit(&self, event: LinkEvent) -> Option<LinkEvent> {
        match self.events.try_send(event) {
            Ok(()) => None,
            Err(TrySendError::Full(event)) => Some(event),
            // Nobody is left to be told: the thread is about to end.
            Err(TrySendError::Closed(_)) => None,
        }
    }

    /// A random number
    pub(crate) fn next_seed(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    /// Counts what was dropped, as its class of a link's queue is at the bound; control ends the link instead
    pub(crate) fn count_full(&self, priority: Priority) {
        match priority {
            Priority::Control => {}
            Priority::Signal => self.counters.dropped_signal_queue.add(1),
            Priority::Data => self.counters.dropped_data_queue.add(1),
        }
    }
}
