//! One link: what its reader, its writer and its supervisor share, and the supervisor itself.
//!
//! The reader and the writer are tasks of their own, so that neither waits for the other. The supervisor keeps the
//! link's deadlines and probes, and is the one who ends it: whoever else wants that says so by [`Link::close`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use kith_common::id::{Address, Key};
use kith_common::link::liveness::{self, Liveness};
use kith_common::time::{Instant, earliest};
use kith_common::wire::link::ProbeReply;
use kith_common::wire::{Bye, Frame};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep_until, timeout};

use super::counters::LinkGauges;
use super::handshake::{Duplex, drain};
use super::hub::{Hub, Slot};
use super::wake::Wake;
use super::{Direction, LinkEvent, LinkId, Opened, reader, writer};
use kith_common::link::limits::Deadlines;
use kith_common::link::queue::{PushError, Queue};
use kith_common::link::reason::{CloseReason, Slow};

/// The byte stream, shared by reader and writer; borrowed only within a poll
pub(crate) type Stream = Rc<RefCell<Box<dyn Duplex>>>;

/// Local senders of one link that may wait for room in its queue
pub(crate) const WAITING_MAX: usize = 16;

/// The state of one link
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) key: Key,
    /// The neighbour's address, if the present routes have it
    pub(crate) address: Cell<Option<Address>>,
    pub(crate) queue: RefCell<Queue>,
    /// Wakes the writer
    pub(crate) written: Wake,
    /// Whether the reader of the current batch has this link on its list to wake
    pub(crate) touched: Cell<bool>,
    /// Local senders that wait for room
    pub(crate) waiting: RefCell<Vec<Waiting>>,
    /// Whether the writer is to end once the queue is empty
    pub(crate) finishing: Cell<bool>,
    /// Whether the reader waits for this node's own driver, so that silence is our own fault
    pub(crate) stalled: Cell<bool>,
    pub(crate) decode_errors: Cell<u32>,
    pub(crate) gauges: Arc<LinkGauges>,
    liveness: RefCell<Liveness>,
    deadlines: Deadlines,
    frame_began: Cell<Option<Instant>>,
    write_began: Cell<Option<Instant>>,
    /// When the supervisor's timer goes off
    armed: Cell<Option<Instant>>,
    supervised: Wake,
    /// Why it is to end, from the moment that somebody wants that
    ending: RefCell<Option<CloseReason>>,
}

/// A local sender that waits for room in the queue
pub(crate) struct Waiting {
    pub(crate) priority: kith_common::wire::Priority,
    pub(crate) frames: Vec<u8>,
    pub(crate) queued: oneshot::Sender<()>,
}

/// All that a finished handshake knows
pub(crate) struct Established {
    pub(crate) stream: Box<dyn Duplex>,
    /// Everything but the link's number and gauges
    pub(crate) opened: Opened,
    pub(crate) slot: Slot,
}

impl Link {
    pub(crate) fn new(hub: &Hub, opened: &Opened) -> Self {
        let now = hub.clock.now();
        Self {
            id: opened.link,
            key: opened.key,
            address: Cell::new(None),
            queue: RefCell::new(Queue::new(hub.bounds)),
            written: Wake::default(),
            touched: Cell::new(false),
            waiting: RefCell::new(Vec::new()),
            finishing: Cell::new(false),
            stalled: Cell::new(false),
            decode_errors: Cell::new(0),
            gauges: Arc::clone(&opened.gauges),
            liveness: RefCell::new(Liveness::new(hub.liveness.clone(), now, hub.next_seed())),
            deadlines: hub.deadlines,
            frame_began: Cell::new(None),
            write_began: Cell::new(None),
            armed: Cell::new(None),
            supervised: Wake::default(),
            ending: RefCell::new(None),
        }
    }

    /// Ends the link; the first reason counts
    pub(crate) fn close(&self, reason: CloseReason) {
        self.ending.borrow_mut().get_or_insert(reason);
        self.supervised.wake();
    }

