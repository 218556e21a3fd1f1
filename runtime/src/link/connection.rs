//! One link from its opening to its end: its tasks, and the supervisor itself.
//!
//! The reader and the writer are tasks of their own, so that neither waits for the other. The supervisor keeps the
//! link's deadlines and probes, and is the one who ends it: whoever else wants that says so by [`Link::close`].

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use kith_common::link::permits::Permit;
use kith_common::link::reason::CloseReason;
use kith_common::time::Instant;
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tokio::time::{sleep_until, timeout, timeout_at};

use super::forward::Forwarding;
use super::handshake::{Duplex, Stream, drain};
use super::registry::Registry;
use super::shared::Shared;
use super::state::Link;
use super::{LinkEvent, Opened, reader, writer};

/// What a link needs of the thread, from its opening to its end
pub(crate) struct Room {
    pub(crate) shared: Rc<Shared>,
    pub(crate) registry: Rc<Registry>,
    pub(crate) forwarding: Rc<Forwarding>,
}

/// All that a finished handshake knows
pub(crate) struct Established {
    pub(crate) stream: Box<dyn Duplex>,
    /// Everything but the link's number and gauges
    pub(crate) opened: Opened,
    pub(crate) permit: Permit,
}

/// Opens the link, and stays with it to its end
pub(crate) async fn run(room: Rc<Room>, established: Established) {
    let Room { shared, registry, forwarding } = &*room;
    let Established { stream, opened, permit } = established;
    let link = Rc::new(Link::new(shared, &opened));
    shared.counters.opened.add(1);
    // Before the driver hears of it: it may answer with a command for this very link.
    registry.add(&link);
    if link.dial.is_some() {
        link.tell_opened();
    } else {
        tracing::debug!(event = "link_came", link = link.id.0, peer = %link.key, ip = ?link.ip, purpose = ?link.purpose);
    }
    if !shared.emit(LinkEvent::Opened(Box::new(opened))).await {
        link.close(CloseReason::Internal);
    }
    let stream: Stream = Rc::new(RefCell::new(stream));
    let reader =
        spawn_local(guarded(Rc::clone(&link), reader::read(Rc::clone(forwarding), Rc::clone(&link), stream.clone())));
    let writer =
        spawn_local(guarded(Rc::clone(&link), writer::write(Rc::clone(shared), Rc::clone(&link), stream.clone())));
    let reason = supervise(shared, &link).await;
    // From here on nobody finds it: packets for it go elsewhere while it says its last words.
    registry.remove(&link);
    // What it says from now on would be dealt with for a link that the driver holds for closed.
    reader.abort();
    tell_closed(shared, registry, &link, &reason);
    // Before the last words, which may take a while: the driver is to find another way now.
    shared.emit(LinkEvent::Closed { link: link.id, reason }).await;
    end(shared, &link, reader, writer, stream).await;
    drop(permit);
    shared.counters.closed.add(1);
    registry.forget();
}

/// Says why a link ended; one that was never told of belonged to a stranger, and strangers' are counted
fn tell_closed(shared: &Shared, registry: &Registry, link: &Link, reason: &CloseReason) {
    let (id, word) = (link.id.0, reason.word());
    if link.is_told.get() {
        let dialled = link.dial.is_some();
        tracing::info!(event = "link_closed", link = id, peer = %link.key, dialled, reason = word, detail = %reason);
        return;
    }
    match registry.strangers.count(shared.clock.now()) {
        Some(count) => tracing::info!(
            event = "stranger_left", count, link = id, peer = %link.key, ip = ?link.ip, reason = word, detail = %reason
        ),
        None => tracing::debug!(
            event = "stranger_left", link = id, peer = %link.key, ip = ?link.ip, reason = word, detail = %reason
        ),
    }
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
async fn supervise(shared: &Shared, link: &Link) -> CloseReason {
    loop {
        match link.handle_timeout(shared) {
            Ok(next) => {
                link.armed.set(next);
                wait(shared, link, next).await;
            }
            Err(reason) => return reason,
        }
    }
}

async fn wait(shared: &Shared, link: &Link, until: Option<Instant>) {
    let Some(until) = until else { return link.supervised.woken().await };
    let mut timer = Box::pin(sleep_until(shared.clock.to_std(until).into()));
    let is_due = poll_fn(|cx| match link.supervised.poll_woken(cx) {
        Poll::Ready(()) => Poll::Ready(false),
        Poll::Pending => Pin::new(&mut timer).as_mut().poll(cx).map(|()| true),
    });
    if is_due.await {
        // Whoever has bytes waiting in its socket is not silent: readers come first.
        yield_now().await;
    }
}

/// Lets the writer say what is left to say, then lets go of the stream
async fn end(shared: &Shared, link: &Link, reader: JoinHandle<()>, writer: JoinHandle<()>, stream: Stream) {
    let abort = async |task: JoinHandle<()>| {
        task.abort();
        // Cancelled, finished, or a panic that the runtime has reported: gone in each case.
        drop(task.await);
    };
    abort(reader).await;
    let farewell = link.core.borrow_mut().begin_farewell(shared.clock.now());
    let Some(by) = farewell else { return abort(writer).await };
    link.written.wake();
    let mut writer = writer;
    match timeout_at(shared.clock.to_std(by).into(), &mut writer).await {
        Ok(_) => {
            let Some(stream) = Rc::into_inner(stream) else { return };
            // Taken or not, these were the last words.
            timeout(shared.rules.deadlines.bye, drain(&mut stream.into_inner())).await.ok();
        }
        Err(_) => abort(writer).await,
    }
}
