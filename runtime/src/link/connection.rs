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

use kith_common::id::Key;
use kith_common::link::open::{self, SendError};
use kith_common::link::reason::CloseReason;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep_until, timeout, timeout_at};

use super::counters::LinkGauges;
use super::handshake::{Duplex, drain};
use super::hub::{Hub, Slot};
use super::wake::Wake;
use super::{Direction, LinkEvent, LinkId, Opened, reader, writer};

/// The byte stream, shared by reader and writer; borrowed only within a poll
pub(crate) type Stream = Rc<RefCell<Box<dyn Duplex>>>;

/// What the tasks of one link share
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) key: Key,
    /// Borrowed within one call, never across an await
    pub(crate) core: RefCell<open::Link>,
    /// Wakes the writer
    pub(crate) written: Wake,
    /// Whether the current batch has this link on its list to wake
    pub(crate) touched: Cell<bool>,
    pub(crate) gauges: Arc<LinkGauges>,
    /// When the supervisor's timer goes off
    armed: Cell<Option<Instant>>,
    supervised: Wake,
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
        Self {
            id: opened.link,
            key: opened.key,
            core: RefCell::new(open::Link::new(&hub.rules, hub.clock.now(), hub.next_seed())),
            written: Wake::default(),
            touched: Cell::new(false),
            gauges: Arc::clone(&opened.gauges),
            armed: Cell::new(None),
            supervised: Wake::default(),
        }
    }

    /// Ends the link; the first reason counts
    pub(crate) fn close(&self, reason: CloseReason) {
        self.core.borrow_mut().close(reason);
        self.supervised.wake();
    }

    /// Whether it is ending: nothing more is queued for it
    pub(crate) fn is_ending(&self) -> bool {
        self.core.borrow().is_ending()
    }

    /// Queues a frame and wakes the writer; whatever finds no place is counted
    pub(crate) fn send(&self, hub: &Hub, frame: &Frame) {
        let sent = self.core.borrow_mut().send(frame, &hub.chunks);
        match sent {
            Ok(()) => self.written.wake(),
            Err(SendError::Ending) => {}
            Err(SendError::Full(priority)) => {
                hub.count_full(priority);
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
        self.core.borrow_mut().on_received(now);
    }

    /// The core has dealt with a frame of its own: something may be to write, measured, or the end
    pub(crate) fn on_own_frame(&self) {
        let core = self.core.borrow();
        if let Some(rtt) = core.rtt() {
            self.gauges.set_rtt(rtt);
        }
        if core.has_frames() {
            self.written.wake();
        }
        if core.is_ending() {
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
    pub(crate) fn take_batch(&self, hub: &Hub) -> Option<Vec<u8>> {
        let mut core = self.core.borrow_mut();
        // Mostly there is nothing: then the clock is not read.
        let batch = if core.has_frames() { core.take_batch(hub.clock.now(), &hub.chunks) } else { None };
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
    fn handle_timeout(&self, hub: &Hub) -> Result<Option<Instant>, CloseReason> {
        let mut core = self.core.borrow_mut();
        // Who wants the end does not mind what is due.
        if !core.is_ending() {
            core.handle_timeout(hub.clock.now(), &hub.chunks);
        }
        if let Some(reason) = core.ending() {
            return Err(reason.clone());
        }
        if core.has_frames() {
            self.written.wake();
        }
        Ok(core.next_timeout())
    }

    /// Wakes the supervisor if its timer is too late for what came up; mostly it is not, and this costs nothing
    fn rearm(&self) {
        let next = self.core.borrow().next_timeout();
        if next.is_some_and(|next| self.armed.get().is_none_or(|armed| next < armed)) {
            self.supervised.wake();
        }
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
    hub.emit(LinkEvent::Closed { link: link.id, reason }).await;
    end(&hub, &link, reader, writer, stream).await;
    drop(slot);
    hub.forget_link();
}

/// Closes the link if its task ends in whatever way, a panic included; the task itself has mostly said why.
async fn guarded(link: Rc<Link>, task: impl Future<Output = ()>) {
    struct Guard(Rc<Link>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.close(CloseReason::Internal);
        }
    }
    let _guard = Guard(link);
    task.await;
}

/// Keeps the deadlines until there is a reason to end the link
async fn supervise(hub: &Hub, link: &Link) -> CloseReason {
    loop {
        match link.handle_timeout(hub) {
            Ok(next) => {
                link.armed.set(next);
                wait(hub, link, next).await;
            }
            Err(reason) => return reason,
        }
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

/// Lets the writer say what is left to say, then lets go of the stream
async fn end(hub: &Hub, link: &Link, reader: JoinHandle<()>, writer: JoinHandle<()>, stream: Stream) {
    let abort = async |task: JoinHandle<()>| {
        task.abort();
        // Cancelled, finished, or a panic that the runtime has reported: gone in each case.
        drop(task.await);
    };
    abort(reader).await;
    let farewell = link.core.borrow_mut().begin_farewell(hub.clock.now());
    let Some(by) = farewell else { return abort(writer).await };
    link.written.wake();
    let mut writer = writer;
    match timeout_at(hub.clock.to_std(by).into(), &mut writer).await {
        Ok(_) => {
            let Some(stream) = Rc::into_inner(stream) else { return };
            // Taken or not, these were the last words.
            timeout(hub.rules.deadlines.bye, drain(&mut stream.into_inner())).await.ok();
        }
        Err(_) => abort(writer).await,
    }
}