    /// Whether it is ending: nothing more is queued for it
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Queues a frame and wakes the writer; whatever finds no place is counted
    pub(crate) fn send(&self, hub: &Hub, frame: &Frame) {
        if self.is_ending() {
            return;
        }
        let pushed = self.queue.borrow_mut().push(frame, &hub.chunks);
        match pushed {
            Ok(()) => self.written.wake(),
            Err(PushError::Full) => hub.queue_is_full(self, frame.priority()),
            Err(PushError::Wire(error)) => {
                tracing::error!(event = "frame_not_sent", kind = ?frame.kind(), reason = %error);
            }
        }
    }

    /// Bytes came
    pub(crate) fn on_received(&self, now: Instant, bytes: usize) {
        self.gauges.bytes_in.add(bytes as u64);
        self.liveness.borrow_mut().on_received(now);
    }

    /// Frames that want an answer are about to be written
    pub(crate) fn on_sent(&self, now: Instant) {
        self.liveness.borrow_mut().on_sent(now);
        self.rearm();
    }

    /// The neighbour took bytes that it had no room for before: it reads, though it may have nothing to say
    ///
    /// Without this a neighbour behind a deep buffer would be held for dead: probes wait behind what is under way.
    pub(crate) fn on_progress(&self, now: Instant) {
        let mut liveness = self.liveness.borrow_mut();
        liveness.on_received(now);
        liveness.on_sent(now);
    }

    /// An answer to a probe came
    pub(crate) fn on_probe_reply(&self, now: Instant, reply: ProbeReply) {
        let mut liveness = self.liveness.borrow_mut();
        liveness.handle_probe_reply(now, reply.sequence);
        if let Some(rtt) = liveness.rtt() {
            self.gauges.set_rtt(rtt);
        }
    }

    /// A write begins or, with `None`, is done
    pub(crate) fn set_write_began(&self, at: Option<Instant>) {
        self.write_began.set(at);
        self.rearm();
    }

    /// After a batch: a part of a frame is left over, or none; `fresh` if it is another frame's than before
    pub(crate) fn set_frame_began(&self, now: Instant, is_partial: bool, fresh: bool) {
        let began = match (is_partial, self.frame_began.get()) {
            (false, _) => None,
            (true, Some(before)) if !fresh => Some(before),
            (true, _) => Some(now),
        };
        self.frame_began.set(began);
        self.rearm();
    }

    /// Wakes the supervisor if its timer is too late for what came up; mostly it is not, and this costs nothing
    fn rearm(&self) {
        let next = self.next_deadline();
        if next.is_some_and(|next| self.armed.get().is_none_or(|armed| next < armed)) {
            self.supervised.wake();
        }
    }

    fn passed_deadline(&self, now: Instant) -> Option<Slow> {
        let passed = |began: Option<Instant>, deadline| began.is_some_and(|began| now >= began + deadline);
        // While this node's driver is what the reader waits for, the neighbour is not to blame.
        if passed(self.frame_began.get(), self.deadlines.frame) && !self.stalled.get() {
            return Some(Slow::Frame);
        }
        passed(self.write_began.get(), self.deadlines.write).then_some(Slow::Write)
    }

    fn next_deadline(&self) -> Option<Instant> {
        // A stalled reader's frame has no deadline, or the supervisor would spin on one that has passed.
        let frame = self.frame_began.get().filter(|_| !self.stalled.get()).map(|began| began + self.deadlines.frame);
        let write = self.write_began.get().map(|began| began + self.deadlines.write);
        earliest(earliest(frame, write), self.liveness.borrow().next_timeout())
    }
}

