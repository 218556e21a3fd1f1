//! What the tasks of one link share: its core, and how they wake each other.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;

use kith_common::id::Key;
use kith_common::link::open::{self, IDLE_SLACK, SendError};
use kith_common::link::reason::CloseReason;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Purpose;

use super::counters::LinkGauges;
use super::shared::Shared;
use super::wake::Wake;
use super::{LinkId, Opened};

/// What the tasks of one link share
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) key: Key,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) purpose: Purpose,
    /// The dial that made it; `None` for one that came in
    pub(crate) dial: Option<u64>,
    /// Whether the log has told of it
    pub(crate) is_told: Cell<bool>,
    /// Borrowed within one call, never across an await
    pub(crate) core: RefCell<open::Link>,
    /// Wakes the writer
    pub(crate) written: Wake,
    /// Whether the current batch has this link on its list to wake
    pub(crate) touched: Cell<bool>,
    pub(crate) gauges: Arc<LinkGauges>,
    /// When the supervisor's timer goes off
    pub(crate) armed: Cell<Option<Instant>>,
    pub(crate) supervised: Wake,
}

impl Link {
    pub(crate) fn new(shared: &Shared, opened: &Opened) -> Self {
        Self {
            id: opened.link,
            key: opened.key,
            ip: opened.remote_ip,
            purpose: opened.hello.purpose,
            dial: opened.dial,
            is_told: Cell::new(false),
            core: RefCell::new(open::Link::new(
                &shared.rules,
                opened.hello.purpose,
                shared.clock.now(),
                shared.next_seed(),
            )),
            written: Wake::default(),
            touched: Cell::new(false),
            gauges: Arc::clone(&opened.gauges),
            armed: Cell::new(None),
            supervised: Wake::default(),
        }
    }

    /// Tells the log of the link, once: when it was dialled, or when whoever dialled turns out to be a member
    pub(crate) fn tell_opened(&self) {
        if !self.is_told.replace(true) {
            let (id, dialled) = (self.id.0, self.dial.is_some());
            tracing::info!(
                event = "link_opened", link = id, peer = %self.key, dialled, purpose = ?self.purpose, dial = self.dial
            );
        }
    }

    /// Ends the link; the first reason counts
    pub(crate) fn close(&self, reason: CloseReason) {
        // The supervisor ends it, as it alone knows the tasks; the reason alone stops new frames at once.
        self.core.borrow_mut().close(reason);
        self.supervised.wake();
    }

    /// Whether it is ending: nothing more is queued for it
    pub(crate) fn is_ending(&self) -> bool {
        self.core.borrow().is_ending()
    }

    /// Queues a frame and wakes the writer; whatever finds no place is counted
    pub(crate) fn send(&self, shared: &Shared, frame: &Frame) {
        let sent = self.core.borrow_mut().send(frame, &shared.chunks);
        match sent {
            Ok(()) => self.written.wake(),
            Err(SendError::Ending) => {}
            Err(SendError::Full(priority)) => {
                shared.count_full(priority);
                // A full control queue has ended the link.
                self.supervised.wake();
            }
            Err(SendError::Wire(error)) => {
                tracing::error!(event = "frame_not_sent", kind = ?frame.kind(), reason = %error);
            }
        }
    }

    /// Bytes came
    pub(crate) fn on_received(&self, now: Instant, bytes: usize) {
        self.gauges.bytes_in.add(bytes as u64);
        self.gauges.set_silent_since(None);
        self.core.borrow_mut().on_received(now);
    }

    /// The core has dealt with a frame of its own: something may be to write, measured, or the end
    pub(crate) fn on_own_frame(&self) {
        let core = self.core.borrow();
        if let Some(rtt) = core.rtt() {
            self.gauges.set_rtt(rtt);
        }
        // An answer to a probe was queued by the core itself, which wakes nobody.
        if core.has_frames() {
            self.written.wake();
        }
        // The timer of a probe that was answered would go off for nothing.
        if core.is_ending() || core.is_in_no_hurry() {
            self.supervised.wake();
        }
    }

    /// Whether this node takes nothing from it, so that silence is its own fault
    pub(crate) fn set_stalled(&self, is_stalled: bool) {
        self.core.borrow_mut().set_stalled(is_stalled);
    }

    /// After a batch was read; see [`open::Link::on_rest`]
    pub(crate) fn on_rest(&self, now: Instant, is_partial: bool, is_fresh: bool) {
        self.core.borrow_mut().on_rest(now, is_partial, is_fresh);
        self.rearm();
    }

    /// What the writer is to write now
    pub(crate) fn take_batch(&self, shared: &Shared) -> Option<Vec<u8>> {
        let mut core = self.core.borrow_mut();
        // Mostly there is nothing: then the clock is not read.
        let batch = if core.has_frames() { core.take_batch(shared.clock.now(), &shared.chunks) } else { None };
        drop(core);
        if batch.is_some() {
            self.rearm();
        }
        batch
    }

    /// It is written
    pub(crate) fn on_written(&self, now: Instant, waited: bool) {
        self.core.borrow_mut().on_written(now, waited);
        self.rearm();
    }

    /// When to ask again, or why the link is to end
    pub(crate) fn handle_timeout(&self, shared: &Shared) -> Result<Option<Instant>, CloseReason> {
        let mut core = self.core.borrow_mut();
        // Who wants the end does not mind what is due.
        if !core.is_ending() {
            let now = shared.clock.now();
            core.handle_timeout(now, &shared.chunks);
            self.gauges.set_silent_since(core.silent_since(now));
        }
        if let Some(reason) = core.ending() {
            return Err(reason.clone());
        }
        if core.has_frames() {
            self.written.wake();
        }
        Ok(wake_at(&core))
    }

    /// Wakes the supervisor if its timer is too late for what came up; mostly it is not, and this costs nothing
    fn rearm(&self) {
        let next = wake_at(&self.core.borrow());
        if next.is_some_and(|next| self.armed.get().is_none_or(|armed| next < armed)) {
            self.supervised.wake();
        }
    }
}

/// When the link's supervisor is to wake: idle links of a thread together, since each wake-up costs an idle peer more than
/// all that it does then
fn wake_at(core: &open::Link) -> Option<Instant> {
    let next = core.next_timeout()?;
    let slack = IDLE_SLACK.as_micros() as u64;
    Some(if core.is_in_no_hurry() { Instant::from_micros(next.as_micros().next_multiple_of(slack)) } else { next })
}