/// Opens the link, and stays with it to its end
pub(crate) async fn run(hub: Rc<Hub>, established: Established) {
    let Established { stream, opened, slot } = established;
    let link = Rc::new(Link::new(&hub, &opened));
    hub.add_link(&link);
    tracing::info!(
        event = "link_opened", link = link.id.0, peer = %link.key, direction = ?opened.direction,
        purpose = ?opened.hello.purpose, attempt = opened.attempt
    );
    let dialled = opened.direction == Direction::Outgoing;
    if !hub.emit(LinkEvent::Opened(Box::new(opened))).await {
        link.close(CloseReason::Internal);
    }
    let stream: Stream = Rc::new(RefCell::new(stream));
    let reader =
        spawn_local(guarded(Rc::clone(&link), reader::read(Rc::clone(&hub), Rc::clone(&link), stream.clone())));
    let writer =
        spawn_local(guarded(Rc::clone(&link), writer::write(Rc::clone(&hub), Rc::clone(&link), stream.clone())));
    let reason = supervise(&hub, &link).await;
    // From here on nobody finds it: packets for it go elsewhere while it says its last words.
    hub.remove_link(&link);
    reader.abort();
    tracing::info!(event = "link_closed", link = link.id.0, peer = %link.key, dialled, reason = reason.word(), detail = %reason);
    // Before the last words, which may take a while: the driver is to find another way now.
    hub.emit(LinkEvent::Closed { link: link.id, reason: reason.clone() }).await;
    end(&hub, &link, &reason, reader, writer, stream).await;
    drop(slot);
    hub.forget_link();
}

/// Closes the link if its task ends in whatever way, a panic included.
async fn guarded(link: Rc<Link>, task: impl Future<Output = CloseReason>) {
    struct Guard(Rc<Link>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.close(CloseReason::Internal);
        }
    }
    let guard = Guard(link);
    let reason = task.await;
    guard.0.close(reason);
}

/// Keeps the deadlines until somebody has a reason to end the link
async fn supervise(hub: &Hub, link: &Link) -> CloseReason {
    loop {
        if let Some(reason) = link.ending.borrow().clone() {
            return reason;
        }
        let now = hub.clock.now();
        if let Some(slow) = link.passed_deadline(now) {
            return CloseReason::Slow(slow);
        }
        if let Some(reason) = probe(hub, link, now) {
            return reason;
        }
        let next = link.next_deadline();
        link.armed.set(next);
        wait(hub, link, next).await;
    }
}

async fn wait(hub: &Hub, link: &Link, until: Option<Instant>) {
    let Some(until) = until else { return link.supervised.woken().await };
    let mut timer = Box::pin(sleep_until(hub.clock.to_std(until).into()));
    poll_fn(|cx| match link.supervised.poll_woken(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => Pin::new(&mut timer).as_mut().poll(cx),
    })
    .await;
}

/// Runs the liveness core; the reason to end the link, if the neighbour is gone
fn probe(hub: &Hub, link: &Link, now: Instant) -> Option<CloseReason> {
    let mut liveness = link.liveness.borrow_mut();
    if link.stalled.get() {
        liveness.on_received(now);
    }
    liveness.handle_timeout(now);
    while let Some(output) = liveness.poll_output() {
        match output {
            liveness::Output::SendProbe(probe) => link.send(hub, &Frame::Probe(probe)),
            liveness::Output::Down { unanswered } => return Some(CloseReason::Silent { unanswered }),
        }
    }
    None
}

/// Lets the writer say what is left to say, then lets go of the stream
async fn end(
    hub: &Hub,
    link: &Link,
    reason: &CloseReason,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    stream: Stream,
) {
    let abort = async |task: JoinHandle<()>| {
        task.abort();
        // Cancelled, finished, or a panic that the runtime has reported: gone in each case.
        drop(task.await);
    };
    // Dropping them tells the senders.
    link.waiting.borrow_mut().clear();
    abort(reader).await;
    let Some((status, reason)) = reason.farewell() else { return abort(writer).await };
    if let Err(error) = link.queue.borrow_mut().push_last(&Frame::Bye(Bye { status, reason })) {
        tracing::error!(event = "frame_not_sent", reason = %error);
    }
    link.finishing.set(true);
    link.written.wake();
    let mut writer = writer;
    match timeout(hub.deadlines.bye, &mut writer).await {
        Ok(_) => {
            let Some(stream) = Rc::into_inner(stream) else { return };
            // Taken or not, these were the last words.
            timeout(hub.deadlines.bye, drain(&mut stream.into_inner())).await.ok();
        }
        Err(_) => abort(writer).await,
    }
}
